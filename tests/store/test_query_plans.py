"""Does every statement of the daily flow search, and none scan? SQLite is asked for the plan of each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import import_module
from pkgutil import iter_modules

import pytest

from smsd.core.message import State
from smsd.store import Query, campaigns, gates, reading, statements
from smsd.store.connection import Handle
from smsd.store.migrate import migrate
from smsd.store.restore import HOLD
from smsd.store.statements.reading import COUNTS_OF_RECIPIENT

SMALL = {"flows_live", "categories", "counters", "providers", "campaigns_gated"}
"""What may be walked: tables of a few rows, flows that have something pending, campaigns that something was said of."""

ONE_ROW = {
    "LAST_ACCEPTED", "LAST_SETTLED", "NEXT_EXPIRY", "OLDEST_PENDING", "OLDEST_PENDING_OF_TENANT", "ANY_SUPPRESSION",
}  # fmt: skip
"""Statements that walk an index in its order and stop at the first row (LIMIT 1)."""

FENCED = [
    "CLAIM", "CLAIMABLE", "SETTLE", "SETTLEABLE", "REROUTE", "TURN_AWAY", "EXPIRE", "CANCEL", "REOPEN",
    "HOLD_NEW", "HOLD_UP", "REFUSE", "RESCHEDULE", "RELEASE",
]  # fmt: skip

ROOMS = [import_module(f"{statements.__name__}.{room.name}") for room in iter_modules(statements.__path__)]

TEXTS = {
    name: text
    for name, text in [item for module in (gates, campaigns, *ROOMS) for item in vars(module).items()]
    if name.isupper() and isinstance(text, str) and text.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
}


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def filled(db: sqlite3.Connection, text: str) -> str:
    """The statement for four rows or ids: with as many columns as make it valid."""
    text = text.replace("{ids}", "?, ?, ?, ?").replace("{most}", "7")
    if "{rows}" not in text:
        return text
    for columns in range(1, 40):
        candidate = statements.with_rows(text, columns, 4)
        try:
            db.execute(f"EXPLAIN {candidate}", [None] * candidate.count("?"))
        except sqlite3.OperationalError:
            continue
        return candidate
    raise AssertionError(f"no number of columns makes this valid: {text}")


def plan(db: sqlite3.Connection, sql: str) -> list[str]:
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * sql.count("?"))]


def scans(steps: list[str]) -> list[str]:
    """Steps that walk a whole table or index, apart from rows that the statement brought along."""
    walked = [step for step in steps if step.startswith("SCAN")]
    return [step for step in walked if not re.match(r"SCAN (.*CONSTANT ROWS?|[vk]$|\(subquery-\d+\))", step)]


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_statement_walks_a_table(db: sqlite3.Connection, name: str) -> None:
    sql = filled(db, TEXTS[name])
    found = [step for step in scans(plan(db, sql)) if step.split()[-1] not in SMALL]
    if name in ONE_ROW:
        assert sql.endswith("LIMIT 1")
        assert len(found) <= 1
    else:
        assert found == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("FEED", "messages_pending (flow=? AND due>? AND due<?)"),
        ("FEED_NEXT", "messages_pending (flow=? AND due>?)"),
        ("ADD_PENDING", "messages_pending (flow=?)"),
        ("PENDING", "messages_pending (flow=?)"),
        ("FLOWS", "flows_live"),
        ("GATED", "campaigns_gated"),
        ("CANCELLED", "campaigns_gated"),
        ("FIND_ONE", "campaigns_id (tenant=? AND id=?)"),
        ("FIND_ALL", "campaigns_named (id=?)"),
        ("PAGE_OF", "campaigns_tenant (tenant=? AND nr<?)"),
        ("EXPIRED", "messages_expiring (expires_at<?)"),
        ("NEXT_EXPIRY", "messages_expiring"),
        ("OPEN_ATTEMPTS", "messages_processing (uncertain=?)"),
        ("DOUBT_OPEN", "messages_processing (uncertain=?)"),
        ("UNCERTAIN", "messages_processing (uncertain=? AND due<?)"),
        ("NEXT_UNCERTAIN", "messages_processing (uncertain=? AND due>?)"),
        ("HELD", "messages_held (seq>?)"),
        ("SWEEP_FLOWS", "messages_pending (flow=?)"),
        ("FLOOR_OF_FAILED_PAGE", "messages_failed (seq<?)"),
        ("BOUND_BY_LOOKUP", "attempts_found (provider_message_id=?)"),
        ("ATTEMPTS_OF", "attempts_message (seq=?)"),
        ("BIND_ATTEMPT", "attempts_message (seq=? AND n=?)"),
        ("OVERTAKEN_ONES", "attempts_message (seq=? AND n=?)"),
        ("FORGET_OVERTAKEN", "attempts_message (seq=? AND n=?)"),
        ("KEEP_RECEIPT", "attempts_message (seq=? AND n=?)"),
        ("BOUND_TO_OTHER_BY_LOOKUP", "attempts_found (provider_message_id=?)"),
        ("LAST_STRAW", "messages_processing (uncertain=?)"),
        ("COUNT_CRASH", "messages_processing (uncertain=?)"),
        ("SUPPRESSED", "suppressions_number (number=?)"),
        ("SUPPRESSIONS_OF", "suppressions_number (number=?)"),
        ("SUPPRESSIONS_AFTER", "suppressions_number ((number,scope)>(?,?))"),
        ("SUPPRESSIONS_IN_SCOPE_AFTER", "PRIMARY KEY (scope=? AND number>?)"),
        ("LIFT_SUPPRESSION", "PRIMARY KEY (scope=? AND number=?)"),
        ("LIVE_FLOWS", "flows_live"),
        ("LINES", "flows_live"),
        ("LINES", "messages_pending (flow=?)"),
        ("ALL_LINES", "flows_live"),
        ("DUES", "messages_pending (flow=?)"),
        ("FIRST_SEGMENTS", "messages_pending (flow=?)"),
        ("PLACE", "messages_pending (flow=? AND due<?)"),
        ("PLACE_FROM_BEHIND", "messages_pending (flow=? AND due>?)"),
        ("SPAN_OF_FLOW", "messages_pending (flow=?)"),
        ("CHARGED_BEFORE", "COVERING INDEX charges_key (kind=? AND key=? AND nr<?)"),
        ("COUNT_CHARGES", "COVERING INDEX charges_key (kind=? AND key=?)"),
        ("OLDEST_CHARGES", "INTEGER PRIMARY KEY (rowid>?)"),
        ("FORGET_CHARGES", "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        ("CHARGES_OF", "charges_key (kind=? AND key=? AND nr>?)"),
        ("CHARGES_OF", "COVERING INDEX charges_key (kind=? AND key=?)"),
        ("TAKE_BACK", "charges_key (kind=? AND key=? AND nr>?)"),
        ("FLOOR_OF_USERS_PAGE", "messages_user (user=? AND tenant=? AND rowid<?)"),
        ("COUNTS_OF_USER", "messages_user (user=? AND tenant=?)"),
        ("TENANT_OF_USER", "messages_user (user=? AND tenant>?)"),
        ("FORGET_TENANT_MINUTES", "tenant_minutes_age (minute<?)"),
    ],
)
def test_a_partial_index_is_used(db: sqlite3.Connection, name: str, index: str) -> None:
    assert any(step.endswith(index) for step in plan(db, filled(db, TEXTS[name]))), plan(db, TEXTS[name])


def test_a_recipients_counts_look_at_a_bounded_stretch(db: sqlite3.Connection) -> None:
    assert plan(db, COUNTS_OF_RECIPIENT) == ["SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"]


@pytest.mark.parametrize(
    "name",
    [
        *("COUNTS_OF_USER", "TENANT_OF_USER", "TENANT_MINUTES", "FORGET_TENANT_MINUTES"),
        *("SUPPRESSIONS_AFTER", "SUPPRESSIONS_IN_SCOPE_AFTER", "PAGE", "PAGE_OF", "FIND_ALL"),
    ],
)
def test_what_comes_in_the_order_of_an_index_is_not_sorted(db: sqlite3.Connection, name: str) -> None:
    assert [step for step in plan(db, TEXTS[name]) if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
def test_a_restore_finds_what_waits_by_an_index(db: sqlite3.Connection, state: State) -> None:
    steps = plan(db, HOLD.replace("{state}", str(int(state))))
    assert any(re.search(r"messages USING (COVERING )?INDEX messages_", step) for step in steps), steps
    assert "SEARCH messages USING INTEGER PRIMARY KEY (rowid=?)" in steps


@pytest.mark.parametrize("name", [*FENCED, "BY_SEQS"])
def test_fenced_changes_go_by_number(db: sqlite3.Connection, name: str) -> None:
    steps = plan(db, filled(db, TEXTS[name]))
    assert any(re.fullmatch(r"SEARCH (messages|m) USING INTEGER PRIMARY KEY \(rowid=\?\)", step) for step in steps), (
        steps
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (Query(tenant="a", recipient="+1", since=5), "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (Query(user="u"), "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (
            Query(tenant="a", user="u", states=(State.FAILED,), since=5),
            "SEARCH messages USING INDEX messages_user (user=? AND tenant=? AND rowid>? AND rowid<?)",
        ),
        (Query(states=(State.PENDING,)), "SEARCH messages USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (Query(states=(State.FAILED,)), "SEARCH messages USING INDEX messages_failed (seq>? AND seq<?)"),
    ],
)
def test_a_listing_looks_at_a_bounded_stretch(db: sqlite3.Connection, query: Query, expected: str) -> None:
    seen: list[str] = []

    class Explaining:
        in_transaction = False

        def execute(self, sql: str, parameters: Sequence[object] = (), /) -> sqlite3.Cursor:
            seen.extend(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
            return db.execute(sql, parameters)

    explaining: Handle = Explaining()
    reading.page(explaining, query)
    assert expected in seen, seen
    assert not [step for step in seen if "TEMP B-TREE" in step]
    assert scans(seen) == []


def test_a_scan_would_be_seen(db: sqlite3.Connection) -> None:
    """The check itself: a condition that is not the index's own falls back to a scan."""
    assert scans(plan(db, "SELECT due FROM messages WHERE state IN (0) AND flow = 1")) == ["SCAN messages"]
