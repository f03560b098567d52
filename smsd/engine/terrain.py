"""How do things stand that decide when messages go?

What waits, how the providers stand, what their ceilings remember, how long their calls take, what was charged to the
limits on tenants and campaigns, and what operators said about campaigns: read once, and put together as one Scene, or
as one without some of it, for who asks what would be otherwise (`planning`). For what is not known (how long calls take
at a provider that has no limit and was not called yet) no number is made up: then there is no such road.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from smsd.clock import Clock
from smsd.core.admission import Key, kind_of
from smsd.core.bunches import Line
from smsd.core.campaign import Hours, Terms
from smsd.core.campaign import group as group_of_campaign
from smsd.core.health import Standing
from smsd.core.limits import OF_FLOWS, Action, Per, Rule, groups_of
from smsd.core.message import Instant
from smsd.core.pacing import Pace, Pacer, Window
from smsd.core.scene import Bar, Road, Scene
from smsd.core.schedule import Schedule
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Histogram, Meters
from smsd.store import Records
from smsd.store.operators import Campaigns

Charges = Sequence[tuple[Instant, int | None]]
"""When each was made, by the wall clock and by the boot clock (us; None: in another boot)."""

LINES: Final = 500
"""Flows told apart."""

BARS: Final = 64
"""Tenants and campaigns whose limits are looked at: those who would take longest if they were alone. As many campaigns,
the largest, are looked up for what operators said about them."""

UNITS: Final = 128
"""A limit of more messages than this is counted in lumps."""

COMMITS: Final = 2.0
"""A call waits for the commit before it and keeps its place until the one after it."""

KNOWN: Final = 20
"""Of fewer commits nothing is concluded: the first ones, of a start, are slow."""

NOWHERE: Final = ""
"""The route of what will not go before somebody says so."""


@dataclass(frozen=True, slots=True)
class Ways:
    """One provider, and what limits its pace, by what it is that limits it."""

    standing: Standing
    until: Instant | None
    own: tuple[Pacer, ...]
    """Its rate, as configured and as throttles taught it."""
    shared: tuple[Pacer, ...]
    """Its account's."""
    speed: tuple[Pacer, ...]
    """As fast as its places are free again; none: how long its calls take is not known."""
    claimed: int
    places: int

    def road(self, waiting: int, rate: bool = True, account: bool = True, latency: bool = True) -> Road | None:
        """As a road for so many; None: nobody knows how fast they go there."""
        parts = (self.own if rate else (), self.shared if account else (), self.speed if latency else ())
        ceilings = tuple(pacer for part in parts for pacer in part)
        known = any(pacer.rate_per_minute() is not None for pacer in ceilings)
        if not known and rate and account and latency and waiting > self.places:
            return None
        return Road(self.standing, self.until, ceilings, self.claimed)


@dataclass(frozen=True, slots=True)
class Terrain:
    """All that was read."""

    now: Instant
    now_us: int
    lines: tuple[Line, ...]
    ways: Mapping[str, Ways]
    bars: Mapping[str, Bar]
    """By group (limits.groups_of)."""
    failover_after_ms: int | None
    shut: frozenset[str] = frozenset()
    """Groups of campaigns that are paused or cancelled."""
    hours: Mapping[str, Hours] = field(default_factory=dict)
    """By group of a campaign, where it has some."""
    rules: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    """The limits in `bars`, by group."""

    def scene(self) -> Scene:
        """As it is."""
        roads = {name: self.ways[name].road(count) for name, count in waiting_for(self.lines, self.ways).items()}
        known = {name: road for name, road in roads.items() if road is not None}
        return Scene(self.now, self.now_us, self.lines, known, self.bars, self.failover_after_ms)


def waiting_for(lines: Iterable[Line], names: Iterable[str]) -> dict[str, int]:
    """How many messages each of these providers might carry."""
    waiting = dict.fromkeys(names, 0)
    for line in lines:
        for name in line.route.split(","):
            if name in waiting:
                waiting[name] += line.pending
    return waiting


