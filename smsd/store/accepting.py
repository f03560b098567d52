"""What does an acceptance do to the rows?

A batch of drafts becomes messages, set-wise, inside the open transaction. Asked one after the other: is the key known,
is the campaign cancelled, did the recipient opt out, do the limits have room; each draft meets those before it. A draft
whose recipient opted out is refused, and nothing is stored of it; one of a campaign is accepted and has failed, so that
the campaign's counts add up to what was handed in. It refuses to know when a transaction is committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from smsd.core.lifecycle import Event, step
from smsd.core.message import Draft, Message, State
from smsd.store import rows
from smsd.store.answers import CampaignClosed, KeyConflict, Replay, Stored, Suppressed
from smsd.store.changes import turn_away
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.flows import Flows
from smsd.store.gates import Gates
from smsd.store.limiting import Entrance
from smsd.store.operations import Accept
from smsd.store.optouts import Codes, OptOuts, opted_out_of, refused
from smsd.store.statements import change, expect, look_up, pieces, with_rows
from smsd.store.statements.accepting import (
    BY_SEQS,
    FIND_KEYS,
    HOLD_NEW,
    INSERT_KEYS,
    INSERT_MESSAGES,
    LAST_SEQ,
    NOTE_NEW,
)
from smsd.store.telling import Teller

KnownKeys = dict[tuple[str, str], tuple[bytes, Replay]]

Same = Callable[[bytes, bytes], bool]
"""Whether a content's hash that was kept (it may be redacted) is this one (`redaction.Redaction.same`)."""


@dataclass(slots=True)
class _Rows:
    """What a batch writes."""

    messages: list[tuple[object, ...]] = field(default_factory=list)
    keys: list[tuple[object, ...]] = field(default_factory=list)
    held: list[tuple[object, ...]] = field(default_factory=list)
    noted: list[tuple[object, ...]] = field(default_factory=list)
    failed: dict[int, tuple[Accept, tuple[str, ...], Codes]] = field(default_factory=dict)
    """By number: whose recipients opted out, of whose texts."""


class Accepting:
    """Applies acceptances. Lives on the writing connection's thread."""

    def __init__(
        self, charges: Charges, optouts: OptOuts, flows: Flows, gates: Gates, teller: Teller, same: Same
    ) -> None:
        self._charges = charges
        self._optouts = optouts
        self._flows = flows
        self._gates = gates
        self._teller = teller
        self._same = same
        self._next_seq = 1

    def start(self, db: Handle) -> None:
        """Learn from the database where numbering goes on."""
        self._next_seq = (db.execute(LAST_SEQ).fetchone()[0] or 0) + 1

    def accept(self, db: Handle, accepts: Sequence[Accept], deltas: Deltas) -> None:
        """Write them, and leave each its result. At least one."""
        known = find_keys(db, [a.draft for a in accepts if a.draft.idempotency_key is not None])
        optouts = self._optouts.of(db, (a.draft.recipient for a in accepts))
        entrance = Entrance(db, self._charges, [a.draft for a in accepts]) if self._charges.at_acceptance else None
        batch = _Rows()
        for accept in accepts:
            draft = accept.draft
            if draft.idempotency_key is not None:
                earlier = known.get((draft.tenant, draft.idempotency_key))
                if earlier is not None:
                    accept.result = answer_for_key(earlier, draft.content_hash or b"", self._same)
                    continue
            if draft.campaign is not None and self._gates.is_closed(draft.tenant, draft.campaign):
                accept.result = CampaignClosed(draft.campaign)
                continue
            codes = {} if draft.exempt else optouts.get(draft.recipient, {})
            scopes = refused(draft.route, codes) if codes else ()
            if scopes and draft.campaign is None:
                accept.result = Suppressed(scopes)
                continue
            if entrance is not None:
                answer = entrance.turned_away(draft)
                if answer is not None:
                    accept.result = answer
                    continue
                entrance.accepted(draft, self._next_seq, State.FAILED if scopes else State.PENDING)
            if scopes:
                batch.failed[self._next_seq] = accept, scopes, codes
            self._add(db, batch, accept, deltas, known, is_failed=bool(scopes))
        self._write(db, batch, deltas)

    def _add(
        self, db: Handle, batch: _Rows, accept: Accept, deltas: Deltas, known: KnownKeys, *, is_failed: bool
    ) -> None:
        """The draft becomes the next message."""
        draft, seq = accept.draft, self._next_seq
        key = draft.idempotency_key
        if key is not None:
            state = State.FAILED if is_failed else State.PENDING
            replay = Replay(draft.id, state, draft.segments, int(draft.encoding))
            known[draft.tenant, key] = (draft.content_hash or b"", replay)
            batch.keys.append((draft.tenant, key, draft.content_hash or b"", seq))
        flow = self._flows.number(db, (draft.route, int(draft.priority), draft.tenant, draft.campaign))
        batch.messages.append(rows.accepted_row(draft, seq, flow))
        deltas.accepted(draft.tenant, draft.priority, flow, draft.campaign, draft.created_at)
        if draft.held is not None and not is_failed:
            batch.held.append((seq, draft.held, draft.held_by))
        if draft.callback_url is not None or draft.exempt:
            batch.noted.append((seq, draft.callback_url, draft.exempt))
        accept.result = Stored(seq, flow)
        self._next_seq += 1

    def _write(self, db: Handle, batch: _Rows, deltas: Deltas) -> None:
        change(db, INSERT_MESSAGES, batch.messages)
        change(db, INSERT_KEYS, batch.keys)
        expect(change(db, HOLD_NEW, batch.held), len(batch.held))
        expect(change(db, NOTE_NEW, batch.noted), len(batch.noted))
        if any(url is not None for _, url, _ in batch.noted):
            self._teller.url_seen(db)
        if batch.failed:
            self._fail(db, batch, deltas)
        self._charges.write(db)

    def _fail(self, db: Handle, batch: _Rows, deltas: Deltas) -> None:
        """Those of campaigns whose recipients opted out have failed at once."""
        failed: list[Message] = []
        for row in look_up(db, BY_SEQS, [(seq,) for seq in batch.failed]):
            message = rows.message(row)
            accept, scopes, codes = batch.failed[message.seq]
            message.state = step(message.state, Event.FAIL)
            message.processed_at = message.created_at
            message.error = opted_out_of(scopes, codes, message.created_at)
            accept.result = Stored(message.seq, message.flow, message)
            failed.append(message)
        turn_away(db, failed, deltas)
        self._teller.tell(db, [message.seq for message in failed], max(message.created_at for message in failed))


def find_keys(db: Handle, drafts: Sequence[Draft]) -> KnownKeys:
    """Which of the drafts' keys are taken, by what content and which message."""
    wanted = [(draft.tenant, draft.idempotency_key) for draft in drafts]
    known: KnownKeys = {}
    for piece in pieces(wanted):
        statement = with_rows(FIND_KEYS, 2, len(piece))
        for row in db.execute(statement, [value for pair in piece for value in pair]).fetchall():
            known[row[0], row[1]] = key_row(row)
    return known


def key_row(row: Sequence[Any]) -> tuple[bytes, Replay]:
    """A row of FIND_KEYS: the content's hash, and the answer to the same content."""
    _, _, content_hash, id_, state, segments, encoding = row
    return content_hash, Replay(id_, State(state), segments, encoding)


def answer_for_key(known: tuple[bytes, Replay], content_hash: bytes, same: Same) -> Replay | KeyConflict:
    """Same key: the first message again for the same content, a conflict for other content."""
    first_hash, replay = known
    return replay if same(first_hash, content_hash) else KeyConflict(replay.id)
