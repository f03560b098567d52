"""How does one look at the engine and its file from outside?

Three looks: does the reason given for a waiting message hold, do the kept counts equal a recount, and does the engine
hold anything when nothing is left to do.
"""

from __future__ import annotations

import sqlite3
from random import Random
from typing import TYPE_CHECKING

from smsd.core.limits import Per
from smsd.core.message import FINAL, Message, Priority, State
from smsd.core.waiting import Reason
from smsd.engine.engine import Engine
from smsd.engine.explaining import Seen
from smsd.store.rows import MESSAGE_COLUMNS, message
from smsd.store.statements import arrays, grouped
from tests.simulation.duty import Kept
from tests.simulation.history import Probe

if TYPE_CHECKING:
    from tests.simulation.world import Run


LONGEST_WAIT_MS = 2 * 3_600_000 + 60_000
"""A rest, at most an hour; or a backoff, that the budget puts off by an hour and spreads over another."""

PAST_MS = 60_000
"""A reason that was to end longer ago is none; it is looked at every 30 s."""


def probe(seen: Seen, now_us: int, wall: int, run: Run) -> Probe:
    """What was said of a message, and whether it is true."""
    waiting, message = seen.waiting, seen.message
    if waiting is None:
        wrong = "" if message.state in FINAL else "no reason is given"
        return Probe(now_us, message, None, None, "", wrong)
    wrong = "" if waiting.text else "the sentence is empty"
    if message.state in FINAL:
        wrong = "it is final"
    elif not _holds(seen, now_us, wall, run):
        wrong = f"{waiting.reason} does not hold"
    elif waiting.until is not None and wall - waiting.until > PAST_MS:
        wrong = f"it was to end {wall - waiting.until} ms ago"
    return Probe(now_us, message, waiting.reason.value, waiting.until, waiting.text, wrong)


def _holds(seen: Seen, now_us: int, wall: int, run: Run) -> bool:
    """Whether the reason is a fact. What the carrier's truth knows is not asked of the engine."""
    waiting, message = seen.waiting, seen.message
    assert waiting is not None
    route = [name for name in message.route.split(",") if name in run.config.providers]
    enabled = [name for name in route if run.config.providers[name].enabled]
    duties = [run.history.duties[name] for name in enabled]
    match waiting.reason:
        case Reason.SCHEDULED:
            return message.due > wall and (message.error is None or message.attempt == 0)
        case Reason.RETRY:
            return message.due > wall and message.error is not None
        case Reason.RECIPIENT_LIMIT | Reason.USER_LIMIT | Reason.SENDER_LIMIT:
            return message.held == waiting.reason and message.due > wall and bool(run.config.governed.rules)
        case Reason.TENANT_LIMIT | Reason.CAMPAIGN_LIMIT:
            per = Per.TENANT if waiting.reason is Reason.TENANT_LIMIT else Per.CAMPAIGN
            return waiting.until is not None and any(rule.per is per for rule in run.config.governed.limits)
        case Reason.CAMPAIGN_PAUSED:
            return False  # no campaign is paused there
        case Reason.QUIET_HOURS:
            loud = message.priority is Priority.HIGH or run.config.governed.quiet_at(message.tenant, message.due)
            return message.due > wall and not loud
        case Reason.PROVIDER_PAUSED:
            return any(duty.paused for duty in duties)
        case Reason.PROVIDER_HALTED:
            return any(duty.halted for duty in duties)
        case Reason.PROVIDER_COOLDOWN:
            return any(duty.cooling is not None and duty.cool_until_us > now_us for duty in duties)
        case Reason.BREAKER_OPEN:
            return any(duty.broken or (duty.halted and duty.rules.halt_probe) for duty in duties)
        case Reason.ACCOUNT_LIMIT:
            shared = any(duty.rules.account in run.config.accounts for duty in duties)
            return shared and waiting.until is not None and waiting.until > wall
        case Reason.PROVIDER_RATE:
            return waiting.until is not None and waiting.until > wall
        case Reason.NO_ROUTE:
            return not enabled
        case Reason.STORE:
            return run.disk.full or (run.life is not None and run.life.store.full)
        case Reason.UNCERTAIN:
            return message.state is State.PROCESSING and message.uncertain
        case Reason.QUEUE:
            return message.state is State.PROCESSING or message.due <= wall


def stalled(database: sqlite3.Connection, wall: int) -> list[str]:
    """Pending messages that are due later than anything explains."""
    fresh = "send_at IS NULL AND held IS NULL AND error_category IS NULL"
    query = (
        f"SELECT id FROM messages WHERE state = 0 AND due > ? + iif({fresh}, 0, ?) AND held IS NULL "
        "AND due IS NOT send_at"
    )
    return [id for (id,) in database.execute(query, (wall, LONGEST_WAIT_MS)).fetchall()]


