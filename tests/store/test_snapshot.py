"""Is a copy taken under a running writer whole, of one moment, private, and gone when it fails?"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.store import AcceptResult, Claim, DiskFullError, StoreBrokenError, Stored, StoreError
from smsd.store.snapshot import STEP_PAGES
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, settlement

FILLING = 12_000
"""Messages of about 1 kB: some 15 MiB, several steps of a copy."""

LONG = "x" * 900


async def filled(box: SqliteOutbox, size: int = FILLING) -> None:
    results = await accept(box, *(draft(n, text=LONG) for n in range(1, size + 1)))
    assert all(isinstance(result, Stored) for result in results)


class Traffic:
    """Messages accepted and sent, one burst after another, until it is told to stop."""

    def __init__(self, box: SqliteOutbox, first: int) -> None:
        self.box = box
        self.number = first
        self.running = True
        self.latencies: list[float] = []

    async def run(self) -> None:
        dice = random.Random(1)
        while self.running:
            drafts = [draft(self.number + n, text=LONG, tenant=dice.choice("ab")) for n in range(20)]
            self.number += len(drafts)
            began = time.perf_counter()
            results = await accept(self.box, *drafts)
            self.latencies.append(time.perf_counter() - began)
            seqs = [result.seq for result in results if isinstance(result, Stored)]
            await self.box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
            await asyncio.gather(*(self.box.settle(settlement(seq, Event.TAKEN), attempt()) for seq in seqs[:15]))


def faults(path: Path) -> list[str]:
    """What is wrong with a copy in itself."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        wrong = [row[0] for row in db.execute("PRAGMA integrity_check") if row[0] != "ok"]
        counted = Counter(db.execute("SELECT tenant, state, priority FROM messages").fetchall())
        kept = {tuple(row[:3]): row[3] for row in db.execute("SELECT * FROM tenant_counters") if row[3]}
        if kept != dict(counted):
            wrong.append(f"kept {kept}, counted {counted}")
        of_all: Counter[tuple[int, int]] = Counter()
        for (_, state, priority), n in counted.items():
            of_all[state, priority] += n
        if {(s, p): n for s, p, n in db.execute("SELECT * FROM counters") if n} != dict(of_all):
            wrong.append("counters of all differ")
        newest, size = db.execute("SELECT max(seq), count(*) FROM messages").fetchone()
        if newest != size:
            wrong.append(f"{size} messages up to number {newest}: not a prefix")
        settled = db.execute("SELECT count(DISTINCT seq) FROM attempts").fetchone()[0]
        if settled != sum(n for (_, state, _), n in counted.items() if state == 2):
            wrong.append("attempts and sent messages differ")
    return wrong


async def test_a_copy_under_a_running_writer_is_whole_and_of_one_moment(opening: Opening, tmp_path: Path) -> None:
    box = (await opening()).box
    await filled(box)
    traffic = Traffic(box, FILLING + 1)
    running = asyncio.create_task(traffic.run())
    while len(traffic.latencies) < 30:
        await asyncio.sleep(0)
    before, quiet = traffic.number, sorted(traffic.latencies)
    traffic.latencies.clear()
    began = time.perf_counter()
    target = tmp_path / "copy.db"
    async with asyncio.timeout(30):  # a copy that begins anew at every commit never ends
        size = await box.snapshot(target)
    took, busy = time.perf_counter() - began, sorted(traffic.latencies)
    written = traffic.number - before
    traffic.running = False
    await running
    print(
        f"\n{size} bytes in {took:.2f} s, {written} accepted meanwhile; 20 accepted: median "
        f"{quiet[len(quiet) // 2] * 1e3:.1f} ms, then {busy[len(busy) // 2] * 1e3:.1f} ms, at most "
        f"{busy[-1] * 1e3:.1f} ms"
    )
    assert written > 0, "the writer was held up all the time"
    assert size == target.stat().st_size > 3 * STEP_PAGES * 4096
    assert target.stat().st_mode & 0o777 == 0o600
    assert faults(target) == []
    with closing(sqlite3.connect(target)) as db:
        assert db.execute("SELECT count(*) FROM messages").fetchone()[0] >= before - 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.db", "state"]
    assert [p.name for p in (tmp_path / "state").iterdir() if "copy" in p.name] == []


