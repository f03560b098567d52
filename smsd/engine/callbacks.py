"""Which callback is called next, and how many at a time?

The loop of the callbacks' queue. What waits lies in the outbox; here are only what is called now and the next of it, a
bounded number, read when the outbox says that there is something new, when the next is due or when an origin's rest
ends: nobody polls. An origin (scheme, host and port) has `per_host` calls at a time, so one that is slow holds up no
other, and one that does not work rests (`core.calling`): nothing of it is read or held meanwhile, however much waits.

What became of a call is written after it: who is killed in between, or stops, calls again, with the same id and body
(at least once). It refuses to know what a try is and what follows from it (`tries`), and how a call is made.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.callback import Callback, CallbackRules
from smsd.core.callee import Network
from smsd.core.calling import Rest
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.engine.callout import Callout, Reply
from smsd.engine.tries import GONE, TRY_AGAIN_S, Tries
from smsd.store import Outbox, Records, StoreError

log = structlog.get_logger("smsd.callbacks")

IN_FLIGHT: Final = 64
"""Calls at the same time."""

READ: Final = 256
"""Callbacks read at once, a quarter of them of one origin; while more than these wait here, no more are read."""

ORIGINS: Final = 1_000
"""Origins whose failures are remembered. Of more, that which has failed least recently is forgotten and tried anew."""

GRACE_S: Final = 3.0
"""At the end calls in flight are given this long."""

GATHER_S: Final = 0.02
"""What comes within it is read together."""

LOOK_AGAIN_S: Final = 30.0
"""However far the next seems, look at the clock again after this: it may have been stepped."""

_NOT_WORKING: Final = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Counts:
    """How the queue stands."""

    waiting: int
    failed: int
    """Given up and kept."""
    oldest_due: Instant | None
    """Of those that wait."""
    in_flight: int
    resting: int
    """Origins that are left alone for now."""


class _Origin:
    """What is called and what is next at one origin."""

    __slots__ = ("calls", "lined_up", "more", "name", "rest", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.rest = Rest()
        self.calls = 0
        self.waiting: deque[Callback] = deque()
        self.lined_up = False
        """It stands in the line of those that may begin a call."""
        self.more = False
        """Something of it may be due that was left in the outbox."""


class Callbacks:
    """The queue's loop. `rule` before `run`; `close` ends its calls."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        bus: Bus,
        clock: Clock,
        dice: Callable[[], float],
        ended: Callable[[str], None] = lambda result: None,
        callout: Callable[[Sequence[Network]], Callout] = Callout,
    ) -> None:
        """`ended` is told how each try went: told, failed, gone, given_up or refused."""
        self._records = records
        self._clock = clock
        self._tries = Tries(outbox, bus, clock, dice, ended, callout)
        self._origins: dict[str, _Origin] = {}
        """In the order in which they last failed."""
        self._line: deque[_Origin] = deque()
        self._held = 0
        self._calls: dict[str, asyncio.Task[None]] = {}
        """By the callback's id."""
        self._passed: set[object] = set()
        """Ids of calls that ended, and URLs that were given up, while the outbox was read: what was read may be old."""
        self._going: set[tuple[str, str]] = set()
        """Tenants and URLs that are being given up."""
        self._rests: list[int] = []
        self._next: Instant | None = None
        self._look = True
        self._kick = asyncio.Event()
        self._closing = False
        self._fault: BaseException | None = None

    # -- from outside ------------------------------------------------------------------------------------------------

    def rule(self, rules: CallbackRules) -> None:
        """These rules count from the next try on."""
        self._tries.rule(rules)
        for origin in self._origins.values():
            self._line_up(origin)
        self.wake()

    def wake(self) -> None:
        """There are new callbacks, or due times changed."""
        self._look = True
        self._kick.set()

    async def counts(self) -> Counts:
        """Raises StoreError."""
        kept, now = await self._records.callback_counts(), self._clock.boot()
        resting = sum(origin.rest.room(now, 1) == 0 for origin in self._origins.values())
        return Counts(kept.waiting, kept.failed, kept.oldest_due, len(self._calls), resting)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._kick.clear()
            if self._fault is not None:
                raise self._fault
            await self._tries.close_old()
            self._begin()
            if self._has_room and self._may_find_some():
                await self._read()
            else:
                await self._sleep()

    async def close(self, grace_s: float = GRACE_S) -> None:
        """Begin no call; those in flight are given a moment. What has not ended by then stays due. Idempotent."""
        self._closing = True
        left = set(self._calls.values())
        if left:
            _, left = await asyncio.wait(left, timeout=grace_s)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._tries.close()

    # -- what is next ------------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        return not self._closing and self._held < READ and len(self._calls) < IN_FLIGHT

    def _may_find_some(self) -> bool:
        """Whether there may be callbacks in the outbox that can be called now."""
        now_us = self._clock.boot()
        while self._rests and self._rests[0] <= now_us:
            heappop(self._rests)
            self._look = True
        return self._look or (self._next is not None and self._next <= self._clock.wall())

    async def _read(self) -> None:
        await asyncio.sleep(GATHER_S)
        busy = [origin for origin in self._origins.values() if self._is_busy(origin)]
        for origin in busy:
            origin.more = True
        self._look, self._next = False, None
        self._passed.clear()
        names = [origin.name for origin in busy]
        try:
            found, following = await self._records.callbacks_due(self._clock.wall(), READ, names)
        except StoreError as error:
            log.error("callbacks could not be read; trying again", error=str(error))
            self._look = True
            await asyncio.sleep(TRY_AGAIN_S)
            return
        if following is not None:
            self._note(following)
        for callback in found:
            self._hold(callback)

    def _note(self, due: Instant) -> None:
        """A callback is due then."""
        if self._next is None or due < self._next:
            self._next = due

    def _is_busy(self, origin: _Origin) -> bool:
        """Whether nothing more of it can be used now."""
        return bool(origin.waiting) or origin.calls >= self._room(origin)

    def _room(self, origin: _Origin) -> int:
        return origin.rest.room(self._clock.boot(), self._tries.rules.per_host)

    def _hold(self, callback: Callback) -> None:
        place = (callback.tenant, callback.url)
        if callback.id in self._calls or callback.id in self._passed or place in self._passed or place in self._going:
            return
        origin = self._origins.get(callback.origin)
        if origin is None:
            origin = self._origins[callback.origin] = _Origin(callback.origin)
        if self._room(origin):
            origin.waiting.append(callback)
            self._held += 1
            self._line_up(origin)

    def _let_go(self, origin: _Origin, keep: Callable[[Callback], bool] = lambda callback: False) -> None:
        """What waits here is left to the outbox."""
        kept = deque(filter(keep, origin.waiting))
        self._held -= len(origin.waiting) - len(kept)
        origin.waiting = kept

    def _line_up(self, origin: _Origin) -> None:
        if origin.waiting and not origin.lined_up and origin.calls < self._room(origin):
            origin.lined_up = True
            self._line.append(origin)

    def _begin(self) -> None:
        """Begin calls, one of each origin in turn."""
        while self._line and len(self._calls) < IN_FLIGHT and not self._closing:
            origin = self._line.popleft()
            origin.lined_up = False
            if not origin.waiting or origin.calls >= self._room(origin):
                continue
            callback = origin.waiting.popleft()
            self._held -= 1
            origin.calls += 1
            task = asyncio.get_running_loop().create_task(self._call(origin, callback), name=f"smsd {callback.id}")
            self._calls[callback.id] = task
            task.add_done_callback(partial(self._call_ended, origin, callback))
            self._line_up(origin)

    def _call_ended(self, origin: _Origin, callback: Callback, task: asyncio.Task[None]) -> None:
        del self._calls[callback.id]
        self._passed.add(callback.id)
        if (place := (callback.tenant, callback.url)) in self._going:
            self._going.discard(place)
            self._passed.add(place)
        origin.calls -= 1
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
        self._line_up(origin)
        if origin.more and not self._is_busy(origin):
            origin.more = False
            self._look = True
        self._forget(origin)
        self._begin()
        self._kick.set()

    def _forget(self, origin: _Origin) -> None:
        """An origin of which nothing is to be remembered, and beyond the bound the one that failed longest ago."""
        if not origin.calls and not origin.waiting and not origin.rest.failures:
            self._origins.pop(origin.name, None)
        while len(self._origins) > ORIGINS:
            idle = next((each for each in self._origins.values() if not each.calls and not each.waiting), None)
            if idle is None:
                return
            del self._origins[idle.name]

    async def _sleep(self) -> None:
        """Until there is something to do; without room only the end of a call makes some."""
        wait = LOOK_AGAIN_S if self._has_room and (self._next is not None or self._rests) else None
        if wait is not None and self._next is not None:
            wait = min(wait, max(0, self._next - self._clock.wall()) / 1e3)
        if wait is not None and self._rests:
            wait = min(wait, max(0, self._rests[0] - self._clock.boot()) / 1e6)
        timer = None if wait is None else asyncio.get_running_loop().call_later(wait, self._kick.set)
        try:
            await self._kick.wait()
        finally:
            if timer is not None:
                timer.cancel()

    # -- one call ----------------------------------------------------------------------------------------------------

    async def _call(self, origin: _Origin, callback: Callback) -> None:
        due = await self._tries.perform(callback, partial(self._heard, origin, callback))
        if due is not None:
            self._note(due)

    def _heard(self, origin: _Origin, callback: Callback, reply: Reply) -> None:
        """What the answer says of the origin. One that refuses this call in its own words works."""
        if reply.status == GONE:
            self._url_gone(origin, callback.tenant, callback.url)
        if reply.status is not None and reply.status < 500 and reply.status not in _NOT_WORKING:
            origin.rest.answered()
            return
        origin.rest.failed(self._clock.boot())
        self._origins[origin.name] = self._origins.pop(origin.name, origin)
        if self._room(origin) == 0:
            self._let_go(origin)
            heappush(self._rests, origin.rest.until_us)

    def _url_gone(self, origin: _Origin, tenant: str, url: str) -> None:
        """Nothing more is called there; what waits for it is given up in the outbox."""
        self._going.add((tenant, url))
        self._let_go(origin, lambda each: (each.tenant, each.url) != (tenant, url))
