"""What have a provider's answers taught us about it?

How many of its calls failed lately (breaker), what rate it really takes (adaptive), when it last took a message
(evidence for refusals without a reason), and how gently it is to be called after a rest (slow start). Fed with every
answer; what must outlive a restart is in its Health, which the lane writes down.
"""

from __future__ import annotations

from smsd.core.account import ProviderRules
from smsd.core.adaptive import Adaptive, Base
from smsd.core.breaker import Breaker
from smsd.core.health import Health
from smsd.core.message import Instant
from smsd.core.pacing import MAX_LIMIT, Pace, Pacer, Window

MINUTE_US = 60_000_000

LONGEST_US = 3_600_000_000
"""Of several ceilings, one over a longer span than this is a quota: a throttle says nothing of it, and keeping half of
it evenly would put minutes between two calls."""


class Experience:
    """Of one provider. Times are boot time in microseconds unless said."""

    def __init__(self, rules: ProviderRules) -> None:
        self.breaker: Breaker | None = None
        self.adaptive: Adaptive | None = None
        """None: no rate is learnt, or `follow_rate` was not told yet beside which."""
        self.accepted_us: int | None = None
        """When it last took a message; None: not in this run, nor in the hour before it."""
        self.opening: int | None = None
        """Calls that may be in flight while it comes back; one more after each that goes well. None: all."""
        self._unit: str | None = None
        """What the rate counts; None: it never had one."""
        self._span_us = MINUTE_US
        self.follow(rules)

    def follow(self, rules: ProviderRules) -> None:
        """These rules count from now on, except for the rate."""
        if rules.breaker is None:
            self.breaker = None
        elif self.breaker is None or self.breaker.rules != rules.breaker:
            self.breaker = Breaker(rules.breaker)

    def follow_rate(
        self, rules: ProviderRules, shared: Pace | None, health: Health, wall: Instant, boot_us: int
    ) -> None:
        """These ceilings count from now on: its own, and its account's.

        What was learnt stays as far as it is below them, and so does what was accepted lately. `health`: what an
        earlier run learnt; it is asked only when nothing is known here. Another unit begins anew.
        """
        unit, ceilings = _ceilings(rules.pace, shared)
        if not rules.adaptive or not ceilings:
            self.adaptive = None
            return
        tightest = min(ceilings, key=lambda window: (window.limit / window.span_us, window.span_us))
        base = Base(tightest.limit, tightest.span_us)
        if self._unit is not None and self._unit != unit:
            self.adaptive = Adaptive(base, None, None, None)
        elif self.adaptive is None:
            self.adaptive = _remembered(base, health, wall, boot_us)
        else:
            self.adaptive.rebase(base)
        self._unit, self._span_us = unit, base.span_us

    def forget_rate(self) -> None:
        """It is called as configured again."""
        if self.adaptive is not None:
            self.adaptive.forget()

    @property
    def rate(self) -> float | None:
        """Units a minute at which it is called now; None: as configured."""
        return None if self.adaptive is None else self._a_minute(self.adaptive.rate)

    @property
    def base_rate(self) -> float | None:
        """Units a minute as configured; None: nothing is."""
        return None if self.adaptive is None else self._a_minute(self.adaptive.base.limit)

    @property
    def learnt(self) -> float | None:
        """Units a minute that it was found to take; None: nothing was learnt."""
        return None if self.adaptive is None else self._a_minute(self.adaptive.learnt)

    def learnt_at(self, wall: Instant, boot_us: int) -> Instant | None:
        """When that was last learnt or put to the test, by the wall clock; now is `wall` and `boot_us`."""
        at = None if self.adaptive is None else self.adaptive.learnt_at_us
        return None if at is None else wall - (boot_us - at) // 1_000

    @property
    def recommended(self) -> float | None:
        """Units a minute that its `rate` might be set to; None: nothing was learnt."""
        return None if self.adaptive is None else self.adaptive.recommended()

    def _a_minute(self, units: float | None) -> float | None:
        return None if units is None else units * MINUTE_US / self._span_us

    def pacer(self, *ceilings: Pacer | None) -> Pacer | None:
        """The lower ceiling that it was taught; None: none.

        It knows the starts that the first of `ceilings` knows which counts the same unit.
        """
        window = None if self.adaptive is None else self.adaptive.window()
        if window is None or self._unit is None:
            return None
        pacer = Pacer(Pace((window,), unit=self._unit))
        for ceiling in ceilings:
            if ceiling is not None and ceiling.pace.windows and ceiling.unit == self._unit:
                starts, since = ceiling.history()
                pacer.seed([(at, 1) for at in starts], since)
                break
        return pacer

    # -- answers -----------------------------------------------------------------------------------------------------

    def took(self, started_us: int, now_us: int, segments: int) -> bool:
        """It took a message of that many segments. True: its rate changed."""
        self.accepted_us = now_us
        cost = max(1, segments) if self._unit == "segments" else 1
        return self.adaptive is not None and self.adaptive.accepted(started_us, now_us, cost)

    def throttled(self, started_us: int, now_us: int) -> bool:
        """It said "too fast", of a call begun after the rest before. True: its rate changed."""
        return self.adaptive is not None and self.adaptive.throttled(started_us, now_us)

    def answered(self, now_us: int, *, failed: bool, places: int) -> bool:
        """An answer came, or failed to. True: the breaker must open. `places`: max_in_flight."""
        if not failed and self.opening is not None:
            self.opening = self.opening + 1 if self.opening + 1 < places else None
        return self.breaker is not None and self.breaker.note(now_us, failed)

    def begin_slowly(self) -> None:
        """It comes back after a rest: one call first."""
        self.opening = 1
        if self.breaker is not None:
            self.breaker.reset()


def _ceilings(own: Pace, shared: Pace | None) -> tuple[str, list[Window]]:
    """All that bound its rate in one unit, and that unit: its own, or its account's if it has none. Where the two count
    different units its own decide, for one throttle can teach only one rate."""
    own_windows = [*own.windows]
    if own.min_gap_us:
        # One in each gap, counted over a minute or more: carriers count minutes, and one call tells nothing.
        calls = min(max(60, MINUTE_US // own.min_gap_us), MAX_LIMIT)
        own_windows.append(Window(calls, calls * own.min_gap_us))
    account = [] if shared is None else [*shared.windows]
    if shared is None or not account:
        unit, found = own.unit, own_windows
    elif not own_windows:
        unit, found = shared.unit, account
    else:
        unit, found = own.unit, own_windows + (account if shared.unit == own.unit else [])
    return unit, [window for window in found if window.span_us <= LONGEST_US] or found


def _remembered(base: Base, health: Health, wall: Instant, boot_us: int) -> Adaptive:
    """With what an earlier run learnt, which is kept in units a minute."""
    if health.rate is None:
        return Adaptive(base, None, None, None)
    at = None if health.learnt_at is None else boot_us - max(0, wall - health.learnt_at) * 1_000
    scale = base.span_us / MINUTE_US
    learnt = None if health.learnt is None else health.learnt * scale
    return Adaptive(base, min(health.rate * scale, base.limit), learnt, at)
