"""What does one message's, or one provider's, own change do to the rows?

The rare transitions, one message or one slice at a time, each a function of the open transaction: expire, cancel,
reopen, a provider's health, the beat. The daily flow, set-wise, is `transitions`; what receipts do is `receiving`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from smsd.core.health import Health
from smsd.core.lifecycle import Event, may, step
from smsd.core.message import Error, Instant, Message, State
from smsd.core.verdict import Category
from smsd.store import rows
from smsd.store.answers import WrongState
from smsd.store.charges import Charges
from smsd.store.connection import Handle
from smsd.store.deltas import MINUTE_MS, Deltas
from smsd.store.flows import Flows
from smsd.store.gates import Gates
from smsd.store.limiting import cancelled, waits_no_more
from smsd.store.statements import arrays, change, expect
from smsd.store.statements.changing import (
    BY_ID,
    BY_SEQ,
    CANCEL,
    EXPIRE,
    EXPIRED,
    NEXT_EXPIRY,
    REOPEN,
    RESCHEDULE,
    SAVE_PROVIDER,
)
from smsd.store.statements.claiming import TURN_AWAY
from smsd.store.statements.counting import FORGET_TENANT_MINUTES
from smsd.store.statements.flows import CHANGE_FLOW
from smsd.store.statements.meta import SET_META
from smsd.store.telling import Teller
from smsd.store.timeline import see_clocks

TENANT_MINUTES_KEPT = 2 * 24 * 60
"""Minutes for which a tenant's counts by minute are kept; the longest question about them is "today"."""

MINUTES_FORGOTTEN_AT_ONCE = 500
"""Rows that one beat deletes at most: about a millisecond. A busy tenant makes one a minute."""

EXPIRED_MESSAGE = "its time to live ran out before it could be sent"


def find(db: Handle, id: str, tenant: str | None) -> Message | None:
    """The message by its id, if it belongs to the tenant (None: any)."""
    for row in arrays(db, BY_ID, (id,)):
        found = rows.message(row)
        if tenant is None or found.tenant == tenant:
            return found
    return None


def expire(
    db: Handle, deltas: Deltas, charges: Charges, teller: Teller, now: Instant, limit: int
) -> tuple[list[Message], Instant | None]:
    """Pending messages whose end of life has come, as they are afterwards; and the next end of life."""
    found = [rows.message(row) for row in arrays(db, EXPIRED, (now, limit))]
    expired = []
    for message in found:
        cause = message.error.cause or message.error.category if message.error else None
        error = Error(Category.EXPIRED, EXPIRED_MESSAGE, now, cause=cause)
        expired.append(let_go(replace(message, state=State.EXPIRED, processed_at=now, error=error)))
        waits_no_more(charges, message)
        count(deltas, message, step(State.PENDING, Event.EXPIRE), now)
    changes = [(m.seq, now, *rows.error_values(m.error)[:2], rows.error_values(m.error)[5]) for m in expired if m.error]
    expect(change(db, EXPIRE, changes), len(expired))
    teller.tell(db, [message.seq for message in expired], now)
    following = db.execute(NEXT_EXPIRY).fetchone()
    return expired, None if following is None else following[0]


def cancel(
    db: Handle, deltas: Deltas, charges: Charges, teller: Teller, id: str, tenant: str | None, now: Instant
) -> Message | WrongState | None:
    """pending -> cancelled. It does not count as accepted any more."""
    message = find(db, id, tenant)
    if message is None:
        return None
    if not may(message.state, Event.CANCEL):
        return WrongState(message)
    return cancel_all(db, deltas, charges, teller, [message], now)[0]


def cancel_all(
    db: Handle, deltas: Deltas, charges: Charges, teller: Teller, pending: Sequence[Message], now: Instant
) -> list[Message]:
    """These pending messages are cancelled; as they are afterwards."""
    after = step(State.PENDING, Event.CANCEL)
    expect(change(db, CANCEL, [(message.seq, now) for message in pending]), len(pending))
    teller.tell(db, [message.seq for message in pending], now)
    for message in pending:
        cancelled(db, charges, message)
        count(deltas, message, after, now)
    return [let_go(replace(message, state=after, processed_at=now)) for message in pending]


