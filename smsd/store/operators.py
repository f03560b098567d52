"""What does the outbox promise to operators?

Beside the transitions of messages (`smsd.store`): campaigns, removal and redaction of what is old, the audit, alerts
that are raised, and reports. Each is a small protocol of its own; the outbox has one object for each. All may raise
StoreError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from smsd.core.campaign import Campaign, Move, Terms
from smsd.core.message import Instant, Message, State


class Campaigns(Protocol):
    """Campaigns and what holds them up."""

    async def make(self, tenant: str, id: str, terms: Terms, now: Instant) -> tuple[Campaign, bool]:
        """Make it; True: it is new. One that is there keeps its terms, unless it was only named by messages so far and
        never made; whoever wants other terms compares."""
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
        """(tenant, id) of cancelled campaigns that may still have pending messages."""
        ...


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step of the retention did."""

    rows: int
    """Rows that were deleted or redacted."""
    done: bool
    """Nothing is left to be done at that time."""


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
    key_ms: int = 86_400_000
    """A key outlives its message by this."""


class Removal(Protocol):
    """Takes away what is old, and what an operator names."""

    async def delete(self, ids: Sequence[str], tenant: str | None, now: Instant) -> list[State | None]:
        """Remove these messages if they are failed or undelivered (of this tenant): the state each had, None: it is
        not there. One in another state stays, and its state says so. Counts of states and campaigns: those of all and
        by tenant go down, a campaign's stay. Keys stay for RetentionRules.key_ms. At most 200 at once."""
        ...

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """One small transaction's worth (about 5 ms) of what the rules call old."""
        ...

    async def shrink(self) -> bool:
        """Give a bounded number of free pages back to the file system; False: there are none worth it."""
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
    """An alert that is raised."""

    name: str
    raised_at: Instant
    category: str
    text: str


class Alerts(Protocol):
    """Which alerts are raised, over restarts."""

    async def raised(self) -> tuple[Raised, ...]: ...

    async def keep(self, alert: Raised) -> None: ...

    async def clear(self, name: str) -> None: ...


class Group(StrEnum):
    """What a report is by, beside the day. Values are public."""

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


@dataclass(slots=True)
class Sums:
    """What the messages of one group come to."""

    states: dict[State, int] = field(default_factory=dict)
    segments: int = 0
    """Of those that were sent."""
    prices: dict[str, str] = field(default_factory=dict)
    """By currency ("": none was named): the sum, as a decimal number."""
    unpriced: int = 0
    """Sent ones whose price nobody told."""


@dataclass(frozen=True, slots=True)
class RetrySums:
    """Of messages that were called n times."""

    calls: int
    messages: int
    succeeded: int
    """Sent or delivered now."""
    latency_ms: int
    """Sum of their last calls' latencies."""
    wait_ms: int
    """Sum of the times from acceptance (or send_at) to their end."""


class Reports(Protocol):
    """Reads for reports: on a connection of its own, in pieces, so that they hold up nobody and no checkpoint."""

    async def sums(self, span: Span, by: Group, days: Sequence[Instant]) -> Mapping[str, Sums]:
        """By the group's value ("": none). `days`: for Group.DAY the beginnings of the days, ascending; the key is the
        index in it, as a decimal."""
        ...

    async def errors(self, span: Span) -> Mapping[tuple[str, str, str], int]:
        """(category, code, provider) -> messages, of failed and undelivered ones; an EXHAUSTED one counts by its
        cause."""
        ...

    async def retries(self, span: Span) -> tuple[RetrySums, ...]:
        """By the number of calls, ascending; messages that were called and are final."""
        ...

    async def rate(self, since_minute: int, tenant: str | None) -> Sequence[tuple[int, int, int]]:
        """(minute, sent, failed) of every minute with any, ascending."""
        ...


class Desk(Protocol):
    """What operators work with, one object for each of the protocols above. Theirs from the outbox's opening on."""
