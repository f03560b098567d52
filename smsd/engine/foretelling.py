"""When would planned rows go, as things stand, and when if one thing were otherwise?

The rows' lines are put beside what waits already, and the schedule and the pacers are run ahead over both
(`core.forecast`); limits on single recipients, users and senders are found out by looking two or three times
(`core.turns`). With something left out (a rate, hours, what others have waiting) the same answers what it costs. All is
done in small pieces, so that nothing else waits for it. Nothing is stored, and it refuses to know which answer matters
(`deciding`).
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, TypeVar

from smsd.core import quiet
from smsd.core.admission import Key
from smsd.core.bunches import Line
from smsd.core.campaign import Terms
from smsd.core.course import Course
from smsd.core.forecast import HELD_UP, TICKETS, Forecast
from smsd.core.health import Standing
from smsd.core.limits import AT_ACCEPTANCE, Rule
from smsd.core.message import Instant
from smsd.core.plan import Order, Sums, Table, quiet_group
from smsd.core.quiet import QuietBook
from smsd.core.scene import Bar, Road, Scene
from smsd.core.turns import Counted, Seen, expiring, refused, turns
from smsd.engine.outlook import looked
from smsd.engine.terrain import NOWHERE, Surveyor, Terrain, moments, waiting_for
from smsd.store import Records

T = TypeVar("T")

FINE: Final = 3
"""So many times the tickets of an ordinary look ahead: a plan is compared with what comes true."""

PASSES: Final = 3
"""Looks ahead where rows wait for limits of their own."""

LEDGER: Final = 1_000
"""Keys of a rule whose charges are looked up; of a plan with more, the others are taken as not charged lately."""

STRETCH: Final = 50
"""Lines looked at in one go, about a millisecond."""

Without = frozenset[str]
"""What is left out, by the names of limits (deciding)."""

NOTHING: Final[Without] = frozenset()


@dataclass(frozen=True, slots=True)
class Foreseen:
    """One look ahead."""

    begin: Instant | None
    end: Instant | None
    """When the last row goes; None: nobody knows, or some never go."""
    stuck: tuple[Line, ...]
    """Lines that do not all go, as far as is known."""
    waiting: int
    """How many rows wait for limits of their own."""


class Foretelling:
    """Of one plan. `begin` before all else. Raises StoreError."""

    def __init__(
        self,
        table: Table,
        sums: Sums,
        rules: Sequence[Rule],
        names: Sequence[Mapping[int, Key]],
        book: QuietBook | None,
        surveyor: Surveyor,
        records: Records,
    ) -> None:
        """`rules`: those that count a row by itself, in the order of Table.keys; `names`: for each the keys whose
        charges are looked up, by their hashes."""
        self._table = table
        self._sums = sums
        self._rules = rules
        self._names = names
        self._book = book
        self._surveyor = surveyor
        self._records = records
        self._counted: tuple[Counted, ...] = ()
        self.terrain: Terrain
        self._shut: frozenset[str] = frozenset()
        self.lines: tuple[Line, ...] = ()
        self._quiet: dict[str, Bar] = {}

    async def begin(self, terms: Mapping[str, tuple[str, Terms]]) -> bool:
        """See how things stand. False: no row would go. `terms`: by group of a campaign its tenant and its terms."""
        self._sums.duplicates = sum(
            count - 1 for count in (await spun(self._table.repeats(self._table.recipients))).values()
        )
        now, now_us = self._surveyor.now()
        self._counted = await self._charged(now, now_us)
        await spun(refused(self._table, self._counted, now_us, self._sums))
        orders = await spun(self._table.order(now))
        planned = await spun(self._lined(orders))
        self.terrain = await self._surveyor.survey(planned, terms)
        self._shut = self.terrain.shut
        self.lines = tuple(await spun(self._lined(orders))) if self._shut else tuple(planned)
        self._quiet = self._quiet_bars()
        return bool(planned)

    async def _charged(self, now: Instant, now_us: int) -> tuple[Counted, ...]:
        """The rules under which some rows may find no room."""
        found: list[Counted] = []
        for place, rule in enumerate(self._rules):
            column = self._table.keys[place]
            charged: dict[int, Sequence[int]] = dict.fromkeys(await spun(self._table.repeats(column, rule.count)), ())
            for hashed, key in self._names[place].items():
                charges = await self._records.charged(key, rule.count, 1)
                since = now_us - rule.span_ms * 1_000
                lately = [at for at in moments(charges, now, now_us) if at > since]
                if lately:
                    charged[hashed] = lately
            if charged:
                found.append(Counted(place, rule, charged))
        return tuple(found)

    def _quiet_bars(self) -> dict[str, Bar]:
        bars: dict[str, Bar] = {}
        for kind, place in self._table.kinds.items():
            if kind.zones is not None and self._book is not None:
                opens = partial(_opens, self._book, kind.tenant, self._table.samples[place])
                bars[quiet_group(kind.tenant, kind.zones)] = Bar((), None, opens)
        return bars

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def counted(self) -> tuple[Rule, ...]:
        """The rules of single rows under which some may have to wait."""
        return tuple(each.rule for each in self._counted if each.rule.action not in AT_ACCEPTANCE)

    @property
    def keeps_quiet(self) -> bool:
        """Whether rows keep quiet hours."""
        return bool(self._quiet)

    @property
    def quiet_words(self) -> tuple[str, ...]:
        """The quiet hours that rows keep."""
        book, tenants = self._book, {kind.tenant for kind in self._table.kinds if kind.zones is not None}
        found = [book.hours_of(tenant) for tenant in sorted(tenants)] if book is not None else []
        return tuple(dict.fromkeys(hours.words for hours in found if hours is not None))

    # -- looking ------------------------------------------------------------------------------------------------------

    async def look(self, without: Without = NOTHING, names: Mapping[Rule, str] = MappingProxyType({})) -> Foreseen:
        """When the rows go; `without` some of what holds them up. `names`: what the limits on single rows are called
        there. A look with nothing left out also counts the rows that fail or expire."""
        table, terrain, fine = self._table, self.terrain, without == NOTHING
        counted = [each for each in self._counted if names.get(each.rule, "") not in without]
        due = array("q", bytes(8 * len(table))) if "send_at" in without else table.due
        orders = await spun(table.order(terrain.now, due))
        seen = Seen(terrain.now, terrain.now_us, orders, bytearray(len(table)))
        forecasts = await self._run(orders, without, fine)
        failing = 0
        for _ in range(PASSES if any(each.rule.action not in AT_ACCEPTANCE for each in counted) else 0):
            courses = await spun(_courses(forecasts, seen.first, terrain.now_us))
            found = await spun(turns(table, courses, counted, seen))
            if not any(found.moved):
                break
            failing = found.failing
            seen.moved = found.moved
            orders = await spun(table.order(terrain.now, found.due, found.moved))
            forecasts = await self._run(orders, without, fine)
        courses = await spun(_courses(forecasts, orders, terrain.now_us))
        foreseen = await spun(self._foreseen(orders, courses, sum(map(bool, seen.moved)) - failing))
        if fine:
            self._sums.limited += failing
            self._sums.expiring = await spun(expiring(table, orders, courses, seen))
        return foreseen

    async def _run(self, orders: Sequence[Order], without: Without, fine: bool) -> list[Forecast]:
        """The whole, and where that is coarse its first minutes message by message."""
        scene = self._scene(await spun(self._lined(orders)), without)
        await asyncio.sleep(0)
        whole = await looked(Forecast(scene, tickets=_tickets(scene, fine)))
        return [whole] if whole.each == 1 else [await looked(Forecast(scene, near=True)), whole]

    def _lined(self, orders: Sequence[Order]) -> Generator[None, None, list[Line]]:
        """As lines, in their order."""
        found: list[Line] = []
        for order in orders:
            found.append(self._line(order))
            if len(found) % STRETCH == 0:
                yield
        return found

    def _line(self, order: Order) -> Line:
        line = self._table.line(order)
        return replace(line, route=NOWHERE) if self._shut.intersection(line.groups) else line

    def _foreseen(
        self, orders: Sequence[Order], courses: Mapping[int, Course], waiting: int
    ) -> Generator[None, None, Foreseen]:
        terrain = self.terrain
        begins: list[int] = []
        ends: list[int] = []
        stuck: list[Line] = []
        for number, order in enumerate(orders):
            if number % STRETCH == 0:
                yield
            course = courses[order.flow]
            if course.times:
                begins.append(course.at(0))
            if course.whole:
                ends.append(course.at(len(order.rows) - 1))
            else:
                stuck.append(self._line(order))
        scene = Scene(terrain.now, terrain.now_us, (), {})
        begin = scene.instant(min(begins)) if begins else None
        end = scene.instant(max(ends)) if ends and not stuck else None
        return Foreseen(begin, end, tuple(stuck), waiting)

    def _scene(self, planned: Sequence[Line], without: Without) -> Scene:
        terrain = self.terrain
        others = () if "backlog" in without else terrain.lines
        lines = (*others, *planned)
        roads: dict[str, Road] = {}
        for name, count in waiting_for(lines, terrain.ways).items():
            road = terrain.ways[name].road(
                count, "provider_rate" not in without, "account_rate" not in without, "latency" not in without
            )
            if road is not None and "provider_cooldown" in without and road.standing is Standing.COOLING:
                road = replace(road, standing=Standing.OPEN, until=None)
            if road is not None:
                roads[name] = road
        bars = {name: bar for name, bar in self._bars(without) if bar.windows or bar.until or bar.opens}
        whole = Scene(terrain.now, terrain.now_us, lines, roads, bars, terrain.failover_after_ms)
        return whole.cut()[0]

    def _bars(self, without: Without) -> Iterator[tuple[str, Bar]]:
        """Those that are left, and what is left of them."""
        for name, bar in self.terrain.bars.items():
            limit = f"{name.partition(':')[0]}_limit"
            left = Bar((), None, bar.opens) if limit in without else bar
            yield name, replace(left, opens=None) if "send_between" in without else left
        if "quiet_hours" not in without:
            yield from self._quiet.items()


def _courses(
    forecasts: Sequence[Forecast], orders: Sequence[Order], now_us: int
) -> Generator[None, None, dict[int, Course]]:
    """By line."""
    found: dict[int, Course] = {}
    for order in orders:
        found[order.flow] = _course(forecasts, order, now_us)
        if len(found) % STRETCH == 0:
            yield
    return found


def _course(forecasts: Sequence[Forecast], order: Order, now_us: int) -> Course:
    """Of an order's line, by the first look that sees all of it, else the last."""
    found = [course for each in forecasts if (course := each.course(order.flow)) is not None]
    whole = [course for course in found if course.whole]
    return (whole or found[-1:] or [Course((), 1.0, now_us, whole=False)])[0]


