"""Does the breaker open when a provider does not answer, and only then?"""

from __future__ import annotations

import pytest

from smsd.core.breaker import Breaker, BreakerRules, is_failure
from smsd.core.verdict import Category

SECOND = 1_000_000
BOOT = 777 * SECOND


def told(breaker: Breaker, calls: str, start: int = BOOT, gap: int = SECOND) -> list[bool]:
    """One call after the other: x failed, . did not."""
    return [breaker.note(start + index * gap, call == "x") for index, call in enumerate(calls)]


@pytest.mark.parametrize(
    ("calls", "opens"),
    [
        ("xxxxxxxxx", False),  # nine say nothing
        ("xxxxxxxxxx", True),
        (".....xxxxx", True),  # exactly half
        ("......xxxxx", False),
        ("......xxxxxx", True),
        ("xxxxx.....", False),  # half, but the tenth call went well: there is no reason to open now
        ("xxxxx.....x", True),
        ("....................", False),
    ],
)
def test_it_opens_at_its_share_of_enough_calls(calls: str, opens: bool) -> None:
    told_so = told(Breaker(BreakerRules()), calls)
    assert told_so[-1] is opens
    assert not any(told_so[:9])


@pytest.mark.parametrize(("failures", "needed"), [(0.1, 2), (0.2, 3), (0.9, 90), (1.0, None)])
def test_its_share_is_the_operators(failures: float, needed: int | None) -> None:
    breaker = Breaker(BreakerRules(failures=failures, min_calls=2))
    told(breaker, "." * 10, gap=1)
    opened = told(breaker, "x" * 200, BOOT + 10, gap=1)
    assert (opened.index(True) + 1 if needed else any(opened)) == (needed or False)


def test_calls_older_than_the_window_are_forgotten() -> None:
    breaker = Breaker(BreakerRules(window_ms=60_000))
    start = BOOT - BOOT % (5 * SECOND)  # buckets are a twelfth of the window
    told(breaker, "x" * 9, start, gap=1)
    assert breaker.share(start + 55 * SECOND - 1) == 1.0
    assert breaker.note(start + 60 * SECOND - 1, True), "within the window it counts"
    breaker.reset()
    told(breaker, "x" * 9, start + 100 * SECOND, gap=1)
    assert not breaker.note(start + 160 * SECOND, True), "a whole window later it does not"
    assert breaker.share(start + 400 * SECOND) == 0.0
    assert breaker.share(start + 400 * SECOND + 1) == 0.0


def test_old_successes_do_not_hide_an_outage() -> None:
    breaker = Breaker(BreakerRules())
    told(breaker, "." * 600, gap=100_000)
    opened = told(breaker, "x" * 600, BOOT + 60 * SECOND, gap=100_000)
    assert 250 <= opened.index(True) <= 350, "half a window of failures outweighs the rest of it"


@pytest.mark.parametrize("buckets", range(12, 40))
def test_however_long_nothing_was_called_the_old_calls_are_gone(buckets: int) -> None:
    breaker = Breaker(BreakerRules())
    told(breaker, "x" * 9, gap=0)
    assert breaker.share(BOOT + buckets * 5 * SECOND) == 0.0


def test_reset_forgets_everything() -> None:
    breaker = Breaker(BreakerRules(min_calls=2))
    assert told(breaker, "xx")[-1]
    breaker.reset()
    assert breaker.share(BOOT + 2 * SECOND) == 0.0
    assert told(breaker, "x", BOOT + 3 * SECOND) == [False]
    assert breaker.share(BOOT + 3 * SECOND) == 1.0


def test_a_late_answer_counts_now() -> None:
    breaker = Breaker(BreakerRules(min_calls=2))
    breaker.note(BOOT, True)
    assert breaker.note(BOOT - 30 * SECOND, True)
    assert breaker.share(BOOT) == 1.0


def test_the_shortest_window_works() -> None:
    breaker = Breaker(BreakerRules(window_ms=1, min_calls=1))
    assert breaker.note(BOOT, True)
    assert breaker.share(BOOT + 1_000) == 0.0


def test_only_a_provider_that_does_not_work_is_a_failure() -> None:
    failures = {category for category in Category if is_failure(category)}
    assert failures == {Category.NETWORK, Category.PROVIDER_ERROR, Category.TIMEOUT}
    assert not is_failure(None)