def delete(database: sqlite3.Connection, random: Random) -> list[Message]:
    """Take some final messages away, as retention does; those with a key stay, and so does the newest. The kept counts
    follow."""
    query = (
        "messages WHERE state NOT IN (0, 1) AND idempotency_key IS NULL "
        "AND seq < (SELECT max(seq) FROM messages) ORDER BY seq"
    )
    found = [message(row) for row in arrays(database, grouped(MESSAGE_COLUMNS, query))]
    gone = [each for each in found if random.random() < 0.5]
    database.execute("BEGIN IMMEDIATE")
    for each in gone:
        database.execute("DELETE FROM messages WHERE seq = ?", (each.seq,))
        key = (int(each.state), int(each.priority))
        database.execute("UPDATE counters SET n = n - 1 WHERE state = ? AND priority = ?", key)
        of_tenant = "UPDATE tenant_counters SET n = n - 1 WHERE tenant = ? AND state = ? AND priority = ?"
        database.execute(of_tenant, (each.tenant, *key))
        # The outbox leaves these as they are: they count on. Here they are recounted.
        of_campaign = "UPDATE campaign_counters SET n = n - 1 WHERE tenant = ? AND campaign = ? AND state = ?"
        database.execute(of_campaign, (each.tenant, each.campaign, int(each.state)))
    database.execute("COMMIT")
    return gone


def recount(database: sqlite3.Connection) -> list[str]:
    """Differences between what is kept and what is counted."""
    found: list[str] = []
    kept = {(s, p): n for s, p, n in database.execute("SELECT state, priority, n FROM counters") if n}
    query = "SELECT state, priority, count(*) FROM messages GROUP BY state, priority"
    counted = {(s, p): n for s, p, n in database.execute(query)}
    if kept != counted:
        found.append(f"counters {kept} but {counted} messages")
    flows = {id: (n, due if n else None) for id, n, due in database.execute("SELECT id, pending, next_due FROM flows")}
    query = "SELECT flow, count(*), min(due) FROM messages WHERE state = 0 GROUP BY flow"
    pending = {flow: (n, due) for flow, n, due in database.execute(query)}
    expected = {id: pending.get(id, (0, None)) for id in flows}
    if flows != expected:
        found.append(f"flows {flows} but {expected} pending")
    labels = {
        (t, c, s): n for t, c, s, n in database.execute("SELECT tenant, campaign, state, n FROM campaign_counters") if n
    }
    query = "SELECT tenant, campaign, state, count(*) FROM messages WHERE campaign IS NOT NULL GROUP BY 1, 2, 3"
    named = {(t, c, s): n for t, c, s, n in database.execute(query)}
    if labels != named:
        found.append(f"campaigns {labels} but {named} messages")
    failed = dict(database.execute("SELECT error_category, count(*) FROM messages WHERE state = 5 GROUP BY 1"))
    for category, n in failed.items():
        known = database.execute("SELECT n FROM categories WHERE category = ?", (category,)).fetchone()
        if known is None or known[0] < n:
            found.append(f"{n} failed by {category} but {known} counted")
    return found


def written(database: sqlite3.Connection, name: str, fingerprint: str) -> Kept:
    """What the file says of a provider's standing; a halt counts for the credentials it was written with."""
    query = (
        "SELECT paused IS NOT NULL, halted IS NOT NULL, cooling_since, cooling_until, broken_since IS NOT NULL, "
        "probe_at, fingerprint FROM providers WHERE name = ?"
    )
    row = database.execute(query, (name,)).fetchone()
    if row is None:
        return Kept()
    halted = bool(row[1]) and row[6] == fingerprint
    return Kept(bool(row[0]), halted, None if row[3] is None else (row[2], row[3]), bool(row[4]), row[5])


def leftovers(engine: Engine) -> list[str]:
    """What the engine still holds although nothing is due."""
    counts = {
        "attempts in flight": engine.way_out.dispatcher.in_flight,
        "tickets": engine.way_out.schedule.held,
        "look-ups": len(engine.way_out.reconciler._busy),
        "promised ids": len(engine.way_out.reconciler.inquiry.promised),
        "dispatcher's tasks": len(engine.way_out.dispatcher._tasks),
        "keys being committed": len(engine.intake._committing),
        "submissions under way": engine.intake._under_way,
        "replay look-ups": len(engine.intake._lookups),
    }
    for lane in engine.lanes.values():
        counts[f"recipients being called by {lane.name}"] = len(lane.calls.to)
        counts[f"attempts in the gate of {lane.name}"] = lane.gate.waiting
    return [f"{count} {what}" for what, count in counts.items() if count]
