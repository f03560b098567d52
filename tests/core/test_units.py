"""Spans, rates and instants: what is read, what is refused, and that a refusal says what to write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smsd.core.units import DAY, MAX_SPAN_MS, duration_ms, duration_text, instant, rate, rfc3339


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("0ms", 0),
        ("500ms", 500),
        ("90s", 90_000),
        ("2h", 7_200_000),
        ("1h30m", 5_400_000),
        ("1d2h3m4s5ms", 93_784_005),
        ("1.5h", 5_400_000),
        ("0.25s", 250),
        ("3d", 3 * DAY),
    ],
)
def test_spans_that_are_read(text: str, ms: int) -> None:
    assert duration_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "-5s", "5 s", "5S", "1m1h", "1s1s", "1.0001s", "4000d", "٣s", "1e3s", "1h30", "inf", "9" * 40 + "s"],
)
def test_spans_that_are_refused_say_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        duration_ms(text)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, MAX_SPAN_MS))
def test_a_span_reads_back(ms: int) -> None:
    assert duration_ms(duration_text(ms)) == ms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1/min", (1, 60_000)),
        ("0.5/s", (1, 2_000)),
        ("100/min", (100, 60_000)),
        ("2000/s", (2_000, 1_000)),
        ("5/hour", (5, 3_600_000)),
        ("10/day", (10, 86_400_000)),
        ("3/10s", (3, 10_000)),
        ("1/m", (1, 60_000)),
        ("0.3/s", (1, 3_334)),
        ("2.0/s", (2, 1_000)),
        ("1/1h30m", (1, 5_400_000)),
    ],
)
def test_rates_that_are_read(text: str, expected: tuple[int, int]) -> None:
    assert rate(text) == expected


@pytest.mark.parametrize(
    "text", ["", "5", "/s", "0/s", "0.0/s", "-1/s", "1.5/s", "1/week", "1/0s", "1/", "1/1x", "a/s"]
)
def test_rates_that_are_refused_say_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"write|use"):
        rate(text)


def test_a_rate_that_counts_too_much_is_a_rate() -> None:
    assert rate("999999999/s") == (999_999_999, 1_000)
    with pytest.raises(ValueError, match="counts 999999999 at most"):
        rate("1000000000/s")
    with pytest.raises(ValueError, match="not a rate"):
        rate("1000000000")


def test_a_fraction_is_never_faster_than_asked() -> None:
    for tenths in range(1, 10):
        limit, span = rate(f"0.{tenths}/s")
        assert limit * 1_000 * 10 <= tenths * span


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000Z"),
        ("2026-01-02t03:04:05.6z", "2026-01-02T03:04:05.600Z"),
        ("2026-01-02 03:04:05.6789+01:00", "2026-01-02T02:04:05.678Z"),
        ("2026-01-02T03:04:05-11:30", "2026-01-02T14:34:05.000Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00.000Z"),
        ("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z"),
    ],
)
def test_instants_that_are_read(text: str, shown: str) -> None:
    assert rfc3339(instant(text)) == shown


@pytest.mark.parametrize(
    "text",
    [
        "", "2026-01-02T03:04:05", "2026-01-02", "20260102T030405Z", "2026-13-02T03:04:05Z", "2026-02-30T03:04:05Z",
        "2026-01-02T24:00:00Z", "2026-01-02T03:04:05+25:00", "2026-01-02T03:04:61Z", "0000-01-01T00:00:00Z", "now",
    ],
)  # fmt: skip
def test_instants_that_are_refused_say_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match="write RFC 3339"):
        instant(text)


@settings(max_examples=200, deadline=None)
@given(st.datetimes(timezones=st.just(UTC)), st.integers(-1439, 1439))
def test_an_instant_agrees_with_the_calendar(aware: datetime, offset: int) -> None:
    assume(1 < aware.year < 9999)
    sign, minutes = ("-" if offset < 0 else "+"), abs(offset)
    local = (aware + timedelta(minutes=offset)).isoformat(timespec="microseconds")[:26]
    read = instant(f"{local}{sign}{minutes // 60:02d}:{minutes % 60:02d}")
    assert read == (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert instant(rfc3339(read)) == read
