"""What does each transition do to the rows?

Operations are what waits for the next commit; a Ledger applies many of them inside one open transaction, set-wise:
acceptances first, then settlements, claims and the rest. Every change of a live message is fenced: it repeats the state
and the attempt it was decided for, so news that come too late change nothing. BEGIN, COMMIT, failures and waking the
callers belong to `writer`; what should happen to a message belongs to `core.policy`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

from smsd.core.health import Health
from smsd.core.lifecycle import Event, may, step
from smsd.core.message import Attempt, Draft, Error, Instant, Message, State
from smsd.core.policy import Settlement
from smsd.core.verdict import Category
from smsd.store import AcceptResult, Claim, KeyConflict, Replay, Stored, StoreError, WrongState, rows
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.deltas import MINUTE_MS, Deltas
from smsd.store.statements import arrays, change, look_up

T = TypeVar("T")

FLOWS_KNOWN = 10_000
"""Flow ids kept in memory; the one unused longest is forgotten and looked up again."""

TENANT_MINUTES_KEPT = 2 * 24 * 60
"""Minutes for which a tenant's counts by minute are kept; the longest question about them is "today"."""

MINUTES_FORGOTTEN_AT_ONCE = 500
"""Rows that one beat deletes at most: about a millisecond. A busy tenant makes one a minute."""

EXPIRED_MESSAGE = "its time to live ran out before it could be sent"


class Operation(ABC):
    """One caller's wish. `size`: rows it writes, for the batch's bound."""

    __slots__ = ()
    size = 1
    keeps_trying = False
    """Whether it waits for room when the disk is full instead of failing: its outcome is a fact already."""

    @abstractmethod
    def resolve(self) -> None:
        """It is durable: tell the caller. On the event loop."""

    @abstractmethod
    def fail(self, error: StoreError) -> None:
        """It is not, or nobody knows: tell the caller. On the event loop."""


