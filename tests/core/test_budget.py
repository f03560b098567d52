"""Are retries bounded in every second, and never moved forward?"""

from __future__ import annotations

import pickle
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.budget import HORIZON_S, RetryBudget

NOW = 1_780_000_000_000


def test_without_a_share_there_is_no_bound() -> None:
    budget = RetryBudget(None)
    assert {budget.reserve(NOW + 5, NOW) for _ in range(1_000)} == {NOW + 5}


def test_a_quiet_daemon_may_always_retry_a_little() -> None:
    budget = RetryBudget(0.2)
    assert [budget.reserve(NOW + 300, NOW) for _ in range(5)] == [NOW + 300] * 5
    later = [budget.reserve(NOW + 300, NOW) for _ in range(5)]
    assert later == [NOW + 1_000, NOW + 1_200, NOW + 1_400, NOW + 1_600, NOW + 1_800]
    assert budget.reserve(NOW + 300, NOW) == NOW + 2_000


@pytest.mark.parametrize(
    ("share", "calls_per_s", "allowed"), [(0.2, 100, 20), (0.5, 100, 50), (0.2, 10, 5), (0, 100, 5)]
)
def test_the_share_is_of_the_calls_of_the_last_ten_seconds(share: float, calls_per_s: int, allowed: int) -> None:
    budget = RetryBudget(share)
    for index in range(10 * calls_per_s):
        budget.called(NOW + index * 1_000 // calls_per_s)
    now = NOW + 10_000
    dues = Counter((budget.reserve(now, now) - now) // 1_000 for _ in range(3 * allowed))
    assert dues == {0: allowed, 1: allowed, 2: allowed}


def test_calls_of_the_present_second_do_not_count_yet() -> None:
    budget = RetryBudget(1.0)
    for _ in range(10_000):
        budget.called(NOW)
    assert sum(budget.reserve(NOW, NOW) == NOW for _ in range(100)) == 5
    now = NOW + 1_000
    assert sum(budget.reserve(now, now) == now for _ in range(2_000)) == 1_000 - 5


def test_more_traffic_makes_room_in_seconds_that_were_full() -> None:
    budget = RetryBudget(0.2)
    due = NOW + 60_000
    assert max(budget.reserve(due, NOW) for _ in range(50)) >= due + 9_000
    for index in range(1_000):
        budget.called(NOW + index * 10)
    assert budget.reserve(due, NOW + 10_000) == due


def test_less_traffic_leaves_less_room() -> None:
    budget = RetryBudget(0.2)
    for index in range(1_000):
        budget.called(NOW + index * 10)
    due = NOW + 60_000
    now = NOW + 10_000
    assert [budget.reserve(due, now) for _ in range(10)] == [due] * 10
    # Twenty seconds of silence later only the floor is allowed, and ten are there already.
    assert budget.reserve(due, now + 20_000) == due + 1_000


def test_the_past_is_forgotten() -> None:
    budget = RetryBudget(0.2)
    for _ in range(100):
        budget.reserve(NOW, NOW)
    assert budget.reserve(NOW + 30_000, NOW + 30_000) == NOW + 30_000
    assert budget.reserve(NOW, NOW + 30_000) == NOW, "what should have gone already is due now"


@pytest.mark.parametrize("step_ms", [-86_400_000, 86_400_000])
def test_a_stepped_clock_starts_anew(step_ms: int) -> None:
    budget = RetryBudget(0.2)
    for _ in range(100):
        budget.reserve(NOW, NOW)
    now = NOW + step_ms
    assert budget.reserve(now + 10, now) == now + 10


def test_what_is_an_hour_ahead_is_not_bounded() -> None:
    budget = RetryBudget(0.2)
    due = NOW + HORIZON_S * 1_000
    assert {budget.reserve(due, NOW) for _ in range(100)} == {due}


def test_what_finds_no_room_within_the_hour_is_spread_over_the_next() -> None:
    budget = RetryBudget(0.2)
    dues = [budget.reserve(NOW, NOW) for _ in range(100_000)]
    within = [due for due in dues if due < NOW + HORIZON_S * 1_000]
    assert len(within) == 5 * HORIZON_S
    beyond = Counter(due // 1_000 for due in dues if due >= NOW + HORIZON_S * 1_000)
    assert max(beyond.values()) <= 82_000 / HORIZON_S + 1
    assert max(dues) < NOW + 2 * HORIZON_S * 1_000


@pytest.mark.parametrize("calls_per_s", [0, 1_000])
def test_a_hundred_thousand_retries_of_one_instant_are_placed_quickly(calls_per_s: int) -> None:
    budget = RetryBudget(1.0)
    for index in range(10 * calls_per_s):
        budget.called(NOW + index * 1_000 // calls_per_s)
    now = NOW + 10_000
    began = time.process_time()
    for _ in range(100_000):
        budget.reserve(now, now)
    assert time.process_time() - began < 1


def test_what_it_keeps_does_not_grow_with_time() -> None:
    budget = RetryBudget(0.2)
    sizes = []
    for second in range(3 * HORIZON_S):
        now = NOW + second * 1_000
        budget.called(now)
        for ahead in (0, 1_000, 7_000, 1_800_000):
            budget.reserve(now + ahead, now)
        if second % HORIZON_S == HORIZON_S - 1:
            sizes.append(len(pickle.dumps(budget)))
    assert max(sizes[1:]) <= 1.05 * sizes[0]


STEPS = st.lists(
    st.tuples(st.sampled_from(["call", "retry"]), st.integers(0, 3_000), st.integers(0, 8_000), st.integers(1, 30)),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(st.floats(0, 1), st.floats(0, 20), STEPS)
def test_no_second_ever_holds_more_than_was_allowed_when_it_was_filled(
    share: float, floor: float, steps: list[tuple[str, int, int, int]]
) -> None:
    budget = RetryBudget(share, floor)
    calls: Counter[int] = Counter()
    taken: Counter[int] = Counter()
    now = NOW
    for what, wait, ahead, times in steps:
        now += wait
        second = now // 1_000
        lately = sum(calls[second - back] for back in range(1, 11))
        allowed = max(1, int(floor), int(share * lately / 10))
        for _ in range(times):
            if what == "call":
                budget.called(now)
                calls[second] += 1
                continue
            due = budget.reserve(now + ahead, now)
            assert due >= now + ahead
            placed = due // 1_000
            taken[placed] += 1
            assert taken[placed] <= allowed
            between = range((now + ahead) // 1_000, placed)
            assert all(taken[earlier] >= allowed for earlier in between), "an earlier second had room"
