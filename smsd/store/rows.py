"""How does a value of `core` lie in a row, and how does it come back?

The only place that knows the order of columns. Rows leave the database as JSON arrays, one array for all rows of a
query: one statement step instead of one a row (see `connection` for why steps are dear). SQLite's json functions keep
every text apart from NUL inside `json_extract`, which the store never uses; texts go in as bound parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from smsd.core.health import Health
from smsd.core.message import (
    Attempt,
    Draft,
    Encoding,
    Error,
    Instant,
    Message,
    MessageId,
    Priority,
    State,
)
from smsd.core.settlement import Settlement
from smsd.core.suppression import Suppression
from smsd.core.verdict import Category

ACCEPTED_COLUMNS = (
    "seq, id, state, recipient, text, tenant, route, flow, priority, created_at, due, expires_at, segments, encoding, "
    'length, max_attempts, asked_sender, sender, send_at, truncated, pinned, "user", "type", campaign, profile, '
    "metadata, idempotency_key"
)
"""What an acceptance writes; the rest has defaults. In the order of accepted_row()."""

MESSAGE_COLUMNS = (
    'seq, id, recipient, text, tenant, route, flow, created_at, send_at, "user", "type", campaign, profile, '
    "idempotency_key, segments, length, max_attempts, truncated, pinned, priority, encoding, metadata, asked_sender, "
    "round, state, due, expires_at, sender, attempt, charged, provider, provider_message_id, claimed_at, uncertain, "
    "uncertain_since, lookups, error_category, error_message, error_at, error_code, error_provider, error_cause, "
    "sent_at, processed_at, delivered_at, price, held, held_by, held_since, callback_url, exempt, redacted"
)
"""A whole message, in the order of message()."""

_PLACE = {name.strip(): place for place, name in enumerate(MESSAGE_COLUMNS.split(","))}
_STATE, _SENDER, _ATTEMPT = _PLACE["state"], _PLACE["sender"], _PLACE["attempt"]
_PROVIDER, _CLAIMED_AT = _PLACE["provider"], _PLACE["claimed_at"]
_HELD, _HELD_SINCE = _PLACE["held"], _PLACE["held_since"]
RECIPIENT, DUE, EXEMPT = _PLACE["recipient"], _PLACE["due"], _PLACE["exempt"]
TENANT, CAMPAIGN = _PLACE["tenant"], _PLACE["campaign"]
"""Where they stand in a row of MESSAGE_COLUMNS."""

ATTEMPT_COLUMNS = (
    "seq, n, provider, started_at, started_boot, boot, settled_at, cost, latency_ms, outcome, http_status, code, "
    "category, provider_message_id, trace"
)
"""In the order of attempt_row()."""

ATTEMPT_VIEW = (
    "n, provider, started_at, started_boot, cost, latency_ms, outcome, http_status, code, category, "
    "provider_message_id, trace, receipt, receipt_code, receipt_at"
)
"""In the order of attempt()."""

HEALTH_COLUMNS = (
    "name, fingerprint, cooling_since, cooling_until, cooling_reason, halted, paused, broken_since, broken_reason, "
    "probe_at, strikes, rate, learnt, learnt_at, halted_since, paused_since, trusted_since"
)
"""In the order of Health's fields: a row is read as Health(*row)."""

SUPPRESSION_COLUMNS = "scope, number, at, source, code"
"""In the order of Suppression's fields: a row is read as Suppression(*row)."""

CRASHED = "crashed"
"""The outcome of an attempt that was found open at a start."""

OVERTAKEN = "overtaken"
"""The outcome of an attempt that was open when a proof from outside settled its message. Its own end replaces it."""

NOTHING_HELD = (None, None, None)
"""The held columns of a message that nothing holds up."""

_STATES = tuple(State)
_PRIORITIES = tuple(Priority)
_ENCODINGS = tuple(Encoding)


def storable(text: str | None) -> str | None:
    """A provider's words as UTF-8 can hold them: half a surrogate pair becomes a question mark.

    They come from JSON, where anything can be escaped, and an outcome must not be lost for the sake of its wording.
    (A submission with such a text is refused instead.)
    """
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def accepted_row(draft: Draft, seq: int, flow: int) -> tuple[object, ...]:
    """A draft as the row of message `seq` in `flow`."""
    return (
        seq,
        draft.id,
        0,
        draft.recipient,
        draft.text,
        draft.tenant,
        draft.route,
        flow,
        int(draft.priority),
        draft.created_at,
        draft.due,
        draft.expires_at,
        draft.segments,
        int(draft.encoding),
        draft.length,
        draft.max_attempts,
        draft.sender,
        draft.sender,
        draft.send_at,
        draft.truncated,
        draft.pinned,
        draft.user,
        draft.type,
        draft.campaign,
        draft.profile,
        None if draft.metadata is None else json.dumps(draft.metadata),
        draft.idempotency_key,
    )


