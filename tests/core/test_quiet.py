"""Is nobody texted while the clock where they are reads within the quiet hours, and not a minute longer held up?"""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsd.core import address
from smsd.core.message import Priority
from smsd.core.quiet import HORIZON_MS, QuietBook, QuietHours, Start, quiet_until, start
from smsd.core.units import DAY, HOUR, MINUTE, instant, rfc3339

NIGHT = QuietHours(21 * 60, 8 * 60)

NEW_YORK, ZURICH, SYDNEY = "+12125550100", "+41791234567", "+61291234567"
TOLL_FREE, RUSSIAN_MOBILE, AUSTRALIAN_MOBILE = "+18005550100", "+79161234567", "+61412345678"
NOWHERE = "+870123456789"  # Inmarsat: ships


def hours(text: str) -> QuietHours:
    """Of `21:00-08:00`."""
    first, last = (int(clock[:2]) * 60 + int(clock[3:]) for clock in text.split("-"))
    return QuietHours(first, last)


def end(text: str, number: str, at: str, fallback: tzinfo = UTC) -> str | None:
    """When the hours are over, as the number's only zone writes it (to the second)."""
    book = QuietBook(hours(text), {}, fallback)
    found = quiet_until(book, "shop", number, instant(at))
    if found is None:
        return None
    names = address.zones(number)
    zone = ZoneInfo(names[0]) if len(names) == 1 else UTC
    return datetime.fromtimestamp(found / 1e3, zone).isoformat()


