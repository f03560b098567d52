"""What becomes of a message of which nobody knows whether it was taken? A table to read, and what always holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.account import ProviderRules
from smsd.core.doubt import WITHDRAWN, Finding, postpone, resolve
from smsd.core.lifecycle import Event, step
from smsd.core.message import Error, State
from smsd.core.verdict import Category
from tests.core.test_policy import HOUR, MESSAGE, NOW, RETRY, RULES

C = Category
E = Event
UNCERTAIN = replace(
    MESSAGE,
    uncertain=True,
    uncertain_since=NOW - 5_000,
    charged=1,
    error=Error(Category.TIMEOUT, "No readable answer", NOW - 5_000, None, "main"),
)
HOLD = replace(RULES, on_uncertain="hold")
F = Finding


@dataclass(frozen=True)
class Ask:
    """One row: what a look-up brought, and what follows."""

    finding: Finding
    quality: str
    event: Event
    wait: int = 0
    category: Category | None = Category.TIMEOUT
    lookups: int = 0
    """After it."""
    before: int = 0
    """Empty answers before it."""
    waited: int = 5_000
    """Since the attempt ended."""
    charged: int = 1
    rules: ProviderRules = RULES
    expires_in: int = HOUR


ASKS = {
    "found": Ask(F.FOUND, "exact", E.TAKEN, category=None),
    "found by content": Ask(F.FOUND, "fuzzy", E.TAKEN, category=None),
    "found past its end of life": Ask(F.FOUND, "fuzzy", E.TAKEN, category=None, expires_in=-1),
    "absent once": Ask(F.ABSENT, "exact", E.DOUBT, 10_000, lookups=1),
    "absent once, fuzzy": Ask(F.ABSENT, "fuzzy", E.DOUBT, 10_000, lookups=1),
    "absent once, held": Ask(F.ABSENT, "fuzzy", E.DOUBT, 10_000, lookups=1, rules=HOLD),
    "absent twice": Ask(F.ABSENT, "exact", E.RETRY, before=1, waited=15_000),
    "absent twice, although held": Ask(F.ABSENT, "exact", E.RETRY, before=1, waited=15_000, rules=HOLD),
    "absent twice, used up": Ask(F.ABSENT, "exact", E.FAIL, 0, C.EXHAUSTED, before=1, waited=15_000, charged=3),
    "absent twice, its life over: the outbox expires it": Ask(
        F.ABSENT, "exact", E.RETRY, before=1, waited=15_000, expires_in=-1
    ),
    "absent twice, fuzzy": Ask(F.ABSENT, "fuzzy", E.RETRY, before=1, waited=15_000),
    "absent twice, fuzzy, held": Ask(F.ABSENT, "fuzzy", E.FAIL, 0, C.UNCERTAIN, before=1, waited=15_000, rules=HOLD),
    "absent twice, fuzzy, used up": Ask(F.ABSENT, "fuzzy", E.FAIL, 0, C.EXHAUSTED, before=1, waited=15_000, charged=3),
    "absent twice, fuzzy, its life over": Ask(
        F.ABSENT, "fuzzy", E.FAIL, 0, C.UNCERTAIN, before=1, waited=15_000, expires_in=0
    ),
    "unanswered": Ask(F.UNANSWERED, "exact", E.DOUBT, 5_000),
    "unanswered, second": Ask(F.UNANSWERED, "exact", E.DOUBT, 10_000, waited=10_000),
    "unanswered, third": Ask(F.UNANSWERED, "exact", E.DOUBT, 20_000, waited=20_000),
    "unanswered, later": Ask(F.UNANSWERED, "exact", E.DOUBT, 60_000, waited=80_000),
    "unanswered, near the end": Ask(F.UNANSWERED, "exact", E.DOUBT, 10_000, waited=590_000),
    "unanswered at once": Ask(F.UNANSWERED, "exact", E.DOUBT, 5_000, waited=0),
    "unanswered between two empty answers": Ask(
        F.UNANSWERED, "exact", E.DOUBT, 15_000, before=1, lookups=1, waited=15_000
    ),
    "unanswered for too long": Ask(F.UNANSWERED, "exact", E.RETRY, waited=600_000),
    "unanswered for too long, held": Ask(F.UNANSWERED, "exact", E.FAIL, 0, C.UNCERTAIN, waited=600_000, rules=HOLD),
    "unanswered for too long, used up": Ask(F.UNANSWERED, "exact", E.FAIL, 0, C.EXHAUSTED, waited=600_000, charged=3),
    "cannot be asked": Ask(F.UNASKABLE, "none", E.RETRY),
    "cannot be asked, at once": Ask(F.UNASKABLE, "none", E.RETRY, 3_000, waited=0),
    "cannot be asked, held": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, rules=HOLD),
    "cannot be asked, used up": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.EXHAUSTED, charged=3),
    "cannot be asked, its life over": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, expires_in=0),
    "cannot be asked, its life over before the retry": Ask(
        F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, waited=0, expires_in=3_000
    ),
    "the clock was set back": Ask(F.UNASKABLE, "none", E.RETRY, 3_000, waited=-HOUR),
    "the clock was set back, unanswered": Ask(F.UNANSWERED, "fuzzy", E.DOUBT, 5_000, waited=-HOUR),
}


@pytest.mark.parametrize("case", ASKS.values(), ids=ASKS.keys())
def test_a_look_up_and_what_follows(case: Ask) -> None:
    message = replace(
        UNCERTAIN,
        lookups=case.before,
        uncertain_since=NOW - case.waited,
        charged=case.charged,
        expires_at=NOW + case.expires_in,
    )
    found = "SM9" if case.finding is Finding.FOUND else None
    settlement = resolve(message, case.finding, case.quality, case.rules, RETRY, NOW, 0.0, provider_message_id=found)
    assert settlement.event is case.event
    assert settlement.state is step(State.PROCESSING, case.event)
    assert settlement.due - NOW == case.wait
    assert (settlement.error.category if settlement.error else None) == case.category
    assert settlement.lookups == case.lookups
    assert settlement.charged == case.charged
    assert settlement.provider_message_id == found
    assert settlement.effect is None
    if case.category is Category.EXHAUSTED:
        assert settlement.error is not None
        assert settlement.error.cause is Category.TIMEOUT


def test_what_an_operator_reads_of_an_uncertain_message() -> None:
    held = resolve(UNCERTAIN, Finding.UNASKABLE, "none", HOLD, RETRY, NOW, 0.0).error
    assert str(held) == (
        "UNCERTAIN: It may have been sent: the provider cannot be asked;"
        " held for an operator, whose forced retry sends it again"
    )
    withdrawn = replace(RULES, on_uncertain=WITHDRAWN)
    told = resolve(UNCERTAIN, Finding.UNASKABLE, "none", withdrawn, RETRY, NOW, 0.0).error
    assert str(told).endswith("the provider cannot be asked; not sent again, because its campaign is cancelled")
    over = resolve(replace(UNCERTAIN, expires_at=NOW), Finding.UNASKABLE, "none", RULES, RETRY, NOW, 0.0).error
    assert str(over).endswith("not sent again, because that would be past its end of life")


def test_one_found_at_a_start_need_not_know_since_when() -> None:
    """An open attempt found after a crash: nothing charged, no error, no time known."""
    crashed = replace(UNCERTAIN, uncertain_since=None, charged=0, error=None)
    assert resolve(crashed, Finding.UNANSWERED, "exact", RULES, RETRY, NOW, 0.0).due == NOW + 5_000
    assert resolve(crashed, Finding.UNASKABLE, "none", RULES, RETRY, NOW, 0.0).due == NOW + 3_000


def test_a_find_without_an_id_and_an_unknown_quality_are_broken_promises() -> None:
    with pytest.raises(ValueError, match="provider_message_id"):
        resolve(UNCERTAIN, Finding.FOUND, "exact", RULES, RETRY, NOW, 0.0)
    with pytest.raises(ValueError, match="perhaps"):
        resolve(UNCERTAIN, Finding.ABSENT, "perhaps", RULES, RETRY, NOW, 0.0)


def test_a_look_up_may_be_postponed_and_nothing_is_forgotten() -> None:
    settlement = postpone(replace(UNCERTAIN, lookups=1), NOW + 4_000, NOW)
    assert (settlement.event, settlement.state, settlement.due) == (E.DOUBT, State.PROCESSING, NOW + 4_000)
    assert (settlement.lookups, settlement.charged, settlement.error) == (1, 1, UNCERTAIN.error)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([Finding.ABSENT, Finding.UNANSWERED]), min_size=40, max_size=40),
    st.sampled_from(["none", "fuzzy", "exact"]),
    st.sampled_from(["retry", "hold"]),
    st.integers(0, 400_000),
    st.floats(0, 1, exclude_max=True),
)
def test_doubt_ends_and_is_never_resent_past_its_end_of_life(
    findings: list[Finding], quality: str, on_uncertain: str, life: int, spread: float
) -> None:
    rules = replace(RULES, on_uncertain=on_uncertain)
    message = replace(UNCERTAIN, uncertain_since=NOW, due=NOW + 5_000, expires_at=NOW + life)
    absent = 0
    for finding in findings:
        now = message.due
        settlement = resolve(message, finding, quality, rules, RETRY, now, spread)
        absent += finding is Finding.ABSENT
        if settlement.event is not Event.DOUBT:
            break
        assert settlement.due > now
        message = replace(message, due=settlement.due, lookups=settlement.lookups)
    assert settlement.event in (Event.RETRY, Event.FAIL)
    assert settlement.at <= NOW + rules.reconcile_timeout_ms + rules.reconcile_again_ms
    proven = quality == "exact" and absent == 2
    if settlement.event is Event.RETRY and not proven:
        assert on_uncertain == "retry"
        assert settlement.due < message.expires_at
