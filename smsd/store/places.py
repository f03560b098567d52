"""When is the first callback of each place due?

A place is a tenant and an origin (`core.callback.place_of`). A receiver that is down may have a million callbacks
waiting, and there may be a hundred thousand such receivers: whoever looks for what is due must walk neither. So of each
place that has something waiting the earliest due time is kept in a table of its own, by the transaction that changes
it, and the places come from there in the order of these times. It refuses to know why a callback waits.
"""

from __future__ import annotations

from collections.abc import Iterable

from smsd.store.connection import Handle
from smsd.store.statements import change, look_up_plain

FIRST_DUE = (
    "WITH v (place) AS (VALUES {rows}) "
    "SELECT v.place, p.due, "
    "(SELECT c.due FROM callbacks AS c WHERE c.due IS NOT NULL AND c.place = v.place ORDER BY c.due LIMIT 1) "
    "FROM v LEFT JOIN callback_places AS p ON p.place = v.place"
)
"""What is kept of a place, and what is true."""

KEEP_PLACES = "INSERT OR REPLACE INTO callback_places (place, due) VALUES {rows}"

FORGET_PLACES = "DELETE FROM callback_places WHERE place IN (VALUES {rows})"


def keep_first_due(db: Handle, places: Iterable[str]) -> None:
    """Callbacks of these places were written, moved or taken away by this transaction."""
    changed = [
        (place, true)
        for place, kept, true in look_up_plain(db, FIRST_DUE, [(place,) for place in dict.fromkeys(places)])
        if kept != true
    ]
    change(db, KEEP_PLACES, [row for row in changed if row[1] is not None])
    change(db, FORGET_PLACES, [(place,) for place, due in changed if due is None])
