"""How long does a failed message wait before it is tried again?

The operator's rules (`[retry]`, its profiles) and the arithmetic of backoff: growing, capped, jittered, told the random
draw. It refuses to know whether a message may be tried again: `policy` does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


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
    """Replaces backoff, multiplier and max_backoff; the last repeats. Jitter applies to them as well."""


def backoff(rules: RetryRules, failures: int, spread: float) -> int:
    """Milliseconds to wait before the next attempt, `failures` (>= 1) failed ones behind it. Never less than 1.

    `spread` is a draw from [0, 1). Works for any `failures`, also 10,000: the exponent is clamped before the power.
    Raises ValueError for no failures or an unknown jitter.
    """
    if failures < 1:
        raise ValueError(f"backoff follows a failed attempt; failures must be at least 1, not {failures}")
    wait = rules.delays_ms[min(failures, len(rules.delays_ms)) - 1] if rules.delays_ms else _growing(rules, failures)
    match rules.jitter:
        case "none":
            jittered = wait
        case "equal":
            jittered = wait / 2 + spread * wait / 2
        case "full":
            jittered = spread * wait
        case _:
            raise ValueError(f"jitter must be none, equal or full, not {rules.jitter!r}")
    return max(1, int(jittered))


def _growing(rules: RetryRules, failures: int) -> float:
    """backoff x multiplier^(failures - 1), up to max_backoff."""
    if rules.multiplier <= 1 or rules.backoff_ms <= 0:
        return min(rules.backoff_ms, rules.max_backoff_ms)
    at_the_cap = math.log(max(1.0, rules.max_backoff_ms / rules.backoff_ms), rules.multiplier)
    return min(rules.max_backoff_ms, rules.backoff_ms * rules.multiplier ** min(failures - 1, math.ceil(at_the_cap)))
