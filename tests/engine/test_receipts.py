"""What does a delivery receipt do to a running engine?

Stories in virtual time: a Twilio whose receipts come as signed requests at the address that each send named, and a
Dialpad whose receipts name only its own id.
"""

from __future__ import annotations

import asyncio
import json

import pytest

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.events import Event, Kind
from smsd.core.health import Standing
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.receipt import Status
from smsd.core.verdict import Category
from smsd.engine.service import Seen
from smsd.providers.base import NoAnswer, Outcome, Request, Response
from tests.engine.rig import LOST, TO, Rig, answer, twilio
from tests.engine.way_back import LOST_SID, PUBLIC, dialpad, dialpad_report, post, twilio_report, twilio_says

DAY_S = 86_400.0


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.public_url = PUBLIC
    return rig


def of(rig: Rig, kind: Kind) -> list[Event]:
    return [event for event in rig.events if event.kind is kind]


async def error(rig: Rig, id: str) -> tuple[str, Category | None, str | None]:
    """State, category and code."""
    message = await rig.message(id)
    found = message.error
    return message.state.label, found and found.category, found and found.code


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


# -- doubt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "state"), [("sent", "sent"), ("delivered", "delivered"), ("undelivered", "undelivered")])
def test_a_receipt_proves_a_call_whose_answer_never_came(rig: Rig, word: str, state: str) -> None:
    """Before its look-up: there is none."""

    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert (await rig.message(id)).uncertain
        await twilio_says(rig, 0, word, 30005 if word == "undelivered" else None)
        assert await rig.state(id) == state
        await rig.seconds(3_600)
        assert (rig.carrier.look_ups, len(rig.carrier.sends)) == (0, 1)
        message = await rig.message(id)
        assert (message.state.label, message.provider_message_id) == (state, LOST_SID)
        (told,) = of(rig, Kind.MESSAGE_RECONCILED)
        assert told.fields["was"] == "processing"
        await rig.stop()

    rig.run(story)


def test_a_receipt_during_the_look_up(rig: Rig) -> None:
    """What the look-up finds then, or does not, is late news."""

    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        rig.carrier.latency_ms = 4_000
        while not rig.carrier.look_ups:
            await rig.seconds(0.5)
        await twilio_says(rig, 0, "delivered")
        await rig.seconds(3_600)
        assert await rig.state(id) == "delivered"
        assert (rig.carrier.look_ups, len(rig.carrier.sends)) == (1, 1)
        await rig.stop()

    rig.run(story)


def test_a_receipt_after_the_look_ups_found_nothing(rig: Rig) -> None:
    """The message waits for its next call, which is not made."""

    async def story() -> None:
        rig.carrier.script = [LOST]
        rig.retry = type(rig.retry)(jitter="none", backoff_ms=60_000)
        await rig.start()
        id = await rig.accepted()
        while not rig.carrier.sends or await rig.state(id) != "pending":
            await rig.seconds(1)
        assert rig.carrier.look_ups > 1
        await twilio_says(rig, 0, "sent")
        assert await rig.state(id) == "sent"
        await rig.seconds(3_600)
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize(("word", "state"), [("undelivered", "sent"), ("delivered", "delivered")])
def test_a_receipt_of_a_call_that_was_given_up(rig: Rig, word: str, state: str) -> None:
    """It was called again meanwhile: that the first call's text did not arrive is kept with that call only."""

    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        while len(rig.carrier.sends) < 2:
            await rig.seconds(1)
        await rig.seconds(1)
        await twilio_says(rig, 0, word, 30001 if word == "undelivered" else None)
        assert await rig.state(id) == state
        first, second = await rig.store.attempts((await rig.message(id)).seq)
        assert (first.receipt, second.receipt) == (Status[word.upper()], None)
        await rig.seconds(3_600)
        assert len(rig.carrier.sends) == 2
        await rig.stop()

    rig.run(story)


def test_what_was_held_as_uncertain_arrived_after_all(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(on_uncertain="hold", reconcile_timeout_ms=60_000))]

    async def story() -> None:
        rig.carrier.script = [LOST]
        rig.carrier.look_up = lambda request: answer(500, message="down")
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(600)
        assert await error(rig, id) == ("failed", Category.UNCERTAIN, None)
        await twilio_says(rig, 0, "delivered")
        assert await error(rig, id) == ("delivered", None, None)
        (told,) = of(rig, Kind.MESSAGE_DELIVERED)
        assert told.fields["attempt"] == 1
        await rig.stop()

    rig.run(story)


