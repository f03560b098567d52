"""When is a callback tried again, and how is an origin left alone that does not work?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from smsd.core.callback import Callback
from smsd.core.calling import DELAYS_MS, JITTER, PAUSE_US, Rest, may_take, next_due
from smsd.core.events import Kind
from smsd.core.units import DAY, HOUR, MINUTE, SECOND

NOW = 1_790_000_000_000


def callback(tries: int = 0, created_at: int = NOW) -> Callback:
    url = "https://example.com/"
    return Callback(
        "evt_1", Kind.MESSAGE_SENT, "shop", "1", url, "https://example.com:443", "{}", created_at, NOW, tries
    )


def test_the_waits() -> None:
    waits = [next_due(callback(tries), 30 * DAY, NOW, 0.5) for tries in range(12)]
    assert [None if due is None else due - NOW for due in waits] == [
        *(5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE),
        *(HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 6 * HOUR, 6 * HOUR, 6 * HOUR),
    ]
    assert next_due(callback(10_000), 30 * DAY, NOW, 0.5) == NOW + 6 * HOUR


@pytest.mark.parametrize("tries", range(len(DELAYS_MS)))
def test_each_is_scattered(tries: int) -> None:
    low, high = (next_due(callback(tries), 30 * DAY, NOW, draw) for draw in (0.0, 1.0))
    assert low is not None and high is not None
    assert low - NOW == round(DELAYS_MS[tries] * (1 - JITTER))
    assert high - NOW == round(DELAYS_MS[tries] * (1 + JITTER))


def test_the_last_try_comes_at_the_end() -> None:
    made = callback(8, NOW - 3 * DAY + HOUR)
    assert next_due(made, 3 * DAY, NOW, 0.5) == NOW + HOUR
    assert next_due(made, 3 * DAY, NOW + HOUR - 1, 0.5) == NOW + HOUR
    assert next_due(made, 3 * DAY, NOW + HOUR, 0.5) is None


def test_what_the_receiver_asks_for_counts_for_an_hour_at_most() -> None:
    assert next_due(callback(), 3 * DAY, NOW, 0.5, 20 * SECOND) == NOW + 20 * SECOND
    assert next_due(callback(), 3 * DAY, NOW, 0.5, 1 * SECOND) == NOW + 5 * SECOND, "never sooner than ours"
    assert next_due(callback(), 3 * DAY, NOW, 0.5, DAY) == NOW + HOUR
    late = callback(created_at=NOW - 3 * DAY + MINUTE)
    assert next_due(late, 3 * DAY, NOW, 0.5, 10 * MINUTE) == NOW + 10 * MINUTE, "it asked not to be called before"


def test_an_origin_rests_after_five_failures_longer_each_time() -> None:
    rest, now = Rest(), 1_000_000
    for _ in range(4):
        rest.failed(now)
        assert rest.room(now, 4) == 4
    rest.failed(now)
    rests = []
    for _ in range(10):
        assert rest.room(now, 4) == 0
        rests.append(rest.until_us - now)
        now = rest.until_us
        assert rest.room(now - 1, 4) == 0
        assert rest.room(now, 4) == 1, "one call tries it"
        rest.failed(now)
    assert rests[:4] == [5_000_000, 10_000_000, 20_000_000, 40_000_000]
    assert all(a <= b for a, b in pairwise(rests))
    assert rests[-1] == 600_000_000


def test_failures_of_calls_from_before_its_rest_do_not_lengthen_it() -> None:
    rest = Rest()
    for _ in range(9):
        rest.failed(0)
    assert rest.until_us == 5_000_000


def test_one_answer_ends_it() -> None:
    rest = Rest()
    for _ in range(5):
        rest.failed(0)
    rest.answered()
    assert rest.room(0, 4) == 4
    rest.failed(0)
    assert rest.room(0, 4) == 4


def test_ten_thousand_failures_overflow_nothing() -> None:
    rest, now = Rest(), 0
    for _ in range(10_000):
        rest.failed(now)
        now = max(now, rest.until_us)
    assert rest.until_us - now <= 600_000_000


def test_a_pause_is_no_failure() -> None:
    rest = Rest()
    rest.pause(7)
    assert (rest.room(PAUSE_US + 6, 4), rest.room(PAUSE_US + 7, 4)) == (0, 4)
    assert not rest.is_down and not rest.is_fresh
    rest.answered()
    assert rest.is_fresh


def test_a_rest_that_is_ended_is_followed_by_one_call_and_then_a_longer_one() -> None:
    rest = Rest()
    for _ in range(5):
        rest.failed(0)
    rest.end()
    assert (rest.room(0, 4), rest.is_down) == (1, True)
    rest.failed(0)
    assert rest.until_us == 10_000_000


def test_shares() -> None:
    has = [0, 0, 0]
    while may_take(has[0], sum(has), 64):
        has[0] += 1
    assert has == [32, 0, 0], "half, for one that is alone"
    while may_take(has[1], sum(has), 64):
        has[1] += 1
    assert has == [32, 16, 0]
    while may_take(has[2], sum(has), 64):
        has[2] += 1
    assert has == [32, 16, 8], "there is always some for those that come"
    assert may_take(0, 63, 64) and not may_take(0, 64, 64)
