"""What does the outbox promise to operators?

Beside the transitions of messages (`smsd.store`): campaigns, removal and redaction of what is old, the audit, alerts
that are raised, and reports. Each is a small protocol of its own; the outbox has one object for each. All may raise
StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from smsd.core.campaign import Campaign, Move, Terms
from smsd.core.message import Instant, Message, State
from smsd.core.report import Failures, Group, RetrySums, Span, Sums, Tariff


class Campaigns(Protocol):
    """Campaigns and what holds them up."""

    async def make(self, tenant: str, id: str, terms: Terms, now: Instant) -> tuple[Campaign, bool]:
        """Make it; True: it is new. One that is there keeps its terms, unless it was only named by messages so far and
        never made; whoever wants other terms compares."""
        ...

    async def unmake(self, tenant: str, id: str) -> bool:
        """Take one away that never had a message and is not held up; False: it is another, or not there."""
        ...

    async def move(self, tenant: str, id: str, move: Move, now: Instant) -> Campaign | None:
        """Pause it, resume it or cancel it. Idempotent; a cancelled one stays cancelled. From the commit on none of
        its messages is claimed unless it is resumed; calls that have begun run on. None: no such campaign."""
        ...

    async def cancel_some(self, tenant: str, id: str, now: Instant, limit: int) -> list[Message]:
        """Cancel at most `limit` of a cancelled campaign's pending messages, and tell applications of it (callbacks).
        Empty: none is pending."""
        ...

    async def find(self, id: str, tenant: str | None) -> tuple[Campaign, ...]:
        """The campaign of this id; with tenant None those of all tenants (at most 100), in order of their making."""
        ...

    async def page(self, tenant: str | None, before: int | None, limit: int) -> tuple[Campaign, ...]:
        """Newest first, made before the one with this `nr`."""
        ...

    async def cancelled(self) -> tuple[tuple[str, str], ...]:
        """(tenant, id) of cancelled campaigns with messages in the queue, also those that a call is under way for."""
        ...


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step of the retention did."""

    rows: int
    """Rows that were deleted or redacted."""
    done: bool
    """Nothing is left to be done at that time."""
    what: str = ""
    """What sort of rows, where there are any."""
    next: Instant | None = None
    """When `done`: the earliest time at which more may be old enough, as far as that is known."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How long what is kept, in ms; None: for ever (`redact_ms`: never redacted)."""

    finished_ms: int | None = 30 * 86_400_000
    """Sent, delivered, expired and cancelled messages; inbound texts (at least 4 days)."""
    failed_ms: int | None = 30 * 86_400_000
    """Failed and undelivered ones."""
    redact_ms: int | None = None
    """Texts and numbers of sent, delivered, expired and cancelled ones."""
    audit_ms: int = 400 * 86_400_000
    heads: frozenset[str] = frozenset()
    """Beginnings of numbers that some provider's prices name: of a redacted number the longest that fits is kept, and
    nothing else, so that its price stays what it was."""
    key_ms: int = 86_400_000
    """A key outlives its message by this."""
    calls_ms: int = 2 * 86_400_000
    """A call outlives its message until it is so old: it counts in its provider's windows after a restart, and what a
    look-up finds must be known as its own."""


class Removal(Protocol):
    """Takes away what is old, and what an operator names."""

    def rule(self, rules: RetentionRules) -> None:
        """`delete` goes by these rules from now on."""
        ...

    async def delete(self, ids: Sequence[str], tenant: str | None, now: Instant) -> list[State | None]:
        """Remove these messages if they are failed or undelivered (of this tenant): the state each had, None: it is
        not there. One in another state stays, and its state says so. Counts of states and campaigns: those of all and
        by tenant go down, a campaign's stay. Keys stay for RetentionRules.key_ms. At most 200 at once."""
        ...

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """One small transaction's worth (about 5 ms) of what the rules call old."""
        ...

    async def shrink(self) -> bool:
        """Give a bounded number of free pages back to the file system; False: no more are worth it."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit."""

    nr: int
    at: Instant
    who: str
    """The caller's name (listeners.callers.Caller.name)."""
    tenant: str
    """Whose messages the caller may touch; empty: everybody's."""
    operation: str
    subject: str
    """A message's id, a provider, a campaign, a masked number; empty: the daemon."""
    detail: str
    """What was asked for, in words; no text of a message, no number unmasked, no secret."""
    outcome: str | None = None
    """`done`, or the code of the error; None: smsd ended before it was known."""


