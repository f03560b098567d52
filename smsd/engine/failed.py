"""How is what failed tried again or taken away, however much it is?

The failed queue holds what ended failed or undelivered. One message is reopened by `reopen`, which is also the retry
of the service. Many are swept: named by their ids, or found by a filter newest first, in steps of 100 with the loop
free in between, so that nothing else is held up. A sweep goes down by the numbers of acceptance and never back: it
meets each message once, even one that is tried again and fails at once, and it ends. One call does a bounded number and
says where the next goes on.

A retry may be spread: its messages are due one after another at a rate, over as many calls as it takes. A message that
is skipped says why. When the outbox fails amid a sweep, what was done is told and the rest is skipped with the fault;
when nothing was done, the fault is raised. It refuses to know who asks and in which words a reason is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from smsd.clock import Clock
from smsd.core.acceptance import MAX_AHEAD_MS, Fault, MessageRules, end_of_life
from smsd.core.events import Kind, about
from smsd.core.message import Instant, Message, State
from smsd.core.units import rate as rate_of
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.janitor import Janitor
from smsd.store import Outbox, Query, Records, StoreError, WrongState
from smsd.store.operators import FailedQueue, Removal

MINUTE_MS = 60_000

STATES = (State.FAILED, State.UNDELIVERED)
"""What the queue holds."""

STEP = 100
"""Messages read, and then tried again or taken away in one transaction: some 10 ms."""

SHORT_READS = 50
"""Reads in one call that find less than they were asked for; each has looked at 20,000 messages."""

SKIPPED_SHOWN = 100
"""Skipped messages that a sweep names; the others are counted."""

OFFSET_MOST = 100_000
"""Messages that a page named by a count may leave out. To find it takes a walk along the index: 15 ms in all for
everybody's; a tenant's about 1 us for each failed message, whoever's, that is passed."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sweep goes on. `due`: not before then what it retries is due, so that its rate holds over calls."""

    before: int
    due: Instant


@dataclass(frozen=True, slots=True)
class Skipped:
    """One that nothing was done about. `why`: it cannot be retried; the state in which it is
    not deleted; the outbox's fault; or None: there is none with this id."""

    id: str
    why: WrongState | State | StoreError | None


@dataclass(slots=True)
class Swept:
    """What one call of a sweep did."""

    done: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    """The first SKIPPED_SHOWN."""
    skipped_count: int = 0
    place: Place | None = None
    """Where there may be more; None: that was all."""
    last_due: Instant | None = None
    """When the last of those retried is due."""
    broken: StoreError | None = None
    """What ended it early."""

    def add(self, outcomes: Sequence[Skipped | None]) -> None:
        """These were acted on; None: done. Raises StoreError when nothing at all could be."""
        left = [each for each in outcomes if each is not None]
        self.done += len(outcomes) - len(left)
        faults = [each.why for each in left if isinstance(each.why, StoreError)]
        if faults and self.done == 0 and self.skipped_count + len(left) == len(faults):
            raise faults[0]
        self.broken = faults[0] if faults else None
        self.skipped_count += len(left)
        self.skipped += left[: SKIPPED_SHOWN - len(self.skipped)]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which messages: these ids, or (None) what the query finds. The query has the tenant (None: all) and in `limit`
    how many are dealt with in this call; where it goes on stands in `place`."""

    query: Query
    ids: tuple[str, ...] | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How messages are retried. `ttl`: how long each lives from when it is due ("2h"); None: as the configuration says.
    `rate` ("100/min"): at most so many of them are due in that time; None: all are due now."""

    ttl: str | None = None
    rate: str | None = None
    force: bool = False


