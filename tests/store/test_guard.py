"""Is there one smsd on the outbox, on its own files, and does it never open them behind SQLite's back?"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.store import Claim, OutcomeUnknownError, Query, StoreBrokenError, Stored, StoreError
from smsd.store.guard import FileGuard, FileLock
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import LATER, accept, attempt, settlement

_watched: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if _watching and event == "open":
        _watched.append(str(arguments[0]))


sys.addaudithook(_watch)  # cannot be taken away again, hence the switch


@pytest.fixture
def opened_files() -> Iterator[list[str]]:
    """Every path that Python code of this process opens meanwhile."""
    global _watching  # noqa: PLW0603  # an audit hook has no other place to look
    _watched.clear()
    _watching = True
    yield _watched
    _watching = False


async def test_the_database_is_never_opened_but_by_sqlite(
    opening: Opening, path: Path, opened_files: list[str]
) -> None:
    box = (await opening(ballast_bytes=65_536, floor_bytes=1)).box
    seqs = [r.seq for r in await accept(box, *(draft(n) for n in range(1, 700))) if isinstance(r, Stored)]
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
    await asyncio.gather(*(box.settle(settlement(seq, Event.TAKEN), attempt()) for seq in seqs))
    await box.page(Query())
    await box.totals(0)
    await box.snapshot(path.parent / "copy.db")
    await asyncio.sleep(1.1)  # the idle checkpoint
    await box.close()
    assert str(path.parent / "outbox.lock") in opened_files, "the hook sees nothing"
    assert [name for name in opened_files if name.startswith(str(path))] == []


async def test_files_are_private(opening: Opening, path: Path) -> None:
    before = os.umask(0o022)
    try:
        box = (await opening(ballast_bytes=65_536)).box
        await accept(box, draft(1))
        assert os.umask(0o022) == 0o022
        files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(files) == {"outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.lock", "outbox.ballast"}
    assert set(files.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_second_daemon_is_kept_out(opening: Opening, path: Path) -> None:
    first = await opening()
    with pytest.raises(StoreError, match="another smsd holds"):
        await opening()
    [result] = await accept(first.box, draft(1))
    assert isinstance(result, Stored)
    await first.box.close()
    assert len((await (await opening()).box.page(Query())).items) == 1


async def test_the_lock_is_held_against_other_processes(opening: Opening, path: Path) -> None:
    await opening()
    attempt_it = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    lock = str(path.with_suffix(".lock"))
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", attempt_it, lock], capture_output=True, check=False
    )
    assert b"BlockingIOError" in done.stderr


@pytest.mark.parametrize("what", ["deleted", "replaced", "database replaced"])
async def test_nothing_is_acknowledged_into_a_lost_file(opening: Opening, path: Path, what: str) -> None:
    opened = await opening()
    box = opened.box
    [kept] = await accept(box, draft(1))
    assert isinstance(kept, Stored)
    wal = path.with_name("outbox.db-wal")
    match what:
        case "deleted":
            wal.unlink()
        case "replaced":
            content = wal.read_bytes()
            wal.unlink()
            wal.write_bytes(content)
        case "database replaced":
            copy = path.with_name("copy")
            copy.write_bytes(path.read_bytes())
            copy.rename(path)
    [result] = await accept(box, draft(2))
    assert isinstance(result, OutcomeUnknownError)
    assert "deleted or replaced" in str(result)
    assert len(opened.fatal) == 1
    [after] = await accept(box, draft(3))
    assert isinstance(after, StoreBrokenError)


async def test_an_outside_reader_that_deletes_the_wal_is_noticed(opening: Opening, path: Path) -> None:
    """The accident itself: one open().close() of the database in this process, then an outside sqlite3."""
    opened = await opening()
    await accept(opened.box, draft(1))
    path.open("rb").close()
    look = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "print(c.execute('SELECT count(*) FROM messages').fetchone()[0]); c.close()"
    )
    seen = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", look, str(path)], capture_output=True, check=True
    )
    assert seen.stdout == b"1\n"
    assert not path.with_name("outbox.db-wal").exists(), "SQLite behaves otherwise now: the guard may be obsolete"
    [result] = await accept(opened.box, draft(2))
    assert isinstance(result, OutcomeUnknownError)
    assert len(opened.fatal) == 1
    await opened.box.close()
    again = (await opening(LATER)).box
    assert (await again.get(draft(1).id, None)) is not None


def test_a_lock_can_be_taken_again_after_release(tmp_path: Path) -> None:
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(StoreError, match="another smsd"):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_a_lock_in_a_missing_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="check the directory"):
        FileLock(tmp_path / "missing" / "lock").acquire()


def test_a_guard_wants_both_files(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with pytest.raises(StoreError, match="missing"):
        FileGuard(tmp_path / "a.db").remember()


async def test_an_unusable_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    box = SqliteOutbox(tmp_path / "file" / "outbox.db", on_fatal=lambda _: None)
    with pytest.raises(StoreError, match="check the directory"):
        await box.open(NOW)
