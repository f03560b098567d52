"""With which SQL are flows kept, and their pending messages handed out?

A flow's row carries how many are pending and when the first of them is due, so that nobody counts or sorts them
(`smsd.store.flows`, `smsd.store.deltas`).
"""

from __future__ import annotations

from smsd.store.statements import grouped, listed

FIND_FLOW = "SELECT id FROM flows WHERE route = ? AND priority = ? AND tenant = ? AND campaign IS ?"

INSERT_FLOW = "INSERT INTO flows (id, route, priority, tenant, campaign) VALUES (?, ?, ?, ?, ?)"

CHANGE_FLOW = "UPDATE messages SET flow = ? WHERE seq = ?"

ADD_PENDING = (
    "UPDATE flows SET pending = flows.pending + v.n, next_due = "
    "(SELECT m.due FROM messages AS m WHERE m.flow = flows.id AND m.state = 0 ORDER BY m.due, m.seq LIMIT 1) "
    f"FROM {listed('id, n')} WHERE flows.id = v.id"
)

LAST_FLOW = "SELECT max(id) FROM flows"

SWEEP_FLOWS = (
    "DELETE FROM flows WHERE id IN (SELECT id FROM flows WHERE id > ? ORDER BY id LIMIT ?) "
    "AND pending = 0 AND campaign IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM messages WHERE state = 0 AND messages.flow = flows.id) "
    "AND id NOT IN (SELECT flow FROM messages WHERE state = 1 AND uncertain IN (0, 1))"
)

FLOW_AFTER = "SELECT id FROM flows WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"

LIVE_FLOWS = "SELECT id, route, priority, tenant, campaign, pending, next_due FROM flows WHERE pending > 0"

FEED = grouped(
    "seq, attempt, due, segments",
    "(SELECT seq, attempt, due, segments FROM messages "
    "WHERE state = 0 AND flow = ? AND (due, seq) > (?, ?) AND due <= ? ORDER BY due, seq LIMIT ?)",
)

FEED_NEXT = "SELECT due FROM messages WHERE state = 0 AND flow = ? AND due > ? ORDER BY due, seq LIMIT 1"
