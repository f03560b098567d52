"""What may be sent next, and if nothing, when?

The schedule holds tickets, never messages: a number, a due time, a cost. It is a bounded window (about 20,000 tickets)
over the outbox, fed from it and rebuilt from it at any moment, so a million pending messages cost neither memory nor a
scan. It knows no clock, no store and no provider: it is told the time and how much room each lane has.

Two stages per lane (a lane is one provider's queue). Waiting: a heap keyed by due time. Ready: by priority, weighted so
that bulk never starves, and inside a priority fairly by flow (deficit round robin over messages that share route,
priority, tenant and campaign). Priority therefore counts only among what is due, and a blocked lane or a busy flow
never stands in front of another.

How the window stays true: each flow has a horizon, a (due, seq) key up to which everything pending is held here. What
is offered beyond it stays in the outbox and only moves `beyond`, the time at which the flow wants to be fed again. A
message that is held twice, or no longer pending, does no harm: the claim in the outbox is fenced.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from smsd.core.message import Instant, Priority

Key = tuple[Instant, int]
"""Order of messages in a flow: due time, then order of acceptance."""

NOTHING: Key = (-1, -1)
EVERYTHING: Key = (2**62, 2**62)
_LAST = 2**62

CAPACITY = 20_000
"""Tickets held at most (a few more when a retry falls inside a full window)."""

SLICE = 256
"""Tickets a flow is fed at once at most; small slices keep many flows fair."""

LOOKAHEAD_MS = 60_000
"""What is due later than this stays in the outbox, so that next week's messages never fill the window."""

WEIGHTS: Mapping[Priority, int] = {Priority.HIGH: 64, Priority.NORMAL: 8, Priority.BULK: 1}
"""Of what is due and contends for one lane, starts per round."""

SHARE: Mapping[Priority, float] = {Priority.HIGH: 0.4, Priority.NORMAL: 0.4, Priority.BULK: 0.2}
"""What each priority has of its lane's part of the window, so that none shuts another out. Open lanes share equally."""

OFFERED = 0.9
"""How full a part may be filled by what has just become pending; the rest is for flows that wait to be fed."""

LEAST = 16
"""The smallest slice."""


