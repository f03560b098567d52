"""How does the outbox take away what is old, and what an operator names?

`operators.Removal` over one SQLite file: chores (`retention`) in their order, one small step at a call; deletion by an
operator (`removing`); and pages that became free, given back to the file system while they are many. Free pages are
used again by what comes next, so a few are left: giving them back and taking them anew would cost both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import structlog

from smsd.core.message import Instant, State
from smsd.store.connection import Handle
from smsd.store.errors import StoreError
from smsd.store.hands import Hands
from smsd.store.operators import Removed, RetentionRules
from smsd.store.pace import MOST_ROWS, Pace
from smsd.store.removing import delete
from smsd.store.retention import chores

AT_ONCE: Final = 200
"""Messages that an operator may name at once: some 10 ms."""

SHRINKS_ABOVE: Final = 0.25
SHRINKS_TO: Final = 0.10
"""Shares of the file that are free pages: above the one pages are given back, down to the other."""

FREE_LEFT: Final = 1_024
"""Free pages (4 MiB) that are never worth it."""

FREE_PAGES: Final = "PRAGMA freelist_count"
PAGES: Final = "PRAGMA page_count"

log = structlog.get_logger("smsd.store")


class SqliteRemoval:
    """Removal over one SQLite file. Belongs to one event loop."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._rules = RetentionRules()
        self.pace = Pace()
        """Of the chores."""
        self._chores = chores(hands, self.pace)
        self._at = 0
        self._complained = False
        self._compared = False
        """The key with the one that was used before."""
        self._shrinking = False
        self._changed = True
        """Since the -wal was last asked to be emptied; at the start nobody knows what the last process left in it."""
        self.vacuum = Pace()
        """Of giving pages back."""

    def rule(self, rules: RetentionRules) -> None:
        """See Removal.rule."""
        self._rules = rules

    async def delete(self, ids: Sequence[str], tenant: str | None, now: Instant) -> list[State | None]:
        """See Removal.delete. Raises ValueError for more than AT_ONCE."""
        if len(ids) > AT_ONCE:
            raise ValueError(f"at most {AT_ONCE} messages are removed at once, not {len(ids)}")
        rules = self._rules
        states = await self._hands.change(lambda db, deltas: delete(db, deltas, ids, tenant, rules, now), size=len(ids))
        self._hands.clean()
        return states

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """See Removal.step. Raises StoreError."""
        self._rules = rules
        if rules.redact_ms is not None and not await self._may_redact():
            rules = replace(rules, redact_ms=None)
        while self._at < len(self._chores):
            removed = await self._chores[self._at].step(rules, now)
            if not removed.done:
                self._changed = self._changed or removed.rows > 0
                return removed
            self._at += 1
        self._at = 0
        if self._changed:
            self._changed = False
            self._hands.clean()
        times = [chore.next for chore in self._chores if chore.next is not None]
        return Removed(0, done=True, next=min(times, default=None))

    async def _may_redact(self) -> bool:
        """Whether there is a key; it is made if need be. What is old is taken away without one, too. If earlier rows
        were redacted with another, that is logged once."""
        try:
            await asyncio.to_thread(self._hands.redaction.make)
        except StoreError as error:
            if not self._complained:
                log.error("nothing is redacted", error=str(error))
            self._complained = True
            return False
        self._complained = False
        if not self._compared:
            redaction = self._hands.redaction
            is_other = await self._hands.read(redaction.is_other)
            self._compared = True
            if is_other:
                log.warning(
                    "this key is not the one that earlier messages were redacted with: they are not found by their "
                    "numbers, and what repeats their idempotency keys is a conflict; stop smsd and put the old "
                    "redaction.key back",
                    key=str(redaction.path),
                )
        return True

    async def shrink(self) -> bool:
        """See Removal.shrink."""
        free, pages = await self._hands.read(pages_of)
        self._shrinking = free > FREE_LEFT and free > pages * (SHRINKS_TO if self._shrinking else SHRINKS_ABOVE)
        if not self._shrinking:
            return False
        work = self.vacuum.within(range(MOST_ROWS), lambda db, _, some: give_back(db, len(some)))
        _, given_back = await self._hands.change(work, size=MOST_ROWS)
        return given_back > 0


def pages_of(db: Handle) -> tuple[int, int]:
    """Free pages, and all."""
    return db.execute(FREE_PAGES).fetchone()[0], db.execute(PAGES).fetchone()[0]


def give_back(db: Handle, most: int) -> int:
    """At most so many free pages go back to the file system; how many did. A file whose pages are not to be moved
    (auto_vacuum is not incremental) gives none."""
    before = pages_of(db)[1]
    db.execute(f"PRAGMA incremental_vacuum({most})").fetchall()  # it frees one page a row
    return before - pages_of(db)[1]
