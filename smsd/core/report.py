"""What do counts come to, for a person who must answer for them?

Sums of messages with what they cost, rates in percent, an agreed level (SLA), days. It adds up what the outbox counted,
piece by piece, and refuses to know how that is read and how it is shown.

Money is Decimal: a sum of a hundred thousand prices must be right to the last place. What answers and receipts told is
kept apart from what is only estimated by the configuration's prices, which name no currency.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from functools import cached_property
from typing import Final

from smsd.core.message import Instant, State
from smsd.core.units import instant

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000

MOST_CURRENCIES: Final = 16
"""That one sum keeps apart. Prices in more than that are taken as not told: no provider bills so."""

WENT: Final = frozenset({State.SENT, State.DELIVERED, State.UNDELIVERED})
"""A provider took them; it bills them whatever became of them."""

GOOD: Final = frozenset({State.SENT, State.DELIVERED})
"""They went, and no receipt denies it."""

JUDGED: Final = frozenset({State.SENT, State.DELIVERED, State.UNDELIVERED, State.FAILED, State.EXPIRED})
"""What a delivery rate is about: not what still waits, nor what its owner withdrew."""

_PRICE = re.compile(r"-?([0-9]{1,15}(?:\.[0-9]{1,12})?)(?: ([A-Z]{3}))?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENT = Decimal("0.01")


class Group(StrEnum):
    """What a report's lines are by. Values are public."""

    DAY = "day"
    TENANT = "tenant"
    CAMPAIGN = "campaign"
    USER = "user"
    TYPE = "type"
    PROVIDER = "provider"


@dataclass(frozen=True, slots=True)
class Span:
    """Messages accepted in [since, until), of one tenant (None: all), of one campaign (None: all)."""

    since: Instant
    until: Instant
    tenant: str | None = None
    campaign: str | None = None


@dataclass(frozen=True)
class Tariff:
    """What a segment costs where nobody told: provider -> beginning of the number (the empty text: any other) -> price.
    All in one currency, which the configuration does not name."""

    prices: Mapping[str, Mapping[str, Decimal]] = field(default_factory=dict)

    @cached_property
    def digits(self) -> int:
        """Of a number, as many characters decide."""
        return max((len(head) for heads in self.prices.values() for head in heads), default=0)

    def price(self, provider: str, head: str) -> Decimal | None:
        """By the longest beginning that fits `head`, the first `digits` characters of the number. None: nobody said."""
        heads = self.prices.get(provider, {})
        for end in range(len(head), -1, -1):
            found = heads.get(head[:end])
            if found is not None:
                return found
        return None


def price_of(text: str) -> tuple[Decimal, str] | None:
    """Amount and currency ("": none is named) of a price as it is kept: `0.0075 USD`. None: it cannot be read."""
    match = _PRICE.fullmatch(text)
    return None if match is None else (Decimal(match[1]), match[2] or "")


