"""Has every name its share of the recipients, and every recipient always the same name?"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.pool import pick, pool

RECIPIENTS = [f"+1415{n:07}" for n in range(20_000)]
WEIGHTED = (("a", "b", "c"), (1, 2, 7))
GROWN = (("a", "b", "new", "c"), (1, 2, 5, 7))


def picked(names: tuple[str, ...], weights: tuple[int, ...], purpose: bytes = b"provider") -> list[str]:
    return [pick(recipient, names, weights, purpose) for recipient in RECIPIENTS]


def test_shares_are_as_the_weights_and_what_comes_takes_only_its_own() -> None:
    before, after = picked(*WEIGHTED), picked(*GROWN)
    for shares, (names, weights) in ((Counter(before), WEIGHTED), (Counter(after), GROWN)):
        for name, weight in zip(names, weights, strict=True):
            chance = weight / sum(weights)
            deviation = (len(RECIPIENTS) * chance * (1 - chance)) ** 0.5
            assert abs(shares[name] - len(RECIPIENTS) * chance) < 4 * deviation
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"new"}


def test_one_recipient_belongs_to_the_same_name_in_every_run() -> None:
    """The values are pinned: another hash would move every conversation to another sender."""
    first = RECIPIENTS[:20]
    assert [pick(each, *WEIGHTED, b"provider") for each in first] == list("caccccccbcacccccabcb")
    assert [pick(each, ("x", "y"), (1, 1), b"sender") for each in first] == list("yyxyyyxxyyyxyxyyyxyx")


def test_choices_of_different_kinds_are_independent() -> None:
    both = Counter(
        (pick(each, ("a", "b"), (1, 1), b"provider"), pick(each, ("a", "b"), (1, 1), b"sender"))
        for each in RECIPIENTS[:4_000]
    )
    assert all(900 < both[pair] < 1_100 for pair in (("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")))


def test_none_to_pick_from() -> None:
    with pytest.raises(ValueError, match="empty"):
        pick("+14155550123", (), (), b"sender")


@pytest.mark.parametrize(
    ("senders", "mates"),
    [
        ((), ()),
        (("ACME",), ("ACME",)),
        (("+15005550006", "ACME", "+15005550007", "40404"), ("+15005550006", "+15005550007")),
        (("40404", "+15005550006", "50505", "ACME 1"), ("40404", "50505")),
        (("ACME", "+15005550006", "Shop 24", "40404"), ("ACME", "Shop 24")),
    ],
)
def test_only_senders_of_the_first_ones_kind_stand_in_for_it(senders: tuple[str, ...], mates: tuple[str, ...]) -> None:
    assert pool(senders) == mates


@settings(max_examples=80, deadline=None)
@given(
    st.text("+0123456789", min_size=1, max_size=16),
    st.lists(st.tuples(st.text(min_size=1, max_size=8), st.integers(1, 1_000)), min_size=2, max_size=8, unique=True),
    st.data(),
)
def test_what_goes_moves_nobody_elses_recipients(
    recipient: str, names: list[tuple[str, int]], data: st.DataObject
) -> None:
    chosen = pick(recipient, [name for name, _ in names], [weight for _, weight in names], b"provider")
    gone = data.draw(st.sampled_from(names))
    left = [each for each in names if each is not gone]
    still = pick(recipient, [name for name, _ in left], [weight for _, weight in left], b"provider")
    assert still == chosen or gone[0] == chosen
