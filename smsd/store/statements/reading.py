"""With which SQL are messages and attempts listed and counted for those who ask?

Each looks at a bounded stretch of rows: the "floor" is the last number that one page may look at. What changes nothing
but belongs to another subject (flows, counts, suppressions) is there.
"""

from __future__ import annotations

from smsd.store.rows import ATTEMPT_VIEW, MESSAGE_COLUMNS
from smsd.store.statements import grouped

ATTEMPTS_OF = grouped(ATTEMPT_VIEW, "(SELECT * FROM attempts WHERE seq = ? ORDER BY n, nr)")

COUNTED = (
    "count(*) FILTER (WHERE sent_at >= ?), count(*) FILTER (WHERE sent_at >= ?), "
    "count(*) FILTER (WHERE state IN (4, 5) AND processed_at >= ?), count(*) FILTER (WHERE state IN (0, 1))"
)
"""The values of a PersonCounts; its parameters are day, hour, day."""

COUNTS_OF_USER = (
    f"SELECT {COUNTED} FROM (SELECT state, sent_at, processed_at FROM messages INDEXED BY messages_user "
    'WHERE "user" = ? AND tenant = ? ORDER BY seq DESC LIMIT ?)'
)

TENANT_OF_USER = (
    'SELECT tenant FROM messages INDEXED BY messages_user WHERE "user" = ? AND tenant > ? ORDER BY tenant LIMIT 1'
)

COUNTS_OF_RECIPIENT = (
    f"SELECT {COUNTED} FROM messages NOT INDEXED "
    "WHERE seq < ? AND seq >= ? AND recipient IN (?, ?) AND coalesce(tenant = ?, 1)"
)
"""The tenant may be NULL: any."""

UNCERTAIN = grouped(
    MESSAGE_COLUMNS,
    "(SELECT * FROM messages WHERE state = 1 AND uncertain = 1 AND due <= ? "
    "AND instr(?, char(10) || provider || char(10)) = 0 ORDER BY due LIMIT ?)",
)

NEXT_UNCERTAIN = "SELECT due FROM messages WHERE state = 1 AND uncertain = 1 AND due > ? ORDER BY due LIMIT 1"

STARTS = (
    "SELECT nr, provider, started_at, started_boot, boot, settled_at, cost, outcome, "
    "coalesce((SELECT segments FROM messages WHERE messages.seq = attempts.seq), cost) "
    "FROM attempts WHERE nr < ? ORDER BY nr DESC LIMIT ?"
)

FLOOR_OF_USERS_PAGE = (
    'SELECT seq FROM messages INDEXED BY messages_user WHERE "user" = ? AND tenant = ? AND seq < ? '
    "ORDER BY seq DESC LIMIT 1 OFFSET ?"
)

FLOOR_OF_PAGE = "SELECT seq FROM messages WHERE seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?"

FLOOR_OF_FAILED_PAGE = "SELECT seq FROM messages WHERE state = 5 AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
