"""How does a provider stand at this moment, and when does that change by itself?

Its health says until when by the wall clock, for that is what can be written down. How long it lasts is measured by
boot time from the moment it was set, or found at a start: a cooldown is as long as it was meant to be whatever is done
to the wall clock meanwhile. Why it stands so is the health's, what follows from it the lane's.
"""

from __future__ import annotations

from dataclasses import replace

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.health import Health, Standing
from smsd.core.message import Instant
from smsd.engine.learning import HALT_PROBE_MS


class Condition:
    """Of one provider. `health`: what is known of it, and what is to be written down."""

    def __init__(self, health: Health, rules: ProviderRules, clock: Clock) -> None:
        self._clock = clock
        self.health = health = self._allowed(health, rules)
        self._cool_until_us = self._boot_of(health.cooling_until)
        self._probe_at_us = self._boot_of(health.probe_at)
        self._half_open_told = False

    def become(self, health: Health) -> None:
        """This is known of it now."""
        before, self.health = self.health, health
        if health.cooling_until != before.cooling_until:
            self._cool_until_us = self._boot_of(health.cooling_until)
        if health.probe_at != before.probe_at:
            self._probe_at_us = self._boot_of(health.probe_at)
            self._half_open_told = False

    def follow(self, rules: ProviderRules) -> None:
        """These rules count from now on: what they do not know any more, or do not allow, is gone."""
        self.become(self._allowed(self.health, rules))

    def _allowed(self, health: Health, rules: ProviderRules) -> Health:
        """Without an open breaker, or probes of a halt, as the rules say."""
        if rules.breaker is None and health.broken_since is not None:
            health = replace(health, broken_since=None, broken_reason="", probe_at=None)
        if health.halted is not None and (health.probe_at is not None) is not rules.halt_probe:
            health = replace(health, probe_at=self._clock.wall() + HALT_PROBE_MS if rules.halt_probe else None)
        return health

    def _boot_of(self, instant: Instant | None) -> int | None:
        """A time by the wall clock as boot time (us): taken when it is set, or found at a start."""
        return None if instant is None else self._clock.boot() + (instant - self._clock.wall()) * 1_000

    def _left_ms(self, end_us: int | None) -> int | None:
        """Milliseconds until then, by boot time; None: there is no such time. 0 or less: it is over."""
        return None if end_us is None else -(-(end_us - self._clock.boot()) // 1_000)

    def _is_over(self, end_us: int | None) -> bool:
        return end_us is not None and end_us <= self._clock.boot()

    def now(self) -> Instant:
        """The time by which its cooldown is judged: it lasts as long as it was meant to, whatever is done to the wall
        clock meanwhile."""
        left = self._left_ms(self._cool_until_us)
        return self._clock.wall() if left is None else (self.health.cooling_until or 0) - left

    def standing(self) -> Standing:
        """Its state now."""
        return self.health.standing(self.now(), self._is_over(self._probe_at_us))

    def until(self) -> Instant | None:
        """When that ends by itself, or is next put to the test, by the wall clock as it is now; None: it is open, or
        nobody knows."""
        match self.standing():
            case Standing.COOLING:
                left = self._left_ms(self._cool_until_us)
            case Standing.BROKEN:
                left = self._left_ms(self._probe_at_us)
            case _:
                return None
        return None if left is None else self._clock.wall() + left

    def reason(self) -> str:
        """One sentence on the state; empty when open."""
        return self.health.reason(self.now())

    def is_tried(self) -> bool:
        """Whether it is out of order, and one call may try it now."""
        return self._probe_at_us is not None and self.standing() is Standing.HALF_OPEN

    def has_cooled(self) -> bool:
        """Whether a cooldown is over that its health still knows."""
        return self._is_over(self._cool_until_us)

    def probe_begins(self) -> bool:
        """Whether its probe is due now, which was not said yet. Said once."""
        begins = not self._half_open_told and self._is_over(self._probe_at_us)
        self._half_open_told = self._half_open_told or begins
        return begins

    def probe_overdue_ms(self) -> int:
        """For how long its probe has been due; 0 or less: it is not, or none is planned."""
        left = self._left_ms(self._probe_at_us)
        return 0 if left is None else -left

    def changes_in_ms(self) -> int | None:
        """When its standing changes by itself next: a cooldown ends, a probe is due. None: only news change it."""
        ends = [self._left_ms(self._cool_until_us)]
        if not self._half_open_told:
            ends.append(self._left_ms(self._probe_at_us))
        return min((left for left in ends if left is not None), default=None)
