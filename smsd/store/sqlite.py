"""How does the outbox live in SQLite?

The binding of both protocols of `store` to one database file, on three floors: the file and its two connections
(`lifetime`), the read side on it (`asking`), and here the transitions, each handed as one wish to the writer, which
commits many at once. What is written for a wish is known in `transitions`, `changes`, `telling` and the like.

The floors are base classes, each of which knows only those below: whoever holds the outbox holds one object, and parts
inside it would say every signature twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smsd.core.admission import AdmissionRules
from smsd.core.callback import Callback
from smsd.core.health import Health
from smsd.core.lifecycle import step
from smsd.core.message import Attempt, Draft, Instant, Message, State
from smsd.core.receipt import Receipt
from smsd.core.settlement import Settlement
from smsd.core.suppression import Suppression
from smsd.store import arriving, changes, release, steps, telling
from smsd.store.answers import AcceptResult, Blocked, WrongState
from smsd.store.asking import SqliteRecords
from smsd.store.charges import PURGED_AT_ONCE
from smsd.store.incoming import Arrival, Arrived, Received, Tracking
from smsd.store.opening import Step
from smsd.store.operations import Accept, Begin, Settle
from smsd.store.pending import Claim

PURGES = 10
"""Of one beat, at most: they take away what 2,000 charges a second leave behind."""

RECEIPT_ROWS = 5
"""That one receipt writes at most, counts aside: its open call and what it says of it, message, id and callback."""


class SqliteOutbox(SqliteRecords):
    """Outbox and Records over one SQLite file. Belongs to one event loop, from open() to close(). What it is made with:
    see SqliteFile."""

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
