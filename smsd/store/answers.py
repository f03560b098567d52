"""What does the outbox answer to who wants something changed?

What becomes of a draft (AcceptResult), of a claim that has no room (Blocked), of a transition that its message's state
forbids (WrongState). They are values, not exceptions: each is an everyday outcome. They refuse to know what made the
outbox answer so.
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.campaign import Gate
from smsd.core.limits import Rule
from smsd.core.message import Instant, Message, State
from smsd.store.errors import StoreError


@dataclass(frozen=True, slots=True)
class Stored:
    """The draft is durable as message `seq` in flow `flow`."""

    seq: int
    flow: int
    failed: Message | None = None
    """Its recipient opted out, and it is of a campaign: it is stored as this, FAILED, OPTED_OUT. None: it waits."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The key was used before for the same content: this is the message of that time."""

    id: str
    state: State
    segments: int
    encoding: int


@dataclass(frozen=True, slots=True)
class KeyConflict:
    """The key was used before for other content."""

    id: str


@dataclass(frozen=True, slots=True)
class Suppressed:
    """No provider of the draft's route may text its recipient. Nothing was stored, and no key is bound. (One of a
    campaign is stored, as failed, so that the campaign's counts add up.)"""

    scopes: tuple[str, ...]
    """Those of its suppressions that stand in the way: providers' names, or `suppression.EVERY` alone."""


@dataclass(frozen=True, slots=True)
class Limited:
    """A limit with action `reject` has no room for the draft. Nothing was stored, and no key is bound."""

    rule: Rule
    until: Instant
    """When there is room again, as far as is known now."""


@dataclass(frozen=True, slots=True)
class CampaignClosed:
    """The draft's campaign is cancelled. Nothing was stored, and no key is bound."""

    campaign: str


AcceptResult = Stored | Replay | KeyConflict | Suppressed | Limited | CampaignClosed | StoreError


NEVER: Instant = 253_402_300_799_999
"""The last millisecond of the year 9999: an end that nobody knows."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """A limit on a tenant or campaign has no room, or a campaign is held up: nothing was written, and none of its
    messages can be claimed."""

    rule: Rule | None
    """The limit; None: it is no limit but `gate`."""
    group: str
    """Whose messages (limits.groups_of)."""
    until: Instant
    """When there is room again; NEVER: when an operator says so."""
    gate: Gate | None = None
    """What holds the campaign up."""


@dataclass(frozen=True, slots=True)
class WrongState:
    """The transition is not possible from this state."""

    message: Message
    closed: bool = False
    """Its campaign is cancelled: its own state is not what stands in the way."""
