"""Too fast, or not allowed: is a refusal without a reason judged by what is known of the provider?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from smsd.core.suspicion import RECENT_MS, Evidence, weigh
from smsd.core.verdict import Category, Fate, Scope, Verdict

NOW = 1_780_000_000_000
SUSPECT = Verdict(Fate.DEFER, Category.AUTH_FAILED, Scope.PROVIDER, "HTTP 403: no", code="403", suspect=True)
THROTTLE, REFUSAL = Category.RATE_LIMITED, Category.AUTH_FAILED


@pytest.mark.parametrize(
    ("accepted_ago", "strikes", "load", "category", "cooldown_ms", "why"),
    [
        (None, 0, 0.0, REFUSAL, None, "took nothing"),  # the very first answer, at a low rate
        (None, 0, 0.79, REFUSAL, None, "took nothing"),
        (None, 0, 0.8, THROTTLE, 60_000, "too fast"),
        (None, 0, 1.0, THROTTLE, 60_000, "too fast"),
        (0, 0, 0.0, THROTTLE, 60_000, "too fast"),
        (RECENT_MS, 0, 0.0, THROTTLE, 60_000, "too fast"),
        (RECENT_MS + 1, 0, 0.0, REFUSAL, None, "took nothing"),
        (RECENT_MS + 1, 0, 0.9, THROTTLE, 60_000, "too fast"),
        (-5_000, 0, 0.0, THROTTLE, 60_000, "too fast"),  # the wall clock was stepped back
        (None, 1, 0.0, THROTTLE, 120_000, "too fast"),  # the load of a probe after a rest says nothing
        (10_000, 1, 1.0, THROTTLE, 120_000, "too fast"),
        (10_000, 2, 0.0, THROTTLE, 240_000, "too fast"),
        (10_000, 3, 1.0, REFUSAL, None, "4 times in a row"),  # the first and three spaced probes
        (None, 3, 0.0, REFUSAL, None, "4 times in a row"),
        (10_000, 9, 1.0, REFUSAL, None, "10 times in a row"),  # a probe of the halted provider
    ],
)
def test_what_counts(
    accepted_ago: int | None, strikes: int, load: float, category: Category, cooldown_ms: int | None, why: str
) -> None:
    accepted_at = None if accepted_ago is None else NOW - accepted_ago
    judged, after = weigh(SUSPECT, Evidence(accepted_at, strikes, load), NOW)
    assert after == strikes + 1
    assert (judged.category, judged.cooldown_ms) == (category, cooldown_ms)
    assert why in judged.message
    assert judged.message.startswith("HTTP 403: no (no reason given")
    # Never is the customer's message failed for it.
    assert (judged.fate, judged.scope, judged.code, judged.suspect) == (Fate.DEFER, Scope.PROVIDER, "403", True)


@pytest.mark.parametrize("fate", [Fate.REFUSE, Fate.UNKNOWN, Fate.DEFER])
def test_whatever_the_dialect_guessed_the_message_may_still_go(fate: Fate) -> None:
    guessed = replace(SUSPECT, fate=fate, scope=Scope.MESSAGE, category=Category.REJECTED, message="")
    judged, _ = weigh(guessed, Evidence(None, 0, 0.0), NOW)
    assert (judged.fate, judged.scope) == (Fate.DEFER, Scope.PROVIDER)
    assert judged.message.startswith("No reason given")


def test_an_answer_with_a_reason_is_left_alone() -> None:
    plain = replace(SUSPECT, suspect=False)
    assert weigh(plain, Evidence(None, 2, 0.0), NOW) == (plain, 2)
