"""What is left in the files of texts and numbers that were redacted?"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from smsd.core.lifecycle import Event
from smsd.core.units import HOUR
from smsd.store import Claim, Stored, snapshot, writer
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
