"""Does the operator's word on a code count, and only where it may?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.codes import CodeBook, CodeRule, overrule, rule_for
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted

C = Category

BY_CODE, BY_CATEGORY, BY_4XX, BY_5XX, DEFAULT = (CodeRule(max_attempts=n) for n in range(1, 6))
BOOK = CodeBook({"30001": BY_CODE}, {C.REJECTED: BY_CATEGORY}, BY_4XX, BY_5XX, DEFAULT)
FATES = ("retry", "fail", "throttle", "halt", "suppress")

REJECTED = Verdict(Fate.REFUSE, C.REJECTED, code="30007")
LATER = Verdict(Fate.DEFER, C.PROVIDER_ERROR, code="30008")
UNREACHED = Verdict(Fate.DEFER, C.NETWORK)
NO_NUMBER = Verdict(Fate.REFUSE, C.INVALID_RECIPIENT, Scope.RECIPIENT, code="21211")
OPTED_OUT = Verdict(Fate.REFUSE, C.OPTED_OUT, Scope.RECIPIENT, code="21610")
THROTTLE = Verdict(Fate.DEFER, C.RATE_LIMITED, Scope.PROVIDER, code="20429")
SLOW_SENDER = Verdict(Fate.DEFER, C.RATE_LIMITED, Scope.SENDER, code="21611", retry_after_ms=300_000)
NO_KEY = Verdict(Fate.DEFER, C.AUTH_FAILED, Scope.PROVIDER, code="20003")
NO_URL = Verdict(Fate.DEFER, C.CONFIG_ERROR, Scope.PROVIDER, code="20404")
NOT_OURS = Verdict(Fate.REFUSE, C.CONFIG_ERROR, Scope.SENDER, code="21606")
NO_REGION = Verdict(Fate.REFUSE, C.CONFIG_ERROR, Scope.MESSAGE, code="21408")
UNKNOWN = Verdict(Fate.UNKNOWN, C.TIMEOUT, code="50001")
SUSPECT = Verdict(Fate.DEFER, C.RATE_LIMITED, Scope.PROVIDER, suspect=True)


# -- which line counts ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "status", "rule"),
    [
        (accepted("SM1"), 201, None),
        (replace(REJECTED, code="30001"), 400, BY_CODE),
        (replace(UNKNOWN, code="30001"), 500, BY_CODE),
        (REJECTED, 400, BY_CATEGORY),
        (REJECTED, 500, BY_CATEGORY),
        (LATER, 499, BY_4XX),
        (LATER, 503, BY_5XX),
        (LATER, 302, DEFAULT),
        (LATER, None, DEFAULT),
        (UNREACHED, None, DEFAULT),
        (UNKNOWN, 200, DEFAULT),
        (THROTTLE, 429, BY_4XX),
        (THROTTLE, None, None),
        (NO_KEY, None, None),
        (NO_URL, None, None),
        (NOT_OURS, None, None),
        (NO_REGION, None, DEFAULT),
        (SUSPECT, None, None),
        (replace(LATER, suspect=True), None, None),
    ],
)
def test_the_most_specific_line_counts(verdict: Verdict, status: int | None, rule: CodeRule | None) -> None:
    assert rule_for(verdict, status, BOOK) == rule
    assert rule_for(verdict, status, CodeBook()) is None


def test_a_class_of_answers_loses_its_fate_where_the_outcome_is_unknown() -> None:
    bare, patient = CodeRule("retry"), CodeRule("fail", Scope.SENDER, 2, (1_000,))
    for book in (CodeBook(http_5xx=bare), CodeBook(categories={C.TIMEOUT: bare}), CodeBook(default=bare)):
        assert rule_for(UNKNOWN, 500, book) is None
        assert rule_for(LATER, 500, CodeBook(http_5xx=bare)) == bare
    assert rule_for(UNKNOWN, 500, CodeBook(http_5xx=patient)) == CodeRule("", Scope.SENDER, 2, (1_000,))
    assert rule_for(UNKNOWN, 500, CodeBook({"50001": patient})) is patient


# -- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "verdict", "meaning"),
    [
        ("", NO_NUMBER, (Fate.REFUSE, C.INVALID_RECIPIENT, Scope.RECIPIENT)),
        ("retry", REJECTED, (Fate.DEFER, C.PROVIDER_ERROR, Scope.MESSAGE)),
        ("retry", NO_NUMBER, (Fate.DEFER, C.PROVIDER_ERROR, Scope.MESSAGE)),
        ("retry", UNREACHED, (Fate.DEFER, C.NETWORK, Scope.MESSAGE)),
        ("retry", THROTTLE, (Fate.DEFER, C.PROVIDER_ERROR, Scope.MESSAGE)),
        ("retry", NO_KEY, (Fate.DEFER, C.PROVIDER_ERROR, Scope.MESSAGE)),
        ("retry", UNKNOWN, (Fate.DEFER, C.PROVIDER_ERROR, Scope.MESSAGE)),
        ("fail", NO_NUMBER, (Fate.REFUSE, C.INVALID_RECIPIENT, Scope.RECIPIENT)),
        ("fail", LATER, (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("fail", THROTTLE, (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("fail", NO_KEY, (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("fail", replace(NO_KEY, fate=Fate.REFUSE), (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("fail", NO_URL, (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("fail", NOT_OURS, (Fate.REFUSE, C.CONFIG_ERROR, Scope.MESSAGE)),
        ("fail", UNKNOWN, (Fate.REFUSE, C.REJECTED, Scope.MESSAGE)),
        ("throttle", REJECTED, (Fate.DEFER, C.RATE_LIMITED, Scope.PROVIDER)),
        ("throttle", UNKNOWN, (Fate.DEFER, C.RATE_LIMITED, Scope.PROVIDER)),
        ("halt", REJECTED, (Fate.DEFER, C.AUTH_FAILED, Scope.PROVIDER)),
        ("halt", NOT_OURS, (Fate.DEFER, C.CONFIG_ERROR, Scope.PROVIDER)),
        ("suppress", LATER, (Fate.REFUSE, C.OPTED_OUT, Scope.RECIPIENT)),
        ("suppress", UNKNOWN, (Fate.REFUSE, C.OPTED_OUT, Scope.RECIPIENT)),
    ],
)
def test_fates(fate: str, verdict: Verdict, meaning: tuple[Fate, C, Scope]) -> None:
    before = replace(verdict)
    found = overrule(verdict, CodeRule(fate))
    assert (found.fate, found.category, found.scope) == meaning
    assert (found.code, found.retry_after_ms, found.message) == (before.code, before.retry_after_ms, before.message)
    assert verdict == before


def test_a_scope_that_is_stated_counts() -> None:
    for fate in ("", "retry", "fail", "throttle"):
        assert overrule(SLOW_SENDER, CodeRule(fate, Scope.RECIPIENT)).scope is Scope.RECIPIENT
    assert overrule(SLOW_SENDER, CodeRule("throttle", Scope.SENDER)) == SLOW_SENDER
    assert overrule(NO_NUMBER, CodeRule(delays_ms=(1,))) is NO_NUMBER


def test_what_the_operator_decided_is_suspected_no_more() -> None:
    assert all(not overrule(SUSPECT, CodeRule(fate)).suspect for fate in FATES)
    assert overrule(SUSPECT, CodeRule(max_attempts=2)).suspect


def test_an_unknown_fate_is_an_error() -> None:
    with pytest.raises(ValueError, match="not 'wait'"):
        overrule(REJECTED, CodeRule("wait"))


CODES = st.sampled_from(["1", "2", "3"])
RULES = st.builds(
    CodeRule,
    st.sampled_from(["", *FATES]),
    st.none() | st.sampled_from(Scope),
    st.none() | st.integers(1, 20),
    st.sampled_from([(), (1_000,)]),
)
BOOKS = st.builds(
    CodeBook,
    st.dictionaries(CODES, RULES),
    st.dictionaries(st.sampled_from([C.TIMEOUT, C.RATE_LIMITED, C.REJECTED, C.AUTH_FAILED]), RULES),
    st.none() | RULES,
    st.none() | RULES,
    st.none() | RULES,
)
VERDICTS = st.builds(
    Verdict,
    st.sampled_from([Fate.DEFER, Fate.REFUSE, Fate.UNKNOWN]),
    st.sampled_from(C),
    st.sampled_from(Scope),
    code=st.none() | CODES,
    suspect=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(VERDICTS, st.none() | st.sampled_from([200, 302, 400, 429, 500, 503]), BOOKS)
def test_every_answer_keeps_a_meaning_that_the_operator_may_give_it(
    verdict: Verdict, status: int | None, book: CodeBook
) -> None:
    rule = rule_for(verdict, status, book)
    named = verdict.code in book.codes
    if named:
        assert rule is book.codes[verdict.code or ""]
    found = verdict if rule is None else overrule(verdict, rule)
    assert found.fate is not Fate.ACCEPTED
    assert found.category is not None
    if verdict.fate is Fate.UNKNOWN and not named:
        assert (found.fate, found.category) == (Fate.UNKNOWN, verdict.category)
    about_us = verdict.category in (C.RATE_LIMITED, C.AUTH_FAILED) or (
        verdict.category is C.CONFIG_ERROR and verdict.scope is Scope.PROVIDER
    )
    if about_us:
        alone = CodeBook(default=book.default)
        assert rule_for(verdict, status, alone) is None
    if found.category is C.RATE_LIMITED and verdict.category is not C.RATE_LIMITED:
        assert found.fate is Fate.DEFER
