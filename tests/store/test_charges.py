"""Does the ledger in memory stay true to the table, within its bounds, and is it kept from all that deletes?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from smsd.core.admission import AdmissionRules, At, Key
from smsd.core.lifecycle import Event
from smsd.core.limits import LEDGER_MS, Action, Per, Rule
from smsd.core.message import Message, State
from smsd.core.units import HOUR
from smsd.store import DiskFullError, Limited, Person, Stored, StoreError, charges
from smsd.store.charges import Charges
from smsd.store.connection import Connection, Cursor, Handle, connect
from smsd.store.migrate import migrate
from smsd.store.restore import restore
from smsd.store.sqlite import SqliteOutbox
from smsd.store.timeline import Timeline, see_clocks, timeline
from tests.doubles.builders import NOW, draft
from tests.doubles.clock import ManualClock
from tests.doubles.inline_connection import InlineConnection
from tests.store.conftest import Opening
from tests.store.contract import accept
from tests.store.contract_limits import NUMBER, Hall

RULE = Rule(Per.RECIPIENT, 2, HOUR)
KEY = Key(0, NUMBER)


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def ledger(*rules: Rule, boot: int = 1, us: int | None = 0) -> Charges:
    made = Charges()
    made.start(Timeline(boot, NOW, us))
    made.govern(AdmissionRules(rules or (RULE,)))
    return made


def at(ms: int) -> At:
    return At(NOW + ms, ms * 1_000)


def charge(one: Charges, db: sqlite3.Connection, seq: int, ms: int, key: Key = KEY) -> None:
    one.windows(db, [key], at(ms))
    one.charge([key], seq, at(ms))
    one.write(db)


def test_what_is_in_memory_is_what_is_in_the_table(db: sqlite3.Connection) -> None:
    one = ledger()
    for n in range(5):
        charge(one, db, n, n * 1_000)
    one.committed()
    again = ledger()
    [first], [second] = one.windows(db, [KEY], at(5_000)).values(), again.windows(db, [KEY], at(5_000)).values()
    assert [w.turn(2, HOUR * 1_000, 5_000_000) for w in (first, second)] == [(3_000 + HOUR) * 1_000] * 2
    assert second.size == 2, "no more is read than the count"


def test_what_is_rolled_back_was_never_charged_nor_promised(db: sqlite3.Connection) -> None:
    one = ledger()
    charge(one, db, 1, 0)
    one.committed()
    db.execute("BEGIN")
    charge(one, db, 2, 10)
    one.promise(KEY, 3, HOUR * 1_000)
    one.charge([KEY], 4, at(10))
    db.execute("ROLLBACK")
    one.undone()
    one.write(db)
    [window] = one.windows(db, [KEY], at(20)).values()
    assert (window.size, window.promises, one.promises) == (1, 0, 0)
    assert db.execute("SELECT count(*) FROM charges").fetchone() == (1,)


def test_memory_is_bounded(db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEYS_KEPT", 4), ("CHARGES_KEPT", 6), ("PROMISES_KEPT", 3)):
        monkeypatch.setattr(charges, name, value)
    one = ledger(Rule(Per.RECIPIENT, 5, HOUR))
    for n in range(10):
        charge(one, db, n, n, Key(0, f"{n % 6}"))
        for seq in (100 + n, 200 + n):
            one.promise(Key(0, f"{n % 6}"), seq, 9)
        one.committed()
        kept = one._known.values()
        assert len(kept) <= 4
        assert (sum(w.size for w in kept), sum(w.promises for w in kept)) == (one._size, one.promises)
        assert (one._size <= 6, one.promises <= 3) == (True, True)
    for n in range(10):
        charge(one, db, n, n, Key(0, "0"))
    one.committed()
    assert one._size <= 6
    [window] = one.windows(db, [Key(0, "0")], at(20)).values()
    assert window.charged(HOUR * 1_000, 20_000) >= 5


def test_within_a_boot_the_boot_clock_decides_and_else_the_anchor() -> None:
    line = Timeline(2, NOW, 1_000_000)
    now = 9_000_000
    assert line.moment(NOW + 999, 2, 5_000_000, now) == 5_000_000
    assert line.moment(NOW - 3_000, 1, 8_000_000, now) == -2_000_000
    assert line.moment(NOW + HOUR, 1, 8_000_000, now) == 1_000_000, "from the future: as made when it was opened"
    assert line.moment(NOW, 2, 99_000_000, now) == now
    assert Timeline(2, NOW, None).moment(NOW + 5, 1, None, NOW * 1_000 + 3) == NOW * 1_000 + 3


def test_of_two_readings_of_another_boots_charge_the_later_one_counts() -> None:
    line = Timeline(3, NOW, 1_000_000, {2: NOW - 10_000})
    now = 9_000_000
    for wall, boot, boot_us, moment in (
        (NOW - HOUR, 2, 7_000_000, -2_000_000),  # its clock was behind, and was set right
        (NOW - HOUR, 2, 6_000_001, -2_999_000),  # parts of a millisecond count for the later one
        (NOW - 1_000, 2, 7_000_000, 0),  # it was ahead, or was set wrong
        (NOW - HOUR, 2, 99_000_000, 1_000_000),  # it ended ahead of this boot's
        (NOW - HOUR, 1, 7_000_000, 1_000_000 - HOUR * 1_000),  # a boot of which nothing is known any more
        (NOW - HOUR, 2, None, 1_000_000 - HOUR * 1_000),
    ):
        assert line.moment(wall, boot, boot_us, now) == moment


def test_the_anchor_is_set_once_a_boot(db: sqlite3.Connection) -> None:
    first = timeline(db, 1, NOW, 5)
    assert timeline(db, 1, NOW + HOUR, 50) == first == Timeline(1, NOW, 5)
    second = timeline(db, 2, NOW + HOUR, 7)
    assert second == Timeline(2, NOW + HOUR, 7, {1: NOW + HOUR})
    see_clocks(db, 2, NOW + 9, 8_000)
    assert timeline(db, 2, NOW, 9) == second
    assert timeline(db, 2, NOW, None) == Timeline(2, NOW, None)


def test_the_clocks_of_many_boots_are_known_but_not_of_all(db: sqlite3.Connection) -> None:
    for boot in range(1, 100):
        see_clocks(db, boot, NOW + boot, 0)
    assert timeline(db, 100, NOW, 0).clocks == {boot: NOW + boot for boot in range(68, 100)}


def test_old_charges_go_in_small_steps_whatever_stands_before_them(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charges, "PURGED_AT_ONCE", 3)
    one = ledger(boot=2)
    future = [(0, "f", NOW + 900 * HOUR, 1, 0, n) for n in range(4)]
    old = [(0, "o", NOW - LEDGER_MS - 1 - n, 1, 0, n) for n in range(5)]
    stepped = [(0, "s", NOW - 9 * LEDGER_MS, 2, 0, 1)]
    young = [(0, "y", NOW - n, 1, 0, n) for n in range(5)]
    db.executemany(
        "INSERT INTO charges (kind, key, at, boot, boot_us, seq) VALUES (?, ?, ?, ?, ?, ?)",
        [*future, *old, *stepped, *young],
    )

    def counts() -> dict[str, int]:
        return dict(db.execute("SELECT key, count(*) FROM charges GROUP BY key").fetchall())

    seen = []
    for _ in range(6):
        one.purge(db, at(0))
        seen.append(counts().get("o", 0))
    assert seen == [5, 3, 0, 0, 0, 0]
    assert counts() == {"f": 4, "s": 1, "y": 5}, "the wall clock ages nothing of this boot"
    for _ in range(6):
        one.purge(db, at(LEDGER_MS + 1))
    assert counts() == {}


@dataclass
class Failing:
    """A Handle whose statements on charges fail; as `code` says."""

    db: sqlite3.Connection
    wrong: Callable[[str, Sequence[Any]], bool]
    code: int = sqlite3.SQLITE_CORRUPT

    @property
    def in_transaction(self) -> bool:
        return self.db.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        if "charges" in sql and self.wrong(sql, parameters):
            error = sqlite3.DatabaseError("told to")
            error.sqlite_errorcode = self.code
            raise error
        return self.db.execute(sql, parameters)


async def failing(
    opening: Opening, wrong: Callable[[str, Sequence[Any]], bool], code: int = sqlite3.SQLITE_CORRUPT
) -> SqliteOutbox:
    async def connection(path: Path) -> Connection:
        database = sqlite3.connect(path, isolation_level=None)
        handle: Handle = Failing(database, wrong, code)
        return InlineConnection(handle, database.close)

    box = (await opening(connect=connection)).box
    await box.govern(AdmissionRules((Rule(Per.RECIPIENT, 1, HOUR), Rule(Per.TENANT, 1, HOUR))))
    return box


async def test_a_window_that_cannot_be_read_lets_messages_go_and_says_so(opening: Opening, path: Path) -> None:
    def unreadable(sql: str, values: Sequence[Any]) -> bool:
        return sql.startswith("WITH") and any(str(value).startswith("+") for value in values)

    box = await failing(opening, unreadable)
    clock = ManualClock()
    hall = Hall(box, clock)
    with capture_logs() as logs:
        [first] = await hall.stored()
        assert await hall.states(first) == [State.PROCESSING]
        [second] = await hall.stored()
        assert await hall.states(second) == ["blocked"], "the window that can be read still binds"
        [third] = await hall.stored(tenant="other")
        assert await hall.states(third) == [State.PROCESSING]
    [log] = [entry for entry in logs if entry["log_level"] == "error"]
    assert (log["per"], NUMBER in repr(log)) == ("recipient", False)


async def test_want_of_room_claims_nothing(opening: Opening) -> None:
    box = await failing(opening, lambda sql, _: sql.startswith("INSERT"), sqlite3.SQLITE_FULL)
    hall = Hall(box, ManualClock())
    [seq] = await hall.stored()
    with pytest.raises(DiskFullError):
        await hall.claim(seq)
    assert (await hall.by_seq(seq)).state is State.PENDING


async def test_a_row_that_cannot_be_stored_charges_nobody_twice(opening: Opening) -> None:
    """The batch is undone and tried in halves: what the first try charged in memory is forgotten."""
    clock = ManualClock()
    opened = await opening(connect=connect, boot_us=clock.boot)
    hall = Hall(opened.box, clock)
    await hall.limit(Rule(Per.RECIPIENT, 2, HOUR, Action.REJECT))
    bad = draft(50, created_at=clock.wall(), recipient="+14155550177", text="\ud800")
    results = await accept(opened.box, draft(1, created_at=NOW), draft(2, created_at=NOW), bad)
    assert [type(each) for each in results] == [Stored, Stored, StoreError]
    assert isinstance(await hall.submit(), Limited)
    assert await hall.left(Person(None, recipient="+14155550177")) == 2


# --- what is restored ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same_boot", [True, False])
async def test_a_restored_outbox_knows_what_was_charged_since(
    opening: Opening, path: Path, tmp_path: Path, same_boot: bool
) -> None:
    clock = ManualClock()

    async def start(boot: str) -> Hall:
        opened = await opening(clock.wall(), boot_token=boot, boot_us=clock.boot)
        hall = Hall(opened.box, clock, number=clock.boot() // 1_000)
        await hall.limit(Rule(Per.RECIPIENT, 4, HOUR))
        return hall

    hall = await start("first")
    await hall.sent(2)
    await hall.box.snapshot(tmp_path / "backup.db")  # type: ignore[attr-defined]  # a SqliteOutbox's own
    if not same_boot:
        await hall.box.close()
        clock.advance(60_000)
        hall = await start("second")
    await hall.sent()
    await hall.box.close()
    for _ in range(2):
        restore(tmp_path / "backup.db", path.parent, pending="hold")
        clock.advance(60_000)
        hall = await start("first" if same_boot else "second")
        assert await hall.left() == 1
        await hall.box.close()
    hall = await start("third")
    assert await hall.left() == 1
    clock.advance(HOUR)
    assert await hall.left() == 4
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*), sum(seq < 0) FROM charges").fetchone() == (3, 1)


@pytest.mark.parametrize("same_boot", [True, False])
async def test_a_restored_outbox_knows_the_clocks_of_the_one_it_replaces(
    opening: Opening, path: Path, tmp_path: Path, same_boot: bool
) -> None:
    clock = ManualClock()

    async def start(boot: str) -> Hall:
        opened = await opening(clock.wall(), boot_token=boot, boot_us=clock.boot)
        hall = Hall(opened.box, clock, number=clock.boot() // 1_000)
        await hall.limit(Rule(Per.RECIPIENT, 4, HOUR))
        return hall

    hall = await start("first")
    await hall.box.snapshot(tmp_path / "backup.db")  # type: ignore[attr-defined]  # a SqliteOutbox's own
    if not same_boot:
        await hall.box.close()
        hall = await start("second")
    await hall.sent()
    clock.step(2 * HOUR)
    await hall.box.beat(clock.wall())  # type: ignore[attr-defined]  # a SqliteOutbox's own
    await hall.box.close()
    restore(tmp_path / "backup.db", path.parent, pending="hold")
    clock.advance(60_000)
    hall = await start("third")
    assert await hall.left() == 3
    clock.advance(HOUR)
    assert await hall.left() == 4
    await hall.box.close()


async def test_the_charge_of_a_message_that_is_gone_stays(opening: Opening, path: Path) -> None:
    clock = ManualClock()
    opened = await opening(boot_us=clock.boot)
    hall = Hall(opened.box, clock)
    await hall.limit(Rule(Per.REPEAT, 1, HOUR, Action.REPLAY), RULE)
    await hall.sent()
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM messages")
        db.commit()
    [again] = await hall.stored()
    assert await hall.left() == 1
    found = await hall.one(again)
    assert isinstance(found, Message)
    await hall.settle(again, Event.TAKEN)
    assert await hall.left() == 0
