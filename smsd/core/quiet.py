"""Is it too late, or too early, to text this number, and when is it no longer?

Quiet hours are hours of the recipient's day: it is quiet for a number when the clock of any zone in which the number
may be reads within them. The clock on the wall decides, as it does for who is woken: an hour that daylight saving time
repeats is quiet both times, and one that it leaves out is over the moment the clock jumps past it. Where the zone of a
number is not known, the daemon's own is taken.

Some numbers may be in so many zones (a North American toll-free number: from Guam to American Samoa) that it is always
night in one of them. If no moment within HORIZON_MS suits them all, the daemon's zone alone decides, as for a number of
which nothing is known: a message that nobody could ever be sent helps no one.

Priority high is for what cannot wait, a code or an alarm: it keeps no quiet hours. When a message is asked about is the
affair of others: `acceptance` does, and whoever claims it asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from smsd.core import address
from smsd.core.message import Instant, Priority
from smsd.core.units import DAY, HOUR, MINUTE
from smsd.core.waiting import Reason

HORIZON_MS = 48 * HOUR
"""How far ahead an hour is looked for that is quiet in no zone of a number: whole days repeat, DST changes aside."""

DAY_MIN = 24 * 60

_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start_min` up to, not including, `end_min`: minutes of the local day, 0 to 1439, never equal. A start after
    the end: over midnight."""

    start_min: int
    end_min: int

    @property
    def words(self) -> str:
        """As views name it: `21:00-08:00`."""
        return f"{clock(self.start_min)}-{clock(self.end_min)}"

    def hold(self, minute: int) -> bool:
        """Whether a clock that reads this minute of the day reads within them."""
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min


@dataclass(frozen=True, slots=True)
class QuietBook:
    """Whose messages keep which quiet hours."""

    usual: QuietHours | None
    """Of every tenant that has none of its own; None: none."""
    tenants: Mapping[str, QuietHours | None]
    """By tenant, where it is not as usual; None: it has none."""
    fallback: tzinfo
    """The zone of a number whose zone is not known."""

    def hours_of(self, tenant: str) -> QuietHours | None:
        return self.tenants.get(tenant, self.usual)


class Start(NamedTuple):
    """When a message is due, and what holds it up until then."""

    due: Instant
    held: str | None = None
    """Reason.QUIET_HOURS; None: nothing does."""
    held_by: str | None = None
    """The hours, in words."""


def start(book: QuietBook | None, tenant: str, recipient: str, priority: Priority, at: Instant) -> Start:
    """When a message that is to be sent at `at` may go: then, or when its quiet hours end."""
    if book is None or priority is Priority.HIGH:
        return Start(at)
    until = quiet_until(book, tenant, recipient, at)
    if until is None:
        return Start(at)
    hours = book.hours_of(tenant)
    return Start(until, Reason.QUIET_HOURS.value, "" if hours is None else hours.words)


def clock(minute: int) -> str:
    """A minute of the day as clocks show it: 480 is `08:00`."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def quiet_until(book: QuietBook, tenant: str, recipient: str, at: Instant) -> Instant | None:
    """None: it is not quiet for the recipient (E.164) at this moment. Else the first moment after it that is not."""
    hours = book.hours_of(tenant)
    if hours is None:
        return None
    zones = zones_of(address.zones(recipient)) or (book.fallback,)
    end = _end(hours, zones, at, at + HORIZON_MS)
    if end is None:
        end = _end(hours, (book.fallback,), at, at + HORIZON_MS)
    assert end is not None  # of one zone every day has an hour that is not quiet
    return None if end == at else end


def _end(hours: QuietHours, zones: Sequence[tzinfo], at: Instant, latest: Instant) -> Instant | None:
    """The first moment from `at` on at which no zone's clock reads within the hours; None: none up to `latest`."""
    while at <= latest:
        # No moment before the end of any zone's hours will do, so the latest of these ends is never too late.
        end = max(ends(hours, zone, at) for zone in zones)
        if end == at:
            return at
        at = end
    return None


def ends(hours: QuietHours, zone: tzinfo, at: Instant) -> Instant:
    """The first moment from `at` on at which the zone's clock reads outside the hours: `at` itself if it does then."""
    while True:
        offset = _offset(zone, at)
        of_day = (at + offset) % DAY
        if not hours.hold(of_day // MINUTE):
            return at
        end = at + (hours.end_min * MINUTE - of_day) % DAY
        if _offset(zone, end) == offset:
            return end
        at = _change(zone, at, end, offset)


def _change(zone: tzinfo, before: Instant, after: Instant, offset: int) -> Instant:
    """The moment between the two at which the zone's clocks are put forward or back; `offset`: the one `before`."""
    while after - before > 1:
        middle = (before + after) // 2
        if _offset(zone, middle) == offset:
            before = middle
        else:
            after = middle
    return after


def _offset(zone: tzinfo, at: Instant) -> int:
    """Milliseconds by which the zone's clocks are ahead of UTC."""
    # Changes of zones fall on whole seconds.
    offset = datetime.fromtimestamp(at // 1_000, zone).utcoffset()
    assert offset is not None  # a zone has one
    return offset // _MS


@lru_cache(maxsize=1_024)
def zones_of(names: tuple[str, ...]) -> tuple[tzinfo, ...]:
    """The zones of these names; without those that this machine's time zone database does not know."""
    found: list[tzinfo] = []
    for name in names:
        try:
            found.append(ZoneInfo(name))
        except ZoneInfoNotFoundError:
            continue  # an older database than the numbers' data: what is left of the zones decides, or the daemon's own
    return tuple(found)
