"""Are callbacks written with what they tell, and only then? What do they cost, and what is their bound?"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from smsd.core.callback import Callback
from smsd.core.lifecycle import Event
from smsd.core.message import State
from smsd.core.units import DAY
from smsd.store import CallbackCounts, Claim, StoreBrokenError, Tracking, anew, gone, places, telling, untold
from smsd.store.connection import Connection, ConnectionFactory, Cursor, Handle, open_private
from smsd.store.migrate import migrate
from smsd.store.places import keep_first_due
from smsd.store.telling import BEFORE_ALL, KEPT_MS, PIECE, Teller
from tests.doubles.builders import NOW, draft
from tests.doubles.inline_connection import InlineConnection
from tests.store.conftest import Opening
from tests.store.contract import LATER, Box, accept, attempt, settlement
from tests.store.test_query_plans import filled, plan, scans

URL = "https://shop.example/hook"
ABOUT = ("callbacks", "gone_urls", "callback_urls", "callback_url IS NOT NULL")


class Watched:
    """A connection that writes its statements down, and refuses those that hold `refused`."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.refused: str | None = None

    def factory(self) -> ConnectionFactory:
        async def connect(path: Path) -> Connection:
            database = open_private(path)
            return InlineConnection(WatchedHandle(database, self), database.close)

        return connect

    def about(self) -> list[str]:
        """Statements about callbacks since the last time."""
        seen, self.seen = self.seen, []
        return [text for text in seen if any(name in text for name in ABOUT)]


class WatchedHandle:
    """See Watched."""

    def __init__(self, database: sqlite3.Connection, watched: Watched) -> None:
        self._database = database
        self._watched = watched

    @property
    def in_transaction(self) -> bool:
        return self._database.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        self._watched.seen.append(sql)
        if self._watched.refused is not None and self._watched.refused in sql:
            refusal = sqlite3.OperationalError("it does not want to")
            refusal.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise refusal
        return self._database.execute(sql, parameters)


async def settled(box: Box, first: int, count: int, **fields: Any) -> list[int]:
    """So many messages, all taken, in few batches."""
    results = await accept(box, *(draft(n, **fields) for n in range(first, first + count)))
    seqs: list[int] = [result.seq for result in results]  # type: ignore[union-attr]  # all are stored
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
    await asyncio.gather(*(box.settle(settlement(seq, Event.TAKEN), attempt()) for seq in seqs))
    return seqs


# --- one transaction -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["INSERT INTO callbacks", "UPDATE messages SET attempt"])
async def test_neither_is_without_the_other(opening: Opening, path: Path, refused: str) -> None:
    watched = Watched()
    box = (await opening(connect=watched.factory())).box
    await settled(box, 1, 1, callback_url=URL)
    [stored] = await accept(box, draft(2, callback_url=URL))
    await box.begin([Claim(stored.seq, 0, "main", "s")], NOW)  # type: ignore[union-attr]  # it is stored
    watched.refused = refused
    with pytest.raises(StoreBrokenError):
        await box.settle(settlement(stored.seq, Event.TAKEN), attempt())  # type: ignore[union-attr]  # it is stored
    watched.refused = None
    await box.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT state FROM messages ORDER BY seq").fetchall() == [(State.SENT,), (State.PROCESSING,)]
        assert db.execute("SELECT subject FROM callbacks").fetchall() == [(draft(1).id,)]
        assert db.execute("SELECT value FROM meta WHERE name = 'callbacks_waiting'").fetchall() == [(1,)]


async def test_what_a_failed_batch_wrote_is_forgotten(opening: Opening) -> None:
    """One change of a batch cannot be stored: it is undone and tried in parts; nothing is counted or told twice."""
    box = (await opening()).box
    woken: list[int] = []
    box.notify(lambda _: None, lambda: woken.append(1))
    good, bad = await accept(box, draft(1, callback_url=URL), draft(2, callback_url=URL))
    seqs: list[int] = [good.seq, bad.seq]  # type: ignore[union-attr]  # both are stored
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
    ends = [settlement(seqs[0], Event.TAKEN), settlement(seqs[1], Event.TAKEN, charged=2**70)]
    results = await asyncio.gather(*(box.settle(end, attempt()) for end in ends), return_exceptions=True)
    assert [result is True for result in results] == [True, False]
    assert await box.callback_counts() == CallbackCounts(1, 0, LATER)
    assert (await box.callbacks(None, False, None, 9))[0].subject == draft(1).id
    assert len(woken) == 1


# --- the cost --------------------------------------------------------------------------------------------------------


