"""What is told to whom when the disk fails? Each of SQLite's failures has its own branch, over a disk that really
refuses (tests/doubles/apsw_connection.py) or a database that is really full, locked or damaged."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from smsd.core.health import Health
from smsd.core.lifecycle import Event
from smsd.core.message import State
from smsd.store import (
    AcceptResult,
    Claim,
    DiskFullError,
    OutcomeUnknownError,
    Query,
    Replay,
    StoreBrokenError,
    Stored,
    StoreError,
)
from smsd.store.connection import Connection, Handle, connect
from smsd.store.disk import Disk as Space
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.apsw_connection import Disk, on_disk
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import LATER, accept, attempt, settlement


class Refusal:
    """A disk that refuses one thing while `code` is set."""

    def __init__(self, what: str, suffix: str) -> None:
        self.what = what
        self.suffix = suffix
        self.code: int | None = None
        self.refused = 0

    def __call__(self, what: str, name: str, offset: int, data: bytes) -> None:
        if self.code is not None and what == self.what and name.endswith(self.suffix):
            self.refused += 1
            raise apsw.exception_for(self.code)

    def factory(self) -> Callable[[Path], Awaitable[Connection]]:
        return on_disk(Disk(self))


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the writer does by itself."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def begin(box: SqliteOutbox, *seqs: int) -> None:
    claimed = await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
    assert all(claimed)


# --- an error while it is committed -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("sync", apsw.SQLITE_IOERR_FSYNC),
        ("write", apsw.SQLITE_IOERR_WRITE),
        ("write", apsw.SQLITE_READONLY),
        ("write", apsw.SQLITE_CORRUPT),
        ("write", apsw.SQLITE_IOERR_NOMEM),
    ],
)
async def test_a_failed_commit_is_neither_yes_nor_no(opening: Opening, what: str, code: int) -> None:
    disk = Refusal(what, "-wal")
    opened = await opening(connect=disk.factory())
    box = opened.box
    [kept] = await accept(box, draft(1))
    assert isinstance(kept, Stored)
    disk.code = code
    [first, second] = await accept(box, draft(2, idempotency_key="k", content_hash=b"h" * 32), draft(3))
    assert isinstance(first, OutcomeUnknownError)
    assert isinstance(second, OutcomeUnknownError)
    assert "repeat it with the same idempotency key" in str(first)
    assert box.broken
    assert len(opened.fatal) == 1
    refused, disk.code = disk.refused, None
    # Never again: neither that sync nor another commit on this connection.
    for result in await accept(box, draft(4)):
        assert isinstance(result, StoreBrokenError)
    with pytest.raises(StoreBrokenError, match="must be restarted"):
        await box.begin([Claim(kept.seq, 0, "main", "s")], NOW)
    assert (refused, disk.refused) == (1, 1)
    assert len(opened.fatal) == 1


async def test_after_a_failed_sync_the_key_tells_what_became_of_it(opening: Opening) -> None:
    disk = Refusal("sync", "-wal")
    box = (await opening(connect=disk.factory())).box
    disk.code = apsw.SQLITE_IOERR_FSYNC
    keyed = draft(1, idempotency_key="k", content_hash=b"h" * 32)
    [unknown] = await accept(box, keyed)
    assert isinstance(unknown, OutcomeUnknownError)
    disk.code = None
    await box.close()
    again = (await opening(connect=disk.factory())).box
    [result] = await accept(again, draft(2, idempotency_key="k", content_hash=b"h" * 32))
    assert isinstance(result, Stored | Replay)
    assert len((await again.page(Query())).items) == 1


async def test_an_error_before_the_commit_promises_nothing_and_breaks(opening: Opening) -> None:
    def refuse(db: Handle, sql: str) -> None:
        if sql.startswith("INSERT INTO messages"):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
            error.sqlite_errorname = "SQLITE_IOERR_READ"
            raise error

    opened = await opening(connect=raising(refuse))
    [result] = await accept(opened.box, draft(1))
    assert isinstance(result, StoreBrokenError)
    assert not isinstance(result, OutcomeUnknownError)
    assert len(opened.fatal) == 1
    assert (await opened.box.page(Query())).items == ()


async def test_a_rollback_that_fails_breaks_too(opening: Opening) -> None:
    def refuse(db: Handle, sql: str) -> None:
        if sql.startswith("INSERT INTO messages") or sql == "ROLLBACK":
            raise sqlite3.IntegrityError("no")

    opened = await opening(connect=raising(refuse))
    [result] = await accept(opened.box, draft(1))
    assert isinstance(result, StoreBrokenError)
    assert opened.box.broken


async def test_a_thread_that_dies_leaves_nobody_waiting(opening: Opening) -> None:
    opened = await opening()
    writing = opened.box._writing
    assert writing is not None
    await writing.close()
    [result] = await accept(opened.box, draft(1))
    assert isinstance(result, OutcomeUnknownError)
    assert opened.box.broken


# --- no room ---------------------------------------------------------------------------------------------------------


async def test_a_full_disk_refuses_what_can_be_refused_and_keeps_trying_the_rest(opening: Opening, path: Path) -> None:
    disk = Refusal("write", "-wal")
    opened = await opening(connect=disk.factory(), ballast_bytes=65_536)
    box = opened.box
    ballast = path.parent / "outbox.ballast"
    assert ballast.stat().st_size == 65_536
    await accept(box, draft(1), draft(2))
    await begin(box, 1)
    disk.code = apsw.SQLITE_FULL
    refused: list[AcceptResult] = []
    box.accept(draft(3), refused.append)
    settling = asyncio.ensure_future(box.settle(settlement(1, Event.TAKEN, pmid="SM1"), attempt()))
    beginning = asyncio.ensure_future(box.begin([Claim(2, 0, "main", "s")], NOW))
    saving = asyncio.ensure_future(box.save_provider(Health("main")))
    for failing in (beginning, saving):
        with pytest.raises(DiskFullError, match="free space"):
            await failing
    assert isinstance(refused[0], DiskFullError)
    assert not ballast.exists()
    assert (box.full, opened.full) == (True, [True])
    assert not settling.done()
    # Its place is freed: what was kept goes through by itself; the ballast comes back, then acceptances.
    disk.code = None
    assert await asyncio.wait_for(settling, 10)
    await until(lambda: not box.full)
    assert ballast.stat().st_size == 65_536
    assert opened.full == [True, False]
    [result] = await accept(box, draft(4))
    assert isinstance(result, Stored)
    assert opened.fatal == []
    message = await box.get(draft(1).id, None)
    assert message is not None
    assert message.state is State.SENT


async def test_the_ballast_lets_an_outcome_be_written_at_once(opening: Opening, path: Path) -> None:
    """A disk that is full exactly as long as the ballast is there."""
    disk = Refusal("write", "-wal")
    opened = await opening(connect=disk.factory(), ballast_bytes=65_536)
    ballast = path.parent / "outbox.ballast"
    await accept(opened.box, draft(1))
    await begin(opened.box, 1)

    def full_while_ballast(what: str, name: str, offset: int, data: bytes) -> None:
        if what == "write" and name.endswith("-wal") and ballast.exists():
            raise apsw.exception_for(apsw.SQLITE_FULL)

    disk.__class__ = type("WithBallast", (Refusal,), {"__call__": staticmethod(full_while_ballast)})
    before = asyncio.get_running_loop().time()
    assert await opened.box.settle(settlement(1, Event.TAKEN, pmid="SM1"), attempt())
    assert asyncio.get_running_loop().time() - before < 0.9


async def test_a_real_full_database(opening: Opening) -> None:
    """SQLite's own SQLITE_FULL, from a page limit on the writing connection."""
    opened = await opening()
    box = opened.box
    await accept(box, draft(1))
    await begin(box, 1)
    writing = box._writing
    assert writing is not None
    await writing.run(lambda db: db.execute("PRAGMA max_page_count = 1").fetchone())
    results = await accept(box, *(draft(n, text="x" * 4_000) for n in range(2, 60)))
    assert all(isinstance(result, DiskFullError) for result in results)
    assert box.full
    assert await box.settle(settlement(1, Event.TAKEN, pmid="SM1"), attempt())
    await writing.run(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchone())
    await until(lambda: not box.full)
    assert isinstance((await accept(box, draft(99)))[0], Stored)


