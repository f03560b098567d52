"""How is the failed queue asked for, tried again and taken away?

Two families. The operations of smsd's own, of which one call does a bounded number and says where the next goes on. And
records, the fixed shapes of `/api/admin/retry-failed-sms`: names, order and types are what programs out there already
read, hence the capitals within names. Names and types only; what a value may be is judged by the handlers.
"""

from __future__ import annotations

import msgspec

from smsd.wire.requests import Request


class Failed(Request):
    """What failed or was not delivered, newest first; every filter narrows."""

    tenant: str | None = None
    campaign: str | None = None
    category: str | None = None
    user: str | None = None
    to: str | None = None
    provider: str | None = None
    """That of the last call."""
    since: str | None = None
    """Accepted then or later."""
    until: str | None = None
    """Accepted before then."""
    limit: int | None = None
    cursor: str | None = None


class FailedDelete(Request):
    """Take away messages of the failed queue: those named, those that the filters find, or all."""

    ids: list[str] | None = None
    all: bool = False
    tenant: str | None = None
    campaign: str | None = None
    category: str | None = None
    user: str | None = None
    to: str | None = None
    provider: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int | None = None
    """How many are dealt with in this call."""
    cursor: str | None = None
    """`next_cursor` of the call before; everything else as in that."""


class FailedRetry(FailedDelete):
    """Try messages of the failed queue again, each in a new round of attempts."""

    force: bool = False
    """Also those that may have been taken (failed UNCERTAIN)."""
    ttl: str | None = None
    """How long each lives from when it is due."""
    rate: str | None = None
    """At most so many of them are due in so much time ("100/min"); absent: all are due at once."""


class SkippedView(msgspec.Struct):
    """A message that was left as it is, and why."""

    id: str
    code: str
    message: str


class DeletedView(msgspec.Struct):
    """`skipped`: the first 100 of the `skipped_total` that were left as they are; `more`: there may be more that the
    filters find, behind `next_cursor`."""

    deleted: int
    skipped: list[SkippedView]
    skipped_total: int
    more: bool
    next_cursor: str | None


class RetriedView(msgspec.Struct):
    """The same of a retry. `last_at`: when the last of those retried is due."""

    retried: int
    skipped: list[SkippedView]
    skipped_total: int
    more: bool
    next_cursor: str | None
    last_at: str | None


# -- records ----------------------------------------------------------------------------------------------------------


class Records(Request):
    """A page of records, newest first."""

    limit: int | None = None
    offset: int | None = None


class RetryRecord(Request):
    """Try one again, and wait for what becomes of it."""

    id: str


class DeleteRecord(Request):
    """Take one away."""

    id: str


class RecordView(msgspec.Struct, rename="camel"):
    """A message of the failed queue. `error` begins with its category and a colon."""

    id: str
    phone: str
    message: str
    error: str | None
    attempts: int
    created_at: str
    last_attempt_at: str | None


class Pagination(msgspec.Struct, rename="camel"):
    """Where the page stands. `total`: of all pages."""

    total: int
    limit: int
    offset: int
    has_more: bool


class RecordList(msgspec.Struct):
    """A page of them."""

    success: bool
    data: list[RecordView]
    pagination: Pagination


class RecordRetried(msgspec.Struct, rename="camel"):
    """It was sent; with a `state`: not yet. `messageSid`: the provider's id of it."""

    success: bool
    message: str
    message_sid: str | None
    state: str | msgspec.UnsetType = msgspec.UNSET


class RecordDeleted(msgspec.Struct):
    """It is gone."""

    success: bool
    message: str


class RecordRefused(msgspec.Struct):
    """It was not done; `state`: that of the message, where that is the reason."""

    success: bool
    error: str
    state: str | msgspec.UnsetType = msgspec.UNSET