async def test_where_nobody_listens_not_one_statement_is_spent(opening: Opening) -> None:
    watched = Watched()
    box = (await opening(connect=watched.factory())).box
    watched.seen.clear()
    await settled(box, 1, 20)
    await accept(box, draft(30), draft(31, expires_at=NOW))
    await box.cancel(draft(30).id, None, NOW)
    await box.expire(NOW, 10)
    await box.beat(NOW)
    assert len(watched.seen) > 20
    assert watched.about() == []
    await settled(box, 40, 1, callback_url=URL)
    assert watched.about() != []


async def test_a_batch_is_told_by_few_statements(opening: Opening) -> None:
    watched = Watched()
    box = (await opening(connect=watched.factory())).box
    await box.track(Tracking(callbacks={"shop": URL}))
    watched.seen.clear()
    await settled(box, 1, 256)
    assert (await box.callback_counts()).waiting == 256
    transactions = watched.seen.count("BEGIN IMMEDIATE")
    assert len([text for text in watched.seen if "INSERT INTO callbacks" in text]) <= transactions
    assert len([text for text in watched.seen if "m.callback_url IS NOT NULL" in text]) <= transactions


TEXTS = {
    name: text
    for module in (anew, gone, places, telling, untold)
    for name, text in vars(module).items()
    if name.isupper() and isinstance(text, str) and text.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE", "WITH"}
}

WALKED = {
    "ANY_GONE": "SCAN gone_urls",
    "DROP_GIVEN_UP": "SCAN callbacks",
    "DROP_OLDEST": "SCAN callbacks",
    "FIRST_PLACES": "SCAN callback_places",
}
"""What walks a table: a row of it, what is bounded, in the table's own order up to a limit, or what it made itself."""


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_no_statement_walks_a_table(db: sqlite3.Connection, name: str) -> None:
    steps = plan(db, filled(db, TEXTS[name]))
    assert {step.split(" USING ")[0] for step in scans(steps)} <= {WALKED.get(name)}
    assert [step for step in steps if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("FIRST_PLACES", "callback_places USING COVERING INDEX callback_places_due"),
        ("OLDEST_DUE", "callback_places USING COVERING INDEX callback_places_due"),
        ("FIRST_DUE", "callbacks_due (place=? AND due>?)"),
        ("FIRST_DUE", "SEARCH p USING PRIMARY KEY (place=?) LEFT-JOIN"),
        ("FIRST_OF_PLACE", "callbacks_due (place=? AND due>? AND due<?)"),
        ("NEXT_OF_PLACE", "callbacks_due (place=? AND due>?)"),
        ("OF_PLACE", "callbacks_due (place=? AND due>?)"),
        ("FORGET_OLDEST_GONE", "SEARCH gone_urls USING INTEGER PRIMARY KEY (rowid<?)"),
        ("GONE", "gone_urls_known (tenant=? AND url=?)"),
        ("DROP_GIVEN_UP", "SCAN callbacks USING INDEX callbacks_failed"),
        ("SWEEP", "callbacks_failed (tried_at<?)"),
        ("FAILED_LISTED", "callbacks_given_up (id>? AND id<?)"),
        ("FLOOR_OF_FAILED", "callbacks_given_up (id>?)"),
        ("WAITING_LISTED", "sqlite_autoindex_callbacks_1 (id>? AND id<?)"),
        ("KEEP_TRY", "sqlite_autoindex_callbacks_1 (id=?)"),
        ("GIVE_UP", "SEARCH callbacks USING INTEGER PRIMARY KEY (rowid=?)"),
        ("RENEW", "SEARCH callbacks USING INTEGER PRIMARY KEY (rowid=?)"),
        ("NAMED", "sqlite_autoindex_callbacks_1 (id=?)"),
        ("PLACES", "SEARCH callback_places USING PRIMARY KEY (place>? AND place<?)"),
        ("LATER_OF_PLACE", "callbacks_due (place=? AND due>?)"),
    ],
)
def test_its_index_is_used(db: sqlite3.Connection, name: str, index: str) -> None:
    steps = plan(db, filled(db, TEXTS[name]))
    assert any(step.endswith(index) for step in steps), steps


# --- a Teller by itself ----------------------------------------------------------------------------------------------


