"""How does the window stay true to the outbox?

Each flow has a horizon, a (due, seq) key up to which everything pending is held here. What is offered beyond it stays
in the outbox and only moves `beyond`, the time at which the flow wants to be fed again. A message that is held twice,
or no longer pending, does no harm: the claim in the outbox is fenced.

A flow that is held up keeps what it holds, so that it competes at once when it is let go, unless another flow needs the
room, or its time is farther away than the window looks ahead. Whose turn it is to send, and with how much room, is
asked elsewhere (`schedule`, `lanes`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from smsd.core.blocks import Blocks, Change
from smsd.core.flows import EVERYTHING, Flow, Hold, Key, Share, Supply, Ticket
from smsd.core.hunger import LEAST, LOOKAHEAD_MS, OFFERED, Hunger
from smsd.core.lanes import Lane
from smsd.core.message import Instant, Priority

CAPACITY = 20_000
"""Tickets held at most (a few more when a retry falls inside a full window)."""

_LAST = 2**62


@dataclass(frozen=True, slots=True)
class Meal:
    """What a flow wants to read from the outbox: keys > `after`, due <= `until`, at most `limit`."""

    flow: int
    after: Key
    until: Instant
    limit: int
    edition: int = 0
    """Read before the due times in the outbox were changed, it would be false."""


class Window:
    """The flows and tickets that are held: `add`, and `next_meal`/`feed` to keep it full; `block` to hold flows up."""

    def __init__(self, lanes: Iterable[str], capacity: int = CAPACITY) -> None:
        self._lanes = {name: Lane(name) for name in lanes}
        self._flows: dict[int, Flow] = {}
        self._campaigns: dict[str, dict[int, Flow]] = {}
        """Flows by the group of their campaign; those of a tenant are found by their share."""
        self._tickets: dict[int, Ticket] = {}
        self._hunger = Hunger(capacity, self._lanes, self._flows)
        self._blocks = Blocks(LOOKAHEAD_MS)
        self._edition = 0

    @property
    def held(self) -> int:
        """Tickets in memory, those taken included."""
        return len(self._tickets)

    @property
    def flows(self) -> int:
        return len(self._flows)

    def knows(self, flow: int) -> bool:
        """Whether the flow is known; one with nothing pending is forgotten."""
        return flow in self._flows

    def _forget_idle(self, flow: Flow) -> None:
        if flow.held or flow.beyond is not None or flow.eating or flow.offered or flow.owed:
            return
        if self._flows.get(flow.id) is not flow:
            return  # forgotten before; one of the same id may have come since, and its hunger is its own
        self._hunger.sate(flow)
        self._lanes[flow.lane].leave(flow)
        del self._flows[flow.id]
        for group in flow.groups[1:]:
            del self._campaigns[group][flow.id]
            if not self._campaigns[group]:
                del self._campaigns[group]

    def _put_back(self, flows: Iterable[Flow]) -> None:
        """Their tickets are forgotten; their messages stay in the outbox and are fed again from the first on."""
        for flow in flows:
            for ticket in self._lanes[flow.lane].empty(flow):
                self._tickets.pop(ticket.seq, None)
                flow.leave_behind(ticket.due)
            flow.forget_held()

    # -- supply ------------------------------------------------------------------------------------------------------

    def add(self, flow_id: int, supply: Supply, now: Instant) -> None:
        """A message became pending (accepted, retried, reopened). Held if it falls inside the window."""
        flow = self._flows[flow_id]
        if flow.eating:
            flow.offered.append(supply)
            return
        self._offer(flow, supply, now)
        self._appetite(flow)

    def _offer(self, flow: Flow, supply: Supply, now: Instant) -> None:
        key = (supply.due, supply.seq)
        if key > flow.horizon:
            flow.leave_behind(supply.due)
        elif supply.due > now + LOOKAHEAD_MS and key > flow.last:
            flow.horizon = max(flow.last, min(flow.horizon, (now + LOOKAHEAD_MS, _LAST)))
            flow.leave_behind(supply.due)
        elif key > flow.last and not self._takes_offers(flow):
            flow.horizon = flow.last
            flow.leave_behind(supply.due)
        else:
            self._hold(flow, supply)

    def _takes_offers(self, flow: Flow) -> bool:
        """Whether what has just become pending may be held at once: no flow fills what others wait to be fed into."""
        lane, priority = self._lanes[flow.lane], flow.priority
        block = flow.held_up
        if not lane.open or block == Hold.LONG:
            return False
        part = self._hunger.part(priority)
        if flow.held >= LEAST or block:
            return lane.held[priority] < OFFERED * part and flow.held < max(LEAST, OFFERED * self._hunger.fair(flow))
        if lane.held[priority] >= part and lane.idle[priority]:
            self._make_room(lane, priority)
        return lane.held[priority] < part

    def _hold(self, flow: Flow, supply: Supply) -> None:
        known = self._tickets.get(supply.seq)
        if known is not None and known.taken:
            if supply.attempt > known.attempt:  # else it was read before it was claimed
                self._owe(known, flow, supply)
            return
        if known is not None:
            if known.due <= supply.due:
                return
            self._lanes[known.flow.lane].discard(known)  # it was brought forward
        ticket = Ticket(supply.seq, supply.attempt, supply.due, supply.segments, flow)
        self._tickets[supply.seq] = ticket
        flow.last = max(flow.last, ticket.key)
        self._lanes[flow.lane].push(ticket)

    def _owe(self, taken: Ticket, flow: Flow, supply: Supply) -> None:
        """The message is pending again though its call is not over (a receipt outran the answer): once it is over."""
        self._forgive(taken)
        taken.again = (flow, supply)
        flow.owed += 1

    @staticmethod
    def _forgive(taken: Ticket) -> None:
        """It is not pending again after all."""
        if taken.again is not None:
            taken.again[0].owed -= 1
            taken.again = None

    def _repay(self, taken: Ticket, flow: Flow, supply: Supply) -> None:
        """The call is over."""
        self._forgive(taken)
        self._offer(flow, supply, supply.due)
        self._appetite(flow)

    def _appetite(self, flow: Flow) -> None:
        """Note whether the flow wants to be fed."""
        if flow.beyond is None or flow.eating or not self._lanes[flow.lane].open or flow.held_up is Hold.LONG:
            self._hunger.sate(flow)
        elif not flow.hungry and flow.held < self._hunger.slice(flow) // 2:
            self._hunger.want(flow)

    def _look(self, now: Instant) -> None:
        for flow in self._hunger.awake(now):
            self._appetite(flow)
        if self._blocks:
            for change in self._blocks.look(now):
                self._bind(change)

    @property
    def hungry(self) -> bool:
        """Whether some flow wants to be fed (perhaps later, or when there is room)."""
        return bool(self._hunger)

    def next_meal(self, now: Instant) -> Meal | None:
        """Which flow to feed next, and what; None: none wants anything now. The caller answers with `feed`."""
        self._look(now)
        flow = self._hunger.next(now + LOOKAHEAD_MS, self._make_room)
        if flow is None:
            return None
        flow.eating = True
        return Meal(flow.id, flow.horizon, now + LOOKAHEAD_MS, self._hunger.slice(flow), self._edition)

    def feed(
        self, meal: Meal, items: Sequence[Supply], *, complete: bool, next_due: Instant | None, now: Instant
    ) -> None:
        """What the outbox answered to a meal."""
        flow = self._flows.get(meal.flow)
        if flow is None:
            return
        flow.eating = False
        offered, flow.offered = flow.offered, []
        is_wanted = self._lanes[flow.lane].open and flow.held_up is not Hold.LONG
        if is_wanted and flow.horizon == meal.after and meal.edition == self._edition:
            for item in items:
                self._hold(flow, item)
            self._move_horizon(flow, meal, items, complete=complete, next_due=next_due)
        for supply in offered:
            self._offer(flow, supply, now)
        self._appetite(flow)
        self._forget_idle(flow)

    def _move_horizon(
        self, flow: Flow, meal: Meal, items: Sequence[Supply], *, complete: bool, next_due: Instant | None
    ) -> None:
        if not complete:
            flow.horizon = (items[-1].due, items[-1].seq)
            flow.beyond = items[-1].due
        elif next_due is not None:
            flow.horizon = (meal.until, _LAST)
            flow.beyond = next_due
        else:
            flow.horizon = EVERYTHING
            flow.beyond = None

    def skip(self, meal: Meal) -> None:
        """The outbox could not answer; the flow stays hungry."""
        flow = self._flows.get(meal.flow)
        if flow is not None:
            flow.eating = False
            offered, flow.offered = flow.offered, []
            for supply in offered:
                flow.leave_behind(supply.due)
            if offered and flow.horizon > flow.last:
                flow.horizon = flow.last
            self._appetite(flow)

    def reread(self, now: Instant) -> None:
        """The due times in the outbox were changed: everything held goes back, and every flow is fed anew."""
        self._edition += 1
        for flow in self._flows.values():
            flow.leave_behind(now)
        self._put_back(self._flows.values())
        for flow in self._flows.values():
            self._appetite(flow)

    # -- who is held up ----------------------------------------------------------------------------------------------

    def block(self, group: str, until: Instant) -> None:
        """Let no flow of the group (`limits.groups_of`) give anything out before `until`; of two ends the later one
        counts."""
        self._blocks.add(group, until)
        self._blocks.keep(lambda each: each in self._campaigns or bool(self._shares(each)))

    def unblock_all(self) -> None:
        """Let everybody go: the limits, or the clock, are not what they were."""
        for change in self._blocks.clear():
            self._bind(change)

    def blocked_until(self, group: str, now: Instant) -> Instant | None:
        """Until when the group is held up; None: it is not."""
        return self._blocks.until(group, now)

    def _shares(self, group: str) -> list[tuple[Lane, Share]]:
        """What the tenant of this group has, by lane and priority."""
        return [
            (lane, shares[group]) for lane in self._lanes.values() for shares in lane.shares.values() if group in shares
        ]

    def _bind(self, change: Change) -> None:
        """The group is held up otherwise than before. One campaign costs the same however many its tenant has."""
        is_free = change.block is Hold.NONE
        campaign = self._campaigns.get(change.group)
        flows = list(campaign.values()) if campaign is not None else []
        for flow in flows:
            self._lanes[flow.lane].bind_flow(flow, change.block)
            self._hunger.sort_flow(flow, is_free)
        is_far = Hold.LONG in (change.was, change.block)
        for lane, share in self._shares(change.group) if campaign is None else ():
            lane.bind(share, change.block)
            self._hunger.sort(share, is_free)
            if is_far:
                flows += share.flows.values()
        if is_far:
            if change.block is Hold.LONG:
                self._put_back(flows)
            for flow in flows:
                self._appetite(flow)

    def _make_room(self, lane: Lane, priority: Priority) -> None:
        """A flow wants room where all is taken: who is held up for the longest gives his back."""
        holders = lane.blocked_holders(priority)
        holders.sort(key=lambda flow: max(map(self._blocks.end, flow.groups)))
        excess = lane.held[priority] - OFFERED * self._hunger.part(priority)
        leaving: list[Flow] = []
        while holders and excess > 0:
            leaving.append(holders.pop())
            excess -= leaving[-1].held
        lane.idle[priority] = bool(holders)
        self._put_back(leaving)
        for flow in leaving:
            self._appetite(flow)
