"""With which SQL are the rare transitions made?

One message, or one slice, at a time: expire, cancel, reschedule, reopen, let go of what is held up; and a provider's
health. What the daily flow does set-wise is in `claiming` and `settling`.
"""

from __future__ import annotations

from smsd.store.rows import HEALTH_COLUMNS, MESSAGE_COLUMNS
from smsd.store.statements import grouped, listed
from smsd.store.statements.claiming import LET_GO

BY_ID = grouped(MESSAGE_COLUMNS, "messages WHERE id = ?")

BY_SEQ = grouped(MESSAGE_COLUMNS, "messages WHERE seq = ?")

EXPIRED = grouped(
    MESSAGE_COLUMNS,
    "(SELECT * FROM messages WHERE state = 0 AND expires_at <= ? ORDER BY expires_at LIMIT ?)",
)

NEXT_EXPIRY = "SELECT expires_at FROM messages WHERE state = 0 ORDER BY expires_at LIMIT 1"

EXPIRE = (
    f"UPDATE messages SET state = 7, {LET_GO}, processed_at = v.now, error_category = v.category, "
    "error_message = v.message, error_at = v.now, error_code = NULL, error_provider = NULL, error_cause = v.cause "
    f"FROM {listed('seq, now, category, message, cause')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

CANCEL = (
    f"UPDATE messages SET state = 6, {LET_GO}, processed_at = v.now "
    f"FROM {listed('seq, now')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

HELD = grouped(
    "seq, flow, send_at",
    "(SELECT seq, flow, send_at FROM messages WHERE state = 0 AND held IS NOT NULL AND seq > ? ORDER BY seq LIMIT ?)",
)

RELEASE = (
    f"UPDATE messages SET due = v.due, {LET_GO} "
    f"FROM {listed('seq, due')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

RESCHEDULE = (
    "UPDATE messages SET due = ?, send_at = ?, expires_at = ?, held = ?, held_by = ?, held_since = NULL "
    "WHERE seq = ? AND +state = 0 AND attempt = ?"
)

REOPEN = (
    f"UPDATE messages SET state = 0, {LET_GO}, due = ?, expires_at = ?, round = round + 1, been = 0, charged = 0, "
    "uncertain = 0, "
    "uncertain_since = NULL, lookups = 0, sender = asked_sender, sent_at = NULL, processed_at = NULL, "
    "delivered_at = NULL, provider_message_id = NULL, price = NULL, crashes = 0 WHERE seq = ? AND state = ?"
)

SAVE_PROVIDER = (
    f"INSERT OR REPLACE INTO providers ({HEALTH_COLUMNS}) VALUES ({', '.join('?' * len(HEALTH_COLUMNS.split(',')))})"
)
