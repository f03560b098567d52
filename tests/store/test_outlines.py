"""What is told of what waits, for the look ahead? A real file, filled by the outbox's own statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from smsd.core.message import Priority
from smsd.store import outlines
from smsd.store.migrate import migrate

NOW = 1_790_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "outbox.db", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def fill(
    db: sqlite3.Connection,
    flow: int,
    dues: Sequence[int],
    *,
    tenant: str = "shop",
    priority: int = 1,
    segments: Sequence[int] = (1,),
    first: int = 1,
) -> None:
    """A flow with messages due then, numbered from `first` on."""
    db.execute("BEGIN")
    db.execute(
        "INSERT INTO flows (id, route, priority, tenant, pending, next_due) VALUES (?, 'main', ?, ?, ?, ?)",
        (flow, priority, tenant, len(dues), min(dues)),
    )
    db.executemany(
        "INSERT INTO messages (seq, id, state, recipient, text, tenant, route, flow, priority, created_at, due, "
        "expires_at, segments, encoding, length, max_attempts, truncated, pinned) "
        "VALUES (?, ?, 0, '+14155550123', 'x', ?, 'main', ?, ?, 0, ?, 9999999999999, ?, 0, 1, 5, 0, 0)",
        (
            (first + n, f"{flow}-{n}", tenant, flow, priority, due, segments[n % len(segments)])
            for n, due in enumerate(dues)
        ),
    )
    db.execute("COMMIT")


def test_the_largest_flows_come_first_and_the_rest_in_one(db: sqlite3.Connection) -> None:
    fill(db, 1, [NOW - 9] * 3, tenant="a", first=100)
    fill(db, 2, [NOW - 9] * 30, tenant="b", first=200)
    fill(db, 3, [NOW - 9] * 2, tenant="c", first=300)
    fill(db, 4, [NOW - 9] * 4, tenant="d", priority=int(Priority.HIGH), first=400)
    lines = outlines.lines(db, 2, NOW)
    assert [(line.flow, line.tenant, line.pending) for line in lines[:2]] == [(2, "b", 30), (4, "d", 4)]
    (rest,) = lines[2:]
    assert (rest.flow < 0, rest.route, rest.priority, rest.pending) == (True, "main", Priority.NORMAL, 5)
    assert [line.flow for line in outlines.lines(db, 100, NOW)] == [2, 4, 1, 3]


def test_due_times_are_sampled_evenly(db: sqlite3.Connection) -> None:
    fill(db, 1, [NOW + 1_000 * place for place in range(1_000)], segments=(1, 3))
    (line,) = outlines.lines(db, 10, NOW)
    assert line.due_at(0) == NOW
    assert line.due_at(999) == NOW + 999_000
    for place in (1, 250, 500, 900):
        assert abs(line.due_at(place) - (NOW + place * 1_000)) <= 2 * 16_000
    assert 1 <= line.segments <= 3


def test_few_due_times_are_all_told(db: sqlite3.Connection) -> None:
    dues = [NOW + 5_000, NOW + 60_000, NOW + 7_200_000]
    fill(db, 1, dues, segments=(2,))
    (line,) = outlines.lines(db, 10, NOW)
    assert [line.due_at(place) for place in range(3)] == dues
    assert line.segments == 2


def test_what_is_due_needs_no_sample_and_too_many_are_taken_as_even(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlines, "SAMPLED", 50)
    fill(db, 1, [NOW - 5_000 + place for place in range(100)], tenant="a", first=1_000)
    fill(db, 2, [NOW + 100_000 + place * 1_000 for place in range(101)], tenant="b", first=2_000)
    late, due = outlines.lines(db, 10, NOW)
    assert due.dues == (NOW - 5_000 + 99,)
    assert (late.due_at(0), late.due_at(100)) == (NOW + 100_000, NOW + 200_000)
    assert abs(late.due_at(50) - (NOW + 150_000)) < 3_000


def test_the_place_in_a_flow(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(db, 1, [NOW + place // 2 for place in range(1_000)], first=5_000)
    fill(db, 2, [NOW - 1] * 10, tenant="b", first=1)
    for place in (0, 1, 499, 999):
        assert outlines.place(db, 1, NOW + place // 2, 5_000 + place) == place
    monkeypatch.setattr(outlines, "COUNTED", 100)
    for place in (0, 99, 500, 700, 950, 999):
        assert abs(outlines.place(db, 1, NOW + place // 2, 5_000 + place) - place) <= 1
    assert outlines.place(db, 99, NOW, 7) == 0


def test_every_nth_of_the_newest_charges(db: sqlite3.Connection) -> None:
    rows = [(4, "shop", NOW + n, 7 if n >= 5 else 6, n * 10, n) for n in range(10)]
    db.executemany("INSERT INTO charges (kind, key, at, boot, boot_us, seq) VALUES (?, ?, ?, ?, ?, ?)", rows)
    db.execute("INSERT INTO charges (kind, key, at, boot, boot_us, seq) VALUES (4, 'other', 1, 7, 1, 1)")
    assert outlines.charged(db, 7, 4, "shop", 3, 1) == ((NOW + 9, 90), (NOW + 8, 80), (NOW + 7, 70))
    assert outlines.charged(db, 7, 4, "shop", 100, 4) == ((NOW + 6, 60), (NOW + 2, None))
