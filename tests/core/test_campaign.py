"""What is a campaign, and may its messages go now?"""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.campaign import Campaign, Counts, Gate, Hours, Status, Terms, gate, group
from smsd.core.limits import Action, Per, Rule, groups_of
from smsd.core.message import State
from smsd.core.units import HOUR, MINUTE
from smsd.core.waiting import Reason

NOW = 1_790_000_000_000
BERLIN = "Europe/Berlin"
NINE_TO_SIX = Hours(9 * 60, 18 * 60, BERLIN)


def campaign(**fields: object) -> Campaign:
    return Campaign(**{"nr": 1, "tenant": "shop", "id": "spring", "created_at": NOW, "changed_at": NOW, **fields})  # type: ignore[arg-type]  # fields by name


def at(zone: str, *moment: int, fold: int = 0) -> int:
    return int(datetime(*moment, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1_000)  # type: ignore[arg-type, misc]  # year to minute


@pytest.mark.parametrize(
    ("states", "paused", "cancelled", "status"),
    [
        ({}, None, None, Status.SENDING),
        ({State.PENDING: 0, State.SENT: 0}, None, None, Status.SENDING),
        ({State.PENDING: 1, State.SENT: 3}, None, None, Status.SENDING),
        ({State.PROCESSING: 1}, None, None, Status.SENDING),
        ({State.SENT: 1, State.CANCELLED: 2}, None, None, Status.COMPLETED),
        ({State.SENT: 1}, NOW, None, Status.COMPLETED),
        ({State.PENDING: 1}, NOW, None, Status.PAUSED),
        ({}, NOW, None, Status.PAUSED),
        ({State.SENT: 1}, NOW, NOW, Status.CANCELLED),
    ],
)
def test_its_status_follows_from_its_counts(
    states: dict[State, int], paused: int | None, cancelled: int | None, status: Status
) -> None:
    assert campaign(counts=Counts(states), paused_at=paused, cancelled_at=cancelled).status is status


def test_every_state_is_counted_once() -> None:
    counts = Counts({state: 10 ** int(state) for state in State})
    assert counts.total == counts.queued + counts.processed == counts.queued + counts.sent + counts.failed
    assert counts.total == 11_111_111


def test_its_rate_is_a_limit_on_it() -> None:
    assert Terms().rule("shop") is None
    rule = Terms(rate=(1_000, HOUR)).rule("shop")
    assert rule == Rule(Per.CAMPAIGN, 1_000, HOUR, Action.DEFER, tenant="shop")
    assert group("shop", "spring") in groups_of("shop", "spring")


def test_nothing_holds_an_ordinary_one_up() -> None:
    assert gate(campaign(terms=Terms("Spring", (1, HOUR))), NOW) is None


def test_cancelled_counts_before_paused_before_hours() -> None:
    closed = Terms(hours=Hours(0, 1, "UTC"))
    words = "campaign spring is cancelled, and so are those of its messages that wait"
    held = Gate(Reason.CAMPAIGN_PAUSED, words, None)
    assert gate(campaign(paused_at=NOW, cancelled_at=NOW, terms=closed), NOW) == held
    words = "campaign spring is paused; nothing of it is sent until it is resumed: smsd campaign resume spring"
    held = Gate(Reason.CAMPAIGN_PAUSED, words, None)
    assert gate(campaign(paused_at=NOW, terms=closed), NOW) == held


def test_outside_its_hours_it_waits_for_their_begin() -> None:
    terms = Terms(hours=NINE_TO_SIX)
    evening, opens = at(BERLIN, 2026, 9, 21, 18, 0), at(BERLIN, 2026, 9, 22, 9, 0)
    assert gate(campaign(terms=terms), evening - 1) is None
    words = "campaign spring is sent 09:00-18:00 (Europe/Berlin)"
    assert gate(campaign(terms=terms), evening) == Gate(Reason.QUIET_HOURS, words, opens)
    assert gate(campaign(terms=terms), opens - 1) == Gate(Reason.QUIET_HOURS, words, opens)
    assert gate(campaign(terms=terms), opens) is None


def test_hours_over_midnight() -> None:
    hours = Hours(22 * 60, 2 * 60, BERLIN)
    assert hours.opens(at(BERLIN, 2026, 9, 21, 23, 59)) == at(BERLIN, 2026, 9, 21, 23, 59)
    assert hours.opens(at(BERLIN, 2026, 9, 22, 1, 59)) == at(BERLIN, 2026, 9, 22, 1, 59)
    assert hours.opens(at(BERLIN, 2026, 9, 22, 2, 0)) == at(BERLIN, 2026, 9, 22, 22, 0)


def test_a_begin_that_daylight_saving_time_leaves_out() -> None:
    """On 29 March 2026 clocks in Berlin go from 02:00 to 03:00: hours from 02:30 on begin as it is past that."""
    hours = Hours(2 * 60 + 30, 6 * 60, BERLIN)
    assert hours.opens(at(BERLIN, 2026, 3, 29, 1, 59)) == at(BERLIN, 2026, 3, 29, 3, 0)


def test_a_begin_that_daylight_saving_time_repeats() -> None:
    """On 25 October 2026 they go from 03:00 back to 02:00: hours from 02:30 to 02:45 are open twice."""
    hours = Hours(2 * 60 + 30, 2 * 60 + 45, BERLIN)
    first, second = at(BERLIN, 2026, 10, 25, 2, 30), at(BERLIN, 2026, 10, 25, 2, 30, fold=1)
    assert second - first == HOUR
    assert hours.opens(first - 1) == first
    assert hours.opens(first + 15 * MINUTE) == second
    assert hours.opens(second + 15 * MINUTE) == at(BERLIN, 2026, 10, 26, 2, 30)


def test_a_zone_that_is_not_known_here_counts_as_utc() -> None:
    assert Hours(9 * 60, 18 * 60, "Mars/Olympus").opens(at("UTC", 2026, 9, 21, 8, 0)) == at("UTC", 2026, 9, 21, 9, 0)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 1_439), st.integers(0, 1_439),
    st.sampled_from([BERLIN, "America/New_York", "Asia/Kathmandu", "UTC"]),
    st.integers(1_760_000_000, 1_830_000_000),
)  # fmt: skip
def test_its_next_begin_is_the_first_open_minute(start: int, end: int, zone: str, second: int) -> None:
    """Against a clock that is read minute by minute."""
    if start == end:
        return
    now = second // 60 * 60_000
    moment, minutes = datetime.fromtimestamp(now / 1_000, ZoneInfo("UTC")), 0
    while True:
        local = (moment + timedelta(minutes=minutes)).astimezone(ZoneInfo(zone))
        of_day = local.hour * 60 + local.minute
        if (start <= of_day < end) if start < end else (of_day >= start or of_day < end):
            break
        minutes += 1
    assert Hours(start, end, zone).opens(now) == now + minutes * MINUTE
