"""Which callbacks are due, and what waits or was given up?

Questions of the read side about `callbacks`, each in one short read or several. A receiver that is down may have a
million waiting, and there may be very many such receivers: places come in the order of their first due times, which are
kept (`places`), so that a look costs what it finds and what it was told to leave out, and nothing for what waits.
Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from smsd.core.callback import Callback, origin_of
from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.store.connection import Handle
from smsd.store.statements import arrays, grouped
from smsd.store.telling import DROPPED, FAILED, KEPT_NUMBERS, WAITING
from smsd.store.views import CallbackCounts

ROWS_LOOKED_AT = 5_000
"""What one read of a listing looks at, at most: some 10 ms."""

SHARE = 4
"""A place gets at most so much (a fourth) of what is taken at once."""

CALLBACK_COLUMNS = "id, event, tenant, subject, url, payload, created_at, due, tries, error, http_status, tried_at"
"""In the order of callback()."""

FIRST_PLACES = grouped(
    "due, place",
    "(SELECT due, place FROM callback_places WHERE instr(?, ' ' || substr(place, 1, instr(place, ' '))) = 0 "
    "ORDER BY due, place LIMIT ?)",
)
"""Of no tenant in a text with a space before and behind each name."""

OLDEST_DUE = "SELECT min(due) FROM callback_places"

FIRST_OF_PLACE = grouped(
    CALLBACK_COLUMNS,
    "(SELECT * FROM callbacks WHERE due IS NOT NULL AND place = ? AND due <= ? ORDER BY due, nr LIMIT ?)",
)

NEXT_OF_PLACE = "SELECT due FROM callbacks WHERE due IS NOT NULL AND place = ? ORDER BY due, nr LIMIT 1 OFFSET ?"

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


def due(
    db: Handle, now: Instant, limit: int, without: Collection[str], but_of: Collection[str] = ()
) -> tuple[tuple[Callback, ...], Instant | None]:
    """See Records.callbacks_due. Looks at one place more than `limit` and `without` together, and at `limit` rows; and
    steps over the places of `but_of`, a fraction of a microsecond for each."""
    left_out, but = frozenset(without), "".join(f" {tenant} " for tenant in but_of)
    first = [head for head in arrays(db, FIRST_PLACES, (but, limit + len(left_out) + 1)) if head[1] not in left_out]
    chosen = [place for due, place in first[:limit] if due <= now]
    others = first[len(chosen) :]
    return _take(db, chosen, now, limit, others[0][0] if others else None)


def _take(
    db: Handle, chosen: Sequence[str], now: Instant, limit: int, next_due: Instant | None
) -> tuple[tuple[Callback, ...], Instant | None]:
    """What is due of these places, at most `limit` and of each a share; and when the first of the rest is due.
    `next_due`: when the first of other places is."""
    share = max(1, limit // SHARE)
    found: list[Callback] = []
    for place in chosen:
        room = min(share, limit - len(found))
        some = [callback(row) for row in arrays(db, FIRST_OF_PLACE, (place, now, room))] if room else []
        found += some
        rest = db.execute(NEXT_OF_PLACE, (place, len(some))).fetchone()
        if rest is not None:
            next_due = earlier(next_due, rest[0])
        if not room:
            break  # those behind it are due later
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


def counts(db: Handle) -> CallbackCounts:
    """The kept counts."""
    kept = dict(db.execute(KEPT_NUMBERS).fetchall())
    (oldest_due,) = db.execute(OLDEST_DUE).fetchone()
    return CallbackCounts(kept.get(WAITING, 0), kept.get(FAILED, 0), oldest_due, kept.get(DROPPED, 0))


def callback(row: Sequence[Any]) -> Callback:
    """A row of CALLBACK_COLUMNS."""
    id, event, tenant, subject, url, *rest = row
    return Callback(id, Kind(event), tenant, subject, url, origin_of(url), *rest)


def earlier(one: Instant | None, other: Instant) -> Instant:
    """The earlier of both; None is never."""
    return other if one is None else min(one, other)