async def test_what_never_gets_room_fails_when_smsd_stops(opening: Opening) -> None:
    disk = Refusal("write", "-wal")
    opened = await opening(connect=disk.factory())
    await accept(opened.box, draft(1))
    await begin(opened.box, 1)
    disk.code = apsw.SQLITE_FULL
    settling = asyncio.ensure_future(opened.box.settle(settlement(1, Event.TAKEN), attempt()))
    await until(lambda: opened.box.full)
    await opened.box.close()
    with pytest.raises(StoreError):
        await settling
    disk.code = None
    assert (await opening(LATER, connect=disk.factory())).recovery.reopened == 1


@pytest.mark.parametrize("code", [apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE])
async def test_a_last_checkpoint_that_fails_loses_nothing(opening: Opening, code: int) -> None:
    disk = Refusal("write", "outbox.db")
    box = (await opening(connect=disk.factory())).box
    await accept(box, *(draft(n) for n in range(1, 30)))
    disk.code = code
    if code == apsw.SQLITE_FULL:
        await box.close()
    else:
        with pytest.raises(StoreError, match="check the disk"):
            await box.close()
    assert disk.refused
    disk.code = None
    again = (await opening(connect=disk.factory())).box
    assert len((await again.page(Query())).items) == 29


async def test_below_the_floor_only_acceptances_stop(opening: Opening) -> None:
    room = [10_000]
    opened = await opening(floor_bytes=8_000, free=lambda _: room[0])
    box = opened.box
    [first] = await opened_before(box)
    room[0] = 7_999
    await asyncio.sleep(1.05)  # the floor is looked at once a second
    [refused] = await accept(box, draft(2))
    assert isinstance(refused, DiskFullError)
    await begin(box, first)
    assert await box.settle(settlement(first, Event.TAKEN), attempt())
    room[0] = 9_000
    await until(lambda: not box.full)
    assert isinstance((await accept(box, draft(4)))[0], Stored)
    assert opened.full == [True, False]


