"""Is an alert told once, however its reading swings, and called off once it is over?"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.alerting import (
    CALM,
    HOLD_MS,
    QUIET,
    RAISED,
    Alarm,
    AlertRules,
    Reading,
    Watch,
    category_of,
    cleared_text,
    name_of,
    parts_of,
    plain,
    raised_text,
    remedy_of,
    step,
    unread,
)
from smsd.core.units import HOUR, MINUTE

RULES = AlertRules(error_rate=0.01, backlog=10_000, cooldowns=3, oldest_pending_ms=HOUR)


def test_it_is_raised_at_the_bound_and_cleared_below_four_fifths_of_it_held_for_a_minute() -> None:
    alarm = step(QUIET, Reading(99, 100), 0)
    assert alarm == QUIET
    alarm = step(alarm, Reading(100, 100), 1)
    assert alarm == RAISED
    alarm = step(alarm, Reading(80, 100), 2)
    assert alarm == RAISED
    alarm = step(alarm, Reading(79, 100), 1_000)
    assert alarm == Alarm(raised=True, calm_since=1_000)
    assert alarm.clears_at == 1_000 + HOLD_MS
    assert step(alarm, Reading(0, 100), 999 + HOLD_MS).raised
    assert step(alarm, Reading(0, 100), 1_000 + HOLD_MS) == QUIET


def test_a_swing_begins_the_hold_anew() -> None:
    alarm = step(RAISED, Reading(0, 100), 0)
    alarm = step(alarm, Reading(90, 100), HOLD_MS - 1)
    assert alarm == RAISED
    assert step(alarm, Reading(0, 100), HOLD_MS).raised


def test_what_is_not_known_is_as_it_was_and_not_calm() -> None:
    assert unread(QUIET) == QUIET
    assert unread(RAISED) == RAISED
    alarm = unread(step(RAISED, Reading(0, 100), 0))
    assert alarm == RAISED
    alarm = step(alarm, Reading(0, 100), HOLD_MS)
    assert alarm.raised
    assert step(alarm, Reading(0, 100), 2 * HOLD_MS) == QUIET


def test_too_few_raise_nothing_and_still_keep_it_raised() -> None:
    few = Reading(1.0, 0.01, enough=False)
    assert step(QUIET, few, 0) == QUIET
    assert step(Alarm(raised=True, calm_since=0), few, HOLD_MS) == RAISED


BOUND = 10.0
VALUES = st.one_of(st.floats(0, 2 * BOUND), st.sampled_from([0.0, CALM * BOUND, BOUND]))
PATHS = st.lists(st.tuples(VALUES, st.integers(0, HOLD_MS), st.booleans()), max_size=60)


@settings(max_examples=200, deadline=None)
@given(PATHS)
def test_no_reading_makes_it_flap(path: list[tuple[float, int, bool]]) -> None:
    """Raised and cleared by turns; each clearing after a whole hold of calm readings; no raise without reason."""
    alarm, now = QUIET, 0
    calm_from: int | None = None
    told: list[tuple[int, bool]] = []
    for value, pause, enough in path:
        now += pause
        before, alarm = alarm, step(alarm, Reading(value, BOUND, enough), now)
        calm_from = (now if calm_from is None else calm_from) if value < CALM * BOUND else None
        if alarm.raised == before.raised:
            assert not (before == QUIET and enough and value >= BOUND)
            continue
        told.append((now, alarm.raised))
        if alarm.raised:
            assert enough
            assert value >= BOUND
        else:
            assert calm_from is not None
            assert now - calm_from >= HOLD_MS
    assert [raised for _, raised in told] == [n % 2 == 0 for n in range(len(told))]
    raises = [at for at, raised in told if raised]
    assert all(later - earlier >= HOLD_MS for earlier, later in itertools.pairwise(raises))


def test_names_say_what_and_of_whom() -> None:
    for watch in Watch:
        of = "main" if watch in {Watch.AUTH_HALT, Watch.COOLDOWNS} else ""
        assert parts_of(name_of(watch, of)) == (watch, of)
    with pytest.raises(ValueError, match="weather"):
        parts_of("weather")


@pytest.mark.parametrize(
    ("name", "reading", "raised", "cleared"),
    [
        (
            "auth_halt:main",
            Reading(1, words="AUTH_FAILED: no\n+14155550123"),
            "Provider main is halted: AUTH_FAILED: no +1415*****23.",
            "Provider main is not halted any more after 12m.",
        ),
        (
            "error_rate",
            Reading(0.1234, 0.01, category="REJECTED", of=1_000),
            "12.3 % of 1000 messages failed in the last 15m, most of them REJECTED; the bound is 1 %.",
            "The error rate is back at 12.3 % after 12m.",
        ),
        (
            "backlog",
            Reading(12_000, 10_000),
            "12000 messages wait; the bound is 10000.",
            "The backlog is back at 12000 messages after 12m.",
        ),
        (
            "cooldowns:main",
            Reading(3, 3),
            "Provider main has said 3 times within 1h that it is called too fast.",
            "Provider main is called too fast no more after 12m.",
        ),
        (
            "oldest_pending",
            Reading(HOUR + 5 * MINUTE + 4, HOUR),
            "A message has been due for 1h5m; the bound is 1h.",
            "No message has been due for longer than 1h5m after 12m.",
        ),
        (
            "disk",
            Reading(1),
            "The outbox has no room: messages are refused; those accepted before are still sent.",
            "The outbox has room again after 12m.",
        ),
    ],
)
def test_words(name: str, reading: Reading, raised: str, cleared: str) -> None:
    assert raised_text(name, reading, RULES) == raised
    assert cleared_text(name, reading, 12 * MINUTE + 3) == cleared
    assert cleared_text(name, None, 12 * MINUTE) == f"{name} is not watched any more after 12m."
    assert remedy_of(name)[-1] in ".?"


def test_the_category_is_that_of_the_errors_or_what_is_watched() -> None:
    assert category_of("error_rate", Reading(1, category="REJECTED")) == "REJECTED"
    assert category_of("backlog", Reading(1)) == "backlog"


def test_words_from_outside_are_short_and_name_nobody() -> None:
    assert plain("x" * 500) == "x" * 200
    assert plain("from 4155550123\r\nto +14155550123") == "from ********23 to +1415*****23"
