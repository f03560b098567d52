"""What is kept for the way back in SQLite: does it stay bounded, go in time, and cost nothing where nobody asks?"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import State
from smsd.core.receipt import ReceiptReading, Status
from smsd.core.units import DAY
from smsd.core.verdict import Category
from smsd.store import Claim, Query, Stored, StoreError, Tracking, kept, receiving, tracks
from smsd.store.connection import Handle
from smsd.store.kept import SWEPT_AT_ONCE, Kept, read, written
from smsd.store.migrate import migrate
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import LATER, SOON, accept, attempt, settlement
from tests.store.contract_receipts import RESEND, by_id, receipt
from tests.store.test_query_plans import filled, plan, scans


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Handle]:
    with closing(sqlite3.connect(tmp_path / "kept.db", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def kept_ids(db: Handle) -> list[str]:
    return [row[0] for row in db.execute("SELECT provider_message_id FROM receipts ORDER BY nr").fetchall()]


async def sent(box: SqliteOutbox, number: int, provider: str = "main", **fields: object) -> int:
    """A message that this provider took as SM<number>."""
    [stored] = await accept(box, draft(number, **fields))
    assert isinstance(stored, Stored)
    await box.begin([Claim(stored.seq, 0, provider, "+15005550006")], NOW)
    one = attempt(provider=provider, provider_message_id=f"SM{number}")
    assert await box.settle(settlement(stored.seq, Event.TAKEN, pmid=f"SM{number}"), one)
    return stored.seq


# --- receipts that wait ----------------------------------------------------------------------------------------------


def test_the_oldest_go_when_there_are_too_many(db: Handle) -> None:
    waiting = Kept(most=3)
    for n in range(5):
        waiting.keep(db, by_id(Status.SENT, n), NOW + n)
        waiting.keep(db, by_id(Status.QUEUED, n), NOW + n)
    assert kept_ids(db) == ["SM2", "SM3", "SM4"]
    waiting.undone()
    assert waiting.count(db) == 3
    waiting.keep(db, by_id(Status.DELIVERED, 2), NOW)
    assert kept_ids(db) == ["SM2", "SM3", "SM4"], "a greater word takes the place of the lesser one"
    taken = waiting.take(db, [("main", f"SM{n}") for n in range(9)] + [("b", "SM3")])
    assert [(one.provider_message_id, one.status) for one in taken] == [
        ("SM2", Status.DELIVERED),
        ("SM3", Status.SENT),
        ("SM4", Status.SENT),
    ]
    assert (kept_ids(db), waiting.count(db)) == ([], 0)


def test_one_comes_back_as_it_was_kept(db: Handle) -> None:
    one = by_id(Status.UNDELIVERED, reading=RESEND, code="1", words="w", at=LATER, price="0.1")
    waiting = Kept()
    waiting.keep(db, one, NOW)
    assert waiting.take(db, [("main", "SM1")]) == [one]


@pytest.mark.parametrize("reading", [RESEND, ReceiptReading(Category.OPTED_OUT, "suppress")])
def test_a_reading_survives_its_row(reading: ReceiptReading) -> None:
    assert read(written(reading)) == reading


def test_the_sweep_goes_in_small_steps_and_takes_the_old_ones_only(db: Handle) -> None:
    waiting = Kept()
    for n in range(SWEPT_AT_ONCE + 3):
        waiting.keep(db, by_id(Status.SENT, n), NOW)
    waiting.keep(db, by_id(Status.SENT, 9_000), NOW + 1)
    waiting.keep(db, by_id(Status.SENT, 9_001), NOW + 9 * DAY)
    waiting.sweep(db, NOW + DAY)
    assert waiting.count(db) == SWEPT_AT_ONCE + 5
    waiting.sweep(db, NOW + DAY + 1)
    assert (waiting.count(db), len(kept_ids(db))) == (5, 5)
    waiting.sweep(db, NOW + DAY + 1)
    assert kept_ids(db) == ["SM9000"], "what came in a future that was taken back goes as well"
    waiting.sweep(db, NOW + DAY + 2)
    assert (waiting.count(db), kept_ids(db)) == (0, [])


@pytest.mark.parametrize(("waited", "state"), [(DAY, State.DELIVERED), (DAY + 1, State.SENT)])
async def test_it_waits_for_a_day(opening: Opening, waited: int, state: State) -> None:
    box = (await opening()).box
    await box.receive([by_id(Status.DELIVERED)], NOW)
    await box.beat(NOW + waited)
    await sent(box, 1)
    [message] = (await box.page(Query())).items
    assert message.state is state


async def test_one_whose_transaction_was_rolled_back_still_waits(opening: Opening) -> None:
    """The answer that brings its id shares its commit with something that cannot be stored, and is written anew."""
    box = (await opening()).box
    await box.receive([by_id(Status.DELIVERED)], NOW)
    [stored] = await accept(box, draft(1))
    assert isinstance(stored, Stored)
    await box.begin([Claim(stored.seq, 0, "main", "s")], NOW)
    bad = box._change(
        lambda db, _: db.execute("INSERT INTO keys (tenant, key, hash, seq) VALUES (1, 1, 1, NULL)").rowcount
    )
    taken = settlement(stored.seq, Event.TAKEN, pmid="SM1")
    answers = await asyncio.gather(
        box.settle(taken, attempt(provider_message_id="SM1")), bad, return_exceptions=True
    )  # fmt: skip
    assert answers[0] is True
    assert isinstance(answers[1], StoreError)
    [message] = (await box.page(Query())).items
    assert message.state is State.DELIVERED


# --- what is tracked -------------------------------------------------------------------------------------------------


async def test_only_what_is_asked_for_is_written(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await sent(box, 1)
    await box.track(Tracking(ids=frozenset({"b"}), threads=frozenset({"c"})))
    seqs = {name: await sent(box, n, name, sender="ACME") for n, name in enumerate(("main", "b", "c"), 2)}
    await box.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT * FROM provider_ids").fetchall() == [("b", "SM3", seqs["b"], 1)]
        assert db.execute("SELECT * FROM threads").fetchall() == [
            (draft().recipient, "ACME", "c", "shop", draft(4).id, LATER)
        ]


async def test_the_last_message_between_two_numbers_counts(opening: Opening, path: Path) -> None:
    """Also one that a receipt shows to have gone, whatever it says; not one that was never taken."""
    box = (await opening()).box
    await box.track(Tracking(threads=frozenset({"main"})))
    last = []
    for n in range(1, 7):
        if n < 3:
            await sent(box, n)
        else:
            [stored] = await accept(box, draft(n))
            assert isinstance(stored, Stored)
            await box.begin([Claim(stored.seq, 0, "main", "+15005550006")], NOW)
            if n == 6:
                await box.settle(settlement(stored.seq, Event.FAIL), attempt(outcome="refuse"))
            else:
                await box.receive([receipt((Status.SENT, Status.DELIVERED, Status.UNDELIVERED)[n - 3], n)], SOON)
        with closing(sqlite3.connect(path)) as db:
            last += db.execute("SELECT message FROM threads").fetchall()
    assert last == [(draft(n).id,) for n in (1, 2, 3, 4, 5, 5)]


# --- how it is found -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index"),
    [
        (kept.PLACE, "receipts_id (provider=? AND provider_message_id=?)"),
        (kept.OF_IDS, "receipts_id (provider=? AND provider_message_id=?)"),
        (kept.OUTDO, "INTEGER PRIMARY KEY (rowid=?)"),
        (kept.FORGET, "INTEGER PRIMARY KEY (rowid=?)"),
        (receiving.TRIED, "attempts_message (seq=?)"),
        (receiving.RECORD, "attempts_message (seq=? AND n=?)"),
        (receiving.RECEIVE, "INTEGER PRIMARY KEY (rowid=?)"),
        (tracks.OWNER, "PRIMARY KEY (provider=? AND provider_message_id=?)"),
        (tracks.FOUND_OWNER, "attempts_found (provider_message_id=?)"),
        (tracks.ADD_THREADS, "INTEGER PRIMARY KEY (rowid=?)"),
    ],
)
def test_every_statement_searches(db: Handle, text: str, index: str) -> None:
    assert isinstance(db, sqlite3.Connection)
    steps = plan(db, filled(db, text))
    assert any(step.endswith(index) for step in steps), steps
    assert scans(steps) == []
    assert not [step for step in steps if "TEMP B-TREE" in step]


def test_the_first_rows_are_found_without_a_walk(db: Handle) -> None:
    """Both stop at their limit: rows lie in the order of their numbers."""
    assert isinstance(db, sqlite3.Connection)
    for text in (kept.SWEEP, kept.FORGET_OLDEST):
        steps = plan(db, text)
        assert [step for step in steps if "TEMP B-TREE" in step] == []
        assert scans(steps) == ["SCAN receipts"]


# --- beside it -------------------------------------------------------------------------------------------------------


async def test_sent_again_in_a_flow_that_was_swept_away(opening: Opening) -> None:
    box = (await opening()).box
    seq = await sent(box, 1, campaign="c")
    await box.beat(LATER)
    await accept(box, draft(2, campaign="d"))
    [received] = await box.receive([receipt(Status.UNDELIVERED, reading=RESEND)], SOON)
    assert received.message is not None
    [due] = (await box.feed(received.message.flow, None, 2**60, 9)).items
    assert (due.seq, due.attempt) == (seq, 1)
    await box.close()
    assert {flow.pending for flow in (await opening()).recovery.flows} == {1}


async def test_a_receipt_costs_no_walk_over_the_calls(opening: Opening) -> None:
    """One of a call whose answer brought the same id, which is the rule, does not look for the id's other owners."""
    box = (await opening()).box
    await sent(box, 1)
    seen: list[str] = []
    await box._change(lambda db, _: trace(db, seen))
    assert (await box.receive([receipt(Status.DELIVERED)], SOON))[0].news
    assert not [text for text in seen if "ORDER BY nr DESC LIMIT 1 OFFSET" in text]


def trace(db: Handle, seen: list[str]) -> None:
    """Hear every statement."""
    assert isinstance(db, sqlite3.Connection)
    db.set_trace_callback(seen.append)
