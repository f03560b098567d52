"""Does a file reach our schema in whole steps, and is one that is not ours left alone?"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import astuple
from pathlib import Path

import pytest

from smsd.core.message import Message, State
from smsd.core.receipt import Receipt, Status
from smsd.core.suppression import Suppression
from smsd.store import Claim, Person, Query, Recovery, Replay, StoreError
from smsd.store.migrate import APPLICATION_ID, Migration, migrate, migrations, split, version
from smsd.store.recovery import prepare_writer
from tests.doubles.builders import draft
from tests.store.conftest import Opening, downgrade
from tests.store.contract import LATER, Bench, Box, Walk, accept

VERSION_2 = Path(__file__).with_name("data") / "version_2.sql"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as connection:
        yield connection


def schema(db: sqlite3.Connection) -> list[tuple[str]]:
    return db.execute("SELECT name FROM sqlite_schema ORDER BY name").fetchall()


def test_an_empty_file_gets_every_migration_once(database: sqlite3.Connection) -> None:
    with database as db:
        assert migrate(db) == len(migrations())
        assert migrate(db) == 0
        assert version(db) == len(migrations())
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    database.close()


def test_tables_are_strict_and_space_can_be_given_back(database: sqlite3.Connection) -> None:
    prepare_writer(database, "full")
    migrate(database)
    listed = "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND type <> 'view'"
    tables = database.execute(listed).fetchall()
    assert {name for name, strict in tables if not strict} == {"sqlite_schema"}
    pragmas = {
        name: database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("auto_vacuum", "journal_mode", "synchronous")
    }
    assert pragmas == {"auto_vacuum": 2, "journal_mode": "wal", "synchronous": 2}
    database.close()


def test_a_migration_that_fails_leaves_the_file_as_it_was(database: sqlite3.Connection) -> None:
    known = migrations()
    migrate(database)
    before = schema(database)
    bad = Migration(len(known) + 1, ("CREATE TABLE extra (a INTEGER) STRICT", "CREATE TABLE extra (a INTEGER) STRICT"))
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(database, (*known, bad))
    assert schema(database) == before
    assert version(database) == len(known)
    good = Migration(len(known) + 1, ("CREATE TABLE extra (a INTEGER) STRICT",))
    assert migrate(database, (*known, good)) == 1
    assert version(database) == len(known) + 1
    database.close()


def test_a_newer_file_is_refused(database: sqlite3.Connection) -> None:
    migrate(database)
    database.execute("PRAGMA user_version = 999")
    with pytest.raises(StoreError, match="newer smsd"):
        migrate(database)
    database.close()


@pytest.mark.parametrize("sql", ["CREATE TABLE theirs (a)", "PRAGMA user_version = 1"])
def test_somebody_elses_database_is_left_alone(database: sqlite3.Connection, sql: str) -> None:
    database.execute(sql)
    before = schema(database)
    with pytest.raises(StoreError, match="another program"):
        migrate(database)
    assert schema(database) == before
    database.close()


def test_a_script_is_split_into_whole_statements() -> None:
    script = (
        "-- a; comment\nCREATE TABLE a (b);\n\nCREATE TRIGGER c AFTER INSERT ON a BEGIN\n SELECT 1;\nEND;\n-- end\n"
    )
    statements = list(split(script))
    assert [s.split()[-1] for s in statements] == ["(b);", "END;"]


async def test_an_outbox_of_version_1_learns_its_tenants(opening: Opening, path: Path) -> None:
    """What the second migration counts is what would have been kept."""
    opened = await opening()

    async def never(now: int, same_boot: bool, by_segments: Collection[str]) -> tuple[Box, Recovery]:
        raise AssertionError("this walk has no restart")

    async def unharmed(box: Box) -> None:
        raise AssertionError("nor a crash")

    walk = Walk(Bench(opened.box, opened.recovery, never, unharmed), random.Random(3))
    for _ in range(6):
        await walk.burst()
    kept = {tenant: await opened.box.totals(0, tenant) for tenant in "ab"}
    await opened.box.close()
    downgrade(path)
    box = (await opening()).box
    for tenant, before in kept.items():
        after = await box.totals(0, tenant)
        assert (after.states, after.oldest_pending_at) == (before.states, before.oldest_pending_at)
        assert [(m.minute, m.sent) for m in after.minutes] == [(m.minute, m.sent) for m in before.minutes]
        failed = Counter(
            str(m.error.category)
            for m in (await box.page(Query(tenant=tenant, states=(State.FAILED,), limit=1_000))).items
            if m.error is not None
        )
        assert after.categories == failed
        assert sum(m.failed for m in after.minutes) == failed.total()
    assert (await box.counts_of(Person("a", user="nobody"), 0, 0)).pending == 0
    await box.close()
    with sqlite3.connect(path) as db:
        assert version(db) == len(migrations())
    db.close()


async def test_an_outbox_of_version_2_goes_on(opening: Opening, path: Path) -> None:
    """A file that the smsd of that version wrote: its messages, providers, keys and an open attempt."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_2.read_text("utf-8"))
        assert version(db) == 2
        providers = db.execute("SELECT * FROM providers").fetchall()
    opened = await opening(now=LATER)
    assert sorted(astuple(health)[:7] for health in opened.recovery.providers) == sorted(providers)
    assert {astuple(health)[7:] for health in opened.recovery.providers} == {
        (None, "", None, 0, None, None, None, None, None, None)
    }
    assert (opened.recovery.reopened, opened.recovery.parked) == (1, ())
    messages = (await opened.box.page(Query())).items
    assert Counter(m.state.label for m in messages) == {"pending": 6, "processing": 2, "sent": 1, "failed": 1}
    assert [(m.asked_sender, m.route) for m in messages[:2]] == [("ACME", "main,b"), (None, "main")]
    assert await opened.box.suppress(Suppression("main", messages[0].recipient, LATER, "api"))
    [moved, failed] = await opened.box.begin([Claim(m.seq, m.attempt, "main", "s") for m in messages[:2]], LATER)
    assert isinstance(moved, Message)
    assert isinstance(failed, Message)
    assert (moved.state, moved.route, failed.state) == (State.PENDING, "b", State.FAILED)
    [proved] = await opened.box.receive([Receipt("main", Status.SENT, "SM5", messages[5].id, 1)], LATER)
    assert proved.message is not None
    assert (proved.before, proved.message.state) == (State.PROCESSING, State.SENT)
    [again] = await accept(opened.box, draft(70, tenant="a", idempotency_key="k2", content_hash=b"h" * 32))
    assert isinstance(again, Replay)
    await opened.box.close()
    with closing(sqlite3.connect(path)) as db:
        assert version(db) == len(migrations())


