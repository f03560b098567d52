"""Does a receipt that says the account is refused halt its provider for good, and only for what was called since?

Each story ends the daemon at a moment at which the outbox and the memory of a run could part.
"""

from __future__ import annotations

import asyncio

import pytest

from smsd.core.health import Health, Standing
from smsd.core.message import State
from smsd.core.verdict import Category
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import Rig, twilio
from tests.engine.way_back import PUBLIC, twilio_says

HOUR = 3_600_000
SLACK_S = 31
"""However quiet it is, the clocks are looked at every 30 s."""


class Deaf(SqliteOutbox):
    """Once `deaf`, it never comes to write a provider's health down."""

    deaf = False

    async def save_provider(self, health: Health) -> None:
        if self.deaf:
            await asyncio.get_running_loop().create_future()
        await super().save_provider(health)


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.public_url = PUBLIC
    return rig


def standing(rig: Rig) -> Standing:
    return rig.engine.service.providers()[0].state


async def called(rig: Rig, text: str = "before") -> str:
    id = await rig.accepted(text=text)
    await rig.seconds(1)
    assert await rig.state(id) == "sent"
    return id


def test_a_halt_is_durable_with_its_receipt(rig: Rig) -> None:
    """The process dies after the receipt's commit, before the lane has written its health down."""

    async def story() -> None:
        rig.outbox = Deaf
        await rig.start()
        id = await called(rig)
        rig.store.deaf = True  # type: ignore[attr-defined]  # rig.outbox says which class it is
        saying = asyncio.ensure_future(twilio_says(rig, 0, "undelivered", 30002))
        await rig.seconds(1)
        assert not saying.done(), "the lane waits for its health to be written"
        await rig.crash()
        rig.outbox = SqliteOutbox
        await rig.start()
        assert await rig.state(id) == "undelivered"
        assert standing(rig) is Standing.HALTED
        assert "30002" in rig.engine.lanes["main"].reason()
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("again", ["restart", "crash"])
def test_a_resume_is_remembered_by_the_next_run(rig: Rig, again: str) -> None:
    async def story() -> None:
        await rig.start()
        for n in range(2):
            await called(rig, f"text {n}")
        await twilio_says(rig, 0, "undelivered", 30002)
        await rig.engine.service.resume("main")
        await rig.seconds(1)
        await (rig.stop() if again == "restart" else rig.crash())
        await rig.start()
        await twilio_says(rig, 1, "undelivered", 30002)
        assert standing(rig) is Standing.OPEN
        await rig.stop()
        await rig.start()
        assert standing(rig) is Standing.OPEN, "nor was it written down as halted"
        await called(rig, "after it")
        await twilio_says(rig, 2, "undelivered", 30002)
        assert standing(rig) is Standing.HALTED
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("way", ["restart", "reload"])
@pytest.mark.parametrize("halted", [True, False])
def test_what_was_called_with_other_credentials_halts_nothing(rig: Rig, way: str, halted: bool) -> None:
    """Also when nothing was ever wrong with the provider until they were changed."""

    async def story() -> None:
        await rig.start()
        for n in range(2):
            await called(rig, f"text {n}")
        if halted:
            await twilio_says(rig, 0, "undelivered", 30002)
            assert standing(rig) is Standing.HALTED
        await rig.seconds(1)
        # The senders are part of what may cause a halt; the token stays, for it signs the receipts.
        rig.providers = [(twilio(), rig.rules(senders=("+15005550009",)))]
        if way == "restart":
            await rig.stop()
            await rig.start()
        else:
            await rig.engine.reconfigure(rig.plan())
        assert standing(rig) is Standing.OPEN
        await twilio_says(rig, 1, "undelivered", 30002)
        assert standing(rig) is Standing.OPEN
        await called(rig, "after it")
        await twilio_says(rig, 2, "undelivered", 30002)
        assert standing(rig) is Standing.HALTED
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("way", ["resumed", "other senders"])
def test_trust_of_a_clock_that_was_ahead_follows_it_back(rig: Rig, way: str) -> None:
    """In the lane and in the outbox: the process dies before the lane has written its health down."""

    async def story() -> None:
        rig.outbox = Deaf
        await rig.start()
        await called(rig)
        rig.clock.step(HOUR)
        await rig.seconds(SLACK_S)
        if way == "resumed":
            await rig.engine.service.resume("main")
        else:
            rig.providers = [(twilio(), rig.rules(senders=("+15005550009",)))]
            await rig.engine.reconfigure(rig.plan())
        rig.clock.step(-HOUR)
        await rig.seconds(SLACK_S)
        await twilio_says(rig, 0, "undelivered", 30002)
        assert standing(rig) is Standing.OPEN, "it was called before"
        await called(rig, "after it")
        rig.store.deaf = True  # type: ignore[attr-defined]  # rig.outbox says which class it is
        saying = asyncio.ensure_future(twilio_says(rig, 1, "undelivered", 30002))
        await rig.seconds(1)
        assert (standing(rig), saying.done()) == (Standing.HALTED, False)
        await rig.crash()
        rig.outbox = SqliteOutbox
        await rig.start()
        assert standing(rig) is Standing.HALTED
        await rig.stop()

    rig.run(story)


def test_a_provider_that_nobody_calls_is_not_halted(rig: Rig) -> None:
    """It is disabled when the receipt comes, and open when it is enabled again."""

    async def story() -> None:
        main, other = (twilio(), rig.rules()), (twilio("other"), rig.rules())
        rig.providers = [main]
        await rig.start()
        id = await called(rig)
        await rig.stop()
        rig.providers, rig.retired = [other], [main]
        await rig.start()
        await twilio_says(rig, 0, "undelivered", 30002)
        message = await rig.message(id)
        assert message.error is not None
        assert (message.state, message.error.category) == (State.UNDELIVERED, Category.AUTH_FAILED)
        await rig.stop()
        rig.providers, rig.retired = [main], []
        await rig.start()
        assert standing(rig) is Standing.OPEN
        await rig.stop()

    rig.run(story)
