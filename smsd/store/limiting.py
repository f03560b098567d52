"""What do limits and quiet hours do to claims and acceptances?

The limits' part in the two transitions that meet them, inside the open transaction: which rules bind each message, what
`core.admission` decides by the windows of `charges`, and the writing of what follows. Messages of one batch are judged
one after the other, so each sees what was charged for those before it. A batch that no rule concerns never comes here.

When quiet hours begin, a whole backlog is put off until the morning, and a provider's rate lets few of it come to a
claim at once. So the next of the same flow are put off beside one that is, in the same commit: so few, over all flows
of the batch, that neither a claim nor an acceptance of its neighbours waits for them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smsd.core.admission import (
    PERS,
    At,
    Bound,
    Decision,
    Go,
    HoldUp,
    Key,
    Refuse,
    Wait,
    admit,
    bound,
    rejected,
    repeated,
)
from smsd.core.campaign import Gate
from smsd.core.limits import Action, Per, Subject
from smsd.core.message import Draft, Instant, Message, State
from smsd.core.quiet import start
from smsd.core.waiting import Reason
from smsd.core.windows import Window
from smsd.store import rows
from smsd.store.answers import NEVER, Blocked, Limited, Replay
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.gates import Gates
from smsd.store.pending import Claim
from smsd.store.statements import change, expect
from smsd.store.statements.accepting import FIRST_OF_ITS_KIND
from smsd.store.statements.claiming import HOLD_UP, REFUSE
from smsd.store.telling import Teller

QUIET_AT_ONCE = 64
"""Messages that are looked at in one batch of claims beside those that quiet hours put off, over all their flows
together: some milliseconds. Who is left over is looked at beside later claims of its flow."""

NEXT_OF_FLOW = (
    "SELECT seq, attempt, recipient, held FROM messages INDEXED BY messages_pending "
    "WHERE state = 0 AND flow = ? AND due <= ? AND (due, seq) > (?, ?) ORDER BY due, seq LIMIT ?"
)

Answer = Message | Blocked | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A claim: its message's number, the answers of its operation, its place among them, itself, and the time."""

    seq: int
    answers: list[Answer]
    place: int
    claim: Claim
    now: Instant
    boot_us: int | None


@dataclass(frozen=True, slots=True)
class _Judged:
    message: Message
    bounds: Sequence[Bound]
    wanted: Wanted


def sender_of(claim: Claim, row: Sequence[Any]) -> str:
    """As whom the claimed message of this row is sent, unless its caller named somebody."""
    return claim.sender if claim.pick is None else claim.pick(row[rows.RECIPIENT])


def held_up(gates: Gates, won: Sequence[Wanted], pending: Mapping[int, list[Any]]) -> tuple[list[Wanted], list[Wanted]]:
    """Those of the claims whose campaigns may go now, and those whose campaigns are cancelled. The others are answered:
    nothing is written of them."""
    kept: list[Wanted] = []
    closed: list[Wanted] = []
    found: dict[tuple[str, str | None, Instant], Blocked | None] = {}
    for entry in won:
        row = pending[entry.seq]
        tenant, campaign = row[rows.TENANT], row[rows.CAMPAIGN]
        if campaign is None:
            kept.append(entry)
        elif gates.is_closed(tenant, campaign):
            closed.append(entry)
        else:
            name = (tenant, campaign, entry.now)
            if name not in found:
                found[name] = _blocked(gates.gate(tenant, campaign, entry.now))
            if found[name] is None:
                kept.append(entry)
            else:
                entry.answers[entry.place] = found[name]
    return kept, closed


def _blocked(found: tuple[str, Gate] | None) -> Blocked | None:
    if found is None:
        return None
    group, gate = found
    return Blocked(None, group, NEVER if gate.until is None else gate.until, gate)


