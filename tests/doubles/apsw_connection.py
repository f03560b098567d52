"""The real store over a file system under the test's hand.

apsw lets Python stand between SQLite and its files: a Disk sees every write, sync, truncation and deletion, may refuse
one as a real disk would, and may write them down for a power cut. ApswHandle is the store's Handle on apsw; it speaks
sqlite3's exceptions. apsw brings its own copy of SQLite, so a file opened here must not be opened with sqlite3 in the
same process while it is open: their POSIX locks would not see each other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from smsd.store.connection import Connection, ConnectionFactory, Cursor
from tests.doubles.inline_connection import InlineConnection

Watcher = Callable[[str, str, int, bytes], None]
"""Told (what, file name, offset or size, data) before it happens; what: write, truncate, sync, delete, read. Raises
apsw.exception_for(code) to refuse."""

_numbers = count(1)


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._name = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "temporary").name
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> Any:  # noqa: N802  # SQLite's name
        self._disk.watch("read", self._name, offset, b"")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.watch("write", self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.watch("truncate", self._name, size, b"")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.watch("sync", self._name, 0, b"")
        super().xSync(flags)


class Disk(apsw.VFS):
    """A file system that tells `watch` what happens to its files."""

    def __init__(self, watch: Watcher) -> None:
        self.watch = watch
        self.name = f"disk{next(_numbers)}"
        super().__init__(self.name, "")

    def xOpen(self, name: Any, flags: list[int]) -> _File:  # noqa: N802
        return _File(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: N802
        self.watch("delete", Path(name).name, 0, b"")
        super().xDelete(name, sync)


class _Cursor:
    def __init__(self, cursor: apsw.Cursor, changes: int) -> None:
        self._cursor = cursor
        self.rowcount = changes

    def fetchone(self) -> Any:
        return translated(self._cursor.fetchone)

    def fetchall(self) -> list[Any]:
        rows: list[Any] = translated(self._cursor.fetchall)
        return rows


class ApswHandle:
    """A Handle on an apsw connection."""

    def __init__(self, database: apsw.Connection) -> None:
        self._database = database

    @property
    def in_transaction(self) -> bool:
        return bool(self._database.in_transaction)

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        before = self._database.total_changes()
        cursor = translated(lambda: self._database.execute(sql, tuple(parameters)))
        return _Cursor(cursor, self._database.total_changes() - before)


def translated(work: Callable[[], Any]) -> Any:
    """Run it; apsw's exceptions become sqlite3's with the same code."""
    try:
        return work()
    except apsw.Error as error:
        code = getattr(error, "extendedresult", None) or apsw.SQLITE_ERROR
        translation = sqlite3.OperationalError(str(error))
        translation.sqlite_errorcode = code
        translation.sqlite_errorname = str(apsw.mapping_extended_result_codes.get(code) or type(error).__name__)
        raise translation from error


def on_disk(disk: Disk) -> ConnectionFactory:
    """A ConnectionFactory of in-loop connections on this disk."""

    async def connect(path: Path) -> Connection:
        database = translated(lambda: apsw.Connection(str(path), vfs=disk.name))
        database.set_busy_timeout(100)

        def close() -> None:
            # SQLite closes even when its last checkpoint fails and tells nobody; apsw hands on what the disk raised.
            with suppress(apsw.Error):
                database.close()

        return InlineConnection(ApswHandle(database), close)

    return connect
