"""Is an application told what happens to its messages, and does nothing suffer when it cannot be told?

Virtual time; the application is a function that says how each call goes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from smsd.core.callback import CallbackRules
from smsd.core.units import HOUR, MINUTE
from smsd.engine.callbacks import IN_FLIGHT, READ
from smsd.engine.callout import Reply
from tests.engine.rig import Rig, answer
from tests.engine.way_back import PUBLIC, twilio_says

URL = "https://shop.example/told"
RULES = CallbackRules(urls={"shop": URL}, secret=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))

DAY_S = 86_400
MESSAGES = 240
"""One each six minutes of the day."""


class Application:
    """It takes what it is told, unless it is down."""

    def __init__(self) -> None:
        self.down = False
        self.calls = 0
        self.told: list[tuple[str, str]] = []
        """(id, body) of what it took."""

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        self.calls += 1
        if self.down:
            return Reply(error="connection refused")
        self.told.append((headers["webhook-id"], body.decode()))
        return Reply(204)

    @property
    def ids(self) -> list[str]:
        return [id for id, _ in self.told]


@pytest.fixture
def application(rig: Rig) -> Application:
    rig.public_url = PUBLIC
    rig.application = made = Application()
    rig.messages = type(rig.messages)(callbacks=RULES)
    return made


async def a_day(rig: Rig) -> tuple[list[str], list[int]]:
    """Messages all day long, most of them delivered a minute later; their ids, and when they were sent."""
    ids = []
    most = 0
    for n in range(MESSAGES):
        ids.append(await rig.accepted(text=f"number {n}"))
        await rig.seconds(60)
        if n % 4:
            await twilio_says(rig, n, "delivered" if n % 4 > 1 else "undelivered", 30005 if n % 4 == 1 else None)
        await rig.seconds(DAY_S / MESSAGES - 60)
        most = max(most, rig.engine.way_back.callbacks._held)
    assert most <= READ + IN_FLIGHT
    return ids, [at - rig.carrier.sends[0][0] for at, _ in rig.carrier.sends]


def test_a_receiver_that_is_down_for_a_day(rig: Rig, application: Application) -> None:
    """Sending does not notice; it is called now and then; once it is back it hears of everything, each once."""
    others: list[int] = []

    async def story() -> None:
        application.down = True
        await rig.start()
        ids, sent = await a_day(rig)
        others.extend(sent)
        counts = await rig.engine.way_back.callbacks.counts()
        assert counts.waiting == MESSAGES + MESSAGES * 3 // 4
        assert counts.failed == 0
        assert application.calls < 400, "each callback for itself would have been tried some ten times"
        application.down = False
        await rig.seconds(11 * MINUTE / 1_000 + 60)
        assert len(application.told) > counts.waiting * 0.95
        await rig.seconds(8 * HOUR / 1_000)
        expected = {f"evt_{id}_0_sent" for id in ids}
        ends = {1: "undelivered", 2: "delivered", 3: "delivered"}
        expected |= {f"evt_{id}_0_{ends[n % 4]}" for n, id in enumerate(ids) if n % 4}
        assert sorted(application.ids) == sorted(expected)
        assert (await rig.engine.way_back.callbacks.counts()).waiting == 0
        await rig.stop()

    rig.run(story)
    assert others == calm(rig)


def calm(rig: Rig) -> list[int]:
    """When the same messages are sent by an engine that calls nobody."""
    other = Rig(rig.path.parent / "calm")
    other.path.parent.mkdir()
    other.public_url = PUBLIC
    times: list[int] = []

    async def story() -> None:
        await other.start()
        times.extend((await a_day(other))[1])
        await other.stop()

    other.run(story)
    return times


def test_what_is_sent_again_is_not_told_as_undelivered(rig: Rig, application: Application) -> None:
    """Only the last word is; a person's retry is another round, with events of its own."""

    async def story() -> None:
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        for n in range(3):
            await twilio_says(rig, n, "undelivered", 30001)
            await rig.seconds(200)
        assert set(application.ids) == {f"evt_{id}_0_sent", f"evt_{id}_0_undelivered"}
        assert application.ids.count(f"evt_{id}_0_undelivered") == 1
        await rig.engine.service.retry(id, None, ttl=None, expires_at=None, force=False)
        await rig.seconds(1)
        await twilio_says(rig, 3, "delivered")
        await rig.seconds(1)
        assert application.ids[-2:] == [f"evt_{id}_1_sent", f"evt_{id}_1_delivered"]
        await rig.stop()

    rig.run(story)


def test_every_state_is_told_with_what_the_message_says(rig: Rig, application: Application) -> None:
    """Sent, delivered, failed, cancelled, expired; a restart loses none and repeats none that was told."""

    async def story() -> None:
        application.down = True
        await rig.start()
        sent = await rig.accepted(text="sent", metadata={"order": "7"})
        await rig.seconds(1)
        rig.carrier.script = [answer(400, code=21211, message="no such number")]
        failed = await rig.accepted(text="failed")
        cancelled = await rig.accepted(text="cancelled", send_at="2026-09-22T00:00:00Z")
        await rig.engine.service.cancel(cancelled, None)
        await rig.engine.service.pause("main", "a test")
        expired = await rig.accepted(text="expired", ttl="10s")
        await rig.seconds(60)
        await twilio_says(rig, 0, "delivered")
        await rig.crash()
        application.down = False
        await rig.start()
        await rig.seconds(7 * HOUR / 1_000)
        states = [
            (sent, "sent"),
            (sent, "delivered"),
            (failed, "failed"),
            (cancelled, "cancelled"),
            (expired, "expired"),
        ]
        assert sorted(application.ids) == sorted(f"evt_{id}_0_{state}" for id, state in states)
        bodies = {id: json.loads(body) for id, body in application.told}
        delivered = bodies[f"evt_{sent}_0_delivered"]
        assert (delivered["type"], delivered["data"]["metadata"]) == ("message.delivered", {"order": "7"})
        assert bodies[f"evt_{failed}_0_failed"]["data"]["error"]["code"] == "21211"
        assert all("text" not in body["data"] for body in bodies.values())
        await rig.stop()

    rig.run(story)
