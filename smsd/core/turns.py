"""Which rows of a plan wait for a limit on their recipient, user, text or sender, and until when?

The look ahead (`forecast`) knows limits on flows; what each message counts for by itself it does not. So a row's moment
in a look ahead is taken as the moment at which its claim would be asked, and the very windows that decide (`windows`)
say its turn. Rows that must wait are then due later, and the next look ahead sees them so: two or three times make it
true to less than a percent, because a refused claim costs no rate and others move up.

Rows that limits count at acceptance (`reject`, repeats) are judged as if all were handed in at one moment. A refusal
that costs an attempt (`retry`) is taken as a wait. It refuses to know what waits in the outbox for the same turns.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from smsd.core.course import Course
from smsd.core.limits import AT_ACCEPTANCE, Action, Rule
from smsd.core.message import Instant
from smsd.core.plan import FAILING, MOVED, STRIDE, Order, Spun, Sums, Table
from smsd.core.windows import Window

LOOKED_AT: Final = 500
"""Rows of a line that stand for all of it: some 2 ms."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule, and the windows of those keys whose rows may find no room, by their hashes."""

    place: int
    """Of the rule in Table.keys."""
    rule: Rule
    charged: Mapping[int, Sequence[int]]
    """Moments (boot time, us) of what was charged lately, by key."""

    def windows(self) -> dict[int, Window]:
        """As they stand now."""
        return {key: Window((at, -1 - n) for n, at in enumerate(moments)) for key, moments in self.charged.items()}


class Asked(NamedTuple):
    """When a row's claim is asked (boot time, us)."""

    at: int
    row: int


def refused(table: Table, counted: Sequence[Counted], now_us: int, sums: Sums) -> Spun:
    """Take out the rows that limits refuse when all are handed in now."""
    rules = [each for each in counted if each.rule.action in AT_ACCEPTANCE]
    windows = [each.windows() for each in rules]
    for row in range(len(table) if rules else 0):
        if row % STRIDE == 0:
            yield
        keys = [table.keys[each.place][row] for each in rules]
        bound = [(each.rule, found[key]) for each, found, key in zip(rules, windows, keys, strict=True) if key in found]
        full = [rule for rule, window in bound if window.turn(rule.count, rule.span_ms * 1_000, now_us) > now_us]
        if full:
            table.gone[row] = 1
            if full[0].action is Action.REPLAY:
                sums.already_there += 1
            else:
                sums.limited += 1
            continue
        for _, window in bound:
            window.charge(row, now_us)


def turns(
    table: Table, courses: Mapping[int, Course], counted: Sequence[Counted], seen: Seen
) -> Generator[None, None, Turns]:
    """The due times of all rows that follow from a look ahead. `courses`: by line."""
    rules = [each for each in counted if each.rule.action not in AT_ACCEPTANCE]
    windows = [each.windows() for each in rules]
    due = array("q", table.due)
    moved = bytearray(len(table))
    failing = 0
    asked = heapq.merge(*(_asked(order, courses[order.flow], seen) for order in seen.first))
    for number, (at, row) in enumerate(asked):
        if number % STRIDE == 0:
            yield
        bound = [
            (each.rule, found[key])
            for each, found in zip(rules, windows, strict=True)
            if (key := table.keys[each.place][row]) in found
        ]
        turn = at
        for rule, window in bound:
            turn = max(turn, window.turn(rule.count, rule.span_ms * 1_000, at))
        if turn > at and any(_fails(rule, turn - at) for rule, _ in bound):
            moved[row] = FAILING
            failing += 1
            continue
        for _, window in bound:
            window.charge(row, turn)
        if turn > at:
            moved[row] = MOVED
            due[row] = seen.wall(turn)
    return Turns(due, moved, failing)


class Turns(NamedTuple):
    """What `turns` found."""

    due: array[int]
    moved: bytearray
    """By row: 0, MOVED or FAILING."""
    failing: int
    """How many fail instead of waiting."""


@dataclass(slots=True)
class Seen:
    """What one look ahead was made of, for the next."""

    now: Instant
    now_us: int
    first: Sequence[Order]
    """The rows in the order in which they are asked: as they were due before any waited."""
    moved: bytearray
    """By row, as Turns.moved: it waited in this look ahead, and its moment there is the end of its wait; or it was not
    in it."""

    def wall(self, at_us: int) -> Instant:
        """That boot time by the wall clock, rounded up."""
        return self.now - (self.now_us - at_us) // 1_000


def _asked(order: Order, course: Course, seen: Seen) -> Iterator[Asked]:
    """A row that waited was asked when the one before it that did not went."""
    place = 0
    for row in order.rows:
        waited = seen.moved[row] > 0
        yield Asked(course.at(max(0, place - waited)), row)
        place += not waited


def _fails(rule: Rule, wait_us: int) -> bool:
    if rule.action is Action.FAIL:
        return True
    return rule.action is Action.DEFER and rule.max_wait_ms is not None and wait_us > rule.max_wait_ms * 1_000


def expiring(
    table: Table, orders: Sequence[Order], courses: Mapping[int, Course], seen: Seen
) -> Generator[None, None, int]:
    """About how many rows reach the end of their life before their turn: of each line a bounded number is looked at."""
    found = 0.0
    for order in orders:
        step = -(-len(order.rows) // LOOKED_AT)
        places = range(0, len(order.rows), step)
        late = sum(table.expires[order.rows[place]] <= seen.wall(courses[order.flow].at(place)) for place in places)
        found += late * len(order.rows) / len(places)
        yield
    return round(found)
