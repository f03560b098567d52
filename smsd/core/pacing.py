"""May the next call to this provider start now, and if not, when?

It knows the starts of the past and the ceilings, nothing else: no clock (it is told boot time in microseconds, which
never steps), no provider, no message, and not whether anybody wants to start.

A token bucket cannot hold "at most N in every window of T" and still use 98 % of it: a full bucket spent at the end of
one window adds to the tokens of the next. So two rules stand side by side, and both must agree:

- The ceiling, one ring of N integers per window: a start that costs c units pushes out the c oldest, and may happen
  once the last of them is T old. That is the definition of the ceiling itself, so no arrival pattern can break it.
- The even pace, for the shortest window only: start k goes at slot k, and slots are T/N apart. Timers wake 1-2 ms late,
  so a start that was waited for keeps its slot and lateness is made up within a small credit. Idle time earns `burst`
  starts and no more. Longer windows are plain caps.

Windows are kept a little longer than configured (see `pad_us`) because the carrier counts arrivals, not our starts.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

MAX_LIMIT = 1_000_000
"""Units in one window at most; a ring costs 8 bytes a unit."""

LATENESS_US = 20_000
"""Lateness that is made up at any rate. An event loop under load wakes its timers 1-2 ms late, at times 10 or 20."""

PATIENCE_US = 250_000
"""A start that comes later than this after its told time was not waited for: the provider was idle, or rested."""

_NEVER = -(1 << 62)


class TooEarlyError(RuntimeError):
    """A promise of the program was broken: a call was started before its time."""


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` units in any `span_us` microseconds. ValueError for what cannot be kept."""

    limit: int
    span_us: int

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise ValueError(
                f"a rate must allow 1 to {MAX_LIMIT:,} in one window, not {self.limit:,}; state it over another span"
                " (0.5/s is 1 in 2 s; 5,000,000/day is 3,472/min)"
            )
        if self.span_us < 1:
            raise ValueError("a rate's span must be longer than nothing; write for example 100/min")


@dataclass(frozen=True, slots=True)
class Pace:
    """A provider's ceilings as configured. No windows: unlimited. ValueError for what contradicts itself."""

    windows: tuple[Window, ...] = ()
    burst: int = 1
    min_gap_us: int = 0
    unit: str = "messages"
    """messages | segments"""

    def __post_init__(self) -> None:
        if self.burst < 1:
            raise ValueError("burst must be at least 1, which means evenly paced")
        if self.windows and self.burst > self.shortest.limit:
            raise ValueError(
                f"burst is taken out of the rate, not added: at most {self.shortest.limit} (the shortest window's"
                f" limit), not {self.burst}"
            )
        if self.min_gap_us < 0:
            raise ValueError("min_gap must not be negative; 0 means none")
        if self.unit not in ("messages", "segments"):
            raise ValueError(f"unit must be messages or segments, not {self.unit!r}")

    @property
    def shortest(self) -> Window:
        """The window that burst and even pacing belong to. Only asked for when there are windows."""
        return min(self.windows, key=lambda window: (window.span_us, window.limit))


