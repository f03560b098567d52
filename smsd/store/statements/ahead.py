"""With which SQL is what waits outlined, for the look ahead?

Samples and bounded counts, for there may be a million pending messages (`smsd.store.outlines`).
"""

from __future__ import annotations

LINES = (
    "SELECT v.*, (SELECT due FROM messages WHERE state = 0 AND flow = v.id ORDER BY due DESC, seq DESC LIMIT 1) "
    "FROM (SELECT id, route, priority, tenant, campaign, pending, next_due "
    "FROM flows WHERE pending > 0 ORDER BY pending DESC, id LIMIT ?) AS v"
)
"""The largest first. They are sorted: there are as many as have something pending."""

ALL_LINES = (
    "SELECT route, priority, sum(pending), max(next_due) FROM flows INDEXED BY flows_live WHERE pending > 0 "
    "GROUP BY route, priority ORDER BY route, priority"
)

DUES = (
    "SELECT v.due, m.segments FROM "
    "(SELECT seq, due, row_number() OVER (ORDER BY due, seq) AS place FROM messages WHERE state = 0 AND flow = ?) AS v "
    "CROSS JOIN messages AS m ON m.seq = v.seq WHERE v.place % ? = 0 ORDER BY v.place"
)

FIRST_SEGMENTS = (
    "SELECT avg(segments) FROM (SELECT segments FROM messages WHERE state = 0 AND flow = ? ORDER BY due, seq LIMIT ?)"
)

PLACE = (
    "SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 AND flow = ? AND (due, seq) < (?, ?) "
    "ORDER BY due DESC, seq DESC LIMIT ?)"
)

PLACE_FROM_BEHIND = (
    "SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 AND flow = ? AND (due, seq) > (?, ?) "
    "ORDER BY due, seq LIMIT ?)"
)

SPAN_OF_FLOW = (
    "SELECT pending, "
    "(SELECT seq FROM messages WHERE state = 0 AND flow = flows.id ORDER BY due, seq LIMIT 1), "
    "(SELECT seq FROM messages WHERE state = 0 AND flow = flows.id ORDER BY due DESC, seq DESC LIMIT 1) "
    "FROM flows WHERE id = ?"
)
"""How many are pending, and the numbers of the first and the last of them."""
