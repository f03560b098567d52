"""Of what waits for one provider, what goes next?

A lane is one provider's queue, in two stages. Waiting: a heap keyed by due time. Ready: by priority, weighted so that
bulk never starves; inside a priority fairly by tenant, inside a tenant fairly by flow (deficit round robin by
segments). Priority therefore counts only among what is due, and a busy or blocked tenant never stands in front of
another. A lane knows neither how much room its provider has nor what lies in the outbox.

Who leaves a ring (nothing left to give, or blocked) does so when its turn comes: blocking a tenant of a thousand
campaigns costs as much as one of a single campaign, and a ticket costs a few turns however many wait. A ticket that is
given back leaves the heap when it comes to its top, or when such tickets are the greater part of it.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping

from smsd.core.flows import Flow, Hold, Key, Share, Ticket
from smsd.core.message import Instant, Priority

WEIGHTS: Mapping[Priority, int] = {Priority.HIGH: 64, Priority.NORMAL: 8, Priority.BULK: 1}
"""Of what is due and contends for one lane, starts per round."""

VOID = 64
"""Tickets that are gone are swept out of the heap when they outnumber the others by twice as many as this."""

_STEPS = {priority: 1.0 / weight for priority, weight in WEIGHTS.items()}


def _key_of(ticket: Ticket) -> Key:
    return ticket.key


class Lane:
    """One provider's queue, in two stages. A closed lane is not fed and gives nothing out."""

    __slots__ = ("held", "idle", "name", "open", "passes", "ready", "rounds", "shares", "virtual", "void", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True
        self.waiting: list[tuple[Instant, int, Ticket]] = []
        self.void = 0
        """How many of those waiting are gone."""
        self.held: dict[Priority, int] = dict.fromkeys(Priority, 0)
        """Tickets that wait here, in either stage."""
        self.idle: dict[Priority, bool] = dict.fromkeys(Priority, False)
        """Whether some of them may belong to blocked flows; looking for them is dear."""
        self.ready = 0
        """How many tickets in the second stage may be given out: those of blocked flows do not count."""
        self.shares: dict[Priority, dict[str, Share]] = {priority: {} for priority in Priority}
        self.rounds: dict[Priority, deque[Share]] = {priority: deque() for priority in Priority}
        self.passes: dict[Priority, float] = dict.fromkeys(Priority, 0.0)
        self.virtual = 0.0

    # -- who waits here ----------------------------------------------------------------------------------------------

    def enter(self, flow: Flow, block: Hold) -> None:
        """The flow waits here from now on; it holds nothing yet. `block`: of its tenant, if that is new here."""
        shares, group = self.shares[flow.priority], flow.groups[0]
        share = shares.get(group)
        if share is None:
            share = shares[group] = Share(group, self.name, flow.priority, block)
        share.flows[flow.id] = flow
        flow.share = share
        flow.lane = self.name

    def leave(self, flow: Flow) -> None:
        """The flow, which holds nothing, waits elsewhere or is forgotten."""
        share = flow.share
        if flow.in_ring:
            share.ring.remove(flow)
            flow.in_ring = False
        del share.flows[flow.id]
        if not share.flows:
            del self.shares[flow.priority][share.group]

    def bind(self, share: Share, block: Hold) -> None:
        """The tenant is held up, or let go."""
        was, share.block = share.block, block
        if block and not was:
            self.ready -= share.ready
            self.idle[share.priority] = True
        elif was and not block:
            self.ready += share.ready
            self._turn(share)

    def bind_flow(self, flow: Flow, block: Hold) -> None:
        """The campaign is held up, or let go; its tenant's other flows are not."""
        was, flow.block = flow.block, block
        if bool(was) == bool(block):
            return
        if block:
            self._count(flow, -len(flow.ready))
            self.idle[flow.priority] = True
        else:
            self._count(flow, len(flow.ready))
            self._queue(flow)

    def _count(self, flow: Flow, more: int) -> None:
        """So many more of its tickets may be given out, as far as its tenant may."""
        flow.share.ready += more
        if not flow.share.block:
            self.ready += more

    # -- tickets -----------------------------------------------------------------------------------------------------

    def push(self, ticket: Ticket) -> None:
        flow = ticket.flow
        flow.held += 1
        self.held[flow.priority] += 1
        if flow.block or flow.share.block:
            self.idle[flow.priority] = True
        flow.waiting[ticket.seq] = ticket
        heapq.heappush(self.waiting, (ticket.due, ticket.seq, ticket))

    def discard(self, ticket: Ticket) -> None:
        """One ticket that waits here goes."""
        flow = ticket.flow
        ticket.gone = True
        flow.held -= 1
        self.held[flow.priority] -= 1
        if ticket.ready:
            flow.ready.remove(ticket)
            if not flow.block:
                self._count(flow, -1)
        else:
            del flow.waiting[ticket.seq]
            self._sweep(1)

    def empty(self, flow: Flow) -> list[Ticket]:
        """Take all tickets of the flow out. What it costs depends on them alone, not on what others hold."""
        out = [*flow.ready, *flow.waiting.values()]
        if not flow.block:
            self._count(flow, -len(flow.ready))
        for ticket in flow.waiting.values():
            ticket.gone = True
        gone = len(flow.waiting)
        flow.ready.clear()
        flow.waiting.clear()
        flow.held -= len(out)
        self.held[flow.priority] -= len(out)
        self._sweep(gone)
        return out

    def _sweep(self, more: int) -> None:
        """So many more of those waiting are gone; too many are swept out."""
        self.void += more
        if self.void > len(self.waiting) // 2 + VOID:
            self.waiting = [entry for entry in self.waiting if not entry[2].gone]
            heapq.heapify(self.waiting)
            self.void = 0

    @property
    def due(self) -> Instant | None:
        """When the first of those waiting is due; None: none waits."""
        while self.waiting and self.waiting[0][2].gone:
            heapq.heappop(self.waiting)
            self.void -= 1
        return self.waiting[0][0] if self.waiting else None

    def blocked_holders(self, priority: Priority) -> list[Flow]:
        """Blocked flows of a priority that hold tickets."""
        return [
            flow
            for share in self.shares[priority].values()
            for flow in share.flows.values()
            if flow.held and (share.block or flow.block)
        ]

    def promote(self, now: Instant) -> None:
        """Move what is due from waiting to ready."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            ticket = heapq.heappop(waiting)[2]
            if ticket.gone:
                self.void -= 1
                continue
            ticket.ready = True
            flow = ticket.flow
            del flow.waiting[ticket.seq]
            ready = flow.ready
            if ready and ready[-1].key > ticket.key:
                # It was here before and its claim failed; or it was given back. It does not lose its place.
                ready.insert(bisect_left(ready, ticket.key, key=_key_of), ticket)
            else:
                ready.append(ticket)
            if flow.block:
                continue
            share = flow.share
            share.ready += 1
            if not flow.in_ring:
                share.join(flow)
            if not share.block:
                self.ready += 1
                if not share.in_ring:
                    self._turn(share)

    def _queue(self, flow: Flow) -> None:
        """The flow may have something to give out, and through it its tenant."""
        if flow.ready and not flow.in_ring:
            flow.share.join(flow)
        if not flow.share.block:
            self._turn(flow.share)

    def _turn(self, share: Share) -> None:
        if share.in_ring or not share.ready:
            return
        ring = self.rounds[share.priority]
        if not ring:
            first = self.virtual + _STEPS[share.priority]
            self.passes[share.priority] = max(self.passes[share.priority], first)
        share.deficit = 0
        share.in_ring = True
        ring.append(share)

    # -- whose turn it is --------------------------------------------------------------------------------------------

    def pick(self) -> Ticket | None:
        """The next ready ticket: priority by weight, then tenant, then flow by deficit round robin."""
        while (priority := self._priority()) is not None:
            ticket = self._from(self.rounds[priority])
            if ticket is not None:
                self.ready -= 1
                self.held[priority] -= 1
                self.virtual = self.passes[priority]
                self.passes[priority] += _STEPS[priority]
                return ticket
        return None

    def _priority(self) -> Priority | None:
        best: Priority | None = None
        for priority, ring in self.rounds.items():
            if ring and (best is None or self.passes[priority] < self.passes[best]):
                best = priority
        return best

    @staticmethod
    def _from(ring: deque[Share]) -> Ticket | None:
        while ring:
            share = ring[0]
            ticket = None if share.block else share.head()
            if ticket is None:
                ring.popleft().in_ring = False
                continue
            if share.deficit < ticket.segments:
                if len(ring) > 1:
                    share.deficit += 1
                    ring.rotate(-1)
                    continue
                share.deficit = ticket.segments  # alone it waits for no turn
            share.deficit -= ticket.segments
            share.give(ticket)
            return ticket
        return None