def pad_us(span_us: int) -> int:
    """How much longer a window is kept than configured: the lesser of 20 ms and a 250th (0.4 % of the rate).

    Two calls may reach the carrier closer together than they left us; the pad is the jitter that does no harm.
    """
    return min(20_000, -(-span_us // 250))


class _Ring:
    """The last `limit` units of one window, by the time they were charged; the head is the oldest."""

    __slots__ = ("dropped", "head", "limit", "span", "times", "tolerance")

    def __init__(self, window: Window) -> None:
        self.limit = window.limit
        self.tolerance = pad_us(window.span_us) // 4
        self.span = window.span_us + pad_us(window.span_us)
        self.times = array("q", [_NEVER]) * window.limit
        self.head = 0
        self.dropped = _NEVER
        """The time of the newest unit that is not in it any more: of that time and before, some may be missing."""

    def opens_at(self, cost: int) -> int:
        """When the last unit that `cost` would push out is `span` old. More than fits: when the window is empty."""
        last = self.head + min(cost, self.limit) - 1
        return self.times[last if last < self.limit else last - self.limit] + self.span

    def push(self, at: int, cost: int) -> None:
        if cost > self.limit:
            self.dropped = at
        for _ in range(min(cost, self.limit)):
            self.dropped = max(self.dropped, self.times[self.head])
            self.times[self.head] = at
            self.head = self.head + 1 if self.head + 1 < self.limit else 0

    def put_off(self, start: int, left: int) -> None:
        """What was charged from `start` on counts from `left` on; the ring stays in order."""
        if left - start <= self.tolerance:
            return
        for oldest, end in ((self.head, self.limit), (0, self.head)):
            for place in range(bisect_left(self.times, start, oldest, end), end):
                if self.times[place] >= left:
                    return
                self.times[place] = left

    def fill(self, at: int) -> None:
        self.times = array("q", [at]) * self.limit
        self.head = 0
        self.dropped = at

    def scaled(self, each: float, begin: int, most: int) -> _Ring:
        """See Pacer.scaled."""
        limit = max(1, min(round(self.limit / each), most))
        ring = _Ring(Window(limit, 1))
        ring.span = round(self.span * limit * each / self.limit)
        for place in range(limit):
            turns, last = divmod(max(0, round((place + 1) * each) - 1), self.limit)
            last += self.head
            oldest = self.times[last if last < self.limit else last - self.limit]
            ring.times[place] = max(begin, oldest + self.span) + turns * self.span - ring.span
        return ring


class Pacer:
    """Keeps one Pace. All times are boot time in microseconds; costs are units (see `cost`), at least 1.

    One start is O(windows + cost). Memory is 8 bytes for each unit of each window.
    """

    __slots__ = (
        "_credit",
        "_gap",
        "_grace_until",
        "_idle",
        "_last",
        "_limit",
        "_pace",
        "_rings",
        "_slot",
        "_span",
        "filled_at",
    )

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._rings = tuple(_Ring(window) for window in pace.windows)
        self._gap = pace.min_gap_us
        self._last = _NEVER
        # Slots are kept multiplied by the limit: a slot's length in microseconds is seldom whole, and 60.02 rounded up
        # to 61 would lose 1.6 % of a fast rate.
        self._limit = pace.shortest.limit if pace.windows else 1
        self._span = pace.shortest.span_us + pad_us(pace.shortest.span_us) if pace.windows else 0
        self._idle = (pace.burst - 1) * self._span
        """What idle time can earn, scaled as the slots are."""
        self._credit = max(self._idle, LATENESS_US * self._limit, self._span // 2)
        """What lateness can make up, scaled: 20 ms, or half a slot where slots are long, and never less than burst."""
        self._slot = _NEVER * self._limit
        """The next start's slot, scaled."""
        self.filled_at = _NEVER
        """When it was taken as full because nobody knew; long past: never."""
        self._grace_until = _NEVER
        """Up to when a start behind its slot counts as late, not as idle: somebody was refused and waits for it."""

    # -- asking ------------------------------------------------------------------------------------------------------

    def ready_at(self, now_us: int, cost: int = 1) -> int:
        """The earliest time at which a start of this cost may happen; <= `now_us` means now.

        Ask only for what wants to start: being refused is what tells a late start from an idle provider.
        """
        ready = self.opens_at(cost)
        if ready > now_us:
            self._grace_until = max(self._grace_until, ready + PATIENCE_US)
        return ready

    def opens_at(self, cost: int = 1) -> int:
        """What `ready_at` would say, without asking: nobody is waiting for it. Long past when nothing was started."""
        ready = max(-(-self._slot // self._limit), self._last + self._gap)
        for ring in self._rings:
            ready = max(ready, ring.opens_at(cost))
        return ready

    def allowance(self, now_us: int, horizon_us: int, limit: int) -> int:
        """How many starts of cost 1 could begin from now until `horizon_us` later, at most `limit`. Changes nothing."""
        if not self._rings and not self._gap:
            return limit
        until = now_us + horizon_us
        slot, grace_until, last = self._slot, self._grace_until, self._last
        planned: list[int] = []
        while len(planned) < limit:
            at = max(now_us, -(-slot // self._limit), last + self._gap)
            for ring in self._rings:
                back = len(planned) - ring.limit
                at = max(at, planned[back] + ring.span if back >= 0 else ring.opens_at(len(planned) + 1))
            if at > until:
                break
            if at > now_us:
                grace_until = at
            slot, grace_until = self._next_slot(slot, grace_until, at, 1)
            last = at
            planned.append(at)
        return len(planned)

    def load(self, now_us: int) -> float:
        """How much of the shortest window is used just now, from 0 to 1; 0: unlimited."""
        if not self._rings:
            return 0.0
        shortest = min(self._rings, key=lambda ring: ring.span)
        return sum(at > now_us - shortest.span for at in shortest.times) / shortest.limit

    @property
    def pace(self) -> Pace:
        """What it keeps."""
        return self._pace

    @property
    def unit(self) -> str:
        """What it counts: messages or segments."""
        return self._pace.unit

    def cost(self, segments: int) -> int:
        """What a message of that many segments takes out of the rate, in units."""
        return max(1, segments) if self._pace.unit == "segments" else 1

    def rate_per_minute(self) -> float | None:
        """Units a minute that the tightest ceiling allows in the long run, as configured; None: unlimited."""
        rates = [window.limit * 60e6 / window.span_us for window in self._pace.windows]
        if self._gap:
            rates.append(60e6 / self._gap)
        return min(rates, default=None)

    @property
    def window_max(self) -> int:
        """How far back a start still counts, in microseconds; 0: unlimited. Look back this far after a restart."""
        return max([self._gap, *(ring.span for ring in self._rings)])

    @property
    def capacity(self) -> int:
        """The newest starts that can matter, in units: the largest window's limit; 0: unlimited."""
        return max([1 if self._gap else 0, *(ring.limit for ring in self._rings)])

    def scaled(self, each: float, begin_us: int, most: int) -> Pacer:
        """A copy for who looks ahead: a start of cost 1 stands for `each` units (more than 0), and is the last of them.

        `begin_us`: nothing starts before; `most`: so many starts are tried on it at most, and it answers for no more.
        Where a window holds no whole number of such starts its span gives way, so that the rate stays what it is.
        """
        copy = Pacer(Pace())
        copy._rings = tuple(ring.scaled(each, begin_us, most) for ring in self._rings)
        copy._gap = round(self._gap * each)
        ahead = max(0.0, each - 1)
        if self._gap:
            copy._last = max(begin_us, self._last + self._gap) + round(self._gap * ahead) - copy._gap
        copy._limit, copy._span = self._limit, round(self._span * each)
        copy._slot = max(self._slot, begin_us * self._limit - self._idle) + round(self._span * ahead)
        copy._idle = copy._credit = max(0, self._idle - round(self._span * ahead))
        return copy

    # -- telling -----------------------------------------------------------------------------------------------------

    def start(self, now_us: int, cost: int = 1) -> None:
        """A call starts now. TooEarlyError when that breaks a ceiling: `ready_at` was not asked, or not heeded."""
        ready = self.opens_at(cost)
        if ready > now_us:
            raise TooEarlyError(f"a start of cost {cost} came {ready - now_us} us before its time")
        self._record(now_us, cost)

    def force(self, now_us: int, cost: int = 1) -> None:
        """A call has started, allowed or not: one found open after a crash counts as started now."""
        self._record(now_us, cost)

    def left(self, start_us: int, left_us: int) -> None:
        """The call charged at `start_us` left the machine only at `left_us`: its windows begin then.

        A busy event loop may send a call tens of milliseconds after its start; if the next window's calls then leave at
        once, the carrier sees them closer together than they were started. What the pad covers is not corrected.
        """
        for ring in self._rings:
            ring.put_off(start_us, left_us)

    def seed(self, starts: Sequence[tuple[int, int]], since: int = _NEVER) -> None:
        """Earlier starts as (time, cost), oldest first; told before any other start. `since`: they are all there were
        after this time.

        They may have been made under a faster pace: then the windows say how long to wait, not a slot for each.
        """
        for ring in self._rings:
            ring.dropped = max(ring.dropped, since)
        for at, cost in starts:
            self._record(at, cost)
        if starts:
            self._slot = min(self._slot, self._last * self._limit + starts[-1][1] * self._span)

    def history(self) -> tuple[list[int], int]:
        """The times of the units it remembers, oldest first, and the time after which none is missing.

        Under a pace that was lowered a short while ago that is less than a window: more was started than it can hold.
        """
        if not self._rings:
            return [], self._last
        longest = max(self._rings, key=lambda ring: ring.span)
        times = [at for at in (*longest.times[longest.head :], *longest.times[: longest.head]) if at > longest.dropped]
        return times, longest.dropped

    def fill(self, now_us: int) -> None:
        """Nobody knows what was started lately: every window counts as full at `now_us`."""
        self.filled_at = self._last = max(self._last, now_us)
        for ring in self._rings:
            ring.fill(self._last)
        self._slot = max(self._slot, self._last * self._limit)

    def _record(self, at: int, cost: int) -> None:
        # The rings rely on their order. A time before the last one can only be an inexact memory of the past: it is
        # taken as later than it was, which never lets too much through.
        at = max(at, self._last)
        for ring in self._rings:
            ring.push(at, cost)
        self._slot, self._grace_until = self._next_slot(self._slot, self._grace_until, at, cost)
        self._last = at

    def _next_slot(self, slot: int, grace_until: int, at: int, cost: int) -> tuple[int, int]:
        """The slot after a start at `at` on `slot`, and how long starts behind it count as late."""
        owed = self._credit if at <= grace_until else self._idle
        following = max(slot, at * self._limit - owed) + cost * self._span
        catching_up = at <= grace_until and following <= at * self._limit
        return following, at + LATENESS_US if catching_up else _NEVER
