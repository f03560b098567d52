"""What becomes of messages that were put off by rules that are in force no more?

A limit or quiet hours write on a message when it may come back. When these rules change, by a reload or between two
runs, what they put off is asked again: everything held up is due now, or at the time its caller named, and meets the
rules as they are at its next claim. Which rules the outbox has followed is written down by their digest, so a start
with the same rules moves nothing.

Done in pieces, each a short transaction that claims can come between. A piece that was done is not met again, for what
it let go is held up no more; what the new rules hold up meanwhile may be asked once too often.
"""

from __future__ import annotations

from smsd.core.message import Instant
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.statements import arrays, change, expect

PIECE = 2_000
"""Rows let go in one transaction at most: some ten milliseconds."""

FOLLOWED = "admission"
"""The name in `meta` of the digest of the rules that everything held up was held up by."""


def release_held(db: Handle, deltas: Deltas, digest: str, now: Instant) -> bool:
    """Let go of the next piece of what other rules than those of this digest put off; whether there was anything."""
    known = db.execute(sql.GET_META, (FOLLOWED,)).fetchone()
    if known is not None and known[0] == digest:
        return False
    held = arrays(db, sql.HELD, (-1, PIECE))
    expect(change(db, sql.RELEASE, [(seq, max(now, send_at or 0)) for seq, _, send_at in held]), len(held))
    for flow in {flow for _, flow, _ in held}:
        deltas.changed_flow(flow, flow)  # its next due time is another
    if len(held) < PIECE:
        db.execute(sql.SET_META, (FOLLOWED, digest))
    return bool(held)
