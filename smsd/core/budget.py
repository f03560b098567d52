"""When may this retry be due, so that retries never become a storm of their own?

After an outage every message that failed wants to go again at nearly the same instant, and each retry that fails wants
the next one. So the retries due in any one second are bounded: to a share of the calls per second that there were
lately, and never less than a small floor, so that a quiet daemon is not held up. What finds its second full takes the
next one that has room. It knows no message and no provider, and does not hold anything back itself: it only names the
instant. A retry that was cancelled keeps its place; that costs a moment, never a message.

Times are wall-clock milliseconds (UTC), because due times are. Kept are the seconds of the next hour, no more. A second
that is full points at the next one that may have room (union-find), so a hundred thousand retries of one instant do not
each walk over the full ones.
"""

from __future__ import annotations

from smsd.core.message import Instant

HORIZON_S = 3_600
"""How far ahead retries are bounded, in seconds. One that finds no room so soon is spread over the hour after."""

_LATELY_S = 10


class RetryBudget:
    """Of one daemon. `share`: retries per call, 0 to 1; None: no bound. `floor_per_s`: allowed at any rate, at least 1.

    A reservation costs O(1) amortised; memory is bounded by the horizon.
    """

    __slots__ = ("_allowed", "_beyond", "_calls", "_floor", "_next", "_second", "_share", "_taken")

    def __init__(self, share: float | None, floor_per_s: float = 5) -> None:
        self._share = share
        self._floor = max(1, int(floor_per_s))
        self._begin(0)

    def _begin(self, second: int) -> None:
        self._second = second
        """The present second; what lies before it is forgotten."""
        self._calls = [0] * (_LATELY_S + 1)
        """Calls by second, the present one and the ten before it."""
        self._allowed = self._floor
        self._taken: dict[int, int] = {}
        """Second -> retries that are due in it."""
        self._next: dict[int, int] = {}
        """Full second -> a later one; all between them are full."""
        self._beyond = 0

    def called(self, now_ms: Instant) -> None:
        """A call begins: a first one or a retry."""
        self._advance(now_ms)
        self._calls[self._second % len(self._calls)] += 1

    def reserve(self, due_ms: Instant, now_ms: Instant) -> Instant:
        """When a retry that wants to go at `due_ms` may be due: then, or in the first later second with room."""
        if self._share is None:
            return due_ms
        self._advance(now_ms)
        wanted = max(due_ms // 1_000, self._second)
        end = self._second + HORIZON_S
        if wanted >= end:
            return due_ms
        second = self._with_room(wanted)
        if second >= end:
            self._beyond = (self._beyond + 1) % HORIZON_S
            return (end + self._beyond) * 1_000
        taken = self._taken.get(second, 0)
        self._taken[second] = taken + 1
        if taken + 1 >= self._allowed:
            self._next[second] = second + 1
        # Spread over its second: the first millisecond of each would be a small storm again.
        return max(due_ms, second * 1_000 + 1_000 * taken // self._allowed) if second != wanted else due_ms

    def _with_room(self, second: int) -> int:
        last = second
        while last in self._next or self._taken.get(last, 0) >= self._allowed:
            last = self._next.get(last, last + 1)
        # Shorten the way for whoever comes next.
        while second != last:
            following = self._next.get(second, second + 1)
            self._next[second] = last
            second = following
        return last

    def _advance(self, now_ms: Instant) -> None:
        """Move to the present second."""
        second = now_ms // 1_000
        if not self._second - _LATELY_S <= second <= self._second + HORIZON_S:
            # The wall clock was stepped, or nothing happened for an hour: nothing that was noted is of use.
            self._begin(second)
        while self._second < second:
            self._taken.pop(self._second, None)
            self._next.pop(self._second, None)
            self._second += 1
            self._calls[self._second % len(self._calls)] = 0
            self._allow()

    def _allow(self) -> None:
        """How many retries a second may hold now: from the ten seconds before the present one."""
        lately = sum(self._calls) - self._calls[self._second % len(self._calls)]
        allowed = max(self._floor, int((self._share or 0) * lately / _LATELY_S))
        if allowed > self._allowed:
            # Seconds that were full have room again.
            self._next.clear()
        self._allowed = allowed
