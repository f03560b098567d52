"""How fast does this carrier really take our calls?

The configured rate is what an operator believes; a throttle says that it is too much. This module learns the lower rate
from throttles and acceptances, and climbs back with care. It knows no clock (it is told boot time in microseconds), no
cooldown (a throttle of a call begun before the last cooldown is not told to it) and no pacing: it answers with a
`Window`, and a Pacer keeps it. It only ever lowers the configured ceiling.

Two numbers. `learnt` is what the carrier was seen to take in one span; `rate` is what we call with. A throttle halves
the rate, but never goes below 0.9 of what was just accepted: half, because a few calls before a throttle prove little
(the carrier may count seconds, we minutes); 0.9, because what was accepted is a fact. Then it climbs to 95 % of what
was learnt: at the edge itself every jitter is a throttle.

Beyond that only an experiment tells, and a failed one costs a whole cooldown. So one an hour: `learnt` rises by 10 %.
Where that goes well, by 20 %, 40 %, 80 % and 100 % in the hours after, because a carrier that was slow for an hour must
not be called slowly for two days; the first throttle starts again at 10 %. Idle time proves nothing and raises nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from smsd.core.pacing import Window

SAFE = 0.95
"""The share of what was learnt that is called with."""

HOUR_US = 3_600_000_000
"""Between two experiments, and between a throttle and the next experiment."""

FLOOR = 0.1
"""Units in one span at the least: one in ten spans. Something must be called to learn that it is taken again."""

_STEP = 0.05
_FIRST_PROBE = 0.1
_IN_USE = 0.5
_IN_FULL_USE = 0.8


@dataclass(frozen=True, slots=True)
class Base:
    """The configured rate: `limit` units in any `span_us` microseconds."""

    limit: int
    span_us: int


class _Tally:
    """Units by the time their calls began, over the last two spans, in buckets of a 64th."""

    __slots__ = ("_newest", "_span_us", "_units", "_width_us")

    def __init__(self, span_us: int) -> None:
        self._span_us = span_us
        self._width_us = -(-span_us // 64)
        self._units = [0] * 128
        self._newest = 0

    def add(self, at_us: int, units: int) -> None:
        """Late answers count when they began; what is too old to matter is dropped."""
        bucket, size = at_us // self._width_us, len(self._units)
        if bucket <= self._newest - size:
            return
        for passed in range(max(self._newest + 1, bucket - size + 1), bucket + 1):
            self._units[passed % size] = 0
        self._newest = max(self._newest, bucket)
        self._units[bucket % size] += units

    def until(self, end_us: int) -> int:
        """How many began in the span that ends with `end_us`; the oldest bucket counts as far as it lies in it."""
        size, since = len(self._units), end_us - self._span_us + 1
        oldest, last = since // self._width_us, min(end_us // self._width_us, self._newest)
        first = max(oldest, self._newest - size + 1)
        if first > last:
            return 0
        start, end = first % size, last % size + 1
        whole = sum(self._units[start:end] if start < end else self._units[start:] + self._units[:end])
        if first > oldest:
            return whole
        outside = since - oldest * self._width_us
        return whole - -(-self._units[start] * outside // self._width_us)


class Adaptive:
    """The learnt rate of one provider. Rates are units per `base.span_us`; times are boot time in microseconds.

    `rate`, `learnt` and `learnt_at_us` are what must outlive a restart, and are given again after one.
    Memory does not depend on the rate.
    """

    __slots__ = ("_probe", "_stepped_us", "_tally", "base", "learnt", "learnt_at_us", "rate")

    def __init__(self, base: Base, rate: float | None, learnt: float | None, learnt_at_us: int | None) -> None:
        self.base = base
        self.rate: float | None = None
        """What it is called with now; None: as configured."""
        self.learnt: float | None = None
        """What it was found to take; None: nothing was learnt."""
        self.learnt_at_us: int | None = None
        """When that was last learnt or put to the test."""
        self._tally = _Tally(base.span_us)
        self._stepped_us: int | None = None
        """When the rate last changed; None: not since the start."""
        self._probe = _FIRST_PROBE
        self._remember(rate, learnt, learnt_at_us)

    def _remember(self, rate: float | None, learnt: float | None, learnt_at_us: int | None) -> None:
        if rate is None or rate >= self.base.limit:
            self.rate = self.learnt = self.learnt_at_us = None
            return
        self.rate = max(rate, FLOOR)
        self.learnt = min(self.rate if learnt is None else max(learnt, FLOOR), self.base.limit / SAFE)
        self.learnt_at_us = learnt_at_us

    def rebase(self, base: Base) -> None:
        """Another rate is configured. What was learnt stays as far as it is still below it."""
        if base == self.base:
            return
        scale = base.span_us / self.base.span_us
        if base.span_us != self.base.span_us:
            self._tally = _Tally(base.span_us)
        self.base = base
        rate = None if self.rate is None else self.rate * scale
        self._remember(rate, None if self.learnt is None else self.learnt * scale, self.learnt_at_us)

    # -- answers -----------------------------------------------------------------------------------------------------

    def throttled(self, started_us: int, now_us: int) -> bool:
        """It said "too fast" of a call that began at `started_us`, after the last cooldown. True: `rate` changed."""
        before = self.rate
        present = self.base.limit if before is None else before
        taken = self._tally.until(started_us)
        self.rate = max(FLOOR, present / 2, 0.9 * min(taken, present))
        # Below one unit in a span nothing can be counted; that the present rate was too much is known all the same.
        self.learnt = min(present, max(taken, 1))
        self.learnt_at_us = self._stepped_us = now_us
        self._probe = _FIRST_PROBE
        return self.rate != before

    def accepted(self, started_us: int, now_us: int, cost: int) -> bool:
        """It took a call of `cost` units that began at `started_us`. True: `rate` changed."""
        self._tally.add(started_us, cost)
        if self.rate is None or self.learnt is None:
            return False
        taken = self._tally.until(started_us)
        # All but the newest: a single call in a span does not prove one in every span.
        self.learnt = max(self.learnt, min(taken - cost, self.base.limit / SAFE))
        if self._stepped_us is None:
            self._stepped_us = now_us
        if self.learnt_at_us is None:
            self.learnt_at_us = now_us
        pause = min(max(self.base.span_us, 1_000_000), 60_000_000)
        if now_us - self._stepped_us < pause or taken < _IN_USE * self.rate:
            return False
        if self.rate >= SAFE * self.learnt and now_us - self.learnt_at_us >= HOUR_US:
            if taken < _IN_FULL_USE * self.rate:
                return False
            # Nothing spoke against the present rate for an hour: the experiment.
            self.learnt = min(max(self.learnt, self.rate / SAFE) * (1 + self._probe), self.base.limit / SAFE)
            self.learnt_at_us = now_us
            self._probe = min(1.0, 2 * self._probe)
        return self._climb(self.rate, self.learnt, now_us)

    def _climb(self, rate: float, learnt: float, now_us: int) -> bool:
        target = SAFE * learnt
        if rate >= target:
            return False
        self._stepped_us = now_us
        self.rate = min(target, rate + _STEP * learnt)
        # A target of the configured rate may miss it by the last bit.
        if self.rate >= self.base.limit * (1 - 1e-9):
            self.rate = self.learnt = self.learnt_at_us = None
            self._probe = _FIRST_PROBE
        return True

    # -- what follows ------------------------------------------------------------------------------------------------

    def window(self) -> Window | None:
        """The ceiling that keeps the present rate; None: as configured.

        A whole number of units in a span shortened to fit, so that no rate is rounded by more than a microsecond.
        """
        if self.rate is None:
            return None
        limit = max(1, int(self.rate))
        return Window(limit, max(1, math.ceil(limit * self.base.span_us / self.rate)))

    def recommended(self) -> float | None:
        """Units a minute that an operator might configure: 95 % of what was learnt.

        None: nothing was learnt, or not enough: it is called faster than that and has not said no again.
        """
        if self.rate is None or self.learnt is None or self.rate > SAFE * self.learnt * (1 + 1e-9):
            return None
        return SAFE * self.learnt * 60_000_000 / self.base.span_us
