"""Was the wall clock stepped, and who has to know?

A Clock for the engine's parts that compares wall and boot time whenever it is asked for the wall time. So a step is
noticed before any decision is made by the new time, and at the latest after 30 s, because the dispatcher asks that
often. What is due then follows the step in the outbox, piece by piece (`Outbox.follow_step`), and whoever holds due
times in memory reads them anew. A suspend is no step: boot time runs on in it.

It refuses to know what is due and how it moves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.message import Instant
from smsd.store import Outbox, Step, StoreError

log = structlog.get_logger("smsd.steps")

NOTICED_US: Final = 500_000
"""A difference between the clocks that changed by no more is no step; many small ones add up to one."""

AGAIN_S: Final = 1.0
"""Before a piece that the outbox could not write is tried again."""


class Steps:
    """Stands where the machine's clock does.

    `noticed` is called, by whoever asks for the time, when it was stepped: what is blocked until a time is not any
    more, and after a step ahead (True) nothing may be claimed until what is due has followed it. `followed`: that is
    done, and due times in memory are void.
    """

    def __init__(
        self, clock: Clock, outbox: Outbox, noticed: Callable[[bool], None], followed: Callable[[], None]
    ) -> None:
        self._clock = clock
        self._outbox = outbox
        self._tell_noticed = noticed
        self._tell_followed = followed
        self._ahead_us = clock.wall() * 1_000 - clock.boot()
        """By how much the wall clock is ahead of boot time, as far as was noticed."""
        self._waiting: deque[Step] = deque()
        """Steps that nothing has followed yet: those found at the start, and one of this run, for it takes in those
        that come after it."""
        self._noticed = asyncio.Event()

    def wall(self) -> Instant:
        """See Clock.wall."""
        wall = self._clock.wall()
        if abs(wall * 1_000 - self._clock.boot() - self._ahead_us) > NOTICED_US:
            self._notice(wall)
        return wall

    def boot(self) -> int:
        """See Clock.boot."""
        return self._clock.boot()

    def begin(self, steps: Iterable[Step]) -> None:
        """These were found at the start."""
        self._waiting.extendleft(reversed(tuple(steps)))
        if self._waiting:
            self._wake()

    def _notice(self, wall: Instant) -> None:
        ahead_us = wall * 1_000 - self._clock.boot()
        by_ms = (self._ahead_us - ahead_us) // 1_000
        self._ahead_us = ahead_us
        log.warning("the wall clock was set back" if by_ms > 0 else "the wall clock was set ahead", by_ms=abs(by_ms))
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.after is None:
            self._waiting[-1] = Step(last.by_ms + by_ms, wall)
        else:
            self._waiting.append(Step(by_ms, wall))
        self._wake()

    def _wake(self) -> None:
        self._noticed.set()
        self._tell_noticed(any(step.by_ms < 0 for step in self._waiting))

    async def run(self) -> None:
        """Follow steps; sleep until there is one."""
        while True:
            await self._noticed.wait()
            self._noticed.clear()
            while self._waiting:
                await self._follow(self._waiting.popleft())
            self._tell_followed()

    async def _follow(self, step: Step) -> None:
        rest: Step | None = step
        while rest is not None:
            try:
                rest = await self._outbox.follow_step(rest)
            except StoreError as error:
                log.error("due times could not follow the clock; trying again", error=str(error))
                await asyncio.sleep(AGAIN_S)