async def opened_before(box: SqliteOutbox) -> list[int]:
    """One message accepted while there was room."""
    return [result.seq for result in await accept(box, draft(1)) if isinstance(result, Stored)]


def test_the_floor_is_looked_at_once_a_second_and_does_not_flap(tmp_path: Path) -> None:
    room, looks = [10_000], [0]

    def free(_: Path) -> int:
        looks[0] += 1
        return room[0]

    space = Space(tmp_path, floor_bytes=8_000, ballast_bytes=0, free=free)
    assert not space.low(0.0)
    room[0] = 7_999
    assert not space.low(0.99)
    assert space.low(1.0)
    assert looks == [2]
    room[0] = 8_999
    assert not space.roomy(), "an eighth more than the floor is asked for"
    room[0] = 9_000
    assert space.roomy()
    assert not Space(tmp_path, floor_bytes=0, ballast_bytes=0, free=lambda _: 0).low(0.0)


def test_the_ballast_gets_the_size_that_is_asked_for(tmp_path: Path) -> None:
    ballast = tmp_path / "outbox.ballast"
    for size in (4_096, 8_192):
        assert Space(tmp_path, floor_bytes=0, ballast_bytes=size).fill()
        assert ballast.stat().st_size == size
        assert ballast.stat().st_blocks * 512 >= size, "it holds real blocks"
    space = Space(tmp_path, floor_bytes=0, ballast_bytes=0)
    assert space.fill()
    assert not ballast.exists()
    assert not space.release()