def message(row: Sequence[Any]) -> Message:
    """A row of MESSAGE_COLUMNS."""
    (
        seq, id_, recipient, text, tenant, route, flow, created_at, send_at, user, type_, campaign, profile,
        idempotency_key, segments, length, max_attempts, truncated, pinned, priority, encoding, metadata, asked,
        round_, state, due, expires_at, sender, attempt_, charged, provider, provider_message_id, claimed_at, uncertain,
        uncertain_since, lookups, category, error_message, error_at, error_code, error_provider, error_cause,
        sent_at, processed_at, delivered_at, price, held, held_by, held_since, callback_url, exempt,
        redacted,
    ) = row  # fmt: skip
    error = None
    if category is not None:
        cause = None if error_cause is None else Category(error_cause)
        error = Error(Category(category), error_message, error_at, error_code, error_provider, cause)
    # By position, in the order of Message's fields; the contract compares every field after a round trip.
    return Message(
        seq, MessageId(id_), _STATES[state], recipient, text, tenant, route, flow, _PRIORITIES[priority], created_at,
        due, expires_at, segments, _ENCODINGS[encoding], length, max_attempts, sender, send_at, truncated != 0,
        pinned != 0, user, type_, campaign, profile, None if metadata is None else json.loads(metadata),
        idempotency_key, attempt_, charged, round_, provider, provider_message_id, claimed_at, uncertain != 0,
        uncertain_since, lookups, error, sent_at, processed_at, delivered_at, price, asked,
        held, held_by, held_since, callback_url, exempt != 0, redacted != 0,
    )  # fmt: skip


def claimed(row: list[Any], provider: str, sender: str, now: Instant) -> Message:
    """The message of a pending row, as the claim leaves it. Changed in the row: replace() on so many fields is slow."""
    row[_STATE] = int(State.PROCESSING)
    row[_ATTEMPT] += 1
    row[_PROVIDER] = provider
    row[_SENDER] = row[_SENDER] or sender
    row[_CLAIMED_AT] = now
    row[_HELD : _HELD_SINCE + 1] = NOTHING_HELD
    return message(row)


def attempt_row(seq: int, settled_at: int, boot: int, attempt: Attempt) -> tuple[object, ...]:
    """An attempt of message `seq`, settled at `settled_at` in the boot numbered `boot`."""
    return (
        seq,
        attempt.n,
        attempt.provider,
        attempt.started_at,
        attempt.started_boot,
        boot,
        settled_at,
        attempt.cost,
        attempt.latency_ms,
        attempt.outcome,
        attempt.http_status,
        storable(attempt.code),
        None if attempt.category is None else str(attempt.category),
        storable(attempt.provider_message_id),
        storable(attempt.trace),
    )


def attempt(row: Sequence[Any]) -> Attempt:
    """A row of ATTEMPT_VIEW."""
    (
        n, provider, started_at, started_boot, cost, latency_ms, outcome, status, code, category, pmid, trace,
        receipt, receipt_code, receipt_at,
    ) = row  # fmt: skip
    return Attempt(
        n,
        provider,
        started_at,
        started_boot,
        cost,
        latency_ms,
        outcome,
        status,
        code,
        None if category is None else Category(category),
        pmid,
        trace,
        receipt,
        receipt_code,
        receipt_at,
    )


SETTLED_COLUMNS = (
    "seq, attempt, state, due, charged, uncertain, doubt_at, lookups, processed_at, sent_at, clear, category, message, "
    "at, code, provider, cause, pmid, price"
)
"""The values of one settlement, in the order of settled_row()."""


def settled_row(settlement: Settlement) -> tuple[object, ...]:
    """What a settlement writes over the message. `clear` wipes the last error: the provider has it."""
    state, at = settlement.state, settlement.at
    doubt = state is State.PROCESSING
    error = settlement.error
    return (
        settlement.seq,
        settlement.attempt_after,
        int(state),
        settlement.due,
        settlement.charged,
        doubt,
        at if doubt else None,
        settlement.lookups if doubt else 0,
        at if state in (State.SENT, State.FAILED) else None,
        at if state is State.SENT else None,
        state is State.SENT,
        *((None,) * 6 if error is None else error_values(error)),
        storable(settlement.provider_message_id),
        storable(settlement.price),
    )


def error_values(error: Error) -> tuple[object, ...]:
    """An error as category, message, at, code, provider, cause."""
    return (
        str(error.category),
        storable(error.message),
        error.at,
        storable(error.code),
        error.provider,
        None if error.cause is None else str(error.cause),
    )


def health_row(health: Health) -> tuple[object, ...]:
    """A provider's health in the order of HEALTH_COLUMNS."""
    return astuple(health)


def suppression_row(suppression: Suppression) -> tuple[object, ...]:
    """A suppression in the order of SUPPRESSION_COLUMNS."""
    return (
        suppression.scope,
        suppression.number,
        suppression.at,
        suppression.source,
        storable(suppression.code),
    )
