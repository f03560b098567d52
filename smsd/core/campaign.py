"""What is a campaign, how far is it, and may its messages go now?

Many messages of one tenant under one id. It has a status that follows from its counts and from what its operator said,
and it may be held up as a whole: paused, cancelled, or outside the hours in which it is sent. Its rate is a limit like
any other (`limits`), of this campaign alone. No message is known here: counts are told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from enum import StrEnum

from smsd.core.limits import Action, Per, Rule, group_of
from smsd.core.message import Instant, State
from smsd.core.quiet import QuietHours, clock, ends, zones_of
from smsd.core.waiting import Reason

QUEUED = (State.PENDING, State.PROCESSING)
SENT = (State.SENT, State.DELIVERED)
FAILED = (State.FAILED, State.UNDELIVERED, State.EXPIRED, State.CANCELLED)


class Status(StrEnum):
    """How a campaign is. Values are public."""

    SENDING = "sending"
    PAUSED = "paused"
    CANCELLED = "cancelled"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class Hours:
    """Its messages are sent from `start_min` up to, not including, `end_min`: minutes of the day in `zone` (an IANA
    name), never equal. A start after the end: over midnight."""

    start_min: int
    end_min: int
    zone: str

    @property
    def closed(self) -> QuietHours:
        """The rest of the day."""
        return QuietHours(self.end_min, self.start_min)

    @property
    def words(self) -> str:
        """As views name them: `09:00-18:00 (Europe/Berlin)`."""
        return f"{clock(self.start_min)}-{clock(self.end_min)} ({self.zone})"

    def opens(self, at: Instant) -> Instant:
        """The first moment from `at` on that is within them: `at` itself if that is. A zone that this machine's time
        zone database does not know counts as UTC."""
        zones = zones_of((self.zone,))
        return ends(self.closed, zones[0] if zones else UTC, at)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of its messages are in each state, over all time. Removed ones stay counted."""

    states: Mapping[State, int] = field(default_factory=dict)

    def of(self, states: tuple[State, ...]) -> int:
        """How many are in one of these states."""
        return sum(self.states.get(state, 0) for state in states)

    @property
    def total(self) -> int:
        return sum(self.states.values())

    @property
    def queued(self) -> int:
        """Pending or processing."""
        return self.of(QUEUED)

    @property
    def sent(self) -> int:
        """Sent or delivered."""
        return self.of(SENT)

    @property
    def failed(self) -> int:
        """Failed, undelivered, expired or cancelled."""
        return self.of(FAILED)

    @property
    def processed(self) -> int:
        return self.sent + self.failed


@dataclass(frozen=True, slots=True)
class Terms:
    """What its operator said about a campaign."""

    name: str = ""
    rate: tuple[int, int] | None = None
    """So many messages in any so many ms; None: no limit of its own."""
    hours: Hours | None = None

    def rule(self, tenant: str) -> Rule | None:
        """Its rate as a limit; its key is that of every limit on campaigns (limits.key_of)."""
        if self.rate is None:
            return None
        return Rule(Per.CAMPAIGN, *self.rate, action=Action.DEFER, tenant=tenant)


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign as it is now."""

    nr: int
    """Order of making; the outbox's own handle."""
    tenant: str
    id: str
    created_at: Instant
    changed_at: Instant
    """When a message of it last changed its state."""
    terms: Terms = field(default_factory=Terms)
    paused_at: Instant | None = None
    cancelled_at: Instant | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def status(self) -> Status:
        """Cancelled and paused are what an operator said; completed is when there are messages and none is queued."""
        if self.cancelled_at is not None:
            return Status.CANCELLED
        if self.counts.total > 0 and self.counts.queued == 0:
            return Status.COMPLETED
        return Status.SENDING if self.paused_at is None else Status.PAUSED


@dataclass(frozen=True, slots=True)
class Gate:
    """What holds all messages of a campaign up."""

    reason: Reason
    words: str
    """Which campaign, and what holds it up."""
    until: Instant | None
    """None: until its operator says otherwise."""


def gate(campaign: Campaign, now: Instant) -> Gate | None:
    """What holds it up at `now`; None: nothing does. Its rate is asked for with the limits."""
    if campaign.cancelled_at is not None:
        words = f"campaign {campaign.id} is cancelled, and so are those of its messages that wait"
        return Gate(Reason.CAMPAIGN_PAUSED, words, None)
    if campaign.paused_at is not None:
        words = f"campaign {campaign.id} is paused; nothing of it is sent until it is resumed: smsd campaign resume"
        return Gate(Reason.CAMPAIGN_PAUSED, f"{words} {campaign.id}", None)
    hours = campaign.terms.hours
    opens = now if hours is None else hours.opens(now)
    if hours is None or opens == now:
        return None
    return Gate(Reason.QUIET_HOURS, f"campaign {campaign.id} is sent {hours.words}", opens)


def group(tenant: str, id: str) -> str:
    """The name under which its flows are held up."""
    return group_of(Per.CAMPAIGN, f"{tenant}\n{id}")


class Move(StrEnum):
    """What an operator can do to a campaign. Values are public (events, audit)."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
