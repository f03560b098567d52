"""A database connection without a thread: the work is done inside the event loop.

For simulations in virtual time, where a thread would bring real time and chance back in. Everything else is the real
store: the same SQL on a real file, which begins as a migrated one (`laid`). Other tasks run between a hand-in and its
answer, as they do with a thread; `delay` lets virtual time pass as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from smsd.store.connection import Connection, ConnectionFactory, Handle, open_private
from tests.doubles.laid import lay

T = TypeVar("T")


class InlineConnection:
    """A store.connection.Connection whose work runs where it is called, one function at a time and in order."""

    def __init__(self, handle: Handle, close: Callable[[], None], *, delay: Callable[[], float] | None = None) -> None:
        self._handle = handle
        self._close = close
        self._delay = delay
        self._turn = asyncio.Lock()
        self._open = True

    async def run(self, fn: Callable[[Handle], T]) -> T:
        """Like ThreadConnection.run: once called it is carried out, even if the caller stops waiting."""
        return await asyncio.shield(asyncio.ensure_future(self._work(fn)))

    async def _work(self, fn: Callable[[Handle], T]) -> T:
        async with self._turn:
            if not self._open:
                raise ValueError("Connection closed")
            await asyncio.sleep(0 if self._delay is None else self._delay())
            return fn(self._handle)

    async def close(self) -> None:
        """Close the database, after what was handed in before. Idempotent."""
        async with self._turn:
            if self._open:
                self._open = False
                self._close()


def inline(delay: Callable[[], float] | None = None) -> ConnectionFactory:
    """A ConnectionFactory of InlineConnections on real SQLite files. `delay`: seconds of loop time one run takes."""

    async def connect(path: Path) -> Connection:
        lay(path)
        database = open_private(path)
        return InlineConnection(database, database.close, delay=delay)

    return connect
