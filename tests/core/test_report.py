"""Is money right to the last place, a rate never flattered, and a day as long as it is where the daemon thinks?"""

from __future__ import annotations

from datetime import UTC, date
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsd.core.message import State
from smsd.core.report import Sums, Tariff, day_of, days, mean, moment, percent, price_of
from smsd.core.units import instant

HOUR = 3_600_000
NONE = Tariff()


def test_prices_as_they_are_kept() -> None:
    assert price_of("0.0075 USD") == (Decimal("0.0075"), "USD")
    assert price_of("-12 EUR") == (Decimal(12), "EUR")
    assert price_of("0.5") == (Decimal("0.5"), "")
    for text in ("", "free", "1e9 USD", "NaN", "0.5 usd", "0.5 USDX", "0,5 EUR", " 1", "\u0661 USD"):
        assert price_of(text) is None


def test_the_longest_beginning_decides() -> None:
    tariff = Tariff({"main": {"": Decimal(3), "+49": Decimal(7), "+491": Decimal(9)}, "other": {"+1": Decimal(1)}})
    assert tariff.digits == 4
    assert [tariff.price("main", head) for head in ("+491", "+493", "+44", "#af0", "")] == [9, 7, 3, 3, 3]
    assert [tariff.price("other", "+141"), tariff.price("other", "+491"), tariff.price("gone", "+141")] == [
        1,
        None,
        None,
    ]
    assert NONE.digits == 0


@given(st.lists(st.tuples(st.sampled_from(["0.0075 USD", "0.1 USD", "0.1 EUR"]), st.integers(1, 10_000)), max_size=20))
def test_money_is_exact_however_it_is_cut(priced: list[tuple[str, int]]) -> None:
    halves = Sums(), Sums()
    for n, (price, messages) in enumerate(priced):
        halves[n % 2].add(State.SENT, messages, messages, price, "", "", NONE)
    halves[0].plus(halves[1])
    for currency in ("USD", "EUR"):
        exact = sum(Fraction(price[:-4]) * n for price, n in priced if price.endswith(currency))
        assert Fraction(halves[0].told.get(currency, Decimal(0))) == exact
    assert halves[0].segments == sum(n for _, n in priced)


def test_no_more_currencies_than_there_are() -> None:
    sums = Sums()
    for n in range(40):
        sums.add(State.SENT, 1, 1, f"1 A{chr(65 + n % 26)}{chr(65 + n // 26)}", "", "", NONE)
    assert (len(sums.told), sums.unpriced) == (16, 24)


@given(good=st.integers(0, 100_000), bad=st.integers(0, 100_000), sla=st.decimals("0.01", 100, places=2))
def test_a_rate_is_never_flattered(good: int, bad: int, sla: Decimal) -> None:
    sums = Sums({State.SENT: good // 2, State.DELIVERED: good - good // 2, State.EXPIRED: bad, State.CANCELLED: 7})
    rate = sums.delivery_rate
    if not good + bad:
        assert rate is None
        assert sums.meets(sla) is None
        return
    exact = Fraction(100 * good, good + bad)
    assert rate is not None
    assert 0 <= exact - Fraction(rate) < Fraction(1, 100)
    assert sums.meets(sla) is (exact >= Fraction(sla))


def test_percent_and_mean() -> None:
    assert [percent(1, 3), percent(99_999, 100_000), percent(0, 5), percent(1, 0)] == [
        *(Decimal("33.33"), Decimal("99.99"), 0, None),
    ]
    assert [mean(5, 2), mean(4, 3), mean(0, 4), mean(1, 0)] == [3, 1, 0, None]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [("UTC", "2026-03-29", 24), ("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25),
     ("Asia/Kathmandu", "2026-01-01", 24), ("Asia/Beirut", "2026-03-29", 23)],
)  # fmt: skip
def test_a_day_is_as_long_as_it_is(zone: str, day: str, hours: int) -> None:
    """In Beirut the hour that is left out begins at midnight."""
    where = ZoneInfo(zone)
    since, until = moment(day, where), moment(day, where, end=True)
    assert until - since == hours * HOUR
    assert day_of(since, where).isoformat() == day_of(until - 1, where).isoformat() == day
    assert day_of(since - 1, where) < date.fromisoformat(day) < day_of(until, where)
    assert days(since, until, where) == ((date.fromisoformat(day), since),)


def test_days_have_no_gaps() -> None:
    found = days(instant("2026-02-27T23:59:59Z"), instant("2026-03-02T00:00:00.001Z"), UTC)
    assert [each.isoformat() for each, _ in found] == ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-02"]
    assert [begin % (24 * HOUR) for _, begin in found] == [0] * 4


def test_what_is_no_time_is_told() -> None:
    assert moment("2026-01-02T03:04:05+01:00", UTC) == instant("2026-01-02T02:04:05Z")
    for text in ("2026-02-30", "9999-12-31", "yesterday", "2026-1-1", "2026-01-02T03:04:05"):
        with pytest.raises(ValueError, match=r"such|not a time"):
            moment(text, UTC, end=True)
