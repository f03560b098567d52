"""Does a file reach our schema in whole steps, and is one that is not ours left alone?"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from smsd.store import StoreError
from smsd.store.migrate import APPLICATION_ID, Migration, migrate, migrations, split, version
from smsd.store.recovery import prepare_writer
from tests.doubles.builders import draft
from tests.store.conftest import Opening
from tests.store.contract import accept


@pytest.fixture
def database(tmp_path: Path) -> sqlite3.Connection:
    return sqlite3.connect(tmp_path / "a.db", isolation_level=None)


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
    tables = database.execute("SELECT name, strict FROM pragma_table_list WHERE schema = 'main'").fetchall()
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


async def test_a_file_that_cannot_have_a_wal_is_refused(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await accept(box, draft(1))
    await box.close()
    memory = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(StoreError, match="journal_mode is memory"):
        prepare_writer(memory, "full")
    memory.close()
