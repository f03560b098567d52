"""Which tenants and campaigns does a limit hold up, and until when?

A block is an end and a name, one for however many messages wait behind it. Nothing here knows flows or tickets; whoever
keeps the window asks at each look what has changed since the last one. A block longer than the window looks ahead is
another matter than a short one: behind it nothing needs to be held.

Forgetting a block is harmless (its next message asks the limit again and is refused), which is how their number is kept
bounded: beyond `MOST`, those that hold up nobody known are forgotten.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

from smsd.core.flows import Hold
from smsd.core.message import Instant

MOST = 20_000
"""Blocks remembered, beyond those that hold up a flow with messages."""


class Change(NamedTuple):
    """A group is held up otherwise than before."""

    group: str
    was: Hold
    block: Hold


class Blocks:
    """Groups that are held up, by name. Ends and `ahead_ms` in ms; a block is long while its end is farther away."""

    def __init__(self, ahead_ms: int) -> None:
        self._ahead_ms = ahead_ms
        self._until: dict[str, Instant] = {}
        self._fresh: dict[str, None] = {}
        """Blocked, or blocked for longer, since the last look."""
        self._seen: dict[str, Hold] = {}
        """As of the last look; groups that are not held up are missing."""
        self._look_at: dict[str, Instant] = {}
        self._looks: list[tuple[Instant, str]] = []
        """When a block becomes short, or ends; entries that `_look_at` does not confirm are void."""
        self._most = MOST

    def __bool__(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self._fresh or self._looks)

    def add(self, group: str, until: Instant) -> None:
        """Hold the group up; of two ends the later one counts."""
        if until > self._until.get(group, until - 1):
            self._until[group] = until
            self._fresh[group] = None

    def until(self, group: str, now: Instant) -> Instant | None:
        """The end of the group's block; None: nothing holds it up."""
        end = self._until.get(group)
        return end if end is not None and end > now else None

    def end(self, group: str) -> Instant:
        """The end of the group's block, or 0."""
        return self._until.get(group, 0)

    def seen(self, group: str) -> Hold:
        """How the group was held up at the last look."""
        return self._seen.get(group, Hold.NONE)

    def look(self, now: Instant) -> list[Change]:
        """What has changed since the last look."""
        fresh, self._fresh = self._fresh, {}
        while self._looks and self._looks[0][0] <= now:
            at, group = heapq.heappop(self._looks)
            if self._look_at.get(group) == at:
                fresh[group] = None
        changes = [Change(group, self.seen(group), self._judge(group, now)) for group in fresh]
        if len(self._looks) > 2 * len(self._look_at) + 64:
            self._looks = [(at, group) for group, at in self._look_at.items()]
            heapq.heapify(self._looks)
        return [change for change in changes if change.was is not change.block]

    def _judge(self, group: str, now: Instant) -> Hold:
        until = self._until[group]
        if until <= now:
            del self._until[group]
            self._seen.pop(group, None)
            self._look_at.pop(group, None)
            return Hold.NONE
        is_long = until - self._ahead_ms > now
        self._seen[group] = Hold.LONG if is_long else Hold.SHORT
        at = until - self._ahead_ms if is_long else until
        if self._look_at.get(group) != at:
            self._look_at[group] = at
            heapq.heappush(self._looks, (at, group))
        return self._seen[group]

    @property
    def wake(self) -> Instant | None:
        """When to look next; None: nothing is held up."""
        return self._looks[0][0] if self._looks else None

    def clear(self) -> list[Change]:
        """Hold nobody up any more."""
        changes = [Change(group, block, Hold.NONE) for group, block in self._seen.items()]
        for part in (self._until, self._fresh, self._seen, self._look_at, self._looks):
            part.clear()
        return changes

    def keep(self, is_needed: Callable[[str], bool]) -> None:
        """Forget those not needed, if there are too many."""
        if len(self._until) > self._most:
            for group in [group for group in self._until if not is_needed(group)]:
                for part in (self._until, self._fresh, self._seen, self._look_at):
                    part.pop(group, None)
            self._most = max(MOST, 2 * len(self._until))
