"""How does a backup become the outbox again?

For a daemon that does not run: restore() takes the daemon's own lock, copies the backup beside the outbox, checks and
migrates the copy, and renames it into place; the outbox that was there is kept under another name. What the copy must
know of it, calls and providers' health, is written into the copy before that (see `carry`). What the messages mean is
not known here, but one thing is: a message that waited when the backup was made may have been sent since. So by default
is held as failed, UNCERTAIN, and goes out again only when an operator says so with force. Its application is told, as
of every state that ends one: the callback lies in the new outbox, and goes out when the daemon runs.

When the power is cut at any moment, the place of the outbox holds either the old one or the new one, whole:

1. The new one is made under a name of its own and synced. Until it is renamed it counts for nothing; the next restore
   removes it.
2. The old one's -wal is written into it and removed by SQLite itself. Then the old one gets its second name (a hard
   link) and the directory is synced, so the rename that follows cannot take the last name from it.
3. The new one is renamed over the old one's place and the directory is synced.

An old outbox that SQLite can no longer open is kept as it is: file and -wal get second names, which are synced, before
the -wal's first name is removed (it would be applied to the new file) and the rename follows. Only between these two
does the place hold the old file without its -wal; that file was damaged, and both halves stand beside it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from smsd.core.message import Instant, State
from smsd.core.verdict import Category
from smsd.store.carry import Carried, carry, read_only
from smsd.store.connection import BUSY_TIMEOUT_S
from smsd.store.deltas import Deltas
from smsd.store.disk import free_bytes
from smsd.store.errors import DiskFullError, StoreError
from smsd.store.guard import FileLock, LockHeldError
from smsd.store.migrate import migrate, migrations, version
from smsd.store.recovery import mark_open_attempts
from smsd.store.snapshot import reason, remove, sync_directory
from smsd.store.statements import BEGIN, CHECKPOINT_LAST, COMMIT
from smsd.store.statements.claiming import LET_GO
from smsd.store.statements.meta import GET_META
from smsd.store.statements.recovering import OPEN_ATTEMPTS
from smsd.store.telling import Teller

DATABASE = "outbox.db"
PENDING = ("hold", "send")
"""What becomes of messages that waited when the backup was made."""

STEP_ROWS = 1_000
"""Messages held in one transaction."""

STEP_PAGES = 4_096

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
UNREADABLE = {*DAMAGED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}

HELD_MESSAGE = (
    "it waited when the backup was made that smsd was restored from, and may have been sent since; "
    "retry it with force if it was not"
)

HOLD = (
    f"UPDATE messages SET state = 5, {LET_GO}, processed_at = ?, uncertain = 0, uncertain_since = NULL, "
    "lookups = 0, error_cause = coalesce(error_cause, error_category), error_category = ?, error_message = ?, "
    "error_at = ?, error_code = NULL, error_provider = provider "
    "WHERE seq IN (SELECT seq FROM messages WHERE state = {state} LIMIT ?) "
    "RETURNING tenant, priority, flow, campaign, provider, seq"
)


@dataclass(frozen=True, slots=True)
class Restored:
    """What is in place now. `replaced`: where the outbox of before lies; None when there was none."""

    messages: int
    held: int
    """Messages that waited and are now failed, UNCERTAIN."""
    replaced: Path | None
    calls: int = 0
    """Calls that the backup does not have and that count for the ceilings: those of the replaced outbox."""
    ceilings_full: bool = False
    """Nobody can tell what was called since the backup (nothing was replaced, or it could not be read, or the backup is
    not of it): every provider's windows count as full from now."""
    keys_forgotten: int | None = 0
    """Idempotency keys used since the backup: whoever repeats such a request is not recognised, and its message is
    accepted anew. None: nobody knows how many."""


