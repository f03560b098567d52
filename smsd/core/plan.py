"""What do rows of a plan come to, and what is kept of them?

A row that would be accepted is a message that is never made. What is asked about all of them is summed at once; what
decides when each would go is kept in arrays, some fifty bytes a row, and no text and no number of it: of what a limit
counts by, only a hash. Rows that take the same road in the same order make one line (`bunches`).

It refuses to know when anything goes (`turns`, `forecast`), and who was asked what is known already.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, NamedTuple

from smsd.core.admission import Key
from smsd.core.bunches import Line
from smsd.core.message import Draft, Instant, Priority
from smsd.core.submission import Fault

ERRORS: Final = 100
"""Invalid rows that are told one by one."""

KINDS: Final = 2_000
"""Kinds of rows that are told apart; rows beyond are counted to a kind without campaign and hours."""

POINTS: Final = 1_000
"""Due times that are told of a line."""

STRIDE: Final = 2_000
"""Rows looked at in one go, some milliseconds at most."""

SOON, LATER, TURN = 0, 1, 2
PARTS: Final = 3

MOVED, FAILING = 1, 2
"""A row waits for a limit of its own; or fails by it."""

UNMOVED: Final = bytearray()

FIRST_FLOW: Final = 1 << 60
"""The numbers of planned lines; no flow of the outbox comes so far."""

Spun = Generator[None, None, None]
"""Work in small pieces: the loop has other things to do between them."""


@dataclass(frozen=True, slots=True)
class RowError:
    """One thing that is wrong with one row."""

    index: int
    field: str
    code: str
    message: str


@dataclass(slots=True)
class Sums:
    """What rows come to. A row that is refused, known or suppressed counts in no sum behind `already_there`."""

    rows: int = 0
    valid: int = 0
    invalid: int = 0
    errors: list[RowError] = field(default_factory=list)
    """Of the first ERRORS invalid rows."""
    codes: dict[str, int] = field(default_factory=dict)
    """How many rows were refused, by the code of their first fault."""
    suppressed: int = 0
    already_there: int = 0
    """Rows whose idempotency key is known."""
    limited: int = 0
    """Rows that a limit would refuse, or fail."""
    expiring: int = 0
    """Rows whose time to live would end before their turn."""
    duplicates: int = 0
    """Rows to a recipient that has one already."""
    truncated: int = 0
    segments: int = 0
    encodings: dict[str, int] = field(default_factory=dict)
    cost: Decimal = Decimal(0)
    """In the currency of the configuration, which it does not name."""
    priced: int = 0
    unpriced: int = 0
    """Rows for which no price is configured."""
    quiet: int = 0
    """Rows that quiet hours would hold up at first."""
    quiet_until: Instant | None = None
    """When the last of them may go."""

    def refuse(self, index: int, faults: Sequence[Fault]) -> None:
        """A row is not valid; at least one fault."""
        self.rows += 1
        self.invalid += 1
        self.codes[faults[0].code] = self.codes.get(faults[0].code, 0) + 1
        if self.invalid <= ERRORS:
            self.errors += [RowError(index, fault.field, fault.code, fault.message) for fault in faults]

    def count(self, draft: Draft, price: Decimal | None) -> None:
        """A row would be sent; `price`: of a segment, if it is known."""
        self.segments += draft.segments
        self.truncated += draft.truncated
        name = draft.encoding.label
        self.encodings[name] = self.encodings.get(name, 0) + 1
        if price is None:
            self.unpriced += 1
        else:
            self.priced += 1
            self.cost += price * draft.segments
        if draft.held is not None:
            self.quiet += 1
            self.quiet_until = max(draft.due, self.quiet_until or 0)


class Kind(NamedTuple):
    """What rows of one line have in common."""

    route: str
    priority: Priority
    tenant: str
    campaign: str | None
    zones: tuple[str, ...] | None
    """Whose quiet hours they keep, by the zones of their numbers; None: they keep none."""


@dataclass(frozen=True, slots=True)
class Order:
    """Rows of one kind that go, in the order of their due times: those that are due, those of later, or those that wait
    for a turn. Apart, so that the steps between them stay sharp."""

    kind: int
    part: int
    """SOON, LATER or TURN."""
    rows: array[int]
    dues: tuple[Instant, ...]
    """As Line.dues."""
    segments: float

    @property
    def flow(self) -> int:
        """The number of its line."""
        return FIRST_FLOW + PARTS * self.kind + self.part


class Table:
    """The rows that would be sent. `keys[rule]`: what each counts for under a rule, as a hash; 0: the rule does not
    bind it."""

    def __init__(self, rules: int) -> None:
        self.kinds: dict[Kind, int] = {}
        """Their places."""
        self._listed: list[Kind] = []
        self.samples: list[str] = []
        """A number of each kind, for its zones."""
        self.kind = array("H")
        self.due = array("q")
        """When it was asked to go; 0: at once."""
        self.expires = array("q")
        self.segments = array("B")
        self.recipients = array("q")
        self.keys = tuple(array("q") for _ in range(rules))
        self.gone = bytearray()
        """1: it is not sent, because a limit refuses it."""

    def __len__(self) -> int:
        return len(self.kind)

    def add(self, draft: Draft, zones: tuple[str, ...] | None, keys: Sequence[Key | None]) -> None:
        """One more."""
        kind = Kind(draft.route, draft.priority, draft.tenant, draft.campaign, zones)
        if kind not in self.kinds and len(self.kinds) >= KINDS:
            kind = Kind(draft.route, draft.priority, draft.tenant, None, None)
        if kind not in self.kinds:
            self.kinds[kind] = len(self.kinds)
            self._listed.append(kind)
            self.samples.append(draft.recipient)
        self.kind.append(self.kinds[kind])
        asked = draft.send_at
        self.due.append(0 if asked is None or asked <= draft.created_at else asked)
        self.expires.append(draft.expires_at)
        self.segments.append(min(255, draft.segments))
        self.recipients.append(hash(draft.recipient))
        for column, key in zip(self.keys, keys, strict=True):
            column.append(0 if key is None else hash(key) or 1)
        self.gone.append(0)

    # -- what was said twice -----------------------------------------------------------------------------------------

    def repeats(self, column: array[int], most: int = 1) -> Generator[None, None, dict[int, int]]:
        """Values (0 apart) that more than `most` rows have, and how many."""
        found: dict[int, int] = {}
        parts = 1 + len(column) // STRIDE
        buckets = [array("q") for _ in range(parts)]
        for start in range(0, len(column), STRIDE):
            for value in column[start : start + STRIDE]:
                buckets[value % parts].append(value)
            yield
        for bucket in buckets:
            counts: dict[int, int] = {}
            for value in bucket:
                counts[value] = counts.get(value, 0) + 1
            found.update((value, count) for value, count in counts.items() if value and count > most)
            yield
        return found

    # -- lines -------------------------------------------------------------------------------------------------------

    def order(
        self, now: Instant, due: array[int] | None = None, moved: bytearray = UNMOVED
    ) -> Generator[None, None, list[Order]]:
        """By kind. `due`: other due times than were asked for; `moved`: rows that are FAILING in it do not go."""
        due = self.due if due is None else due
        soon = [array("I") for _ in range(len(self.kinds))]
        later: list[list[list[tuple[int, int]]]] = [[[] for _ in range(PARTS)] for _ in range(len(self.kinds))]
        for start in range(0, len(self), STRIDE):
            for row in range(start, min(start + STRIDE, len(self))):
                wait = moved[row] if moved else 0
                if self.gone[row] or wait == FAILING:
                    continue
                if wait == MOVED or due[row] > now:
                    later[self.kind[row]][TURN if wait else LATER].append((due[row], row))
                else:
                    soon[self.kind[row]].append(row)
            yield
        found: list[Order] = []
        for kind, rows in enumerate(soon):
            parts = [rows, (yield from _sorted(later[kind][LATER])), (yield from _sorted(later[kind][TURN]))]
            for part, some in enumerate(parts):
                if some:
                    mean = yield from self._mean(some)
                    found.append(Order(kind, part, some, _dues(some, due, now), mean))
        return found

    def _mean(self, rows: array[int]) -> Generator[None, None, float]:
        total = 0
        for start in range(0, len(rows), STRIDE):
            total += sum(self.segments[row] for row in rows[start : start + STRIDE])
            yield
        return total / len(rows)

    def line(self, order: Order) -> Line:
        """For the look ahead."""
        kind = self._listed[order.kind]
        held = "" if kind.zones is None else quiet_group(kind.tenant, kind.zones)
        return Line(
            order.flow,
            kind.route,
            kind.priority,
            kind.tenant,
            kind.campaign,
            len(order.rows),
            order.dues,
            order.segments,
            held,
            apart=True,
        )


def quiet_group(tenant: str, zones: Sequence[str]) -> str:
    """The group of what keeps the tenant's quiet hours in these zones."""
    return f"quiet:{tenant}\n{','.join(zones)}"


def _sorted(pairs: list[tuple[int, int]]) -> Generator[None, None, array[int]]:
    """The rows of (due, row) pairs, by due time."""
    runs: list[list[tuple[int, int]]] = []
    for start in range(0, len(pairs), STRIDE):
        runs.append(sorted(pairs[start : start + STRIDE]))
        yield
    rows = array("I")
    for row in heapq.merge(*runs):
        rows.append(row[1])
        if len(rows) % STRIDE == 0:
            yield
    return rows


def _dues(rows: array[int], due: array[int], now: Instant) -> tuple[Instant, ...]:
    """As Line.dues, of rows in their order."""
    first, last = max(now, due[rows[0]]), max(now, due[rows[-1]])
    if first == last:
        return (first,)
    points = min(POINTS, len(rows))
    places = [round(point * (len(rows) - 1) / (points - 1)) for point in range(points)]
    return tuple(max(now, due[rows[place]]) for place in places)
