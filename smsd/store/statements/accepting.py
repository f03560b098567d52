"""With which SQL does a draft become a message?

New messages and what few of them have besides, idempotency keys, and the number that the last message got. It refuses
to know who is refused (`smsd.store.accepting`).
"""

from __future__ import annotations

from smsd.store.rows import ACCEPTED_COLUMNS, MESSAGE_COLUMNS
from smsd.store.statements import grouped, listed, prefixed, with_rows

INSERT_MESSAGES = f"INSERT INTO messages ({ACCEPTED_COLUMNS}) VALUES {{rows}}"

HOLD_NEW = (
    f"UPDATE messages SET held = v.held, held_by = v.held_by FROM {listed('seq, held, held_by')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = 0"
)
"""Of messages inserted in the same transaction: few are held, and two more values would cost every insertion."""

NOTE_NEW = (
    f"UPDATE messages SET callback_url = v.callback_url, exempt = v.exempt FROM {listed('seq, callback_url, exempt')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = 0"
)
"""The same for what few messages have."""

BY_SEQS = "WITH v (seq) AS (VALUES {rows}) " + grouped(
    prefixed("m", MESSAGE_COLUMNS), "v CROSS JOIN messages AS m ON m.seq = v.seq"
)

FIND_KEYS = (
    "WITH v (tenant, key) AS (VALUES {rows}) "
    "SELECT k.tenant, k.key, k.hash, coalesce(m.id, k.id), coalesce(m.state, k.state), "
    "coalesce(m.segments, k.segments), coalesce(m.encoding, k.encoding) "
    "FROM v CROSS JOIN keys AS k ON k.tenant = v.tenant AND k.key = v.key LEFT JOIN messages AS m ON m.seq = k.seq "
    "WHERE coalesce(m.id, k.id) IS NOT NULL"
)
"""Not grouped: hash is a BLOB, and as a rule no row is found. A key may outlive its message; then it says itself what
that was."""

FIND_KEY = with_rows(FIND_KEYS, 2, 1)

INSERT_KEYS = "INSERT INTO keys (tenant, key, hash, seq) VALUES {rows}"

FIRST_OF_ITS_KIND = "SELECT id, state, segments, encoding FROM messages WHERE seq = ?"

LAST_SEQ = (
    "SELECT max(coalesce((SELECT max(seq) FROM messages), 0), "
    "coalesce((SELECT value FROM meta WHERE name = 'last_seq'), 0))"
)
"""Also of those that were taken away."""
