"""What is a message, and what is known of it?

Values only. A Message is one text to one recipient with everything the outbox keeps about it; an Attempt is one call
to a provider; an Error is why something did not work. Times are Instants: integer milliseconds since the Unix epoch,
UTC. Nothing here knows how a message is stored, sent or shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from smsd.core.verdict import Category

Instant = int
"""Milliseconds since the Unix epoch, UTC."""

MessageId = NewType("MessageId", str)
"""UUID version 7 in its 36-character text form (RFC 9562)."""


class State(IntEnum):
    """Where a message is in its life. The numbers are stored; they never change meaning."""

    PENDING = 0
    PROCESSING = 1
    SENT = 2
    DELIVERED = 3
    UNDELIVERED = 4
    FAILED = 5
    CANCELLED = 6
    EXPIRED = 7

    @property
    def label(self) -> str:
        return self._name_.lower()  # three a message are asked for; `name` takes three times as long


FINAL = frozenset({State.SENT, State.DELIVERED, State.UNDELIVERED, State.FAILED, State.CANCELLED, State.EXPIRED})
"""States in which smsd owes the message nothing more by itself."""


class Priority(IntEnum):
    """Which goes first among what is due. The numbers are stored; they never change meaning."""

    HIGH = 0
    NORMAL = 1
    BULK = 2

    @property
    def label(self) -> str:
        return self._name_.lower()  # three a message are asked for; `name` takes three times as long


class Encoding(IntEnum):
    """How the text travels: GSM 7-bit default alphabet with extension (3GPP TS 23.038), or UCS-2 (UTF-16 units)."""

    GSM7 = 0
    UCS2 = 1

    @property
    def label(self) -> str:
        return self._name_.lower()  # three a message are asked for; `name` takes three times as long


@dataclass(frozen=True, slots=True)
class Error:
    """Why something did not work, as every view shows it. `cause` keeps the last real error of an EXHAUSTED one."""

    category: Category
    message: str
    at: Instant
    code: str | None = None
    provider: str | None = None
    cause: Category | None = None

    def __str__(self) -> str:
        return f"{self.category}: {self.message}"


@dataclass(slots=True)
class Draft:
    """A validated submission that has an id but is not yet durable. `due` is when it may first be sent.

    A value like the others; not frozen only because freezing costs 3 us a message, half of all that acceptance costs.
    """

    id: MessageId
    recipient: str
    text: str
    tenant: str
    route: str
    """The eligible providers' names joined by commas, in routing order; the empty string when there is none."""
    priority: Priority
    created_at: Instant
    due: Instant
    expires_at: Instant
    segments: int
    encoding: Encoding
    length: int
    """Septets (GSM-7) or UTF-16 units (UCS-2)."""
    max_attempts: int
    sender: str | None = None
    """As asked for by the caller; None: the provider's default is chosen when it is sent."""
    send_at: Instant | None = None
    truncated: bool = False
    pinned: bool = False
    """The caller named the provider; it never fails over."""
    user: str | None = None
    type: str | None = None
    campaign: str | None = None
    profile: str | None = None
    metadata: dict[str, str] | None = None
    idempotency_key: str | None = None
    content_hash: bytes | None = None
    """SHA-256 over the caller's fields as sent; present exactly when idempotency_key is."""
    held: str | None = None
    """Why it is due later than asked: a waiting.Reason; None: it is not."""
    held_by: str | None = None
    """What holds it up, in words."""
    callback_url: str | None = None
    """Where what happens to it is told; None: where its tenant says, if it does."""
    exempt: bool = False
    """It answers a STOP, START or HELP: it may go to a number that is suppressed."""


@dataclass(slots=True)
class Message:
    """A message as the outbox knows it."""

    seq: int
    """Order of acceptance; the outbox's own handle."""
    id: MessageId
    state: State
    recipient: str
    text: str
    tenant: str
    route: str
    flow: int
    priority: Priority
    created_at: Instant
    due: Instant
    """Pending: next attempt. Processing and uncertain: next look-up. Otherwise the last such value."""
    expires_at: Instant
    segments: int
    encoding: Encoding
    length: int
    max_attempts: int
    sender: str | None = None
    send_at: Instant | None = None
    truncated: bool = False
    pinned: bool = False
    user: str | None = None
    type: str | None = None
    campaign: str | None = None
    profile: str | None = None
    metadata: dict[str, str] | None = None
    idempotency_key: str | None = None
    attempt: int = 0
    """Calls made or claimed over the whole life; the number of the open attempt while processing."""
    charged: int = 0
    """Calls of this round that count against max_attempts (a throttled one does not)."""
    round: int = 0
    """0 at acceptance; an operator's retry opens the next."""
    provider: str | None = None
    """The provider of the last (or open) attempt."""
    provider_message_id: str | None = None
    claimed_at: Instant | None = None
    uncertain: bool = False
    """Processing, and whether the provider took it is not known."""
    uncertain_since: Instant | None = None
    """When the uncertain attempt ended (or was found open at a start)."""
    lookups: int = 0
    """Look-ups in a row that answered and did not find it."""
    error: Error | None = None
    sent_at: Instant | None = None
    processed_at: Instant | None = None
    delivered_at: Instant | None = None
    price: str | None = None
    asked_sender: str | None = None
    """The sender that the caller named; None: smsd chooses one."""
    held: str | None = None
    """Pending, and due later because of this: a waiting.Reason; None: nothing holds it up."""
    held_by: str | None = None
    """The rule, or the hours, that hold it up, in words."""
    held_since: Instant | None = None
    """Since when a rule has held it up."""
    callback_url: str | None = None
    """As submitted; None: its tenant's counts."""
    exempt: bool = False
    """It answers a STOP, START or HELP: suppressions do not stand in its way."""
    redacted: bool = False
    """Its text is gone, and a keyed hash stands for its recipient: it can never be sent again."""


@dataclass(slots=True)
class Attempt:
    """One call to a provider, as it is remembered.

    `outcome` is the fate in one word, or "crashed" for one found open at a start.
    """

    n: int
    provider: str
    started_at: Instant
    """Wall time at which the call began."""
    started_boot: int | None
    """CLOCK_BOOTTIME microseconds at which the call began; comparable only within one boot."""
    cost: int
    """What it took out of the provider's rate: 1, or its segments."""
    latency_ms: int | None
    outcome: str
    http_status: int | None = None
    code: str | None = None
    category: Category | None = None
    provider_message_id: str | None = None
    trace: str | None = None
    """Redacted trace: status, headers that matter, the first KiB of the body without numbers and text."""
    receipt: int | None = None
    """The greatest word of its delivery receipts (core.receipt.Status); None: there was none."""
    receipt_code: str | None = None
    receipt_at: Instant | None = None
    """When that came."""
