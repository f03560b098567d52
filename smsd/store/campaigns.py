"""How do campaigns lie in the outbox?

One row for each that was made or that a message named, its counts beside it (`deltas` keeps those), and its messages
found by their flows. A cancelled campaign's messages are cancelled in bounded steps, because there may be a million;
those that a call under way puts back later are cancelled when they would be claimed (`transitions`). Who tells the
world, and how often a step is taken, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from smsd.core.campaign import Campaign, Counts, Move, Terms
from smsd.core.message import Instant, Message, State
from smsd.store import changes, rows
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.gates import COLUMNS, campaign
from smsd.store.hands import Hands
from smsd.store.rows import MESSAGE_COLUMNS
from smsd.store.statements import arrays, grouped
from smsd.store.transitions import Ledger

TENANTS_TOLD: Final = 100
"""Campaigns of one id that are told at once, of all tenants."""

FIND_ONE: Final = f"SELECT {COLUMNS} FROM campaigns WHERE tenant = ? AND id = ?"
FIND_ALL: Final = f"SELECT {COLUMNS} FROM campaigns WHERE id = ? ORDER BY nr LIMIT {TENANTS_TOLD}"
PAGE: Final = f"SELECT {COLUMNS} FROM campaigns WHERE nr < ? ORDER BY nr DESC LIMIT ?"
PAGE_OF: Final = f"SELECT {COLUMNS} FROM campaigns WHERE tenant = ? AND nr < ? ORDER BY nr DESC LIMIT ?"
COUNTS: Final = "SELECT state, n FROM campaign_counters WHERE tenant = ? AND campaign = ? AND n <> 0"
NEWEST: Final = "SELECT coalesce(max(nr), 0) FROM campaigns"

TERMS: Final = "name = ?, rate_count = ?, rate_span_ms = ?, between_start = ?, between_end = ?, zone = ?"
MAKE: Final = (
    "INSERT INTO campaigns (name, rate_count, rate_span_ms, between_start, between_end, zone, tenant, id, created_at, "
    "changed_at, made) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)"
)
MADE: Final = f"UPDATE campaigns SET {TERMS}, made = 1 WHERE tenant = ? AND id = ? AND made = 0"
MOVED: Final = "UPDATE campaigns SET paused_at = ?, cancelled_at = ?, changed_at = ? WHERE nr = ?"

UNMAKE: Final = (
    "DELETE FROM campaigns WHERE tenant = ? AND id = ? AND paused_at IS NULL AND cancelled_at IS NULL "
    "AND NOT EXISTS (SELECT 1 FROM campaign_counters WHERE tenant = ? AND campaign = ?)"
)

CANCELLED: Final = (
    "SELECT c.tenant, c.id FROM campaigns AS c INDEXED BY campaigns_gated WHERE c.cancelled_at IS NOT NULL "
    "AND EXISTS (SELECT 1 FROM campaign_counters AS n WHERE n.tenant = c.tenant AND n.campaign = c.id "
    "AND n.state IN (0, 1) AND n.n > 0) ORDER BY c.nr"
)

FLOWS: Final = "SELECT id FROM flows WHERE pending > 0 AND tenant = ? AND campaign = ?"
PENDING: Final = grouped(
    MESSAGE_COLUMNS, "(SELECT * FROM messages WHERE state = 0 AND flow = ? ORDER BY due, seq LIMIT ?)"
)


class SqliteCampaigns:
    """Campaigns over one SQLite file. Belongs to one event loop."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def make(self, tenant: str, id: str, terms: Terms, now: Instant) -> tuple[Campaign, bool]:
        """See Campaigns.make."""
        ledger = self._hands.ledger
        return await self._hands.change(lambda db, _: make(db, ledger, tenant, id, terms, now))

    async def unmake(self, tenant: str, id: str) -> bool:
        """See Campaigns.unmake."""
        ledger = self._hands.ledger
        return await self._hands.change(lambda db, deltas: unmake(db, deltas, ledger, tenant, id))

    async def move(self, tenant: str, id: str, move: Move, now: Instant) -> Campaign | None:
        """See Campaigns.move."""
        ledger = self._hands.ledger
        return await self._hands.change(lambda db, _: moved(db, ledger, tenant, id, move, now))

    async def cancel_some(self, tenant: str, id: str, now: Instant, limit: int) -> list[Message]:
        """See Campaigns.cancel_some."""
        ledger = self._hands.ledger
        return await self._hands.change(
            lambda db, deltas: cancel_some(db, deltas, ledger, tenant, id, now, limit), size=limit
        )

    async def find(self, id: str, tenant: str | None) -> tuple[Campaign, ...]:
        """See Campaigns.find."""
        if tenant is not None:
            return await self._hands.read(lambda db: counted(db, db.execute(FIND_ONE, (tenant, id)).fetchall()))
        return await self._hands.read(lambda db: counted(db, db.execute(FIND_ALL, (id,)).fetchall()))

    async def page(self, tenant: str | None, before: int | None, limit: int) -> tuple[Campaign, ...]:
        """See Campaigns.page."""
        return await self._hands.read(lambda db: page(db, tenant, before, limit))

    async def cancelled(self) -> tuple[tuple[str, str], ...]:
        """See Campaigns.cancelled."""
        return await self._hands.read(lambda db: tuple((t, i) for t, i in db.execute(CANCELLED).fetchall()))


