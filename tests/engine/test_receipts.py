"""What does a delivery receipt do to a running engine?

Stories in virtual time: a Twilio whose receipts come as signed requests at the address that each send named.
"""

from __future__ import annotations

import asyncio

import pytest

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.core.pacing import Pace, Window
from smsd.core.verdict import Category
from smsd.engine.explaining import Seen
from tests.engine.rig import TO, Rig, twilio
from tests.engine.way_back import PUBLIC, error, of, post, twilio_report, twilio_says

DAY_S = 86_400.0


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.public_url = PUBLIC
    return rig


# -- what a code means ------------------------------------------------------------------------------------------------


def test_an_account_that_is_suspended_halts_the_provider(rig: Rig) -> None:
    """30002: whatever is sent would end so. The rest waits for a person; the message itself is not sent again."""

    async def story() -> None:
        await rig.start()
        first = await rig.accepted()
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30002)
        assert await error(rig, first) == ("undelivered", Category.AUTH_FAILED, "30002")
        second = await rig.accepted(text="Your code is 2")
        await rig.seconds(600)
        assert (await rig.waiting(second))[0] == "provider_halted"
        (halt,) = of(rig, Kind.PROVIDER_HALTED)
        assert "30002" in str(halt.fields)
        await twilio_says(rig, 0, "undelivered", 30002)
        assert len(of(rig, Kind.PROVIDER_HALTED)) == 1
        await rig.engine.service.resume("main")
        await rig.seconds(1)
        assert await rig.state(second) == "sent"
        await twilio_says(rig, 0, "undelivered", 30002)
        assert rig.engine.service.providers()[0].state is Standing.OPEN, "a repeat halts nothing again"
        await rig.stop()

    rig.run(story)


def test_a_blocked_recipient_is_texted_no_more(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        first = await rig.accepted()
        later = await rig.accepted(text="later", send_at="2026-09-22T00:00:00Z")
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30004)
        assert await error(rig, first) == ("undelivered", Category.OPTED_OUT, "30004")
        [kept] = await rig.engine.service.suppressions_of(TO)
        assert (kept.scope, kept.source, kept.code) == ("main", "receipt", "30004")
        assert len(of(rig, Kind.SUPPRESSION_ADDED)) == 1
        assert await rig.refused(text="new") == "recipient_suppressed"
        await rig.seconds(2 * DAY_S)
        assert await error(rig, later) == ("failed", Category.OPTED_OUT, "30004")
        await rig.stop()

    rig.run(story)


def test_what_the_queue_dropped_is_sent_again_after_one_and_two_minutes(rig: Rig) -> None:
    """30001: three calls in all. That it was undelivered is told once, when nothing more follows."""

    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(10)
        for n in range(3):
            assert len(rig.carrier.sends) == n + 1
            await twilio_says(rig, n, "undelivered", 30001)
            heard = rig.clock.wall()
            if n < 2:
                assert await rig.waiting(id) == ("retry", (await rig.message(id)).due)
                await rig.seconds(200)
                assert 60_000 * (n + 1) <= rig.carrier.sends[n + 1][0] - heard <= 60_000 * (n + 1) + 1_100
        assert await error(rig, id) == ("undelivered", Category.RATE_LIMITED, "30001")
        await rig.seconds(DAY_S)
        assert len(rig.carrier.sends) == 3
        assert len(of(rig, Kind.MESSAGE_UNDELIVERED)) == 1
        assert len(of(rig, Kind.MESSAGE_RETRY_SCHEDULED)) == 2
        message = await rig.message(id)
        assert (message.round, message.charged, message.attempt) == (0, 3, 3)
        await rig.stop()

    rig.run(story)


def test_nothing_is_sent_again_beyond_the_callers_own_bounds(rig: Rig) -> None:
    """max_attempts, and an end of life that comes before the next call."""

    async def story() -> None:
        await rig.start()
        once = await rig.accepted(max_attempts=1)
        short = await rig.accepted(text="Your code is 2", ttl="50s")
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30001)
        await twilio_says(rig, 1, "undelivered", 30001)
        assert [await rig.state(id) for id in (once, short)] == ["undelivered", "undelivered"]
        await rig.seconds(DAY_S)
        assert len(rig.carrier.sends) == 2
        await rig.stop()

    rig.run(story)


