"""How does the outbox live in SQLite?

The binding of both protocols of `store` to one database file: it opens and closes things in order and hands each call
to the room that does it (`writer` and `transitions` for what changes, `reading` for what is asked, `recovery` for the
start). One connection does all writes and all checkpoints, which keeps clear of the WAL-reset bug of SQLite before
3.51.3 (two connections that write or checkpoint at the same instant); a second one reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from smsd.core.admission import AdmissionRules, Key
from smsd.core.bunches import Line
from smsd.core.callback import Callback
from smsd.core.health import Health
from smsd.core.lifecycle import step
from smsd.core.message import Attempt, Draft, Instant, Message, State
from smsd.core.receipt import Receipt
from smsd.core.settlement import Settlement
from smsd.core.suppression import Suppression
from smsd.store import (
    AcceptResult,
    Arrival,
    Arrived,
    Blocked,
    CallbackCounts,
    Claim,
    DiskFullError,
    Inbound,
    KeyConflict,
    Page,
    Person,
    PersonCounts,
    Query,
    Received,
    Recovery,
    Replay,
    Slice,
    Start,
    Step,
    StoreBrokenError,
    StoreError,
    Totals,
    Tracking,
    WrongState,
    allowance,
    arriving,
    binding,
    changes,
    outlines,
    reading,
    recovery,
    release,
    steps,
    telling,
    untold,
)
from smsd.store import statements as sql
from smsd.store.charges import PURGED_AT_ONCE
from smsd.store.connection import Connection, ConnectionFactory, Handle, connect
from smsd.store.deltas import Deltas
from smsd.store.desk import SqliteDesk
from smsd.store.disk import Disk, free_bytes
from smsd.store.faults import Fault, describe, fault
from smsd.store.guard import FileGuard, FileLock
from smsd.store.hands import Hands
from smsd.store.operations import Accept, Begin, Change, Settle
from smsd.store.redaction import KEY_FILE, Redaction
from smsd.store.snapshot import Snapshot
from smsd.store.transitions import Ledger
from smsd.store.writer import Writer

T = TypeVar("T")

SYNCHRONOUS = ("full", "normal", "extra")
"""Only full and extra keep the promise; normal may lose the last commits in a power cut and is for measuring that."""

PURGES = 10
"""Of one beat, at most: they take away what 2,000 charges a second leave behind."""

RECEIPT_ROWS = 5
"""That one receipt writes at most, counts aside: its open call and what it says of it, message, id and callback."""


def ignore_full(full: bool) -> None:
    """For a caller that reads SqliteOutbox.full instead."""


def ignore_commit(seconds: float, rows: int) -> None:
    """For a caller that does not measure."""


def ignore_received(received: Sequence[Received]) -> None:
    """Until somebody asks for kept receipts that were applied."""


def ignore_callbacks() -> None:
    """Until somebody asks for callbacks that were added."""


class SqliteOutbox:
    """Outbox and Records over one SQLite file. Belongs to one event loop, from open() to close().

    `on_fatal` is called once, on the loop, when the outbox broke for good: smsd should exit with an error. `on_full` is
    called when acceptances begin and cease to be refused for lack of room, `on_commit` after each transaction with the
    seconds it took until it was synced and the rows in it. `boot_token`: anything that is the same
    exactly as long as the machine was not restarted; `boot_us`: reads CLOCK_BOOTTIME in microseconds.
    """

    def __init__(
        self,
        path: Path,
        *,
        on_fatal: Callable[[StoreError], None],
        on_full: Callable[[bool], None] = ignore_full,
        on_commit: Callable[[float, int], None] = ignore_commit,
        connect: ConnectionFactory = connect,
        synchronous: str = "full",
        boot_token: str | None = None,
        boot_us: Callable[[], int] | None = None,
        floor_bytes: int = 0,
        ballast_bytes: int = 0,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        if synchronous not in SYNCHRONOUS:
            raise ValueError(f"synchronous must be one of {', '.join(SYNCHRONOUS)}")
        self._path = path
        self._on_fatal = on_fatal
        self._on_full = on_full
        self._on_commit = on_commit
        self._connect = connect
        self._synchronous = synchronous
        self._boot_token = boot_token
        self._boot_us = boot_us
        self._lock = FileLock(path.with_suffix(".lock"))
        self._guard = FileGuard(path)
        self._disk = Disk(path.parent, floor_bytes=floor_bytes, ballast_bytes=ballast_bytes, free=free)
        self._redaction = Redaction(path.with_name(KEY_FILE))
        self._ledger = Ledger(boot_us, self._redaction.same)
        self._on_received: Callable[[Sequence[Received]], None] = ignore_received
        self._on_callbacks: Callable[[], None] = ignore_callbacks
        self._writing: Connection | None = None
        self._reading: Connection | None = None
        self._writer: Writer | None = None
        self._floor_bytes = floor_bytes
        self._free = free
        self._snapshot: Snapshot | None = None
        self._closing = False
        hands = Hands(self._change, self._read, self._ledger, path, connect, self._redaction, self._clean)
        self.desk = SqliteDesk(hands)
        """The parts for operators."""

    @property
    def full(self) -> bool:
        """Whether acceptances are refused for lack of room."""
        return self._writer is not None and self._writer.full

    @property
    def broken(self) -> bool:
        """Whether nothing is written any more; smsd must be restarted."""
        return self._writer is not None and self._writer.broken is not None

    @property
    def waiting(self) -> int:
        """Operations that wait for a commit."""
        return 0 if self._writer is None else self._writer.waiting

    # --- life --------------------------------------------------------------------------------------------------------

    async def open(self, now: Instant, by_segments: Collection[str] = ()) -> Recovery:
        """See Outbox.open. Half a start is undone."""
        if self._writer is not None:
            raise StoreError("the outbox is open already")
        try:
            return await self._open(now, by_segments)
        except BaseException as error:
            await self._release()
            if isinstance(error, StoreError) or not isinstance(error, Exception):
                raise
            raise opening_failed(self._path, error) from error

    async def _open(self, now: Instant, by_segments: Collection[str]) -> Recovery:
        boot_us = None if self._boot_us is None else self._boot_us()  # at `now`, before anything takes its time
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        writing = self._writing = await self._connect(self._path)

        def prepare(db: Handle) -> tuple[Recovery, bool]:
            roomy = self._disk.fill()
            self._redaction.load()
            recovery.prepare_writer(db, self._synchronous)
            found = recovery.recover(db, self._ledger, now, self._boot_token, boot_us, by_segments)
            self._guard.remember()
            return found, roomy

        found, roomy = await writing.run(prepare)
        self._reading = await self._connect(self._path)
        await self._reading.run(recovery.prepare_reader)
        self._writer = Writer(
            writing,
            self._ledger,
            self._guard,
            self._disk,
            on_fatal=self._on_fatal,
            on_full=self._on_full,
            on_commit=self._committed,
        )
        self._writer.start(full=not roomy)
        return found

    def _committed(self, seconds: float, rows: int) -> None:
        """A transaction is durable. Here, and not on the writing thread, its news are told."""
        self._on_commit(seconds, rows)
        if self._ledger.teller.take_added():
            self._on_callbacks()
        received = self._ledger.receiving.take_applied()
        if received:
            # Whoever settled the message that they are about learns of that first.
            asyncio.get_running_loop().call_soon(self._on_received, received)

    async def close(self, *, orderly: bool = True) -> None:
        """See Outbox.close. A snapshot that is being taken is abandoned."""
        self._closing = True
        try:
            if self._snapshot is not None:
                await self._snapshot.abandon()
            if self._writer is not None:
                await self._writer.close()
                if self._writing is not None and not self.broken:
                    await self._writing.run(partial(end_in_order, orderly=orderly))
        finally:
            await self._release()

    def _clean(self) -> None:
        if self._writer is not None:
            self._writer.clean()

    async def _release(self) -> None:
        """Close what is open, the reader first: the last connection to close removes the -wal, and that is a write."""
        await self.desk.close()
        reading, self._reading = self._reading, None
        writing, self._writing = self._writing, None
        try:
            if reading is not None:
                await reading.close()
        finally:
            try:
                if writing is not None:
                    await writing.close()
            finally:
                self._lock.release()

    def _opened(self) -> Writer:
        if self._writer is None:
            raise StoreBrokenError("the outbox is not open")
        return self._writer

    async def snapshot(self, path: Path) -> int:
        """Copy the outbox, as it is at this moment, to `path`; the copy's bytes.

        The file must not exist; it gets mode 0600 and is synced, its directory too. Writer and readers are not held
        up. Raises DiskFullError when less than the outbox's size and the floor is free there, StoreError when another
        copy is being made, the file cannot be written or the outbox is closed meanwhile; then nothing is left behind.
        """
        if self._reading is None or self._closing:
            raise StoreBrokenError("the outbox is not open")
        if self._snapshot is not None:
            raise StoreError("the outbox is being copied already: wait until that is done")
        self._snapshot = Snapshot(self._path, path, floor_bytes=self._floor_bytes, free=self._free)
        try:
            return await self._snapshot.take()
        finally:
            self._snapshot = None

    # --- transitions -------------------------------------------------------------------------------------------------

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        """See Outbox.accept."""
        self._opened().put(Accept(draft, done))

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        """See Outbox.begin."""
        operation = Begin(claims, now, self._ledger.charges.boot_us())
        self._opened().put(operation)
        return await operation.future

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        """See Outbox.settle. Raises ValueError also when event and state do not belong together."""
        if step(State.PROCESSING, settlement.event) is not settlement.state:
            raise ValueError(f"a settlement by {settlement.event} cannot end in {settlement.state.label}")
        if settlement.route is not None and settlement.state is not State.PENDING:
            raise ValueError(f"only what is tried again goes by another route, not what is {settlement.state.label}")
        operation = Settle(settlement, attempt)
        self._opened().put(operation)
        return await operation.future

    async def expire(self, now: Instant, limit: int) -> tuple[list[Message], Instant | None]:
        """See Outbox.expire."""
        charges, teller = self._ledger.charges, self._ledger.teller
        return await self._change(
            lambda db, deltas: changes.expire(db, deltas, charges, teller, now, limit), size=limit
        )

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        """See Outbox.cancel."""
        charges, teller = self._ledger.charges, self._ledger.teller
        return await self._change(lambda db, deltas: changes.cancel(db, deltas, charges, teller, id, tenant, now))

    async def reschedule(
        self,
        id: str,
        tenant: str | None,
        due: Instant,
        send_at: Instant,
        expires_at: Instant,
        held: str | None,
        held_by: str | None,
        now: Instant,
    ) -> Message | WrongState | None:
        """See Outbox.reschedule."""
        charges, times = self._ledger.charges, changes.Times(due, send_at, expires_at, held, held_by)
        return await self._change(lambda db, deltas: changes.reschedule(db, deltas, charges, id, tenant, times, now))

    async def reopen(
        self,
        id: str,
        tenant: str | None,
        now: Instant,
        expires_at: Instant,
        force: bool,
        due: Instant | None = None,
    ) -> Message | WrongState | None:
        """See Outbox.reopen."""
        flows, gates, first = self._ledger.flows, self._ledger.gates, now if due is None else due
        return await self._change(
            lambda db, deltas: changes.reopen(db, deltas, flows, gates, id, tenant, now, expires_at, force, first)
        )

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        """See Outbox.receive."""
        receiving = self._ledger.receiving
        return await self._change(
            lambda db, deltas: receiving.receive(db, deltas, receipts, now, spread),
            size=RECEIPT_ROWS * len(receipts),
        )

    def notify(
        self,
        received: Callable[[Sequence[Received]], None],
        callbacks: Callable[[], None],
    ) -> None:
        """See Outbox.notify."""
        self._on_received, self._on_callbacks = received, callbacks

    async def track(self, tracking: Tracking) -> None:
        """See Outbox.track."""
        ledger = self._ledger
        if self._writing is None:
            ledger.track(tracking)
        else:
            await self._writing.run(lambda _: ledger.track(tracking))  # between two transactions

    async def callback_told(self, ids: Sequence[str]) -> None:
        """See Outbox.callback_told."""
        teller = self._ledger.teller
        await self._change(lambda db, _: teller.told(db, ids), size=len(ids))

    async def callback_failed(self, callback: Callback) -> None:
        """See Outbox.callback_failed."""
        teller = self._ledger.teller
        await self._change(lambda db, _: teller.failed(db, callback))

    async def url_gone(self, tenant: str, url: str, now: Instant) -> int:
        """See Outbox.url_gone. Several transactions: a million may wait for it."""
        teller = self._ledger.teller
        await self._change(lambda db, _: teller.mark_gone(db, tenant, url, now))
        after: tuple[Instant, int] | None = telling.BEFORE_ALL
        given_up = 0
        while after is not None:
            some, after = await self._give_up(tenant, url, now, after)
            given_up += some
        return given_up

    async def _give_up(
        self, tenant: str, url: str, now: Instant, after: tuple[Instant, int]
    ) -> tuple[int, tuple[Instant, int] | None]:
        teller = self._ledger.teller
        return await self._change(lambda db, _: teller.give_up(db, tenant, url, now, after), size=telling.PIECE)

    async def replay_callbacks(self, ids: Sequence[str] | None, tenant: str | None, now: Instant, limit: int) -> int:
        """See Outbox.replay_callbacks. Several transactions."""
        if ids is not None:
            return sum(
                [await self._replay(ids[n : n + telling.PIECE], tenant, now) for n in range(0, len(ids), telling.PIECE)]
            )
        replayed, after = 0, ""
        while replayed < limit:
            some, following = await self._listed(tenant, True, after, min(telling.PIECE, limit - replayed))
            replayed += await self._replay([one.id for one in some], tenant, now)
            if following is None:
                return replayed + await self._hasten(tenant, now)
            after = following
        return replayed

    async def _hasten(self, tenant: str | None, now: Instant) -> int:
        teller, count = self._ledger.teller, 0
        after: str | None = ""
        while after is not None:
            some, after = await self._hasten_some(teller, tenant, now, after)
            count += some
        return count

    async def _hasten_some(
        self, teller: telling.Teller, tenant: str | None, now: Instant, after: str
    ) -> tuple[int, str | None]:
        return await self._change(lambda db, _: teller.hasten(db, tenant, now, after), size=telling.PIECE)

    async def _replay(self, ids: Sequence[str], tenant: str | None, now: Instant) -> int:
        teller = self._ledger.teller
        return await self._change(lambda db, _: teller.replay(db, ids, tenant, now), size=len(ids)) if ids else 0

    async def arrive(self, arrival: Arrival) -> Arrived:
        """See Outbox.arrive."""
        optouts, teller = self._ledger.optouts, self._ledger.teller
        return await self._change(lambda db, _: arriving.arrive(db, optouts, teller, arrival))

    async def suppress(self, suppression: Suppression) -> bool:
        """See Outbox.suppress."""
        return await self._change(lambda db, _: self._ledger.optouts.add(db, [suppression]) == 1)

    async def lift(self, scope: str, number: str) -> bool:
        """See Outbox.lift."""
        return await self._change(lambda db, _: self._ledger.optouts.lift(db, scope, number))

    async def save_provider(self, health: Health) -> None:
        """See Outbox.save_provider."""
        await self._change(lambda db, _: changes.save_provider(db, health))

    async def follow_step(self, step: Step) -> Step | None:
        """See Outbox.follow_step."""
        return await self._change(lambda db, deltas: steps.follow(db, deltas, step), size=steps.PIECE)

    async def release_held(self, digest: str, after: int, now: Instant) -> int | None:
        """See Outbox.release_held."""
        return await self._change(
            lambda db, deltas: release.release_held(db, deltas, digest, after, now), size=release.PIECE
        )

    async def beat(self, now: Instant) -> None:
        """Commit the time: proof that the writer lives. Then some old charges go, in transactions of their own, so that
        claims come between them. Raises StoreError."""
        charges, ledger = self._ledger.charges, self._ledger
        boot_us = charges.boot_us()  # now: the change waits for its turn
        more = await self._change(lambda db, _: ledger.beat(db, now, boot_us))
        at = charges.line.at(now, boot_us)
        for _ in range(PURGES - 1):
            if not more:
                break
            more = await self._change(lambda db, _: charges.purge(db, at), size=PURGED_AT_ONCE)

    async def govern(self, rules: AdmissionRules) -> None:
        """See Outbox.govern."""
        charges = self._ledger.charges
        if self._writing is None:
            charges.govern(rules)
        else:
            await self._writing.run(lambda _: charges.govern(rules))  # between two transactions

    async def _change(self, run: Callable[[Handle, Deltas], T], size: int = 1) -> T:
        operation = Change(run, size)
        self._opened().put(operation)
        return await operation.future

    # --- the read side -----------------------------------------------------------------------------------------------

    async def get(self, id: str, tenant: str | None) -> Message | None:
        """See Records.get."""
        return await self._read(lambda db: changes.find(db, id, tenant))

    async def attempts(self, seq: int) -> list[Attempt]:
        """See Records.attempts."""
        return await self._read(lambda db: reading.attempts(db, seq))

    async def suppressions_of(self, number: str) -> tuple[Suppression, ...]:
        """See Records.suppressions_of."""
        return await self._read(lambda db: reading.suppressions_of(db, number))

    async def suppressions(
        self, scope: str | None, after: tuple[str, str] | None, limit: int
    ) -> tuple[Suppression, ...]:
        """See Records.suppressions."""
        return await self._read(lambda db: reading.suppressions(db, scope, after, limit))

    async def callbacks_due(
        self, now: Instant, limit: int, without: Collection[str] = (), but_of: Collection[str] = ()
    ) -> tuple[tuple[Callback, ...], Instant | None]:
        """See Records.callbacks_due."""
        return await self._read(lambda db: untold.due(db, now, limit, without, but_of))

    async def callbacks(self, tenant: str | None, failed: bool, after: str | None, limit: int) -> tuple[Callback, ...]:
        """See Records.callbacks. Several short reads where few of many are the tenant's."""
        found: list[Callback] = []
        following: str | None = after or ""
        while following is not None and len(found) < limit:
            some, following = await self._listed(tenant, failed, following, limit - len(found))
            found += some
        return tuple(found)

    async def _listed(
        self, tenant: str | None, failed: bool, after: str, limit: int
    ) -> tuple[list[Callback], str | None]:
        return await self._read(lambda db: untold.listed(db, tenant, failed, after, limit))

    async def callback_counts(self) -> CallbackCounts:
        """See Records.callback_counts."""
        return await self._read(untold.counts)

    async def inbound(
        self,
        tenant: str | None,
        *,
        sender: str | None = None,
        recipient: str | None = None,
        since: Instant | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> tuple[tuple[Inbound, ...], int | None]:
        """See Records.inbound."""
        senders = None if sender is None else self._redaction.names(sender)
        return await self._read(lambda db: arriving.inbound(db, tenant, senders, recipient, since, before, limit))

    async def find_key(self, tenant: str, key: str, content_hash: bytes) -> Replay | KeyConflict | None:
        """See Records.find_key."""
        same = self._redaction.same
        return await self._read(lambda db: reading.find_key(db, tenant, key, content_hash, same))

    async def page(self, query: Query) -> Page:
        """See Records.page."""
        redacted = None if query.recipient is None else self._redaction.names(query.recipient)[1]
        return await self._read(lambda db: reading.page(db, query, redacted))

    async def totals(self, since_minute: int, tenant: str | None = None) -> Totals:
        """See Records.totals."""
        return await self._read(lambda db: reading.totals(db, since_minute, tenant))

    async def counts_of(self, person: Person, day_since: Instant, hour_since: Instant) -> PersonCounts:
        """See Records.counts_of. Several short reads: other readers and checkpoints come between them."""
        if person.user is not None:
            return await self._counts_of_user(person.user, person.tenant, day_since, hour_since)
        names = self._redaction.names(person.recipient or "")
        counted, before = [], binding.MAX_INTEGER
        for _ in range(reading.RECIPIENT_STRETCHES):
            some, before = await self._read(
                partial(
                    reading.counts_of_recipient,
                    names=names,
                    tenant=person.tenant,
                    day=day_since,
                    hour=hour_since,
                    before=before,
                )
            )
            counted.append(some)
            if before == 0:
                break
        return reading.added(counted)

    async def _counts_of_user(self, user: str, tenant: str | None, day: Instant, hour: Instant) -> PersonCounts:
        tenants = await self._read(lambda db: reading.tenants_of(db, user)) if tenant is None else [tenant]
        counted = [
            await self._read(partial(reading.counts_of_user, user=user, tenant=name, day=day, hour=hour))
            for name in tenants
        ]
        return reading.added(counted)

    async def remaining(self, person: Person, now: Instant) -> int | None:
        """See Records.remaining."""
        charges = self._ledger.charges
        at = charges.line.at(now, charges.boot_us())
        return await self._read(lambda db: allowance.remaining(db, charges.rules.limits, charges.line, person, at))

    async def feed(self, flow: int, after: tuple[Instant, int] | None, until: Instant, limit: int) -> Slice:
        """See Records.feed."""
        return await self._read(lambda db: reading.feed(db, flow, after, until, limit))

    async def uncertain(
        self, until: Instant, limit: int, without: Collection[str] = ()
    ) -> tuple[list[Message], Instant | None]:
        """See Records.uncertain."""
        return await self._read(lambda db: reading.uncertain(db, until, limit, without))

    async def bound(self, provider_message_ids: Sequence[str], without: Collection[str] = ()) -> set[str]:
        """See Records.bound."""
        return await self._read(lambda db: binding.bound(db, provider_message_ids, without))

    async def starts(self, provider: str, since: Instant, since_boot: int, limit: int) -> list[Start]:
        """See Records.starts."""
        boot = self._ledger.boot
        return await self._read(lambda db: reading.starts(db, boot, provider, since, since_boot, limit))

    async def lines(self, most: int, now: Instant) -> tuple[Line, ...]:
        """See Records.lines."""
        return await self._read(lambda db: outlines.lines(db, most, now))

    async def place(self, flow: int, due: Instant, seq: int) -> int:
        """See Records.place."""
        return await self._read(lambda db: outlines.place(db, flow, due, seq))

    async def charged(self, key: Key, most: int, step: int) -> tuple[tuple[Instant, int | None], ...]:
        """See Records.charged."""
        boot = self._ledger.boot
        return await self._read(lambda db: outlines.charged(db, boot, key.kind, key.key, most, step))

    async def _read(self, fn: Callable[[Handle], T]) -> T:
        if self._reading is None:
            raise StoreBrokenError("the outbox is not open")
        try:
            return await self._reading.run(fn)
        except Exception as error:
            if isinstance(error, asyncio.CancelledError):
                raise
            raise StoreError(f"the outbox cannot be read ({describe(error)})") from error


def end_in_order(db: Handle, *, orderly: bool) -> None:
    """Write down that smsd ended in order, if it did, and empty the -wal, so that the next start has nothing to replay
    and a copy of the one file is whole.

    Want of room or a lock costs only that: what was acknowledged is in the -wal. Any other failure raises StoreError.
    """
    try:
        if orderly:
            recovery.ended_in_order(db)
        db.execute(sql.CHECKPOINT_LAST).fetchone()
    except Exception as error:
        if fault(error) not in {Fault.FULL, Fault.BUSY}:
            raise StoreError(f"the outbox could not be closed in order ({describe(error)})") from error


def opening_failed(path: Path, error: Exception) -> StoreError:
    """Why the outbox cannot be used, as an error with a remedy."""
    if isinstance(error, OSError):
        return StoreError(f"{path} cannot be used ({error.strerror}): check the directory and its owner")
    if fault(error) is Fault.FULL:
        return DiskFullError(f"there is no room to open {path}: free space on its file system")
    if fault(error) is Fault.BUSY:
        return StoreError(f"another process holds a lock on {path}: close it and start smsd again")
    return StoreError(f"{path} cannot be used ({describe(error)})")
