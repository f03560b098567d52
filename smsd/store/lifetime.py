"""When is the outbox's file open, and who may write to it and read it then?

It is locked, migrated, checked and recovered, in order, and closed in the reverse order; half a start is undone. In
between it is given out as two hands: one that changes something in a transaction of the writer, one that reads. One
connection does all writes and all checkpoints, which keeps clear of the WAL-reset bug of SQLite before 3.51.3 (two
connections that write or checkpoint at the same instant); a second one reads. It refuses to know what is written and
read (`sqlite`, `asking`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from smsd.core.message import Instant
from smsd.store import recovery
from smsd.store import statements as sql
from smsd.store.connection import Connection, ConnectionFactory, Handle, connect
from smsd.store.deltas import Deltas
from smsd.store.desk import SqliteDesk
from smsd.store.disk import Disk, free_bytes
from smsd.store.errors import DiskFullError, StoreBrokenError, StoreError
from smsd.store.faults import Fault, describe, fault
from smsd.store.guard import FileGuard, FileLock
from smsd.store.hands import Hands
from smsd.store.incoming import Received
from smsd.store.opening import Recovery
from smsd.store.operations import Change
from smsd.store.redaction import KEY_FILE, Redaction
from smsd.store.snapshot import Snapshot
from smsd.store.transitions import Ledger
from smsd.store.writer import Writer

T = TypeVar("T")

SYNCHRONOUS = ("full", "normal", "extra")
"""Only full and extra keep the promise; normal may lose the last commits in a power cut and is for measuring that."""


def ignore_full(full: bool) -> None:
    """For a caller that reads SqliteOutbox.full instead."""


def ignore_commit(seconds: float, rows: int) -> None:
    """For a caller that does not measure."""


def ignore_received(received: Sequence[Received]) -> None:
    """Until somebody asks for kept receipts that were applied."""


def ignore_callbacks() -> None:
    """Until somebody asks for callbacks that were added."""


class SqliteFile:
    """The outbox's file and its connections. Belongs to one event loop, from open() to close().

    `on_fatal` is called once, on the loop, when the outbox broke for good: smsd should exit with an error. `on_full` is
    called when acceptances begin and cease to be refused for lack of room, `on_commit` after each transaction with the
    seconds it took until it was synced and the rows in it. `boot_token`: anything that is the same
    exactly as long as the machine was not restarted; `boot_us`: reads CLOCK_BOOTTIME in microseconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_fatal: Callable[[StoreError], None],
        on_full: Callable[[bool], None] = ignore_full,
        on_commit: Callable[[float, int], None] = ignore_commit,
        connect: ConnectionFactory = connect,
        synchronous: str = "full",
        boot_token: str | None = None,
        boot_us: Callable[[], int] | None = None,
        floor_bytes: int = 0,
        ballast_bytes: int = 0,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous must be one of {', '.join(SYNCHRONOUS)}")
        self._path = path
        self._on_fatal = on_fatal
        self._on_full = on_full
        self._on_commit = on_commit
        self._connect = connect
        self._synchronous = synchronous
        self._boot_token = boot_token
        self._boot_us = boot_us
        self._lock = FileLock(path.with_suffix(".lock"))
        self._guard = FileGuard(path)
        self._disk = Disk(path.parent, floor_bytes=floor_bytes, ballast_bytes=ballast_bytes, free=free)
        self._redaction = Redaction(path.with_name(KEY_FILE))
        self._ledger = Ledger(boot_us, self._redaction.same)
        self._on_received: Callable[[Sequence[Received]], None] = ignore_received
        self._on_callbacks: Callable[[], None] = ignore_callbacks
        self._writing: Connection | None = None
        self._reading: Connection | None = None
        self._writer: Writer | None = None
        self._floor_bytes = floor_bytes
        self._free = free
        self._snapshot: Snapshot | None = None
        self._closing = False
        hands = Hands(self._change, self._read, self._ledger, path, connect, self._redaction, self._clean)
        self.desk = SqliteDesk(hands)
        """The parts for operators."""

    @property
    def full(self) -> bool:
        """Whether acceptances are refused for lack of room."""
        return self._writer is not None and self._writer.full

    @property
    def broken(self) -> bool:
        """Whether nothing is written any more; smsd must be restarted."""
        return self._writer is not None and self._writer.broken is not None

    @property
    def waiting(self) -> int:
        """Operations that wait for a commit."""
        return 0 if self._writer is None else self._writer.waiting

    async def open(self, now: Instant, by_segments: Collection[str] = ()) -> Recovery:
        """See Outbox.open. Half a start is undone."""
        if self._writer is not None:
            raise StoreError("the outbox is open already")
        try:
            return await self._open(now, by_segments)
        except BaseException as error:
            await self._release()
            if isinstance(error, StoreError) or not isinstance(error, Exception):
                raise
            raise opening_failed(self._path, error) from error

    async def _open(self, now: Instant, by_segments: Collection[str]) -> Recovery:
        boot_us = None if self._boot_us is None else self._boot_us()  # at `now`, before anything takes its time
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        writing = self._writing = await self._connect(self._path)

        def prepare(db: Handle) -> tuple[Recovery, bool]:
            roomy = self._disk.fill()
            self._redaction.load()
            recovery.prepare_writer(db, self._synchronous)
            found = recovery.recover(db, self._ledger, now, self._boot_token, boot_us, by_segments)
            self._guard.remember()
            return found, roomy

        found, roomy = await writing.run(prepare)
        self._reading = await self._connect(self._path)
        await self._reading.run(recovery.prepare_reader)
        self._writer = Writer(
            writing,
            self._ledger,
            self._guard,
            self._disk,
            on_fatal=self._on_fatal,
            on_full=self._on_full,
            on_commit=self._committed,
        )
        self._writer.start(full=not roomy)
        return found

    def _committed(self, seconds: float, rows: int) -> None:
        """A transaction is durable. Here, and not on the writing thread, its news are told."""
        self._on_commit(seconds, rows)
        if self._ledger.teller.take_added():
            self._on_callbacks()
        received = self._ledger.receiving.take_applied()
        if received:
            # Whoever settled the message that they are about learns of that first.
            asyncio.get_running_loop().call_soon(self._on_received, received)

    async def close(self, *, orderly: bool = True) -> None:
        """See Outbox.close. A snapshot that is being taken is abandoned."""
        self._closing = True
        try:
            if self._snapshot is not None:
                await self._snapshot.abandon()
            if self._writer is not None:
                await self._writer.close()
                if self._writing is not None and not self.broken:
                    await self._writing.run(partial(end_in_order, orderly=orderly))
        finally:
            await self._release()

    def _clean(self) -> None:
        if self._writer is not None:
            self._writer.clean()

    async def _release(self) -> None:
        """Close what is open, the reader first: the last connection to close removes the -wal, and that is a write."""
        await self.desk.close()
        reading, self._reading = self._reading, None
        writing, self._writing = self._writing, None
        try:
            if reading is not None:
                await reading.close()
        finally:
            try:
                if writing is not None:
                    await writing.close()
            finally:
                self._lock.release()

    def _opened(self) -> Writer:
        if self._writer is None:
            raise StoreBrokenError("the outbox is not open")
        return self._writer

    async def snapshot(self, path: Path) -> int:
        """Copy the outbox, as it is at this moment, to `path`; the copy's bytes.

        The file must not exist; it gets mode 0600 and is synced, its directory too. Writer and readers are not held
        up. Raises DiskFullError when less than the outbox's size and the floor is free there, StoreError when another
        copy is being made, the file cannot be written or the outbox is closed meanwhile; then nothing is left behind.
        """
        if self._reading is None or self._closing:
            raise StoreBrokenError("the outbox is not open")
        if self._snapshot is not None:
            raise StoreError("the outbox is being copied already: wait until that is done")
        self._snapshot = Snapshot(self._path, path, floor_bytes=self._floor_bytes, free=self._free)
        try:
            return await self._snapshot.take()
        finally:
            self._snapshot = None

    async def _change(self, run: Callable[[Handle, Deltas], T], size: int = 1) -> T:
        operation = Change(run, size)
        self._opened().put(operation)
        return await operation.future

    async def _read(self, fn: Callable[[Handle], T]) -> T:
        if self._reading is None:
            raise StoreBrokenError("the outbox is not open")
        try:
            return await self._reading.run(fn)
        except Exception as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise StoreError(f"the outbox cannot be read ({describe(error)})") from error


def end_in_order(db: Handle, *, orderly: bool) -> None:
    """Write down that smsd ended in order, if it did, and empty the -wal, so that the next start has nothing to replay
    and a copy of the one file is whole.

    Want of room or a lock costs only that: what was acknowledged is in the -wal. Any other failure raises StoreError.
    """
    try:
        if orderly:
            recovery.ended_in_order(db)
        db.execute(sql.CHECKPOINT_LAST).fetchone()
    except Exception as error:
        if fault(error) not in {Fault.FULL, Fault.BUSY}:
            raise StoreError(f"the outbox could not be closed in order ({describe(error)})") from error


def opening_failed(path: Path, error: Exception) -> StoreError:
    """Why the outbox cannot be used, as an error with a remedy."""
    if isinstance(error, OSError):
        return StoreError(f"{path} cannot be used ({error.strerror}): check the directory and its owner")
    if fault(error) is Fault.FULL:
        return DiskFullError(f"there is no room to open {path}: free space on its file system")
    if fault(error) is Fault.BUSY:
        return StoreError(f"another process holds a lock on {path}: close it and start smsd again")
    return StoreError(f"{path} cannot be used ({describe(error)})")
