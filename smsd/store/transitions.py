"""What does each transition do to the rows?

A Ledger applies many operations inside one open transaction, set-wise: acceptances first, then settlements, whatever
else is to be changed, and claims last. Every change of a live message is fenced: it repeats the state and the attempt
it was decided for, so news that come too late change nothing. BEGIN, COMMIT, failures and waking the callers belong to
`writer`; what should happen to a message belongs to `core.policy`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from smsd.core.callback import TOLD
from smsd.core.campaign import Campaign
from smsd.core.lifecycle import Event, step
from smsd.core.message import Instant, Message, State
from smsd.core.settlement import Settlement
from smsd.core.verdict import Category
from smsd.store import changes, rows
from smsd.store.accepting import Accepting, Same
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.flows import Flows
from smsd.store.gates import Gates
from smsd.store.incoming import Tracking
from smsd.store.limiting import Answer, Turnstile, Wanted, held_up, sender_of, waits_no_more
from smsd.store.operations import Accept, Begin, Change, Operation, Settle
from smsd.store.optouts import Codes, OptOuts, forbids, opted_out, way_around
from smsd.store.receiving import Receiving
from smsd.store.statements import change, expect, look_up
from smsd.store.statements.claiming import CLAIM, CLAIMABLE, REROUTE
from smsd.store.statements.settling import (
    BIND_ATTEMPT,
    FORGET_OVERTAKEN,
    INSERT_ATTEMPTS,
    KEEP_RECEIPT,
    OVERTAKEN_ONES,
    SETTLE,
    SETTLEABLE,
)
from smsd.store.telling import Teller
from smsd.store.timeline import Timeline

T = TypeVar("T")


class Ledger:
    """Applies operations. Lives on the writing connection's thread; committed() and undone() end each transaction."""

    def __init__(self, boot_us: Callable[[], int] | None = None, same: Same = operator.eq) -> None:
        """`boot_us` reads CLOCK_BOOTTIME, microseconds. `same`: see accepting.Same."""
        self.boot = 0
        """The number of the present boot."""
        self.optouts = OptOuts()
        self.charges = Charges(boot_us)
        self.teller = Teller()
        self.flows = Flows()
        self.gates = Gates()
        self.receiving = Receiving(self.charges, self.optouts, self.flows, self.teller)
        self._accepting = Accepting(self.charges, self.optouts, self.flows, self.gates, self.teller, same)

    def start(self, db: Handle, line: Timeline) -> None:
        """Learn from the database where numbering goes on; `line` is that of the present boot."""
        self.boot = line.boot
        self.charges.start(line)
        self.teller.start(db)
        self._accepting.start(db)
        self.flows.start(db)
        self.gates.start(db)
        self.charges.bind(self.gates.rules())

    def campaign_changed(self, campaign: Campaign) -> None:
        """What was said about the campaign is other now."""
        self.gates.changed(campaign)
        rule = campaign.terms.rule(campaign.tenant)
        if rule is not None:
            self.charges.bind([rule])

    def track(self, tracking: Tracking) -> None:
        """See Outbox.track."""
        self.teller.track(tracking.callbacks)
        self.receiving.tracks.tracking = tracking

    def beat(self, db: Handle, now: Instant, boot_us: int | None) -> bool:
        """Commit the time, and take some of what is old away; whether more charges wait to be looked at."""
        self.receiving.kept.sweep(db, now)
        return changes.beat(db, self.charges, self.flows, self.teller, now, boot_us)

    def apply(self, db: Handle, operations: Sequence[Operation]) -> None:
        """Write the operations into the open transaction and leave each its result.

        Claims come last, whenever they were asked for: nothing that is durable together with a claim may speak against
        the call. A receipt, a cancellation or a suppression of the same batch keeps it from being made. Acceptances,
        which come first, do not meet the suppressions of their batch.
        """
        deltas = Deltas()
        accepts = [o for o in operations if isinstance(o, Accept)]
        if accepts:
            self._accepting.accept(db, accepts, deltas)
        for settles in distinct([o for o in operations if isinstance(o, Settle)], key=lambda s: s.settlement.seq):
            self._settle(db, settles, deltas)
        for operation in operations:
            if isinstance(operation, Change):
                operation.result = operation.run(db, deltas)
        self._begin(db, [o for o in operations if isinstance(o, Begin)], deltas)
        deltas.write(db)
        self.teller.write(db)

    def committed(self) -> None:
        """What apply() wrote is durable."""
        self.flows.committed()
        self.gates.committed()
        self.charges.committed()
        self.teller.committed()
        self.receiving.committed()

    def undone(self) -> None:
        """The transaction is rolled back. Its numbers stay used: a gap harms nobody."""
        self.flows.undone()
        self.optouts.undone()
        self.gates.undone()
        self.charges.undone()
        self.teller.undone()
        self.receiving.undone()

    # --- begin -------------------------------------------------------------------------------------------------------

    def _begin(self, db: Handle, begins: Sequence[Begin], deltas: Deltas) -> None:
        wanted: list[Wanted] = []
        for begin in begins:
            answers: list[Answer] = [None] * len(begin.claims)
            begin.result = answers
            wanted += [
                Wanted(c.seq, answers, place, c, begin.now, begin.boot_us) for place, c in enumerate(begin.claims)
            ]
        for claims in distinct(wanted, key=lambda entry: entry.seq):
            found = look_up(db, CLAIMABLE, [(one.seq, one.claim.attempt, one.now) for one in claims])
            admitted = {row[0]: row.pop() for row in found}
            pending = {row[0]: row for row in found}
            won = due_now([entry for entry in claims if entry.seq in pending], pending)
            if won and self.gates.any():
                won, closed = held_up(self.gates, won, pending)
                self._cancel(db, closed, pending, deltas)
            optouts = self.optouts.of(db, (row[rows.RECIPIENT] for row in found)) if found else {}
            if optouts:
                won = self._turn_away(db, won, pending, optouts, deltas)
            if won and not (self.charges.idle and self.gates.are_unrated()):
                turnstile = Turnstile(db, self.charges, deltas, self.teller, self.gates)
                won = turnstile.pass_on(won, pending, admitted)
            self._claim(db, won, pending, deltas)

    def _claim(self, db: Handle, won: Sequence[Wanted], pending: Mapping[int, list[Any]], deltas: Deltas) -> None:
        """Those that nothing stands in the way of become open attempts."""
        senders = [sender_of(entry.claim, pending[entry.seq]) for entry in won]
        changes = [
            (entry.seq, entry.claim.attempt, entry.claim.provider, sender, entry.now)
            for entry, sender in zip(won, senders, strict=True)
        ]
        expect(change(db, CLAIM, changes), len(won))
        for entry, sender in zip(won, senders, strict=True):
            message = rows.claimed(pending[entry.seq], entry.claim.provider, sender, entry.now)
            where = (message.tenant, message.priority, message.flow, message.campaign)
            deltas.moved(State.PENDING, State.PROCESSING, *where, entry.now)
            entry.answers[entry.place] = message

    def _cancel(self, db: Handle, closed: Sequence[Wanted], pending: Mapping[int, list[Any]], deltas: Deltas) -> None:
        """Their campaign is cancelled, and they are answered as cancelled too: they came back, or were not reached yet,
        since it was."""
        if closed:
            messages = [rows.message(pending[entry.seq]) for entry in closed]
            now = max(entry.now for entry in closed)
            after = changes.cancel_all(db, deltas, self.charges, self.teller, messages, now)
            for entry, message in zip(closed, after, strict=True):
                entry.answers[entry.place] = message

    def _turn_away(
        self,
        db: Handle,
        won: Sequence[Wanted],
        pending: Mapping[int, list[Any]],
        optouts: Mapping[str, Codes],
        deltas: Deltas,
    ) -> list[Wanted]:
        """Those of the claims whose recipients may be texted by their provider. The others are answered: their messages
        go by what is left of their route, or fail."""
        kept: list[Wanted] = []
        moved: list[tuple[Message, str]] = []
        failed: list[Message] = []
        for entry in won:
            row, provider = pending[entry.seq], entry.claim.provider
            codes = optouts.get(row[rows.RECIPIENT])
            if codes is None or row[rows.EXEMPT] or not forbids(codes, provider):
                kept.append(entry)
                continue
            message = entry.answers[entry.place] = rows.message(row)
            route = None if message.pinned else way_around(message.route, codes)
            if route is None:
                message.state = step(message.state, Event.FAIL)
                message.processed_at = entry.now
                message.error = opted_out(codes, provider, entry.now)
                waits_no_more(self.charges, message)
                message.held = message.held_by = message.held_since = None
                failed.append(message)
            else:
                moved.append((message, route))
        self._move(db, moved, deltas)
        changes.turn_away(db, failed, deltas)
        self.teller.tell(db, [message.seq for message in failed], max((entry.now for entry in won), default=0))
        return kept

    def _move(self, db: Handle, moved: Sequence[tuple[Message, str]], deltas: Deltas) -> None:
        """Pending messages go by another route from now on."""
        for message, route in moved:
            flow = self.flows.number(db, (route, int(message.priority), message.tenant, message.campaign))
            deltas.changed_flow(message.flow, flow)
            message.route, message.flow = route, flow
        expect(change(db, REROUTE, [(m.seq, m.route, m.flow) for m, _ in moved]), len(moved))

    # --- settle ------------------------------------------------------------------------------------------------------

    def _settle(self, db: Handle, settles: Sequence[Settle], deltas: Deltas) -> None:
        found = look_up(db, SETTLEABLE, [(s.settlement.seq, s.settlement.attempt) for s in settles])
        open_ones = {row[0]: row for row in found}
        rerouted = [s.settlement for s in settles if s.settlement.route is not None and s.settlement.seq in open_ones]
        if rerouted:
            self._find_flows(db, rerouted, open_ones)
        late = [s for s in settles if s.settlement.seq not in open_ones]
        receipts = replace_overtaken(db, late) if late else []
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
            _, tenant, priority, flow, provider, campaign = row
            if settlement.flow is not None:
                flow = settlement.flow
            deltas.moved(State.PROCESSING, settlement.state, tenant, priority, flow, campaign, settlement.at)
            count_settlement(deltas, settlement, provider, tenant)
            if settle.attempt is None and settlement.provider_message_id is not None:
                db.execute(
                    BIND_ATTEMPT,
                    (rows.storable(settlement.provider_message_id), settlement.seq, settlement.attempt),
                )
        expect(change(db, SETTLE, in_time), len(in_time))
        ended = [s.settlement for s in settles if s.result and s.settlement.state in TOLD]
        self.teller.tell(db, [s.seq for s in ended], max((s.at for s in ended), default=0))
        change(db, INSERT_ATTEMPTS, attempts)
        expect(change(db, KEEP_RECEIPT, receipts), len(receipts))
        expect(change(db, REROUTE, [(s.seq, s.route, s.flow) for s in rerouted]), len(rerouted))
        # Also of those that came too late: what the recipient wants does not depend on the message.
        for settle in settles:
            if settle.settlement.suppress is not None and not self.optouts.add(db, [settle.settlement.suppress]):
                settle.settlement.suppress = None  # it is no news
        self.receiving.settled(db, deltas, settles, {seq: row[4] for seq, row in open_ones.items()})

    def _find_flows(self, db: Handle, rerouted: Sequence[Settlement], open_ones: Mapping[int, list[Any]]) -> None:
        """Find or make the flows of settlements that name a route, and tell them."""
        for settlement in rerouted:
            _, tenant, priority, _, _, campaign = open_ones[settlement.seq]
            identity = (settlement.route or "", priority, tenant, campaign)
            settlement.flow = self.flows.number(db, identity)


