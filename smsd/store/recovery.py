"""What does a start find, and what must it write down before anything is sent?

An attempt that is open at a start may have reached its provider: it is recorded as crashed and the message becomes
uncertain, due for its first look-up now; unless smsd ended over it too often (`core.crashes`), then it fails. All else
is read from kept numbers and small partial indexes: a million pending messages are neither loaded nor scanned. What
follows for an uncertain message is decided elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable

from smsd.core.crashes import CRASHES_ALLOWED, parked
from smsd.core.health import Health
from smsd.core.lifecycle import Event
from smsd.core.message import Instant, Message, Priority, State
from smsd.core.settlement import settled
from smsd.store import steps
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.errors import StoreError
from smsd.store.migrate import migrate
from smsd.store.opening import Recovery, Step
from smsd.store.pending import FlowRow
from smsd.store.rows import CRASHED, message, settled_row
from smsd.store.statements import BEGIN, COMMIT, ROLLBACK, arrays, change, expect
from smsd.store.statements.changing import BY_SEQ, NEXT_EXPIRY
from smsd.store.statements.counting import COUNTERS
from smsd.store.statements.flows import LIVE_FLOWS
from smsd.store.statements.meta import DROP_META, GET_META, SET_META
from smsd.store.statements.reading import NEXT_UNCERTAIN
from smsd.store.statements.recovering import (
    COUNT_CRASH,
    DOUBT_OPEN,
    LAST_ACCEPTED,
    LAST_CLAIMED,
    LAST_SETTLED,
    LAST_STRAW,
    OPEN_ATTEMPTS,
    PROVIDERS,
)
from smsd.store.statements.settling import INSERT_ATTEMPTS, SETTLE
from smsd.store.timeline import timeline
from smsd.store.transitions import Ledger, count_settlement

AUTOCHECKPOINT_PAGES = 32_768
"""128 MiB: a safety net only, for it runs inside an unlucky commit. `writer` checkpoints long before."""

JOURNAL_SIZE_LIMIT = 67_108_864
"""A -wal that once grew beyond 64 MiB is cut back."""

WRITER_CACHE_KIB = 16_384
READER_CACHE_KIB = 4_096

UNKNOWN_BEFORE = "unknown_before"
"""The name in `meta` of Recovery.unknown_before, which a restore writes."""

ORDERLY = "orderly"
"""The name in `meta` of the mark that the last end was in order. The next start takes it away."""


def prepare_writer(db: Handle, synchronous: str) -> None:
    """Set the writing connection up. Raises StoreError when durability cannot be had."""
    # auto_vacuum only takes before the first page is written, and journal_mode writes it.
    db.execute("PRAGMA auto_vacuum = INCREMENTAL")
    mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(
            f"the database cannot use a write-ahead log (journal_mode is {mode}): put [daemon] state_dir on a local "
            "file system, not on a network one"
        )
    db.execute(f"PRAGMA synchronous = {synchronous.upper()}")
    db.execute(f"PRAGMA wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}")
    db.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT}")
    db.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
    db.execute("PRAGMA temp_store = MEMORY")
    # What is redacted or removed is overwritten, not only unlinked. Debian's SQLite does so by default.
    db.execute("PRAGMA secure_delete = ON")


def prepare_reader(db: Handle) -> None:
    """Set the reading connection up: it can neither write nor checkpoint."""
    db.execute("PRAGMA query_only = ON")
    db.execute("PRAGMA wal_autocheckpoint = 0")
    db.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    db.execute("PRAGMA temp_store = MEMORY")


def recover(
    db: Handle,
    ledger: Ledger,
    now: Instant,
    boot_token: str | None,
    boot_us: int | None,
    by_segments: Collection[str],
) -> Recovery:
    """Migrate, number the boot, mark open attempts, and tell what is there. One transaction after the migrations.

    `boot_us`: CLOCK_BOOTTIME now, microseconds; None: not known. `by_segments`: the providers whose rate counts
    segments.
    """
    migrate(db)
    db.execute(BEGIN)
    try:
        boot = number_boot(db, boot_token)
        latest = latest_time(db)
        last_straws = count_crashes(db)
        reopened = mark_open_attempts(db, now, boot, boot_us, by_segments)
        held = tuple(park(db, seq, now) for seq in last_straws)
        # Before steps.at_start, which forgets what the last boot's due times have followed.
        ledger.start(db, timeline(db, boot, now, boot_us))
        ledger.teller.tell(db, last_straws, now)
        ledger.teller.write(db)
        following = steps.at_start(db, boot, boot_us, now, latest)
        found = describe(db, reopened - len(held), latest, held, following)
        db.execute(COMMIT)
    except BaseException:
        if db.in_transaction:
            db.execute(ROLLBACK)
        raise
    return found


def number_boot(db: Handle, token: str | None) -> int:
    """The number of this boot: the last one's while the token is the same, else the next. Boot times of attempts are
    comparable within one number only. No token: nobody knows, so it is another boot."""
    known_token = db.execute(GET_META, ("boot_token",)).fetchone()
    known = db.execute(GET_META, ("boot",)).fetchone()
    number: int = 0 if known is None else known[0]
    if known is None or token is None or known_token is None or known_token[0] != token:
        number += 1
        db.execute(SET_META, ("boot", number))
        db.execute(SET_META, ("boot_token", token or ""))
    return number


def cursor_key(db: Handle) -> bytes:
    """The outbox's own, made once: a cursor outlives restarts, and a restored copy."""
    known = db.execute(GET_META, ("cursor_key",)).fetchone()
    key: bytes = secrets.token_bytes(16) if known is None else known[0]
    if known is None:
        db.execute(SET_META, ("cursor_key", key))
    return key


