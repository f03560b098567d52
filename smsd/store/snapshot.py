"""How is the outbox copied while smsd works?

A Snapshot copies the database page by page with SQLite's backup API, on a read-only connection and a thread of its own,
inside one read transaction: the copy is the outbox of one moment. The file is never opened by anything but SQLite
(`guard` says why). When it is done and where the copy goes is the caller's business.

What a long read costs: readers and the writer are not held up; but checkpoints cannot reach beyond the moment of the
copy nor begin the -wal anew while it lasts, so the -wal grows by what is written meanwhile and shrinks at the first
checkpoint afterwards that starts it anew. That is why the copy is not stretched out. Without the surrounding
transaction every foreign commit between two steps would start the backup from the beginning
(https://www.sqlite.org/c3ref/backup_finish.html). It is synced step by step, so that no sync of the -wal ever waits
behind more than one step's pages.

What was redacted or removed is overwritten in the outbox, but for one place: where rows were moved to another page,
SQLite leaves their bytes in the old page's gap, between the cell pointers and the cells. The copy's gaps are filled
with zeros (`gap_of`), so that it holds nothing but what a query finds.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import struct
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from smsd.store.connection import BUSY_TIMEOUT_S
from smsd.store.errors import DiskFullError, StoreError
from smsd.store.faults import Fault, describe, fault

STEP_PAGES = 1_024
"""Pages copied at a time: 4 MiB."""

STOPPED = "smsd is stopping, or nobody waits for the copy any more: it was not finished"

HEADERS = {2: 12, 5: 12, 10: 8, 13: 8}
"""Bytes of the header of a page of a table or an index, by the page's type (https://www.sqlite.org/fileformat2.html,
section 1.6)."""

LEFTOVERS = ("", "-journal", "-wal", "-shm")
"""What a database may leave behind beside its name."""


class Snapshot:
    """One copy of `database` at `target`. `floor_bytes` stay free on the target's file system; `free` tells how many
    are. Used once, on one event loop."""

    def __init__(self, database: Path, target: Path, *, floor_bytes: int, free: Callable[[Path], int]) -> None:
        self._database = database
        self._target = target
        self._floor = floor_bytes
        self._free = free
        self._stop = threading.Event()
        self._ended: asyncio.Future[int | StoreError] | None = None

    async def take(self) -> int:
        """Copy; the copy's size in bytes. The file must not exist; it is made with mode 0600, synced, and a database
        of one file. Raises StoreError; then, and when the caller gives up, nothing is left behind."""
        thread = ThreadPoolExecutor(1, thread_name_prefix="smsd snapshot")
        self._ended = asyncio.get_running_loop().run_in_executor(thread, self._work)
        thread.shutdown(wait=False)
        try:
            result = await asyncio.shield(self._ended)
        except asyncio.CancelledError:
            await self.abandon()
            raise
        if isinstance(result, StoreError):
            raise result
        return result

    async def abandon(self) -> None:
        """Stop copying and wait until the thread has cleaned up. A step takes some 10 ms."""
        self._stop.set()
        if self._ended is not None:
            await asyncio.wait([self._ended])

    def _work(self) -> int | StoreError:
        """On the thread. A failure is a value: nobody may be there to receive an exception."""
        try:
            fd = os.open(self._target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return StoreError(f"{self._target} exists: remove it or name another file")
        except OSError as error:
            return StoreError(f"{self._target} cannot be made ({error.strerror}): check the directory and its owner")
        try:
            self._copy(fd)
            self._scrub(fd)
            os.fsync(fd)
            sync_directory(self._target.parent)
            return os.fstat(fd).st_size
        except Exception as error:
            remove(self._target)
            return reason(self._target, error)
        finally:
            os.close(fd)

    def _copy(self, fd: int) -> None:
        """Write the copy. Raises StoreError, sqlite3.Error, OSError."""
        uri = f"{self._database.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as source,
            closing(sqlite3.connect(self._target, isolation_level=None)) as target,
        ):
            # The first read fixes the moment; the transaction holds it over all steps.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM meta").fetchone()
            pages, page_size = (source.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
            self._require(pages * page_size + self._floor)
            # A copy that is not whole is thrown away, so nothing of it need be undone or ordered; take() syncs it.
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")

            def stepped(status: int, remaining: int, total: int) -> None:
                if self._stop.is_set():
                    raise StoreError(STOPPED)
                os.fdatasync(fd)
                self._require(self._floor)

            source.backup(target, pages=STEP_PAGES, progress=stepped)
            # The pages say "write-ahead log"; one file that can be read anywhere says so no more.
            target.execute("PRAGMA journal_mode = DELETE").fetchone()

    def _scrub(self, fd: int) -> None:
        """Overwrite the gaps of the copy's pages. Raises StoreError, OSError."""
        first = os.pread(fd, 100, 0)
        page_size = int.from_bytes(first[16:18], "big")
        size = 65_536 if page_size == 1 else page_size
        maps = size // 5 + 1 if int.from_bytes(first[52:56], "big") else 0
        count = os.fstat(fd).st_size // size
        for start in range(0, count, STEP_PAGES):
            if self._stop.is_set():
                raise StoreError(STOPPED)
            pages = os.pread(fd, STEP_PAGES * size, start * size)
            for n in range(len(pages) // size):
                number = start + n + 1
                if maps and (number - 2) % maps == 0:
                    continue  # a pointer map, which looks like a tree's page
                gap = gap_of(memoryview(pages)[n * size : (n + 1) * size], 100 if number == 1 else 0)
                if gap is not None and any(pages[n * size + gap[0] : n * size + gap[1]]):
                    os.pwrite(fd, bytes(gap[1] - gap[0]), (start + n) * size + gap[0])
            os.fdatasync(fd)

    def _require(self, room: int) -> None:
        """Raise DiskFullError unless so many bytes are free."""
        if self._free(self._target.parent) < room:
            raise DiskFullError(
                f"there is no room for a copy of the outbox in {self._target.parent} ({room} bytes are needed, the "
                "reserve [outbox] min_free included): free space or name another directory"
            )


def gap_of(page: memoryview, at: int) -> tuple[int, int] | None:
    """Where the unused bytes of a table's or an index's page begin and end, between its cell pointers and its first
    cell. None: it has none, or is no such page. `at`: where its header begins."""
    header = HEADERS.get(page[at])
    if header is None:
        return None
    free, cells, content = struct.unpack_from(">HHH", page, at + 1)
    begin, end = at + header + 2 * cells, content or 65_536
    if not begin < end <= len(page) or 0 < free < end:
        return None
    pointers = struct.unpack_from(f">{cells}H", page, at + header)
    if any(not end <= pointer < len(page) for pointer in pointers):
        return None
    return begin, end


def reason(target: Path, error: Exception) -> StoreError:
    """Why a copy failed, with a remedy."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, sqlite3.Error):
        if fault(error) is Fault.FULL:
            return DiskFullError(f"there is no room for the copy {target}: free space or name another directory")
        return StoreError(f"the outbox cannot be copied to {target} ({describe(error)})")
    if isinstance(error, OSError):
        return StoreError(f"{target} cannot be written ({error.strerror}): check its file system and owner")
    return StoreError(f"the outbox cannot be copied to {target} ({type(error).__name__})")


def remove(database: Path) -> None:
    """Delete a database that is not in use, with what SQLite may have left beside it."""
    for ending in LEFTOVERS:
        with suppress(FileNotFoundError):
            database.with_name(database.name + ending).unlink()


def sync_directory(directory: Path) -> None:
    """Make names in the directory durable. Raises OSError."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