class Spread:
    """Due times at a rate: so many in so many ms, from a beginning on. Never faster, at most 1 ms slower."""

    def __init__(self, start: Instant, rate: tuple[int, int] | None) -> None:
        self._start = start
        self._rate = rate
        self._given = 0

    def at(self, n: int) -> Instant:
        """When the n-th (from 0) is due."""
        if self._rate is None:
            return self._start
        count, span_ms = self._rate
        return self._start - (-n * span_ms // count)

    def take(self) -> Instant:
        """The next due time."""
        self._given += 1
        return self.at(self._given - 1)

    @property
    def following(self) -> Instant:
        """What the next one will be."""
        return self.at(self._given)


class Failed:
    """The failed queue. `rule` before anything is retried."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        queue: FailedQueue,
        removal: Removal,
        feeder: Feeder,
        janitor: Janitor,
        bus: Bus,
        clock: Clock,
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._queue = queue
        self._removal = removal
        self._feeder = feeder
        self._janitor = janitor
        self._bus = bus
        self._clock = clock
        self._ttl_ms = 0

    def rule(self, rules: MessageRules) -> None:
        """These rules count from now on."""
        self._ttl_ms = rules.ttl_ms

    # -- one ----------------------------------------------------------------------------------------------------------

    async def reopen(
        self, id: str, tenant: str | None, expires_at: Instant, *, force: bool, due: Instant | None = None
    ) -> Message | WrongState | None:
        """A new round for one message, due then (None: now), and whoever has to know of it is told."""
        now = self._clock.wall()
        found = await self._outbox.reopen(id, tenant, now, expires_at, force, due)
        if isinstance(found, Message):
            self._bus.publish(Kind.MESSAGE_REOPENED, now, **about(found))
            self._feeder.offer(found)
            self._feeder.wake()
            self._janitor.notice(found.expires_at)
        return found

    # -- many ---------------------------------------------------------------------------------------------------------

    async def retry(self, chosen: Chosen, terms: Terms) -> Swept | Fault:
        """Try them again. Fault: of `ttl` or `rate`. Those named by id may also be expired. Of the due times of a
        spread those of skipped ones pass unused."""
        now = self._clock.wall()
        start = now if chosen.place is None else max(now, chosen.place.due)
        spread = _spread(terms.rate, start, chosen, now)
        end = end_of_life(terms.ttl, None, start, now, self._ttl_ms)
        if isinstance(spread, Fault):
            return spread
        if isinstance(end, Fault):
            return end
        swept = Swept()

        async def one(id: str, due: Instant) -> Skipped | None:
            try:
                found = await self.reopen(id, chosen.query.tenant, due + end - start, force=terms.force, due=due)
            except StoreError as error:
                return Skipped(id, error)
            if isinstance(found, Message):
                swept.last_due = max(found.due, swept.last_due or 0)  # its `send_at` may be later
                return None
            return Skipped(id, found)

        async def some(ids: Sequence[str]) -> Sequence[Skipped | None]:
            return await asyncio.gather(*(one(id, spread.take()) for id in ids))

        before = await self._sweep(chosen, swept, some)
        swept.place = None if before is None else Place(before, spread.following)
        return swept

    async def delete(self, chosen: Chosen) -> Swept:
        """Take them away."""

        async def some(ids: Sequence[str]) -> Sequence[Skipped | None]:
            try:
                states = await self._removal.delete(ids, chosen.query.tenant, self._clock.wall())
            except StoreError as error:
                return [Skipped(id, error) for id in ids]
            return [None if state in STATES else Skipped(id, state) for id, state in zip(ids, states, strict=True)]

        swept = Swept()
        before = await self._sweep(chosen, swept, some)
        swept.place = None if before is None else Place(before, 0)
        return swept

    async def _sweep(
        self, chosen: Chosen, swept: Swept, act: Callable[[Sequence[str]], Awaitable[Sequence[Skipped | None]]]
    ) -> int | None:
        """Below which number the next call goes on; None: nothing is left."""
        if chosen.ids is not None:
            named = [*dict.fromkeys(chosen.ids)]
            for first in range(0, len(named), STEP):
                swept.add(await act(named[first : first + STEP]))
                await asyncio.sleep(0)
            return None
        query = replace(chosen.query, states=STATES)
        before = query.before if chosen.place is None else chosen.place.before
        left, short = query.limit, 0
        while left > 0 and short < SHORT_READS and swept.broken is None:
            page = await self._records.page(replace(query, before=before, limit=min(STEP, left)))
            before = page.next_before
            if page.items:
                swept.add(await act([message.id for message in page.items]))
            if before is None:
                return None
            short += len(page.items) < min(STEP, left)
            left -= len(page.items)
            await asyncio.sleep(0)
        return await self._unless_end(query, before)

    async def _unless_end(self, query: Query, before: int | None) -> int | None:
        """The same place, unless it is plain that nothing follows."""
        page = await self._records.page(replace(query, before=before, limit=1))
        return before if page.items or page.next_before is not None else None

    # -- by a count ---------------------------------------------------------------------------------------------------

    async def page_at(self, tenant: str | None, offset: int, limit: int) -> tuple[list[Message], int]:
        """At most `limit` messages of the queue, newest first, behind the newest `offset` (at most OFFSET_MOST); and
        how many there are in all, by the kept counts. Of a tenant with few among very many of others it finds those
        within the newest 1,000,000 or so."""
        states = (await self._records.totals(self._clock.wall() // MINUTE_MS + 1, tenant)).states
        total = sum(count for (state, _), count in states.items() if state in STATES)
        place, skip = None, offset
        for _ in range(SHORT_READS):
            if skip == 0 or offset >= total:
                break
            place, skip = await self._queue.place(tenant, place, skip)
            if place is None:
                return [], total
        if skip or offset >= total:
            return [], total
        return await self._next(Query(tenant=tenant, states=STATES, before=place), min(limit, total - offset)), total

    async def _next(self, query: Query, limit: int) -> list[Message]:
        found: list[Message] = []
        for _ in range(SHORT_READS):
            page = await self._records.page(replace(query, limit=limit - len(found)))
            found += page.items
            if len(found) == limit or page.next_before is None:
                break
            query = replace(query, before=page.next_before)
        return found


def _spread(rate: str | None, start: Instant, chosen: Chosen, now: Instant) -> Spread | Fault:
    """The due times of this call. Fault: it is no rate, or its last message would be due too far ahead."""
    if rate is None:
        return Spread(start, None)
    try:
        spread = Spread(start, rate_of(rate))
    except ValueError as error:
        return Fault("rate", "invalid_value", f"`rate`: {error}")
    last = spread.at(chosen.query.limit if chosen.ids is None else len(chosen.ids))
    if last - now > MAX_AHEAD_MS:
        return Fault("rate", "invalid_value", "`rate`: the last would be due in over a year; raise it or retry fewer")
    return spread
