"""With which SQL does the outbox keep single facts about itself?

By name, in the table `meta`; the names are known where they are used.
"""

from __future__ import annotations

GET_META = "SELECT value FROM meta WHERE name = ?"

DROP_META = "DELETE FROM meta WHERE name = ? RETURNING value"

SET_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"