class Desk:
    """A Teller over a database of its own, with messages that are there and told."""

    def __init__(self, db: Handle, most: int = 1_000) -> None:
        self.db = db
        self.teller = Teller(most)
        self.teller.track({"shop": URL})
        self.number = 0

    def happened(self, *, at: int = NOW, url: str | None = None) -> str:
        """One more message was sent, in a transaction of its own; the id of the fact."""
        self.number += 1
        one = draft(self.number, callback_url=url)
        columns = "seq, id, state, recipient, text, tenant, route, flow, priority, created_at, due, expires_at, "
        columns += "segments, encoding, length, max_attempts, truncated, pinned, callback_url"
        values = (
            self.number,
            one.id,
            State.SENT,
            "+1",
            "t",
            "shop",
            "main",
            1,
            1,
            NOW,
            NOW,
            NOW,
            1,
            0,
            1,
            5,
            0,
            0,
            url,
        )
        self.db.execute(f"INSERT INTO messages ({columns}) VALUES ({', '.join('?' * 19)})", values)
        self.teller.tell(self.db, [self.number], at)
        self.write()
        return f"evt_{one.id}_0_sent"

    def give_up(self, url: str = URL, at: int = NOW) -> None:
        self.teller.mark_gone(self.db, "shop", url, at)
        self.teller.give_up(self.db, "shop", url, at, BEFORE_ALL)
        self.write()

    def write(self) -> None:
        self.teller.write(self.db)
        self.teller.committed()
        assert self.db.execute("SELECT place, due FROM callback_places ORDER BY place").fetchall() == (
            self.db.execute(
                "SELECT place, min(due) FROM callbacks WHERE due IS NOT NULL GROUP BY place ORDER BY place"
            ).fetchall()
        ), "what is kept of each place is what is true"

    def kept(self, *, failed: bool = False) -> list[str]:
        where = "IS NULL" if failed else "IS NOT NULL"
        return [id for (id,) in self.db.execute(f"SELECT id FROM callbacks WHERE due {where} ORDER BY nr").fetchall()]

    def counts(self) -> CallbackCounts:
        """As they are kept, which are those of the table."""
        found = untold.counts(self.db)
        assert (found.waiting, found.failed) == (len(self.kept()), len(self.kept(failed=True)))
        return replace(found, oldest_due=None)


@pytest.fixture
def desk(db: sqlite3.Connection) -> Desk:
    return Desk(db)


def test_each_of_two_states_in_one_transaction_is_told_as_it_was(desk: Desk) -> None:
    id = desk.happened()
    desk.teller.told(desk.db, [id])
    desk.teller.tell(desk.db, [1, 1], NOW)
    desk.db.execute("UPDATE messages SET state = 3, delivered_at = ? WHERE seq = 1", (NOW + 5,))
    desk.teller.tell(desk.db, [1], NOW + 9)
    desk.db.execute("UPDATE messages SET state = 0 WHERE seq = 1")
    desk.teller.tell(desk.db, [1], NOW + 9)
    desk.write()
    bodies = [json.loads(body) for (body,) in desk.db.execute("SELECT payload FROM callbacks ORDER BY nr").fetchall()]
    assert [(body["type"], body["data"]["delivered_at"]) for body in bodies] == [
        ("message.sent", None), ("message.delivered", "2026-09-21T14:13:20.005Z"),
    ]  # fmt: skip
    assert desk.counts().waiting == 2


def test_beyond_the_bound_the_oldest_given_up_go_and_then_the_oldest_that_wait(db: sqlite3.Connection) -> None:
    desk = Desk(db, most=5)
    gone = "http://gone.example/"
    ids = [desk.happened(url=gone if n in (1, 3) else None) for n in range(5)]
    desk.give_up(gone)
    assert (desk.counts().waiting, desk.counts().failed) == (3, 2)
    ids.append(desk.happened())
    assert desk.kept(failed=True) in ([ids[1]], [ids[3]])
    ids.append(desk.happened())
    assert (desk.kept(failed=True), desk.kept()) == ([], [ids[0], ids[2], ids[4], ids[5], ids[6]])
    assert desk.counts().dropped == 0
    ids.append(desk.happened())
    assert desk.kept() == [ids[2], ids[4], ids[5], ids[6], ids[7]]
    ids.append(desk.happened(url=gone))
    assert (desk.kept(), desk.kept(failed=True)) == ([ids[2], ids[4], ids[5], ids[6], ids[7]], [])
    assert desk.counts() == CallbackCounts(5, 0, None, 1)


def test_what_was_given_up_goes_after_a_month_in_small_steps(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SWEPT_AT_ONCE", 2)
    for n in range(5):
        desk.happened(url=f"http://{n}.example/")
        desk.give_up(f"http://{n}.example/", at=NOW + n * DAY)
    waits = desk.happened()
    left = []
    for at in (NOW + KEPT_MS, NOW + KEPT_MS + 1, *(NOW + KEPT_MS + 3 * DAY,) * 3, NOW + 99 * DAY, NOW + 99 * DAY):
        desk.teller.sweep(desk.db, at)
        desk.write()
        left.append(desk.counts().failed)
    assert left == [5, 4, 2, 2, 2, 0, 0]
    assert desk.kept() == [waits]


def test_urls_that_are_gone_are_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gone, "GONE_KEPT", 3)
    for n in range(5):
        desk.teller.mark_gone(desk.db, "shop", f"http://{n}.example/", NOW + n)
    found = [url for (url,) in desk.db.execute("SELECT url FROM gone_urls ORDER BY at").fetchall()]
    assert found == [f"http://{n}.example/" for n in (2, 3, 4)]