class Supply(Protocol):
    """What the outbox tells of one pending message."""

    @property
    def seq(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def due(self) -> Instant: ...
    @property
    def segments(self) -> int: ...


class Flow:
    """Messages that share route, priority, tenant and campaign, and so share fairly with other flows as one."""

    __slots__ = (
        "beyond",
        "deficit",
        "eating",
        "held",
        "horizon",
        "id",
        "in_ring",
        "lane",
        "last",
        "later",
        "offered",
        "priority",
        "ready",
        "route",
    )

    def __init__(
        self, id: int, route: str, lane: str, priority: Priority, horizon: Key, beyond: Instant | None
    ) -> None:
        self.id = id
        self.route = route
        """Who may carry it; opaque here, kept for whoever chooses the lane."""
        self.lane = lane
        self.priority = priority
        self.ready: deque[Ticket] = deque()
        self.held = 0
        """Tickets that wait here, in either stage."""
        self.deficit = 0
        self.in_ring = False
        self.horizon = horizon
        self.last = NOTHING
        """The largest key ever held since the last unloading."""
        self.beyond = beyond
        """When the earliest message that is not held here is due; None: all are held."""
        self.later: Instant | None = None
        """When the schedule will look at `beyond` again, if that is not now."""
        self.eating = False
        self.offered: list[Supply] = []
        """Offers that arrived while the flow was being fed; looked at when the slice is in."""


class Ticket:
    """One pending message in the window: what scheduling needs, never its text."""

    __slots__ = ("attempt", "due", "flow", "gone", "ready", "segments", "seq", "taken")

    def __init__(self, seq: int, attempt: int, due: Instant, segments: int, flow: Flow) -> None:
        self.seq = seq
        self.attempt = attempt
        self.due = due
        self.segments = segments
        self.flow = flow
        self.ready = False
        self.taken = False
        self.gone = False

    @property
    def key(self) -> Key:
        return (self.due, self.seq)


def _key_of(ticket: Ticket) -> Key:
    return ticket.key


class Lane:
    """One provider's queue, in two stages. A closed lane is not fed and gives nothing out."""

    __slots__ = ("held", "name", "open", "passes", "ready", "rounds", "virtual", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.open = True
        self.waiting: list[tuple[Instant, int, Ticket]] = []
        self.held: dict[Priority, int] = dict.fromkeys(Priority, 0)
        """Tickets that wait here, in either stage."""
        self.ready = 0
        """How many tickets are in the second stage."""
        self.rounds: dict[Priority, deque[Flow]] = {priority: deque() for priority in Priority}
        self.passes: dict[Priority, float] = dict.fromkeys(Priority, 0.0)
        self.virtual = 0.0

    def promote(self, now: Instant) -> None:
        """Move what is due from waiting to ready."""
        while self.waiting and self.waiting[0][0] <= now:
            ticket = heapq.heappop(self.waiting)[2]
            if ticket.gone:
                continue
            ticket.ready = True
            self.ready += 1
            ready = ticket.flow.ready
            if ready and ready[-1].key > ticket.key:
                # It was here before and its claim failed; or it was given back. It does not lose its place.
                ready.insert(bisect_left(ready, ticket.key, key=_key_of), ticket)
            else:
                ready.append(ticket)
            if not ticket.flow.in_ring:
                self._join(ticket.flow)

    def _join(self, flow: Flow) -> None:
        ring = self.rounds[flow.priority]
        if not ring:
            step = 1.0 / WEIGHTS[flow.priority]
            self.passes[flow.priority] = max(self.passes[flow.priority], self.virtual + step)
        flow.deficit = 0
        flow.in_ring = True
        ring.append(flow)

    def pick(self) -> Ticket | None:
        """The next ready ticket: priority by weight, then flow by deficit round robin."""
        while (priority := self._priority()) is not None:
            ticket = self._from(self.rounds[priority])
            if ticket is not None:
                self.ready -= 1
                self.held[priority] -= 1
                self.virtual = self.passes[priority]
                self.passes[priority] += 1.0 / WEIGHTS[priority]
                return ticket
        return None

    def _priority(self) -> Priority | None:
        best: Priority | None = None
        for priority, ring in self.rounds.items():
            if ring and (best is None or self.passes[priority] < self.passes[best]):
                best = priority
        return best

    @staticmethod
    def _from(ring: deque[Flow]) -> Ticket | None:
        while ring:
            flow = ring[0]
            if not flow.ready:
                ring.popleft().in_ring = False
                continue
            cost = flow.ready[0].segments
            if flow.deficit < cost:
                flow.deficit += 1
                ring.rotate(-1)
                continue
            flow.deficit -= cost
            ticket = flow.ready.popleft()
            flow.held -= 1
            return ticket
        return None

    def empty(self, only: Flow | None = None) -> list[Ticket]:
        """Take all tickets out (of one flow, or of all)."""
        out: list[Ticket] = []
        for ring in self.rounds.values():
            leaving = [flow for flow in ring if only is None or flow is only]
            for flow in leaving:
                out += flow.ready
                self.ready -= len(flow.ready)
                flow.ready.clear()
                flow.in_ring = False
            if leaving:
                staying = [flow for flow in ring if flow.in_ring]
                ring.clear()
                ring.extend(staying)
        out += [entry[2] for entry in self.waiting if not entry[2].gone and (only is None or entry[2].flow is only)]
        self.waiting = [entry for entry in self.waiting if only is not None and entry[2].flow is not only]
        heapq.heapify(self.waiting)
        for ticket in out:
            self.held[ticket.flow.priority] -= 1
        return out


@dataclass(frozen=True, slots=True)
class Work:
    """What to claim now; and if that is not all, when to ask again."""

    tickets: tuple[Ticket, ...]
    wake: Instant | None
    """The next due time of a waiting ticket, or of a flow to be fed; None: only an event can bring work."""
    crowded: tuple[str, ...]
    """Lanes that hold ready tickets for which there was no room."""


@dataclass(frozen=True, slots=True)
class Meal:
    """What a flow wants to read from the outbox: keys > `after`, due <= `until`, at most `limit`."""

    flow: int
    after: Key
    until: Instant
    limit: int


class Schedule:
    """The window. `add`, `take`, `free`, and `next_meal`/`feed` to keep it full."""

    def __init__(self, lanes: Iterable[str], capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._lanes = {name: Lane(name) for name in lanes}
        self._flows: dict[int, Flow] = {}
        self._tickets: dict[int, Ticket] = {}
        self._hungry: OrderedDict[tuple[str, Priority], OrderedDict[int, None]] = OrderedDict(
            ((name, priority), OrderedDict()) for name in self._lanes for priority in Priority
        )
        """Flows that want to be fed, by lane and priority; the part that was served last comes last."""
        self._later: list[tuple[Instant, int]] = []

    # -- what is held ------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Tickets in memory, those taken included."""
        return len(self._tickets)

    @property
    def flows(self) -> int:
        return len(self._flows)

    def know_flow(self, id: int, route: str, lane: str, priority: Priority, *, next_due: Instant | None) -> None:
        """Make a flow known. `next_due` None: the outbox holds nothing pending of it; else it wants to be fed then."""
        if id in self._flows:
            return
        horizon = EVERYTHING if next_due is None else NOTHING
        flow = self._flows[id] = Flow(id, route, lane, priority, horizon, next_due)
        self._appetite(flow)

    def add_lane(self, name: str) -> None:
        """A provider more. Nothing happens when it is there."""
        if name not in self._lanes:
            self._lanes[name] = Lane(name)
            for priority in Priority:
                self._hungry[name, priority] = OrderedDict()

    def remove_lane(self, name: str, lane_of: Callable[[str], str]) -> None:
        """A provider less. `lane_of` says by the route in which other lane each of its flows waits."""
        self._leave(name, [flow for flow in self._flows.values() if flow.lane == name], lane_of)
        del self._lanes[name]
        for priority in Priority:
            del self._hungry[name, priority]

    def knows(self, flow: int) -> bool:
        """Whether the flow is known; one with nothing pending is forgotten."""
        return flow in self._flows

    def routes(self) -> list[tuple[int, str, str]]:
        """(flow, route, lane) of every known flow."""
        return [(flow.id, flow.route, flow.lane) for flow in self._flows.values()]

    def move(self, flow_id: int, lane: str) -> None:
        """Let the flow wait in another lane; what is held of it is fed again there."""
        flow = self._flows[flow_id]
        if flow.lane != lane:
            self._leave(flow.lane, [flow], lambda route: lane)

    def reroute(self, lane_of: Callable[[str], str], only: Callable[[str], bool] = lambda route: True) -> None:
        """Let every flow (or those of the routes chosen by `only`) wait in the lane its route leads to now."""
        leaving: dict[str, list[Flow]] = {}
        lanes: dict[str, str] = {}
        for flow in self._flows.values():
            if only(flow.route) and flow.lane != lanes.setdefault(flow.route, lane_of(flow.route)):
                leaving.setdefault(flow.lane, []).append(flow)
        for name, flows in leaving.items():
            self._leave(name, flows, lanes.__getitem__)

    def _leave(self, name: str, flows: list[Flow], lane_of: Callable[[str], str]) -> None:
        """Emptied once, however many flows leave; those that stay are fed again."""
        lane = self._lanes[name]
        if len(flows) == 1:
            self._put_back(lane.empty(flows[0]), flows)
        elif flows:
            everyone = [flow for flow in self._flows.values() if flow.lane == name]
            self._put_back(lane.empty(), everyone)
            for flow in everyone:
                self._appetite(flow)
        for flow in flows:
            self._hungry[name, flow.priority].pop(flow.id, None)
            flow.lane = lane_of(flow.route)
            self._appetite(flow)

    def set_open(self, lane: str, is_open: bool) -> None:
        """A closed lane gives nothing out and its tickets go back to the outbox; opened, its flows are fed again."""
        queue = self._lanes[lane]
        if queue.open == is_open:
            return
        queue.open = is_open
        flows = [flow for flow in self._flows.values() if flow.lane == lane]
        if not is_open:
            self._put_back(queue.empty(), flows)
        for flow in flows:
            self._appetite(flow)

    def _put_back(self, tickets: Iterable[Ticket], flows: Iterable[Flow]) -> None:
        """These tickets are forgotten; their messages stay in the outbox and are fed again from the first on."""
        for ticket in tickets:
            self._tickets.pop(ticket.seq, None)
            self._leave_behind(ticket.flow, ticket.due)
        for flow in flows:
            flow.held = 0
            flow.last = NOTHING
            flow.horizon = EVERYTHING if flow.beyond is None else NOTHING

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
            self._leave_behind(flow, supply.due)
        elif supply.due > now + LOOKAHEAD_MS and key > flow.last:
            flow.horizon = max(flow.last, min(flow.horizon, (now + LOOKAHEAD_MS, _LAST)))
            self._leave_behind(flow, supply.due)
        elif key > flow.last and not self._takes_offers(flow):
            flow.horizon = flow.last
            self._leave_behind(flow, supply.due)
        else:
            self._hold(flow, supply)

    @staticmethod
    def _leave_behind(flow: Flow, due: Instant) -> None:
        flow.beyond = due if flow.beyond is None else min(flow.beyond, due)

    def _part(self, lane: str, priority: Priority) -> int:
        """How many tickets a priority may hold in a lane."""
        lanes = sum(each.open for each in self._lanes.values())
        return max(1, int(self.capacity * SHARE[priority] / max(1, lanes)))

    def _takes_offers(self, flow: Flow) -> bool:
        """Whether what has just become pending may be held at once: no flow fills what others wait to be fed into."""
        lane = self._lanes[flow.lane]
        part = self._part(flow.lane, flow.priority)
        held = lane.held[flow.priority]
        if flow.held < LEAST:
            return lane.open and held < part
        return lane.open and held < OFFERED * part and flow.held < OFFERED * part / max(1, len(self._flows))

    def _hold(self, flow: Flow, supply: Supply) -> None:
        if supply.seq in self._tickets:
            return
        ticket = Ticket(supply.seq, supply.attempt, supply.due, supply.segments, flow)
        self._tickets[supply.seq] = ticket
        flow.held += 1
        self._lanes[flow.lane].held[flow.priority] += 1
        flow.last = max(flow.last, (supply.due, supply.seq))
        heapq.heappush(self._lanes[flow.lane].waiting, (supply.due, supply.seq, ticket))

    def _appetite(self, flow: Flow) -> None:
        """Note whether, and when, the flow wants to be fed."""
        hungry = self._hungry[flow.lane, flow.priority]
        if flow.beyond is None or flow.eating or not self._lanes[flow.lane].open:
            hungry.pop(flow.id, None)
            return
        if flow.held < self._slice(flow) // 2 and flow.id not in hungry:
            hungry[flow.id] = None

    @property
    def hungry(self) -> bool:
        """Whether some flow wants to be fed (perhaps later, or when there is room)."""
        return any(self._hungry.values())

    def next_meal(self, now: Instant) -> Meal | None:
        """Which flow to feed next, and what; None: none wants anything now. The caller answers with `feed`."""
        self._wake_later(now)
        for part, hungry in self._hungry.items():
            lane, priority = part
            if self._lanes[lane].held[priority] >= self._part(lane, priority):
                continue
            while hungry:
                flow = self._flows[hungry.popitem(last=False)[0]]
                if flow.beyond is None:
                    continue
                if flow.beyond > now + LOOKAHEAD_MS:
                    self._look_later(flow, flow.beyond - LOOKAHEAD_MS)
                    continue
                flow.eating = True
                self._hungry.move_to_end(part)
                return Meal(flow.id, flow.horizon, now + LOOKAHEAD_MS, self._slice(flow))
        return None

    def _slice(self, flow: Flow) -> int:
        return max(LEAST, min(SLICE, self._part(flow.lane, flow.priority) // max(1, len(self._flows))))

    def _look_later(self, flow: Flow, at: Instant) -> None:
        if flow.later is not None and flow.later <= at:
            return
        flow.later = at
        heapq.heappush(self._later, (at, flow.id))
        if len(self._later) > 2 * len(self._flows) + 64:
            self._later = [(flow.later, flow.id) for flow in self._flows.values() if flow.later is not None]
            heapq.heapify(self._later)

    def _wake_later(self, now: Instant) -> None:
        while self._later and self._later[0][0] <= now:
            flow = self._flows.get(heapq.heappop(self._later)[1])
            if flow is not None:
                flow.later = None
                self._appetite(flow)

    def feed(
        self, meal: Meal, items: Sequence[Supply], *, complete: bool, next_due: Instant | None, now: Instant
    ) -> None:
        """What the outbox answered to a meal."""
        flow = self._flows.get(meal.flow)
        if flow is None:
            return
        flow.eating = False
        offered, flow.offered = flow.offered, []
        if flow.horizon == meal.after and self._lanes[flow.lane].open:
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
                self._leave_behind(flow, supply.due)
            if offered and flow.horizon > flow.last:
                flow.horizon = flow.last
            self._appetite(flow)

    # -- demand ------------------------------------------------------------------------------------------------------

    def take(self, now: Instant, room: Callable[[str, int], int]) -> Work:
        """What may be claimed now. Every ticket taken must be freed.

        `room(lane, wanted)` says how many tickets the lane may give out, and is asked only when it has some: `wanted`.
        """
        taken: list[Ticket] = []
        crowded: list[str] = []
        wake: Instant | None = None
        self._wake_later(now)
        for lane in self._lanes.values():
            if not lane.open:
                continue
            lane.promote(now)
            for _ in range(room(lane.name, lane.ready) if lane.ready else 0):
                ticket = lane.pick()
                if ticket is None:
                    break
                ticket.taken = True
                taken.append(ticket)
                self._appetite(ticket.flow)
            if lane.ready:
                crowded.append(lane.name)
            if lane.waiting and (wake is None or lane.waiting[0][0] < wake):
                wake = lane.waiting[0][0]
        if self._later and (wake is None or self._later[0][0] < wake):
            wake = self._later[0][0]
        return Work(tuple(taken), wake, tuple(crowded))

    def free(self, ticket: Ticket) -> None:
        """The ticket's attempt is over. If the message is pending again, `add` it after this."""
        if self._tickets.get(ticket.seq) is ticket:
            del self._tickets[ticket.seq]
        self._forget_idle(ticket.flow)

    def drop(self, seq: int) -> None:
        """The message left `pending` by another way (cancelled, expired): its ticket, if held and not taken, goes."""
        ticket = self._tickets.get(seq)
        if ticket is None or ticket.taken:
            return
        del self._tickets[seq]
        ticket.gone = True
        ticket.flow.held -= 1
        self._lanes[ticket.flow.lane].held[ticket.flow.priority] -= 1
        if ticket.ready:
            ticket.flow.ready.remove(ticket)
            self._lanes[ticket.flow.lane].ready -= 1
        self._appetite(ticket.flow)
        self._forget_idle(ticket.flow)

    def _forget_idle(self, flow: Flow) -> None:
        if self._flows.get(flow.id) is not flow:
            return  # forgotten before; one of the same id may have come since, and its hunger is its own
        if flow.held == 0 and flow.beyond is None and not flow.eating and not flow.offered:
            self._hungry[flow.lane, flow.priority].pop(flow.id, None)
            del self._flows[flow.id]
