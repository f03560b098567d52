"""Whose is a provider's message id already?

An id that a message has is never given to another one that a look-up asks for. Ids that look-ups found are indexed.
Those that an answer gave are not (sql/sqlite/0001_initial.sql says why): they are looked for among the newest calls,
backward, as far as a call of theirs can lie. That takes milliseconds, which a look-up has and a receipt has not: one
that names our id is the provider's own word on whose its id is, and is compared only with what look-ups found, for they
may have mixed up two equal texts. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from smsd.core.message import Instant
from smsd.store import rows
from smsd.store.connection import Handle
from smsd.store.statements import SIZES
from smsd.store.statements.binding import (
    BOUND_BY_ANSWER,
    BOUND_BY_LOOKUP,
    BOUND_TO_OTHER_BY_LOOKUP,
    EARLIEST_DOUBT,
    STEP_BACK,
)

ATTEMPTS_AT_ONCE = 1_000
"""Attempts read at a time when they are read backward."""

BINDING_SLACK_MS = 60_000
"""How far a provider's clock may be from ours when a look-up lists what it made since a call began."""

MAX_INTEGER = 2**63 - 1
"""SQLite's largest; above every number and time."""


def bound(db: Handle, ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
    """Those of the provider message ids that an attempt of ours already has, at whichever provider but these.

    Ids that look-ups found are indexed. Ids that came with an answer are looked for backward, to a minute before the
    earliest call that is in doubt: what a look-up for it can find was made after that call began, and an answer to one
    of our calls was settled after the provider made its id.
    """
    found: set[str] = set()
    since = doubted_since(db)
    for start in range(0, len(ids), SIZES[0]):
        some = [rows.storable(id) for id in ids[start : start + SIZES[0]]]
        marks = ", ".join("?" * len(some))
        rows_found = db.execute(BOUND_BY_LOOKUP.replace("{ids}", marks), some).fetchall()
        statement = BOUND_BY_ANSWER.replace("{ids}", marks)
        for low, high in stretches(db, since):
            rows_found += db.execute(statement, (low, high, *some)).fetchall()
        found.update(id for id, provider in rows_found if provider not in without)
    return found


def doubted_since(db: Handle) -> Instant:
    """How far back an answered call can matter to a look-up that is under way."""
    earliest = db.execute(EARLIEST_DOUBT).fetchone()[0]
    newest = db.execute(STEP_BACK, (MAX_INTEGER, 0)).fetchone()
    times = [time for time in (earliest, None if newest is None else newest[1]) if time is not None]
    return min(times, default=0) - BINDING_SLACK_MS


def stretches(db: Handle, since: Instant) -> Iterator[tuple[int, int]]:
    """Ranges of attempt numbers, newest first, until one begins with an attempt that was settled before `since`."""
    high = MAX_INTEGER
    while True:
        row = db.execute(STEP_BACK, (high, ATTEMPTS_AT_ONCE - 1)).fetchone()
        if row is None:
            yield 0, high
            return
        yield row[0], high
        if row[1] < since:
            return
        high = row[0]


def found_for_another(db: Handle, seq: int, provider: str, pmid: str) -> bool:
    """Whether a look-up found the id of this provider for another message than `seq`."""
    return db.execute(BOUND_TO_OTHER_BY_LOOKUP, (pmid, seq, provider)).fetchone() is not None
