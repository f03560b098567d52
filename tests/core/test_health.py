"""Which of the facts against a provider is in force, and what ends it?"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.health import Health, Standing

NOW = 1_790_000_000_000
FIT = Health("main", "f1")
COOLING = FIT.cool(NOW, NOW + 60_000, "too fast", NOW - 200)


def test_fit() -> None:
    assert (FIT.standing(NOW), FIT.until(NOW), FIT.reason(NOW)) == (Standing.OPEN, None, "")


def test_a_cooldown_ends_by_itself() -> None:
    last = NOW + 59_999
    assert (COOLING.standing(last), COOLING.until(last), COOLING.reason(last)) == (
        Standing.COOLING,
        NOW + 60_000,
        "too fast",
    )
    over = NOW + 60_000
    assert (COOLING.standing(over), COOLING.until(over), COOLING.reason(over)) == (Standing.OPEN, None, "")
    assert COOLING.warm() == FIT


@pytest.mark.parametrize("started_at", [NOW - 5_000, NOW])
def test_a_throttle_of_a_call_begun_before_the_cooldown_changes_nothing(started_at: int) -> None:
    assert COOLING.cool(NOW + 1_000, NOW + 300_000, "again", started_at) is COOLING


def test_a_throttle_of_a_later_call_lengthens_the_cooldown() -> None:
    longer = COOLING.cool(NOW + 2_000, NOW + 300_000, "again", NOW + 1_000)
    assert (longer.cooling_since, longer.until(NOW + 2_000), longer.reason(NOW + 2_000)) == (
        NOW + 2_000,
        NOW + 300_000,
        "again",
    )


def test_a_throttle_never_shortens_the_cooldown_in_force() -> None:
    """The provider once said "wait 60 s"; that a later call was told 10 s does not undercut it."""
    again = COOLING.cool(NOW + 2_000, NOW + 12_000, "again", NOW + 1_000)
    assert again.until(NOW + 2_000) == NOW + 60_000
    behind_a_pause = COOLING.pause("by ops").cool(NOW + 2_000, NOW + 12_000, "again", NOW + 1_000)
    assert behind_a_pause.cooling_until == NOW + 60_000


def test_after_a_cooldown_the_next_throttle_begins_a_new_one() -> None:
    later = NOW + 90_000
    again = COOLING.cool(later, later + 1_000, "again", later - 100)
    assert (again.cooling_since, again.until(later)) == (later, later + 1_000)


def test_the_gravest_fact_is_shown_and_the_others_wait_behind_it() -> None:
    all_three = COOLING.halt("AUTH_FAILED: no").pause("by ops")
    assert (all_three.standing(NOW), all_three.reason(NOW), all_three.until(NOW)) == (Standing.PAUSED, "by ops", None)
    halted = COOLING.halt("AUTH_FAILED: no")
    assert (halted.standing(NOW), halted.reason(NOW), halted.until(NOW)) == (Standing.HALTED, "AUTH_FAILED: no", None)


def test_a_pause_without_a_reason_is_a_pause() -> None:
    assert FIT.pause("").standing(NOW) is Standing.PAUSED
    assert FIT.halt("").standing(NOW) is Standing.HALTED


def test_resume_lifts_whatever_stood_in_the_way() -> None:
    resumed = COOLING.halt("no").pause("ops").resume(NOW)
    assert resumed == replace(FIT, trusted_since=NOW)


def test_a_halt_ends_when_the_credentials_change_and_nothing_else_does() -> None:
    sick = COOLING.halt("AUTH_FAILED: no").pause("by ops")
    assert sick.with_credentials("f1", NOW) is sick
    changed = sick.with_credentials("f2", NOW)
    assert (changed.fingerprint, changed.halted) == ("f2", None)
    assert (changed.is_told_by(NOW - 1), changed.is_told_by(NOW), sick.is_told_by(0)) == (False, True, True)
    assert (changed.paused, changed.until(NOW), changed.cooling_until) == ("by ops", None, NOW + 60_000)


def test_nobody_is_trusted_since_a_time_to_come() -> None:
    resumed = FIT.resume(NOW)
    assert (FIT.trusted_by(NOW), resumed.trusted_by(NOW), resumed.trusted_by(NOW + 1)) == (FIT, resumed, resumed)
    assert resumed.trusted_by(NOW - 1) == FIT.resume(NOW - 1)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(1, 100), st.integers(0, 100)), max_size=20))
def test_while_it_cools_no_throttle_brings_the_end_nearer(throttles: list[tuple[int, int, int]]) -> None:
    health, now = FIT, NOW
    for pause, wait, age in throttles:
        now += pause
        before = health.until(now)
        health = health.cool(now, now + wait, "too fast", now - age)
        after = health.until(now)
        assert after is not None
        assert after >= (before or 0)
