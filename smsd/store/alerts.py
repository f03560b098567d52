"""Which alerts are raised, over restarts?

One row for each, while it is raised and until its end is told. A daemon that starts knows by them what it has told
already, what it still has to tell, and what to call off. Beside that it tells what has been due longest, flow by flow,
by the index of live flows. It refuses to know when an alert is raised, and who is told.
"""

from __future__ import annotations

from typing import Final

from smsd.store.connection import Handle
from smsd.store.hands import Hands
from smsd.store.operators import Longest, Raised

_KEEP: Final = (
    "INSERT INTO alerts (name, raised_at, category, text, told) VALUES (?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE "
    "SET raised_at = excluded.raised_at, category = excluded.category, text = excluded.text, told = excluded.told"
)
_CLEAR: Final = "DELETE FROM alerts WHERE name = ?"
_LONGEST: Final = (
    "SELECT route, tenant, campaign, next_due FROM flows INDEXED BY flows_live "
    "WHERE pending > 0 ORDER BY next_due LIMIT ?"
)
_RAISED: Final = "SELECT name, raised_at, category, text, told FROM alerts ORDER BY name"


class SqliteAlerts:
    """Alerts over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def raised(self) -> tuple[Raised, ...]:
        """See Alerts.raised."""
        rows = await self._hands.read(lambda db: db.execute(_RAISED).fetchall())
        return tuple(Raised(name, at, category, text, bool(told)) for name, at, category, text, told in rows)

    async def keep(self, alert: Raised) -> None:
        """See Alerts.keep."""
        row = (alert.name, alert.raised_at, alert.category, alert.text, int(alert.told))
        await self._hands.change(lambda db, _: _run(db, _KEEP, row))

    async def clear(self, name: str) -> None:
        """See Alerts.clear."""
        await self._hands.change(lambda db, _: _run(db, _CLEAR, (name,)))

    async def longest_due(self, most: int) -> tuple[Longest, ...]:
        """See Alerts.longest_due."""
        return await self._hands.read(
            lambda db: tuple(Longest(*row) for row in db.execute(_LONGEST, (most,)).fetchall())
        )


def _run(db: Handle, statement: str, values: tuple[object, ...]) -> None:
    db.execute(statement, values)
