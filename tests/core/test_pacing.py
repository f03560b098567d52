"""Does the pacer keep every ceiling in every window, and use it?

The checker knows nothing of rings and slots: it counts units between any two starts. Timers are simulated as they are:
1 ms coarse, up to 2 ms late, and now and then early.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.pacing import LATENESS_US, MAX_LIMIT, Pace, Pacer, TooEarlyError, Window, pad_us

SECOND = 1_000_000
MINUTE = 60 * SECOND
DAY = 86_400 * SECOND
BOOT = 3_600 * SECOND

Starts = list[tuple[int, int]]


def overrun(starts: Starts, window: Window) -> tuple[int, int] | None:
    """The first start at which some closed span of the window holds more units than it may, and how many; else None.

    A single start that is larger than the window is allowed when it is alone in it.
    """
    first, units = 0, 0
    for index, (at, cost) in enumerate(starts):
        units += cost
        while starts[first][0] < at - window.span_us:
            units -= starts[first][1]
            first += 1
        if units > window.limit and first != index:
            return at, units
    return None


def late_timer(dice: random.Random, early: bool = True) -> Callable[[int, int], int]:
    """When an event loop asked at `now` to wake at `at` really wakes."""

    def wake(now: int, at: int) -> int:
        if early and dice.random() < 0.1:
            return max(now + 1, at - dice.randrange(1_000))
        coarse = -(-at // 1_000) * 1_000
        return max(now + 1, min(at + 2_000, coarse + dice.randrange(2_000)))

    return wake


def flood(pacer: Pacer, now: int, until: int, wake: Callable[[int, int], int], costs: Iterator[int]) -> Starts:
    """Demand without end: everything that may start at a wake-up starts; returns the starts before `until`."""
    starts: Starts = []
    cost = next(costs)
    while now < until:
        ready = pacer.ready_at(now, cost)
        if ready > now:
            now = wake(now, ready)
            continue
        pacer.start(now, cost)
        starts.append((now, cost))
        cost = next(costs)
    return starts


def ones() -> Iterator[int]:
    while True:
        yield 1


windows = st.builds(
    Window,
    st.integers(1, 60),
    st.sampled_from([1, 50, 3_000, 100_000, SECOND, 2 * SECOND, 7 * SECOND, MINUTE, 600 * SECOND]),
)


@st.composite
def paces(draw: st.DrawFn) -> Pace:
    chosen = tuple(draw(st.lists(windows, min_size=1, max_size=3)))
    shortest = Pace(chosen).shortest
    return Pace(
        chosen,
        draw(st.integers(1, shortest.limit)),
        draw(st.sampled_from([0, 0, 1_000, 700_000])),
        draw(st.sampled_from(["messages", "segments"])),
    )


# -- the ceiling -----------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(paces(), st.integers(0, 2**32), st.data())
def test_no_window_ever_holds_more_than_its_limit(pace: Pace, seed: int, data: st.DataObject) -> None:
    """Random demand (floods, lulls, dribbles), late and early timers, random sizes, restarts between."""
    dice = random.Random(seed)
    wake = late_timer(dice)
    span = max(window.span_us for window in pace.windows)
    pacer, now, starts = Pacer(pace), BOOT, Starts()
    for _ in range(data.draw(st.integers(10, 300))):
        cost = pacer.cost(dice.choice([1, 1, 2, 3, 9, 70]))
        now += dice.choice([0, 0, 0, dice.randrange(5_000), dice.randrange(span + 1), dice.randrange(3 * span + 1)])
        while (ready := pacer.ready_at(now, cost)) > now:
            now = wake(now, ready)
        pacer.start(now, cost)
        starts.append((now, cost))
        if dice.random() < 0.02:
            pacer = Pacer(pace)
            pacer.seed([start for start in starts if start[0] > now - pacer.window_max][-pacer.capacity :])
    for window in pace.windows:
        assert overrun(starts, window) is None
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(starts)]
    assert min(gaps) >= pace.min_gap_us


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([Window(1, MINUTE), Window(1, 2 * SECOND), Window(40, SECOND)]))
def test_jitter_on_the_way_within_the_pad_does_no_harm(seed: int, window: Window) -> None:
    """The carrier counts arrivals: each call reaches it up to a pad later than it left."""
    dice = random.Random(seed)
    starts = flood(Pacer(Pace((window,))), BOOT, BOOT + 5 * window.span_us, late_timer(dice), ones())
    arrivals = sorted((at + dice.randrange(pad_us(window.span_us)), cost) for at, cost in starts)
    assert overrun(arrivals, window) is None


def test_the_checker_can_fail() -> None:
    assert overrun([(0, 1), (5, 1)], Window(1, 5)) == (5, 2)
    assert overrun([(0, 1), (6, 1)], Window(1, 5)) is None
    assert overrun([(0, 2), (6, 1)], Window(1, 5)) is None
    assert overrun([(0, 1), (5, 2)], Window(2, 5)) == (5, 3)


def test_a_start_before_its_time_is_a_broken_promise() -> None:
    pacer = Pacer(Pace((Window(1, SECOND),)))
    pacer.start(BOOT)
    with pytest.raises(TooEarlyError, match="1 us before"):
        pacer.start(BOOT + SECOND + pad_us(SECOND) - 1)
    pacer.start(BOOT + SECOND + pad_us(SECOND))


@pytest.mark.parametrize(
    ("span_us", "expected"), [(1, 1), (250, 1), (SECOND, 4_000), (5 * SECOND, 20_000), (MINUTE, 20_000), (DAY, 20_000)]
)
def test_the_pad(span_us: int, expected: int) -> None:
    assert pad_us(span_us) == expected


# -- the share used --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "periods", "share"),
    [
        (Window(1, MINUTE), 200, 0.995),
        (Window(1, 2 * SECOND), 500, 0.99),
        (Window(100, MINUTE), 20, 0.995),
        (Window(600, MINUTE), 5, 0.995),
        (Window(2_000, SECOND), 20, 0.99),
        (Window(MAX_LIMIT, MINUTE), 1 / 60, 0.99),
    ],
    ids=["1/min", "0.5/s", "100/min", "600/min", "2000/s", "1000000/min"],
)
@pytest.mark.parametrize("burst", [1, 100])
def test_a_flood_uses_what_the_ceiling_allows(window: Window, periods: float, share: float, burst: int) -> None:
    pacer = Pacer(Pace((window,), burst=min(burst, window.limit)))
    duration = int(window.span_us * periods)
    starts = flood(pacer, BOOT, BOOT + duration, late_timer(random.Random(7), early=False), ones())
    assert overrun(starts, window) is None
    used = len(starts) / (window.limit * periods)
    assert used >= share


def test_stalls_of_an_event_loop_are_made_up_within_the_credit() -> None:
    """Every third wake-up is 15 ms late; the pace holds all the same."""
    dice = random.Random(3)
    window = Window(2_000, SECOND)
    timer = late_timer(dice)
    starts = flood(
        Pacer(Pace((window,))),
        BOOT,
        BOOT + 5 * SECOND,
        lambda now, at: timer(now, at) + 15_000 * (dice.random() < 0.3),
        ones(),
    )
    assert overrun(starts, window) is None
    assert len(starts) >= 0.97 * 5 * 2_000


def test_without_burst_starts_are_even() -> None:
    pacer = Pacer(Pace((Window(100, MINUTE),)))
    starts = flood(pacer, BOOT, BOOT + 3 * MINUTE, lambda now, at: at, ones())
    gaps = {later - earlier for (earlier, _), (later, _) in pairwise(starts)}
    assert gaps <= {600_200, 600_201}


# -- burst, gap, cost ------------------------------------------------------------------------------------------------


def at_once(pacer: Pacer, now: int) -> int:
    """How many starts go at this very moment."""
    count = 0
    while pacer.ready_at(now) <= now:
        pacer.start(now)
        count += 1
    return count


@pytest.mark.parametrize("window", [Window(100, MINUTE), Window(2_000, SECOND), Window(10, SECOND)])
@pytest.mark.parametrize("burst", [1, 2, 10])
def test_idle_time_earns_a_burst_and_no_more(window: Window, burst: int) -> None:
    """However long it lasts, also when the last one who asked was refused and went away."""
    pacer, now = Pacer(Pace((window,), burst=burst)), BOOT
    for idle in (0, 2 * window.span_us, MINUTE, DAY):
        now += idle
        assert at_once(pacer, now) == burst


@pytest.mark.parametrize("idle_us", [5_000, 20_000, 200_000])
def test_a_short_pause_earns_no_more_than_a_long_one(idle_us: int) -> None:
    pacer = Pacer(Pace((Window(2_000, SECOND),)))
    pacer.start(BOOT)
    pacer.start(pacer.ready_at(BOOT))
    assert at_once(pacer, BOOT + 502 + idle_us) == 1


def test_burst_is_taken_out_of_the_ceiling() -> None:
    pacer = Pacer(Pace((Window(100, MINUTE),), burst=40))
    starts = flood(pacer, BOOT, BOOT + MINUTE, lambda now, at: at, ones())
    assert [at for at, _ in starts].count(BOOT) == 40
    assert len(starts) == 100


def test_a_late_start_keeps_its_slot_and_an_idle_one_does_not() -> None:
    length = 502  # 2000/s with its pad
    late = Pacer(Pace((Window(2_000, SECOND),)))
    late.start(BOOT)
    assert late.ready_at(BOOT) == BOOT + length
    assert at_once(late, BOOT + 10 * length) == 10
    idle = Pacer(Pace((Window(2_000, SECOND),)))
    idle.start(BOOT)
    assert at_once(idle, BOOT + 10 * length) == 1
    stalled = Pacer(Pace((Window(2_000, SECOND),)))
    stalled.start(BOOT)
    assert stalled.ready_at(BOOT) == BOOT + length
    assert at_once(stalled, BOOT + 200_000) == LATENESS_US // length + 1


def test_what_lateness_owes_is_forfeited_by_a_pause() -> None:
    pacer = Pacer(Pace((Window(2_000, SECOND),)))
    pacer.start(BOOT)
    pacer.ready_at(BOOT)
    pacer.start(BOOT + 15_000)
    assert at_once(pacer, BOOT + MINUTE) == 1


def test_the_longer_window_is_a_plain_cap() -> None:
    pacer = Pacer(Pace((Window(50, MINUTE), Window(10, SECOND))))
    starts = flood(pacer, BOOT, BOOT + 2 * MINUTE, lambda now, at: at, ones())
    times = [at - BOOT for at, _ in starts]
    assert times[49] == 49 * 100_400
    assert times[50] == MINUTE + pad_us(MINUTE)


def test_min_gap_alone_and_with_a_window() -> None:
    alone = Pacer(Pace(min_gap_us=1_500_000))
    assert [at - BOOT for at, _ in flood(alone, BOOT, BOOT + 4 * SECOND, lambda now, at: at, ones())] == [
        0,
        1_500_000,
        3_000_000,
    ]
    burst = Pacer(Pace((Window(10, SECOND),), burst=10, min_gap_us=10_000))
    assert [at - BOOT for at, _ in flood(burst, BOOT, BOOT + 30_001, lambda now, at: at, ones())] == [
        0,
        10_000,
        20_000,
        30_000,
    ]


def test_unlimited() -> None:
    pacer = Pacer(Pace())
    for _ in range(1_000):
        pacer.start(BOOT)
    assert pacer.ready_at(BOOT) <= BOOT
    assert pacer.allowance(BOOT, 0, 77) == 77
    assert (pacer.rate_per_minute(), pacer.window_max, pacer.capacity) == (None, 0, 0)


def test_segments_are_what_is_charged_when_the_carrier_counts_segments() -> None:
    assert [Pacer(Pace(unit="messages")).cost(n) for n in (0, 1, 3)] == [1, 1, 1]
    assert [Pacer(Pace(unit="segments")).cost(n) for n in (0, 1, 3)] == [1, 1, 3]
    pacer = Pacer(Pace((Window(60, MINUTE),), unit="segments"))
    pacer.start(BOOT, 3)
    assert pacer.ready_at(BOOT) == BOOT + 3 * (MINUTE + pad_us(MINUTE)) // 60


def test_a_message_larger_than_the_window_goes_alone() -> None:
    span = SECOND + pad_us(SECOND)
    pacer = Pacer(Pace((Window(2, SECOND),), burst=2, unit="segments"))
    pacer.start(BOOT)
    assert pacer.ready_at(BOOT, 5) == BOOT + span
    pacer.start(BOOT + span, 5)
    assert pacer.ready_at(BOOT + span) >= BOOT + 2 * span
    assert pacer.ready_at(BOOT + span, 5) >= BOOT + 2 * span


# -- claiming ahead --------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(paces(), st.lists(st.integers(0, 2 * SECOND), max_size=40), st.integers(0, 90 * SECOND), st.integers(0, 80))
def test_the_allowance_is_what_a_flood_on_time_would_start(
    pace: Pace, gaps: list[int], horizon: int, limit: int
) -> None:
    pacer, now = Pacer(pace), BOOT
    for gap in gaps:
        now = max(now + gap, pacer.ready_at(now + gap))
        pacer.start(now)
    told = pacer.allowance(now, horizon, limit)
    assert pacer.allowance(now, horizon, limit) == told
    count, at = 0, now
    while count < limit and (at := max(at, pacer.ready_at(at))) <= now + horizon:
        pacer.start(at)
        count += 1
    assert told == count


# -- over a restart --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [Window(1, MINUTE), Window(600, MINUTE), Window(2_000, SECOND)])
@pytest.mark.parametrize("pause", [0, 1_000, 40_000, 500_000, 30 * SECOND])
def test_the_ceiling_holds_over_a_restart(window: Window, pause: int) -> None:
    """What settled is seeded; the last three were open at the crash and count as started at the new start."""
    wake = late_timer(random.Random(1))
    before = flood(Pacer(Pace((window,))), BOOT, BOOT + 2 * window.span_us, wake, ones())
    now = before[-1][0] + pause
    pacer = Pacer(Pace((window,)))
    pacer.seed(before[:-3][-pacer.capacity :])
    for _, cost in before[-3:]:
        pacer.force(now, cost)
    after = flood(pacer, now, now + 3 * window.span_us, wake, ones())
    assert overrun(before + after, window) is None
    assert len(after) >= 0.98 * (2 * window.limit) - 3


def test_a_call_that_left_late_counts_from_when_it_left() -> None:
    window = Window(3, SECOND)
    pacer = Pacer(Pace((window,), burst=3))
    starts = [BOOT, BOOT + 1, BOOT + 2]
    for at in starts:
        pacer.start(at)
    pacer.left(BOOT + 1, BOOT + 40_000)
    span = SECOND + pad_us(SECOND)
    assert pacer.opens_at() == BOOT + span
    pacer.start(BOOT + span)
    assert pacer.opens_at() == BOOT + 40_000 + span


def test_what_left_late_within_the_pad_is_not_corrected_and_no_other_window_is_touched() -> None:
    pacer = Pacer(Pace((Window(2, SECOND),), burst=2))
    pacer.start(BOOT)
    opens = pacer.opens_at()
    pacer.left(BOOT, BOOT + pad_us(SECOND) // 4)
    assert pacer.opens_at() == opens
    pacer.left(BOOT, BOOT + 50_000)
    assert pacer.opens_at() == opens, "the unused unit of the window is still free"


@pytest.mark.parametrize("window", [Window(1, MINUTE), Window(600, MINUTE), Window(2_000, SECOND)])
def test_in_doubt_every_window_is_full(window: Window) -> None:
    pacer = Pacer(Pace((window,)))
    pacer.fill(BOOT)
    for cost in (1, 2, window.limit, window.limit + 1):
        assert pacer.ready_at(BOOT, cost) == BOOT + window.span_us + pad_us(window.span_us)
    starts = flood(pacer, BOOT, BOOT + 3 * window.span_us, late_timer(random.Random(1), early=False), ones())
    assert overrun([(BOOT, window.limit), *starts], window) is None
    assert len(starts) >= int(0.99 * 2 * window.limit)


def test_a_seed_out_of_order_is_taken_as_later_never_as_earlier() -> None:
    pacer = Pacer(Pace((Window(2, SECOND), Window(2, 1_000)), burst=2))
    pacer.seed([(BOOT, 1), (BOOT - 900_000, 1)])
    pacer.force(BOOT)
    assert pacer.ready_at(BOOT) == BOOT + SECOND + pad_us(SECOND)


def test_how_far_back_a_restart_must_look() -> None:
    pacer = Pacer(Pace((Window(100, MINUTE), Window(5, SECOND), Window(10_000, DAY))))
    assert pacer.window_max == DAY + pad_us(DAY)
    assert pacer.capacity == 10_000
    assert pacer.rate_per_minute() == pytest.approx(10_000 / 1_440)
    gap = Pacer(Pace(min_gap_us=2 * SECOND))
    assert (gap.window_max, gap.capacity, gap.rate_per_minute()) == (2 * SECOND, 1, 30.0)


# -- what cannot be kept ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Window(0, SECOND), "1 to 1,000,000"),
        (lambda: Window(MAX_LIMIT + 1, SECOND), "state it over another span"),
        (lambda: Window(1, 0), "100/min"),
        (lambda: Pace(burst=0), "at least 1"),
        (lambda: Pace((Window(5, SECOND), Window(100, MINUTE)), burst=6), "at most 5"),
        (lambda: Pace(min_gap_us=-1), "0 means none"),
        (lambda: Pace(unit="parts"), "messages or segments"),
    ],
)
def test_a_pace_that_cannot_be_kept_says_why(build: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


# -- another pace over the same past -----------------------------------------------------------------------------------


def test_history_is_every_unit_after_the_newest_it_forgot() -> None:
    pacer = Pacer(Pace((Window(2, 1_000), Window(3, SECOND)), burst=2))
    assert pacer.history()[0] == []
    for step in range(3):
        pacer.force(BOOT + step * 10)
    assert pacer.history()[0] == [BOOT, BOOT + 10, BOOT + 20]
    pacer.force(BOOT + 40, 2)
    assert pacer.history() == ([BOOT + 20, BOOT + 40, BOOT + 40], BOOT + 10)
    pacer.force(BOOT + 50, 9)
    assert pacer.history() == ([], BOOT + 50), "more than it holds came at once"
    assert Pacer(Pace()).history()[0] == []


def test_a_seed_says_how_far_back_it_knows() -> None:
    pacer = Pacer(Pace((Window(3, SECOND),)))
    pacer.seed([(BOOT - 10, 1)], BOOT - SECOND)
    assert pacer.history() == ([BOOT - 10], BOOT - SECOND)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 100))
def test_a_slower_pace_waits_for_its_windows_and_no_longer(fast: int, slow: int, count: int) -> None:
    past = [(BOOT - (count - n) * SECOND // fast, 1) for n in range(count)]
    window = Window(slow, SECOND)
    pacer = Pacer(Pace((window,)))
    pacer.seed(past)
    span = SECOND + pad_us(SECOND)
    full = max(0, past[-slow][0] + span - BOOT) if count >= slow else 0
    even = max(0, past[-1][0] + -(-span // slow) - BOOT) if count else 0
    assert pacer.ready_at(BOOT) <= BOOT + max(full, even)
    starts = flood(pacer, BOOT, BOOT + 3 * SECOND, late_timer(random.Random(1), early=False), ones())
    assert all(sum(start - SECOND < at <= start for at, _ in [*past, *starts]) <= slow for start, _ in starts)