def replace_overtaken(db: Handle, late: Sequence[Settle]) -> list[tuple[object, ...]]:
    """What was written down of calls that a proof from outside overtook gives way to their own ends, which come now;
    the proved ids are kept, and what receipts said of them is returned, for KEEP_RECEIPT."""
    receipts: list[tuple[object, ...]] = []
    ended = {(s.settlement.seq, s.attempt.n): s for s in late if s.attempt is not None}
    for seq, n, proved, *receipt in look_up(db, OVERTAKEN_ONES, list(ended)):
        db.execute(FORGET_OVERTAKEN, (seq, n))
        if receipt[0] is not None:
            receipts.append((seq, n, *receipt))
        settle = ended[seq, n]
        if proved is not None and settle.attempt is not None and settle.attempt.provider_message_id is None:
            settle.attempt = replace(settle.attempt, provider_message_id=proved)
    return receipts


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


def count_settlement(deltas: Deltas, settlement: Settlement, provider: str, tenant: str) -> None:
    """What a settlement that was in time adds to the kept counts."""
    if settlement.event is Event.TAKEN:
        deltas.called(settlement.at, provider, tenant, sent=True)
    elif settlement.event is Event.FAIL:
        deltas.called(settlement.at, provider, tenant, failed=True)
        if settlement.error is not None:
            deltas.failed(tenant, str(settlement.error.category))
    elif settlement.released:
        return  # no call was made
    elif settlement.error is not None and settlement.error.category is Category.RATE_LIMITED:
        deltas.called(settlement.at, provider, tenant)


def due_now(found: Sequence[Wanted], pending: Mapping[int, list[Any]]) -> list[Wanted]:
    """Those whose time has come. The others were given another time since they were taken for the claim; they are
    answered as they are."""
    kept: list[Wanted] = []
    for entry in found:
        row = pending[entry.seq]
        if row[rows.DUE] <= max(entry.now, entry.claim.due):
            kept.append(entry)
        else:
            entry.answers[entry.place] = rows.message(row)
    return kept
