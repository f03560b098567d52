"""How does the outbox's database fail, and how is a crash survived by its file?

The real store on a real file, by a connection that does its work in the loop and that can be told to fail as SQLite
does: no room, a busy lock, a commit whose sync fails (written or not), a read that fails once. When the daemon of a
life is gone, its connections do nothing any more: what was not committed by then never is. SQLite itself watches every
change of a message's state by a temporary trigger, so an illegal one is seen whoever made it.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from smsd.core.message import State
from smsd.store.connection import Connection, Cursor, Handle
from tests.simulation.history import Claimed, History, Move

T = TypeVar("T")

WATCH = """
CREATE TEMP TABLE moves (
    seq INTEGER, before INTEGER, after INTEGER, attempt_before INTEGER, attempt_after INTEGER, id TEXT, round INTEGER
);
CREATE TEMP TRIGGER watch AFTER UPDATE OF state ON main.messages BEGIN
    INSERT INTO moves VALUES (old.seq, old.state, new.state, old.attempt, new.attempt, new.id, new.round);
END;
CREATE TEMP TABLE claims (seq INTEGER, round INTEGER, sender TEXT, at_us INTEGER, wall INTEGER);
CREATE TEMP TRIGGER claim AFTER UPDATE OF state ON main.messages WHEN old.state = 0 AND new.state = 1 BEGIN
    INSERT INTO claims VALUES (new.seq, new.round, new.sender, now_us(), now_wall());
END;
CREATE TEMP TABLE entered (seq INTEGER, at_us INTEGER);
CREATE TEMP TRIGGER enter AFTER INSERT ON main.messages BEGIN
    INSERT INTO entered VALUES (new.seq, now_us());
END;
CREATE TEMP TABLE parted (seq INTEGER, at_us INTEGER, flow INTEGER);
CREATE TEMP TRIGGER part AFTER UPDATE OF flow ON main.messages WHEN old.flow IS NOT new.flow BEGIN
    INSERT INTO parted VALUES (new.seq, now_us(), old.flow);
END;
CREATE TEMP TABLE charged (kind INTEGER, key TEXT, seq INTEGER);
CREATE TEMP TRIGGER charge AFTER INSERT ON main.charges BEGIN
    INSERT INTO charged VALUES (new.kind, new.key, new.seq);
END;
"""


@dataclass(slots=True)
class Disk:
    """What the database's disk does; outlives the daemon, as a disk does."""

    now_us: Callable[[], int]
    wall: Callable[[], int]
    full: bool = False
    fail_commit: str = ""
    """The next commit's sync fails: "written" (it is on disk all the same) or "lost"."""
    busy: int = 0
    """So many transactions find the lock taken."""
    fail_reads: int = 0
    failures: list[int] = field(default_factory=list)
    """When it failed (true time)."""

    def fail(self, code: int, text: str) -> sqlite3.OperationalError:
        """An error as the sqlite3 module raises it."""
        self.failures.append(self.now_us())
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        return error

    def failed_lately(self) -> bool:
        """What the daemon tells of at such a moment may not be written down."""
        return bool(self.failures) and self.now_us() - self.failures[-1] < 100_000

    def free(self, path: Path) -> int:
        """Bytes free, as statvfs would say: none, or plenty."""
        return 0 if self.full else 1 << 40


