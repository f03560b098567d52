"""Messages that ended in every way, laid straight into an outbox's file, and what they are for a test."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from smsd.core.message import State
from smsd.store.connection import Handle, connect
from smsd.store.hands import Hands
from smsd.store.migrate import migrate
from smsd.store.reports import SqliteReports
from tests.doubles.builders import NOW

CALL_MS = 250


@dataclass(frozen=True)
class Row:
    """One message. `calls`: the latency of each (None: not known)."""

    state: State = State.SENT
    at: int = NOW
    tenant: str = "shop"
    campaign: str | None = None
    user: str | None = None
    type: str | None = None
    provider: str | None = "main"
    recipient: str = "+14155550123"
    segments: int = 1
    price: str | None = None
    category: str | None = None
    cause: str | None = None
    code: str | None = None
    error: str | None = None
    send_at: int | None = None
    processed_at: int | None = None
    sent_at: int | None = None
    calls: Sequence[int | None] = field(default=(CALL_MS,))


def made(path: Path) -> sqlite3.Connection:
    """An outbox's file, and a connection that writes to it."""
    path.write_bytes(_empty())
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    return db


@cache
def _empty() -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        migrate(db)
        return db.serialize()


def lay(db: Handle, rows: Iterable[Row]) -> list[str]:
    """Put the messages in, in this order; their ids."""
    first = db.execute("SELECT coalesce(max(seq), 0) + 1 FROM messages").fetchone()[0]
    ids = []
    db.execute("BEGIN")
    for seq, row in enumerate(rows, first):
        ids.append(f"01a2049a-0000-7000-8000-{seq:012d}")
        values = (
            *(seq, ids[-1], row.state, row.recipient, "text", row.tenant, row.at, row.at, row.segments),
            *(row.send_at, row.user, row.type, row.campaign, len(row.calls), row.provider, row.category, row.error),
            *(row.code, row.provider if row.category else None, row.cause, row.sent_at, row.processed_at, row.price),
        )
        db.execute(
            "INSERT INTO messages (seq, id, state, recipient, text, tenant, created_at, due, segments, send_at, "
            '"user", "type", campaign, attempt, provider, error_category, error_message, error_code, error_provider, '
            "error_cause, sent_at, processed_at, price, route, flow, priority, expires_at, encoding, length, "
            f"max_attempts, truncated, pinned) VALUES ({', '.join('?' * len(values))}, 'main', 1, 1, 0, 0, 4, 5, 0, 0)",
            values,
        )
        for n, latency in enumerate(row.calls, 1):
            db.execute(
                "INSERT INTO attempts (seq, n, provider, started_at, boot, settled_at, cost, latency_ms, outcome) "
                "VALUES (?, ?, 'main', 0, 0, 0, 1, ?, 'accepted')",
                (seq, n, latency),
            )
    db.execute("COMMIT")
    return ids


def reports_at(path: Path) -> SqliteReports:
    """The reports of that file, without an outbox around them."""
    return SqliteReports(cast("Hands", SimpleNamespace(path=path, connect=connect)))
