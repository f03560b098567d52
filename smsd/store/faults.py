"""What does a failure of the database mean for what was promised?

A pure reading of an exception into one of four meanings; what follows from each is the writer's. SQLite's result codes
are those of https://www.sqlite.org/rescode.html. An extended code's low byte is its primary code.
"""

from __future__ import annotations

import sqlite3
from enum import Enum


class Fault(Enum):
    """What went wrong, as far as the outbox has to care."""

    FULL = "full"
    """No room. The transaction is undone; it works again when there is space."""
    BUSY = "busy"
    """Another process holds the write lock. The transaction never began; it works again when that ends."""
    ROW = "row"
    """One row cannot be stored (a constraint, a value out of range). Its neighbours can."""
    FATAL = "fatal"
    """The file, the disk or the program is not to be trusted any more."""


_BY_CODE = {
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_CONSTRAINT: Fault.ROW,
    sqlite3.SQLITE_MISMATCH: Fault.ROW,
    sqlite3.SQLITE_TOOBIG: Fault.ROW,
    sqlite3.SQLITE_RANGE: Fault.ROW,
}
"""Everything else is FATAL: IOERR, CORRUPT, NOTADB, READONLY, CANTOPEN, PERM, NOMEM, PROTOCOL, MISUSE, ERROR ..."""

_REMEDIES = {
    sqlite3.SQLITE_CORRUPT: "the database is damaged: stop smsd, keep the files, restore a backup",
    sqlite3.SQLITE_NOTADB: "the file is not a SQLite database: check [daemon] state_dir, restore a backup",
    sqlite3.SQLITE_READONLY: "the database or its file system is read-only: check permissions and mount options",
    sqlite3.SQLITE_IOERR: "the disk reported an error: look at the kernel's log, check the disk, restart smsd",
    sqlite3.SQLITE_CANTOPEN: "a file of the outbox cannot be opened: check the directory and its permissions",
    sqlite3.SQLITE_NOMEM: "SQLite ran out of memory: give smsd more and restart it",
}


def fault(error: Exception) -> Fault:
    """The meaning of an exception that came before COMMIT. Exceptions that are not SQLite's concern a value."""
    if not isinstance(error, sqlite3.Error):
        return Fault.ROW
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # The sqlite3 module itself objects: a value of a type or size that it cannot bind.
        return Fault.ROW
    return _BY_CODE.get(code & 0xFF, Fault.FATAL)


def describe(error: Exception) -> str:
    """SQLite's name of the failure and the remedy; never a value from a row."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return type(error).__name__
    name = getattr(error, "sqlite_errorname", None) or f"SQLite error {code}"
    remedy = _REMEDIES.get(code & 0xFF)
    return f"{name}: {remedy}" if remedy else f"{name}: {error}"
