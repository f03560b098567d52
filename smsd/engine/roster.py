"""How do the providers stand, as operators see them, and what can an operator tell one?

Pause and resume; all else about a provider is the configuration's. A tenant sees those that may carry its messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from smsd.core.acceptance import MessageRules
from smsd.core.health import Standing
from smsd.core.message import Instant
from smsd.engine.lane import Lane
from smsd.engine.tally import Tally


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One provider as operators see it; rates are messages (or segments) a minute, None: unlimited."""

    name: str
    type: str
    state: Standing
    since: Instant | None
    """When its breaker opened or its rest began; None: it is open, or nobody wrote it down."""
    until: Instant | None
    reason: str
    rate: float | None
    rate_now: float | None
    """What it is called at now: what throttles have taught it, else as configured."""
    recommended_rate: float | None
    """What `rate` might be set to, as far as throttles have taught; None: as it is."""
    in_flight: int
    sent_last_minute: int
    throttles_last_hour: int


class UnknownProviderError(LookupError):
    """No such provider is configured and enabled."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"No provider {name!r} is enabled. There are: {', '.join(known) or 'none'}.")


class Roster:
    """The enabled providers."""

    def __init__(self, lanes: Mapping[str, Lane], tally: Tally, rules: MessageRules) -> None:
        self._lanes = lanes
        self._tally = tally
        self.rules = rules
        """Which tenants may see which."""

    def views(self, tenant: str | None = None) -> tuple[ProviderView, ...]:
        """Every enabled provider, or those that may carry a tenant's messages."""
        bounds = None if tenant is None else self.rules.tenants.get(tenant)
        names = bounds.providers if bounds is not None and bounds.providers else self._lanes
        return tuple(self._view(lane) for lane in self._lanes.values() if lane.name in names)

    async def pause(self, name: str, reason: str, by: str) -> ProviderView:
        """No calls to this provider until resumed. Raises UnknownProviderError, and StoreError as Lane.pause does."""
        lane = self._lane(name)
        await lane.pause(reason, by)
        return self._view(lane)

    async def resume(self, name: str, by: str) -> ProviderView:
        """Lift pause, halt and cooldown. Raises as `pause` does."""
        lane = self._lane(name)
        await lane.resume(by)
        return self._view(lane)

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            raise UnknownProviderError(name, tuple(self._lanes))
        return self._lanes[name]

    def _view(self, lane: Lane) -> ProviderView:
        return ProviderView(
            name=lane.name,
            type=lane.provider.type,
            state=lane.standing(),
            since=lane.health.since(lane.condition.now()),
            until=lane.until(),
            reason=lane.reason(),
            rate=lane.pacer.rate_per_minute(),
            rate_now=lane.rate_now(),
            recommended_rate=lane.recommended_rate(),
            in_flight=lane.in_flight,
            sent_last_minute=self._tally.sent_last_minute(lane.name),
            throttles_last_hour=self._tally.throttles_last_hour(lane.name),
        )
