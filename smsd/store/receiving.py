"""What does a delivery receipt change in the rows?

A receipt finds its attempt by our id, which a provider was told and says again, or else by the provider's own. What it
does to the message is `core.receipt.judge`'s word; this writes it down: the attempt keeps its greatest word, the
message its new state, its provider a halt, and whatever is counted or promised follows, in one transaction: as the
receipt is no news when it comes again, nothing of it may come later. A receipt whose id nobody knows
is kept (`kept`), and applied by the transaction by which the id becomes known: a settlement, another receipt.

A receipt may prove that the provider took a call whose answer never came, or is still under way. A call that is open
has no row of its own yet; it is written down as overtaken first, at the cost of its segments: a crash before its end
must neither free its place in the windows nor its provider's id. Its own answer, which comes too late for the message,
then finds another state or another attempt, and only takes the place of that row (`transitions`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smsd.core.health import Health
from smsd.core.lifecycle import Event
from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.receipt import Judgement, Receipt, Tried, charged_after, halts, in_call, judge
from smsd.core.verdict import Fate
from smsd.store import rows
from smsd.store.binding import found_for_another
from smsd.store.changes import find, save_provider
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.flows import Flows
from smsd.store.incoming import Received
from smsd.store.kept import Kept
from smsd.store.limiting import waits_no_more
from smsd.store.operations import Settle
from smsd.store.optouts import OptOuts
from smsd.store.statements import arrays, change, expect
from smsd.store.statements.changing import BY_SEQ
from smsd.store.statements.claiming import LET_GO
from smsd.store.statements.recovering import PROVIDERS
from smsd.store.statements.settling import BIND_ATTEMPT, INSERT_ATTEMPTS
from smsd.store.telling import Teller
from smsd.store.tracks import Known, Tracks

TRIED = (
    "SELECT n, provider, started_at, outcome, provider_message_id, receipt FROM attempts WHERE seq = ? "
    "ORDER BY n DESC, nr DESC"
)

RECORD = (
    "UPDATE attempts SET receipt = ?, receipt_code = ?, receipt_at = ?, "
    "provider_message_id = coalesce(provider_message_id, ?) WHERE seq = ? AND n = ? AND +provider = ?"
)

RECEIVE = (
    f"UPDATE messages SET been = been | (1 << state), state = ?, {LET_GO}, "
    "uncertain = 0, uncertain_since = NULL, lookups = 0, "
    "flow = ?, due = ?, charged = ?, provider = ?, provider_message_id = ?, sender = ?, sent_at = ?, processed_at = ?, "
    "delivered_at = ?, price = ?, error_category = ?, error_message = ?, error_at = ?, error_code = ?, "
    "error_provider = ?, error_cause = ? WHERE seq = ? AND +state = ? AND attempt = ?"
)

HEALTH_OF = f"{PROVIDERS} WHERE name = ?"

ACCEPTED = str(Fate.ACCEPTED)
DOUBTED = frozenset({str(Fate.UNKNOWN), rows.CRASHED, rows.OVERTAKEN})
"""Outcomes of attempts: one that was taken, and those that are known to have been taken if they have an id."""

NO_ERROR = (None,) * 6


@dataclass(frozen=True, slots=True)
class About:
    """The attempt that a receipt is about."""

    message: Message
    tried: Tried
    provider_message_id: str | None


class Receiving:
    """Applies receipts. Lives on the writing connection's thread; committed() and undone() end each transaction."""

    def __init__(self, charges: Charges, optouts: OptOuts, flows: Flows, teller: Teller) -> None:
        self.tracks = Tracks()
        self.kept = Kept()
        self._charges = charges
        self._optouts = optouts
        self._flows = flows
        self._teller = teller
        self._applied: list[Received] = []
        self._told: list[Received] = []

    def committed(self) -> None:
        """What was written is durable."""
        self._told += self._applied
        self._applied.clear()

    def undone(self) -> None:
        """The transaction is rolled back."""
        self._applied.clear()
        self.kept.undone()

    def take_applied(self) -> list[Received]:
        """Kept receipts that another transition applied since the last call; of what is committed."""
        told, self._told = self._told, []
        return told

    # --- transitions -------------------------------------------------------------------------------------------------

    def receive(
        self, db: Handle, deltas: Deltas, receipts: Iterable[Receipt], now: Instant, spread: float
    ) -> list[Received]:
        """See Outbox.receive."""
        return [self._receive(db, deltas, storable(receipt, now), now, spread) for receipt in receipts]

    def settled(self, db: Handle, deltas: Deltas, settles: Sequence[Settle], providers: Mapping[int, str]) -> None:
        """These were written, in time or late: keep what is tracked, and apply what waited for their ids. `providers`:
        by message, of those in time."""
        if not (self.tracks.tracking.ids or self.tracks.tracking.threads or self.kept.count(db)):
            return
        sent, known = [], []
        for settle in settles:
            settlement, attempt = settle.settlement, settle.attempt
            pmid = settlement.provider_message_id if attempt is None else attempt.provider_message_id
            provider = providers.get(settlement.seq) if attempt is None else attempt.provider
            if pmid and provider:
                known.append(Known(provider, rows.storable(pmid) or "", settlement.seq, settlement.attempt))
            if settle.result and settlement.event is Event.TAKEN and provider:
                sent.append((provider, settlement.seq, settlement.at))
        self.tracks.sent(db, sent)
        self._became_known(db, deltas, known, max((s.settlement.at for s in settles), default=0))

    def _became_known(self, db: Handle, deltas: Deltas, known: Sequence[Known], now: Instant) -> None:
        """Keep these ids where they are tracked, and apply the receipts that waited for them."""
        if not known:
            return
        self.tracks.ids(db, known)
        whose = {(one.provider, one.provider_message_id): one for one in known}
        for receipt in self.kept.take(db, whose):
            one = whose[receipt.provider, receipt.provider_message_id or ""]
            about = find_by_seq(db, one.seq, receipt, one.n)
            if about is not None:
                self._applied.append(self._apply(db, deltas, receipt, about, now, 0.0))

    # --- one receipt -------------------------------------------------------------------------------------------------

    def _receive(self, db: Handle, deltas: Deltas, receipt: Receipt, now: Instant, spread: float) -> Received:
        about = self._find(db, receipt)
        if about is None:
            if receipt.provider_message_id is not None:
                self.kept.keep(db, receipt, now)
            return Received(receipt, None)
        received = self._apply(db, deltas, receipt, about, now, spread)
        if receipt.provider_message_id is not None and about.provider_message_id is None:
            if not received.news:  # its word is known, and the id is not
                db.execute(BIND_ATTEMPT, (receipt.provider_message_id, about.message.seq, about.tried.n))
            known = Known(receipt.provider, receipt.provider_message_id, about.message.seq, about.tried.n)
            self._became_known(db, deltas, [known], now)
        return received

    def _find(self, db: Handle, receipt: Receipt) -> About | None:
        """By our id, unless a look-up found the provider's id for another message; else by that."""
        message = None if receipt.id is None else find(db, receipt.id, None)
        if message is not None:
            about = tried(db, message, receipt, receipt.attempt)
            if about is not None and not takes_anothers_id(db, about, receipt):
                return about
        if receipt.provider_message_id is None:
            return None
        owner = self.tracks.owner(db, receipt.provider, receipt.provider_message_id)
        return None if owner is None else find_by_seq(db, owner[0], receipt, owner[1])

    def _apply(
        self, db: Handle, deltas: Deltas, receipt: Receipt, about: About, now: Instant, spread: float
    ) -> Received:
        message, n = about.message, about.tried.n
        judgement = judge(receipt, message, about.tried, now, spread)
        if not judgement.news:
            return Received(receipt, message, message.state, n)
        if judgement.events:
            if in_call(message):
                write_down(db, message, self._charges.line.boot, now)
            message = self._change(db, deltas, receipt, about, judgement, now)
        word = (int(receipt.status), receipt.code, now, receipt.provider_message_id)
        expect(bool(db.execute(RECORD, (*word, message.seq, n, receipt.provider)).rowcount), True)
        reason = halts(receipt, message, n)
        if reason is not None:
            halt(db, receipt.provider, reason, message.claimed_at or 0, now)
        suppress = judgement.suppress
        return Received(
            receipt,
            message,
            about.message.state,
            n,
            news=True,
            proved=judgement.proved,
            resent=judgement.due is not None,
            suppressed=suppress is not None and self._optouts.add(db, [suppress]) == 1,
        )

    def _change(
        self, db: Handle, deltas: Deltas, receipt: Receipt, about: About, judgement: Judgement, now: Instant
    ) -> Message:
        """Write the message as the receipt leaves it; as it is then."""
        before = about.message
        after = changed(about, receipt, judgement, now)
        if before.state is State.PENDING:
            waits_no_more(self._charges, before)
        if after.state is State.PENDING:
            identity = (after.route, int(after.priority), after.tenant, after.campaign)
            after.flow = self._flows.number(db, identity)  # it may have been swept away
        values = message_values(after)
        expect(db.execute(RECEIVE, (*values, before.seq, int(before.state), before.attempt)).rowcount, 1)
        deltas.moved(before.state, after.state, after.tenant, after.priority, after.flow, after.campaign, now)
        if before.state is after.state:
            deltas.changed_flow(after.flow, after.flow)  # its next due time is another
        if judgement.proved:
            deltas.called(now, receipt.provider, after.tenant, sent=True)
        if after.state is not State.PENDING:
            self.tracks.sent(db, [(receipt.provider, after.seq, now)] if judgement.proved else [])
            self._teller.tell(db, [after.seq], now)
        return after