def test_the_operator_has_the_last_word_on_codes(rig: Rig) -> None:
    """[retry.codes.twilio]: what was sent again is final, what was final is sent again, what was nothing suppresses."""
    codes = {
        "30001": CodeRule("fail"),
        "30005": CodeRule("retry", None, 2, (5_000,)),
        "30008": CodeRule("suppress"),
        "30006": CodeRule("halt"),
    }
    rig.providers = [(twilio(), rig.rules(codes=CodeBook(codes=codes)))]

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(to=f"+1415555010{n}", text=f"number {n}") for n in range(3)]
        await rig.seconds(1)
        for n, code in enumerate((30001, 30005, 30008)):
            await twilio_says(rig, n, "undelivered", code)
        assert [await rig.state(id) for id in ids] == ["undelivered", "pending", "undelivered"]
        await rig.seconds(10)
        assert [fields["Body"] for _, fields in rig.carrier.sends[3:]] == ["number 1"]
        await twilio_says(rig, 3, "undelivered", 30005)
        assert await rig.state(ids[1]) == "undelivered"
        assert await rig.refused(to="+14155550102") == "recipient_suppressed"
        await rig.accepted(text="the last")
        await rig.seconds(1)
        await twilio_says(rig, 4, "undelivered", 30006)
        assert rig.engine.service.providers()[0].state is Standing.HALTED
        await rig.stop()

    rig.run(story)


# -- rounds and attempts ----------------------------------------------------------------------------------------------


def test_an_undelivered_message_can_be_sent_again_by_a_person(rig: Rig) -> None:
    """It has another round; receipts of the first call count no more, unless they say that it arrived after all."""

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"number {n}") for n in range(2)]
        await rig.seconds(1)
        for n, id in enumerate(ids):
            await twilio_says(rig, n, "undelivered", 30005)
            seen = await rig.engine.service.retry(id, None, ttl=None, expires_at=None, force=False)
            assert isinstance(seen, Seen)
            await rig.seconds(1)
        assert [await rig.state(id) for id in ids] == ["sent", "sent"]
        await twilio_says(rig, 0, "undelivered", 30001)
        await twilio_says(rig, 1, "delivered")
        assert [await rig.state(id) for id in ids] == ["sent", "delivered"]
        await twilio_says(rig, 2, "undelivered", 30005)
        await twilio_says(rig, 3, "undelivered", 30005)
        assert [await rig.state(id) for id in ids] == ["undelivered", "delivered"]
        assert [(await rig.message(id)).round for id in ids] == [1, 1]
        await rig.stop()

    rig.run(story)


def test_a_delivery_ends_a_resend_that_waits(rig: Rig) -> None:
    """While it waits for its time, and while its call waits at the gate."""
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, 60_000_000),)), max_in_flight=8))]

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"number {n}") for n in range(2)]
        await rig.seconds(61)
        assert len(rig.carrier.sends) == 2
        await twilio_says(rig, 0, "undelivered", 30001)
        await twilio_says(rig, 1, "undelivered", 30001)
        await twilio_says(rig, 0, "delivered")
        await rig.accepted(text="in front", priority="high")
        await rig.seconds(118)
        assert await rig.state(ids[1]) == "pending"
        while await rig.state(ids[1]) != "processing":
            await rig.seconds(0.002)
        assert len(rig.carrier.sends) == 3, "it is claimed and waits for its place in the window"
        await twilio_says(rig, 1, "delivered")
        await rig.seconds(600)
        assert [await rig.state(id) for id in ids] == ["delivered", "delivered"]
        assert len(rig.carrier.sends) == 3
        await rig.stop()

    rig.run(story)


# -- who may say so ---------------------------------------------------------------------------------------------------


def test_who_does_not_sign_changes_nothing(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        url = rig.carrier.sends[0][1]["StatusCallback"]
        right = twilio_report(url, rig.carrier.taken[0]["sid"], "delivered", None)
        forged = type(right)(right.target, {**right.headers, "x-twilio-signature": "forged"}, right.body)
        turned = type(right)(right.target.replace("a=1", "a=2"), right.headers, right.body)
        assert [await post(rig, each) for each in (forged, turned)] == [403, 403]
        assert await post(rig, right, "nobody") == 404
        assert await rig.state(id) == "sent"
        assert rig.engine.meters.webhooks_refused == {"main": 2}
        assert len(of(rig, Kind.WEBHOOK_REFUSED)) == 1
        await asyncio.gather(*(post(rig, right) for _ in range(5)))
        assert await rig.state(id) == "delivered"
        assert len(of(rig, Kind.MESSAGE_DELIVERED)) == 1
        await rig.stop()

    rig.run(story)
