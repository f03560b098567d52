"""When is a callback tried again, and when is all that goes to its place left alone?

Two waits, one for each of two facts. A callback that failed waits by a schedule of its own, for three days. A place, a
tenant's callbacks to one origin, that does not answer is one fact, however many callbacks wait for it: it rests, and is
then tried by one call. And what is scarce (calls, places to wait, look-ups of names) is shared by tenants, by one rule.
Told the time and the draw; it refuses to know how a call is made and what is kept.
"""

from __future__ import annotations

from typing import Final

from smsd.core.callback import Callback
from smsd.core.message import Instant
from smsd.core.units import HOUR, MINUTE, SECOND

DELAYS_MS: Final = (
    *(5 * SECOND, 30 * SECOND, 2 * MINUTE, 10 * MINUTE, 30 * MINUTE),
    *(1 * HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR),
)
"""Before the second try, the third ...; the last repeats."""

JITTER: Final = 0.2
"""A wait is shorter or longer by up to this share of it, so that what failed together does not come back together."""

MOST_ASKED_MS: Final = HOUR
"""A receiver that asks for a longer wait (Retry-After) is tried after this all the same."""

TOLERATED: Final = 5
"""Failures in a row after which a place rests."""

FIRST_REST_US: Final = 5_000_000
LONGEST_REST_US: Final = 600_000_000

PAUSE_US: Final = 5_000_000
"""So long a place is left alone for which there was no means to call. That is no fault of it."""


def may_take(mine: int, taken: int, most: int) -> bool:
    """Whether one that has `mine` of `most`, of which all together have `taken`, may take one more: only while more are
    free than it has. So who is alone has half at most; n that want all they can get have an n+1th each, and as much is
    free for those that come; and who has none gets one as long as there is any."""
    return mine < most - taken


def next_due(callback: Callback, give_up_ms: int, now: Instant, draw: float, asked_ms: int = 0) -> Instant | None:
    """When a callback whose try failed at `now` is tried next; None: it is given up.

    `callback`: as before that try. `draw`: from [0, 1). `asked_ms`: the wait its receiver asked for. The last try comes
    at the end of `give_up_ms` after it was made.
    """
    end = callback.created_at + give_up_ms
    if now >= end:
        return None
    wait = DELAYS_MS[min(callback.tries, len(DELAYS_MS) - 1)]
    wait = round(wait * (1 - JITTER + 2 * JITTER * draw))
    asked = now + min(asked_ms, MOST_ASKED_MS)
    return max(min(now + wait, end), asked)


class Rest:
    """How a place has done lately. Times are boot time in microseconds."""

    __slots__ = ("failures", "until_us")

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.until_us = 0
        """It rests until then."""

    def failed(self, now_us: int) -> None:
        """A call found that it does not work. While it rests that is no news: the call was begun before."""
        if self.is_down and now_us < self.until_us:
            return
        self.failures += 1
        if self.is_down:
            doublings = min(self.failures - TOLERATED, 16)
            self.until_us = now_us + min(FIRST_REST_US << doublings, LONGEST_REST_US)

    def answered(self) -> None:
        """It works."""
        self.failures = 0
        self.until_us = 0

    def pause(self, now_us: int) -> None:
        """It could not be called, for want of means; nothing is known of it."""
        self.until_us = max(self.until_us, now_us + PAUSE_US)

    def end(self) -> None:
        """It need not rest any longer: one call tries it now."""
        self.until_us = 0

    @property
    def is_down(self) -> bool:
        """It rested, and has not answered since."""
        return self.failures >= TOLERATED

    @property
    def is_fresh(self) -> bool:
        """There is nothing to remember."""
        return not (self.failures or self.until_us)

    def room(self, now_us: int, most: int) -> int:
        """How many calls it may have at a time: none while it rests, then one until it has answered, else `most`."""
        if now_us < self.until_us:
            return 0
        return 1 if self.is_down else most