class Surveyor:
    """Reads the terrain. Raises StoreError when the outbox cannot be read."""

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
        self.campaigns: Campaigns | None = None
        """Who knows what operators said about campaigns; set where the engine is put together."""

    def now(self) -> tuple[Instant, int]:
        """By the wall clock, and by the boot clock (us)."""
        return self._clock.wall(), self._clock.boot()

    async def survey(
        self, planned: Sequence[Line] = (), terms: Mapping[str, tuple[str, Terms]] | None = None
    ) -> Terrain:
        """How things stand. `planned`: lines that may come, whose limits are looked at too; `terms`: by group of a
        campaign its tenant and what will be said about it, if nothing was said yet."""
        lines = await self._records.lines(LINES, self._clock.wall())
        said = dict(terms or {})
        found: dict[str, bool] = {}
        for line in [*planned, *lines]:
            await self._said(line, said, found)
        shut = frozenset(name for name, is_shut in found.items() if is_shut)
        lines = tuple(replace(line, route=NOWHERE) if shut.intersection(line.groups) else line for line in lines)
        every = [*planned, *lines]
        charged = await self._charged(every, {group: rule for group, (tenant, each) in said.items()
                                              if (rule := each.rule(tenant)) is not None})  # fmt: skip
        now, now_us = self._clock.wall(), self._clock.boot()
        bars = {group: self._bar(group, windows, now, now_us) for group, windows in charged.items()}
        for name, (_, each) in said.items():
            if each.hours is not None:
                bars[name] = replace(bars.get(name, Bar(())), opens=each.hours.opens)
        ways = {name: self._ways(lane) for name, lane in self._lanes.items()}
        hours = {name: each.hours for name, (_, each) in said.items() if each.hours is not None}
        rules = {name: tuple(rule for rule, _ in windows) for name, windows in charged.items()}
        failover = self._feeder.failover_after_ms
        return Terrain(now, now_us, lines, ways, bars, failover, shut, hours, rules)

    async def _said(self, line: Line, said: dict[str, tuple[str, Terms]], found: dict[str, bool]) -> None:
        """What was said about the line's campaign, if it was not looked up yet and may matter. `found`: by group those
        that were looked up, and whether it is shut."""
        if self.campaigns is None or line.campaign is None or line.flow < 0 or len(found) >= BARS:
            return
        name = group_of_campaign(line.tenant, line.campaign)
        if name in found:
            return
        found[name] = False
        for each in await self.campaigns.find(line.campaign, line.tenant):
            said[name] = (line.tenant, each.terms)
            # not its status: one that is completed and paused holds up what is handed in next
            found[name] = each.paused_at is not None or each.cancelled_at is not None

    # -- providers ---------------------------------------------------------------------------------------------------

    def _ways(self, lane: Lane) -> Ways:
        shared = lane.gate.shared
        own = tuple(pacer for pacer in lane.gate.ceilings if pacer is not shared)
        speed = self._speed(lane)
        return Ways(
            lane.standing(),
            lane.until(),
            own,
            () if shared is None else (shared,),
            () if speed is None else (speed,),
            lane.gate.unstarted,
            lane.rules.max_in_flight,
        )

    def call_s(self, lane: Lane) -> float | None:
        """How long a place is taken by a call (s); None: it was not called yet, and its adapter does not know."""
        latency_s = self._meters.latency_s.get(lane.name, lane.expected_s)
        if latency_s is None:
            return None
        return latency_s + COMMITS * _typical(self._meters.commit_s)

    def _speed(self, lane: Lane) -> Pacer | None:
        held_s = self.call_s(lane)
        if held_s is None:
            return None
        return Pacer(Pace(min_gap_us=max(1, round(held_s * 1e6 / lane.rules.max_in_flight))))

    # -- limits ------------------------------------------------------------------------------------------------------

    async def _charged(self, lines: Iterable[Line], own: Mapping[str, Rule]) -> dict[str, list[tuple[Rule, Charges]]]:
        """What was charged lately to the limits that may hold up what waits, by group."""
        found: dict[str, list[tuple[Rule, Charges]]] = {}
        for group, (rules, key) in self._binding(lines, own).items():
            found[group] = [
                (rule, await self._records.charged(Key(kind_of(rule), key), rule.count, _lump(rule))) for rule in rules
            ]
        return found

    def _binding(self, lines: Iterable[Line], own: Mapping[str, Rule]) -> dict[str, tuple[list[Rule], str]]:
        """The rules of each group that is held up longest by them, and under which key it is counted."""
        rules = [rule for rule in self._limits.rules if rule.action is Action.DEFER and rule.per in OF_FLOWS]
        keys: dict[str, tuple[list[Rule], str]] = {}
        longest: dict[str, float] = {}
        for line in lines if rules or own else ():
            for group in groups_of(line.tenant, line.campaign) if line.flow >= 0 else ():
                per, _, key = group.partition(":")
                bound = [rule for rule in rules if rule.per is Per(per) and rule.tenant in (None, line.tenant)]
                bound += [own[group]] if group in own else []
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
            pacer.seed([(at, 1) for at in moments(charges, now, now_us)[-units:]])
            made.append((pacer, rule.count / units))
        return Bar(tuple(made), self._schedule.blocked_until(group, now))


def moments(charges: Charges, now: Instant, now_us: int) -> list[int]:
    """When they were made, by the boot clock (us), the oldest first."""
    return sorted(now_us - max(0, now - at) * 1_000 if boot is None else min(boot, now_us) for at, boot in charges)


def _typical(times: Histogram) -> float:
    """The median, as far as it is known: a few slow ones say nothing of the many. 0: too few are known."""
    total = sum(times.counts)
    if total < KNOWN:
        return 0.0
    before, lower = 0, 0.0
    for count, upper in zip(times.counts, times.bounds, strict=False):
        if before + count >= total / 2:
            return lower + (upper - lower) * (total / 2 - before) / count
        before, lower = before + count, upper
    return lower


def _lump(rule: Rule) -> int:
    """How many of a rule's messages are counted as one."""
    return -(-rule.count // UNITS)
