"""What does the schedule learn of what waits, and with what does it claim that?

Numbers and times of pending messages, never their texts: there may be a million, and the schedule keeps thousands of
them in memory. It refuses to know when which is sent (`core.schedule`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smsd.core.message import Instant, Priority


@dataclass(frozen=True, slots=True)
class Claim:
    """Begin the next attempt of message `seq` (`attempt` calls known so far) at `provider`.

    `sender` is used unless the caller asked for one; or, where it is told, what `pick` makes of the recipient (a pure
    function, called on the outbox's thread).
    """

    seq: int
    attempt: int
    provider: str
    sender: str
    pick: Callable[[str], str] | None = None
    spread: float = 0.0
    """A draw from [0, 1): scatters the retry of one that a limit with action `retry` refuses."""
    due: Instant = 0
    """When it was found due, by a clock that may have been set back since: what is due then is due."""


@dataclass(slots=True)
class Due:
    """What the schedule needs to know of a pending message; never its text."""

    seq: int
    attempt: int
    due: Instant
    segments: int


@dataclass(frozen=True, slots=True)
class Slice:
    """A flow's next pending messages in (due, seq) order. `next_due`: the due time of the first one beyond `until`, if
    the slice is complete up to `until`; None: there is none. `complete` is False when `limit` cut the slice."""

    items: tuple[Due, ...]
    complete: bool
    next_due: Instant | None


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A flow: messages that share route, priority, tenant and campaign."""

    id: int
    route: str
    priority: Priority
    tenant: str
    campaign: str | None
    pending: int
    next_due: Instant | None
    """Earliest due time of its pending messages; None when there is none."""
