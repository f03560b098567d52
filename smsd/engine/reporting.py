"""When is a report made, and what goes into it?

One report at a time: it reads very many rows, and nobody waits for it who sends a message. Others wait in the order in
which they came, QUEUE at most and OF_ONE of one caller; beyond that they are refused (BusyError). A report whose caller
goes away ends at its next piece.

What days are and what a segment costs is the configuration's, as it stands when the report is begun. It refuses to know
how the outbox reads (`store`), what the sums mean (`core.report`) and how they are shown.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from typing import Final

from smsd.clock import Clock
from smsd.core.message import Instant
from smsd.core.report import (
    DAY_MS,
    MINUTE_MS,
    Failures,
    Group,
    RetrySums,
    Span,
    Sums,
    Tariff,
    day_of,
    days,
    midnight,
    moment,
)
from smsd.engine.lane import Lane
from smsd.store.operators import REST, Reports

QUEUE: Final = 16
"""Reports that wait, at most."""

OF_ONE: Final = 4
"""Of one caller, the one being made included."""

LATEST: Final = 253_402_128_000_000
"""9999-12-30: beyond it a time has no day in every zone."""

USUAL_DAYS: Final = 30
USUAL_MINUTES: Final = 60


class BusyError(Exception):
    """Too many reports wait. `own`: of this caller."""

    def __init__(self, *, own: bool) -> None:
        super().__init__("too many reports of this caller wait" if own else "too many reports wait")
        self.own = own


@dataclass(frozen=True, slots=True)
class Line:
    """The sums of one group; `name` is a date, or the group's value ("": it has none)."""

    name: str
    sums: Sums


class Reporting:
    """Makes reports. `zone`: that of `[daemon] timezone`."""

    def __init__(self, reports: Reports, lanes: Mapping[str, Lane], clock: Clock) -> None:
        self._reports = reports
        self._lanes = lanes
        self._clock = clock
        self._zone: tzinfo = UTC
        self._turn = asyncio.Lock()
        self._asking: Counter[str] = Counter()

    def rule(self, zone: tzinfo) -> None:
        """Days are those of this zone from now on."""
        self._zone = zone

    # -- times --------------------------------------------------------------------------------------------------------

    def ends(self, since: str | None, until: str | None) -> tuple[Instant, Instant]:
        """Those asked for, as instants: times with an offset, or dates (of `until` the whole day). Usually the last
        USUAL_DAYS days, today included. Raises ValueError with the remedy."""
        today = day_of(self._clock.wall(), self._zone)
        usual = midnight(today + timedelta(days=1), self._zone)
        end = usual if until is None else _known(moment(until, self._zone, end=True))
        if since is not None:
            return _known(moment(since, self._zone)), end
        first = day_of(max(DAY_MS, end - 1 - (USUAL_DAYS - 1) * DAY_MS), self._zone)
        return midnight(first, self._zone), end

    def minutes(self, since: str | None, until: str | None) -> tuple[int, int]:
        """The same in whole minutes since the Unix epoch, outward; usually the last USUAL_MINUTES, this one included.
        Raises ValueError."""
        now = self._clock.wall()
        end = now + 1 if until is None else _known(moment(until, self._zone, end=True))
        last = -(-end // MINUTE_MS)
        return last - USUAL_MINUTES if since is None else _known(moment(since, self._zone)) // MINUTE_MS, last

    # -- reports ------------------------------------------------------------------------------------------------------

    async def lines(self, who: str, span: Span, by: Group) -> tuple[Sequence[Line], Sums]:
        """The sums of each group, and of all. Days in order, without gaps; other groups by their messages, greatest
        first, the rest of too many last. Raises BusyError, TooWideError, StoreError."""
        calendar = days(span.since, span.until, self._zone) if by is Group.DAY else ()
        async with self._in_turn(who):
            found = await self._reports.sums(span, by, [begin for _, begin in calendar], self._tariff())
        total = Sums()
        for sums in found.values():
            total.plus(sums)
        if by is Group.DAY:
            return [Line(day.isoformat(), found.get(str(n), Sums())) for n, (day, _) in enumerate(calendar)], total
        ranked = sorted(found.items(), key=lambda item: (item[0] == REST, -item[1].count(), item[0]))
        return [Line(name, sums) for name, sums in ranked], total

    async def errors(self, who: str, span: Span) -> Sequence[tuple[tuple[str, str, str], Failures]]:
        """(category, code, provider) and what failed so, the most frequent first. Raises as lines."""
        async with self._in_turn(who):
            found = await self._reports.errors(span)
        return sorted(found.items(), key=lambda item: (item[0][0] == REST, -item[1].messages, item[0]))

    async def retries(self, who: str, span: Span) -> Mapping[int, RetrySums]:
        """By the number of calls, ascending. Raises as lines."""
        async with self._in_turn(who):
            return await self._reports.retries(span)

    async def rate(self, who: str, since: int, until: int, tenant: str | None) -> Sequence[tuple[int, int, int]]:
        """(minute, sent, failed). Raises BusyError, StoreError."""
        async with self._in_turn(who):
            return await self._reports.rate(since, until, tenant)

    @asynccontextmanager
    async def _in_turn(self, who: str) -> AsyncIterator[None]:
        if self._asking[who] >= OF_ONE:
            raise BusyError(own=True)
        if self._asking.total() > QUEUE:
            raise BusyError(own=False)
        self._asking[who] += 1
        try:
            async with self._turn:
                yield
        finally:
            self._asking[who] -= 1
            if not self._asking[who]:
                del self._asking[who]

    def _tariff(self) -> Tariff:
        """What the providers of the configuration cost."""
        return Tariff(
            {
                name: {head: Decimal(str(price)) for head, price in lane.candidate.prices.items()}
                for name, lane in self._lanes.items()
            }
        )


def _known(at: Instant) -> Instant:
    """The nearest time that has a day in every zone."""
    return min(max(at, DAY_MS), LATEST)
