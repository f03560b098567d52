"""How does a ceiling that begins to count learn what was started before?

A provider's pace changes by a reload, providers join an account or leave it: every start that still counts must be in
the new ceiling. It is put together from what the old one remembers, from the outbox, from the calls that are open and
from those that begin while the outbox is read. What is seen twice counts twice, which never lets too much through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smsd.core.pacing import Pace, Pacer
from smsd.engine.gate import Line
from smsd.engine.lane import Lane
from smsd.engine.setting import Setting

Past = tuple[int, int]
"""A start: boot time in microseconds, cost."""


def members_of(settings: Sequence[Setting], account: str) -> frozenset[str]:
    """The providers that share the account's rate."""
    return frozenset(setting.name for setting in settings if setting.rules.account == account)


class Memory:
    """What a ceiling that is replaced remembers: at first, and again when the outbox has been read."""

    def __init__(self, old: Pacer, new: Pacer) -> None:
        self._old = old
        self.counts = new.unit == old.unit and old.capacity > 0
        """Whether what it remembers means anything to the new one."""
        self._before, self.edge = old.history()
        """`edge`: of what was started after it, nothing is missing."""

    def starts(self) -> list[Past]:
        """All after the edge."""
        lately, edge = self._old.history()
        return [(at, 1) for at in self._before if at <= edge] + [(at, 1) for at in lately]

    @property
    def filled_at(self) -> int:
        """When it was last taken as full."""
        return self._old.filled_at


class Shared:
    """The ceiling that the providers of one account share.

    A provider that left it, or was disabled, goes on counting with what it called while it belonged to it.
    """

    def __init__(self, pace: Pace, members: frozenset[str]) -> None:
        self.pacer = Pacer(pace)
        self.line = Line(self.pacer)
        self.members = members
        self.former: dict[str, int] = {}
        """Until when (boot time, us) those that left belonged to it; bounded by the names ever configured."""
        self.past: dict[str, list[Past] | None] = {}
        """What the outbox knows of each; None: nobody can tell."""
        self._leaving: frozenset[str] = frozenset()
        self._counted: frozenset[str] = frozenset()
        """Those whose calls the ceiling it replaces has counted."""
        self._memory: Memory | None = None
        self._open: dict[str, list[Past]] = {}
        self._noted: dict[str, list[Past]] = {}

    @property
    def whose(self) -> frozenset[str]:
        """The providers whose calls may count."""
        return self.members | self._leaving | self.former.keys()

    def follow(self, old: Shared) -> None:
        """It is to take the place of `old`."""
        self._leaving = old.members - self.members
        self.former = {name: until for name, until in old.former.items() if name not in self.members}
        self._counted = old.members
        self._memory = Memory(old.pacer, self.pacer)

    def watch(self, lanes: Mapping[str, Lane]) -> None:
        """While the outbox is read: calls that are open, or begin, are not in it yet."""
        for name, lane in lanes.items():
            self._open[name], self._noted[name] = lane.calls.under_way(), lane.calls.note()

    def fill(self, now: int) -> None:
        """Let it know all that was started by its providers. What is seen and settled meanwhile may count twice."""
        longest, memory = self.pacer.window_max, self._memory
        if None in self.past.values():
            self.pacer.fill(now)
        else:
            if memory is not None and memory.filled_at > now - longest:
                self.pacer.fill(memory.filled_at)
            remembered = memory.starts() if memory is not None and memory.counts else []
            starts = [start for name in self.whose for start in self._starts(name)]
            self.pacer.seed(sorted(starts + remembered), now - longest)
        self.former |= dict.fromkeys(self._leaving, now)
        self._leaving, self._memory = frozenset(), None
        for seen in (self.past, self._open, self._noted):
            seen.clear()

    def _starts(self, name: str) -> list[Past]:
        """The provider's, without what the ceiling remembers that is replaced."""
        known = self.past.get(name) or []
        begun, noted = self._costs(self._open.get(name, ())), self._costs(self._noted.get(name, ()))
        if name in self.former:
            return [start for start in known + begun if start[0] <= self.former[name]]
        if name in self._counted and self._memory is not None and self._memory.counts:
            return [start for start in known + begun if start[0] <= self._memory.edge]
        return known + begun + noted

    def _costs(self, calls: Iterable[Past]) -> list[Past]:
        return [(at, self.pacer.cost(segments)) for at, segments in calls]


class Repacing:
    """One lane's change of pace: every start that counts in the new pace must be in it.

    While both paces count the same unit, the old one remembers what was started lately; further back the outbox knows,
    and the lane knows the calls that are still open. When the unit changes, what was remembered means nothing: all is
    taken from the outbox, from the open calls, and from those that begin while the outbox is read.
    """

    def __init__(self, lane: Lane, setting: Setting) -> None:
        self.pacer = Pacer(setting.rules.pace)
        self.past: list[Past] | None = []
        """What the outbox knows."""
        self.lane = lane
        self._memory = Memory(lane.pacer, self.pacer)
        self._open = lane.calls.under_way()
        self._noted = lane.calls.note()

    def finish(self, now: int) -> None:
        """Let the new pace count."""
        if self.past is None:
            self.pacer.fill(now)
            self.lane.gate.change(self.pacer)
            return
        memory = self._memory
        if memory.filled_at > now - self.pacer.window_max:
            self.pacer.fill(memory.filled_at)
        if memory.counts:
            further = [start for start in self.past + self._costs(self._open) if start[0] <= memory.edge]
            past = further + memory.starts()
        else:  # one that was settled meanwhile may count twice
            past = self.past + self._costs(self._open) + self._costs(self._noted)
        self.pacer.seed(sorted(past), now - self.pacer.window_max)
        self.lane.gate.change(self.pacer)

    def _costs(self, calls: list[Past]) -> list[Past]:
        return [(at, self.pacer.cost(segments)) for at, segments in calls]