async def test_the_writing_goes_on_and_the_wal_can_begin_anew(opening: Opening, tmp_path: Path, path: Path) -> None:
    box = (await opening()).box
    await filled(box, 1_000)
    await box.snapshot(tmp_path / "copy.db")
    writing = box._writing
    assert writing is not None
    busy, frames, done = await writing.run(lambda db: db.execute("PRAGMA wal_checkpoint(RESTART)").fetchone())
    assert (busy, frames) == (0, done), "the copy still holds its moment"
    await accept(box, draft(5_000))
    await box.close()
    assert not path.with_name("outbox.db-wal").exists()


async def test_a_copy_needs_room_for_itself_and_the_floor(opening: Opening, tmp_path: Path) -> None:
    free = [2**40]
    box = (await opening(floor_bytes=1_000_000, free=lambda _: free[0])).box
    await filled(box, 500)
    size = await box.snapshot(tmp_path / "copy.db")
    free[0] = size + 999_999
    with pytest.raises(DiskFullError, match="no room for a copy"):
        await box.snapshot(tmp_path / "second.db")
    assert not (tmp_path / "second.db").exists()
    free[0] = size + 1_000_000
    assert await box.snapshot(tmp_path / "second.db") == size


def falling(steps: int, high: int, low: int) -> Callable[[Path], int]:
    """Free space that is gone after so many looks."""
    looks = iter([high] * steps)
    return lambda _: next(looks, low)


async def test_space_that_goes_away_meanwhile_ends_the_copy(opening: Opening, tmp_path: Path) -> None:
    box = (await opening()).box
    await filled(box)
    box._floor_bytes, box._free = 1_000, falling(2, 2**40, 999)
    with pytest.raises(DiskFullError):
        await box.snapshot(tmp_path / "copy.db")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


async def test_a_file_that_cannot_be_made_is_refused(opening: Opening, tmp_path: Path) -> None:
    box = (await opening()).box
    there = tmp_path / "there.db"
    there.write_text("mine")
    with pytest.raises(StoreError, match="exists: remove it"):
        await box.snapshot(there)
    assert there.read_text() == "mine"
    with pytest.raises(StoreError, match="cannot be made"):
        await box.snapshot(tmp_path / "nowhere" / "copy.db")


async def test_one_copy_at_a_time(opening: Opening, tmp_path: Path) -> None:
    box = (await opening()).box
    await filled(box, 2_000)
    first = asyncio.create_task(box.snapshot(tmp_path / "first.db"))
    await asyncio.sleep(0)
    with pytest.raises(StoreError, match="being copied already"):
        await box.snapshot(tmp_path / "second.db")
    await first
    await box.snapshot(tmp_path / "second.db")


async def test_whoever_gives_up_leaves_nothing_behind(opening: Opening, tmp_path: Path) -> None:
    box = (await opening()).box
    await filled(box)
    copying = asyncio.create_task(box.snapshot(tmp_path / "copy.db"))
    while not (tmp_path / "copy.db").exists():
        await asyncio.sleep(0)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await copying
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    await box.snapshot(tmp_path / "copy.db")


async def test_closing_ends_a_copy(opening: Opening, tmp_path: Path, path: Path) -> None:
    box = (await opening()).box
    await filled(box)
    copying = asyncio.create_task(box.snapshot(tmp_path / "copy.db"))
    while not (tmp_path / "copy.db").exists():
        await asyncio.sleep(0)
    answers: list[AcceptResult] = []
    box.accept(draft(FILLING + 1), answers.append)
    await box.close()
    with pytest.raises(StoreError, match="not finished"):
        await copying
    assert isinstance(answers[0], Stored)
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert not path.with_name("outbox.db-wal").exists(), "the copy's connection was still open"
    with pytest.raises(StoreBrokenError):
        await box.snapshot(tmp_path / "copy.db")