def count(deltas: Deltas, before: Message, after: State, now: Instant) -> None:
    """The message is in another state."""
    deltas.moved(before.state, after, before.tenant, before.priority, before.flow, before.campaign, now)


class Times(NamedTuple):
    """When a message is due, and why not earlier; what was asked for, and when its life ends."""

    due: Instant
    send_at: Instant
    expires_at: Instant
    held: str | None
    held_by: str | None


def reschedule(
    db: Handle, deltas: Deltas, charges: Charges, id: str, tenant: str | None, times: Times, now: Instant
) -> Message | WrongState | None:
    """A pending message whose time is not up is due at another time."""
    message = find(db, id, tenant)
    if message is None:
        return None
    if message.state is not State.PENDING or message.expires_at <= now:
        return WrongState(message)
    expect(change(db, RESCHEDULE, [(*times, message.seq, message.attempt)]), 1)
    waits_no_more(charges, message)
    deltas.changed_flow(message.flow, message.flow)  # its next due time is another
    return rows.message(arrays(db, BY_SEQ, (message.seq,))[0])


def let_go(message: Message) -> Message:
    """It is pending no more, and nothing holds it up."""
    message.held = message.held_by = message.held_since = None
    return message


def reopen(
    db: Handle,
    deltas: Deltas,
    flows: Flows,
    gates: Gates,
    id: str,
    tenant: str | None,
    now: Instant,
    expires_at: Instant,
    force: bool,
    due: Instant,
) -> Message | WrongState | None:
    """failed, undelivered, expired -> pending, a new round. A failed UNCERTAIN one may have gone: only with force."""
    message = find(db, id, tenant)
    if message is None:
        return None
    doubtful = message.state is State.FAILED and message.error and message.error.category is Category.UNCERTAIN
    if not may(message.state, Event.REOPEN) or message.redacted:
        return WrongState(message)
    if message.campaign is not None and gates.is_closed(message.tenant, message.campaign):
        return WrongState(message, closed=True)
    if doubtful and not force:
        return WrongState(message)
    early = max(0, (message.send_at or 0) - due)  # it may have failed long before its time, at its acceptance
    expect(change(db, REOPEN, [(due + early, expires_at + early, message.seq, int(message.state))]), 1)
    flow = flows.number(db, (message.route, int(message.priority), message.tenant, message.campaign))
    if flow != message.flow:  # it was swept away
        db.execute(CHANGE_FLOW, (flow, message.seq))
    count(deltas, replace(message, flow=flow), step(message.state, Event.REOPEN), now)
    return rows.message(arrays(db, BY_SEQ, (message.seq,))[0])


def turn_away(db: Handle, failed: Sequence[Message], deltas: Deltas) -> None:
    """Pending messages fail, as they are here: their recipients opted out."""
    changes = []
    for message in failed:
        assert message.error is not None
        category, text, at, code, provider, _ = rows.error_values(message.error)
        changes.append((message.seq, category, text, at, code, provider))
        where = (message.tenant, message.priority, message.flow, message.campaign)
        deltas.moved(State.PENDING, message.state, *where, message.error.at)
        deltas.called(message.error.at, message.error.provider or "", message.tenant, failed=True)
        deltas.failed(message.tenant, str(message.error.category))
    expect(change(db, TURN_AWAY, changes), len(failed))


def save_provider(db: Handle, health: Health) -> None:
    """Keep a provider's health in place of what was known."""
    db.execute(SAVE_PROVIDER, rows.health_row(health))


def beat(db: Handle, charges: Charges, flows: Flows, teller: Teller, now: Instant, boot_us: int | None) -> bool:
    """Write the time down: a commit that must succeed. It takes some old minutes of tenants, old callbacks that were
    given up, old charges and empty flows away on the occasion; whether more charges wait to be looked at. `boot_us`:
    boot time at `now`."""
    db.execute(SET_META, ("beat", now))
    db.execute(FORGET_TENANT_MINUTES, (now // MINUTE_MS - TENANT_MINUTES_KEPT, MINUTES_FORGOTTEN_AT_ONCE))
    see_clocks(db, charges.line.boot, now, boot_us)
    flows.sweep(db)
    teller.sweep(db, now)
    return charges.purge(db, charges.line.at(now, boot_us))
