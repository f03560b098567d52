"""With which SQL are suppressed numbers kept, found and listed?

Who adds and lifts them is in `smsd.store.optouts`.
"""

from __future__ import annotations

from smsd.store.rows import SUPPRESSION_COLUMNS
from smsd.store.statements import grouped

ANY_SUPPRESSION = "SELECT 1 FROM suppressions LIMIT 1"

SUPPRESSED = "WITH v (number) AS (VALUES {rows}) " + grouped(
    "s.number, s.scope, s.code", "v CROSS JOIN suppressions AS s ON s.number = v.number"
)

SUPPRESSIONS_OF = f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE number = ? ORDER BY scope"

SUPPRESSIONS_AFTER = (
    f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE (number, scope) > (?, ?) ORDER BY number, scope LIMIT ?"
)

SUPPRESSIONS_IN_SCOPE_AFTER = (
    f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE scope = ? AND number > ? ORDER BY number LIMIT ?"
)

ADD_SUPPRESSIONS = (
    f"INSERT INTO suppressions ({SUPPRESSION_COLUMNS}) VALUES {{rows}} ON CONFLICT (scope, number) DO NOTHING"
)

LIFT_SUPPRESSION = "DELETE FROM suppressions WHERE scope = ? AND number = ?"
