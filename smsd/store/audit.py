"""Where is it written down who did what?

One row for each thing an operator asked for, made before it is done and closed when it is known what became of it. A
row that was never closed stays open: smsd ended in between, and nobody may guess. Which operations are written down,
and in which words, is not known here.

A page looks at a bounded number of rows, because the filters have no index: the rows are few and read seldom, and an
index would cost at every one that is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from smsd.core.message import Instant
from smsd.core.units import DAY
from smsd.store.connection import Handle
from smsd.store.hands import Hands
from smsd.store.operators import Entry

LOOK: Final = 20_000
"""Rows that one page looks at, at most: some 10 ms."""

STEPPED: Final = DAY
"""Rows are in the order of their making, not of their times: a wall clock may have been set back by so much (ms) and
`since` still finds all."""

_COLUMNS: Final = "nr, at, who, tenant, operation, subject, detail, outcome"

_BEGIN: Final = "INSERT INTO audit (at, who, tenant, operation, subject, detail) VALUES (?, ?, ?, ?, ?, ?) RETURNING nr"
_END: Final = "UPDATE audit SET outcome = ?, detail = coalesce(?, detail) WHERE nr = ? AND outcome IS NULL"
_REOPEN: Final = "UPDATE audit SET outcome = NULL WHERE nr = ?"
_NEWEST: Final = "SELECT max(nr) FROM audit"
_OLDEST: Final = "SELECT min(nr) FROM audit"
_PAGE: Final = f"SELECT {_COLUMNS} FROM audit WHERE nr < ? AND nr >= ?{{narrowed}} ORDER BY nr DESC LIMIT ?"
_AT: Final = "SELECT at FROM audit WHERE nr >= ? ORDER BY nr LIMIT 1"


class SqliteAudit:
    """Audit over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def begin(self, entry: Entry) -> int:
        """See Audit.begin."""
        row = (entry.at, entry.who, entry.tenant, entry.operation, entry.subject, entry.detail)
        return await self._hands.change(lambda db, _: int(db.execute(_BEGIN, row).fetchone()[0]))

    async def end(self, nr: int, outcome: str, detail: str | None = None) -> None:
        """See Audit.end."""
        await self._hands.change(lambda db, _: _changed(db, (outcome, detail, nr)))

    async def reopen(self, nr: int) -> bool:
        """See Audit.reopen."""
        return await self._hands.change(lambda db, _: db.execute(_REOPEN, (nr,)).rowcount > 0)

    async def page(
        self,
        tenant: str | None,
        *,
        operation: str | None = None,
        who: str | None = None,
        since: Instant | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[tuple[Entry, ...], int | None]:
        """See Audit.page. It may hold fewer than there are, even none, and still have a page after it."""
        wanted = {"tenant = ?": tenant, "operation = ?": operation, "who = ?": who, "at >= ?": since}
        conditions = {words: value for words, value in wanted.items() if value is not None}
        return await self._hands.read(lambda db: _page(db, conditions, since, before, limit))


def _changed(db: Handle, values: Sequence[Any]) -> None:
    db.execute(_END, values)


def _page(
    db: Handle, conditions: dict[str, Any], since: Instant | None, before: int | None, limit: int
) -> tuple[tuple[Entry, ...], int | None]:
    newest, oldest = db.execute(_NEWEST).fetchone()[0], db.execute(_OLDEST).fetchone()[0]
    if newest is None:
        return (), None
    top = newest + 1 if before is None else min(before, newest + 1)
    floor = max(oldest, top - LOOK)
    query = _PAGE.format(narrowed="".join(f" AND {words}" for words in conditions))
    rows = db.execute(query, (top, floor, *conditions.values(), limit)).fetchall()
    found = tuple(Entry(*row) for row in rows)
    if len(found) == limit:
        return found, found[-1].nr if found[-1].nr > oldest else None
    return found, None if floor <= oldest or _long_past(db, floor, since) else floor


def _long_past(db: Handle, floor: int, since: Instant | None) -> bool:
    """Whether nothing below this row can be of `since` or later."""
    if since is None:
        return False
    (at,) = db.execute(_AT, (floor,)).fetchone()
    return bool(at < since - STEPPED)
