"""Does the ledger stay small on the disk, and cheap to ask where windows are large?"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.admission import AdmissionRules, At, Key
from smsd.core.limits import LEDGER_MS, MAX_COUNT, Per, Rule
from smsd.core.units import HOUR, MINUTE
from smsd.store import charges
from smsd.store.allowance import charged
from smsd.store.charges import KEPT_LONGER_MS, Charges
from smsd.store.migrate import migrate
from smsd.store.timeline import Timeline
from tests.doubles.builders import NOW
from tests.doubles.clock import ManualClock
from tests.store.conftest import Opening

ADD = "INSERT INTO charges (kind, key, at, boot, boot_us, seq) VALUES (?, ?, ?, ?, ?, ?)"
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def counts(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT key, count(*) FROM charges GROUP BY key").fetchall())


def test_it_is_counted_in_sql_as_it_is_in_memory(db: sqlite3.Connection) -> None:
    dice = random.Random(5)
    for _ in range(400):
        us = dice.choice([None, *[dice.randrange(9_000) for _ in range(4)]])
        clocks = {boot: NOW + dice.randrange(-9, 10) for boot in (1, 2, 3) if dice.random() < 0.7}
        line = Timeline(4, NOW, us, clocks)
        at = line.at(NOW + 5, None if us is None else us + 5_000 + dice.randrange(1_000))
        rows = [
            (NOW + dice.randrange(-9, 10), dice.randint(1, 5), dice.choice([None, *[dice.randrange(9_000)] * 4]))
            for _ in range(20)
        ]
        db.execute("DELETE FROM charges")
        db.executemany(ADD, ((0, "k", *row, seq) for seq, row in enumerate(rows)))
        rule = Rule(Per.RECIPIENT, dice.choice([7, 30]), dice.randint(1, 15))
        moments = [line.moment(*row, at.moment) for row in rows[-rule.count :]]
        expected = sum(moment > at.moment - rule.span_ms * 1_000 for moment in moments)
        assert charged(db, rule, Key(0, "k"), line, at) == expected


def test_windows_of_the_largest_count_stay_in_memory() -> None:
    assert charges.CHARGES_KEPT >= 20 * MAX_COUNT


def test_each_kind_is_kept_as_long_as_its_windows_and_a_day(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept longer stands before what goes and behind it."""
    monkeypatch.setattr(charges, "PURGED_AT_ONCE", 4)
    db.execute("DELETE FROM charges")
    one = Charges()
    one.start(Timeline(1, NOW, 0))
    one.govern(AdmissionRules((Rule(Per.RECIPIENT, 1, HOUR), Rule(Per.TENANT, 1, 3 * DAY))))
    for n in range(9):
        for kind, key in ((0, "hour"), (2, "no rule"), (4, "days")):
            db.execute(ADD, (kind, key, NOW, 1, n, n))

    def purge(ms: int) -> dict[str, int]:
        for _ in range(20):
            one.purge(db, At(NOW, ms * 1_000 + 8))
        return counts(db)

    assert purge(HOUR + KEPT_LONGER_MS) == {"hour": 9, "no rule": 9, "days": 9}
    assert purge(HOUR + KEPT_LONGER_MS + 1) == {"no rule": 9, "days": 9}
    assert purge(3 * DAY + KEPT_LONGER_MS + 1) == {"no rule": 9}
    assert purge(LEDGER_MS) == {"no rule": 9}
    assert purge(LEDGER_MS + 1) == {}


async def test_a_beat_takes_many_away_in_transactions_of_their_own(opening: Opening, path: Path) -> None:
    clock = ManualClock(NOW, boot=1_000_000)
    commits: list[int] = []
    opened = await opening(boot_us=clock.boot, on_commit=lambda _, rows: commits.append(rows))
    await opened.box.govern(AdmissionRules((Rule(Per.RECIPIENT, 1, HOUR),)))
    with closing(sqlite3.connect(path)) as db:
        db.executemany(ADD, ((0, "old", NOW, 1, n, n) for n in range(9_000)))
        db.commit()
        clock.advance(HOUR + KEPT_LONGER_MS + MINUTE)
        db.executemany(ADD, ((0, "new", clock.wall(), 1, clock.boot(), n) for n in range(100)))
        db.commit()
        await opened.box.beat(clock.wall())
        assert counts(db) == {"new": 100}
    assert len(commits) >= 5