def halt(db: Handle, provider: str, reason: str, called_at: Instant, now: Instant) -> None:
    """What the provider said of a call, claimed at `called_at`, halts it; unless it is, or was resumed since. One that
    was never enabled has no row, and nothing to be halted."""
    for row in db.execute(HEALTH_OF, (provider,)).fetchall():
        health = Health(*row)
        if health.halted is None and health.is_told_by(called_at):
            save_provider(db, health.halt(reason, since=now))


def storable(receipt: Receipt, now: Instant) -> Receipt:
    """Its texts and its time as the outbox can hold them."""
    return replace(
        receipt,
        id=rows.storable(receipt.id),
        provider_message_id=rows.storable(receipt.provider_message_id) or None,
        code=rows.storable(receipt.code),
        words=rows.storable(receipt.words) or "",
        at=None if receipt.at is None else max(0, min(receipt.at, now)),
        price=rows.storable(receipt.price),
    )


def find_by_seq(db: Handle, seq: int, receipt: Receipt, n: int) -> About | None:
    """Attempt `n` of message `seq`; None: it is there no more."""
    found = arrays(db, BY_SEQ, (seq,))
    return tried(db, rows.message(found[0]), receipt, n) if found else None


def tried(db: Handle, message: Message, receipt: Receipt, n: int | None) -> About | None:
    """The attempt of the message that the receipt is about: number `n`; None: the one that has the provider's id, else
    the latest at this provider. None when it was never made, or made at another provider, or has another id."""
    pmid = receipt.provider_message_id
    found = [about for about in attempts(db, message, receipt.provider) if n in (None, about.tried.n)]
    same = [about for about in found if pmid is not None and about.provider_message_id == pmid]
    free = [about for about in found if pmid is None or about.provider_message_id is None]
    return next(iter(same + free), None)


