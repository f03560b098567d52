"""How fast does this carrier really take our calls?

The configured rate is what an operator believes; a throttle says that it is too much. This module learns the lower rate
from throttles and acceptances, and climbs back with care. It knows no clock (it is told boot time in microseconds), no
cooldown (a throttle of a call begun before the last cooldown is not told to it) and no pacing: it answers with a
`Window`, and a Pacer keeps it. It only ever lowers the configured ceiling.

Two numbers. `learnt` is what the carrier was seen to take in one span; `rate` is what we call with. A throttle halves
the rate, but never goes below 0.9 of what was just accepted: half, because a few calls before a throttle prove little
(the carrier may count seconds, we minutes); 0.9, because what was accepted is a fact. Then it climbs to 95 % of what
was learnt: at the edge itself every jitter is a throttle.

A throttle says that the rate is too high only if it was called at that rate. A provider that refuses everything for an
hour refuses the first call after each rest, and that is one fact, not twelve: unless something was taken since, or the
last throttle is less than a span ago, the rate stays; and it never sinks below a tenth of the configured one before
something was taken again.

Where the carrier took less than half of the rate before it throttled, the half is our own guess and its limit is still
sought: every stretch of full use raises the rate by half, until a throttle shows the limit, or 95 % of the configured
rate are reached.

Beyond what is known only an experiment tells, and a failed one costs a whole cooldown. So one an hour: `learnt` rises
by 10 %. Where that goes well, by 20 %, 40 %, 80 % and 100 % in the hours after, because a carrier that was slow for an
hour must not be called slowly for two days; the first throttle starts again at 10 %. Idle time proves nothing and
raises nothing.
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

BLIND = 0.1
"""The share of the configured rate below which it is not lowered before something was taken again."""

_STEP = 0.05
_SEEK = 1.5
"""Less than 2: after such a step what was taken before it is more than half of the rate, and so ends the search."""
_PROOF = 4
"""Units in a stretch of full use at the least: fewer are chance."""
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

    __slots__ = (
        "_probe",
        "_refused_us",
        "_sought",
        "_stepped_us",
        "_stretch",
        "_stretch_us",
        "_taken_since",
        "_tally",
        "base",
        "learnt",
        "learnt_at_us",
        "rate",
    )

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
        self._refused_us: int | None = None
        """When the last throttle came; None: not since the start."""
        self._taken_since = False
        """Whether a call begun after it was taken."""
        self._sought = False
        """Whether the carrier's limit lies somewhere above the rate, nobody knows where."""
        self._stretch_us: int | None = None
        """Since when the present rate is looked at, while the limit is sought; None: from the next call on."""
        self._stretch = 0
        """Units taken since."""
        self._remember(rate, learnt, learnt_at_us)

    def _remember(self, rate: float | None, learnt: float | None, learnt_at_us: int | None) -> None:
        if rate is None or rate >= self.base.limit:
            self.forget()
            return
        self.rate = max(rate, FLOOR)
        self.learnt = min(self.rate if learnt is None else max(learnt, FLOOR), self.base.limit / SAFE)
        self.learnt_at_us = learnt_at_us
        self._stretch_us = None
        # It was called faster than it was ever seen to take, and did not say no: that rate is a guess.
        self._sought = self._sought or self._is_above(self.learnt)

    def forget(self) -> None:
        """It is called as configured again, as if it had never been throttled. What was taken lately stays known."""
        self.rate = self.learnt = self.learnt_at_us = self._stretch_us = None
        self._sought = False
        self._probe = _FIRST_PROBE

    def _is_above(self, level: float) -> bool:
        """Whether the rate is, by more than the last bit."""
        return self.rate is not None and self.rate > level * (1 + 1e-9)

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
        if before is None or self._taken_since or self._is_hard_on_the_last(started_us):
            self._lower(present, self._tally.until(started_us))
        self.learnt_at_us = self._stepped_us = self._refused_us = now_us
        self._taken_since = False
        self._stretch_us = None
        self._probe = _FIRST_PROBE
        return self.rate != before

    def _is_hard_on_the_last(self, started_us: int) -> bool:
        """Whether the last throttle is so near that it was called too fast even so, or counts what it refuses."""
        return self._refused_us is not None and started_us - self._refused_us < self.base.span_us

    def _lower(self, present: float, taken: int) -> None:
        blind = self.rate is not None and not self._taken_since
        lowest = min(present, BLIND * self.base.limit) if blind else 0
        self.rate = max(FLOOR, lowest, present / 2, 0.9 * min(taken, present))
        # Below one unit in a span nothing can be counted; that the present rate was too much is known all the same.
        self.learnt = min(present, max(taken, 1))
        self._sought = self._is_above(self.learnt)

    def accepted(self, started_us: int, now_us: int, cost: int) -> bool:
        """It took a call of `cost` units that began at `started_us`. True: `rate` changed."""
        self._tally.add(started_us, cost)
        if self._refused_us is None or started_us > self._refused_us:
            self._taken_since = True
        if self.rate is None or self.learnt is None:
            return False
        taken = self._tally.until(started_us)
        # All but the newest: a single call in a span does not prove one in every span.
        self.learnt = max(self.learnt, min(taken - cost, self.base.limit / SAFE))
        if self._stepped_us is None:
            self._stepped_us = now_us
        if self.learnt_at_us is None:
            self.learnt_at_us = now_us
        if self._sought:
            return self._seek(self.rate, started_us, now_us, cost)
        if now_us - self._stepped_us < self._pause_us or taken < _IN_USE * self.rate:
            return False
        if self.rate >= SAFE * self.learnt and now_us - self.learnt_at_us >= HOUR_US:
            if taken < _IN_FULL_USE * self.rate:
                return False
            # Nothing spoke against the present rate for an hour: the experiment.
            self.learnt = min(max(self.learnt, self.rate / SAFE) * (1 + self._probe), self.base.limit / SAFE)
            self.learnt_at_us = now_us
            self._probe = min(1.0, 2 * self._probe)
        return self._climb(self.rate, self.learnt, now_us)

    @property
    def _pause_us(self) -> int:
        """Between two steps at the least: a span, but never less than a second or more than a minute."""
        return min(max(self.base.span_us, 1_000_000), 60_000_000)

    def _seek(self, rate: float, started_us: int, now_us: int, cost: int) -> bool:
        """While nobody knows the carrier's limit: a stretch of full use is proof enough for the next step."""
        if self._stepped_us is not None and started_us <= self._stepped_us:
            return False
        if self._stretch_us is None:
            self._stretch_us, self._stretch = started_us, 0
            return False
        self._stretch += cost
        lasted = started_us - self._stretch_us
        if lasted < max(self._pause_us, _PROOF * self.base.span_us / rate):
            return False
        self._stretch_us = None
        if self._stretch < _IN_FULL_USE * rate * lasted / self.base.span_us:
            return False
        top = max(rate, SAFE * self.base.limit)
        self.rate = min(top, _SEEK * rate)
        # At the top the rate is no guess any more: the last step is the experiment's, an hour later.
        self._sought = self.rate < top
        self._stepped_us = self.learnt_at_us = now_us
        return self.rate != rate

    def _climb(self, rate: float, learnt: float, now_us: int) -> bool:
        target = SAFE * learnt
        if rate >= target:
            return False
        self._stepped_us = now_us
        self.rate = min(target, rate + _STEP * learnt)
        # A target of the configured rate may miss it by the last bit.
        if self.rate >= self.base.limit * (1 - 1e-9):
            self.forget()
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
        if self.learnt is None or self._is_above(SAFE * self.learnt):
            return None
        return SAFE * self.learnt * 60_000_000 / self.base.span_us
