"""Which callbacks are due, and what waits or was given up?

Questions of the read side about `callbacks`, each in short reads. A receiver that is down may have a million waiting,
and while it rests nothing of it may cost the others anything: origins are found by stepping from one to the next in
their index, never by walking what they hold (https://www.sqlite.org/partialindex.html; the step itself is what other
databases call a loose index scan). Each origin that has something waiting costs two searches. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from heapq import nsmallest
from typing import Any

from smsd.core.callback import Callback
from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.store import CallbackCounts
from smsd.store.connection import Handle
from smsd.store.statements import arrays, grouped
from smsd.store.telling import DROPPED, FAILED, KEPT_NUMBERS, WAITING

ORIGINS_AT_ONCE = 1_000
"""Origins that one read steps over: some 5 ms."""

ROWS_LOOKED_AT = 5_000
"""What one read of a listing looks at, at most: some 10 ms."""

SHARE = 4
"""An origin gets at most so much (a fourth) of what is taken at once."""

Head = tuple[Instant, str]
"""When the first callback of an origin is due, and the origin."""

CALLBACK_COLUMNS = (
    "id, event, tenant, subject, url, origin, payload, created_at, due, tries, error, http_status, tried_at"
)
"""In the order of callback()."""

HEADS = (
    "WITH RECURSIVE o (origin) AS ("
    "SELECT (SELECT origin FROM callbacks WHERE due IS NOT NULL AND origin > ? ORDER BY origin LIMIT 1) UNION ALL "
    "SELECT (SELECT c.origin FROM callbacks AS c WHERE c.due IS NOT NULL AND c.origin > o.origin "
    "ORDER BY c.origin LIMIT 1) FROM o WHERE o.origin IS NOT NULL LIMIT ?) "
    + grouped(
        "(SELECT due FROM callbacks AS c WHERE c.due IS NOT NULL AND c.origin = o.origin ORDER BY c.due LIMIT 1), "
        "o.origin",
        "o WHERE o.origin IS NOT NULL",
    )
)

FIRST_OF_ORIGIN = grouped(
    CALLBACK_COLUMNS,
    "(SELECT * FROM callbacks WHERE due IS NOT NULL AND origin = ? AND due <= ? ORDER BY due, nr LIMIT ?)",
)

NEXT_OF_ORIGIN = "SELECT due FROM callbacks WHERE due IS NOT NULL AND origin = ? ORDER BY due, nr LIMIT 1 OFFSET ?"

_LISTED = "AND id > ? AND id <= ? AND coalesce(tenant = ?, 1) ORDER BY id LIMIT ?)"

FAILED_LISTED = grouped(
    CALLBACK_COLUMNS, f"(SELECT * FROM callbacks INDEXED BY callbacks_given_up WHERE due IS NULL {_LISTED}"
)

FLOOR_OF_FAILED = (
    "SELECT id FROM callbacks INDEXED BY callbacks_given_up WHERE due IS NULL AND id > ? ORDER BY id LIMIT 1 OFFSET ?"
)

WAITING_LISTED = grouped(CALLBACK_COLUMNS, f"(SELECT * FROM callbacks WHERE +due IS NOT NULL {_LISTED}")

FLOOR_OF_ALL = "SELECT id FROM callbacks WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"

BEYOND = "~"
"""Behind every id: they begin with "evt_"."""


class Origins:
    """Whose callbacks are taken next: gathered stretch by stretch, never more than `limit` of them."""

    def __init__(self, now: Instant, limit: int, without: Collection[str] = ()) -> None:
        self._now = now
        self._limit = limit
        self._without = frozenset(without)
        self.chosen: list[Head] = []
        """Those that have something due, the one that has been due longest first."""
        self.next_due: Instant | None = None
        """When the first of the others is due."""

    def see(self, heads: Iterable[Head]) -> None:
        """These origins have something waiting."""
        for due, origin in heads:
            if origin in self._without:
                continue
            if due <= self._now:
                self.chosen.append((due, origin))
            else:
                self.next_due = earlier(self.next_due, due)
        if len(self.chosen) > self._limit:
            best = nsmallest(self._limit + 1, self.chosen)
            self.chosen, self.next_due = best[:-1], earlier(self.next_due, best[-1][0])
        else:
            self.chosen.sort()


def heads(db: Handle, after: str = "") -> tuple[list[Head], str | None]:
    """When the first callback of each origin is due, of some origins behind `after`; and the origin to go on behind
    (None: these were the last)."""
    found = [(due, origin) for due, origin in arrays(db, HEADS, (after, ORIGINS_AT_ONCE))]
    return found, found[-1][1] if len(found) == ORIGINS_AT_ONCE else None


def take(
    db: Handle, chosen: Sequence[Head], now: Instant, limit: int, next_due: Instant | None
) -> tuple[tuple[Callback, ...], Instant | None]:
    """What is due of the chosen origins, at most `limit` and of each a share; and when the first of the rest is due.
    `next_due`: when the first of other origins is."""
    share = max(1, limit // SHARE)
    found: list[Callback] = []
    for due, origin in chosen:
        room = min(share, limit - len(found))
        if room == 0:
            next_due = earlier(next_due, due)
            continue
        some = [callback(row) for row in arrays(db, FIRST_OF_ORIGIN, (origin, now, room))]
        found += some
        rest = db.execute(NEXT_OF_ORIGIN, (origin, len(some))).fetchone()
        if rest is not None:
            next_due = earlier(next_due, rest[0])
    return tuple(found), next_due


def listed(db: Handle, tenant: str | None, failed: bool, after: str, limit: int) -> tuple[list[Callback], str | None]:
    """At most `limit` callbacks behind the id `after`, in order of ids, and the id to go on behind; None: that was all.
    One read looks at a bounded number of rows."""
    floor = db.execute(FLOOR_OF_FAILED if failed else FLOOR_OF_ALL, (after, ROWS_LOOKED_AT - 1)).fetchone()
    until = BEYOND if floor is None else floor[0]
    rows = arrays(db, FAILED_LISTED if failed else WAITING_LISTED, (after, until, tenant, limit))
    found = [callback(row) for row in rows]
    if len(found) == limit:
        return found, found[-1].id
    return found, None if floor is None else until


def counts(db: Handle, oldest_due: Instant | None) -> CallbackCounts:
    """The kept counts."""
    kept = dict(db.execute(KEPT_NUMBERS).fetchall())
    return CallbackCounts(kept.get(WAITING, 0), kept.get(FAILED, 0), oldest_due, kept.get(DROPPED, 0))


def callback(row: Sequence[Any]) -> Callback:
    """A row of CALLBACK_COLUMNS."""
    id, event, *rest = row
    return Callback(id, Kind(event), *rest)


def earlier(one: Instant | None, other: Instant) -> Instant:
    """The earlier of both; None is never."""
    return other if one is None else min(one, other)