def attempts(db: Handle, message: Message, provider: str) -> list[About]:
    """The message's attempts at this provider, the latest first, the open one included."""
    found: list[About] = []
    if in_call(message) and message.provider == provider:
        now = Tried(message.attempt, message.claimed_at or 0, taken=False)
        found.append(About(message, now, None))
    past: list[Any] = db.execute(TRIED, (message.seq,)).fetchall()
    for n, name, started_at, outcome, pmid, word in past:
        if name == provider:
            taken = outcome == ACCEPTED or word is not None or (outcome in DOUBTED and pmid is not None)
            found.append(About(message, Tried(n, started_at, taken, word), pmid))
    return found


def takes_anothers_id(db: Handle, about: About, receipt: Receipt) -> bool:
    """Whether the receipt would give the attempt an id that a look-up found for another message."""
    pmid = receipt.provider_message_id
    if pmid is None or about.provider_message_id is not None:
        return False
    return found_for_another(db, about.message.seq, receipt.provider, pmid)


def write_down(db: Handle, message: Message, boot: int, now: Instant) -> None:
    """The open call, as overtaken."""
    overtaken = Attempt(
        message.attempt, message.provider or "", message.claimed_at or now, None, message.segments, None, rows.OVERTAKEN
    )
    change(db, INSERT_ATTEMPTS, [rows.attempt_row(message.seq, now, boot, overtaken)])


def changed(about: About, receipt: Receipt, judgement: Judgement, now: Instant) -> Message:
    """The message as the receipt leaves it."""
    before, state = about.message, judgement.state
    after = replace(
        before,
        state=state,
        charged=charged_after(before),
        provider=receipt.provider,
        provider_message_id=about.provider_message_id or receipt.provider_message_id,
        sender=before.sender or before.asked_sender,
        uncertain=False,
        uncertain_since=None,
        lookups=0,
        error=judgement.error,
        due=now if judgement.due is None else judgement.due,
        sent_at=judgement.at if before.sent_at is None else before.sent_at,
        processed_at=before.processed_at if before.state is State.SENT and judgement.error is None else now,
        price=receipt.price or before.price,
        held=None,
        held_by=None,
        held_since=None,
    )
    if state is State.DELIVERED:
        after.delivered_at = judgement.at
    elif state is State.PENDING:  # nothing of the call that failed is true of the next one
        after.sender, after.provider_message_id, after.price = before.asked_sender, None, None
        after.sent_at = after.processed_at = None
    return after


def message_values(message: Message) -> tuple[object, ...]:
    """What RECEIVE writes."""
    return (
        int(message.state),
        message.flow,
        message.due,
        message.charged,
        message.provider,
        message.provider_message_id,
        message.sender,
        message.sent_at,
        message.processed_at,
        message.delivered_at,
        message.price,
        *(NO_ERROR if message.error is None else rows.error_values(message.error)),
    )
