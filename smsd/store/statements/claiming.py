"""With which SQL does a pending message begin an attempt, or is it held up, turned away or refused instead?

Each change is fenced: it repeats in its text the state, and where it matters the attempt, that was found before.
"""

from __future__ import annotations

from smsd.store.rows import MESSAGE_COLUMNS
from smsd.store.statements import grouped, listed, prefixed

LET_GO = "held = NULL, held_by = NULL, held_since = NULL"
"""Nothing holds the message up any more."""

CLAIMABLE = (
    "WITH v (seq, attempt, now) AS (VALUES {rows}) "
    + grouped(prefixed("m", MESSAGE_COLUMNS + ", admitted"), "v CROSS JOIN messages AS m ON m.seq = v.seq ")
    + "WHERE m.state = 0 AND m.attempt = v.attempt AND m.expires_at > v.now"
)
"""A message, and behind its columns the round in which it was last claimed."""

CLAIM = (
    "UPDATE messages SET state = 1, attempt = messages.attempt + 1, provider = v.provider, "
    "sender = coalesce(messages.asked_sender, v.sender), "
    "claimed_at = v.now, uncertain = 0, uncertain_since = NULL, lookups = 0, "
    f"admitted = messages.round + 1, {LET_GO} "
    f"FROM {listed('seq, attempt, provider, sender, now')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)

REROUTE = (
    f"UPDATE messages SET route = v.route, flow = v.flow FROM {listed('seq, route, flow')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0"
)

TURN_AWAY = (
    f"UPDATE messages SET state = 5, {LET_GO}, processed_at = v.at, error_category = v.category, "
    "error_message = v.message, error_at = v.at, error_code = v.code, error_provider = v.provider, error_cause = NULL "
    f"FROM {listed('seq, category, message, at, code, provider')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0"
)

HOLD_UP = (
    "UPDATE messages SET due = v.due, held = v.held, held_by = v.held_by, held_since = v.held_since "
    f"FROM {listed('seq, attempt, due, held, held_by, held_since')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)

REFUSE = (
    f"UPDATE messages SET state = v.state, {LET_GO}, due = v.due, charged = v.charged, "
    "processed_at = iif(v.state = 5, v.at, messages.processed_at), error_category = v.category, "
    "error_message = v.message, error_at = v.at, error_code = NULL, error_provider = NULL, error_cause = NULL "
    f"FROM {listed('seq, attempt, state, due, charged, category, message, at')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)