def latest_time(db: Handle) -> Instant | None:
    """The latest wall time that the newest rows and the last heartbeat tell of."""
    accepted = db.execute(LAST_ACCEPTED).fetchone()
    settled = db.execute(LAST_SETTLED).fetchone()
    claimed = db.execute(LAST_CLAIMED).fetchone()
    beat = db.execute(GET_META, ("beat",)).fetchone()
    times = [row[0] for row in (accepted, settled, claimed, beat) if row is not None and row[0] is not None]
    return max(times, default=None)


def count_crashes(db: Handle) -> list[int]:
    """Unless smsd ended in order, each message in a call met one more crash; those for which it was the last."""
    if db.execute(DROP_META, (ORDERLY,)).fetchall():
        return []
    last_straws = [row[0] for row in db.execute(LAST_STRAW, (CRASHES_ALLOWED - 1,)).fetchall()]
    db.execute(COUNT_CRASH)
    return last_straws


def ended_in_order(db: Handle) -> None:
    """Write it down: attempts that are open now do not speak against their messages."""
    db.execute(SET_META, (ORDERLY, 1))


def park(db: Handle, seq: int, now: Instant) -> Message:
    """The uncertain message fails, held for an operator; as it is afterwards. The kept counts follow."""
    before = message(arrays(db, BY_SEQ, (seq,))[0])
    settlement = settled(before, Event.FAIL, now, error=parked(before, now))
    expect(change(db, SETTLE, [settled_row(settlement)]), 1)
    deltas = Deltas()
    deltas.moved(before.state, settlement.state, before.tenant, before.priority, before.flow, before.campaign, now)
    count_settlement(deltas, settlement, before.provider or "", before.tenant)
    deltas.write(db)
    return message(arrays(db, BY_SEQ, (seq,))[0])


def mark_open_attempts(db: Handle, now: Instant, boot: int, boot_us: int | None, by_segments: Collection[str]) -> int:
    """Open attempts become crashed and uncertain; how many. For pacing they count as started now: their calls may have
    begun at any time up to the crash."""
    crashed = []
    for seq, n, provider, claimed_at, segments in db.execute(OPEN_ATTEMPTS).fetchall():
        cost = segments if provider in by_segments else 1
        crashed.append(
            (seq, n, provider, claimed_at, boot_us, boot, now, cost, None, CRASHED, None, None, None, None, None)
        )
    if crashed:
        change(db, INSERT_ATTEMPTS, crashed)
        db.execute(DOUBT_OPEN, (now, now))
    return len(crashed)


def describe(
    db: Handle, reopened: int, latest: Instant | None, held: tuple[Message, ...], following: tuple[Step, ...]
) -> Recovery:
    """The Recovery, from kept numbers."""
    uncertain = db.execute(NEXT_UNCERTAIN, (-1,)).fetchone()
    unknown = db.execute(GET_META, (UNKNOWN_BEFORE,)).fetchone()
    expiry = db.execute(NEXT_EXPIRY).fetchone()
    return Recovery(
        flows=tuple(
            FlowRow(id, route, Priority(priority), tenant, campaign, pending, next_due)
            for id, route, priority, tenant, campaign, pending, next_due in db.execute(LIVE_FLOWS).fetchall()
        ),
        providers=tuple(Health(*row) for row in db.execute(PROVIDERS).fetchall()),
        reopened=reopened,
        next_uncertain=None if uncertain is None else uncertain[0],
        next_expiry=None if expiry is None else expiry[0],
        latest=latest,
        counts=counts(db),
        unknown_before=None if unknown is None else unknown[0],
        cursor_key=cursor_key(db),
        steps=following,
        parked=held,
    )


def counts(db: Handle) -> dict[tuple[State, Priority], int]:
    """Messages by state and priority, without the zeros."""
    return by_state(db.execute(COUNTERS).fetchall())


def by_state(rows: Iterable[tuple[int, int, int]]) -> dict[tuple[State, Priority], int]:
    """Rows of state, priority and number, without the zeros."""
    return {(State(s), Priority(p)): n for s, p, n in rows if n}
