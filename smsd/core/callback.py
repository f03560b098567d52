"""What is an application told of its messages, and under which id?

A callback tells one fact: a message reached a state, or a text came in. Its id is made of what it is about (message,
round, state), so that a repeat after a crash has the same one and the receiver can drop it. Its body is made once and
never changes: a message that is sent again in the same round, because it did not arrive, is not told as sent again;
what becomes of it in the end says by which attempt. The texts of messages are not in it; the text of an inbound one is,
because the application has it from nowhere else. It refuses to know how a callback travels and who signs it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

from smsd.core.events import Kind
from smsd.core.message import Error, Instant, Message, State
from smsd.core.units import DAY, SECOND, rfc3339

TOLD: Mapping[State, Kind] = {
    State.SENT: Kind.MESSAGE_SENT,
    State.DELIVERED: Kind.MESSAGE_DELIVERED,
    State.UNDELIVERED: Kind.MESSAGE_UNDELIVERED,
    State.FAILED: Kind.MESSAGE_FAILED,
    State.CANCELLED: Kind.MESSAGE_CANCELLED,
    State.EXPIRED: Kind.MESSAGE_EXPIRED,
}
"""The states that are told, and under which name."""

_ORIGIN = re.compile(r"(https?)://([^/?#@:\[\]]+|\[[0-9a-f:.]+\])(?::([0-9]*))?(?:[/?#]|$)", re.IGNORECASE)
_PORTS = {"http": "80", "https": "443"}


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """`[callbacks]`, and `callback_url` and `callback_secret` of the tenants."""

    urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    """By tenant: where what happens to its messages is told, unless a message says otherwise."""
    secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    """By tenant: what its callbacks are signed with, each of them (more than one while they are changed)."""
    secret: tuple[str, ...] = field(default=(), repr=False)
    """Of tenants that have none of their own."""
    allowed: tuple[IPv4Network | IPv6Network, ...] = ()
    """`allow_private`: private addresses that may be called all the same."""
    timeout_ms: int = 10 * SECOND
    per_host: int = 4
    """Calls to one host at a time, of all tenants together."""
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

    @property
    def place(self) -> str:
        """See place_of."""
        return f"{self.tenant} {self.origin}"


def event_id(message: Message, state: State | None = None) -> str:
    """The id of the fact that the message is in `state` (None: the one it is in) in its present round."""
    state = message.state if state is None else state
    return f"evt_{message.id}_{message.round}_{state.label}"


def inbound_id(inbound: str) -> str:
    """The id of the fact that the inbound text with this id came in."""
    return f"evt_{inbound}"


def origin_of(url: str) -> str:
    """Scheme, host and port of an http(s) URL: `https://example.com:443`. Any other text is its own origin: what was
    accepted once must never stand in the way of what happens to its message."""
    match = _ORIGIN.match(url)
    if match is None:
        return url
    scheme = match[1].lower()
    return f"{scheme}://{match[2].lower()}:{match[3] or _PORTS[scheme]}"


def place_of(tenant: str, url: str) -> str:
    """Whose callbacks go where: the tenant and the origin of the URL. What does not work is left alone by it, and what
    waits is shared out by it, so that at a host that serves many the mistake of one tenant is no other's. Of no two
    tenants the same: their names have no spaces."""
    return f"{tenant} {origin_of(url)}"


def happened_at(message: Message, at: Instant) -> Instant:
    """When the message came into its state, as far as it says; else `at`."""
    match message.state:
        case State.SENT:
            known = message.sent_at
        case State.DELIVERED:
            known = message.delivered_at
        case State.UNDELIVERED:
            known = None if message.error is None else message.error.at
        case _:
            known = message.processed_at
    return at if known is None else known


def payload(message: Message, at: Instant) -> str:
    """The body that tells the message's state, a key of TOLD, which it came into at `at`: JSON in ASCII, without the
    text. Raises KeyError for a state that is not told."""
    data = {
        "id": message.id,
        "state": message.state.label,
        "to": message.recipient,
        "from": message.sender,
        "tenant": message.tenant,
        "user": message.user,
        "type": message.type,
        "campaign": message.campaign,
        "priority": message.priority.label,
        "segments": message.segments,
        "attempts": message.attempt,
        "provider": message.provider,
        "provider_message_id": message.provider_message_id,
        "idempotency_key": message.idempotency_key,
        "metadata": message.metadata,
        "created_at": rfc3339(message.created_at),
        "sent_at": _time(message.sent_at),
        "processed_at": _time(message.processed_at),
        "delivered_at": _time(message.delivered_at),
        "price": message.price,
        "error": None if message.error is None else _error(message.error),
    }
    return _body(TOLD[message.state], at, data)


def inbound_payload(
    *,
    id: str,
    sender: str,
    recipient: str,
    text: str,
    tenant: str,
    provider: str,
    message: str | None,
    word: str | None,
    received_at: Instant,
) -> str:
    """The body that tells of an inbound text: JSON in ASCII. `sender` wrote it, `recipient` is our number, `message`
    the id of the one it seems to answer."""
    data = {
        "id": id,
        "from": sender,
        "to": recipient,
        "text": text,
        "tenant": tenant,
        "provider": provider,
        "message": message,
        "word": word,
        "received_at": rfc3339(received_at),
    }
    return _body(Kind.INBOUND_RECEIVED, received_at, data)


def _body(event: Kind, at: Instant, data: Mapping[str, object]) -> str:
    # In ASCII, so that whatever a provider's words hold can be stored, signed and sent.
    return json.dumps({"type": str(event), "timestamp": rfc3339(at), "data": data}, separators=(",", ":"))


def _error(error: Error) -> Mapping[str, object]:
    return {
        "category": str(error.category),
        "code": error.code,
        "message": error.message,
        "provider": error.provider,
        "at": rfc3339(error.at),
        "cause": None if error.cause is None else str(error.cause),
    }


def _time(at: Instant | None) -> str | None:
    return None if at is None else rfc3339(at)
