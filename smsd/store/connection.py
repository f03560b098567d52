"""On which thread does the database work run, and what may that work touch?

A Connection runs whole functions beside the event loop, one at a time and in order: one hop a batch, not one a
statement. The function is handed a Handle, the few methods of sqlite3.Connection that the store uses, so that a test
can stand a fault-injecting or a synchronous connection in its place (ConnectionFactory). What the SQL says is not
known here.

Two reasons shape it. aiosqlite costs about 0.1 ms for each awaited call, so a batch must be one call. And its thread
gives up the interpreter lock at every statement step and waits up to sys.getswitchinterval() to get it back while the
event loop is busy, so the store's statements do much work in few steps (measured: 64 rows by executemany cost five
times what they cost as one statement).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import aiosqlite

T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0
"""How long SQLite itself waits for a lock that another process holds."""

CACHED_STATEMENTS = 256
"""Prepared statements kept by a connection: every statement of the store in each of its sizes."""


class Cursor(Protocol):
    """What one statement gave."""

    @property
    def rowcount(self) -> int:
        """Rows changed by a statement that begins with INSERT or UPDATE; -1 for one that begins with WITH."""
        ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...


class Handle(Protocol):
    """The part of sqlite3.Connection that the store uses. Errors are sqlite3.Error with sqlite_errorcode set."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor: ...


class Connection(Protocol):
    """Runs functions on the database, one at a time, in the order of the calls."""

    async def run(self, fn: Callable[[Handle], T]) -> T:
        """The function's result or its exception. A cancelled caller does not stop a function that was handed in."""
        ...

    async def close(self) -> None:
        """Close the database. Idempotent."""
        ...


ConnectionFactory = Callable[[Path], Awaitable[Connection]]
"""Opens the database file (made if missing) in autocommit mode: the store writes its own BEGIN and COMMIT."""


class ThreadConnection:
    """A Connection on aiosqlite: a thread of its own for each."""

    __slots__ = ("_connection", "_execute", "_open")

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._connection = connection
        self._open = True
        # aiosqlite has no public call that runs a function on its thread; tests/store/test_connection.py pins the two
        # private names used in this class.
        self._execute = cast("Callable[..., Awaitable[Any]]", connection._execute)

    async def run(self, fn: Callable[[Handle], T]) -> T:
        # fn must be a plain closure: aiosqlite logs its repr at DEBUG, and that must hold no text.
        result: T = await self._execute(fn, self._connection._conn)
        return result

    async def close(self) -> None:
        if self._open:
            self._open = False
            await self._connection.close()


def open_private(path: Path) -> sqlite3.Connection:
    """Connect, with files that only their owner may read.

    The mode comes from the umask because the file must never be opened, not even for chmod, by anything but SQLite:
    closing such a descriptor would drop SQLite's locks in this process.
    """
    before = os.umask(0o077)
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, cached_statements=CACHED_STATEMENTS
        )
        try:
            # SQLite creates the file at the first use, not at connect.
            connection.execute("PRAGMA schema_version").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection
    finally:
        os.umask(before)


async def connect(path: Path) -> Connection:
    """The default ConnectionFactory. Raises sqlite3.Error when the file cannot be used."""
    failures: list[sqlite3.Error] = []

    def opening() -> sqlite3.Connection:
        # An error that leaves this function makes aiosqlite abandon its thread, which then outlives the loop. So the
        # thread gets a connection that can be closed in order, and the error goes another way.
        try:
            return open_private(path)
        except sqlite3.Error as error:
            failures.append(error)
            return sqlite3.connect(":memory:")

    connection = ThreadConnection(await aiosqlite.Connection(opening, iter_chunk_size=64))
    if failures:
        await connection.close()
        raise failures[0]
    return connection
