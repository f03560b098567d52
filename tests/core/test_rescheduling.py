"""Does a message get the times that were asked for, and live as long as it was meant to?"""

from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest

from smsd.core.acceptance import Fault
from smsd.core.message import Priority
from smsd.core.quiet import QuietBook, QuietHours, Start
from smsd.core.rescheduling import Times, new_times
from smsd.core.units import DAY, HOUR, instant, rfc3339
from tests.doubles.builders import message

NOW = instant("2026-07-01T12:00:00Z")
LATER = NOW + 2 * HOUR


def times(to: str, *, ttl: str | None = None, expires_at: str | None = None, **fields: Any) -> Times:
    fields = {"created_at": NOW - HOUR, "due": NOW, "expires_at": NOW + 3 * HOUR, **fields}
    found = new_times(message(**fields), to, ttl, expires_at, None, NOW)
    assert isinstance(found, Times)
    return found


def test_it_lives_as_long_from_its_new_time_on() -> None:
    assert times(rfc3339(LATER)) == Times(LATER, LATER + 4 * HOUR, Start(LATER))
    planned = times(rfc3339(LATER), send_at=NOW + HOUR)
    assert planned.expires_at == LATER + 2 * HOUR, "its life was to begin at its old send_at"


def test_what_is_past_means_now() -> None:
    assert times("1970-01-01T00:00:00Z") == Times(NOW, NOW + 4 * HOUR, Start(NOW))
    assert times("1970-01-01T00:00:00Z", send_at=NOW - 30 * 60_000).expires_at == NOW + 3 * HOUR + HOUR // 2


def test_the_same_again_changes_nothing() -> None:
    first = times(rfc3339(LATER))
    again = new_times(
        message(created_at=NOW - HOUR, send_at=first.send_at, expires_at=first.expires_at),
        rfc3339(LATER),
        None,
        None,
        None,
        NOW,
    )
    assert again == first


def test_an_end_may_be_said() -> None:
    assert times(rfc3339(LATER), ttl="10m").expires_at == LATER + 600_000
    assert times(rfc3339(LATER), expires_at=rfc3339(LATER + 1)).expires_at == LATER + 1


def test_one_that_was_retried_has_what_it_has_left() -> None:
    assert times(rfc3339(LATER), round=1).expires_at == LATER + 3 * HOUR
    assert times(rfc3339(LATER), round=1, send_at=NOW + HOUR).expires_at == LATER + 2 * HOUR


def test_quiet_hours_count() -> None:
    book = QuietBook(QuietHours(14 * 60, 16 * 60), {}, UTC)
    quiet = {"recipient": "+870123456789", "created_at": NOW, "expires_at": NOW + HOUR}
    found = new_times(message(**quiet), rfc3339(LATER), None, None, book, NOW)
    assert found == Times(LATER, LATER + HOUR, Start(LATER + 2 * HOUR, "quiet_hours", "14:00-16:00"))
    urgent = new_times(message(**quiet, priority=Priority.HIGH), rfc3339(LATER), None, None, book, NOW)
    assert urgent == Times(LATER, LATER + HOUR, Start(LATER))


@pytest.mark.parametrize(
    ("send_at", "ttl", "expires_at", "fields"),
    [
        ("soon", None, None, ["send_at"]),
        ("2026-07-01T12:00:00", None, None, ["send_at"]),
        (rfc3339(NOW + 367 * DAY), None, None, ["send_at"]),
        (rfc3339(LATER), "1h", rfc3339(LATER), ["ttl"]),
        (rfc3339(LATER), None, rfc3339(LATER), ["expires_at"]),
        (rfc3339(LATER), "31d", None, ["ttl"]),
        ("soon", "later", None, ["send_at", "ttl"]),
    ],
)
def test_each_fault(send_at: str, ttl: str | None, expires_at: str | None, fields: list[str]) -> None:
    found = new_times(message(created_at=NOW, expires_at=LATER), send_at, ttl, expires_at, None, NOW)
    assert isinstance(found, tuple)
    assert [fault.field for fault in found if isinstance(fault, Fault)] == fields
