"""How does a person write a time, a span or a rate, and what is it in milliseconds?

One reading for the doors and for the configuration: spans (`1h30m`), rates (`100/min`) and instants (RFC 3339 with an
offset). It refuses to guess: a number without a unit or a time without an offset is an error that says how to write it,
because a span read in the wrong unit sends a message at the wrong hour. It does not know which key or field it reads;
whoever calls it names the place. What time it is now is not known here.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

MAX_SPAN_MS = 3_660 * DAY
"""Ten years: beyond it a span is a slip of the pen, and sums with it could leave the calendar."""

_UNITS = {"ms": 1, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_PER = {
    "s": SECOND, "sec": SECOND, "second": SECOND,
    "m": MINUTE, "min": MINUTE, "minute": MINUTE,
    "h": HOUR, "hour": HOUR,
    "d": DAY, "day": DAY,
}  # fmt: skip

_SPAN_NAMES = {SECOND: "s", MINUTE: "min", HOUR: "hour", DAY: "day"}

_PART = re.compile(r"([0-9]{1,15})(?:\.([0-9]{1,9}))?(ms|s|m|h|d)")
_RATE = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?/([0-9].*|[a-z]+)")
_INSTANT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}):([0-9]{2})(?:\.([0-9]+))?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SPAN_HINT = 'write a number with a unit (ms, s, m, h, d), e.g. "90s" or "1h30m"'
_TOO_MANY = re.compile(r"0*[1-9][0-9]{9,}(?:\.[0-9]+)?/")
RATE_HINT = 'write a number per span, e.g. "100/min", "0.5/s" or "3/10s"'
INSTANT_HINT = 'write RFC 3339 with an offset, e.g. "2026-01-02T15:04:05Z" or "2026-01-02T16:04:05+01:00"'


def duration_ms(text: str) -> int:
    """Milliseconds in a span such as `500ms`, `90s`, `1.5h`, `1h30m`, `3d`.

    Units go from the larger to the smaller, each at most once. Raises ValueError with the remedy.
    """
    total, at, ceiling = 0, 0, MAX_SPAN_MS
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or (unit := _UNITS[part[3]]) >= ceiling:
            raise ValueError(f"not a span of time: {SPAN_HINT}")
        total += _scaled(part[1], part[2], unit)
        at, ceiling = part.end(), unit
    if at == 0:
        raise ValueError(f"empty span of time: {SPAN_HINT}")
    if total > MAX_SPAN_MS:
        raise ValueError(f"longer than ten years: {SPAN_HINT}")
    return total


def _scaled(whole: str, fraction: str | None, unit: int) -> int:
    """`whole.fraction` units in milliseconds, exactly; what is finer than a millisecond is refused."""
    if fraction is None:
        return int(whole) * unit
    scale: int = 10 ** len(fraction)
    parts, rest = divmod(int(fraction) * unit, scale)
    if rest:
        raise ValueError("finer than a millisecond: write whole milliseconds")
    return int(whole) * unit + parts


def duration_text(ms: int) -> str:
    """The shortest exact spelling that `duration_ms` reads back: 5400000 is `1h30m`, 0 is `0ms`."""
    if ms < 0:
        raise ValueError("a span of time is not negative")
    parts: list[str] = []
    for name, unit in reversed(_UNITS.items()):
        count, ms = divmod(ms, unit)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0ms"


def rate(text: str) -> tuple[int, int]:
    """`(limit, span_ms)` of a rate such as `100/min`, `5/hour`, `3/10s`: at most `limit` in any `span_ms`.

    Less than one per span becomes one per longer span, rounded up so that it is never faster than asked: `0.5/s` is
    (1, 2000). Raises ValueError with the remedy.
    """
    match = _RATE.fullmatch(text)
    if match is None:
        if _TOO_MANY.match(text):
            raise ValueError(f"a rate counts 999999999 at most: {RATE_HINT}")
        raise ValueError(f"not a rate: {RATE_HINT}")
    span = _PER.get(match[3]) or _span_of_rate(match[3])
    whole, fraction = int(match[1]), (match[2] or "").rstrip("0")
    if not fraction:
        if whole == 0:
            raise ValueError(f"a rate is more than 0: {RATE_HINT}")
        return whole, span
    if whole:
        raise ValueError('a rate above 1 is a whole number: write it over a longer span, e.g. "3/2s" for 1.5 a second')
    scale: int = 10 ** len(fraction)
    longer = -(-span * scale // int(fraction))
    if longer > MAX_SPAN_MS:
        raise ValueError(f"less than one in ten years: {RATE_HINT}")
    return 1, longer


def rate_text(limit: int, span_ms: int) -> str:
    """A spelling that `rate` reads back: `100/min`, `3/10s`."""
    return f"{limit}/{_SPAN_NAMES.get(span_ms) or duration_text(span_ms)}"


def _span_of_rate(text: str) -> int:
    if not text[0].isdigit():
        raise ValueError(f"unknown span `{text[:16]}`: use s, min, hour, day, or a span such as 10s")
    span = duration_ms(text)
    if span == 0:
        raise ValueError(f"a rate's span is more than 0: {RATE_HINT}")
    return span


def instant(text: str) -> int:
    """The Instant (ms since the epoch, UTC) of an RFC 3339 date-time; what is finer than a millisecond is dropped.

    An offset is needed. A leap second (`:60`) is the first moment of the next minute. Raises ValueError with the
    remedy.
    """
    match = _INSTANT.fullmatch(text)
    if match is None:
        raise ValueError(f"not a time with an offset: {INSTANT_HINT}")
    day, minute, second, fraction, offset = match.groups()
    leap = second == "60"
    try:
        moment = datetime.fromisoformat(f"{day}T{minute}:{'59' if leap else second}{offset.upper()}")
    except ValueError:
        raise ValueError(f"no such day, time or offset: {INSTANT_HINT}") from None
    whole = (moment - _EPOCH) // timedelta(seconds=1) + leap
    return whole * SECOND + int((fraction or "0")[:3].ljust(3, "0"))


def rfc3339(at: int) -> str:
    """An Instant as every view shows it: `2026-01-02T03:04:05.678Z`."""
    second, ms = divmod(at, SECOND)
    return f"{_to_the_second(second)}.{ms:03d}Z"


@lru_cache(maxsize=4_096)
def _to_the_second(second: int) -> str:
    # Views show many times of the same seconds; the calendar is ten times the cost of a look-up.
    return (_EPOCH + timedelta(seconds=second)).isoformat()[:19]
