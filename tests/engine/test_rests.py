"""Which senders and pairs rest, and for how long?"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.engine.rests import MOST, Rests

A, B = "+15005550006", "+15005550007"
TO, OTHER = "+14155550123", "+14155550124"


def test_a_sender_rests_whoever_it_texts() -> None:
    rests = Rests()
    rests.add(A, None, 1_000, 0)
    assert rests.until(A, TO, 999) == 1_000
    assert rests.until(A, OTHER, 0) == 1_000
    assert rests.until(B, TO, 0) is None
    assert rests.until(A, TO, 1_000) is None
    assert len(rests) == 0


def test_a_pair_rests_alone() -> None:
    rests = Rests()
    rests.add(A, TO, 1_000, 0)
    assert rests.until(A, TO, 0) == 1_000
    assert rests.until(A, OTHER, 0) is None
    assert rests.until(B, TO, 0) is None


def test_the_longer_one_counts_and_nothing_shortens_it() -> None:
    rests = Rests()
    rests.add(A, None, 1_000, 0)
    rests.add(A, TO, 2_000, 0)
    rests.add(A, TO, 1_500, 0)
    assert rests.until(A, TO, 0) == 2_000
    assert rests.until(A, TO, 1_500) == 2_000
    assert rests.until(A, OTHER, 1_500) is None


def test_an_operator_ends_them_all() -> None:
    rests = Rests()
    rests.add(A, TO, 1_000, 0)
    rests.clear()
    assert rests.until(A, TO, 0) is None


def test_what_is_over_is_forgotten_first_and_then_what_ends_first() -> None:
    rests = Rests()
    for n in range(MOST // 2):
        rests.add(A, f"+1{n}", 10, 0)
    for n in range(MOST):
        rests.add(B, f"+1{n}", 1_000 + n, 20)
    assert len(rests) == MOST
    assert rests.until(A, "+10", 0) is None
    rests.add(B, "one more", 999_999, 20)
    assert len(rests) == MOST + 1 - MOST // 10
    assert rests.until(B, "+10", 20) is None
    assert rests.until(B, f"+1{MOST - 1}", 20) == 1_000 + MOST - 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([A, B]), st.sampled_from([None, TO, OTHER]), st.integers(0, 100)), max_size=30)
)
def test_it_is_the_latest_that_was_said(said: list[tuple[str, str | None, int]]) -> None:
    rests = Rests()
    for sender, recipient, until in said:
        rests.add(sender, recipient, until, 0)
    expected = max([until for sender, to, until in said if sender == A and to in (None, TO)], default=0)
    assert rests.until(A, TO, 0) == (expected or None)