class TestZones:
    @pytest.mark.parametrize(
        ("number", "zones"),
        [
            (NEW_YORK, ("America/New_York",)),
            ("+14155550100", ("America/Los_Angeles",)),
            ("+18765550100", ("America/Jamaica",)),
            (ZURICH, ("Europe/Zurich",)),
            (SYDNEY, ("Australia/Sydney",)),
            ("+4915112345678", ("Europe/Berlin",)),
            ("+919812345678", ("Asia/Calcutta",)),
            (NOWHERE, ()),
            ("+999123456789", ()),
            ("+7", ()),
            ("", ()),
        ],
    )
    def test_of_a_place(self, number: str, zones: tuple[str, ...]) -> None:
        assert address.zones(number) == zones

    @pytest.mark.parametrize(
        ("number", "some"),
        [
            (RUSSIAN_MOBILE, {"Europe/Moscow", "Asia/Kamchatka"}),
            (AUSTRALIAN_MOBILE, {"Australia/Sydney", "Australia/Perth", "Australia/Lord_Howe"}),
            (TOLL_FREE, {"America/New_York", "Pacific/Honolulu", "Pacific/Guam"}),
            ("+447911123456", {"Europe/London"}),
            ("+5511912345678", {"America/Sao_Paulo"}),
        ],
    )
    def test_of_what_is_bound_to_no_place(self, number: str, some: set[str]) -> None:
        assert some <= {*address.zones(number)}

    def test_a_place_of_a_country_of_several_zones(self) -> None:
        assert address.zones("+74951234567") == ("Europe/Moscow",)
        assert address.zones("+74232123456") == ("Asia/Vladivostok",)

    def test_every_zone_of_a_number_is_known_also_where_the_machine_knows_none(self) -> None:
        """By the package tzdata: systems leave out old names (Asia/Calcutta), which the numbers' data still have."""
        code = (
            "import zoneinfo\n"
            "from phonenumbers.tzdata import TIMEZONE_DATA\n"
            "zoneinfo.reset_tzpath(to=[])\n"
            "print(len([zoneinfo.ZoneInfo(name) for name in {*sum(TIMEZONE_DATA.values(), ())}]))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
        assert int(done.stdout) > 250


class TestOneZone:
    @pytest.mark.parametrize(
        ("text", "number", "at", "until"),
        [
            # over midnight, in the evening, after midnight, and at its ends
            ("21:00-08:00", ZURICH, "2026-01-10T22:30:17+01:00", "2026-01-11T08:00:00+01:00"),
            ("21:00-08:00", ZURICH, "2026-01-11T03:00:00+01:00", "2026-01-11T08:00:00+01:00"),
            ("21:00-08:00", ZURICH, "2026-01-10T21:00:00+01:00", "2026-01-11T08:00:00+01:00"),
            ("21:00-08:00", ZURICH, "2026-01-10T20:59:59.999+01:00", None),
            ("21:00-08:00", ZURICH, "2026-01-11T08:00:00+01:00", None),
            ("21:00-08:00", ZURICH, "2026-01-11T07:59:59.999+01:00", "2026-01-11T08:00:00+01:00"),
            # within a day
            ("12:00-13:30", NEW_YORK, "2026-01-10T12:45:00-05:00", "2026-01-10T13:30:00-05:00"),
            ("12:00-13:30", NEW_YORK, "2026-01-10T18:45:00+01:00", "2026-01-10T13:30:00-05:00"),
            ("12:00-13:30", NEW_YORK, "2026-01-10T12:45:00+01:00", None),
            ("00:00-23:59", SYDNEY, "2026-01-10T00:00:00+11:00", "2026-01-10T23:59:00+11:00"),
            ("08:00-00:00", SYDNEY, "2026-01-10T09:00:00+11:00", "2026-01-11T00:00:00+11:00"),
            # clocks are put forward in the night: it is an hour shorter
            ("21:00-08:00", NEW_YORK, "2026-03-07T23:00:00-05:00", "2026-03-08T08:00:00-04:00"),
            ("21:00-08:00", ZURICH, "2026-03-28T23:00:00+01:00", "2026-03-29T08:00:00+02:00"),
            ("21:00-08:00", SYDNEY, "2026-10-03T23:00:00+10:00", "2026-10-04T08:00:00+11:00"),
            # clocks are put back: it is an hour longer
            ("21:00-08:00", NEW_YORK, "2026-10-31T23:00:00-04:00", "2026-11-01T08:00:00-05:00"),
            ("21:00-08:00", ZURICH, "2026-10-24T23:00:00+02:00", "2026-10-25T08:00:00+01:00"),
            ("21:00-08:00", SYDNEY, "2026-04-04T23:00:00+11:00", "2026-04-05T08:00:00+10:00"),
            # the end falls into the hour that is left out: then the change is the end
            ("21:00-02:30", NEW_YORK, "2026-03-08T01:59:00-05:00", "2026-03-08T03:00:00-04:00"),
            ("21:00-02:30", ZURICH, "2026-03-29T00:10:00+01:00", "2026-03-29T03:00:00+02:00"),
            # the whole of it does: that night there is none
            ("02:10-02:50", ZURICH, "2026-03-29T01:59:59+01:00", None),
            ("02:10-02:50", ZURICH, "2026-03-29T03:00:00+02:00", None),
            # the beginning does: it begins at the change, and the clock reads 03:00
            ("02:30-04:00", ZURICH, "2026-03-29T01:59:59+01:00", None),
            ("02:30-04:00", ZURICH, "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"),
            # an hour comes twice: quiet both times, also when the end is in it
            ("01:00-01:30", NEW_YORK, "2026-11-01T01:15:00-04:00", "2026-11-01T01:30:00-04:00"),
            ("01:00-01:30", NEW_YORK, "2026-11-01T01:15:00-05:00", "2026-11-01T01:30:00-05:00"),
            ("01:00-01:30", NEW_YORK, "2026-11-01T01:45:00-04:00", None),
            ("01:30-02:00", NEW_YORK, "2026-11-01T01:45:00-04:00", "2026-11-01T01:00:00-05:00"),
            ("21:00-02:30", ZURICH, "2026-10-25T02:15:00+02:00", "2026-10-25T02:30:00+02:00"),
            ("21:00-02:30", ZURICH, "2026-10-25T02:10:00+01:00", "2026-10-25T02:30:00+01:00"),
        ],
    )
    def test_the_clock_on_the_wall_decides(self, text: str, number: str, at: str, until: str | None) -> None:
        assert end(text, number, at) == until

    def test_a_number_of_no_zone_has_the_daemons(self) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        assert end("21:00-08:00", NOWHERE, "2026-07-10T20:30:00Z", berlin) == "2026-07-11T06:00:00+00:00"
        assert end("21:00-08:00", NOWHERE, "2026-07-10T20:30:00Z") is None


class TestSeveralZones:
    def test_all_must_be_awake(self) -> None:
        """The Cocos Islands are four and a half hours behind Sydney in its summer."""
        late = end("21:00-08:00", AUSTRALIAN_MOBILE, "2026-01-10T08:30:00+11:00")
        assert late == "2026-01-10T01:30:00+00:00", "08:00 on the Cocos Islands, half past twelve in Sydney"
        assert end("21:00-08:00", AUSTRALIAN_MOBILE, "2026-01-10T20:59:00+11:00") is None
        assert end("21:00-08:00", AUSTRALIAN_MOBILE, "2026-01-10T21:00:00+11:00") == "2026-01-11T01:30:00+00:00"

    def test_russia_has_three_hours_left(self) -> None:
        """From 08:00 in Kaliningrad (UTC+2) to 21:00 in Kamchatka (UTC+12)."""
        assert end("21:00-08:00", RUSSIAN_MOBILE, "2026-01-10T00:00:00Z") == "2026-01-10T06:00:00+00:00"
        assert end("21:00-08:00", RUSSIAN_MOBILE, "2026-01-10T08:59:59Z") is None
        assert end("21:00-08:00", RUSSIAN_MOBILE, "2026-01-10T09:00:00Z") == "2026-01-11T06:00:00+00:00"

    def test_where_it_is_always_quiet_somewhere_the_daemons_zone_decides(self) -> None:
        long = "20:00-09:30"  # from Newfoundland west to Guam it is 11 and a half hours
        zone = ZoneInfo("America/Chicago")
        assert end(long, TOLL_FREE, "2026-01-10T21:00:00-06:00", zone) == "2026-01-11T15:30:00+00:00"
        assert end(long, TOLL_FREE, "2026-01-10T12:00:00-06:00", zone) is None
        assert end("21:00-08:00", TOLL_FREE, "2026-01-10T12:00:00-06:00", zone) == "2026-01-10T22:00:00+00:00"


class TestWhose:
    BOOK = QuietBook(NIGHT, {"free": None, "noon": QuietHours(720, 780)}, UTC)
    AT_NIGHT, AT_NOON = instant("2026-01-10T23:00:00+01:00"), instant("2026-01-10T12:30:00+01:00")

    @pytest.mark.parametrize(
        ("tenant", "night", "noon"), [("shop", True, False), ("free", False, False), ("noon", False, True)]
    )
    def test_a_tenants_own_hours_count_instead(self, tenant: str, night: bool, noon: bool) -> None:
        asked = [quiet_until(self.BOOK, tenant, ZURICH, at) for at in (self.AT_NIGHT, self.AT_NOON)]
        assert [each is not None for each in asked] == [night, noon]

    def test_what_cannot_wait_does_not(self) -> None:
        assert start(self.BOOK, "shop", ZURICH, Priority.HIGH, self.AT_NIGHT) == Start(self.AT_NIGHT)
        until = instant("2026-01-11T08:00:00+01:00")
        for priority in (Priority.NORMAL, Priority.BULK):
            held = Start(until, "quiet_hours", "21:00-08:00")
            assert start(self.BOOK, "shop", ZURICH, priority, self.AT_NIGHT) == held
        assert start(None, "shop", ZURICH, Priority.NORMAL, self.AT_NIGHT) == Start(self.AT_NIGHT)


NUMBERS = (
    NEW_YORK,
    ZURICH,
    SYDNEY,
    TOLL_FREE,
    RUSSIAN_MOBILE,
    AUSTRALIAN_MOBILE,
    "+212612345678",
    "+97798123456",
    NOWHERE,
)
YEAR = instant("2026-01-01T00:00:00Z")
CHANGES = [
    instant(f"2026-{day}:00:00Z") for day in ("03-08T07", "11-01T06", "03-29T01", "10-25T01", "04-04T15", "10-03T15")
]

moments = st.integers(YEAR, YEAR + 365 * DAY) | st.builds(
    lambda change, before: change - before, st.sampled_from(CHANGES), st.integers(-2 * HOUR, 26 * HOUR)
)
windows = st.lists(st.integers(0, 1_439), min_size=2, max_size=2, unique=True).map(lambda ends: QuietHours(*ends))


def reads_quiet(of: QuietHours, zone: ZoneInfo, at: int) -> bool:
    """By the calendar alone."""
    clock = datetime.fromtimestamp(at // 1_000, zone)
    minute = clock.hour * 60 + clock.minute
    if of.start_min < of.end_min:
        return of.start_min <= minute < of.end_min
    return minute >= of.start_min or minute < of.end_min


def walked(of: QuietHours, zones: list[ZoneInfo], at: int) -> int | None:
    """The end, found minute by minute."""
    moments = [at, *(minute * MINUTE for minute in range(at // MINUTE + 1, (at + HORIZON_MS) // MINUTE + 1))]
    for moment in moments:
        asleep = next((zone for zone in zones if reads_quiet(of, zone, moment)), None)
        if asleep is None:
            return moment
        zones = [asleep, *(zone for zone in zones if zone is not asleep)]  # whoever sleeps still does a minute later
    return None


@settings(max_examples=120, deadline=None)
@given(windows, st.sampled_from(NUMBERS), moments)
@example(QuietHours(0, 150), ZURICH, instant("2026-03-29T00:30:00Z"))
@example(QuietHours(1_200, 570), TOLL_FREE, YEAR)
def test_the_end_is_the_first_minute_at_which_no_clock_reads_so(of: QuietHours, number: str, at: int) -> None:
    fallback = ZoneInfo("Europe/Dublin")
    zones = [ZoneInfo(name) for name in address.zones(number)]
    expected = walked(of, zones, at) if zones else None
    if expected is None:
        expected = walked(of, [fallback], at)
    found = quiet_until(QuietBook(of, {}, fallback), "shop", number, at)
    assert (found if found is not None else at) == expected, rfc3339(at)


def test_words() -> None:
    assert NIGHT.words == "21:00-08:00"
    assert hours("00:05-23:59") == QuietHours(5, 1_439)
