"""What becomes of messages that were put off by rules that are in force no more?

A limit or quiet hours write on a message when it may come back. When these rules change, by a reload or between two
runs, what they put off is asked again: everything held up is due now, or at the time its caller named, and meets the
rules as they are at its next claim. Which rules the outbox has followed is written down by their digest, so a start
with the same rules moves nothing.

Done in pieces, each a short transaction that claims can come between, in order of the messages' numbers and never
back: what the rules in force hold up meanwhile, among those that were let go, is not let go again. A process that dies
half-way begins anew.
"""

from __future__ import annotations

from smsd.core.message import Instant
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.statements import arrays, change, expect
from smsd.store.statements.changing import HELD, RELEASE
from smsd.store.statements.meta import GET_META, SET_META

PIECE = 2_000
"""Rows let go in one transaction at most: some ten milliseconds."""

FOLLOWED = "admission"
"""The name in `meta` of the digest of the rules that everything held up was held up by."""


def release_held(db: Handle, deltas: Deltas, digest: str, after: int, now: Instant) -> int | None:
    """Let go of the next piece, of messages numbered above `after`, of what other rules than those of this digest put
    off. The number that it came to; None: all that is held up is held up by these rules."""
    known = db.execute(GET_META, (FOLLOWED,)).fetchone()
    if known is not None and known[0] == digest:
        return None
    held = arrays(db, HELD, (after, PIECE))
    expect(change(db, RELEASE, [(seq, max(now, send_at or 0)) for seq, _, send_at in held]), len(held))
    for flow in {flow for _, flow, _ in held}:
        deltas.changed_flow(flow, flow)  # its next due time is another
    if held:
        last: int = held[-1][0]
        return last
    db.execute(SET_META, (FOLLOWED, digest))
    return None