def test_minutes_of_the_last_day_only_are_learnt(database: sqlite3.Connection) -> None:
    migrate(database, migrations()[:1])
    names = [row[1] for row in database.execute("PRAGMA table_info(messages)") if row[3] and not row[4]]
    for number, (state, at) in enumerate([(2, 86_460_000), (2, 60_000), (5, 60_001), (0, None), (3, 119_999)], 1):
        values = dict.fromkeys(names, 0) | {"id": f"{number}", "tenant": "t", "state": state, "processed_at": at}
        values |= {"sent_at": at if state in (2, 3) else None, "error_category": "X" if state == 5 else None}
        values |= {"recipient": "", "text": "", "route": ""}
        marks = ", ".join("?" * len(values))
        database.execute(f"INSERT INTO messages ({', '.join(values)}) VALUES ({marks})", list(values.values()))
    migrate(database)
    assert database.execute("SELECT * FROM tenant_minutes ORDER BY minute").fetchall() == [
        ("t", 1, 1, 1),
        ("t", 1441, 1, 0),
    ]
    assert database.execute("SELECT * FROM tenant_counters ORDER BY state").fetchall() == [
        ("t", 0, 0, 1),
        ("t", 2, 0, 2),
        ("t", 3, 0, 1),
        ("t", 5, 0, 1),
    ]
    assert database.execute("SELECT * FROM tenant_categories").fetchall() == [("t", "X", 1)]
    database.close()


async def test_a_file_that_cannot_have_a_wal_is_refused(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await accept(box, draft(1))
    await box.close()
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(StoreError, match="journal_mode is memory"):
        prepare_writer(memory, "full")
    memory.close()
