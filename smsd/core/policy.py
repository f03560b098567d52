"""What follows from a verdict?

`decide` is the one place where a message's next step is chosen: sent, tried again at a time, failed, or uncertain; and
what it means for the provider (a cooldown, a halt). It is told the time and the random draw. Backoff is capped and
jittered; a provider's own wait is never undercut. Nothing here knows codes, clocks or storage.
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.account import ProviderRules
from smsd.core.lifecycle import Event
from smsd.core.message import Error, Instant, Message, State
from smsd.core.verdict import Verdict


@dataclass(frozen=True, slots=True)
class RetryRules:
    """`[retry]` or one of its profiles. Durations in milliseconds."""

    max_attempts: int = 5
    backoff_ms: int = 3_000
    multiplier: float = 2.0
    max_backoff_ms: int = 3_600_000
    jitter: str = "equal"
    """none | equal (half fixed, half random) | full (all random)"""
    delays_ms: tuple[int, ...] = ()
    """Replaces backoff and multiplier; the last repeats."""


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The provider said "too fast": nobody calls it before `until`."""

    until: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The provider refuses us: nobody calls it until an operator or changed credentials resume it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What the outbox is to write about one attempt, and what the provider's health is to learn from it."""

    seq: int
    attempt: int
    event: Event
    """TAKEN, RETRY, FAIL or DOUBT."""
    state: State
    due: Instant
    """RETRY: the next attempt. DOUBT: the next look-up. Else: now."""
    charged: int
    """The message's count of charged attempts after this one."""
    at: Instant
    error: Error | None = None
    provider_message_id: str | None = None
    price: str | None = None
    lookups: int = 0
    """DOUBT: look-ups in a row that answered and did not find it."""
    effect: Cooldown | Halt | None = None


def backoff(rules: RetryRules, failures: int, spread: float) -> int:
    """Milliseconds to wait before the next attempt, `failures` (>= 1) failed ones behind it.

    `spread` is a draw from [0, 1). Works for any `failures`, also 10,000: the exponent is clamped before the power.
    """
    raise NotImplementedError


def decide(
    message: Message,
    verdict: Verdict,
    rules: ProviderRules,
    retry: RetryRules,
    now: Instant,
    spread: float,
) -> Settlement:
    """The settlement of the message's open attempt. `message.attempt` is that attempt's number."""
    raise NotImplementedError
