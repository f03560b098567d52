"""With which SQL does the outbox find out, when it is opened, where the last run ended?

Attempts that are open are in doubt, and the latest times written down tell of a clock that was set back. What follows
is in `smsd.store.recovery`.
"""

from __future__ import annotations

from smsd.store.rows import HEALTH_COLUMNS

OPEN_ATTEMPTS = "SELECT seq, attempt, provider, claimed_at, segments FROM messages WHERE state = 1 AND uncertain = 0"

LAST_STRAW = "SELECT seq FROM messages WHERE state = 1 AND uncertain = 0 AND crashes >= ?"
"""Open attempts whose message was open at so many crashes before."""

COUNT_CRASH = "UPDATE messages SET crashes = crashes + 1 WHERE state = 1 AND uncertain = 0"

DOUBT_OPEN = (
    "UPDATE messages SET uncertain = 1, uncertain_since = ?, due = ?, lookups = 0, charged = charged + 1 "
    "WHERE state = 1 AND uncertain = 0"
)

LAST_ACCEPTED = "SELECT created_at FROM messages ORDER BY seq DESC LIMIT 1"

LAST_SETTLED = "SELECT settled_at FROM attempts ORDER BY nr DESC LIMIT 1"

LAST_CLAIMED = "SELECT max(claimed_at) FROM messages WHERE state = 1"

PROVIDERS = f"SELECT {HEALTH_COLUMNS} FROM providers"