class Accept(Operation):
    """A draft wants to become a message. The caller is told by a plain call: a future costs too much at 40,000/s."""

    __slots__ = ("done", "draft", "result")

    def __init__(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        self.draft = draft
        self.done = done
        self.result: AcceptResult | None = None

    def resolve(self) -> None:
        assert self.result is not None
        self.done(self.result)

    def fail(self, error: StoreError) -> None:
        self.done(error)


class Awaited(Operation, Generic[T]):
    """An operation whose caller awaits `future`. A caller that gave up waiting changes nothing: it is committed."""

    __slots__ = ("future", "result")

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.result: T | None = None

    def resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(cast("T", self.result))

    def fail(self, error: StoreError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Begin(Awaited[list[Message | None]]):
    """Claims that want to become open attempts."""

    __slots__ = ("claims", "now", "size")

    def __init__(self, claims: Sequence[Claim], now: Instant) -> None:
        super().__init__()
        self.claims = claims
        self.now = now
        self.size = len(claims)


class Settle(Awaited[bool]):
    """The end of an attempt. It keeps trying: the call was made, and only the outbox does not know yet."""

    __slots__ = ("attempt", "settlement")
    size = 2
    keeps_trying = True

    def __init__(self, settlement: Settlement, attempt: Attempt | None) -> None:
        super().__init__()
        self.settlement = settlement
        self.attempt = attempt


class Change(Awaited[T]):
    """Any other transition: a function of the open transaction."""

    __slots__ = ("run", "size")

    def __init__(self, run: Callable[[Handle, Deltas], T], size: int = 1) -> None:
        super().__init__()
        self.run = run
        self.size = size


class Ledger:
    """Applies operations. Lives on the writing connection's thread; committed() and undone() end each transaction."""

    def __init__(self) -> None:
        self.boot = 0
        """The number of the present boot."""
        self._next_seq = 1
        self._next_flow = 1
        self._flows: OrderedDict[tuple[str, int, str, str | None], int] = OrderedDict()

    def start(self, db: Handle, boot: int) -> None:
        """Learn from the database where numbering goes on; `boot` is the number of the present boot."""
        self.boot = boot
        self._next_seq = (db.execute(sql.LAST_SEQ).fetchone()[0] or 0) + 1
        self._next_flow = (db.execute(sql.LAST_FLOW).fetchone()[0] or 0) + 1

    def apply(self, db: Handle, operations: Sequence[Operation]) -> None:
        """Write the operations into the open transaction and leave each its result."""
        deltas = Deltas()
        self._accept(db, [o for o in operations if isinstance(o, Accept)], deltas)
        for settles in distinct([o for o in operations if isinstance(o, Settle)], key=lambda s: s.settlement.seq):
            self._settle(db, settles, deltas)
        self._begin(db, [o for o in operations if isinstance(o, Begin)], deltas)
        for operation in operations:
            if isinstance(operation, Change):
                operation.result = operation.run(db, deltas)
        deltas.write(db)

    def committed(self) -> None:
        """What apply() wrote is durable."""
        while len(self._flows) > FLOWS_KNOWN:
            self._flows.popitem(last=False)

    def undone(self) -> None:
        """The transaction is rolled back: its flows may not exist. Its numbers stay used: a gap harms nobody."""
        self._flows.clear()

    # --- accept ------------------------------------------------------------------------------------------------------

    def _accept(self, db: Handle, accepts: Sequence[Accept], deltas: Deltas) -> None:
        known = find_keys(db, [a.draft for a in accepts if a.draft.idempotency_key is not None]) if accepts else {}
        messages: list[tuple[object, ...]] = []
        keys: list[tuple[object, ...]] = []
        for accept in accepts:
            draft = accept.draft
            key = draft.idempotency_key
            if key is not None:
                earlier = known.get((draft.tenant, key))
                if earlier is not None:
                    accept.result = answer_for_key(earlier, draft.content_hash or b"")
                    continue
                replay = Replay(draft.id, State.PENDING, draft.segments, int(draft.encoding))
                known[draft.tenant, key] = (draft.content_hash or b"", replay)
                keys.append((draft.tenant, key, draft.content_hash or b"", self._next_seq))
            flow = self._flow(db, draft)
            messages.append(rows.accepted_row(draft, self._next_seq, flow))
            deltas.accepted(draft.tenant, draft.priority, flow)
            accept.result = Stored(self._next_seq, flow)
            self._next_seq += 1
        change(db, sql.INSERT_MESSAGES, messages)
        change(db, sql.INSERT_KEYS, keys)

    def _flow(self, db: Handle, draft: Draft) -> int:
        identity = (draft.route, int(draft.priority), draft.tenant, draft.campaign)
        known = self._flows.get(identity)
        if known is not None:
            self._flows.move_to_end(identity)
            return known
        row = db.execute(sql.FIND_FLOW, identity).fetchone()
        if row is None:
            flow = self._next_flow
            db.execute(sql.INSERT_FLOW, (flow, *identity))
            self._next_flow += 1
        else:
            flow = row[0]
        self._flows[identity] = flow
        return flow

    # --- begin -------------------------------------------------------------------------------------------------------

    def _begin(self, db: Handle, begins: Sequence[Begin], deltas: Deltas) -> None:
        wanted: list[tuple[int, list[Message | None], int, Claim, Instant]] = []
        for begin in begins:
            answers: list[Message | None] = [None] * len(begin.claims)
            begin.result = answers
            wanted += [(c.seq, answers, place, c, begin.now) for place, c in enumerate(begin.claims)]
        for claims in distinct(wanted, key=lambda entry: entry[0]):
            found = look_up(db, sql.CLAIMABLE, [(seq, c.attempt, now) for seq, _, _, c, now in claims])
            pending = {row[0]: row for row in found}
            won = [entry for entry in claims if entry[0] in pending]
            changed = change(db, sql.CLAIM, [(seq, c.attempt, c.provider, c.sender, now) for seq, _, _, c, now in won])
            expect(changed, len(won))
            for seq, answers, place, claim, now in won:
                message = rows.claimed(pending[seq], claim.provider, claim.sender, now)
                deltas.moved(State.PENDING, State.PROCESSING, message.tenant, message.priority, message.flow)
                answers[place] = message

    # --- settle ------------------------------------------------------------------------------------------------------

    def _settle(self, db: Handle, settles: Sequence[Settle], deltas: Deltas) -> None:
        found = look_up(db, sql.SETTLEABLE, [(s.settlement.seq, s.settlement.attempt) for s in settles])
        open_ones = {row[0]: row for row in found}
        in_time: list[tuple[object, ...]] = []
        attempts: list[tuple[object, ...]] = []
        for settle in settles:
            settlement = settle.settlement
            if settle.attempt is not None:
                attempts.append(rows.attempt_row(settlement.seq, settlement.at, self.boot, settle.attempt))
            row = open_ones.get(settlement.seq)
            settle.result = row is not None
            if row is None:
                continue
            in_time.append(rows.settled_row(settlement))
            _, tenant, priority, flow, provider = row
            deltas.moved(State.PROCESSING, settlement.state, tenant, priority, flow)
            count_settlement(deltas, settlement, provider, tenant)
            if settle.attempt is None and settlement.provider_message_id is not None:
                db.execute(
                    sql.BIND_ATTEMPT,
                    (rows.storable(settlement.provider_message_id), settlement.seq, settlement.attempt),
                )
        expect(change(db, sql.SETTLE, in_time), len(in_time))
        change(db, sql.INSERT_ATTEMPTS, attempts)


def distinct(entries: list[T], key: Callable[[T], int]) -> Iterator[list[T]]:
    """Rounds in which no message occurs twice, in order: a set-wise change must not name a row twice."""
    while entries:
        seen: set[int] = set()
        later: list[T] = []
        now: list[T] = []
        for entry in entries:
            seq = key(entry)
            (later if seq in seen else now).append(entry)
            seen.add(seq)
        yield now
        entries = later


def expect(changed: int, wanted: int) -> None:
    """A set-wise change must have met every row that was looked up in the same transaction."""
    if changed != wanted:
        raise RuntimeError(f"{changed} rows changed where {wanted} were found in the same transaction")


def count_settlement(deltas: Deltas, settlement: Settlement, provider: str, tenant: str) -> None:
    """What a settlement that was in time adds to the kept counts."""
    if settlement.event is Event.TAKEN:
        deltas.called(settlement.at, provider, tenant, sent=True)
    elif settlement.event is Event.FAIL:
        deltas.called(settlement.at, provider, tenant, failed=True)
        if settlement.error is not None:
            deltas.failed(tenant, str(settlement.error.category))
    elif settlement.error is not None and settlement.error.category is Category.RATE_LIMITED:
        deltas.called(settlement.at, provider, tenant)


KnownKeys = dict[tuple[str, str], tuple[bytes, Replay]]


def find_keys(db: Handle, drafts: Sequence[Draft]) -> KnownKeys:
    """Which of the drafts' keys are taken, by what content and which message."""
    wanted = [(draft.tenant, draft.idempotency_key) for draft in drafts]
    known: KnownKeys = {}
    for piece in sql.pieces(wanted):
        statement = sql.with_rows(sql.FIND_KEYS, 2, len(piece))
        for row in db.execute(statement, [value for pair in piece for value in pair]).fetchall():
            known[row[0], row[1]] = key_row(row)
    return known


def key_row(row: Sequence[Any]) -> tuple[bytes, Replay]:
    """A row of FIND_KEYS: the content's hash, and the answer to the same content."""
    _, _, content_hash, id_, state, segments, encoding = row
    return content_hash, Replay(id_, State(state), segments, encoding)


def answer_for_key(known: tuple[bytes, Replay], content_hash: bytes) -> Replay | KeyConflict:
    """Same key: the first message again for the same content, a conflict for other content."""
    first_hash, replay = known
    return replay if first_hash == content_hash else KeyConflict(replay.id)


# --- the rare ones, one message or one slice at a time ---------------------------------------------------------------


def find(db: Handle, id: str, tenant: str | None) -> Message | None:
    """The message by its id, if it belongs to the tenant (None: any)."""
    for row in arrays(db, sql.BY_ID, (id,)):
        found = rows.message(row)
        if tenant is None or found.tenant == tenant:
            return found
    return None


def expire(db: Handle, deltas: Deltas, now: Instant, limit: int) -> tuple[list[Message], Instant | None]:
    """Pending messages whose end of life has come, as they are afterwards; and the next end of life."""
    found = [rows.message(row) for row in arrays(db, sql.EXPIRED, (now, limit))]
    expired = []
    for message in found:
        cause = message.error.cause or message.error.category if message.error else None
        error = Error(Category.EXPIRED, EXPIRED_MESSAGE, now, cause=cause)
        expired.append(replace(message, state=State.EXPIRED, processed_at=now, error=error))
        deltas.moved(State.PENDING, step(State.PENDING, Event.EXPIRE), message.tenant, message.priority, message.flow)
    changes = [(m.seq, now, *rows.error_values(m.error)[:2], rows.error_values(m.error)[5]) for m in expired if m.error]
    expect(change(db, sql.EXPIRE, changes), len(expired))
    following = db.execute(sql.NEXT_EXPIRY).fetchone()
    return expired, None if following is None else following[0]


def cancel(db: Handle, deltas: Deltas, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
    """pending -> cancelled."""
    message = find(db, id, tenant)
    if message is None:
        return None
    if not may(message.state, Event.CANCEL):
        return WrongState(message)
    after = step(message.state, Event.CANCEL)
    expect(change(db, sql.CANCEL, [(now, message.seq)]), 1)
    deltas.moved(message.state, after, message.tenant, message.priority, message.flow)
    return replace(message, state=after, processed_at=now)


def reopen(
    db: Handle, deltas: Deltas, id: str, tenant: str | None, now: Instant, expires_at: Instant, force: bool
) -> Message | WrongState | None:
    """failed, undelivered, expired -> pending, a new round. A failed UNCERTAIN one may have gone: only with force."""
    message = find(db, id, tenant)
    if message is None:
        return None
    doubtful = message.state is State.FAILED and message.error and message.error.category is Category.UNCERTAIN
    if not may(message.state, Event.REOPEN) or (doubtful and not force):
        return WrongState(message)
    expect(change(db, sql.REOPEN, [(now, expires_at, message.seq, int(message.state))]), 1)
    deltas.moved(message.state, step(message.state, Event.REOPEN), message.tenant, message.priority, message.flow)
    return rows.message(arrays(db, sql.BY_SEQ, (message.seq,))[0])


def save_provider(db: Handle, health: Health) -> None:
    """Keep a provider's health in place of what was known."""
    db.execute(sql.SAVE_PROVIDER, rows.health_row(health))


def beat(db: Handle, now: Instant) -> None:
    """Write the time down: a commit that must succeed. It takes some old minutes of tenants away on the occasion."""
    db.execute(sql.SET_META, ("beat", now))
    db.execute(sql.FORGET_TENANT_MINUTES, (now // MINUTE_MS - TENANT_MINUTES_KEPT, MINUTES_FORGOTTEN_AT_ONCE))
