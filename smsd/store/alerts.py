"""Which alerts are raised, and which were, over restarts?

One row for each, while it is raised and until its end is told. A daemon that starts knows by them what it has told
already, what it still has to tell, and what to call off. What is over is kept for who looks the morning after; a second
row of the same raise replaces the first. Beside that it tells what has been due longest, flow by flow, by the index of
live flows, and how much of the backlog waits because its operator wanted so. It refuses to know when an alert is
raised, and who is told.
"""

from __future__ import annotations

from dataclasses import astuple
from typing import Final

from smsd.store.connection import Handle
from smsd.store.hands import Hands
from smsd.store.operators import MOST_OVER, Longest, Over, Raised

_KEEP: Final = (
    "INSERT INTO alerts (name, raised_at, category, text, announced, told, value, bound) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (name) DO UPDATE SET raised_at = excluded.raised_at, category = excluded.category, "
    "text = excluded.text, announced = excluded.announced, told = excluded.told, "
    "value = excluded.value, bound = excluded.bound"
)
_CLEAR: Final = "DELETE FROM alerts WHERE name = ?"
_RAISED: Final = "SELECT name, raised_at, category, text, announced, told, value, bound FROM alerts ORDER BY name"
_END: Final = (
    "INSERT OR REPLACE INTO alerts_over (name, raised_at, cleared_at, category, text, value, bound) "
    "VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_TRIM: Final = (
    "DELETE FROM alerts_over WHERE (name, raised_at) NOT IN "
    "(SELECT name, raised_at FROM alerts_over ORDER BY cleared_at DESC, name LIMIT ?)"
)
_OVER: Final = (
    "SELECT name, raised_at, cleared_at, category, text, value, bound FROM alerts_over ORDER BY cleared_at, name DESC"
)

_LIVE: Final = (
    "(SELECT route, tenant, campaign, pending, next_due FROM flows INDEXED BY flows_live "
    "WHERE pending > 0 ORDER BY next_due LIMIT ?) AS live"
)
_LONGEST: Final = (
    "SELECT live.route, live.tenant, live.campaign, live.next_due, campaigns.rate_count IS NOT NULL "
    f"FROM {_LIVE} LEFT JOIN campaigns ON campaigns.tenant = live.tenant AND campaigns.id = live.campaign "
    "ORDER BY live.next_due"
)
_PACED: Final = (
    f"SELECT coalesce(sum(live.pending), 0) FROM {_LIVE} "
    "JOIN campaigns ON campaigns.tenant = live.tenant AND campaigns.id = live.campaign "
    "WHERE paused_at IS NOT NULL OR cancelled_at IS NOT NULL OR rate_count IS NOT NULL OR between_start IS NOT NULL"
)


class SqliteAlerts:
    """Alerts over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def raised(self) -> tuple[Raised, ...]:
        """See Alerts.raised."""
        rows = await self._hands.read(lambda db: db.execute(_RAISED).fetchall())
        return tuple(
            Raised(name, at, category, text, bool(announced), bool(told), value, bound)
            for name, at, category, text, announced, told, value, bound in rows
        )

    async def keep(self, alert: Raised) -> None:
        """See Alerts.keep."""
        marks = (int(alert.announced), int(alert.told))
        row = (alert.name, alert.raised_at, alert.category, alert.text, *marks, alert.value, alert.bound)
        await self._hands.change(lambda db, _: _run(db, _KEEP, row))

    async def clear(self, name: str) -> None:
        """See Alerts.clear."""
        await self._hands.change(lambda db, _: _run(db, _CLEAR, (name,)))

    async def end(self, over: Over) -> None:
        """See Alerts.end."""
        row = astuple(over)

        def ended(db: Handle) -> None:
            db.execute(_END, row)
            db.execute(_TRIM, (MOST_OVER,))

        await self._hands.change(lambda db, _: ended(db))

    async def over(self) -> tuple[Over, ...]:
        """See Alerts.over."""
        return tuple(Over(*row) for row in await self._hands.read(lambda db: db.execute(_OVER).fetchall()))

    async def longest_due(self, most: int) -> tuple[Longest, ...]:
        """See Alerts.longest_due."""
        rows = await self._hands.read(lambda db: db.execute(_LONGEST, (most,)).fetchall())
        return tuple(Longest(route, tenant, campaign, due, bool(rated)) for route, tenant, campaign, due, rated in rows)

    async def paced(self, most: int) -> int:
        """See Alerts.paced."""
        return int(await self._hands.read(lambda db: db.execute(_PACED, (most,)).fetchone()[0]))


def _run(db: Handle, statement: str, values: tuple[object, ...]) -> None:
    db.execute(statement, values)