async def test_a_start_without_room_for_the_ballast_refuses_until_there_is(opening: Opening) -> None:
    room = [65_535]
    opened = await opening(ballast_bytes=65_536, free=lambda _: room[0])
    assert opened.full == [True]
    assert isinstance((await accept(opened.box, draft(1)))[0], DiskFullError)
    room[0] = 65_536
    await until(lambda: not opened.box.full)
    assert isinstance((await accept(opened.box, draft(1)))[0], Stored)


# --- locked, damaged, read-only ---------------------------------------------------------------------------------------


async def test_somebody_elses_lock_fails_what_can_fail_and_passes(opening: Opening, path: Path) -> None:
    opened = await opening(connect=impatient)
    box = opened.box
    await accept(box, draft(1))
    await begin(box, 1)
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        other.stdout.readline()
        settling = asyncio.ensure_future(box.settle(settlement(1, Event.TAKEN), attempt()))
        [result] = await accept(box, draft(2))
        assert isinstance(result, StoreError)
        assert "another process holds the outbox's write lock" in str(result)
        assert not settling.done()
        other.stdin.close()
        assert await asyncio.wait_for(settling, 10)
    assert isinstance((await accept(box, draft(3)))[0], Stored)
    assert (opened.fatal, box.full) == ([], False)


async def test_a_damaged_file_breaks_with_a_remedy(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await accept(box, *(draft(n) for n in range(1, 200)))
    await box.close()
    content = bytearray(path.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="restore a backup"):
        await opening()


async def test_another_kind_of_file_is_refused(opening: Opening, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError, match="not a SQLite database"):
        await opening()


async def test_a_failed_start_can_be_tried_again(opening: Opening, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError):
        await opening()
    path.unlink()
    assert isinstance((await accept((await opening()).box, draft(1)))[0], Stored)


async def test_a_disk_fault_in_a_read_is_a_store_error(opening: Opening) -> None:
    def refuse(db: Handle, sql: str) -> None:
        if "WHERE id = ?" in sql:
            raise sqlite3.DatabaseError("no")

    opened = await opening(connect=raising(refuse))
    with pytest.raises(StoreError, match="cannot be read"):
        await opened.box.get("x", None)


HOLD_THE_LOCK = """
import sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
c.execute("ROLLBACK")
"""


async def impatient(path: Path) -> Connection:
    """The daemon's connection with a shorter patience."""
    connection = await connect(path)
    await connection.run(lambda db: db.execute("PRAGMA busy_timeout = 50").fetchone())
    return connection


class _Raising:
    """A connection that asks before each statement."""

    def __init__(self, inner: Connection, refuse: Callable[[Handle, str], None]) -> None:
        self._inner = inner
        self._refuse = refuse

    async def run(self, fn: Callable[[Handle], object]) -> object:
        refuse = self._refuse

        class Asking:
            def __init__(self, db: Handle) -> None:
                self._db = db

            @property
            def in_transaction(self) -> bool:
                return self._db.in_transaction

            def execute(self, sql: str, parameters: tuple[object, ...] = (), /) -> object:
                refuse(self._db, sql)
                return self._db.execute(sql, parameters)

        return await self._inner.run(lambda db: fn(Asking(db)))  # type: ignore[arg-type]  # narrower than a Handle

    async def close(self) -> None:
        await self._inner.close()


def raising(refuse: Callable[[Handle, str], None]) -> Callable[[Path], Awaitable[Connection]]:
    """A ConnectionFactory whose connections ask `refuse` before each statement."""

    async def factory(path: Path) -> Connection:
        wrapped: Connection = _Raising(await connect(path), refuse)  # type: ignore[assignment]  # run is not generic
        return wrapped

    return factory
