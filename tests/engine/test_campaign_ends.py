"""Is the end of a campaign told once whatever brings it about, and does a cancelled one come to rest?

What the outbox answers, and how long it takes to, is said by a double where a story hangs on the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import pytest

from smsd.core.campaign import Campaign, Counts, Move, Status, Terms
from smsd.core.events import Event, Kind
from smsd.core.message import Instant, Message, State
from smsd.engine.bus import Bus
from smsd.engine.campaigns import LINGER_S, LOOK_S, Campaigns
from smsd.providers.base import Outcome
from tests.engine.rig import LOST, SHOP, Rig, answer
from tests.simulation.clock import SimulatedClock
from tests.simulation.loop import VirtualLoop

ID = "spring"
NAME = {"tenant": "shop", "campaign": ID}
ANSWERS_S = 0.02


class Kept:
    """One campaign as a slow outbox shows it: what it answers is as it was when it was asked."""

    def __init__(self, **states: int) -> None:
        self.states = {State[name.upper()]: count for name, count in states.items()}
        self.cancelled_at: Instant | None = None
        self.left = 0
        """How many steps find something to cancel."""
        self.looks = 0
        self.steps: list[tuple[float, float]] = []

    def _now(self) -> Campaign:
        return Campaign(1, "shop", ID, 0, 0, Terms(), None, self.cancelled_at, Counts(dict(self.states)))

    async def find(self, id: str, tenant: str | None) -> tuple[Campaign, ...]:
        self.looks += 1
        found = self._now()
        await asyncio.sleep(ANSWERS_S)
        return (found,)

    async def page(self, tenant: str | None, before: int | None, limit: int) -> tuple[Campaign, ...]:
        return await self.find(ID, tenant) if self.states else ()

    async def cancelled(self) -> tuple[tuple[str, str], ...]:
        return (("shop", ID),) if self.cancelled_at is not None else ()

    async def cancel_some(self, tenant: str, id: str, now: Instant, limit: int) -> list[Message]:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(ANSWERS_S)
        self.steps.append((began, asyncio.get_running_loop().time()))
        if not self.left:
            return []
        self.left -= 1
        return [cast(Message, _Waiting())]


class _Waiting:
    """What is told of a message."""

    seq, id, tenant, campaign, user, recipient, metadata = 1, "m", "shop", ID, None, "+14155550123", None

    def __getattr__(self, name: str) -> None:
        return None


class Story:
    """The part under test with that outbox, in virtual time."""

    def __init__(self, kept: Kept) -> None:
        self.kept = kept
        self.loop = VirtualLoop()
        self.bus = Bus()
        self.told: list[Event] = []
        self.bus.subscribe(self.told.append)
        clock = SimulatedClock(self.loop, boot_us=1)
        nothing = cast(Any, _Nothing())
        self.part = Campaigns(cast(Any, kept), nothing, nothing, self.bus, clock, lambda: None)

    def play(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def whole() -> None:
            work = asyncio.create_task(self.part.run())
            try:
                await story()
            finally:
                work.cancel()
                await asyncio.wait([work])

        try:
            self.loop.run_until_complete(whole())
        finally:
            self.loop.close()

    def happened(self, kind: Kind) -> None:
        self.bus.publish(kind, 1, **NAME)

    @property
    def ends(self) -> int:
        return sum(event.kind is Kind.CAMPAIGN_COMPLETED for event in self.told)


class _Nothing:
    """A schedule that drops what it is told to drop."""

    def drop(self, seq: int) -> None:
        assert seq == 1


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# --- completed -------------------------------------------------------------------------------------------------------


def test_one_whose_last_message_is_found_by_a_look_up_is_complete(rig: Rig) -> None:
    async def story() -> None:
        def lost(_: str, fields: dict[str, str]) -> Outcome:
            rig.carrier.take(fields)
            return LOST

        rig.carrier.answers = lost
        await rig.start()
        await rig.accepted(campaign=ID)
        await rig.seconds(300)
        assert rig.kinds().count(Kind.MESSAGE_RECONCILED) == 1
        assert rig.kinds().count(Kind.CAMPAIGN_COMPLETED) == 1
        await rig.stop()

    rig.run(story)


def test_the_last_message_may_end_while_the_campaign_is_looked_at() -> None:
    kept = Kept()
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(1)
        for _ in range(2):
            play.happened(Kind.MESSAGE_ACCEPTED)
        kept.states = {State.PENDING: 1, State.SENT: 1}
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(LOOK_S + ANSWERS_S / 2)
        kept.states = {State.SENT: 2}  # the look has read the counts, and its answer is on its way
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(10)
        assert (play.ends, kept.looks) == (1, 2)

    play.play(story)


def test_news_that_come_after_the_counts_tell_no_second_end() -> None:
    """Of two that went the look saw both at once; one of them is told of during it, and one more comes afterwards."""
    kept = Kept()
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(1)
        for _ in range(3):
            play.happened(Kind.MESSAGE_ACCEPTED)
        kept.states = {State.SENT: 3}
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(LOOK_S + ANSWERS_S / 2)
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(10)
        play.happened(Kind.MESSAGE_RECONCILED)
        await asyncio.sleep(10)
        assert play.ends == 1

    play.play(story)


def test_what_comes_while_it_is_looked_at_keeps_it_open() -> None:
    kept = Kept()
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(1)
        play.happened(Kind.MESSAGE_ACCEPTED)
        kept.states = {State.SENT: 1}
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(LOOK_S + ANSWERS_S / 2)
        play.happened(Kind.MESSAGE_ACCEPTED)
        await asyncio.sleep(10)
        assert play.ends == 0
        kept.states = {State.SENT: 2}
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(10)
        assert play.ends == 1

    play.play(story)


def test_the_last_message_may_end_while_open_campaigns_are_found_at_the_start() -> None:
    kept = Kept(pending=1)
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(ANSWERS_S / 2)
        kept.states = {State.SENT: 1}
        play.happened(Kind.MESSAGE_SENT)
        await asyncio.sleep(10)
        assert play.ends == 1

    play.play(story)


# --- cancelled -------------------------------------------------------------------------------------------------------


def test_between_two_steps_it_rests_as_long_as_a_step_took() -> None:
    kept = Kept(pending=5)
    kept.cancelled_at, kept.left = 1, 5
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(10)
        assert len(kept.steps) == 6
        rests = [later[0] - earlier[1] for earlier, later in zip(kept.steps, kept.steps[1:], strict=False)]
        assert min(rests) >= ANSWERS_S - 1e-6

    play.play(story)


def test_as_long_as_messages_are_under_way_what_came_back_unseen_is_looked_for() -> None:
    """And no longer."""
    kept = Kept(processing=1)
    kept.cancelled_at = 1
    play = Story(kept)

    async def story() -> None:
        await asyncio.sleep(1)
        assert len(kept.steps) == 1
        kept.left = 1
        await asyncio.sleep(LINGER_S)
        assert kept.left == 0
        kept.states = {State.CANCELLED: 1}
        await asyncio.sleep(2 * LINGER_S)
        looks, turns = kept.looks, play.loop.turns
        await asyncio.sleep(100 * LINGER_S)
        assert (kept.looks, play.loop.turns) == (looks, turns + 1)

    play.play(story)


@pytest.mark.parametrize("restarts", [False, True])
def test_one_that_comes_back_to_a_cancelled_campaign_is_cancelled_at_once(rig: Rig, restarts: bool) -> None:
    """Though nobody may claim it: its provider is paused, and its retry is due in an hour."""

    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        rig.carrier.script = [answer(429, {"retry-after": "3600"})]
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(1)
        assert await rig.state(id) == "processing"
        await rig.engine.service.pause("main")
        await rig.engine.office.campaigns.move(SHOP.tenant, ID, Move.CANCEL)
        await rig.seconds(1)
        if restarts:
            await rig.crash()
            await rig.start()
        await rig.seconds(10)
        (one,) = await rig.engine.office.campaigns.find(ID, SHOP.tenant)
        if not restarts:
            assert (await rig.state(id), one.counts.queued) == ("cancelled", 0)
        await rig.seconds(600)
        (one,) = await rig.engine.office.campaigns.find(ID, SHOP.tenant)
        assert (one.status, one.counts.queued) == (Status.CANCELLED, 0)
        await rig.stop()

    rig.run(story)
