"""What can a person ask of the outbox, and how is it shown?

Listings, kept counts, and the counts of one person. It refuses to know who may see what (the tenant is given), and how
they are looked up (`reading`, `untold`).
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.message import Instant, Message, Priority, State


@dataclass(frozen=True, slots=True)
class CallbackCounts:
    """Kept counts of callbacks."""

    waiting: int
    failed: int
    oldest_due: Instant | None
    """Of those that wait."""
    dropped: int = 0
    """Went at the bound of all that are kept, over all time, before they were told."""


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """Counts of one provider in one minute (`minute` = Instant // 60000)."""

    minute: int
    provider: str
    sent: int
    failed: int
    throttled: int


@dataclass(frozen=True, slots=True)
class Query:
    """A listing, newest first. None: any. `before`: only messages with a smaller seq (the cursor)."""

    tenant: str | None = None
    states: tuple[State, ...] = ()
    recipient: str | None = None
    user: str | None = None
    campaign: str | None = None
    category: str | None = None
    since: Instant | None = None
    before: int | None = None
    limit: int = 50
    until: Instant | None = None
    """Accepted before then."""
    provider: str | None = None
    """The provider of the last call."""


@dataclass(frozen=True, slots=True)
class Page:
    """`next_before`: the cursor of the next page, None at the end. A page may be short, even empty, before the end:
    one page looks at a bounded number of rows."""

    items: tuple[Message, ...]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Kept counts; never counted over the table."""

    states: dict[tuple[State, Priority], int]
    categories: dict[str, int]
    """Messages that ended in `failed`, by error category, over all time."""
    minutes: tuple[MinuteRow, ...]
    """From `since_minute` of the call on."""
    oldest_pending_at: Instant | None
    """Due time of the message that has been due longest; None when nothing is pending."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom messages are about (`user`, a name its tenant gave) or whom they go to (`recipient`, E.164): exactly one of
    the two. `tenant` None: whoever submitted them. Raises ValueError."""

    tenant: str | None
    user: str | None = None
    recipient: str | None = None

    def __post_init__(self) -> None:
        if (self.user is None) == (self.recipient is None):
            raise ValueError("a person is either a user or a recipient")


@dataclass(frozen=True, slots=True)
class PersonCounts:
    """A person's messages: sent since the day began and in the last hour (whatever became of them later; an operator's
    retry makes a message unsent again), failed or undelivered since the day began, pending or processing now."""

    sent_today: int
    sent_last_hour: int
    failed_today: int
    pending: int
