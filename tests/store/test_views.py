"""Do the views tell a person with sqlite3 and a copy of the outbox what happened?"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.message import State
from tests.doubles.builders import draft
from tests.store.conftest import Opening
from tests.store.history import Row, lay, made

NOW = int(time.time() * 1_000)
"""The views know only SQLite's clock. What is "today" stays clear of midnight by being just now."""

YESTERDAY = NOW - 86_400_000

LIMITED = "Rate limited, retrying at 2026-01-02T03:04:05Z"
HISTORY = [
    Row(State.SENT, NOW, sent_at=NOW, processed_at=NOW + 500),
    Row(State.DELIVERED, NOW, sent_at=NOW + 2_000, processed_at=NOW + 2_000, calls=(5, 5, 5)),
    Row(State.DELIVERED, NOW, send_at=NOW + 1_000, sent_at=NOW + 2_500, processed_at=NOW + 2_500, calls=(5, 5)),
    Row(State.SENT, YESTERDAY, sent_at=YESTERDAY, processed_at=YESTERDAY + 4_000, calls=(5, 5)),
    Row(State.PENDING, NOW, category="RATE_LIMITED", error=LIMITED, calls=(5,)),
    Row(State.PENDING, NOW, category="NETWORK", error="refused", calls=(5, 5)),
    Row(State.PENDING, NOW, calls=()),
    Row(State.PROCESSING, YESTERDAY, category="AUTH_FAILED", error="401", calls=(5, 5)),
    Row(State.FAILED, NOW, category="AUTH_FAILED", error="403", code="20003", processed_at=NOW),
    Row(State.FAILED, NOW, category="EXHAUSTED", cause="CONFIG_ERROR", error="404", processed_at=NOW, calls=(5, 5)),
    Row(State.FAILED, NOW, category="EXHAUSTED", error="the last", processed_at=NOW),
    Row(State.FAILED, YESTERDAY, category="CONFIG_ERROR", error="404", processed_at=YESTERDAY),
    Row(State.UNDELIVERED, NOW, category="UNDELIVERED", error="gone", sent_at=NOW, processed_at=NOW),
    Row(State.EXPIRED, NOW, category="EXPIRED", error="too late", processed_at=NOW, calls=()),
    Row(State.CANCELLED, NOW, processed_at=NOW, calls=()),
]


@pytest.fixture
def db(tmp_path: Path) -> sqlite3.Connection:
    with closing(made(tmp_path / "outbox.db")) as writing:
        lay(writing, HISTORY)
    return sqlite3.connect(f"file:{tmp_path / 'outbox.db'}?mode=ro", uri=True)


def test_history(db: sqlite3.Connection) -> None:
    with closing(db):
        found = Counter(db.execute("SELECT status, state FROM v_history").fetchall())
        assert found == {
            ("SENT", "sent"): 2,
            ("SENT", "delivered"): 2,
            ("PENDING", "pending"): 3,
            ("PENDING", "processing"): 1,
            ("ERROR", "failed"): 4,
            **{("ERROR", state): 1 for state in ("undelivered", "expired", "cancelled")},
        }
        errors = db.execute("SELECT error_message FROM v_history WHERE error_message LIKE '%AUTH_FAILED%'").fetchall()
        assert errors == [("AUTH_FAILED: 401",), ("AUTH_FAILED: 403",)]
        at = db.execute("SELECT created_at, sent_at, processing_time_ms FROM v_history WHERE seq = 3").fetchone()
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(NOW // 1_000)) + f".{NOW % 1_000:03d}"
        assert (at[0], at[2]) == (text, 1_500)
        assert db.execute("SELECT unixepoch(?)", (at[1],)).fetchone() == ((NOW + 2_500) // 1_000,)


def test_the_queries_that_people_have_give_the_same(db: sqlite3.Connection) -> None:
    """As they stood in the applications that smsd takes over from, in SQLite's words."""
    with closing(db):
        today = db.execute(
            "SELECT * FROM v_history WHERE date(created_at) >= CURRENT_DATE AND status = 'ERROR' "
            "AND state <> 'cancelled' ORDER BY seq DESC"
        ).fetchall()
        assert db.execute("SELECT * FROM v_errors_today").fetchall() == today
        assert [row[1][-2:] for row in today] == ["14", "13", "11", "10", "09"]
        rate = db.execute(
            "SELECT strftime('%Y-%m-%d %H:%M:00', sent_at) AS minute, COUNT(*) AS messages_sent FROM v_history "
            "WHERE sent_at >= datetime('now', '-1 hour') AND status = 'SENT' GROUP BY minute ORDER BY minute DESC"
        ).fetchall()
        seen = db.execute("SELECT minute, messages_sent FROM v_send_rate WHERE minute >= datetime('now', '-1 hour')")
        assert seen.fetchall() == rate
        assert sum(count for _, count in rate) == 3
        assert db.execute("SELECT sum(messages_sent) FROM v_send_rate").fetchone() == (4,)
        types = dict(db.execute("SELECT error_type, count FROM v_error_types").fetchall())
        assert types == {"Auth Error": 1, "Rate Limit (Auto-Retry)": 1, "Config Error": 1, "Other": 4}
        success = db.execute(
            "SELECT COUNT(*) AS total_retries, SUM(CASE WHEN status = 'SENT' THEN 1 ELSE 0 END) AS successful_retries, "
            "(SUM(CASE WHEN status = 'SENT' THEN 1 ELSE 0 END) * 100.0 / COUNT(*)) AS success_rate "
            "FROM v_history WHERE retry_count > 0"
        ).fetchall()
        seen = db.execute("SELECT total_retries, successful_retries, success_rate FROM v_retry_success")
        assert seen.fetchall() == success == [(6, 3, 50.0)]
        patterns = db.execute(
            "SELECT retry_count, COUNT(*) AS count, AVG(processing_time_ms) AS avg_processing_time FROM v_history "
            "WHERE retry_count > 0 GROUP BY retry_count ORDER BY retry_count"
        ).fetchall()
        seen = db.execute("SELECT retry_count, count, avg_processing_time FROM v_retry_patterns")
        assert seen.fetchall() == patterns == [(1, 5, (1_500 + 4_000 + 0) / 3), (2, 1, 2_000.0)]


async def test_on_a_backup_of_a_running_outbox(opening: Opening, tmp_path: Path) -> None:
    box = (await opening(now=NOW)).box
    results: list[object] = []
    box.accept(draft(created_at=NOW, due=NOW, expires_at=NOW + 1), results.append)
    await box.cancel("nobody", None, NOW)
    await box.expire(NOW + 2, 10)
    await box.snapshot(tmp_path / "copy.db")
    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        assert db.execute("SELECT id, status FROM v_errors_today").fetchall() == [(draft().id, "ERROR")]
        assert db.execute("SELECT * FROM v_retry_success").fetchall() == [(0, 0, None)]
        for view in ("v_send_rate", "v_retry_patterns"):
            assert db.execute(f"SELECT * FROM {view}").fetchall() == []
