"""Which flow does a message belong to?

A flow is a row of its own: messages that share route, priority, tenant and campaign. This finds its number, or makes
it, inside the open transaction, and remembers the numbers that were asked for lately. It refuses to know how many
messages are in a flow: `deltas` keeps that.
"""

from __future__ import annotations

from collections import OrderedDict

from smsd.store.connection import Handle
from smsd.store.statements.flows import FIND_FLOW, FLOW_AFTER, INSERT_FLOW, LAST_FLOW, SWEEP_FLOWS

FLOWS_KNOWN = 10_000
"""Flow ids kept in memory; the one unused longest is forgotten and looked up again."""

SWEPT_AT_ONCE = 500
"""Flows that one sweep looks at: about a millisecond."""

Identity = tuple[str, int, str, str | None]
"""Route, priority, tenant, campaign."""


class Flows:
    """Numbers of flows. committed() and undone() end each transaction."""

    __slots__ = ("_known", "_next", "_swept")

    def __init__(self) -> None:
        self._next = 1
        self._known: OrderedDict[Identity, int] = OrderedDict()
        self._swept = 0
        """How far the sweep has come."""

    def start(self, db: Handle) -> None:
        """Learn from the database where numbering goes on."""
        self._next = (db.execute(LAST_FLOW).fetchone()[0] or 0) + 1

    def number(self, db: Handle, identity: Identity) -> int:
        """The flow's number; its row exists in the open transaction."""
        known = self._known.get(identity)
        if known is not None:
            self._known.move_to_end(identity)
            return known
        row = db.execute(FIND_FLOW, identity).fetchone()
        if row is None:
            flow = self._next
            db.execute(INSERT_FLOW, (flow, *identity))
            self._next += 1
        else:
            flow = row[0]
        self._known[identity] = flow
        return flow

    def sweep(self, db: Handle) -> None:
        """Take away some flows of campaigns that have neither pending messages nor open attempts: a campaign may be a
        label that never comes again. Whoever reopens a message finds its flow anew."""
        if db.execute(SWEEP_FLOWS, (self._swept, SWEPT_AT_ONCE)).rowcount:
            self._known.clear()
        following = db.execute(FLOW_AFTER, (self._swept, SWEPT_AT_ONCE - 1)).fetchone()
        self._swept = 0 if following is None else following[0]

    def committed(self) -> None:
        """What number() wrote is durable."""
        while len(self._known) > FLOWS_KNOWN:
            self._known.popitem(last=False)

    def undone(self) -> None:
        """The transaction is rolled back: its flows may not exist. Its numbers stay used: a gap harms nobody."""
        self._known.clear()