def restore(source: Path, state_dir: Path, *, pending: str, urls: Mapping[str, str] | None = None) -> Restored:
    """Put the backup `source` in the place of the outbox in `state_dir`, while smsd does not run.

    `pending`: "hold" turns pending and processing messages into failed, UNCERTAIN ones; "send" leaves the pending ones
    to be sent and open attempts to be recovered as after a crash. The backup's idempotency keys stay; those used since
    are lost with their messages (`carry` says why). Ceilings, pauses, halts and suppressions hold on as the
    replaced outbox knew them. The backup is only read. `urls`: by tenant, where it is told what became of messages that
    came without a URL of their own (Tracking.callbacks); of those of other tenants nobody is told that they are held.
    Raises StoreError (smsd runs, not an outbox, damaged, of a newer smsd, no permission) and DiskFullError; then the
    outbox is what it was. Raises ValueError for another `pending`.
    """
    if pending not in PENDING:
        raise ValueError(f"pending must be one of {', '.join(PENDING)}")
    database = state_dir / DATABASE
    copy = state_dir / f"{DATABASE}.restoring"
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(database):
            refuse_the_outbox_itself(source, database)
            remove(copy)
            try:
                now = time.time_ns() // 1_000_000
                teller = Teller()
                teller.track(urls or {})
                holder = Holder(teller, now) if pending == "hold" else None
                messages, held, carried = prepare(source, copy, database, holder, now)
                replaced = swap(copy, database)
            except BaseException:
                remove(copy)
                raise
    except (OSError, sqlite3.Error) as error:
        raise reason(database, error) from error
    return Restored(messages, held, replaced, carried.calls, not carried.known, carried.keys_forgotten)


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the daemon's lock. Raises StoreError when the daemon does."""
    lock = FileLock(database.with_suffix(".lock"))
    try:
        lock.acquire()
    except LockHeldError as error:
        raise StoreError(f"smsd runs with {database.parent}: stop it, then restore") from error
    try:
        own_like_directory(lock.path)
        yield
    finally:
        lock.release()


def own_like_directory(path: Path) -> None:
    """Give the file to the directory's owner when root made it: the daemon runs as that user and must read it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def refuse_the_outbox_itself(source: Path, database: Path) -> None:
    """Raise StoreError when the backup is not a file, or is the outbox."""
    if not source.is_file():
        raise StoreError(f"{source} is not a file: name a backup that smsd made")
    if database.exists() and source.samefile(database):
        raise StoreError(f"{source} is the outbox itself: name a backup")


# --- the new one -----------------------------------------------------------------------------------------------------


def prepare(source: Path, copy: Path, database: Path, holder: Holder | None, now: Instant) -> tuple[int, int, Carried]:
    """Copy, check, migrate, carry over, hold, sync. The messages in it, those held, what was carried over."""
    # A quarter more: for what a migration adds.
    if free_bytes(copy.parent) < source.stat().st_size * 5 // 4:
        raise DiskFullError(f"there is no room for a copy of {source} in {copy.parent}: free space there")
    fd = os.open(copy, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        own_like_directory(copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            # Until it is renamed nothing of it is needed after a crash; the sync below makes it whole.
            db.execute("PRAGMA synchronous = OFF")
            read_into(source, db)
            db.execute("PRAGMA journal_mode = DELETE").fetchone()
            check(source, db)
            migrate(db)
            carried = carry(database, db, now)
            held = 0 if holder is None else holder.hold_waiting(db)
            messages: int = db.execute("SELECT coalesce(sum(n), 0) FROM counters").fetchone()[0]
        os.fsync(fd)
    finally:
        os.close(fd)
    return messages, held, carried


def read_into(source: Path, db: sqlite3.Connection) -> None:
    """Copy the backup's pages, with what lies in a -wal beside it. Raises StoreError when it cannot be read."""
    try:
        with closing(read_only(source)) as backup:
            backup.execute("PRAGMA schema_version").fetchone()
            backup.backup(db, pages=STEP_PAGES)
    except sqlite3.DatabaseError as error:
        if code_of(error) not in DAMAGED:
            raise
        raise StoreError(f"{source} is damaged or not a database of SQLite: name another backup") from error


