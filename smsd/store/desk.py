"""Which are the outbox's parts for operators?

Each is a class of its own (campaigns, removal, audit, alerts, reports) and works with the same hands (`hands`). It
refuses to know what they do.
"""

from __future__ import annotations

from smsd.store.alerts import SqliteAlerts
from smsd.store.audit import SqliteAudit
from smsd.store.campaigns import SqliteCampaigns
from smsd.store.failing import SqliteFailedQueue
from smsd.store.foresight import SqliteForesight
from smsd.store.hands import Hands
from smsd.store.removal import SqliteRemoval
from smsd.store.reports import SqliteReports


class SqliteDesk:
    """Desk over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self.alerts = SqliteAlerts(hands)
        self.audit = SqliteAudit(hands)
        self.campaigns = SqliteCampaigns(hands)
        self.removal = SqliteRemoval(hands)
        self.failed = SqliteFailedQueue(hands)
        self.reports = SqliteReports(hands)
        self.foresight = SqliteForesight(hands)

    async def close(self) -> None:
        """Close what the parts opened themselves. Idempotent."""
        await self.reports.close()
