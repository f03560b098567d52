"""What is an application told of its messages, and under which id?

A callback tells one fact: a message reached a state, or a text came in. Its id is made of what it is about (message,
round, state), so that a repeat after a crash, or a fact that is told twice, has the same one and the receiver can drop
it. Its body is made once and never changes. The texts of messages are not in it; the text of an inbound one is, because
the application has it from nowhere else. It refuses to know how a callback travels and who signs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from smsd.core.events import Kind
from smsd.core.message import Instant, State
from smsd.core.units import DAY, SECOND

TOLD: Mapping[State, Kind] = {
    State.SENT: Kind.MESSAGE_SENT,
    State.DELIVERED: Kind.MESSAGE_DELIVERED,
    State.UNDELIVERED: Kind.MESSAGE_UNDELIVERED,
    State.FAILED: Kind.MESSAGE_FAILED,
    State.CANCELLED: Kind.MESSAGE_CANCELLED,
    State.EXPIRED: Kind.MESSAGE_EXPIRED,
}
"""The states that are told, and under which name."""


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """`[callbacks]`, and `callback_url` and `callback_secret` of the tenants."""

    urls: Mapping[str, str] = field(default_factory=dict)
    """By tenant: where what happens to its messages is told, unless a message says otherwise."""
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """By tenant: what its callbacks are signed with, each of them (more than one while they are changed)."""
    secret: tuple[str, ...] = field(default=(), repr=False)
    """Of tenants that have none of their own."""
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    """`allow_private`: private addresses that may be called all the same."""
    timeout_ms: int = 10 * SECOND
    per_host: int = 4
    """Calls to one host at a time."""
    give_up_ms: int = 3 * DAY
    """How long one is tried."""

    def secrets_of(self, tenant: str) -> tuple[str, ...]:
        """What the tenant's callbacks are signed with; none: nothing, so that none may go out."""
        return self.secrets.get(tenant) or self.secret


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback that waits, or that was given up."""

    id: str
    """The event's id, as the receiver sees it."""
    event: Kind
    tenant: str
    subject: str
    """The message's id, or the inbound text's."""
    url: str = field(repr=False)
    origin: str
    """Scheme, host and port of the URL: what calls are counted by."""
    payload: str = field(repr=False)
    created_at: Instant
    due: Instant | None
    """When it is tried next; None: it was given up."""
    tries: int = 0
    error: str | None = None
    """Why the last try failed."""
    http_status: int | None = None
    tried_at: Instant | None = None
