"""Counts of the last minute and hour, and the backlog."""

from __future__ import annotations

from smsd.core.events import Event, Kind
from smsd.engine.tally import NamedRing, Ring, Tally
from smsd.store import MinuteRow
from tests.doubles.clock import ManualClock


def test_a_ring_forgets_what_is_older_than_itself() -> None:
    ring = Ring(60, 1_000)
    ring.add(5_000)
    ring.add(64_000, 2)
    assert ring.total(64_999) == 3
    assert ring.total(65_000) == 2
    assert ring.total(124_000) == 0


def test_a_ring_survives_a_clock_that_is_stepped() -> None:
    ring = Ring(60, 1_000)
    ring.add(1_000_000)
    ring.add(999_000)
    assert ring.total(1_000_000) == 2
    ring.add(10_000)
    assert ring.total(1_000_000) == 2
    assert ring.total(9_000_000) == 0


def test_sent_and_backlog_follow_the_events() -> None:
    clock = ManualClock()
    tally = Tally(clock, ["main", "other"])
    for _ in range(3):
        tally(Event(Kind.MESSAGE_ACCEPTED, clock.wall()))
    tally(Event(Kind.MESSAGE_SENT, clock.wall(), {"provider": "main"}))
    tally(Event(Kind.MESSAGE_THROTTLED, clock.wall(), {"provider": "main"}))
    tally(Event(Kind.MESSAGE_EXPIRED, clock.wall(), {"provider": None}))
    assert (tally.backlog, tally.sent_last_minute(), tally.sent_last_minute("other")) == (1, 1, 0)
    assert tally.throttles_last_hour("main") == 1
    clock.advance(61_000)
    assert (tally.sent_last_minute("main"), tally.sent_last_hour("main")) == (0, 1)


def test_it_begins_with_what_the_outbox_remembers() -> None:
    clock = ManualClock()
    tally = Tally(clock, ["main"])
    minute = clock.wall() // 60_000
    tally.seed([MinuteRow(minute - 5, "main", 7, 0, 2), MinuteRow(minute, "gone", 9, 0, 0)], backlog=4)
    assert (tally.sent_last_hour(), tally.throttles_last_hour("main"), tally.backlog) == (7, 2, 4)


def test_a_ring_of_names_forgets_what_is_older_than_itself() -> None:
    ring = NamedRing(60, 1_000)
    ring.add(5_000, "shop")
    ring.add(64_000, "shop")
    ring.add(64_000, "other")
    assert [ring.total(64_999, name) for name in ("shop", "other", "nobody")] == [2, 1, 0]
    assert ring.total(65_000, "shop") == 1
    ring.add(5_000, "shop")  # the clock was set back: older than the ring
    assert ring.total(65_000, "shop") == 1
    assert ring.total(124_000, "shop") == 0
    assert not any(ring._counts)


def test_a_tenant_has_its_own_last_minute() -> None:
    clock = ManualClock()
    tally = Tally(clock, ["main"])
    for tenant, kind in (
        ("shop", Kind.MESSAGE_SENT),
        ("shop", Kind.MESSAGE_RECONCILED),
        ("other", Kind.MESSAGE_SENT),
        ("shop", Kind.MESSAGE_FAILED),
    ):
        tally(Event(kind, clock.wall(), {"provider": "main", "tenant": tenant}))
    assert [tally.sent_last_minute_of(tenant) for tenant in ("shop", "other", "nobody")] == [2, 1, 0]
    clock.advance(61_000)
    assert tally.sent_last_minute_of("shop") == 0


def test_a_provider_that_comes_later_is_counted_and_one_that_is_known_keeps_its_counts() -> None:
    clock = ManualClock()
    tally = Tally(clock, ["main"])
    tally(Event(Kind.MESSAGE_SENT, clock.wall(), {"provider": "main"}))
    tally.know(["main", "second"])
    tally(Event(Kind.MESSAGE_SENT, clock.wall(), {"provider": "second"}))
    assert (tally.sent_last_minute("main"), tally.sent_last_minute("second"), tally.sent_last_minute()) == (1, 1, 2)


def test_the_last_minute_is_sixty_seconds_whatever_is_done_to_the_wall_clock() -> None:
    clock = ManualClock()
    tally = Tally(clock, ["main"])
    for step_ms in (-3_600_000, 7_200_000):
        tally(Event(Kind.MESSAGE_SENT, clock.wall(), {"provider": "main", "tenant": "shop"}))
        clock.step(step_ms)
        tally(Event(Kind.MESSAGE_SENT, clock.wall(), {"provider": "main", "tenant": "shop"}))
        assert (tally.sent_last_minute(), tally.sent_last_minute_of("shop")) == (2, 2)
        clock.advance(61_000)
        assert (tally.sent_last_minute(), tally.sent_last_minute_of("shop")) == (0, 0)
    assert tally.sent_last_hour() == 4


def test_what_the_outbox_remembers_of_a_time_to_come_was_just_now() -> None:
    clock = ManualClock(boot=60_000_000)
    tally = Tally(clock, ["main"])
    minute = clock.wall() // 60_000
    tally.seed([MinuteRow(minute - 50, "main", 7, 0, 0), MinuteRow(minute + 100, "main", 2, 0, 0)], backlog=0)
    assert tally.sent_last_hour() == 9
    clock.advance(30 * 60_000)
    assert tally.sent_last_hour() == 2