class Database:
    """A Handle that fails when the disk says so."""

    def __init__(self, real: sqlite3.Connection, disk: Disk) -> None:
        self.real = real
        self._disk = disk

    @property
    def in_transaction(self) -> bool:
        return self.real.in_transaction

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Cursor:
        if sql == "COMMIT":
            self._commit_fails()
        elif sql == "BEGIN IMMEDIATE" and self._disk.busy:
            self._disk.busy -= 1
            raise self._disk.fail(sqlite3.SQLITE_BUSY, "database is locked")
        elif self._disk.fail_reads and not self.real.in_transaction and sql.startswith("SELECT"):
            self._disk.fail_reads -= 1
            raise self._disk.fail(sqlite3.SQLITE_IOERR_READ, "disk I/O error")
        return self.real.execute(sql, parameters)

    def _commit_fails(self) -> None:
        disk = self._disk
        if disk.full and self.real.total_changes:  # a reader's COMMIT writes nothing and meets no full disk
            raise self._disk.fail(sqlite3.SQLITE_FULL, "database or disk is full")
        if disk.fail_commit:
            written, disk.fail_commit = disk.fail_commit == "written", ""
            self.real.execute("COMMIT" if written else "ROLLBACK")
            raise self._disk.fail(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")


class Link:
    """A store.connection.Connection of one life: in the loop, in order, and dead when the daemon is."""

    def __init__(
        self,
        database: Database,
        alive: Callable[[], bool],
        delay: Callable[[], float],
        closing: Callable[[sqlite3.Connection], None],
    ) -> None:
        self.database = database
        self._alive = alive
        self._delay = delay
        self._closing = closing
        self._turn = asyncio.Lock()
        self.is_open = True

    async def run(self, fn: Callable[[Handle], T]) -> T:
        """Like ThreadConnection.run: once called it is carried out, even if the caller stops waiting."""
        return await asyncio.shield(asyncio.ensure_future(self._work(fn)))

    async def _work(self, fn: Callable[[Handle], T]) -> T:
        async with self._turn:
            await asyncio.sleep(self._delay())
            if not self._alive() or not self.is_open:
                raise asyncio.CancelledError
            return fn(self.database)

    async def close(self) -> None:
        """After what was handed in before. Idempotent."""
        async with self._turn:
            self.cut()

    def cut(self) -> None:
        """At once."""
        if self.is_open:
            self.is_open = False
            self._closing(self.database.real)
            self.database.real.close()


class Links:
    """The ConnectionFactory of one life. `last` is shown the writer's database before it is closed."""

    def __init__(
        self, disk: Disk, random: Random, slowest_s: float, last: Callable[[sqlite3.Connection], None]
    ) -> None:
        self._disk = disk
        self._random = random
        self._slowest_s = slowest_s
        self._last = last
        self.alive = True
        self.made: list[Link] = []

    async def connect(self, path: Path) -> Connection:
        """The first connection is the store's writer: it is watched."""
        real = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        if not self.made:
            real.execute("PRAGMA temp_store = MEMORY")  # as the store sets it: changing it later would drop the watch
            real.create_function("now_us", 0, self._disk.now_us)
            real.create_function("now_wall", 0, self._disk.wall)
            real.executescript(WATCH)
        closing = self._reader_closes if self.made else self._last
        link = Link(Database(real, self._disk), lambda: self.alive, self._draw, closing)
        self.made.append(link)
        return link

    def _draw(self) -> float:
        return self._random.random() * self._slowest_s

    @staticmethod
    def _reader_closes(database: sqlite3.Connection) -> None:
        """Nothing is asked of it."""

    @property
    def database(self) -> sqlite3.Connection:
        """The writer's."""
        return self.made[0].database.real

    def cut(self) -> None:
        """The daemon is gone: nothing is written any more, and the files are let go."""
        self.alive = False
        for link in reversed(self.made):
            link.cut()


def moves(database: sqlite3.Connection) -> list[Move]:
    """All changes of state that were committed in a writer's life."""
    found = database.execute("SELECT * FROM moves ORDER BY rowid").fetchall()
    return [Move(seq, State(before), State(after), *rest) for seq, before, after, *rest in found]


def watched(database: sqlite3.Connection, history: History) -> None:
    """Note all that was accepted, claimed and charged in a writer's life, as far as it was committed."""
    history.moves += moves(database)
    history.claims += [Claimed(*row) for row in database.execute("SELECT * FROM claims ORDER BY rowid")]
    history.entered += database.execute("SELECT * FROM entered ORDER BY rowid").fetchall()
    history.parted += database.execute("SELECT * FROM parted ORDER BY rowid").fetchall()
    history.charges += database.execute("SELECT * FROM charged ORDER BY rowid").fetchall()
