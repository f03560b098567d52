"""How far did one transaction come: is it on disk, surely not, or does nobody know?

Every failure is a value here, for the thread it runs on must not lose one. What a failure's code means is told by
`faults`; what follows from it is the writer's. It refuses to know what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.faults import Fault, fault


class Stage(Enum):
    """How far a transaction came."""

    DONE = "done"
    UNDONE = "undone"
    """Rolled back, surely not on disk."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one transaction; `fault` and `cause` unless it is DONE."""

    stage: Stage
    fault: Fault | None = None
    cause: Exception | None = None


def transact(db: Handle, apply: Callable[[], None]) -> Result:
    """Run `apply` as one transaction. Every failure is a value here: the thread it runs on must not lose one."""
    try:
        db.execute(sql.BEGIN)
        apply()
    except Exception as error:
        return undo(db, Result(Stage.UNDONE, fault(error), error))
    try:
        db.execute(sql.COMMIT)
    except Exception as error:
        meaning = fault(error)
        if meaning in {Fault.FULL, Fault.BUSY}:
            # Neither wrote a commit record: SQLite gives FULL when a frame could not be written, before any sync.
            return undo(db, Result(Stage.UNDONE, meaning, error))
        return undo(db, Result(Stage.UNKNOWN, Fault.FATAL, error))
    return Result(Stage.DONE)


def undo(db: Handle, result: Result) -> Result:
    """Roll back what is still open; a rollback that fails leaves nothing to trust."""
    if not db.in_transaction:
        return result
    try:
        db.execute(sql.ROLLBACK)
    except Exception as error:
        return Result(result.stage, Fault.FATAL, error)
    return result