def test_receipts_outrun_the_answer(rig: Rig) -> None:
    """What the answer says then is recorded and changes nothing."""

    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        await rig.start()
        ids = [await rig.accepted(text=f"number {n}") for n in range(2)]
        await rig.seconds(1)
        await twilio_says(rig, 0, "delivered")
        await twilio_says(rig, 1, "undelivered", 30001)
        assert [await rig.state(id) for id in ids] == ["delivered", "pending"]
        await rig.seconds(20)
        assert [await rig.state(id) for id in ids] == ["delivered", "pending"]
        [attempt] = await rig.store.attempts((await rig.message(ids[0])).seq)
        assert (attempt.outcome, attempt.http_status, attempt.receipt) == ("accepted", 201, Status.DELIVERED)
        await rig.seconds(120)
        assert [fields["Body"] for _, fields in rig.carrier.sends] == ["number 0", "number 1", "number 1"]
        await rig.stop()

    rig.run(story)


# -- restarts ---------------------------------------------------------------------------------------------------------


def test_receipts_after_a_restart(rig: Rig) -> None:
    """Of a message that was sent before, of one whose call a crash cut off, and of a resend that was on its way."""

    async def story() -> None:
        await rig.start()
        sent = await rig.accepted(text="sent")
        again = await rig.accepted(text="again")
        await rig.seconds(1)
        await twilio_says(rig, 1, "undelivered", 30001)
        rig.carrier.latency_ms = 5_000
        cut = await rig.accepted(text="cut")
        await rig.seconds(1)
        await rig.crash()
        await rig.start()
        assert (await rig.message(cut)).uncertain
        await twilio_says(rig, 2, "delivered")
        await twilio_says(rig, 0, "delivered")
        assert [await rig.state(id) for id in (sent, cut, again)] == ["delivered", "delivered", "pending"]
        await rig.seconds(100)
        assert await rig.state(again) == "sent"
        assert [fields["Body"] for _, fields in rig.carrier.sends] == ["sent", "again", "cut", "again"]
        await rig.stop()

    rig.run(story)


# -- by the provider's own id -----------------------------------------------------------------------------------------


class Slow:
    """A Dialpad that answers after five seconds."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def __call__(self, request: Request, n: int) -> tuple[Outcome, int]:
        self.ids.append(str(5_000_000_000_000_000 + n))
        if "lost" in json.loads(request.body)["text"]:
            return NoAnswer("the connection was reset"), 5_000
        return Response(200, {}, json.dumps({"id": self.ids[-1], "message_status": "pending"}).encode()), 5_000


def test_a_receipt_that_nobody_knows_yet_waits_for_the_answer(rig: Rig) -> None:
    """A restart between the two does not matter. It is told as unmatched, and then as what it is."""
    carrier = Slow()
    rig.script = carrier
    rig.providers = [(dialpad(), rig.rules())]

    async def say(id: str, word: str, result: str) -> None:
        assert await post(rig, dialpad_report(id, word, result, rig.clock.wall())) == 200

    async def story() -> None:
        await rig.start()
        foreign = "5000000000009999"
        await say(foreign, "delivered", "accepted")
        await rig.stop()
        await rig.start()
        ids = [await rig.accepted(text=f"number {n}") for n in range(3)]
        await rig.seconds(1)
        await say(carrier.ids[0], "delivered", "accepted")
        await say(carrier.ids[1], "failed", "no_route")
        await say(carrier.ids[1], "pending", "accepted")
        assert [await rig.state(id) for id in ids] == ["processing"] * 3
        assert len(of(rig, Kind.RECEIPT_UNMATCHED)) == 4
        await rig.seconds(10)
        assert [await rig.state(id) for id in ids] == ["delivered", "undelivered", "sent"]
        assert await error(rig, ids[1]) == ("undelivered", Category.INVALID_RECIPIENT, "no_route")
        assert [len(of(rig, kind)) for kind in (Kind.MESSAGE_DELIVERED, Kind.MESSAGE_UNDELIVERED)] == [1, 1]
        await say(carrier.ids[2], "delivered", "accepted")
        assert await rig.state(ids[2]) == "delivered"
        await rig.stop()

    rig.run(story)


def test_after_a_day_nobody_waits_for_a_message_any_more(rig: Rig) -> None:
    """The outbox forgets the receipt: should the id become known then, it says nothing."""
    carrier = Slow()
    rig.script = carrier
    rig.providers = [(dialpad(), rig.rules())]

    async def story() -> None:
        await rig.start()
        assert await post(rig, dialpad_report("5000000000000000", "delivered", "accepted", rig.clock.wall())) == 200
        await rig.seconds(DAY_S + 60)
        await rig.store.beat(rig.clock.wall())  # the daemon does that every few seconds
        id = await rig.accepted()
        await rig.seconds(60)
        assert (await rig.message(id)).state is State.SENT
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
