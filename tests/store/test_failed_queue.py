"""Does a page of the failed queue hold exactly what the filters say, and look at nothing else?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.message import State
from smsd.store import Query, failing, reading, rows
from smsd.store.migrate import migrate
from tests.doubles.builders import NOW, draft


class Row(NamedTuple):
    """A message, as far as it is asked about. None: no such thing."""

    state: State
    tenant: str
    campaign: str | None
    category: str
    user: str | None
    recipient: str
    provider: str
    minute: int


names = st.sampled_from(["a", "b"])
ROWS = st.builds(
    Row,
    st.sampled_from([State.FAILED, State.FAILED, State.UNDELIVERED, State.SENT, State.PENDING, State.EXPIRED]),
    names,
    st.none() | names,
    st.sampled_from(["NETWORK", "REJECTED"]),
    st.none() | names,
    st.sampled_from(["+14155550123", "+14155550124"]),
    names,
    st.integers(0, 3),
)
QUERIES = st.builds(
    Query,
    tenant=st.none() | names,
    states=st.sampled_from([(State.FAILED, State.UNDELIVERED), (State.UNDELIVERED, State.FAILED)]),
    recipient=st.none() | st.just("+14155550123"),
    user=st.none() | names,
    campaign=st.none() | names,
    category=st.none() | st.just("NETWORK"),
    provider=st.none() | names,
    since=st.none() | st.integers(0, 3).map(lambda minute: NOW + 60_000 * minute),
    until=st.none() | st.integers(0, 3).map(lambda minute: NOW + 60_000 * minute),
    limit=st.integers(1, 7),
)


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def fill(db: sqlite3.Connection, found: list[Row]) -> None:
    """Exactly these messages, numbered from 1 on."""
    db.execute("DELETE FROM messages")
    for seq, row in enumerate(found, 1):
        one = draft(seq, tenant=row.tenant, campaign=row.campaign, user=row.user, recipient=row.recipient)
        values = rows.accepted_row(replace(one, created_at=NOW + 60_000 * row.minute), seq, 1)
        marks = ", ".join("?" * len(values))
        db.execute(f"INSERT INTO messages ({rows.ACCEPTED_COLUMNS}) VALUES ({marks})", values)
        db.execute(
            "UPDATE messages SET state = ?, provider = ?, error_category = ?, error_message = 'no', error_at = 0 "
            "WHERE seq = ?",
            (int(row.state), row.provider, row.category, seq),
        )


def fits(row: Row, query: Query) -> bool:
    """The model."""
    at = NOW + 60_000 * row.minute
    pairs = (
        (query.tenant, row.tenant),
        (query.campaign, row.campaign),
        (query.category, row.category),
        (query.user, row.user),
        (query.recipient, row.recipient),
        (query.provider, row.provider),
    )
    return (
        row.state in {State.FAILED, State.UNDELIVERED}
        and all(asked is None or asked == value for asked, value in pairs)
        and (query.since is None or at >= query.since)
        and (query.until is None or at < query.until)
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=40), QUERIES, st.integers(1, 9))
def test_pages_are_what_the_model_says(db: sqlite3.Connection, found: list[Row], query: Query, looked_at: int) -> None:
    """However little one read looks at."""
    fill(db, found)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "ROWS_LOOKED_AT", looked_at)
        got: list[int] = []
        pages, before = 0, None
        while pages == 0 or before is not None:
            page = reading.page(db, replace(query, before=before))
            assert len(page.items) <= query.limit
            got += [message.seq for message in page.items]
            before, pages = page.next_before, pages + 1
            assert pages <= len(found) + 2
    assert got == [seq for seq in range(len(found), 0, -1) if fits(found[seq - 1], query)]


@settings(max_examples=150, deadline=None)
@given(st.lists(ROWS, max_size=40), st.none() | names, st.integers(1, 45), st.integers(1, 9))
def test_places_are_what_the_model_says(
    db: sqlite3.Connection, found: list[Row], tenant: str | None, skip: int, stretch: int
) -> None:
    fill(db, found)
    query = Query(tenant=tenant)
    queue = [seq for seq in range(len(found), 0, -1) if fits(found[seq - 1], query)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failing, "STRETCH", stretch)
        before: int | None = None
        left, looks = skip, 0
        while left:
            before, left = failing.place(db, tenant, before, left)
            looks += 1
            assert looks <= len(found) + 2
            if before is None:
                break
    behind = [] if before is None else [seq for seq in queue if seq < before]
    assert behind == queue[skip:]


@pytest.mark.parametrize("text", [failing.NTH, failing.NTH_OF_TENANT, failing.both("*", "AND tenant = ? ")])
def test_both_indexes_are_walked_at_once_and_nothing_is_sorted(db: sqlite3.Connection, text: str) -> None:
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}", [None] * text.count("?"))]
    assert plan == [
        "MERGE (UNION ALL)",
        "LEFT",
        "SEARCH messages USING INDEX messages_failed (seq>? AND seq<?)",
        "RIGHT",
        "SEARCH messages USING INDEX messages_undelivered (seq>? AND seq<?)",
    ]


def test_counting_a_stretch_searches(db: sqlite3.Connection) -> None:
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {failing.COUNT}", [None] * failing.COUNT.count("?"))]
    assert [step for step in plan if step.startswith("SCAN messages") or "TEMP B-TREE" in step] == []