class Turnstile:
    """Judges the claims of one batch that nothing else stands in the way of."""

    def __init__(self, db: Handle, charges: Charges, deltas: Deltas, teller: Teller, gates: Gates) -> None:
        self._db = db
        self._charges = charges
        self._deltas = deltas
        self._teller = teller
        self._gates = gates
        self._waits: list[tuple[object, ...]] = []
        self._refusals: list[tuple[object, ...]] = []
        self._failed: list[int] = []
        self._quiet: dict[int, tuple[Message, Instant]] = {}
        """By flow: the first that quiet hours put off, as it was, and the time."""

    def pass_on(
        self, won: Sequence[Wanted], pending: Mapping[int, list[Any]], admitted: Mapping[int, int]
    ) -> list[Wanted]:
        """Those of the claims that may go, charged. The others are answered, and what follows for them is written.

        `admitted`: by number, the round (counted from 1) in which the message was last claimed.
        """
        charges = self._charges
        judged = [self._read(entry, pending[entry.seq], admitted[entry.seq]) for entry in won]
        windows: Mapping[Key, Window] = {}
        keys = [one.key for each in judged for one in each.bounds]
        if keys:
            windows = charges.windows(self._db, keys, charges.line.at(won[0].now, won[0].boot_us))
        kept = []
        for each in judged:
            at = charges.line.at(each.wanted.now, each.wanted.boot_us)
            decision = admit(each.message, each.bounds, windows, charges.rules, at, each.wanted.claim.spread)
            if isinstance(decision, HoldUp | Refuse):
                for key, until in decision.full:
                    windows[key].hold_up(at.moment, until)
            if isinstance(decision, Go):
                charges.charge(decision.keys, each.message.seq, at)  # whatever it was promised, as whoever else
                kept.append(each.wanted)
            else:
                each.wanted.answers[each.wanted.place] = self._turn_back(each, decision)
        self._put_off_next({entry.seq for entry in won})
        charges.write(self._db)
        expect(change(self._db, HOLD_UP, self._waits), len(self._waits))
        expect(change(self._db, REFUSE, self._refusals), len(self._refusals))
        self._teller.tell(self._db, self._failed, max((entry.now for entry in won), default=0))
        return kept

    def _read(self, entry: Wanted, row: Sequence[Any], admitted: int) -> _Judged:
        message = rows.message(row)
        rules = self._charges.at_claim
        if admitted > message.round:  # it was asked about all but whom it is sent as now
            rules = tuple(rule for rule in rules if rule.per is Per.SENDER)
        elif message.campaign is not None:
            own = self._gates.rule(message.tenant, message.campaign)
            rules = rules if own is None else (*rules, own)
        if not rules:
            return _Judged(message, (), entry)
        sender = message.asked_sender or sender_of(entry.claim, row)
        return _Judged(message, bound(rules, subject(message, sender)), entry)

    def _turn_back(self, each: _Judged, decision: Decision) -> Answer:
        message = each.message
        match decision:
            case HoldUp():
                return Blocked(decision.rule, decision.group, decision.until)
            case Wait():
                if decision.held == Reason.QUIET_HOURS:
                    self._quiet.setdefault(message.flow, (replace(message), each.wanted.now))
                self._put_off(message, decision)
                self._charges.release(message.seq, but={one.key for one in each.bounds})
            case Refuse():
                self._refuse(message, decision)
                self._charges.release(message.seq)
        return message

    def _put_off(self, message: Message, wait: Wait) -> None:
        message.due, message.held, message.held_by, message.held_since = wait.due, wait.held, wait.held_by, wait.since
        for key, turn in wait.promises:
            self._charges.promise(key, message.seq, turn)
        self._waits.append((message.seq, message.attempt, wait.due, wait.held, wait.held_by, wait.since))
        self._deltas.changed_flow(message.flow, message.flow)  # its next due time is another

    def _put_off_next(self, claimed: Collection[int]) -> None:
        """Those behind one that quiet hours put off, as far as these hold them up too. Without the `claimed` ones,
        which are judged themselves, and those that a limit holds up: they have turns that would have to be given back.

        Each flow has an equal share of what may be looked at, and of what those before it have left."""
        left = QUIET_AT_ONCE
        for flows_before, (flow, (first, now)) in enumerate(self._quiet.items()):
            share = -(-left // (len(self._quiet) - flows_before))
            found = self._db.execute(NEXT_OF_FLOW, (flow, now, first.due, first.seq, share)).fetchall()
            left -= len(found)
            for seq, attempt, recipient, was in found:
                due, held, held_by = start(self._charges.rules.quiet, first.tenant, recipient, first.priority, now)
                if held is not None and was in {None, Reason.QUIET_HOURS} and seq not in claimed:
                    self._waits.append((seq, attempt, due, held, held_by, None))
            if not left:
                return

    def _refuse(self, message: Message, refusal: Refuse) -> None:
        error = message.error = refusal.error
        message.due, message.charged = refusal.due, refusal.charged
        message.held = message.held_by = message.held_since = None
        values = (int(refusal.state), refusal.due, refusal.charged, str(error.category), error.message, error.at)
        self._refusals.append((message.seq, message.attempt, *values))
        if refusal.state is State.PENDING:
            self._deltas.changed_flow(message.flow, message.flow)  # its next due time is another
            return
        message.state, message.processed_at = refusal.state, error.at
        self._failed.append(message.seq)
        where = (message.tenant, message.priority, message.flow, message.campaign)
        self._deltas.moved(State.PENDING, refusal.state, *where, error.at)
        self._deltas.called(error.at, "", message.tenant, failed=True)
        self._deltas.failed(message.tenant, str(error.category))


class Entrance:
    """Judges the acceptances of one batch, one after the other."""

    def __init__(self, db: Handle, charges: Charges, drafts: Sequence[Draft]) -> None:
        """`drafts`: at least one."""
        self._db = db
        self._charges = charges
        self._bounds = {draft.id: _bound_at_acceptance(charges, draft) for draft in drafts}
        self._boot_us = charges.boot_us()
        keys = (one.key for each in self._bounds.values() for one in each)
        self._windows = charges.windows(db, keys, self._now(drafts[0]))
        self._fresh: dict[int, Replay] = {}

    def turned_away(self, draft: Draft) -> Replay | Limited | None:
        """The answer to a draft that is not accepted."""
        bounds, at = self._bounds[draft.id], self._now(draft)
        first = repeated(bounds, self._windows, at)
        if first is not None and (replay := self._first(first)) is not None:
            return replay
        full = rejected(bounds, self._windows, at)
        return None if full is None else Limited(*full)

    def accepted(self, draft: Draft, seq: int, state: State) -> None:
        """The draft is message `seq`, in this state: it is counted."""
        keys = dict.fromkeys(one.key for one in self._bounds[draft.id] if one.key in self._windows)
        self._charges.charge(keys, seq, self._now(draft))
        self._fresh[seq] = Replay(draft.id, state, draft.segments, int(draft.encoding))

    def _now(self, draft: Draft) -> At:
        return self._charges.line.at(draft.created_at, self._boot_us)

    def _first(self, seq: int) -> Replay | None:
        """The message that was charged first; None: it is there no more."""
        if seq in self._fresh:
            return self._fresh[seq]
        row = self._db.execute(FIRST_OF_ITS_KIND, (seq,)).fetchone()
        return None if row is None else Replay(row[0], State(row[1]), row[2], row[3])


def _bound_at_acceptance(charges: Charges, draft: Draft) -> tuple[Bound, ...]:
    """A submission with a key of its own is never taken for a repeat of another."""
    subject = Subject(draft.recipient, draft.tenant, draft.user, draft.campaign, draft.sender, draft.text)
    bounds = bound(charges.at_acceptance, subject)
    if draft.idempotency_key is None:
        return bounds
    return tuple(one for one in bounds if one.rule.action is not Action.REPLAY)


def subject(message: Message, sender: str | None) -> Subject:
    """What the message is to the rules."""
    return Subject(message.recipient, message.tenant, message.user, message.campaign, sender, message.text)


def waits_no_more(charges: Charges, message: Message) -> None:
    """The pending message, as it was, has ended otherwise, or waits for something else: its turns are free."""
    if charges.release(message.seq) or message.held_since is None or not charges.queues:
        return
    bounds = bound(charges.at_claim, subject(message, message.asked_sender))
    keys = charges.queues.intersection(one.key for one in bounds)
    if not keys and message.held == Reason.SENDER_LIMIT:  # as whom it was to be sent is not kept
        keys = set([key for key in charges.queues if PERS[key.kind // 2] is Per.SENDER][:1])
    charges.leave(keys)


def cancelled(db: Handle, charges: Charges, message: Message) -> None:
    """The message was cancelled: it no longer counts as accepted, nor waits for a turn."""
    waits_no_more(charges, message)
    if charges.at_acceptance:
        bounds = bound(charges.at_acceptance, subject(message, message.asked_sender))
        charges.take_back(db, dict.fromkeys(one.key for one in bounds), message.seq)
