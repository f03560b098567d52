"""How long a failed message waits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.retry import RetryRules, backoff

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("rules", "waits"),
    [
        (RetryRules(jitter="none"), [3_000, 6_000, 12_000, 24_000]),
        (RetryRules(jitter="none", backoff_ms=1_000, delays_ms=(60_000, 120_000)), [60_000, 120_000, 120_000, 120_000]),
        (RetryRules(jitter="none", multiplier=1.0), [3_000] * 4),
        (RetryRules(jitter="none", multiplier=0.5), [3_000] * 4),
        (RetryRules(jitter="none", max_backoff_ms=10_000), [3_000, 6_000, 10_000, 10_000]),
        (RetryRules(jitter="none", max_backoff_ms=1_000), [1_000] * 4),
        (RetryRules(jitter="none", max_backoff_ms=1_000, delays_ms=(5_000,)), [5_000] * 4),
        (RetryRules(jitter="none", backoff_ms=0), [1] * 4),
        (RetryRules(jitter="none", delays_ms=(0, 1_000)), [1, 1_000, 1_000, 1_000]),
        (RetryRules(jitter="none", multiplier=1.5, backoff_ms=1_000), [1_000, 1_500, 2_250, 3_375]),
    ],
)
def test_backoff_without_jitter(rules: RetryRules, waits: list[int]) -> None:
    assert [backoff(rules, failures, 0.9) for failures in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize(
    ("jitter", "low", "high"), [("none", 3_000, 3_000), ("equal", 1_500, 2_999), ("full", 1, 2_999)]
)
def test_jitter(jitter: str, low: int, high: int) -> None:
    assert backoff(RetryRules(jitter=jitter), 1, 0.0) == low
    assert backoff(RetryRules(jitter=jitter), 1, 0.9999) == high


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["none", "equal", "full"]),
    st.floats(1, 1e6),
    st.integers(1, HOUR),
)
def test_backoff_stays_between_nothing_and_its_cap(
    failures: int, spread: float, jitter: str, multiplier: float, start: int
) -> None:
    rules = RetryRules(jitter=jitter, multiplier=multiplier, backoff_ms=start)
    assert 1 <= backoff(rules, failures, spread) <= HOUR
    straight = replace(rules, jitter="none")
    assert backoff(straight, failures, spread) <= backoff(straight, failures + 1, spread)


@pytest.mark.parametrize("multiplier", [1.000_001, 2.0, 1e300])
def test_the_ten_thousandth_attempt_waits_no_longer_than_the_cap(multiplier: float) -> None:
    assert backoff(RetryRules(jitter="none", multiplier=multiplier), 10_000, 0.0) <= HOUR
    assert backoff(RetryRules(jitter="none"), 10_000, 0.0) == HOUR


def test_backoff_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        backoff(RetryRules(jitter="none"), 0, 0.0)
    with pytest.raises(ValueError, match="none, equal or full"):
        backoff(RetryRules(jitter="some"), 1, 0.0)
