"""How does a ceiling that begins to count learn what was started before?

A provider's pace changes by a reload, providers join an account or leave it: every start that still counts must be in
the new ceiling. It is put together from what the old one remembers, from the outbox, from the calls that are open and
from those that begin while the outbox is read. What is seen twice counts twice, which never lets too much through.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from smsd.core.pacing import Pace, Pacer
from smsd.engine.lane import Lane, Setting

Past = tuple[int, int]
"""A start: boot time in microseconds, cost."""


def members_of(settings: Sequence[Setting], account: str) -> tuple[str, ...]:
    """The providers that share the account's rate."""
    return tuple(setting.name for setting in settings if setting.rules.account == account)


class Shared:
    """The ceiling that the providers of one account share."""

    def __init__(self, pace: Pace, members: tuple[str, ...]) -> None:
        self.pacer = Pacer(pace)
        self.members = members
        self.past: list[list[Past] | None] = []
        """What the outbox knows of each; None: nobody can tell."""
        self.filled_at: int | None = None
        """When the ceiling it replaces was last taken as full."""
        self._seen: list[list[Past]] = []

    def watch(self, lanes: Iterable[Lane]) -> None:
        """While the outbox is read: calls that are open, or begin, are not in it yet."""
        for lane in lanes:
            self._seen += [lane.open_calls(), lane.note_calls()]

    def fill(self, past: Sequence[list[Past] | None], now: int) -> None:
        """Let it know all that was started by its providers. What is seen and settled meanwhile may count twice."""
        longest = self.pacer.window_max
        if any(each is None for each in past) or (self.filled_at is not None and self.filled_at > now - longest):
            self.pacer.fill(now)
            return
        starts = [start for each in past if each is not None for start in each]
        starts += [(at, self.pacer.cost(segments)) for calls in self._seen for at, segments in calls]
        self.pacer.seed(sorted(starts), now - longest)
        self._seen = []


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
        self._same_unit = setting.rules.pace.unit == lane.pacer.unit and lane.pacer.capacity > 0
        self._before, self._edge = lane.pacer.history()
        self._open = lane.open_calls()
        self._noted = lane.note_calls()

    def finish(self, now: int) -> None:
        """Let the new pace count."""
        if self.past is None:
            self.pacer.fill(now)
            self.lane.gate.change(self.pacer)
            return
        old = self.lane.pacer
        if old.filled_at > now - self.pacer.window_max:
            self.pacer.fill(old.filled_at)
        past = self._remembered(old) if self._same_unit else self._known(self.past)
        self.pacer.seed(sorted(past), now - self.pacer.window_max)
        self.lane.gate.change(self.pacer)

    def _remembered(self, old: Pacer) -> list[Past]:
        """By the old pace, and further back by the outbox and the calls that are open."""
        lately, edge = old.history()
        since = [(at, 1) for at in self._before if at <= edge] + [(at, 1) for at in lately]
        further = [past for past in self.past or () if past[0] <= self._edge]
        return further + [past for past in self._costs(self._open) if past[0] <= self._edge] + since

    def _known(self, past: list[Past]) -> list[Past]:
        """By the outbox and the calls themselves; one that was settled meanwhile may count twice."""
        return past + self._costs(self._open) + self._costs(self._noted)

    def _costs(self, calls: list[Past]) -> list[Past]:
        return [(at, self.pacer.cost(segments)) for at, segments in calls]
