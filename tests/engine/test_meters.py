"""What is counted for monitoring, and that its series are bounded."""

from __future__ import annotations

import pytest

from smsd.core.events import Event, Kind
from smsd.core.message import Attempt
from smsd.core.verdict import Category
from smsd.engine.meters import TAKEN, Histogram, Meters
from tests.engine.rig import LOST, Rig, answer


def call(provider: str = "main", category: Category | None = None, latency_ms: int | None = 20) -> Attempt:
    return Attempt(1, provider, 0, None, 1, latency_ms, "accepted", category=category)


def test_a_histogram_counts_each_value_once() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.0, 1.0, 1.5, 2.0, 2.1, 1e9):
        histogram.observe(value)
    assert (histogram.counts, sum(histogram.counts)) == ([2, 2, 2], 6)
    assert histogram.sum == pytest.approx(1e9 + 6.6)


def test_a_clock_set_back_makes_no_sum_fall() -> None:
    histogram = Histogram((1.0,))
    histogram.observe(-5)
    assert (histogram.counts, histogram.sum) == ([1, 0], 0.0)


def test_calls_are_counted_by_what_came_of_them() -> None:
    meters = Meters(["main"])
    meters.attempted(call())
    meters.attempted(call(category=Category.TIMEOUT, latency_ms=10_000))
    meters.attempted(call("gone", Category.NETWORK))
    assert meters.attempts == {("main", TAKEN): 1, ("main", "TIMEOUT"): 1, ("", "NETWORK"): 1}
    assert sum(meters.call_s["main"].counts) == 2
    assert meters.call_s["main"].sum == pytest.approx(10.02)
    assert TAKEN not in set(Category)


def test_a_name_counts_from_when_it_is_configured() -> None:
    meters = Meters(["main"])
    sent = Event(Kind.MESSAGE_SENT, 0, {"provider": "second", "since_accepted_ms": 1_500})
    meters(sent)
    meters.know(["second"])
    meters(sent)
    meters.know(["main"])  # a reload without it: what was counted stays
    meters(sent)
    assert meters.messages == {(Kind.MESSAGE_SENT, ""): 1, (Kind.MESSAGE_SENT, "second"): 2}
    assert meters.accept_to_sent_s.sum == pytest.approx(4.5)


def test_commits_are_counted_with_their_rows() -> None:
    meters = Meters()
    meters.committed(0.003, 40)
    meters.committed(0.5, 1)
    assert meters.commit_s.sum == pytest.approx(0.503)
    assert (sum(meters.commit_s.counts), meters.batch_rows.sum) == (2, 41)


def test_the_engine_feeds_them(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(503), LOST, answer(429), answer(401)]
        await rig.start()
        await rig.accepted()
        await rig.seconds(2_000)
        await rig.stop()

    rig.run(story)
    meters = rig.engine.meters
    assert meters.attempts[("main", "PROVIDER_ERROR")] == 1
    assert meters.attempts[("main", "TIMEOUT")] == 1
    assert sum(meters.attempts.values()) == len(rig.carrier.sends) == sum(meters.call_s["main"].counts)
    assert meters.throttles == {"main": 1}
    assert meters.halts == {"main": 1}
    assert meters.messages[(Kind.MESSAGE_ACCEPTED, "")] == 1


def test_one_telling_of_a_limit_stands_for_all_it_refused() -> None:
    meters = Meters()
    for hits in (1, 40):
        meters(Event(Kind.LIMIT_HIT, 0, {"per": "tenant", "action": "defer", "rule": "10/s per tenant", "hits": hits}))
    meters(Event(Kind.LIMIT_HIT, 0, {"per": "recipient", "action": "fail", "rule": "5/hour per recipient"}))
    assert meters.limit_hits == {("tenant", "defer"): 41, ("recipient", "fail"): 1}
