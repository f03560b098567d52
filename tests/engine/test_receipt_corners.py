"""What receipts do at the edges: before a call is over, about an older call, and in what must not be shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import structlog.testing

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.health import Standing
from smsd.engine.hooks import status_url
from tests.engine.rig import LOST, TO, Rig, answer, setting, twilio
from tests.engine.way_back import PUBLIC, twilio_says

SECRET = "s3cr3t-in-the-path-0123456789"


@pytest.mark.parametrize(("delay_ms", "latency_ms"), [(1_000, 8_000), (5_000, 6_500), (60_000, 8_000)])
def test_a_text_to_be_sent_again_is_when_its_call_is_still_under_way(rig: Rig, delay_ms: int, latency_ms: int) -> None:
    """The receipt outruns the call's own answer, and the answer may come after the text is due again."""

    async def story() -> None:
        rig.public_url = PUBLIC
        codes = CodeBook(codes={"30001": CodeRule(fate="retry", delays_ms=(delay_ms,), max_attempts=3)})
        rig.providers = [(rig.providers[0][0], rig.rules(codes=codes))]
        await rig.start()
        rig.carrier.latency_ms = latency_ms
        id = await rig.accepted()
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30001)
        rig.carrier.latency_ms = 5
        await rig.seconds(120)
        assert await rig.state(id) == "sent"
        assert len(rig.carrier.sends) == 2
        assert rig.engine.tally.backlog == 0
        await rig.stop()

    rig.run(story)


def test_the_backlog_is_right_when_the_older_of_two_calls_arrives(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30001)  # it is sent again in a minute
        assert rig.engine.tally.backlog == 1
        await twilio_says(rig, 0, "delivered")
        assert await rig.state(id) == "delivered"
        assert rig.engine.tally.backlog == 0
        await rig.seconds(200)
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)


def test_a_secret_path_that_a_provider_repeats_is_not_shown(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        made = replace(setting(twilio(), rig.rules()), webhook_secret=SECRET)
        rig.settings = (replace(made, status_url=status_url(PUBLIC, made)),)
        await rig.start()
        rig.carrier.answers = lambda name, form: answer(
            400, code=21609, message=f"The 'StatusCallback' URL {form['StatusCallback']} is not valid.", status=400
        )
        id = await rig.accepted()
        await rig.seconds(3)
        message = await rig.message(id)
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert SECRET in rig.carrier.sends[0][1]["StatusCallback"]
        assert message.error is not None
        assert "[private]" in message.error.message
        assert SECRET not in repr((message, attempts, [event.fields for event in rig.events]))
        await rig.stop()

    rig.run(story)


def test_a_late_receipt_of_what_was_called_before_a_resume_halts_nothing(rig: Rig) -> None:
    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(2)]
        await rig.seconds(1)
        await twilio_says(rig, 0, "undelivered", 30002)
        assert rig.engine.service.providers()[0].state is Standing.HALTED
        await rig.engine.service.resume("main")
        await rig.seconds(1)
        await twilio_says(rig, 1, "undelivered", 30002)
        assert rig.engine.service.providers()[0].state is Standing.OPEN
        assert [await rig.state(id) for id in ids] == ["undelivered", "undelivered"]
        await rig.accepted(text="after it")
        await rig.seconds(1)
        await twilio_says(rig, 2, "undelivered", 30002)
        assert rig.engine.service.providers()[0].state is Standing.HALTED
        await rig.stop()

    rig.run(story)


def test_a_look_up_does_not_find_the_call_before(rig: Rig) -> None:
    """What is sent again has the same text and number: the id of its first call proves nothing of the second, also
    when a thousand others were sent since."""
    rig.providers = [(twilio(), rig.rules(max_in_flight=400))]

    async def story() -> None:
        rig.public_url = PUBLIC
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(0.1)
        for n in range(1_100):
            await rig.accepted(to=f"+1415556{n:04d}", text=f"another {n}")
        await rig.seconds(10)
        await twilio_says(rig, 0, "undelivered", 30001)
        rig.carrier.script = [LOST]
        await rig.seconds(300)
        calls = [fields for _, fields in rig.carrier.sends if fields["To"] == TO]
        assert len(calls) == 3, "the second was lost: what the list shows is the first"
        assert await rig.state(id) == "sent"
        assert (await rig.message(id)).provider_message_id != rig.carrier.taken[0]["sid"]
        await rig.stop()

    rig.run(story)


def test_a_fault_while_kept_receipts_take_effect_is_seen(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        way_back = rig.engine.way_back
        nothing = cast(Any, [None])  # no receipt at all
        with structlog.testing.capture_logs() as logged:
            way_back._received(nothing)
            await rig.seconds(0.1)
        assert [each["log_level"] for each in logged if "kept receipts" in each["event"]] == ["error"]
        await rig.stop()

    rig.run(story)
