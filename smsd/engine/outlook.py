"""When will the backlog be gone, and when does this message go, as the daemon stands now?

The look ahead itself is `core.forecast`, which runs the very schedule and pacers that decide. Here it is told how
things are: what waits, how the providers stand, what their ceilings remember, how long their calls take, what limits on
tenants and campaigns were charged. One look serves everybody who asks within a second, and is taken in small pieces, so
that nothing else waits for it. For what is not known (how long calls take at a provider that has no limit and was not
called yet) no number is made up: then there is no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from smsd.clock import Clock
from smsd.core.admission import Key, kind_of
from smsd.core.bunches import Line
from smsd.core.forecast import Forecast
from smsd.core.health import Standing
from smsd.core.limits import OF_FLOWS, Action, Per, Rule, groups_of
from smsd.core.message import Instant, Message, State
from smsd.core.pacing import Pace, Pacer, Window
from smsd.core.scene import Bar, Road, Scene
from smsd.core.schedule import Schedule
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.store import Records

Charges = Sequence[tuple[Instant, int | None]]
"""When each was made, by the wall clock and by the boot clock (us; None: in another boot)."""

KEPT_US = 1_000_000
"""How long one look ahead serves."""

RENEWED_US = 250_000
"""How old it is at least when it is taken anew for one who is not in it."""

LINES = 500
"""Flows told apart."""

BARS = 64
"""Tenants and campaigns whose limits are looked at: those who would take longest if they were alone."""

UNITS = 128
"""A limit of more messages than this is counted in lumps."""

STEPS = 25
"""Of a look ahead at a time, about 2 ms."""

COMMITS = 2.0
"""A call waits for the commit before it and keeps its place until the one after it."""


@dataclass(slots=True)
class _Look:
    """What was seen at one moment."""

    at_us: int
    scene: Scene
    overall: Forecast
    end: Instant | None
    """What is due later was left out; None: nothing is."""
    last: Instant | None
    """When the last of what was left out is due."""
    near: Forecast | None = None
    """The first starts, message by message; the same as `overall` when few wait."""


class Lookout:
    """Answers by forecasts. Raises StoreError when the outbox cannot be read."""

    def __init__(
        self,
        records: Records,
        lanes: Mapping[str, Lane],
        schedule: Schedule,
        feeder: Feeder,
        limits: Limits,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._schedule = schedule
        self._feeder = feeder
        self._limits = limits
        self._meters = meters
        self._clock = clock
        self._look: _Look | None = None
        self._looking = asyncio.Lock()

    async def backlog_eta(self) -> Instant | None:
        """When the last of what waits now will go; None: nothing waits, or nobody knows."""
        look = await self._ahead(KEPT_US)
        found = look.overall.backlog()
        return found if found is None or look.last is None else max(found, look.last)

    async def message_eta(self, message: Message) -> Instant | None:
        """When this message will go; None: it is not pending, or nobody knows."""
        if message.state is not State.PENDING:
            return None
        look = await self._ahead(KEPT_US)
        if look.end is not None and message.due > look.end:
            return message.due if self._is_open(message.route) else None
        if not look.overall.knows(message.flow):
            look = await self._ahead(RENEWED_US)
        place = await self._records.place(message.flow, message.due, message.seq)
        now = self._clock.wall()
        found = (await self._near(look)).goes(message.flow, place, message.due, now)
        if found is None:
            found = look.overall.goes(message.flow, place, message.due, now)
        return None if found is None else max(found, message.due, now)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _ahead(self, kept_us: int) -> _Look:
        """One that is not older than that."""
        async with self._looking:
            look = self._look
            if look is None or self._clock.boot() - look.at_us >= kept_us:
                whole = await self._scene()
                scene, end = whole.cut()
                last = None if end is None else max(line.dues[-1] for line in whole.lines)
                look = self._look = _Look(scene.now_us, scene, await _run(Forecast(scene)), end, last)
            return look

    def _is_open(self, route: str) -> bool:
        """Whether a provider of the route is called, or will be again by itself."""
        lanes = [self._lanes[name] for name in route.split(",") if name in self._lanes]
        return any(lane.standing() in {Standing.OPEN, Standing.COOLING} for lane in lanes)

    async def _near(self, look: _Look) -> Forecast:
        async with self._looking:
            if look.near is None:
                look.near = look.overall if look.overall.each == 1 else await _run(Forecast(look.scene, near=True))
            return look.near

    async def _scene(self) -> Scene:
        lines = await self._records.lines(LINES, self._clock.wall())
        charged = await self._charged(lines)
        now, now_us = self._clock.wall(), self._clock.boot()
        bars = {group: self._bar(group, windows, now, now_us) for group, windows in charged.items()}
        return Scene(now, now_us, lines, self._roads(lines), bars, self._feeder.failover_after_ms)

    # -- providers ---------------------------------------------------------------------------------------------------

    def _roads(self, lines: Sequence[Line]) -> dict[str, Road]:
        waiting: dict[str, int] = {}
        for line in lines:
            for name in line.route.split(","):
                waiting[name] = waiting.get(name, 0) + line.pending
        roads: dict[str, Road] = {}
        for name, lane in self._lanes.items():
            ceilings = [*lane.gate.ceilings]
            speed = self._speed(lane)
            if speed is not None:
                ceilings.append(speed)
            bound = any(pacer.rate_per_minute() is not None for pacer in ceilings)
            if bound or waiting.get(name, 0) <= lane.rules.max_in_flight:
                roads[name] = Road(lane.standing(), lane.until(), tuple(ceilings), lane.gate.unstarted)
        return roads

    def _speed(self, lane: Lane) -> Pacer | None:
        """As fast as its places are free again; None: it was not called yet."""
        latency_s = self._meters.latency_s.get(lane.name)
        if latency_s is None:
            return None
        commits = sum(self._meters.commit_s.counts)
        commit_s = self._meters.commit_s.sum / commits if commits else 0.0
        held_us = (latency_s + COMMITS * commit_s) * 1e6
        return Pacer(Pace(min_gap_us=max(1, round(held_us / lane.rules.max_in_flight))))

    # -- limits ------------------------------------------------------------------------------------------------------

    async def _charged(self, lines: Iterable[Line]) -> dict[str, list[tuple[Rule, Charges]]]:
        """What was charged lately to the limits that may hold up what waits, by group."""
        found: dict[str, list[tuple[Rule, Charges]]] = {}
        for group, (rules, key) in self._binding(lines).items():
            found[group] = [
                (rule, await self._records.charged(Key(kind_of(rule), key), rule.count, _lump(rule))) for rule in rules
            ]
        return found

    def _binding(self, lines: Iterable[Line]) -> dict[str, tuple[list[Rule], str]]:
        """The rules of each group that is held up longest by them, and under which key it is counted."""
        rules = [rule for rule in self._limits.rules if rule.action is Action.DEFER and rule.per in OF_FLOWS]
        keys: dict[str, tuple[list[Rule], str]] = {}
        longest: dict[str, float] = {}
        for line in lines if rules else ():
            for group in groups_of(line.tenant, line.campaign) if line.flow >= 0 else ():
                per, _, key = group.partition(":")
                bound = [rule for rule in rules if rule.per is Per(per) and rule.tenant in (None, line.tenant)]
                if bound:
                    keys[group] = (bound, key)
                    slowest = max(rule.span_ms / rule.count for rule in bound)
                    longest[group] = longest.get(group, 0.0) + line.pending * slowest
        chosen = sorted(keys, key=lambda group: longest[group], reverse=True)[:BARS]
        return {group: keys[group] for group in chosen}

    def _bar(self, group: str, windows: Iterable[tuple[Rule, Charges]], now: Instant, now_us: int) -> Bar:
        made: list[tuple[Pacer, float]] = []
        for rule, charges in windows:
            units = max(1, round(rule.count / _lump(rule)))
            pacer = Pacer(Pace((Window(units, rule.span_ms * 1_000),), burst=units))
            times = [now_us - max(0, now - at) * 1_000 if boot is None else min(boot, now_us) for at, boot in charges]
            pacer.seed([(at, 1) for at in sorted(times)[-units:]])
            made.append((pacer, rule.count / units))
        return Bar(tuple(made), self._schedule.blocked_until(group, now))


def _lump(rule: Rule) -> int:
    """How many of a rule's messages are counted as one."""
    return -(-rule.count // UNITS)


async def _run(forecast: Forecast) -> Forecast:
    """In small pieces: the loop has other things to do."""
    while True:
        if forecast.advance(STEPS):
            return forecast
        await asyncio.sleep(0)
