"""What goes with a message that is taken away, and what stays?

Its calls and its providers' ids go with it, and the kept counts of states go down. What stays: its campaign's counts,
the charges of limits, the minutes. Its idempotency key stays for a while and answers with the message as it last was.
Its number is never used again. Calls that still count in a provider's window, and ids that a look-up may still meet,
stay as nobody's (a number below 0) until they are old; a restore leaves such ones too. It refuses to know who wants it
(an operator, or `retention`), and for how long what is to be kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from smsd.core.message import Instant, State
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.operators import RetentionRules
from smsd.store.statements import change, expect, grouped, listed, look_up
from smsd.store.statements.accepting import LAST_SEQ
from smsd.store.statements.meta import SET_META

DELETABLE: Final = (State.FAILED, State.UNDELIVERED)
"""What an operator may take away."""

LAST_SEQ_KEPT: Final = "last_seq"
"""The name in `meta` of the greatest number of a message that was taken away when it was the newest."""

VIEW: Final = "m.seq, m.state, m.tenant, m.priority, m.id, m.idempotency_key, m.segments, m.encoding, m.campaign"
"""In the order of Going's fields."""

NAMED: Final = "WITH v (id) AS (VALUES {rows}) " + grouped(VIEW, "v CROSS JOIN messages AS m ON m.id = v.id")

NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM messages"

KEEP_KEYS: Final = (
    "UPDATE keys SET forget_at = v.at, id = v.id, state = v.state, segments = v.segments, encoding = v.encoding "
    f"FROM {listed('tenant, key, seq, at, id, state, segments, encoding')} "
    "WHERE keys.tenant = v.tenant AND keys.key = v.key AND keys.seq = v.seq"
)

ANY_IDS: Final = "SELECT 1 FROM provider_ids LIMIT 1"

IDS_OF: Final = "WITH v (seq) AS (VALUES {rows}) " + (
    grouped("a.provider, a.provider_message_id, a.seq", "v CROSS JOIN attempts AS a ON a.seq = v.seq ")
    + "WHERE a.provider_message_id IS NOT NULL"
)

FORGET_ID: Final = "DELETE FROM provider_ids WHERE provider = ? AND provider_message_id = ? AND seq = ?"

DISOWN: Final = (
    f"UPDATE attempts SET seq = -attempts.seq, trace = NULL FROM {listed('seq, since')} "
    "WHERE attempts.seq = v.seq AND attempts.settled_at > v.since"
)

LEAVE_CAMPAIGNS: Final = (
    f"UPDATE campaigns SET removed = campaigns.removed + v.n FROM {listed('tenant, id, n')} "
    "WHERE campaigns.tenant = v.tenant AND campaigns.id = v.id"
)
"""Its counts stay; when as many are removed as were counted, none is left."""

FORGET_CALLS: Final = "DELETE FROM attempts WHERE seq IN (VALUES {rows})"

FORGET_MESSAGES: Final = "DELETE FROM messages WHERE seq IN (VALUES {rows})"


class Going(NamedTuple):
    """What must be known of a message that is taken away."""

    seq: int
    state: int
    tenant: str
    priority: int
    id: str
    key: str | None
    segments: int
    encoding: int
    campaign: str | None


def take_away(db: Handle, deltas: Deltas, going: Sequence[Going], rules: RetentionRules, now: Instant) -> None:
    """Delete these messages, which are final and were looked up in the open transaction, with what goes with them."""
    if not going:
        return
    seqs = [(one.seq,) for one in going]
    if (db.execute(NEWEST).fetchone()[0],) in seqs:
        db.execute(SET_META, (LAST_SEQ_KEPT, db.execute(LAST_SEQ).fetchone()[0]))
    keys = [
        (one.tenant, one.key, one.seq, now + rules.key_ms, one.id, one.state, one.segments, one.encoding)
        for one in going
        if one.key is not None
    ]
    change(db, KEEP_KEYS, keys)
    if db.execute(ANY_IDS).fetchone() is not None:
        for row in look_up(db, IDS_OF, seqs):
            db.execute(FORGET_ID, row)
    change(db, DISOWN, [(one.seq, now - rules.calls_ms) for one in going])
    change(db, FORGET_CALLS, seqs)
    expect(change(db, FORGET_MESSAGES, seqs), len(seqs))
    left = Counter((one.tenant, one.campaign) for one in going if one.campaign is not None)
    change(db, LEAVE_CAMPAIGNS, [(*name, n) for name, n in left.items()])
    for one in going:
        deltas.removed(State(one.state), one.tenant, one.priority)


def delete(
    db: Handle, deltas: Deltas, ids: Sequence[str], tenant: str | None, rules: RetentionRules, now: Instant
) -> list[State | None]:
    """See Removal.delete."""
    rows: list[list[Any]] = look_up(db, NAMED, [(id,) for id in dict.fromkeys(ids)])
    found = {one.id: one for one in (Going(*row) for row in rows) if tenant is None or one.tenant == tenant}
    take_away(db, deltas, [one for one in found.values() if State(one.state) in DELETABLE], rules, now)
    return [State(found[id].state) if id in found else None for id in ids]