@dataclass(slots=True)
class Sums:
    """What the messages of one group come to."""

    states: dict[State, int] = field(default_factory=dict)
    segments: int = 0
    """Of those that went."""
    told: dict[str, Decimal] = field(default_factory=dict)
    """By currency ("": none was named): what answers and receipts said they cost."""
    estimated: Decimal | None = None
    """Of those that went and whose price nobody told, by the tariff. None: none is estimated."""
    unpriced: int = 0
    """Those that went and whose price neither anybody told nor the tariff knows."""

    def add(
        self, state: State, messages: int, segments: int, price: str | None, provider: str, head: str, tariff: Tariff
    ) -> None:
        """So many messages that agree in all of this, with `segments` in all. `price`: as kept, of each of them."""
        self.states[state] = self.states.get(state, 0) + messages
        if state in WENT:
            self.segments += segments
        known = None if price is None else price_of(price)
        if known is not None and (known[1] in self.told or len(self.told) < MOST_CURRENCIES):
            amount, currency = known
            self.told[currency] = self.told.get(currency, Decimal(0)) + amount * messages
        elif state in WENT:
            each = None if known is not None else tariff.price(provider, head)
            if each is None:
                self.unpriced += messages
            else:
                self.estimated = (self.estimated or Decimal(0)) + each * segments

    def plus(self, other: Sums) -> None:
        """Add another's."""
        for state, messages in other.states.items():
            self.states[state] = self.states.get(state, 0) + messages
        self.segments += other.segments
        self.unpriced += other.unpriced
        if other.estimated is not None:
            self.estimated = (self.estimated or Decimal(0)) + other.estimated
        for currency, amount in other.told.items():
            self.told[currency] = self.told.get(currency, Decimal(0)) + amount

    def count(self, states: frozenset[State] = frozenset(State)) -> int:
        """How many messages are in one of these states."""
        return sum(messages for state, messages in self.states.items() if state in states)

    @property
    def delivery_rate(self) -> Decimal | None:
        """In percent, see GOOD and JUDGED. None: there is nothing to judge."""
        return percent(self.count(GOOD), self.count(JUDGED))

    def meets(self, sla: Decimal) -> bool | None:
        """Whether the delivery rate is at least `sla` percent, exactly. None: there is nothing to judge."""
        judged = self.count(JUDGED)
        return None if not judged else 100 * self.count(GOOD) >= sla * judged


@dataclass(slots=True)
class Failures:
    """Messages that failed alike."""

    messages: int
    example: str
    """The newest one's id; empty: none in particular."""


@dataclass(slots=True)
class RetrySums:
    """Of messages that were called equally often."""

    messages: int = 0
    succeeded: int = 0
    """Sent or delivered now."""
    latency_ms: int = 0
    """Sum over the calls of which it is known."""
    timed: int = 0
    """How many those are."""
    wait_ms: int = 0
    """Sum of the times from acceptance (or send_at, if later) to the end."""

    def plus(self, other: RetrySums) -> None:
        """Add another's."""
        self.messages += other.messages
        self.succeeded += other.succeeded
        self.latency_ms += other.latency_ms
        self.timed += other.timed
        self.wait_ms += other.wait_ms


def percent(part: int, whole: int) -> Decimal | None:
    """`part` of `whole`, to two places, never more than it is: 99.999 % is not shown as 100. None: of nothing."""
    return None if not whole else (Decimal(100 * part) / whole).quantize(_CENT, ROUND_DOWN)


def mean(total: int, count: int) -> int | None:
    """Rounded to the nearest whole; None: of nothing."""
    return None if not count else (2 * total + count) // (2 * count)


def midnight(day: date, zone: tzinfo) -> Instant:
    """When a day begins there."""
    # An hour that is left out at midnight (a change to summer time) is read by the offset before it: its first moment.
    return (datetime(day.year, day.month, day.day, tzinfo=zone) - _EPOCH) // timedelta(milliseconds=1)


def day_of(at: Instant, zone: tzinfo) -> date:
    """The day it is there."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone).date()


def days(since: Instant, until: Instant, zone: tzinfo) -> tuple[tuple[date, Instant], ...]:
    """The days of [since, until), each with its beginning, which for the first may be before `since`."""
    day, last = day_of(since, zone), day_of(max(since, until - 1), zone)
    return tuple(
        (each, midnight(each, zone)) for each in (day + timedelta(days=n) for n in range((last - day).days + 1))
    )


def moment(text: str, zone: tzinfo, *, end: bool = False) -> Instant:
    """An RFC 3339 time with an offset, or a date: that day's beginning in `zone`, with `end` its end (the beginning of
    the next). Raises ValueError with the remedy."""
    if not _DATE.fullmatch(text):
        return instant(text)
    try:
        day = date.fromisoformat(text) + timedelta(days=end)
    except (ValueError, OverflowError):
        raise ValueError('no such day: write one as "2026-01-31"') from None
    return midnight(day, zone)
