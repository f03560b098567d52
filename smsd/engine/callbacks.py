"""Which callback is called next, and how many at a time?

The loop of the callbacks' queue. What waits lies in the outbox; here are only what is called now and the next of it, a
bounded number, read when the outbox says that there is something new, when the next is due or when a rest ends: nobody
polls. What is read, and what rests when it does not work (`core.calling`), is a place: a tenant and an origin (scheme,
host and port), so that at a host that serves many the mistake of one tenant is no other's. Of a place that rests
nothing is read or held, however much waits; and of a tenant that has its share of calls or of what is held here,
nothing more, so that others find room whatever it does.

What became of a call is written after it: who is killed in between, or stops, calls again, with the same id and body
(at least once). It refuses to know whose turn it is at a host (`places`), what a try is
and what follows from it (`tries`), and how a call is made.
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
from smsd.core.calling import may_take
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.engine.callout import Callout, Reply
from smsd.engine.places import Host, Place, Places, Share
from smsd.engine.receivers import Receivers
from smsd.engine.tries import GONE, TRY_AGAIN_S, Moment, Tries
from smsd.store import Outbox, Records, StoreError

log = structlog.get_logger("smsd.callbacks")

IN_FLIGHT: Final = 64
"""Calls at the same time, shared by tenants: one has half of them at most (`core.calling.may_take`)."""

READ: Final = 64
"""Callbacks read at once, a quarter of them of one place."""

HELD: Final = 512
"""Callbacks that wait here at most, shared by tenants as calls are. It takes more places to fill a tenant's share of it
than of calls, so that receivers that are slow keep no other of their tenant from being read."""

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
    """Places (tenant and origin) that are left alone for now."""


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
        self._places = Places()
        self._receivers = Receivers(clock)
        self._line: deque[Host] = deque()
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
        self._on_hold = False
        self._holds = 0
        """How often it was put on hold."""
        self._kick = asyncio.Event()
        self._closing = False
        self._fault: BaseException | None = None

    # -- from outside ------------------------------------------------------------------------------------------------

    def rule(self, rules: CallbackRules) -> None:
        """These rules count from the next try on."""
        self._tries.rule(rules)
        for host in self._places.hosts:
            self._line_up(host)
        self.wake()

    def hold(self, held: bool) -> None:
        """While held nothing is read: the clock was stepped, and the times in the outbox are yet to follow it."""
        self._on_hold = held
        self._holds += held
        self.wake()

    def wake(self) -> None:
        """There are new callbacks, or due times changed."""
        self._look = True
        self._kick.set()

    def end_rests(self, tenant: str | None) -> None:
        """The places of the tenant (None: of all) need not rest any longer; each is tried by one call."""
        for place in self._places:
            if tenant is None or place.share.tenant == tenant:
                place.rest.end()
        self.wake()

    async def counts(self) -> Counts:
        """Raises StoreError."""
        kept, now = await self._records.callback_counts(), self._clock.boot()
        resting = sum(place.rest.room(now, 1) == 0 for place in self._places)
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
        return not (self._closing or self._on_hold) and self._held < HELD and len(self._calls) < IN_FLIGHT

    def _may_find_some(self) -> bool:
        """Whether there may be callbacks in the outbox that can be called now."""
        now_us = self._clock.boot()
        while self._rests and self._rests[0] <= now_us:
            heappop(self._rests)
            self._look = True
        return self._look or (self._next is not None and self._next <= self._clock.wall())

    async def _read(self) -> None:
        await asyncio.sleep(GATHER_S)
        now, holds = Moment(self._clock.wall(), self._clock.boot()), self._holds
        busy = [place for place in self._places if self._is_busy(place)]
        full = [share for share in self._places.shares if not may_take(share.held, self._held, HELD)]
        for place in busy:
            place.more = True
        for share in full:
            share.more = True
        self._look, self._next = False, None
        self._passed.clear()
        try:
            found, following = await self._records.callbacks_due(
                now.wall, READ, [place.name for place in busy], [share.tenant for share in full]
            )
        except StoreError as error:
            log.error("callbacks could not be read; trying again", error=str(error))
            self._look = True
            await asyncio.sleep(TRY_AGAIN_S)
            return
        if self._on_hold or holds != self._holds:
            self._look = True  # by which clock this was read nobody knows
            return
        if following is not None:
            self._note(following)
        for callback in found:
            self._keep(callback, now)

    def _note(self, due: Instant) -> None:
        """A callback is due then."""
        if self._next is None or due < self._next:
            self._next = due

    def _is_busy(self, place: Place) -> bool:
        """Whether nothing more of it can be used now."""
        return bool(place.waiting) or place.calls >= self._room(place)

    def _room(self, place: Place) -> int:
        return place.rest.room(self._clock.boot(), self._tries.rules.per_host)

    def _keep(self, callback: Callback, read: Moment) -> None:
        url = (callback.tenant, callback.url)
        if callback.id in self._calls or callback.id in self._passed or url in self._passed or url in self._going:
            return
        if not may_take(self._places.held_of(callback.tenant), self._held, HELD):
            self._look = True  # without this tenant: others may be behind it
            return
        place = self._places.of(callback)
        if self._room(place):
            place.add(callback, read)
            self._held += 1
            self._line_up(place.host)

    def _let_go(self, place: Place, keep: Callable[[Callback], bool] = lambda callback: False) -> None:
        """What waits here is left to the outbox."""
        self._held -= place.let_go(keep)

    def _line_up(self, host: Host) -> None:
        if host.line and not host.lined_up:
            host.lined_up = True
            self._line.append(host)

    def _begin(self) -> None:
        """Begin calls, one of each host in turn, and of each a place's whose turn it is."""
        self._unblock()
        while self._line and len(self._calls) < IN_FLIGHT and not self._closing:
            host = self._line.popleft()
            host.lined_up = False
            place = host.next(self._clock.boot(), self._tries.rules.per_host, len(self._calls), IN_FLIGHT)
            if place is None:
                continue
            callback, read = place.begin()
            self._held -= 1
            call = self._call(place, callback, read)
            task = asyncio.get_running_loop().create_task(call, name=f"smsd {callback.id}")
            self._calls[callback.id] = task
            task.add_done_callback(partial(self._call_ended, place, callback))
            self._line_up(host)
            self._refill(place.share)

    def _unblock(self) -> None:
        """Tenants that had their share may have more of it now."""
        for share in self._places.shares:
            self._refill(share)
            for _ in range(min(len(share.blocked), IN_FLIGHT - len(self._calls) - share.calls)):
                host = next(iter(share.blocked))
                del share.blocked[host]
                self._line_up(host)

    def _refill(self, share: Share) -> None:
        """Read more of the tenant when it holds no more than half of its share."""
        if share.more and (not share.held or may_take(2 * share.held, self._held, HELD)):
            share.more = False
            self._look = True

    def _call_ended(self, place: Place, callback: Callback, task: asyncio.Task[None]) -> None:
        del self._calls[callback.id]
        self._passed.add(callback.id)
        if (url := (callback.tenant, callback.url)) in self._going:
            self._going.discard(url)
            self._passed.add(url)
        place.ended()
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
        self._line_up(place.host)
        if place.more and not self._is_busy(place):
            place.more = False
            self._look = True
        self._refill(place.share)
        self._places.forget(place)
        self._begin()
        self._kick.set()

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

    async def _call(self, place: Place, callback: Callback, read: Moment) -> None:
        due = await self._tries.perform(callback, read, partial(self._heard, place, callback))
        if due is not None:
            self._note(due)

    def _heard(self, place: Place, callback: Callback, reply: Reply) -> None:
        """What the answer says of the place. One that refuses this call in its own words works."""
        if reply.postponed:
            place.rest.pause(self._clock.boot())
            self._left_alone(place)
            return
        was_down = place.rest.is_down
        if reply.status == GONE:
            self._url_gone(place, callback.tenant, callback.url)
        if reply.status is not None and reply.status < 500 and reply.status not in _NOT_WORKING:
            place.rest.answered()
            if was_down:
                self._receivers.works(callback.tenant, callback.origin)
            return
        now_us = self._clock.boot()
        place.rest.failed(now_us)
        self._places.failed(place)
        if place.rest.is_down and not was_down:
            why = reply.error or f"HTTP {reply.status}"
            self._receivers.is_down(callback.tenant, callback.origin, why, place.rest.until_us - now_us)
        self._left_alone(place)

    def _left_alone(self, place: Place) -> None:
        """If it rests now, nothing of it is held here."""
        if self._room(place) == 0:
            self._let_go(place)
            heappush(self._rests, place.rest.until_us)

    def _url_gone(self, place: Place, tenant: str, url: str) -> None:
        """Nothing more is called there; what waits for it is given up in the outbox."""
        self._going.add((tenant, url))
        self._let_go(place, lambda each: (each.tenant, each.url) != (tenant, url))
