"""Is an outbox that begins as a copy the one that a first start makes?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from smsd.store.connection import connect
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW
from tests.doubles.laid import lay, migrated

LASTING = ("user_version", "application_id", "auto_vacuum", "journal_mode", "page_size", "encoding", "schema_version")


async def started(path: Path) -> tuple[bytes, list[Any]]:
    """Start an outbox and end it; its key for cursors, and all that its file says without that."""

    def fail(error: Exception) -> None:
        raise error

    box = SqliteOutbox(path, on_fatal=fail, connect=connect, boot_token="boot", boot_us=lambda: 7)
    found = await box.open(NOW)
    await box.close()
    with closing(sqlite3.connect(path)) as db:
        said: list[Any] = [found, path.stat().st_mode, path.parent.stat().st_mode]
        said += [db.execute(f"PRAGMA {name}").fetchone() for name in LASTING]
        said += db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall()
        for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1").fetchall():
            said += [(table, *row) for row in db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()]
    key = ("meta", "cursor_key", found.cursor_key)
    assert said.count(key) == 1
    said.remove(key)
    return found.cursor_key, said


async def test_it_begins_as_a_first_start_leaves_it(tmp_path: Path) -> None:
    lay(tmp_path / "laid" / "outbox.db")
    laid_key, laid = await started(tmp_path / "laid" / "outbox.db")
    key, made = await started(tmp_path / "made" / "outbox.db")
    assert laid == made
    assert laid_key != key


async def test_each_is_its_own(tmp_path: Path) -> None:
    keys = set()
    for name in ("one", "two"):
        lay(tmp_path / name / "outbox.db")
        keys.add((await started(tmp_path / name / "outbox.db"))[0])
    assert len(keys) == 2


def test_no_row_is_in_it(tmp_path: Path) -> None:
    """So there is nothing that two outboxes could share."""
    path = tmp_path / "outbox.db"
    path.write_bytes(migrated())
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
        assert "messages" in tables
        assert {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables} == dict.fromkeys(
            tables, 0
        )


@pytest.mark.parametrize("content", [b"", b"somebody's"])
def test_what_is_there_stays(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "outbox.db"
    path.write_bytes(content)
    lay(path)
    assert path.read_bytes() == content
