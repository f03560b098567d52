"""Outboxes on real SQLite files, closed at the end whatever the test did."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from smsd.store import Recovery, StoreError
from smsd.store.rows import HEALTH_COLUMNS
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW
from tests.doubles.laid import lay

FROM_NOTHING = tuple(
    f"test_{name}.py"
    for name in ("carry", "connection", "disk_faults", "guard", "migrate", "residue", "restore", "snapshot", "writer")
)
"""Files of tests for which the first start is part of the story, or the file and its -wal as smsd makes them: their
outboxes are migrated. All others begin with a copy of one that was (tests/doubles/laid.py)."""

Opening = Callable[..., Awaitable["Opened"]]


@dataclass
class Opened:
    """An open outbox and what it said to the daemon."""

    box: SqliteOutbox
    recovery: Recovery
    fatal: list[StoreError] = field(default_factory=list)
    full: list[bool] = field(default_factory=list)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database lies."""
    return tmp_path / "state" / "outbox.db"


@pytest.fixture
async def opening(path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Opening]:
    """Opens outboxes at `path`: `await opening(now=..., by_segments=..., **SqliteOutbox's keywords)`."""
    boxes: list[SqliteOutbox] = []

    async def open_box(now: int = NOW, by_segments: Collection[str] = (), **settings: Any) -> Opened:
        fatal: list[StoreError] = []
        full: list[bool] = []
        settings = {"boot_token": "boot", "boot_us": lambda: 77_000, **settings}
        box = SqliteOutbox(path, on_fatal=fatal.append, on_full=full.append, **settings)
        boxes.append(box)
        if request.path.name not in FROM_NOTHING:
            lay(path)
        return Opened(box, await box.open(now, by_segments), fatal, full)

    yield open_box
    for box in boxes:
        await box.close()


WAY_BACK = ("provider_ids", "receipts", "threads", "inbound", "callbacks", "callback_places", "gone_urls")
"""Tables of version 5."""


OPERATORS = ("campaigns", "campaign_counters", "audit", "alerts", "alerts_over")
"""Tables of versions 6 and 10."""


def downgrade(path: Path, to: int = 1) -> None:
    """Make the file what version 1 (or 2) had."""
    columns = [("messages", name) for name in ("crashes", "held", "held_by", "held_since", "admitted")]
    columns += [("messages", name) for name in ("callback_url", "exempt", "been")]
    columns += [("attempts", name) for name in ("receipt", "receipt_code", "receipt_at")]
    columns += [("messages", "redacted"), ("messages", "head")]
    columns += [("keys", name) for name in ("forget_at", "id", "state", "segments", "encoding")]
    columns += [("providers", name.strip()) for name in HEALTH_COLUMNS.split(",")[7:]]
    with closing(sqlite3.connect(path)) as db:
        for (view,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'view'").fetchall():
            db.execute(f"DROP VIEW {view}")
        for table in ("suppressions", "charges", *WAY_BACK, *OPERATORS):
            db.execute(f"DROP TABLE {table}")
        for index in ("messages_held", "messages_undelivered", "keys_forgotten"):
            db.execute(f"DROP INDEX {index}")
        for table, column in columns:
            db.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
        if to == 1:
            for name in ("tenant_counters", "tenant_categories", "tenant_minutes"):
                db.execute(f"DROP TABLE {name}")
            db.execute("DROP INDEX messages_user")
        db.execute(f"PRAGMA user_version = {to}")
        db.commit()
