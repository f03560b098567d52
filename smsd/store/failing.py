"""How is the failed queue read without looking at anything else?

What failed and what was not delivered stand in two partial indexes in order of acceptance; a listing of both goes down
the two at once and sorts nothing. Here is that listing's SQL, and how a place is found that somebody names by a count.
A stretch that one read looks at is bounded, so that checkpoints are not held up; who wants more asks again. It refuses
to know who asks and what becomes of what is found.
"""

from __future__ import annotations

from typing import Final

from smsd.core.message import State
from smsd.store.binding import MAX_INTEGER
from smsd.store.connection import Handle
from smsd.store.hands import Hands

STATES: Final = frozenset({State.FAILED, State.UNDELIVERED})
"""What the failed queue holds."""

STRETCH: Final = 20_000
"""Messages that one read looks at, at most: some 10 ms."""

_FAILED: Final = "messages INDEXED BY messages_failed WHERE state = 5 AND seq < ? AND seq >= ? {conditions}"
_UNDELIVERED: Final = "messages INDEXED BY messages_undelivered WHERE state = 4 AND seq < ? AND seq >= ? {conditions}"

_BOTH: Final = f"SELECT {{what}} FROM {_FAILED}UNION ALL SELECT {{what}} FROM {_UNDELIVERED}ORDER BY seq DESC LIMIT ?"

COUNT: Final = f"SELECT count(*) FROM (SELECT seq FROM {_FAILED}UNION ALL SELECT seq FROM {_UNDELIVERED})".replace(
    "{conditions}", "AND tenant = ? "
)

NTH: Final = f"{_BOTH} OFFSET ?".replace("{what}", "seq").replace("{conditions}", "")

NTH_OF_TENANT: Final = f"{_BOTH} OFFSET ?".replace("{what}", "seq").replace("{conditions}", "AND tenant = ? ")


def both(what: str, conditions: str) -> str:
    """The queue newest first, as a query: for each of the two indexes `seq` below, `seq` from, and the values of the
    `conditions` (each begins with AND and ends with a space); then how many."""
    return _BOTH.replace("{what}", what).replace("{conditions}", conditions)


def nth(db: Handle, before: int, n: int) -> int | None:
    """The number of the queue's n-th message (from 1) below `before`; None: there are fewer."""
    row = db.execute(NTH, (before, 0, before, 0, 1, n - 1)).fetchone()
    return None if row is None else int(row[0])


def place(db: Handle, tenant: str | None, before: int | None, skip: int) -> tuple[int | None, int]:
    """Where the queue of a tenant (None: of all) goes on behind its next `skip` messages (at least 1) below `before`:
    the `before` of that place (None: at the end), and how many of them are still to be skipped there. One stretch."""
    top = MAX_INTEGER if before is None else before
    if tenant is None:
        wanted = min(skip, STRETCH)
        found = nth(db, top, wanted)
        return found, 0 if found is None else skip - wanted
    floor = nth(db, top, STRETCH) or 0
    part = (top, floor, tenant)
    row = db.execute(NTH_OF_TENANT, (*part, *part, 1, skip - 1)).fetchone()
    if row is not None:
        return int(row[0]), 0
    if not floor:
        return None, 0
    return floor, skip - int(db.execute(COUNT, (*part, *part)).fetchone()[0])


class SqliteFailedQueue:
    """FailedQueue over one SQLite file."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def place(self, tenant: str | None, before: int | None, skip: int) -> tuple[int | None, int]:
        """See FailedQueue.place."""
        return await self._hands.read(lambda db: place(db, tenant, before, skip))