class Audit(Protocol):
    """Who did what, and when."""

    async def begin(self, entry: Entry) -> int:
        """Write the line down (its `nr` is chosen) before it is done. Durable."""
        ...

    async def end(self, nr: int, outcome: str, detail: str | None = None) -> None:
        """What became of it; with another `detail` if told."""
        ...

    async def reopen(self, nr: int) -> bool:
        """More of the same is about to be done: its outcome is open again. Durable. False: the line is gone."""
        ...

    async def page(
        self,
        tenant: str | None,
        *,
        operation: str | None = None,
        who: str | None = None,
        since: Instant | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[tuple[Entry, ...], int | None]:
        """Newest first, and the `before` of the next page (None: that was all)."""
        ...


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert that is raised, or whose end is not told yet."""

    name: str
    raised_at: Instant
    category: str
    text: str
    announced: bool = False
    """The log and whoever does not say what arrived were told."""
    told: bool = False
    """So was every place that says so."""
    value: float | None = None
    """As it was read then (a share, a count, ms); None: an older smsd raised it."""
    bound: float | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """An alert that was raised and is over."""

    name: str
    raised_at: Instant
    cleared_at: Instant
    category: str
    text: str
    """What was wrong."""
    value: float | None = None
    """As it was read when it was raised; None: an older smsd raised it."""
    bound: float | None = None


MOST_OVER = 50
"""Alerts that are over and still known."""


@dataclass(frozen=True, slots=True)
class Longest:
    """A flow that has pending messages, and when the first of them is due."""

    route: str
    tenant: str
    campaign: str | None
    due: Instant
    rated: bool = False
    """Its campaign has a rate of its own."""


class Alerts(Protocol):
    """Which alerts are raised, over restarts; and what they ask of the outbox."""

    async def raised(self) -> tuple[Raised, ...]: ...

    async def keep(self, alert: Raised) -> None: ...

    async def clear(self, name: str) -> None: ...

    async def end(self, over: Over) -> None:
        """Write down that it is over; idempotent. The newest MOST_OVER stay."""
        ...

    async def over(self) -> tuple[Over, ...]:
        """Those that are over, oldest end first."""
        ...

    async def longest_due(self, most: int) -> tuple[Longest, ...]:
        """Flows with pending messages, at most so many, what is due first first."""
        ...

    async def paced(self, most: int) -> int:
        """Pending messages of campaigns that have a rate or hours of their own, are paused or cancelled. It looks at
        so many flows at most, what is due first first."""
        ...


MOST_GROUPS = 10_000
"""Lines of a report; what there is beyond is added up in one more."""

REST = "(other)"
"""The name of that line."""

MOST_ROWS = 10_000_000
"""Messages that one report looks at."""


class TooWideError(Exception):
    """There are too many messages between the ends of a report. `rows`: how many."""

    def __init__(self, rows: int) -> None:
        super().__init__(f"{rows} messages lie between the ends, at most {MOST_ROWS} are looked at")
        self.rows = rows


class Reports(Protocol):
    """Reads for reports: on a connection of its own, in pieces, so that they hold up nobody and no checkpoint. Groups
    are at most MOST_GROUPS; what there is beyond is added up under REST. All raise TooWideError before they read when
    more than MOST_ROWS messages lie between the ends of the span."""

    async def sums(self, span: Span, by: Group, days: Sequence[Instant], tariff: Tariff) -> Mapping[str, Sums]:
        """By the group's value ("": none). `days`: for Group.DAY the beginnings of the days (whole minutes), ascending,
        the first not after `span.since`; the key is the index in it, as a decimal."""
        ...

    async def errors(self, span: Span) -> Mapping[tuple[str, str, str], Failures]:
        """By (category, code, provider), "" where there is none: failed and undelivered ones; an EXHAUSTED one counts
        by its cause."""
        ...

    async def retries(self, span: Span) -> Mapping[int, RetrySums]:
        """By the number of calls (at least 1): messages that are final."""
        ...

    async def rate(self, since: int, until: int, tenant: str | None) -> Sequence[tuple[int, int, int]]:
        """(minute, sent, failed) of every minute of [since, until) with any, ascending; minutes since the Unix epoch.
        A tenant's are kept for two days."""
        ...


class FailedQueue(Protocol):
    """Places in the failed queue, newest first. Its pages are those of Records.page."""

    async def place(self, tenant: str | None, before: int | None, skip: int) -> tuple[int | None, int]:
        """Where it goes on behind its next `skip` messages (at least 1) of the tenant (None: of all) below number
        `before`: the `before` of that place (None: at the end), and how many are still to be skipped from there. It
        looks at 20,000 messages at most."""
        ...


class Foresight(Protocol):
    """What would be said to messages that may come. Nothing is written."""

    async def suppressed(self, numbers: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Those of the numbers that are suppressed, with the scopes in which they are. At most 500 at once."""
        ...

    async def hashes(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], bytes]:
        """Those of the keys (tenant, idempotency key) that are known, and the hash of the content each was used for.
        At most 500 at once."""
        ...

    def same(self, kept: bytes, content: bytes) -> bool:
        """Whether a hash from `hashes` is that of this content: one of a redacted message is not itself equal."""
        ...


class Desk(Protocol):
    """What operators work with, one object for each of the protocols above. Theirs from the outbox's opening on."""

    @property
    def audit(self) -> Audit: ...

    @property
    def campaigns(self) -> Campaigns: ...

    @property
    def removal(self) -> Removal: ...

    @property
    def reports(self) -> Reports: ...

    @property
    def failed(self) -> FailedQueue: ...

    @property
    def foresight(self) -> Foresight: ...

    @property
    def alerts(self) -> Alerts: ...
