"""What does an operator say about a provider, whatever its dialect?

The keys every `[providers.NAME]` section takes beside the adapter's own (credentials, URL): pace, patience, standing.
Durations are milliseconds. The adapter itself (`providers`) holds only what its dialect needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook
from smsd.core.pacing import Pace


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """How one provider is treated."""

    pace: Pace
    max_in_flight: int = 32
    timeout_ms: int = 10_000
    cooldown_ms: int = 300_000
    """How long the provider rests after a throttle that does not say."""
    retry_after: str = "at_least_cooldown"
    """honour | at_least_cooldown | ignore; a provider's own wait is capped at 1 h."""
    on_auth_failure: str = "halt"
    """halt | fail | retry"""
    on_uncertain: str = "retry"
    """retry (at least once) | hold (at most once)"""
    reconcile_after_ms: int = 5_000
    reconcile_again_ms: int = 10_000
    reconcile_timeout_ms: int = 600_000
    weight: int = 1
    senders: tuple[str, ...] = field(default=())
    """Numbers and names the provider owns (`from`): its pool. See core.routing.sender_for."""
    adaptive: bool = True
    """Whether throttles teach it a lower rate than the configured one (see core.adaptive)."""
    breaker: BreakerRules | None = field(default_factory=BreakerRules)
    """None: it has no circuit breaker."""
    halt_probe: bool = False
    """Whether a halted provider is tried again by itself, one call at a time."""
    account: str = ""
    """The `[accounts.NAME]` whose rate it shares; empty: none."""
    prefixes: tuple[str, ...] = ()
    """Beginnings (E.164, with +) of the numbers it may carry; empty: all."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Beginning of the number (E.164; the empty string: any other) -> price of a segment; for `cheapest` routing."""
    codes: CodeBook = field(default_factory=CodeBook)
    """`[retry.codes.TYPE]` of its type."""
    profile: str = ""
    """`retry`: the retry profile of its messages that name none; empty: the default."""
    network_costs_attempt: bool = False
    """Whether a call for which no connection was obtained counts against max_attempts."""
