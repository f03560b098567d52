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
from smsd.core.pacing import Pace, Pacer

MINUTE_US = 60_000_000


class Experience:
    """Of one provider. Times are boot time in microseconds unless said."""

    def __init__(self, rules: ProviderRules, shared: Pace | None) -> None:
        self.breaker: Breaker | None = None
        self.adaptive: Adaptive | None = None
        self.accepted_at: Instant | None = None
        """When it last took a message (wall time); None: not in this run, nor in the hour before it."""
        self.opening: int | None = None
        """Calls that may be in flight while it comes back; one more after each that goes well. None: all."""
        self._unit = "messages"
        self._span_us = MINUTE_US
        self.follow(rules, shared)

    def follow(self, rules: ProviderRules, shared: Pace | None) -> None:
        """These rules count from now on; what was learnt stays as far as it makes sense."""
        if rules.breaker is None:
            self.breaker = None
        elif self.breaker is None or self.breaker.rules != rules.breaker:
            self.breaker = Breaker(rules.breaker)
        pace = rules.pace if rules.pace.windows else shared
        if not rules.adaptive or pace is None or not pace.windows:
            self.adaptive = None
            return
        base = Base(pace.shortest.limit, pace.shortest.span_us)
        if self.adaptive is None or self._unit != pace.unit or self._span_us != base.span_us:
            self.adaptive = Adaptive(base, None, None, None)
        else:
            self.adaptive.rebase(base)
        self._unit, self._span_us = pace.unit, base.span_us

    def remember(self, health: Health, wall: Instant, boot_us: int) -> None:
        """What an earlier run, or another pace, learnt of its rate."""
        if self.adaptive is None or health.rate is None:
            return
        at = None if health.learnt_at is None else boot_us - max(0, wall - health.learnt_at) * 1_000
        scale = self._span_us / MINUTE_US
        learnt = None if health.learnt is None else health.learnt * scale
        base = self.adaptive.base
        self.adaptive = Adaptive(base, min(health.rate * scale, base.limit), learnt, at)

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

    def pacer(self, configured: Pacer) -> Pacer | None:
        """The lower ceiling that it was taught, knowing what the configured one knows; None: none."""
        window = None if self.adaptive is None else self.adaptive.window()
        if window is None:
            return None
        pacer = Pacer(Pace((window,), unit=self._unit))
        starts, since = configured.history()
        pacer.seed([(at, 1) for at in starts], since)
        return pacer

    # -- answers -----------------------------------------------------------------------------------------------------

    def took(self, wall: Instant, started_us: int, now_us: int, cost: int) -> bool:
        """It took a message. True: its rate changed."""
        self.accepted_at = wall
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
