"""What is known now of all that decides when messages go, and what follows from it at the least?

Lines of waiting messages, the roads they may take, the limits that hold groups of them up. The bounds told here are
each of one thing alone (so many messages take this road so long, if nobody else takes it); how all of it works
together is for `forecast` to find out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from smsd.core.bunches import Line
from smsd.core.health import Standing
from smsd.core.message import Instant
from smsd.core.pacing import Pacer
from smsd.core.routing import FAILOVER_AFTER_MS

HALF_HOUR_MS = 1_800_000
HALF_HOURS = 48
"""A day is looked at in so many of them, for the part of it that hours leave open."""

LEAST_US = 3_600_000_000
"""So far ahead is looked in any case."""


@dataclass(frozen=True, slots=True)
class Road:
    """A provider's lane: whether it is open, and what limits its pace."""

    standing: Standing
    until: Instant | None
    """When a cooldown ends."""
    ceilings: tuple[Pacer, ...]
    """All of them must agree; one that stands in several roads is shared by them. None: it is not limited."""
    claimed: int = 0
    """Messages that wait no more, and whose calls are the next to begin."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A group's limits (limits.groups_of)."""

    windows: tuple[tuple[Pacer, float], ...]
    """Rolling windows, with what was charged to them, and how many messages a unit of each stands for."""
    until: Instant | None = None
    """When the schedule lets the group go that is blocked now."""
    opens: Callable[[Instant], Instant] | None = None
    """Hours outside of which the group is held up: the first moment from a moment on that is within them. None: it has
    none."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is known now."""

    now: Instant
    now_us: int
    """The same moment by boot time, which the pacers count in."""
    lines: Sequence[Line]
    roads: Mapping[str, Road]
    """By provider, in their order."""
    bars: Mapping[str, Bar] = field(default_factory=dict)
    """By group."""
    failover_after_ms: int | None = FAILOVER_AFTER_MS

    @property
    def waiting(self) -> int:
        """Messages."""
        return sum(line.pending for line in self.lines)

    @property
    def behind(self) -> dict[str, int]:
        """How many messages wait behind each bar, by group."""
        counts: dict[str, int] = {}
        for line in self.lines:
            for group in line.groups:
                if group in self.bars:
                    counts[group] = counts.get(group, 0) + line.pending
        return counts

    def cut(self) -> tuple[Scene, Instant | None]:
        """Without what is due long after all else has gone, so that a message of next year does not blur the next
        minute; and the moment from which on things are left out. None: nothing is."""
        ends = [self.ceilings_end(), *(self.bar_opens(group, count) for group, count in self.behind.items())]
        ends = [self.stretched(max(ends))]
        end = self.instant(self.now_us + max(LEAST_US, 2 * (max(ends) - self.now_us)))
        near = [each for line in self.lines if (each := line if line.apart else line.until(end)) is not None]
        if not near or near == [*self.lines]:
            return self, None
        return replace(self, lines=near), end

    # -- times -------------------------------------------------------------------------------------------------------

    def us(self, at: Instant) -> int:
        """That moment by boot time."""
        return self.now_us + (at - self.now) * 1_000

    def instant(self, at_us: int) -> Instant:
        """That boot time as a moment, rounded up."""
        return self.now - (self.now_us - at_us) // 1_000

    def road_begins(self, name: str) -> int:
        """When the road opens, at the earliest (us)."""
        until = self.roads[name].until
        return self.now_us if until is None else max(self.now_us, self.us(until))

    def bar_begins(self, group: str) -> int:
        """When the group is let go that is blocked now, and its hours are open (us)."""
        bar = self.bars[group]
        return self.open_from(group, self.now_us if bar.until is None else max(self.now_us, self.us(bar.until)))

    def open_from(self, group: str, at_us: int) -> int:
        """The first moment from `at_us` on that is within the group's hours (us)."""
        opens = self.bars[group].opens
        if opens is None:
            return at_us
        at = self.instant(at_us)
        found = opens(at)
        return at_us if found == at else self.us(found)

    def stretched(self, end_us: int) -> int:
        """About when that ends which would end then if all hours were always open (us)."""
        parts = [self._open_part(bar.opens) for bar in self.bars.values() if bar.opens is not None]
        return self.now_us + round((end_us - self.now_us) / min(parts, default=1.0))

    def _open_part(self, opens: Callable[[Instant], Instant]) -> float:
        """The part of the next day that is within such hours, at least one half hour."""
        moments = [self.now + place * HALF_HOUR_MS for place in range(HALF_HOURS)]
        return max(1, sum(opens(at) == at for at in moments)) / HALF_HOURS

    def bar_opens(self, group: str, count: int) -> int:
        """When the group's limits let the last of so many messages go, at the earliest (us)."""
        begin = self.bar_begins(group)
        windows = self.bars[group].windows
        ends = [begin, *(pacer.scaled(count / each, begin, 1).opens_at() for pacer, each in windows)]
        return self.open_from(group, max(ends))

    def line_ends(self, line: Line) -> int:
        """When all of the line have gone, if the fastest of its roads were its alone (us)."""
        takes = [self._passes(self._begins([name]), [line], self.roads[name].ceilings) for name in self._roads_of(line)]
        return max(self.us(line.dues[-1]), min(takes, default=self.now_us))

    def ceilings_end(self) -> int:
        """When all that must pass one ceiling have passed it, of the ceiling that takes longest (us)."""
        ceilings = {id(pacer): pacer for road in self.roads.values() for pacer in road.ceilings}
        must: dict[int, list[Line]] = {}
        for line in self.lines:
            roads = [{id(pacer) for pacer in self.roads[name].ceilings} for name in self._roads_of(line)]
            for key in set.intersection(*roads) if roads else ():
                must.setdefault(key, []).append(line)
        ends = [self.now_us]
        for key, lines in must.items():
            begin = self._begins([name for line in lines for name in self._roads_of(line)])
            ends.append(self._passes(begin, lines, [ceilings[key]]))
        return max(ends)

    def _roads_of(self, line: Line) -> list[str]:
        return [name for name in line.route.split(",") if name in self.roads]

    def _begins(self, names: Sequence[str]) -> int:
        return min(self.road_begins(name) for name in names)

    @staticmethod
    def _passes(begin: int, lines: Sequence[Line], ceilings: Sequence[Pacer]) -> int:
        """When all of the lines have passed all the ceilings, if nobody else did."""
        ends = [begin]
        for pacer in ceilings:
            units = sum(line.pending * (line.segments if pacer.unit == "segments" else 1) for line in lines)
            ends.append(pacer.scaled(units, begin, 1).opens_at())
        return max(ends)
