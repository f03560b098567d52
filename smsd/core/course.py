"""What is one bunch's queue in a look ahead, and when does each message of it go?

A Stream hands its virtual tickets out in the order of their due times, as the outbox does, and keeps when each went; a
Course tells of it message by message. Both are told everything; who looks ahead is `forecast`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from smsd.core.bunches import Bunch
from smsd.core.message import Instant
from smsd.core.schedule import NOTHING, Key, Meal

LAST: Final = 1 << 62
"""Behind every number of a ticket."""


@dataclass(slots=True)
class Standby:
    seq: int
    attempt: int
    due: Instant
    segments: int


class Stream:
    """A bunch's tickets in their order, and when those that have gone went."""

    __slots__ = ("bunch", "campaign", "first", "groups", "keys", "segments", "times", "whole")

    def __init__(
        self,
        bunch: Bunch,
        campaign: str | None,
        first: int,
        keys: list[Key],
        groups: tuple[str, ...],
        *,
        whole: bool,
    ) -> None:
        self.bunch = bunch
        self.campaign = campaign
        """As the schedule is told: its own where it can be held up as nothing else is."""
        self.first = first
        """Number of its first ticket."""
        self.keys = keys
        self.whole = whole
        """Whether it has all tickets of the bunch, or the first of them only."""
        self.groups = groups
        """Those of its groups that have a bar."""
        self.segments = max(1, round(bunch.segments))
        self.times: list[int] = []
        """Boot time (us) of each start."""

    def supply(self, place: int) -> Standby:
        due, seq = self.keys[place]
        return Standby(seq, 0, due, self.segments)

    def slice(self, meal: Meal) -> tuple[list[Standby], bool, Instant | None]:
        """As the outbox answers to a meal: what is pending, whether that is all, and what is due next."""
        place = len(self.times) if meal.after == NOTHING else max(len(self.times), bisect_right(self.keys, meal.after))
        end = bisect_right(self.keys, (meal.until, LAST), place)
        some = [self.supply(each) for each in range(place, min(end, place + meal.limit))]
        if end - place > meal.limit:
            return some, False, None
        return some, True, self.keys[end][0] if end < len(self.keys) else None


class Course(NamedTuple):
    """When the messages of one line go."""

    times: Sequence[int]
    """Boot time (us) of each ticket's last message."""
    each: float
    begin: int
    """Nothing goes before."""
    whole: bool
    """Whether all of them go, as far as is known."""

    def at(self, place: int) -> int:
        """When the message goes that so many of the line go before. Past what is seen: as the last that is."""
        times = self.times
        if not times:
            return self.begin
        ticket = (place + 1) / self.each - 1
        if ticket <= 0:
            begin = min(self.begin, times[0])
            return begin + round((ticket + 1) * (times[0] - begin))
        low = min(int(ticket), len(times) - 1)
        return times[low] + round((ticket - int(ticket)) * (times[min(low + 1, len(times) - 1)] - times[low]))
