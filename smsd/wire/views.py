"""How do messages and their attempts look to a caller, and what else is answered that is no figure?

The types of answers, which are also the schemas of the HTTP interface, and how they are made from the values of `core`.
Times are RFC 3339 UTC with `Z`; what is absent is null. Counts and providers are `figures`, numbers that get nothing
more `suppressions`. Who may see them is the doors' affair.
"""

from __future__ import annotations

import msgspec

from smsd.core.message import Attempt, Error, Instant, Message, State
from smsd.core.receipt import Status
from smsd.core.units import rfc3339
from smsd.core.waiting import Reason, Waiting


class ErrorView(msgspec.Struct):
    """Why something did not work."""

    category: str
    code: str | None
    message: str
    provider: str | None
    at: str
    cause: str | None


class WaitingView(msgspec.Struct):
    """Why it has not gone yet."""

    reason: str
    until: str | None
    text: str


class MessageView(msgspec.Struct, rename={"from_": "from"}):
    """A message as every door shows it; times RFC 3339 UTC, what is absent null.

    `eta`: when a pending one will go, as things stand now; null: nobody knows, or it is one of a list. `redacted`: the
    text is gone (null), and `to` is a hash of the number, which begins with #.
    """

    id: str
    state: str
    to: str
    from_: str | None
    text: str | None
    tenant: str
    user: str | None
    type: str | None
    campaign: str | None
    priority: str
    segments: int
    encoding: str
    length: int
    attempts: int
    max_attempts: int
    created_at: str
    send_at: str | None
    expires_at: str
    next_attempt_at: str | None
    sent_at: str | None
    processed_at: str | None
    delivered_at: str | None
    provider: str | None
    provider_message_id: str | None
    price: str | None
    error: ErrorView | None
    waiting: WaitingView | None
    metadata: dict[str, str] | None
    idempotency_key: str | None
    truncated: bool
    eta: str | None = None
    redacted: bool = False


class AttemptView(msgspec.Struct):
    """One call to a provider. `receipt`: the greatest word of its delivery receipts (queued, sent, undelivered,
    delivered); null: none came."""

    n: int
    started_at: str
    latency_ms: int | None
    provider: str
    outcome: str
    http_status: int | None
    code: str | None
    category: str | None
    provider_message_id: str | None
    trace: str | None
    receipt: str | None
    receipt_code: str | None
    receipt_at: str | None


class Acceptance(msgspec.Struct):
    """The answer to an accepted submission: it is on disk."""

    id: str
    state: str
    segments: int
    encoding: str
    replayed: bool


class MessageList(msgspec.Struct):
    """A page of a listing. A page may be short, even empty, before the end; the end is a null cursor."""

    items: list[MessageView]
    next_cursor: str | None


class AttemptList(msgspec.Struct):
    """The attempts of a message, oldest first."""

    attempts: list[AttemptView]


class EventView(msgspec.Struct):
    """Something that happened. `data` holds the facts; numbers in it are masked."""

    id: str
    event: str
    at: str
    data: dict[str, object]


class EventList(msgspec.Struct):
    """Events in their order. `last`: ask for what comes `after` it. `lost`: something before the first is missing."""

    events: list[EventView]
    last: str
    lost: bool


class ReloadView(msgspec.Struct):
    """The configuration was read again: keys whose values changed and count now, and those that wait for a restart."""

    changed: list[str]
    restart: list[str]
    warnings: list[str]


class Chunk(msgspec.Struct):
    """A piece of a copy of the outbox, base64. `size`: bytes of the whole copy."""

    snapshot: str
    size: int
    offset: int
    data: str
    done: bool


class Exposition(msgspec.Struct):
    """The daemon's figures in Prometheus' text format."""

    text: str


class Pong(msgspec.Struct):
    """Somebody is there."""

    pong: bool
    version: str


def message_view(message: Message, waiting: Waiting | None, eta: Instant | None = None) -> MessageView:
    """The view of a message; `waiting` is None exactly for a final one, `eta` unless it was asked for."""
    return MessageView(
        id=message.id,
        state=message.state.label,
        to=message.recipient,
        from_=message.sender,
        text=None if message.redacted else message.text,
        tenant=message.tenant,
        user=message.user,
        type=message.type,
        campaign=message.campaign,
        priority=message.priority.label,
        segments=message.segments,
        encoding=message.encoding.label,
        length=message.length,
        attempts=message.attempt,
        max_attempts=message.max_attempts,
        created_at=rfc3339(message.created_at),
        send_at=time_text(message.send_at),
        expires_at=rfc3339(message.expires_at),
        next_attempt_at=_next_attempt(message, waiting),
        sent_at=time_text(message.sent_at),
        processed_at=time_text(message.processed_at),
        delivered_at=time_text(message.delivered_at),
        provider=message.provider,
        provider_message_id=message.provider_message_id,
        price=message.price,
        error=None if message.error is None else _error_view(message.error),
        waiting=None if waiting is None else WaitingView(waiting.reason, time_text(waiting.until), waiting.text),
        metadata=message.metadata,
        idempotency_key=message.idempotency_key,
        truncated=message.truncated,
        eta=time_text(eta),
        redacted=message.redacted,
    )


def _next_attempt(message: Message, waiting: Waiting | None) -> str | None:
    """When a pending message is next tried: not before it is due, nor before what it waits for ends; None: nobody knows
    (its provider is halted, say)."""
    if message.state is not State.PENDING:
        return None
    if waiting is None or waiting.reason is Reason.QUEUE:
        return rfc3339(message.due)
    return None if waiting.until is None else rfc3339(max(message.due, waiting.until))


def _error_view(error: Error) -> ErrorView:
    return ErrorView(error.category, error.code, error.message, error.provider, rfc3339(error.at), error.cause)


def attempt_view(attempt: Attempt) -> AttemptView:
    """The view of an attempt, its redacted trace included."""
    return AttemptView(
        n=attempt.n,
        started_at=rfc3339(attempt.started_at),
        latency_ms=attempt.latency_ms,
        provider=attempt.provider,
        outcome=attempt.outcome,
        http_status=attempt.http_status,
        code=attempt.code,
        category=attempt.category,
        provider_message_id=attempt.provider_message_id,
        trace=attempt.trace,
        receipt=None if attempt.receipt is None else Status(attempt.receipt).name.lower(),
        receipt_code=attempt.receipt_code,
        receipt_at=time_text(attempt.receipt_at),
    )


def time_text(at: Instant | None) -> str | None:
    """RFC 3339 UTC; null stays null."""
    return None if at is None else rfc3339(at)
