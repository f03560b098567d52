"""How do a million waiting messages become a thousand virtual tickets?

One ticket stands for `each` messages of one flow. Flows that are smaller than that are bunched: with other campaigns of
their tenant first, then with other tenants of the same route and priority, so that a bunch takes its turns as the flows
in it would together. Nothing is lost by rounding: what one bunch has too much, the next has too little.

It knows how many wait, of whom and until when, and nothing of rates, time or order (`forecast`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace

from smsd.core.limits import groups_of
from smsd.core.message import Instant, Priority


@dataclass(frozen=True, slots=True)
class Line:
    """What waits in one flow."""

    flow: int
    route: str
    priority: Priority
    tenant: str
    campaign: str | None
    pending: int
    """At least 1."""
    dues: tuple[Instant, ...]
    """Due times, rising: of the first, of the last, and of as many between them as are known, evenly spread over the
    line's places; one when all are the same."""
    segments: float = 1.0
    """Of a message, on average."""
    held: str = ""
    """A further group by which it may be held up as a whole; empty: none."""
    apart: bool = False
    """Its tickets are its own, however few there are."""

    def until(self, end: Instant) -> Line | None:
        """What of it is due by then; None: nothing."""
        known = bisect_right(self.dues, end)
        if known in (0, len(self.dues)):
            return self if known else None
        each = (self.pending - 1) / (len(self.dues) - 1)
        later = 1 + round((len(self.dues) - known - 1) * each)
        return replace(self, pending=max(1, self.pending - later), dues=self.dues[:known])

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups by which it may be held up (limits.groups_of, and `held`)."""
        usual = groups_of(self.tenant, self.campaign)
        return (*usual, self.held) if self.held else usual

    def due_at(self, place: int) -> Instant:
        """When the message of that place (from 0) is due, at the latest."""
        last = len(self.dues) - 1
        return self.dues[min(last, -(-place * last // max(1, self.pending - 1)))]


class Bunch:
    """Lines that are told apart no further. Its tickets are numbered; a ticket stands for the last of its messages."""

    __slots__ = ("campaign", "each", "ends", "lines", "pending", "priority", "route", "segments", "tenant", "tickets")

    def __init__(self, lines: Sequence[Line], tenant: str, campaign: str | None) -> None:
        first = lines[0]
        self.lines = tuple(lines)
        self.route, self.priority = first.route, first.priority
        self.tenant, self.campaign = tenant, campaign
        self.ends: list[int] = []
        """Messages in the lines up to each, itself included."""
        for line in lines:
            self.ends.append(line.pending + (self.ends[-1] if self.ends else 0))
        self.pending = self.ends[-1]
        self.segments = sum(line.segments * line.pending for line in lines) / self.pending
        self.tickets = self.pending
        self.each = 1.0

    @property
    def groups(self) -> tuple[str, ...]:
        """See Line.groups."""
        usual = groups_of(self.tenant, self.campaign)
        return (*usual, self.lines[0].held) if self.lines[0].held else usual

    def cut(self, tickets: int) -> None:
        """It has so many tickets."""
        self.tickets = tickets
        self.each = self.pending / tickets

    def due_of(self, ticket: int) -> Instant:
        """When all messages of that ticket are due."""
        place = min(self.pending, round((ticket + 1) * self.each)) - 1
        which = bisect_right(self.ends, place)
        before = self.ends[which - 1] if which else 0
        return self.lines[which].due_at(place - before)


def bunches(lines: Sequence[Line], each: float) -> list[Bunch]:
    """All lines, in bunches of about `each` messages or more, every one with its number of tickets."""
    made = [Bunch([line], line.tenant, line.campaign) for line in lines if line.apart or line.pending >= each]
    crumbs: dict[tuple[str, Priority, str], list[Line]] = {}
    for line in lines:
        if line.pending < each and not line.apart:
            crumbs.setdefault((line.route, line.priority, line.tenant), []).append(line)
    left: dict[tuple[str, Priority], list[Line]] = {}
    for (route, priority, tenant), some in crumbs.items():
        full, rest = _gathered(some, each)
        made += [Bunch(one, tenant, None) for one in full]
        left.setdefault((route, priority), []).extend(rest)
    for number, some in enumerate(left.values()):
        full, rest = _gathered(some, each)
        mixed = [*full, rest] if rest else full
        # Of several tenants, so of none: its name is no tenant's.
        made += [Bunch(one, f"\0{number}.{place}", None) for place, one in enumerate(mixed)]
    _cut(made, each)
    return made


def _gathered(lines: list[Line], each: float) -> tuple[list[list[Line]], list[Line]]:
    """Groups of lines that hold `each` or more together, and what is left over."""
    full: list[list[Line]] = []
    some: list[Line] = []
    count = 0
    for line in lines:
        some.append(line)
        count += line.pending
        if count >= each:
            full.append(some)
            some, count = [], 0
    return full, some


def _cut(made: list[Bunch], each: float) -> None:
    """Small ones first: each has a ticket at least, and the large ones make up for it."""
    owed = 0.0
    for bunch in sorted(made, key=lambda bunch: bunch.pending):
        owed += bunch.pending / each
        bunch.cut(max(1, min(bunch.pending, round(owed))))
        owed -= bunch.tickets