def check(source: Path, db: sqlite3.Connection) -> None:
    """Raise StoreError unless the copy is a sound outbox of this smsd or an earlier one."""
    try:
        number, known = version(db), len(migrations())
        verdict = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if code_of(error) not in DAMAGED:
            raise
        raise StoreError(f"{source} is damaged: name another backup") from error
    except StoreError as error:
        raise StoreError(f"{source} belongs to another program: name a backup that smsd made") from error
    if number == 0:
        raise StoreError(f"{source} is empty: name a backup that smsd made")
    if number > known:
        raise StoreError(
            f"{source} was made by a newer smsd (schema {number}, this one knows {known}): install that version, or "
            "name a backup made before the upgrade"
        )
    if verdict != "ok":
        raise StoreError(f"{source} is damaged: name another backup")


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 when the sqlite3 module itself objects."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF


class Holder:
    """Holds what waits: it is failed, UNCERTAIN, and whoever wants to hear of it is told."""

    def __init__(self, teller: Teller, now: Instant) -> None:
        self._teller = teller
        self._now = now

    def hold_waiting(self, db: sqlite3.Connection) -> int:
        """Pending and processing messages, in bounded steps; how many. Open attempts are recorded as crashed first, as
        a start would, at the cost of their segments: whose rate counts those is not known here, and too much is the
        safe side."""
        db.execute(BEGIN)
        boot = db.execute(GET_META, ("boot",)).fetchone()
        called = {provider for _, _, provider, _, _ in db.execute(OPEN_ATTEMPTS)}
        mark_open_attempts(db, self._now, 0 if boot is None else boot[0], None, called)
        db.execute(COMMIT)
        self._teller.start(db)
        held = 0
        for state in (State.PENDING, State.PROCESSING):
            while some := self._hold_some(db, state):
                held += some
        return held

    def _hold_some(self, db: sqlite3.Connection, state: State) -> int:
        """One step: at most STEP_ROWS messages of this state. The kept counts follow."""
        deltas, now = Deltas(), self._now
        db.execute(BEGIN)
        values = (now, str(Category.UNCERTAIN), HELD_MESSAGE, now, STEP_ROWS)
        held = db.execute(HOLD.replace("{state}", str(int(state))), values).fetchall()
        for tenant, priority, flow, campaign, provider, _ in held:
            deltas.moved(state, State.FAILED, tenant, priority, flow, campaign, now)
            deltas.failed(tenant, str(Category.UNCERTAIN))
            deltas.called(now, provider or "", tenant, failed=True)
        deltas.write(db)
        self._teller.tell(db, sorted(row[-1] for row in held), now)
        self._teller.write(db)
        db.execute(COMMIT)
        self._teller.committed()
        return len(held)


# --- the old one -----------------------------------------------------------------------------------------------------


def swap(copy: Path, database: Path) -> Path | None:
    """Rename the copy into place; where the outbox of before lies now."""
    directory = database.parent
    wal, shm = (database.with_name(DATABASE + ending) for ending in ("-wal", "-shm"))
    replaced = directory / f"{DATABASE}.replaced-{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
    there = database.exists()
    if there:
        write_wal_into(database)
        replaced.hardlink_to(database)
    if wal.exists():
        replaced.with_name(replaced.name + "-wal").hardlink_to(wal)
        sync_directory(directory)
        wal.unlink()
    shm.unlink(missing_ok=True)
    sync_directory(directory)
    copy.rename(database)
    sync_directory(directory)
    return replaced if there else None


def write_wal_into(database: Path) -> None:
    """Have SQLite write the -wal into the file and remove it. What it cannot read stays as it is: a restore may be the
    answer to just that."""
    try:
        # Read-only first: closing a connection that could write would delete the -wal of a file it could not read.
        for mode, statement in (("ro", "PRAGMA schema_version"), ("rw", CHECKPOINT_LAST)):
            uri = f"{database.absolute().as_uri()}?mode={mode}"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as db:
                db.execute(statement).fetchone()
    except sqlite3.DatabaseError as error:
        if code_of(error) not in UNREADABLE:
            raise
