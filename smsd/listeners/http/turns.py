"""Who may do something costly now, and who waits?

A listing takes the loop's time and memory, so there are few at once, and one caller never has all of them. Who must
wait is let in by turns, caller by caller: a caller with many waiting delays itself, not the others. It knows neither
what is done in a turn nor how long that takes.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from smsd.listeners.callers import ProblemError


class Turns:
    """So many at once, of all and of one; so many waiting, likewise."""

    def __init__(self, at_once: int = 2, of_one: int = 1, *, waiting: int = 256, waiting_of_one: int = 32) -> None:
        self._at_once = at_once
        self._of_one = of_one
        self._most = waiting
        self._most_of_one = waiting_of_one
        self._running: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By caller; the first one's turn is next."""
        self.waiting = 0

    @asynccontextmanager
    async def turn(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn, and have it. Raises ProblemError limit_exceeded when too many of the caller's wait,
        backlog_full when too many of all callers' do."""
        if self._running.total() < self._at_once and self._running[caller] < self._of_one:
            self._running[caller] += 1  # whoever waits could not have it: else it had been passed on
        else:
            await self._wait(caller)
        try:
            yield
        finally:
            self._end(caller)

    async def _wait(self, caller: str) -> None:
        queue = self._queues.get(caller, deque())
        if len(queue) >= self._most_of_one:
            text = f"{len(queue)} listings of {caller} wait already: ask for one page after the other."
            raise ProblemError.of("limit_exceeded", text)
        if self.waiting >= self._most:
            raise ProblemError.of("backlog_full", "Too many listings are waiting. Repeat it later.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._queues.setdefault(caller, queue)
        self.waiting += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(caller, turn)
            else:
                self._end(caller)
            raise
        finally:
            self.waiting -= 1

    def _forget(self, caller: str, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller, deque())
        if turn in queue:
            queue.remove(turn)
        if not queue:
            self._queues.pop(caller, None)

    def _end(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        while self._running.total() < self._at_once:
            following = next((each for each in self._queues if self._running[each] < self._of_one), None)
            if following is None:
                return
            self._pass_on(following)

    def _pass_on(self, caller: str) -> None:
        queue = self._queues.pop(caller)
        turn = queue.popleft()
        if queue:
            self._queues[caller] = queue
        if not turn.done():
            self._running[caller] += 1
            turn.set_result(None)
