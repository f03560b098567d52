"""What does a proof from outside change?

A receipt can say that the provider took a call whose answer never came, or is still under way. Then the message is
sent, whatever was believed of it: waiting for another attempt, uncertain, failed. An id that another message holds
proves nothing. Who may bring a proof, and what a receipt says beyond "taken", is not known here.

A call that is still open has no row of its own yet. When its message is proved, the call is written down as overtaken,
at the cost of its segments: a crash before its end must neither free its place in the windows nor its provider's id.
Its own end, which comes too late for the message, takes the place of that row (`transitions`).
"""

from __future__ import annotations

from typing import Any

from smsd.core.lifecycle import Event, may, step
from smsd.core.message import Attempt, Instant, Message
from smsd.core.receipt import charged_after, in_call
from smsd.store import Proved, rows
from smsd.store import statements as sql
from smsd.store.binding import bound_to_another
from smsd.store.changes import find
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.limiting import waits_no_more
from smsd.store.rows import OVERTAKEN
from smsd.store.statements import arrays, change, expect


def prove(
    db: Handle, deltas: Deltas, charges: Charges, id: str, attempt: int, provider: str, pmid: str, now: Instant
) -> Proved | None:
    """See Outbox.prove."""
    message, pmid = find(db, id, None), rows.storable(pmid) or ""
    if message is None:
        return None
    started_at = started(db, message, attempt, provider, pmid)
    if started_at is None or bound_to_another(db, message.seq, provider, pmid, started_at):
        return None
    before = message.state
    if not may(before, Event.TAKEN):
        return Proved(message, before)
    if in_call(message):
        write_down(db, message, charges.line.boot, now)
    db.execute(sql.BIND_ATTEMPT, (pmid, message.seq, attempt))
    values = (now, charged_after(message), provider, pmid, now, now, message.seq, int(before))
    expect(db.execute(sql.PROVE, values).rowcount, 1)
    waits_no_more(charges, message)
    after = step(before, Event.TAKEN)
    deltas.moved(before, after, message.tenant, message.priority, message.flow)
    deltas.called(now, provider, message.tenant, sent=True)
    return Proved(rows.message(arrays(db, sql.BY_SEQ, (message.seq,))[0]), before)


def started(db: Handle, message: Message, attempt: int, provider: str, pmid: str) -> Instant | None:
    """When this attempt was made, by the wall clock; None: never, or at another provider, or it has another id."""
    if in_call(message) and attempt == message.attempt:
        return message.claimed_at if message.provider == provider else None
    found: list[Any] = db.execute(sql.ATTEMPT_TO_PROVE, (message.seq, attempt)).fetchall()
    for name, started_at, known in found:
        if name == provider and known in (None, pmid):
            return int(started_at)
    return None


def write_down(db: Handle, message: Message, boot: int, now: Instant) -> None:
    """The open call, as overtaken."""
    overtaken = Attempt(
        message.attempt, message.provider or "", message.claimed_at or now, None, message.segments, None, OVERTAKEN
    )
    change(db, sql.INSERT_ATTEMPTS, [rows.attempt_row(message.seq, now, boot, overtaken)])
