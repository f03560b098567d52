"""When is the backlog gone, and when does one message go? By numbers that can be checked with a pencil."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.bunches import Line, bunches
from smsd.core.campaign import Hours
from smsd.core.course import Standby, Stream
from smsd.core.forecast import TICKETS, Forecast
from smsd.core.health import Standing
from smsd.core.message import Instant, Priority
from smsd.core.pacing import Pace, Pacer, Window
from smsd.core.scene import Bar, Road, Scene

NOW: Instant = 1_790_000_000_000
NOW_US = 3_600_000_000
SECOND = 1_000_000
DAY = 86_400 * SECOND


def line(
    flow: int,
    pending: int,
    route: str = "a",
    priority: Priority = Priority.NORMAL,
    tenant: str = "shop",
    campaign: str | None = None,
    dues: tuple[Instant, ...] = (NOW,),
    segments: float = 1.0,
) -> Line:
    return Line(flow, route, priority, tenant, campaign, pending, dues, segments)


def pacer(
    limit: int, seconds: float = 1.0, *more: Window, burst: int = 1, gap_us: int = 0, unit: str = "messages"
) -> Pacer:
    windows = (Window(limit, int(seconds * SECOND)), *more)
    return Pacer(Pace(windows, burst=burst, min_gap_us=gap_us, unit=unit))


def road(*ceilings: Pacer, standing: Standing = Standing.OPEN, until: Instant | None = None) -> Road:
    return Road(standing, until, ceilings)


def bar(limit: int, seconds: float, used: int = 0, ago_s: float = 0.0, until: Instant | None = None) -> Bar:
    """A limit, so many of which were charged so long ago."""
    window = pacer(limit, seconds, burst=limit)
    window.seed([(NOW_US - int(ago_s * SECOND), 1)] * used)
    return Bar(((window, 1.0),), until)


def scene(*lines: Line, bars: dict[str, Bar] | None = None, **roads: Road) -> Scene:
    return Scene(NOW, NOW_US, lines, roads or {"a": road(pacer(100))}, bars or {})


def run(seen: Scene, *, near: bool = False, tickets: int | None = None) -> Forecast:
    forecast = Forecast(seen, near=near, tickets=tickets)
    while not forecast.advance(100):
        pass
    return forecast


def seconds(at: Instant | None) -> float:
    """From now on."""
    assert at is not None
    return (at - NOW) / 1e3


def end(seen: Scene) -> float:
    """Seconds until the backlog is gone."""
    return seconds(run(seen).backlog())


@pytest.mark.parametrize("count", [1, 10, 600, 1_000, 5_000, 1_000_000])
def test_an_even_rate(count: int) -> None:
    # A window is kept up to 0.4 % longer than it is; the first goes at once.
    assert end(scene(line(1, count))) == pytest.approx((count - 1) / 100 * 1.004, rel=0.001, abs=0.002)


@pytest.mark.parametrize(("count", "days"), [(5_000, 0), (5_001, 1), (10_000, 1), (10_001, 2), (200_000, 39)])
def test_a_long_cap_beside_a_rate(count: int, days: int) -> None:
    seen = scene(line(1, count), a=road(pacer(10, 1, Window(5_000, DAY))))
    in_a_day = (count - 1) % 5_000 / 10
    assert end(seen) == pytest.approx(days * 86_400 + in_a_day, abs=max(20, count / TICKETS / 10 * 1.1))


def test_what_a_window_remembers_counts() -> None:
    daily = Pacer(Pace((Window(10, SECOND), Window(5_000, DAY))))
    daily.seed([(NOW_US - 3_600 * SECOND, 1)] * 4_000)
    at = run(scene(line(1, 3_000), a=road(daily))).backlog()
    # 1,000 go now, 2,000 when those of an hour ago are a day old.
    assert seconds(at) == pytest.approx(86_400 - 3_600 + 200, abs=20)


def test_several_windows_and_a_gap() -> None:
    assert end(scene(line(1, 2_000), a=road(pacer(50, 1, Window(600, 60 * SECOND))))) == pytest.approx(184, rel=0.02)
    assert end(scene(line(1, 2_000), a=road(pacer(50, gap_us=100_000)))) == pytest.approx(199.9, rel=0.01)


def test_a_burst_is_taken_out_of_the_rate() -> None:
    assert end(scene(line(1, 400), a=road(pacer(60, 60, burst=60)))) == pytest.approx(360, rel=0.01)
    assert end(scene(line(1, 40), a=road(pacer(60, 60, burst=60)))) == 0


def test_segments_are_what_a_rate_may_count() -> None:
    seen = scene(line(1, 1_000, segments=2), line(2, 1_000, segments=1), a=road(pacer(100, unit="segments")))
    assert end(seen) == pytest.approx(30, rel=0.01)


def test_two_providers_of_one_account() -> None:
    shared = pacer(100)
    seen = scene(line(1, 3_000, "a"), line(2, 1_000, "b"), a=road(pacer(80), shared), b=road(pacer(80), shared))
    found = run(seen)
    # They take turns: the smaller one has gone when both have sent as much. Then the other has but its own rate.
    assert seconds(found.backlog()) == pytest.approx(20 + 2_000 / 80, rel=0.01)
    assert seconds(found.goes(2, 999)) == pytest.approx(20, rel=0.02)


def test_each_provider_has_its_own_end() -> None:
    seen = scene(line(1, 100, "a"), line(2, 900, "b"), a=road(pacer(100)), b=road(pacer(10)))
    found = run(seen)
    assert seconds(found.goes(1, 99)) == pytest.approx(1, abs=0.1)
    assert seconds(found.backlog()) == pytest.approx(90, rel=0.01)


def test_priorities_share_by_weight() -> None:
    seen = scene(line(1, 5_000, priority=Priority.BULK), line(2, 80, priority=Priority.HIGH))
    assert seconds(run(seen, near=True).goes(2, 79)) == pytest.approx(0.81, abs=0.05)
    assert end(seen) == pytest.approx(51, rel=0.01)


def test_tenants_share_equally_whatever_they_have() -> None:
    seen = scene(line(1, 3_000, tenant="a"), line(2, 1_000, tenant="b"))
    found = run(seen)
    assert seconds(found.goes(2, 999)) == pytest.approx(20, rel=0.02)
    assert seconds(found.goes(1, 999)) == pytest.approx(20, rel=0.02)
    assert seconds(found.goes(1, 2_999)) == pytest.approx(40, rel=0.01)


def test_one_of_many_small_flows_does_not_wait_for_a_large_one() -> None:
    lines = [line(1, 20_000, tenant="large"), *(line(2 + n, 3, tenant=f"t{n}") for n in range(100))]
    found = run(scene(*lines), near=True)
    assert seconds(found.goes(50, 0)) < 1.1
    assert seconds(found.goes(50, 2)) < 3.3
    assert found.goes(1, 15_000) is None  # too far for a near look
    assert seconds(run(scene(*lines)).goes(1, 15_000)) == pytest.approx(153, rel=0.02)


def test_a_tenants_limit_holds_its_flow_up_and_nobody_else() -> None:
    seen = scene(
        line(1, 100_000, tenant="a", priority=Priority.BULK),
        line(2, 500, tenant="b"),
        bars={"tenant:a": bar(10, 1)},
    )
    assert end(seen) == pytest.approx(10_000, rel=0.01)
    near = run(seen, near=True)
    assert seconds(near.goes(2, 499)) == pytest.approx(5.5, rel=0.1)


def test_a_slow_limit_and_what_was_charged_to_it() -> None:
    limit = bar(60, 3_600, used=60, ago_s=1_800)
    assert end(scene(line(1, 90), bars={"tenant:shop": limit})) == pytest.approx(1_800 + 3_600, rel=0.01)
    assert end(scene(line(1, 60), bars={"tenant:shop": limit})) == pytest.approx(1_800, rel=0.01)
    assert end(scene(line(1, 60, tenant="b"), bars={"tenant:shop": limit})) < 1


def test_a_limit_on_a_campaign_beside_one_on_its_tenant() -> None:
    key = "campaign:shop\nspring"
    seen = scene(
        line(1, 400, campaign="spring"),
        line(2, 800, campaign="autumn"),
        bars={"tenant:shop": bar(20, 1), key: bar(2, 1)},
    )
    found = run(seen)
    assert seconds(found.backlog()) == pytest.approx(200, rel=0.03)
    assert seconds(found.goes(2, 799)) < 50


def test_a_block_that_the_schedule_knows_is_kept() -> None:
    assert end(scene(line(1, 100), bars={"tenant:shop": bar(1_000, 1, until=NOW + 30_000)})) == pytest.approx(
        31, abs=0.2
    )


def test_a_small_flow_behind_a_slow_limit_decides_the_end() -> None:
    seen = scene(line(1, 1_000_000, tenant="a"), line(2, 30, tenant="b"), bars={"tenant:b": bar(1, 3_600)})
    assert end(seen) == pytest.approx(29 * 3_600, rel=0.01)


def test_what_is_due_later_goes_no_earlier() -> None:
    later = NOW + 3_600_000
    assert end(scene(line(1, 2, dues=(NOW, later)))) == 3_600
    assert end(scene(line(1, 10_000, dues=(later,)))) == pytest.approx(3_700, rel=0.01)
    assert end(scene(line(1, 100_000, dues=(NOW, later)))) >= 3_600
    found = run(scene(line(1, 3, dues=(NOW, NOW + 5_000, NOW + 90_000)), line(2, 50, tenant="b")))
    assert [seconds(found.goes(1, place)) for place in range(3)] == pytest.approx([0, 5, 90], abs=0.02)


def test_an_end_that_nobody_knows() -> None:
    halted = road(pacer(100), standing=Standing.HALTED)
    seen = scene(line(1, 10, "a"), line(2, 10, "b", tenant="b"), a=halted, b=road(pacer(100)))
    found = run(seen)
    assert found.backlog() is None
    assert found.goes(1, 0) is None
    assert seconds(found.goes(2, 9)) < 1
    assert run(scene(line(1, 10, "gone"))).backlog() is None
    assert run(scene()).backlog() is None
    assert run(scene()).goes(1, 0) is None


def test_a_cooldown_is_waited_for_or_gone_round() -> None:
    cooling = road(pacer(100), standing=Standing.COOLING, until=NOW + 60_000)
    assert end(scene(line(1, 1_000), a=cooling)) == pytest.approx(70, rel=0.01)
    # 600 by the second one in a minute, then all by the first again.
    seen = scene(line(1, 1_600, "a,b"), a=cooling, b=road(pacer(10)))
    assert end(seen) == pytest.approx(70, rel=0.02)


def test_a_provider_without_a_limit_is_as_fast_as_its_calls() -> None:
    speed = Pacer(Pace(min_gap_us=2_000))
    assert end(scene(line(1, 50_000), a=road(speed))) == pytest.approx(100, rel=0.01)


def test_where_it_stands_when_some_have_gone_since() -> None:
    found = run(scene(line(1, 500)), near=True)
    gone = sum(seconds(found.goes(1, place)) < 2 for place in range(500))
    assert found.goes(1, 100, now=NOW + 2_000) == found.goes(1, 100 + gone)
    # What is due later never goes before it, even if it was miscounted.
    found = run(scene(line(1, 3, dues=(NOW, NOW + 5_000, NOW + 90_000))))
    assert seconds(found.goes(1, 2, due=NOW + 5_000)) == pytest.approx(5, abs=0.02)


def test_calls_that_are_claimed_already_come_first() -> None:
    (before, after) = (scene(line(1, 10), a=Road(Standing.OPEN, None, (pacer(100),), claimed)) for claimed in (0, 5))
    assert end(after) == pytest.approx(end(before) + 0.05, abs=0.002)


@pytest.mark.parametrize("flows", [1, 7, 300])
def test_bunches_hold_every_message_and_about_as_many_tickets_as_asked(flows: int) -> None:
    lines = [line(1 + n, 1 + n * n % 97, tenant=f"t{n % 11}", campaign=f"c{n}") for n in range(flows)]
    total = sum(each.pending for each in lines)
    made = bunches(lines, total / 50)
    assert sum(bunch.pending for bunch in made) == total
    assert sorted(each.flow for bunch in made for each in bunch.lines) == [each.flow for each in lines]
    assert abs(sum(bunch.tickets for bunch in made) - min(total, 50)) <= max(2, len(made) - 40)


def test_a_million_cost_no_more_than_a_thousand() -> None:
    lines = [line(1 + n, 100_000, tenant=f"t{n}", priority=Priority(n % 3)) for n in range(10)]
    began = time.process_time()
    run(scene(*lines))
    assert time.process_time() - began < 0.25  # some 10 ms; a slow machine under a debugger has its part


limits = st.tuples(st.integers(1, 400), st.sampled_from([1, 10, 60]))


@settings(max_examples=40, deadline=None)
@given(
    pending=st.lists(st.integers(1, 1_200), min_size=1, max_size=5),
    priorities=st.lists(st.sampled_from(Priority), min_size=5, max_size=5),
    rate=limits,
    second=st.none() | limits,
    held=st.none() | limits,
    late=st.integers(0, 600_000),
)
def test_a_scaled_look_tells_what_an_exact_one_tells(
    pending: list[int],
    priorities: list[Priority],
    rate: tuple[int, int],
    second: tuple[int, int] | None,
    held: tuple[int, int] | None,
    late: int,
) -> None:
    def seen() -> Scene:
        windows = [Window(limit, span * SECOND) for limit, span in (rate, second or rate)]
        lines = [
            line(1 + n, count, tenant=f"t{n % 2}", priority=priorities[n], dues=(NOW, NOW + late * (n == 1)))
            for n, count in enumerate(pending)
        ]
        bars = {} if held is None else {"tenant:t0": bar(*held)}
        return Scene(NOW, NOW_US, lines, {"a": road(Pacer(Pace(tuple(windows))))}, bars)

    exact = run(seen(), tickets=10_000).backlog()
    scaled = run(seen(), tickets=300).backlog()
    # Where a window is longer than the backlog takes, being one message off is being one window off.
    lumps = min(60, max(span for _, span in (rate, second or rate, held or rate)))
    assert seconds(scaled) == pytest.approx(seconds(exact), rel=0.08, abs=lumps * 1.1)


@pytest.mark.parametrize(("count", "rate"), [(5_000, 5 / 3), (2_000, 0.01), (100_000, 1.0), (30_000, 1.0)])
def test_what_has_hours_goes_within_them(count: int, rate: float) -> None:
    hours = Hours(9 * 60, 18 * 60, "UTC")
    group = "campaign:shop\nspring"
    held = Bar((), None, hours.opens)
    seen = scene(line(1, count, campaign="spring"), bars={group: held}, a=road(pacer(round(rate * 300), 300)))
    assert end(seen) == pytest.approx(_walked(count, rate, hours), rel=0.005)


def _walked(count: int, rate: float, hours: Hours) -> float:
    """Day by day, in seconds."""
    at, left = float(hours.opens(NOW)), count - 1
    while True:
        close = at // 86_400_000 * 86_400_000 + hours.end_min * 60_000
        fit = int((close - at) / 1_000 * rate)
        if left <= fit:
            return (at - NOW) / 1_000 + left / rate
        left -= fit + 1
        at = float(hours.opens(int(close)))


def test_two_lines_of_a_campaign_with_hours_of_their_own() -> None:
    """One may go at once, the other only from one o'clock on; the campaign's limit holds both up."""
    hours = Hours(60, 13 * 60, "UTC")
    opens = (hours.opens(NOW) - NOW) / 1e3
    group = "campaign:shop\nspring"
    lines = [
        replace(line(number, 1_000, campaign="spring"), apart=True, held=held)
        for number, held in ((1, "now"), (2, "then"))
    ]
    bars = {group: bar(500, 100), "then": Bar((), None, hours.opens)}
    found = run(scene(*lines, bars=bars, a=road(pacer(100))))
    assert seconds(found.goes(1, 999)) == pytest.approx(105, rel=0.05)
    assert seconds(found.goes(2, 999)) == pytest.approx(opens + 105, rel=0.001)
    course = found.course(2)
    assert course is not None
    assert course.whole
    assert (course.at(0) - NOW_US) / SECOND == pytest.approx(opens, rel=0.001)


@pytest.mark.parametrize("count", [10, 2_000])
def test_hours_that_open_far_ahead_are_met_to_the_second(count: int) -> None:
    """However coarse the ticks of so long a time are."""
    now = NOW + 11_123
    opens = Hours(60, 120, "UTC").opens
    planned = replace(line(1, count, campaign="c"), apart=True, dues=(now,))
    group = planned.groups[-1]
    seen = Scene(now, NOW_US, (planned,), {"a": road(pacer(200))}, {group: Bar((), None, opens)})
    course = run(seen).course(1)
    assert course is not None
    begin = seen.instant(course.at(0))
    assert opens(now) > now + 3_600_000
    assert 0 <= begin - opens(now) <= 1_000


def test_no_step_feeds_all_flows_that_are_hungry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is a small piece of work, also the first of very many flows; so is setting out."""
    work = 0
    supply, know = Stream.supply, Forecast._know

    def supplied(stream: Stream, place: int) -> Standby:
        nonlocal work
        work += 1
        return supply(stream, place)

    def known(*args: Any) -> None:
        nonlocal work
        work += 1
        know(*args)

    monkeypatch.setattr(Stream, "supply", supplied)
    monkeypatch.setattr(Forecast, "_know", known)
    forecast = Forecast(scene(*(replace(line(n, 20, campaign=f"c{n}"), apart=True) for n in range(1, 401))))
    assert work == 0, "what costs most is not done before the first step"
    most = 0
    while True:
        before = work
        ended = forecast.advance(1)
        most = max(most, work - before)
        if ended:
            break
    assert work > 800
    assert most <= 40
