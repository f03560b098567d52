"""Does this provider answer at all?

Counts how many of a provider's calls failed in a sliding window and says when that is too many. It knows no clock (it
is told boot time in microseconds), no message and no probe: whether the breaker is open, and when the next probe is
due, stands in `health`, because that must outlive a restart; these counts need not.

Only failures that say nothing about the message count (no connection, no answer in time, a server error): a provider
that refuses a thousand bad numbers is in good health. Twelve buckets instead of a list of calls, so the memory does not
grow with the rate; a call is forgotten between eleven twelfths of the window and the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.verdict import Category

_BUCKETS = 12

_FAILURES = frozenset({Category.NETWORK, Category.PROVIDER_ERROR, Category.TIMEOUT})


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """`breaker = {...}` of a provider."""

    window_ms: int = 60_000
    """How far back calls count."""
    failures: float = 0.5
    """Share of the calls in the window from which on it opens; above 0, at most 1."""
    min_calls: int = 10
    """Fewer calls than this in the window say nothing."""
    probe_every_ms: int = 30_000
    """Between two probes of a broken provider."""


def is_failure(category: Category | None) -> bool:
    """Whether an answer of this category says that the provider itself does not work; None: it was accepted."""
    return category in _FAILURES


class Breaker:
    """The calls of one provider in the last window. All times are boot time in microseconds."""

    __slots__ = ("_calls", "_failed", "_newest", "_width_us", "rules")

    def __init__(self, rules: BreakerRules) -> None:
        self.rules = rules
        self._width_us = max(1, rules.window_ms * 1_000 // _BUCKETS)
        self.reset()

    def reset(self) -> None:
        """Forget all calls: what comes now is judged by itself."""
        self._calls = [0] * _BUCKETS
        self._failed = [0] * _BUCKETS
        self._newest = 0
        """The number of the newest bucket, counted since boot."""

    def note(self, now_us: int, failed: bool) -> bool:
        """A call ended now. True: it must open now; only ever for a failed call."""
        self._forget(now_us)
        place = self._newest % _BUCKETS
        self._calls[place] += 1
        self._failed[place] += failed
        calls, failures = sum(self._calls), sum(self._failed)
        return failed and calls >= self.rules.min_calls and failures >= self.rules.failures * calls

    def share(self, now_us: int) -> float:
        """How many of the calls in the window failed, 0 to 1; 0 when there were none."""
        self._forget(now_us)
        return sum(self._failed) / (sum(self._calls) or 1)

    def _forget(self, now_us: int) -> None:
        newest = max(self._newest, now_us // self._width_us)
        for bucket in range(max(self._newest + 1, newest - _BUCKETS + 1), newest + 1):
            self._calls[bucket % _BUCKETS] = self._failed[bucket % _BUCKETS] = 0
        self._newest = newest
