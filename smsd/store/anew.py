"""Which callbacks are due anew, because somebody asks for it?

Those that were given up, and those that wait for their next try: they are made as they were when they were new. All
that wait are found place by place, those that are due already left out, in pieces: a receiver that is down may have a
million waiting, and there may be very many such receivers. What fails again meanwhile is not found a second time, so
that a receiver that refuses fast keeps nobody at it. It refuses to know who may ask; the counts and the first due times
of the places are kept by the caller (`telling`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from smsd.core.message import Instant
from smsd.store.connection import Handle
from smsd.store.statements import arrays, change, expect, grouped, listed, look_up

PIECE = 500
"""Rows that one transaction makes due at most, and places that it looks at."""

BEYOND = "\U0010ffff"
"""Behind all places: they begin with a tenant's name."""

NAMED = "WITH v (id) AS (VALUES {rows}) " + (
    grouped("c.nr, c.tenant, c.url, c.due IS NULL", "v CROSS JOIN callbacks AS c ON c.id = v.id")
)

PLACES = "SELECT place FROM callback_places WHERE place > ? AND place < ? ORDER BY place LIMIT ?"

LATER_OF_PLACE = grouped(
    "nr",
    "(SELECT nr FROM callbacks "
    "WHERE due IS NOT NULL AND place = ? AND due > ? AND created_at <> ? ORDER BY due LIMIT ?)",
)

RENEW = (
    "UPDATE callbacks SET due = v.now, created_at = v.now, tries = 0, error = NULL, http_status = NULL, "
    f"tried_at = NULL FROM {listed('nr, now')} WHERE callbacks.nr = v.nr"
)


@dataclass(frozen=True, slots=True)
class Named:
    """One of the callbacks that were named."""

    nr: int
    tenant: str
    url: str
    failed: bool
    """Whether it was given up."""


def named(db: Handle, ids: Sequence[str], tenant: str | None) -> list[Named]:
    """Of the callbacks with these ids those that are there, and are the tenant's."""
    found = [Named(*row) for row in look_up(db, NAMED, [(id,) for id in dict.fromkeys(ids)])]
    return [one for one in found if tenant in (None, one.tenant)]


def later(db: Handle, tenant: str | None, now: Instant, after: str) -> tuple[list[int], list[str], str | None]:
    """At most PIECE callbacks of the tenant that are due after `now` and were not renewed by it, in places behind
    `after` ("": all); their places; and the place behind which to go on, None: that was all."""
    first, last = ("", BEYOND) if tenant is None else (f"{tenant} ", f"{tenant}!")
    places = [place for (place,) in db.execute(PLACES, (max(after, first), last, PIECE)).fetchall()]
    numbers: list[int] = []
    before = after
    for n, place in enumerate(places):
        numbers += [nr for (nr,) in arrays(db, LATER_OF_PLACE, (place, now, now, PIECE - len(numbers)))]
        if len(numbers) == PIECE:
            return numbers, places[: n + 1], before  # there may be more of this place
        before = place
    return numbers, places, before if len(places) == PIECE else None


def renew(db: Handle, numbers: Sequence[int], now: Instant) -> None:
    """They are due now, as if they were new."""
    expect(change(db, RENEW, [(nr, now) for nr in numbers]), len(numbers))