def counted(db: Handle, found: Iterable[Sequence[Any]]) -> tuple[Campaign, ...]:
    """Rows of COLUMNS as campaigns, with their counts."""
    return tuple(with_counts(db, campaign(row)) for row in found)


def with_counts(db: Handle, one: Campaign) -> Campaign:
    """The campaign with what is counted of it."""
    states = {State(state): n for state, n in db.execute(COUNTS, (one.tenant, one.id)).fetchall()}
    return replace(one, counts=Counts(states))


def page(db: Handle, tenant: str | None, before: int | None, limit: int) -> tuple[Campaign, ...]:
    """See Campaigns.page."""
    if before is None:
        before = db.execute(NEWEST).fetchone()[0] + 1
    if tenant is None:
        return counted(db, db.execute(PAGE, (before, limit)).fetchall())
    return counted(db, db.execute(PAGE_OF, (tenant, before, limit)).fetchall())


def make(db: Handle, ledger: Ledger, tenant: str, id: str, terms: Terms, now: Instant) -> tuple[Campaign, bool]:
    """See Campaigns.make."""
    count, span_ms = terms.rate or (None, None)
    hours = terms.hours
    between = (None, None, None) if hours is None else (hours.start_min, hours.end_min, hours.zone)
    values = (terms.name, count, span_ms, *between, tenant, id)
    is_new = db.execute(FIND_ONE, (tenant, id)).fetchone() is None
    if is_new:
        db.execute(MAKE, (*values, now, now))
    else:
        db.execute(MADE, values)
    made = campaign(db.execute(FIND_ONE, (tenant, id)).fetchone())
    ledger.campaign_changed(made)
    return with_counts(db, made), is_new


def unmake(db: Handle, deltas: Deltas, ledger: Ledger, tenant: str, id: str) -> bool:
    """See Campaigns.unmake. What was accepted in the same transaction is not in the counts yet."""
    if deltas.touches(tenant, id) or not db.execute(UNMAKE, (tenant, id, tenant, id)).rowcount:
        return False
    ledger.gates.removed([(tenant, id)])
    return True


def moved(db: Handle, ledger: Ledger, tenant: str, id: str, move: Move, now: Instant) -> Campaign | None:
    """See Campaigns.move."""
    row = db.execute(FIND_ONE, (tenant, id)).fetchone()
    if row is None:
        return None
    before = campaign(row)
    paused, cancelled = before.paused_at, before.cancelled_at
    if cancelled is None:
        match move:
            case Move.PAUSE:
                paused = now if paused is None else paused
            case Move.RESUME:
                paused = None
            case Move.CANCEL:
                cancelled = now
    after = replace(before, paused_at=paused, cancelled_at=cancelled)
    if after != before:
        after = replace(after, changed_at=max(now, before.changed_at))  # what was said of it late is kept for longer
        db.execute(MOVED, (paused, cancelled, after.changed_at, after.nr))
        ledger.campaign_changed(after)
    return with_counts(db, after)


def cancel_some(
    db: Handle, deltas: Deltas, ledger: Ledger, tenant: str, id: str, now: Instant, limit: int
) -> list[Message]:
    """See Campaigns.cancel_some."""
    if not ledger.gates.is_closed(tenant, id):
        return []
    found: list[Message] = []
    for (flow,) in db.execute(FLOWS, (tenant, id)).fetchall():
        found += map(rows.message, arrays(db, PENDING, (flow, limit - len(found))))
        if len(found) >= limit:
            break
    return changes.cancel_all(db, deltas, ledger.charges, ledger.teller, found, now)
