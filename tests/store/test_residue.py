"""What is left in the files of texts and numbers that were redacted?"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import Message
from smsd.core.units import HOUR
from smsd.store import Claim, Stored, cleaning, writer
from smsd.store.operators import RetentionRules
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, settlement

RULES = RetentionRules(redact_ms=HOUR)
MARK = b"Rumpelstiltskin"


async def lived(box: SqliteOutbox, count: int) -> None:
    """So many messages of all lengths, accepted and sent: rows grow meanwhile, and move to other pages."""
    dice = random.Random(7)
    for first in range(1, count + 1, 30):
        numbers = range(first, min(first + 30, count + 1))
        words = ["x" * dice.randrange(120) for _ in numbers]
        texts = [f"{MARK.decode()} {n} {word}" for n, word in zip(numbers, words, strict=True)]
        drafts = [draft(n, text=text, recipient=f"+1415{n:07d}") for n, text in zip(numbers, texts, strict=True)]
        seqs = [each.seq for each in await accept(box, *drafts) if isinstance(each, Stored)]
        dice.shuffle(seqs)
        for seq in seqs:
            await box.begin([Claim(seq, 0, "main", "+15005550006")], NOW)
        ended = (
            box.settle(settlement(seq, Event.TAKEN, pmid=f"SM{seq:032d}"), attempt(trace="201 " + "y" * 60))
            for seq in seqs
        )
        await asyncio.gather(*ended)


async def redacted(box: SqliteOutbox) -> int:
    rows = 0
    while not (step := await box.desk.removal.step(RULES, NOW + 2 * HOUR)).done:
        rows += step.rows if step.what == "redacted" else 0
    return rows


def found(*files: Path) -> list[int]:
    """How often a text stands in these files. Read by another process: this one would give up SQLite's locks."""
    return [subprocess.run(["cat", file], capture_output=True, check=True).stdout.count(MARK) for file in files]


async def emptied(wal: Path) -> None:
    async with asyncio.timeout(10):
        while wal.stat().st_size:
            await asyncio.sleep(0.02)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "IDLE_S", 0.1)
    monkeypatch.setattr(cleaning, "EMPTY_AGAIN_S", 0.1)


@pytest.mark.parametrize("small", [True, False])
async def test_a_quiet_outbox_and_its_copies_hold_no_text_that_was_redacted(
    opening: Opening, path: Path, tmp_path: Path, soon: None, monkeypatch: pytest.MonkeyPatch, small: bool
) -> None:
    if not small:
        monkeypatch.setattr(cleaning, "REWRITE_BYTES", 0)
    box = (await opening()).box
    await lived(box, 600)
    wal, copy = path.with_name(path.name + "-wal"), tmp_path / "copy.db"
    assert found(wal) > [600]
    assert await redacted(box) == 600
    await emptied(wal)
    assert (found(path) == [0]) is small  # what stays in a large one is what is to be seen to here
    await box.snapshot(copy)
    assert found(copy) == [0]
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        [[count, hidden]] = db.execute("SELECT count(*), sum(recipient LIKE '#%') FROM messages").fetchall()
    assert (count, hidden) == (600, 600)
    await lived_on(box)


async def lived_on(box: SqliteOutbox) -> None:
    """It works as before."""
    [stored] = await accept(box, draft(10_000, text="one more"))
    assert isinstance(stored, Stored)
    [claimed] = await box.begin([Claim(stored.seq, 0, "main", "+15005550006")], NOW)
    assert isinstance(claimed, Message)
    assert claimed.text == "one more"


async def test_a_reader_in_the_way_holds_up_nobody_and_it_is_cleaned_afterwards(
    opening: Opening, path: Path, soon: None
) -> None:
    box = (await opening()).box
    await lived(box, 30)
    wal = path.with_name(path.name + "-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM messages").fetchone()
        assert await redacted(box) == 30
        await asyncio.sleep(0.3)
        assert found(wal) > [30]
        began = asyncio.get_running_loop().time()
        await lived_on(box)
        assert asyncio.get_running_loop().time() - began < 1
        reader.execute("COMMIT")
        await emptied(wal)
    assert found(path) == [0]
