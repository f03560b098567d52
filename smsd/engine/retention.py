"""When is what is old taken away?

In passes, each of many small steps of the outbox: the first a minute after the start, each next one when something may
be old enough, as far as the outbox knows, and after an hour at the latest. Between two steps it rests for four times as
long as the last one took. That time holds the step's wait for its turn behind the writer's other work, so under load,
when a step waits longer, it rests longer: it takes at most a fifth of what the writer has to give. It refuses to know
what is old (`RetentionRules`), and how it goes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from smsd.clock import Clock
from smsd.core.message import Instant
from smsd.store import StoreError
from smsd.store.operators import Removal, RetentionRules

FIRST_S: Final = 60.0
"""From the start to the first pass: a start has other things to do."""

SOONEST_S: Final = 60.0
LATEST_S: Final = 3_600.0
"""Between two passes."""

RESTS: Final = 4
"""For how many times as long as a step took it rests after it."""

LEAST_REST_S: Final = 0.02

T = TypeVar("T")

log = structlog.get_logger("smsd.retention")


class Retention:
    """Takes away what the rules call old. `rule` before `run`."""

    def __init__(self, removal: Removal, clock: Clock, removed: Callable[[str, int], None]) -> None:
        """`removed` counts: what sort of rows, and how many."""
        self._removal = removal
        self._clock = clock
        self._removed = removed
        self._rules = RetentionRules()
        self._ruled = asyncio.Event()

    def rule(self, rules: RetentionRules) -> None:
        """These rules count from now on."""
        self._removal.rule(rules)
        if rules != self._rules:
            self._rules = rules
            self._ruled.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._ruled.clear()
        await self._rest(FIRST_S)
        while True:
            await self._rest(await self.once())

    async def once(self) -> float:
        """One pass. In how many seconds there may be something to do again."""
        try:
            following = await self._steps()
            while await self._timed(self._removal.shrink()):
                pass
        except StoreError as error:
            log.error("what is old could not be taken away; trying again", error=str(error), after_s=SOONEST_S)
            return SOONEST_S
        if following is None:
            return LATEST_S
        return min(max((following - self._clock.wall()) / 1e3, SOONEST_S), LATEST_S)

    async def _steps(self) -> Instant | None:
        while True:
            removed = await self._timed(self._removal.step(self._rules, self._clock.wall()))
            if removed.done:
                return removed.next
            if removed.rows:
                self._removed(removed.what, removed.rows)

    async def _timed(self, step: Coroutine[Any, Any, T]) -> T:
        """A step, and the rest after it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        done = await step
        await asyncio.sleep(max(LEAST_REST_S, RESTS * (loop.time() - began)))
        return done

    async def _rest(self, seconds: float) -> None:
        """So long, or until there are other rules."""
        timer = asyncio.get_running_loop().call_later(seconds, self._ruled.set)
        try:
            await self._ruled.wait()
        finally:
            timer.cancel()
        self._ruled.clear()
