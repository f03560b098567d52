"""What does a receipt prove that comes before anybody knows what it is about?

Stories in virtual time: of calls whose answer never came, comes later or was cut off by a crash; and of a Dialpad,
whose receipts name only its own id.
"""

from __future__ import annotations

import json

import pytest

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.receipt import Status
from smsd.core.verdict import Category
from smsd.providers.base import NoAnswer, Outcome, Request, Response
from tests.engine.rig import LOST, Rig, answer, twilio
from tests.engine.way_back import LOST_SID, PUBLIC, dialpad, dialpad_report, error, of, post, twilio_says

DAY_S = 86_400.0


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.public_url = PUBLIC
    return rig


# -- doubt ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"), [("sent", "sent"), ("delivered", "delivered"), ("undelivered", "undelivered")]
)
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


def test_a_resend_that_is_due_soon_is_not_forgotten(rig: Rig) -> None:
    """The receipt outruns the answer by seconds, and the message is due again before, or soon after, the call ends."""
    rig.providers = [(twilio(), rig.rules(codes=CodeBook(codes={"30001": CodeRule("retry", None, 2, (2_000,))})))]

    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        await rig.start()
        ids = [await rig.accepted(to=f"+1415555012{n}", text=f"number {n}") for n in range(3)]
        for n, _ in enumerate(ids):
            await rig.seconds(1.6)
            await twilio_says(rig, n, "undelivered", 30001 if n < 2 else 30005)
        await rig.engine.service.retry(ids[2], None, ttl=None, expires_at=None, force=False)
        await rig.seconds(30)
        assert [await rig.state(id) for id in ids] == ["sent", "sent", "sent"]
        assert len(rig.carrier.sends) == 6
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