def test_giving_up_goes_in_pieces_and_leaves_other_urls_of_the_origin(desk: Desk) -> None:
    for n in range(PIECE + 3):
        desk.happened(url=URL if n % 2 else f"{URL}/other")
    first, after = desk.teller.give_up(desk.db, "shop", URL, NOW, BEFORE_ALL)
    assert (first, after is not None) == (PIECE // 2, True)
    assert desk.teller.give_up(desk.db, "shop", URL, NOW, after or BEFORE_ALL) == (1, None)
    desk.write()
    assert (desk.counts().waiting, desk.counts().failed) == (PIECE // 2 + 2, PIECE // 2 + 1)


def test_hastening_goes_in_pieces_and_finds_none_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows, or places, at a time; what fails again meanwhile is left alone."""
    monkeypatch.setattr(anew, "PIECE", 3)
    hosts = [f"http://{n}.example/" for n in (1, 1, 1, 1, 2, 3, 4, 4)]
    ids = [desk.happened(url=url) for url in hosts]
    desk.db.execute("UPDATE callbacks SET due = due + 9, tries = 4")
    desk.db.execute("UPDATE callbacks SET due = ? WHERE id = ?", (NOW, ids[4]))
    desk.db.execute(
        "UPDATE callback_places SET due = (SELECT min(due) FROM callbacks AS c WHERE c.place = callback_places.place)"
    )
    counts: list[int] = []
    after: str | None = ""
    while after is not None:
        some, after = desk.teller.hasten(desk.db, "shop", NOW + 5, after)
        desk.write()
        counts.append(some)
        desk.db.execute("UPDATE callbacks SET due = ?, tries = 1 WHERE id = ?", (NOW + 99, ids[0]))
    assert (sum(counts), max(counts)) == (7, 3)
    due = dict(desk.db.execute("SELECT id, due FROM callbacks").fetchall())
    assert due == {**dict.fromkeys(ids, NOW + 5), ids[0]: NOW + 99, ids[4]: NOW}
    assert desk.teller.hasten(desk.db, "shop2", NOW + 5, "") == (0, None)
    assert desk.teller.hasten(desk.db, "sho", NOW + 999, "") == (0, None)


def test_a_transaction_that_is_undone_leaves_the_teller_as_it_was(desk: Desk) -> None:
    desk.happened()
    desk.db.execute("BEGIN")
    desk.happened()
    desk.db.execute("UPDATE messages SET state = 3 WHERE seq = 1")
    desk.teller.tell(desk.db, [1], NOW)
    desk.db.execute("ROLLBACK")
    desk.teller.undone()
    desk.write()
    assert desk.counts() == CallbackCounts(1, 0, None)


async def test_what_is_due_costs_no_more_however_many_places_wait(opening: Opening, path: Path) -> None:
    """And the next due time is right, whatever is left out."""
    await (await opening()).box.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(
            "WITH n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n LIMIT 3000) "
            "INSERT INTO callbacks (id, event, tenant, subject, url, place, payload, created_at, due) "
            "SELECT 'evt_' || n, 'message.sent', 'shop', n, 'http://' || n || '.example/', "
            "'shop http://' || n || '.example:80', '{}', ?, ? + n FROM n",
            (NOW, NOW),
        )
        keep_first_due(db, [place for (place,) in db.execute("SELECT place FROM callbacks")])
    box = (await opening()).box
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def due(db: Handle, without: Sequence[str]) -> tuple[tuple[Callback, ...], int | None]:
        raw = cast(Any, db)
        raw.set_progress_handler(count, 100)
        try:
            return untold.due(db, NOW + 1_000, 8, without)
        finally:
            raw.set_progress_handler(None, 0)

    without = [f"shop http://{n}.example:80" for n in range(20)]
    found, following = await box._read(lambda db: due(db, without))
    assert [each.subject for each in found] == [str(n) for n in range(20, 28)]
    assert following == NOW + 28
    assert steps < 60
    assert found[0].origin == "http://20.example:80"
    assert (await box.callback_counts()).oldest_due == NOW
    assert await box.callbacks_due(NOW - 1, 8) == ((), NOW)


def test_a_gone_url_costs_no_more_however_many_are_kept(db: sqlite3.Connection) -> None:
    db.execute(
        "WITH n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 20000) "
        "INSERT INTO gone_urls (tenant, url, at) SELECT 'shop', 'http://' || n || '.example/', ? FROM n",
        (NOW,),
    )
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(count, 100)
    gone.mark(db, "shop", URL, NOW)
    db.set_progress_handler(None, 0)
    assert steps < 5
