"""When is the -wal copied into the database, and when are the files cleaned?

While the writer is idle, or after so many rows in any case; and soon after something was overwritten that is not to
stay readable. What is to be cleaned and how is known by `cleaning`; who is idle, and what a failure means, by the
writer.
"""

from __future__ import annotations

from collections.abc import Callable

from smsd.store import statements as sql
from smsd.store.cleaning import Cleaning, clean
from smsd.store.connection import Connection, Handle
from smsd.store.faults import fault
from smsd.store.transaction import Result, Stage

IDLE_S = 1.0
IDLE_ROWS = 500
"""After so long without work, so many rows in the -wal are checkpointed: a start after a crash has little to replay."""

CHECKPOINT_ROWS = 20_000
"""Rows after which it is checkpointed in any case: some tens of MiB of -wal."""


class Upkeep:
    """What was written since the last checkpoint, and what is to be clean. Times: `time`, the event loop's, in
    seconds."""

    def __init__(self, connection: Connection, time: Callable[[], float]) -> None:
        self._connection = connection
        self._time = time
        self._rows = 0
        self._cleaning = Cleaning()

    def clean(self) -> None:
        """Something was overwritten that is not to stay readable."""
        self._cleaning.ask()

    def wrote(self, rows: int) -> None:
        """So many rows more are in the -wal."""
        self._rows += rows

    @property
    def is_overdue(self) -> bool:
        """Whether there is too much in the -wal to wait for a moment without work."""
        return self._rows >= CHECKPOINT_ROWS

    def is_due(self) -> bool:
        """Whether there is something to do while there is no work."""
        return self._rows >= IDLE_ROWS or self._cleaning.is_due(self._time())

    def patience(self) -> float | None:
        """How long to wait for work before looking whether something is due; None: as long as it takes."""
        if self._rows >= IDLE_ROWS:
            return IDLE_S
        due = self._cleaning.due()
        return None if due is None else max(IDLE_S, due - self._time())

    async def checkpoint(self, *, rewrite: bool) -> Result:
        """Copy the -wal into the database, as far as no reader stands in the way; and empty it if it is to be clean.

        `rewrite`: there is time and room to write the database anew, if that is to be done."""
        cleaning = self._cleaning.is_due(self._time())
        rewrite = cleaning and self._cleaning.begin(self._time(), rewrite=rewrite)
        self._rows = 0
        cleaned = not cleaning

        def work(db: Handle) -> Result:
            nonlocal cleaned
            try:
                if cleaning:
                    cleaned = clean(db, rewrite=rewrite)
                else:
                    db.execute(sql.CHECKPOINT).fetchone()
            except Exception as error:
                return Result(Stage.UNDONE, fault(error), error)
            return Result(Stage.DONE)

        result = await self._connection.run(work)
        if not cleaned:
            self._cleaning.again(self._time(), rewrite=rewrite)
        return result
