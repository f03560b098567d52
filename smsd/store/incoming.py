"""What comes back from the providers, and what became of it?

Delivery receipts (Received), texts that people sent (Arrival, Inbound, Arrived), and what must be written down when a
message leaves so that they find their way (Tracking). It refuses to know how a provider puts them (`providers`), and
how they are applied (`receiving`, `arriving`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from smsd.core.consent import Word
from smsd.core.message import Instant, Message, State
from smsd.core.receipt import Receipt


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is to be written down for the way back; all of it costs something for each message sent."""

    ids: frozenset[str] = frozenset()
    """Providers whose receipts name only their own id of a message: it is looked up by that."""
    threads: frozenset[str] = frozenset()
    """Providers whose recipients can answer: who texted whom last is remembered."""
    callbacks: Mapping[str, str] = field(default_factory=dict)
    """By tenant: where what happens to its messages is told, unless a message says otherwise."""


@dataclass(frozen=True, slots=True)
class Received:
    """What a receipt changed."""

    receipt: Receipt
    message: Message | None
    """As it is now; None: no message is known by these ids. Then it is kept for a day, if it has the provider's id."""
    before: State | None = None
    """Its state before; None: as `message`."""
    n: int | None = None
    """The attempt it is about."""
    news: bool = False
    """It says more than was known: the attempt's row says so now."""
    proved: bool = False
    """That the provider took the call was not known before."""
    resent: bool = False
    """The message did not arrive and is pending again, due as it says."""
    suppressed: bool = False
    """The recipient was not suppressed at that provider, and is now."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A text that came in, before it is known whose it is."""

    id: str
    """Ours, UUID version 7."""
    provider: str
    provider_message_id: str
    sender: str = field(repr=False)
    recipient: str
    text: str = field(repr=False)
    word: Word | None
    sent_at: Instant | None
    received_at: Instant
    owner: str
    """The tenant that gets it where the two numbers have no message between them."""
    owned: bool = False
    """The number is the owner's own. Else the provider may have chosen it for a message that named another sender, or
    none: then the last one that this provider took for the writer counts before `owner`."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """A text that was received, as it is kept."""

    nr: int
    """Order of arrival; the outbox's own handle."""
    id: str
    provider: str
    provider_message_id: str
    sender: str = field(repr=False)
    recipient: str
    text: str = field(repr=False)
    tenant: str
    message: str | None
    """The id of the last message between the two numbers."""
    word: Word | None
    news: bool
    """The word changed something (a suppression came or went; a HELP after some quiet), so it is to be answered."""
    sent_at: Instant | None
    received_at: Instant
    redacted: bool = False
    """Its text is gone, and a keyed hash stands for its sender."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """What became of an Arrival. `first` False: it was there already, and nothing was done."""

    inbound: Inbound
    first: bool
    suppressed: bool = False
    """A STOP: the sender was not suppressed there, and is now."""
    lifted: tuple[str, ...] = ()
    """A START: the scopes in which the sender was suppressed, and is no more."""