def _tickets(scene: Scene, fine: bool) -> int:
    """About the usual number; so that the longest window that all must pass more than once holds whole tickets, because
    half a ticket too little in each makes one window more in the end."""
    tickets = (HELD_UP if scene.bars else TICKETS) * (FINE if fine else 1)
    windows: list[tuple[int, float]] = []
    for name, count in scene.behind.items():
        for pacer, grain in scene.bars[name].windows:
            windows += [(each.span_us, each.limit * grain) for each in pacer.pace.windows if each.limit * grain < count]
    for road in scene.roads.values():
        for pacer in road.ceilings:
            if pacer.unit == "messages":
                windows += [(each.span_us, each.limit) for each in pacer.pace.windows if each.limit < scene.waiting]
    usual = scene.waiting / tickets
    if usual <= 1 or not windows:
        return tickets
    _, capacity = max(windows)
    if capacity <= usual:
        return tickets
    each = capacity / math.ceil(capacity / usual)
    return round(scene.waiting / each)


def _opens(book: QuietBook, tenant: str, recipient: str, at: Instant) -> Instant:
    """The first moment from `at` on that is not quiet for such a number."""
    until = quiet.quiet_until(book, tenant, recipient, at)
    return at if until is None else until


async def spun(work: Generator[None, None, T]) -> T:
    """The result of work that is done in small pieces."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            found: T = done.value
            return found
        await asyncio.sleep(0)
