"""Does the rate settle below what the carrier takes, and come back when the carrier takes more again?

The carrier here counts what reached it in its own sliding window and knows nothing of ours. Time is virtual; the pacers
are the real ones, used as the gate uses them: the configured pace stays, the learnt one stands beside it.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.adaptive import FLOOR, HOUR_US, SAFE, Adaptive, Base
from smsd.core.pacing import Pace, Pacer, Window

SECOND = 1_000_000
MINUTE = 60 * SECOND
BOOT = 500 * SECOND
LATENCY = 150_000


class Carrier:
    """Takes `limit(now)` calls in any `span_us` and throttles the others, which do not count."""

    def __init__(self, limit: Callable[[int], int], span_us: int = MINUTE) -> None:
        self._limit = limit
        self._span_us = span_us
        self._taken: deque[int] = deque()

    def takes(self, at: int) -> bool:
        while self._taken and self._taken[0] <= at - self._span_us:
            self._taken.popleft()
        if len(self._taken) >= self._limit(at):
            return False
        self._taken.append(at)
        return True


class Line:
    """One provider with a backlog: calls as fast as its ceilings allow, rests after a throttle."""

    def __init__(self, base: Base, carrier: Carrier, cooldown_us: int = 5 * MINUTE) -> None:
        self.now = BOOT
        self.adaptive = Adaptive(base, None, None, None)
        self.configured = Pacer(Pace((Window(base.limit, base.span_us),)))
        self.carrier = carrier
        self.cooldown_us = cooldown_us
        self.accepted = 0
        self.throttled: list[int] = []
        """When each throttle came that brought a rest."""
        self.late = 0
        """Throttles of calls that were under way when the rest began."""
        self._cooled_at = -1
        self._learnt: Pacer | None = None
        self._under_way: deque[tuple[int, bool]] = deque()

    def run(self, until: int = 1 << 62, messages: int = 1 << 62) -> None:
        """Work until then, or until that many more were accepted."""
        goal = self.accepted + messages
        while self.accepted < goal and self.now < until:
            start = self.configured.ready_at(self.now)
            if self._learnt is not None:
                start = max(start, self._learnt.ready_at(self.now))
            start = max(start, self.now)
            if self._under_way and self._under_way[0][0] + LATENCY <= start:
                self._answer(*self._under_way.popleft())
                continue
            self.now = start
            self.configured.start(start)
            if self._learnt is not None:
                self._learnt.start(start)
            self._under_way.append((start, self.carrier.takes(start + LATENCY // 2)))

    def _answer(self, started: int, taken: bool) -> None:
        self.now = max(self.now, started + LATENCY)
        if taken:
            self.accepted += 1
            changed = self.adaptive.accepted(started, self.now, 1)
        elif started <= self._cooled_at:
            self.late += 1
            return
        else:
            self.throttled.append(self.now)
            self._cooled_at = self.now
            changed = self.adaptive.throttled(started, self.now)
            while self._under_way:
                self._answer(*self._under_way.popleft())
            self.now += self.cooldown_us
        if changed:
            self._follow()

    def _follow(self) -> None:
        window = self.adaptive.window()
        self._learnt = None if window is None else Pacer(Pace((window,)))
        if self._learnt is not None:
            starts, since = self.configured.history()
            self._learnt.seed([(at, 1) for at in starts], since)


@pytest.mark.parametrize(("cooldown_us", "messages"), [(5 * MINUTE, 20_000), (MINUTE, 6_000)])
def test_a_backlog_goes_at_nearly_the_carriers_rate_and_is_hardly_ever_throttled(
    cooldown_us: int, messages: int
) -> None:
    line = Line(Base(700, MINUTE), Carrier(lambda _: 100), cooldown_us)
    line.run(messages=messages)
    after_the_first = len(line.throttled) - 1 + line.late
    assert after_the_first < 0.001 * messages
    working_us = line.now - BOOT - len(line.throttled) * cooldown_us
    assert messages / (working_us / MINUTE) >= 0.9 * 100
    assert line.adaptive.recommended() == pytest.approx(95, rel=0.1)


def test_the_rate_follows_the_carrier_down_and_comes_back_within_hours() -> None:
    def limit(at: int) -> int:
        if at < BOOT + HOUR_US:
            return 100
        return 30 if at < BOOT + 2 * HOUR_US else 1_000

    line = Line(Base(700, MINUTE), Carrier(limit))
    line.run(until=BOOT + HOUR_US)
    assert 85 <= (line.adaptive.rate or 0) < 100
    line.run(until=BOOT + 2 * HOUR_US)
    assert 25 <= (line.adaptive.rate or 0) < 30
    down = len(line.throttled)
    line.run(until=BOOT + 8 * HOUR_US)
    assert 350 <= (line.adaptive.rate or 700) <= 700
    line.run(until=BOOT + 9 * HOUR_US + 10 * MINUTE)
    assert line.adaptive.rate is None
    assert line.adaptive.recommended() is None
    assert len(line.throttled) == down


def test_a_carrier_that_takes_half_of_it_again_is_tried_at_most_once_an_hour() -> None:
    line = Line(Base(700, MINUTE), Carrier(lambda at: 30 if at < BOOT + HOUR_US else 60))
    line.run(until=BOOT + 9 * HOUR_US)
    coming_back = [at for at in line.throttled if at > BOOT + HOUR_US + 30 * MINUTE]
    assert coming_back, "the edge was never tried"
    assert all(later - at > HOUR_US for at, later in pairwise(coming_back))
    assert 54 <= (line.adaptive.rate or 0) <= 63


def test_a_carrier_that_counts_seconds_is_not_called_by_its_seconds() -> None:
    line = Line(Base(1_200, MINUTE), Carrier(lambda _: 10, SECOND))
    line.run(until=BOOT + HOUR_US // 2)
    assert 500 <= (line.adaptive.rate or 0) <= 600
    assert len(line.throttled) <= 4


def test_a_carrier_that_takes_less_than_one_in_a_span_is_found_too() -> None:
    line = Line(Base(60, MINUTE), Carrier(lambda _: 1, 5 * MINUTE), cooldown_us=MINUTE)
    line.run(until=BOOT + 12 * HOUR_US)
    throttled, accepted = len(line.throttled), line.accepted
    line.run(until=BOOT + 36 * HOUR_US)
    assert len(line.throttled) - throttled <= 24
    assert line.accepted - accepted >= 0.6 * 24 * 12


# -- the rules one by one ----------------------------------------------------------------------------------------------


def fed(adaptive: Adaptive, count: int, start: int = BOOT, gap: int = 100_000, cost: int = 1) -> int:
    """That many acceptances, evenly spaced; the time after the last."""
    for index in range(count):
        adaptive.accepted(start + index * gap, start + index * gap + 1_000, cost)
    return start + count * gap


def throttled_at_100() -> tuple[Adaptive, int]:
    """Configured 700, 100 taken, found out for good: rate 90, learnt 100."""
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    now = BOOT
    for _ in range(3):
        now = fed(adaptive, 100, now) + 1
        assert adaptive.throttled(now, now + 1)
        now += 5 * MINUTE
    return adaptive, now


def test_a_throttle_halves_but_not_below_nine_tenths_of_what_was_taken() -> None:
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    rates = []
    now = BOOT
    for _ in range(3):
        now = fed(adaptive, 100, now)
        assert adaptive.throttled(now, now + 1)
        rates.append(adaptive.rate)
        now += 5 * MINUTE
    assert rates == [350, 175, 90]
    assert adaptive.learnt == 100
    assert adaptive.recommended() == 95


def test_before_the_lower_rate_was_reached_nothing_is_recommended() -> None:
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    adaptive.throttled(fed(adaptive, 3), BOOT + MINUTE)
    assert (adaptive.rate, adaptive.learnt) == (350, 3)
    assert adaptive.recommended() is None


def test_what_was_taken_is_counted_when_it_began() -> None:
    # The throttled call began before the last hundred did: they say nothing of the window it met.
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    first = fed(adaptive, 50)
    fed(adaptive, 100, first + MINUTE)
    adaptive.throttled(first, first + 2 * MINUTE)
    assert adaptive.learnt == pytest.approx(50, abs=1)


def test_it_climbs_to_the_safe_share_while_in_use_and_once_a_span() -> None:
    adaptive, now = throttled_at_100()
    changes = []
    for index in range(180):
        at = now + index * 700_000
        if adaptive.accepted(at, at + 1_000, 1):
            changes.append((at - now, adaptive.rate))
    assert [rate for _, rate in changes] == [95]
    assert changes[0][0] <= MINUTE


def test_idle_time_raises_nothing() -> None:
    adaptive, now = throttled_at_100()
    now += 100 * HOUR_US
    for index in range(44):  # below half of the rate in every minute
        assert not adaptive.accepted(now + index, now + index, 1)
    for index in range(10_000):
        at = now + MINUTE + index * 1_500_000
        assert not adaptive.accepted(at, at, 1)
    assert (adaptive.rate, adaptive.learnt) == (90, 100)


def test_an_experiment_needs_an_hour_and_full_use_and_grows_with_success() -> None:
    adaptive, now = throttled_at_100()
    learnt_at = adaptive.learnt_at_us or 0
    seen: list[tuple[int, float | None]] = []
    while adaptive.rate is not None and now < BOOT + 12 * HOUR_US:
        now += int(MINUTE / adaptive.rate) + 1
        before = adaptive.learnt_at_us
        adaptive.accepted(now, now, 1)
        if adaptive.learnt_at_us not in (before, None):
            seen.append((now, adaptive.learnt))
    assert [learnt for _, learnt in seen] == pytest.approx([110, 132, 184.8, 332.64, 665.28, 700 / SAFE], rel=0.02)
    assert seen[0][0] - learnt_at >= HOUR_US
    assert all(later[0] - earlier[0] >= HOUR_US for earlier, later in pairwise(seen))
    assert (adaptive.rate, adaptive.learnt, adaptive.learnt_at_us) == (None, None, None)


def test_half_use_is_no_experiment() -> None:
    adaptive, now = throttled_at_100()
    for _ in range(4 * 60 * 57):
        now += int(MINUTE / 57)  # 60 % of the 95 that it climbs to
        adaptive.accepted(now, now, 1)
    assert (adaptive.rate, adaptive.learnt) == (95, 100)


def test_what_was_taken_is_a_fact_also_after_a_throttle_that_came_by_chance() -> None:
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    adaptive.throttled(fed(adaptive, 3), BOOT + MINUTE)
    assert (adaptive.rate, adaptive.learnt) == (350, 3)
    fed(adaptive, 700, BOOT + 10 * MINUTE, gap=MINUTE // 350)
    assert adaptive.learnt == pytest.approx(349, abs=2)


def test_after_a_throttle_the_experiments_are_small_again() -> None:
    line = Line(Base(700, MINUTE), Carrier(lambda at: 20 if at < BOOT + HOUR_US else 30))
    line.run(until=BOOT + 3 * HOUR_US)
    at_first = len(line.throttled)
    while len(line.throttled) == at_first:
        line.run(messages=10)
    assert line.adaptive.learnt == pytest.approx(30, abs=1)
    learnt_at = line.adaptive.learnt_at_us
    while line.adaptive.learnt_at_us == learnt_at:
        line.run(messages=1)
    assert line.adaptive.learnt == pytest.approx(33, abs=1.2)


def test_its_memory_does_not_grow() -> None:
    adaptive = Adaptive(Base(100_000, MINUTE), None, None, None)
    now = fed(adaptive, 20_000, gap=6_000)
    before = len(pickle.dumps(adaptive))
    fed(adaptive, 20_000, now, gap=6_000)
    assert len(pickle.dumps(adaptive)) <= before + 16


def test_a_restart_keeps_what_was_learnt() -> None:
    adaptive, _ = throttled_at_100()
    again = Adaptive(adaptive.base, adaptive.rate, adaptive.learnt, adaptive.learnt_at_us)
    assert (again.rate, again.learnt, again.learnt_at_us) == (90, 100, adaptive.learnt_at_us)
    assert again.window() == adaptive.window()
    # The reboot moved the origin of boot time; an hour ago may lie before it.
    rebooted = Adaptive(adaptive.base, 95, 100, BOOT - HOUR_US)
    climbed = [rebooted.accepted(BOOT + i * 640_000, BOOT + i * 640_000, 1) for i in range(100)]
    assert any(climbed)
    assert rebooted.learnt == pytest.approx(110)


def test_a_long_span_is_not_waited_for_to_climb() -> None:
    adaptive = Adaptive(Base(100_000, 24 * HOUR_US), 1_000, 2_000, BOOT)
    now = fed(adaptive, 490, gap=MINUTE // 4)
    assert adaptive.rate == 1_000
    fed(adaptive, 30, now, gap=MINUTE // 4)
    assert 1_100 <= (adaptive.rate or 0) <= 1_600


def test_another_configured_rate_keeps_what_is_below_it() -> None:
    adaptive, _ = throttled_at_100()
    adaptive.rebase(Base(2_000, MINUTE))
    assert (adaptive.rate, adaptive.learnt) == (90, 100)
    adaptive.rebase(Base(120_000, 60 * MINUTE))
    assert (adaptive.rate, adaptive.learnt) == (5_400, 6_000)
    adaptive.rebase(Base(5_400, 60 * MINUTE))
    assert (adaptive.rate, adaptive.learnt, adaptive.learnt_at_us, adaptive.window()) == (None, None, None, None)


def test_segments_count_as_what_they_cost() -> None:
    adaptive = Adaptive(Base(700, MINUTE), None, None, None)
    now = fed(adaptive, 200, cost=3)
    adaptive.throttled(now, now)
    assert adaptive.learnt == 600


# -- a provider that refuses everything --------------------------------------------------------------------------------


def refused_for_an_hour(adaptive: Adaptive) -> int:
    """A throttle after every rest of five minutes, and nothing else; when it ends."""
    for index in range(12):
        adaptive.throttled(BOOT + index * 5 * MINUTE, BOOT + index * 5 * MINUTE)
    return BOOT + HOUR_US


def hours_until(adaptive: Adaptive, share: float, start: int) -> float:
    """How long a backlog takes, from then on taken at once, until it is called at that share of the configured rate."""
    now = start
    while adaptive.rate is not None and adaptive.rate < share * adaptive.base.limit:
        now += int(adaptive.base.span_us / adaptive.rate) + 1
        adaptive.accepted(now, now, 1)
    return (now - start) / HOUR_US


def test_throttles_with_nothing_taken_between_them_are_one_fact() -> None:
    adaptive = Adaptive(Base(100, MINUTE), None, None, None)
    now = refused_for_an_hour(adaptive)
    assert adaptive.rate == 50
    adaptive.accepted(now, now, 1)
    adaptive.throttled(now + 1, now + 1)
    assert adaptive.rate == 25


def test_a_throttle_within_a_span_of_the_last_lowers_again_but_not_below_a_tenth() -> None:
    adaptive = Adaptive(Base(100, MINUTE), None, None, None)
    rates = []
    for index in range(6):
        adaptive.throttled(BOOT + index * 10 * SECOND, BOOT + index * 10 * SECOND)
        rates.append(adaptive.rate)
    assert rates == [50, 25, 12.5, 10, 10, 10]


def test_a_throttle_after_a_restart_is_no_news_before_something_was_taken() -> None:
    adaptive = Adaptive(Base(100, MINUTE), 50, 1, BOOT)
    assert not adaptive.throttled(BOOT, BOOT)
    assert adaptive.rate == 50


def test_a_limit_is_sought_after_a_restart_too() -> None:
    assert hours_until(Adaptive(Base(100, MINUTE), 50, 1, BOOT), 0.9, BOOT) <= 0.1


@pytest.mark.parametrize(
    ("base", "most_hours"),
    [(Base(100, MINUTE), 0.1), (Base(10, SECOND), 0.1), (Base(600, HOUR_US), 0.5), (Base(1_000, 24 * HOUR_US), 4)],
    ids=["100/min", "10/s", "600/h", "1000/day"],
)
def test_after_an_hour_of_refusals_the_rate_is_soon_back(base: Base, most_hours: float) -> None:
    adaptive = Adaptive(base, None, None, None)
    now = refused_for_an_hour(adaptive)
    assert hours_until(adaptive, 0.9, now) <= most_hours
    # The last step is the experiment's: an hour later, so that no carrier is tried twice in that time.
    assert adaptive.rate is not None
    assert adaptive.rate <= SAFE * base.limit


def test_a_limit_that_is_sought_is_found_with_one_throttle_more() -> None:
    line = Line(Base(700, MINUTE), Carrier(lambda at: 0 if at < BOOT + HOUR_US else 300))
    line.run(until=BOOT + HOUR_US)
    assert line.adaptive.rate == 350
    before = len(line.throttled)
    line.run(until=BOOT + 2 * HOUR_US)
    assert len(line.throttled) - before <= 2
    assert 270 <= (line.adaptive.rate or 0) < 300


def test_a_sought_limit_is_not_sought_by_a_few_calls() -> None:
    adaptive = Adaptive(Base(100, MINUTE), None, None, None)
    now = refused_for_an_hour(adaptive)
    for index in range(600):  # 30 a minute: 60 % of the 50
        adaptive.accepted(now + index * 2 * SECOND, now + index * 2 * SECOND, 1)
    assert adaptive.rate == 50
    assert adaptive.recommended() is None


def test_what_is_forgotten_is_the_rate_and_not_what_was_taken() -> None:
    adaptive, now = throttled_at_100()
    now = fed(adaptive, 100, now)
    adaptive.forget()
    assert (adaptive.rate, adaptive.learnt, adaptive.learnt_at_us) == (None, None, None)
    adaptive.throttled(now, now)
    assert (adaptive.rate, adaptive.learnt) == (350, 100)


# -- for every history -------------------------------------------------------------------------------------------------

BASES = st.builds(Base, st.integers(1, 1_000_000), st.sampled_from([SECOND, MINUTE, 60 * MINUTE, 24 * HOUR_US]))
EVENTS = st.lists(st.tuples(st.booleans(), st.integers(0, 4_000), st.integers(1, 60), st.integers(1, 4)), max_size=60)


def histories(adaptive: Adaptive, events: list[tuple[bool, int, int, int]]) -> Iterator[bool]:
    now = BOOT
    for throttle, wait_s, times, cost in events:
        now += wait_s * SECOND
        for _ in range(times):
            now += 20_000
            yield adaptive.throttled(now - 10_000, now) if throttle else adaptive.accepted(now - 10_000, now, cost)


@settings(max_examples=60, deadline=None)
@given(BASES, EVENTS)
def test_the_rate_stays_between_its_floor_and_the_configured_one(
    base: Base, events: list[tuple[bool, int, int, int]]
) -> None:
    adaptive = Adaptive(base, None, None, None)
    before = adaptive.rate
    for changed in histories(adaptive, events):
        rate, learnt, window = adaptive.rate, adaptive.learnt, adaptive.window()
        assert changed == (rate != before)
        before = rate
        assert (rate is None) == (learnt is None) == (adaptive.learnt_at_us is None) == (window is None)
        if rate is None or learnt is None or window is None:
            continue
        assert FLOOR <= rate < base.limit
        assert FLOOR <= learnt <= base.limit / SAFE
        assert window.limit / window.span_us == pytest.approx(rate / base.span_us, rel=0.02)


@settings(max_examples=100, deadline=None)
@given(BASES, st.floats(0, 1_000_000, exclude_min=True), st.none() | st.floats(0, 2_000_000))
def test_every_remembered_rate_can_be_kept(base: Base, rate: float, learnt: float | None) -> None:
    adaptive = Adaptive(base, rate, learnt, None)
    window = adaptive.window()
    assert (window is None) == (rate >= base.limit)
    if window is not None and adaptive.rate is not None:
        assert window.limit * base.span_us / window.span_us == pytest.approx(adaptive.rate, rel=0.02)
        assert adaptive.rate == max(rate, FLOOR)
