"""Which flow is read from the outbox next, and how much of it may the window hold?

The window is shared out: every open lane has the same of it, every priority of a lane its part, so that none shuts
another out. Inside a part tenants are fed in turns, and inside a tenant its flows, as they are served; else a tenant of
a thousand campaigns would fill the window and be alone in it. Flows that are held up are fed too, for they shall
compete at once when they are let go, but last, and never into the room that is kept for others.

Nothing here reads or holds a message.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Mapping

from smsd.core.flows import Flow, Hold, Share
from smsd.core.lanes import Lane
from smsd.core.message import Instant, Priority

LOOKAHEAD_MS = 60_000
"""What is due later than this stays in the outbox, so that next week's messages never fill the window."""

SLICE = 256
"""Tickets a flow is fed at once at most; small slices keep many flows fair."""

LEAST = 16
"""The smallest slice."""

SHARES: Mapping[Priority, float] = {Priority.HIGH: 0.4, Priority.NORMAL: 0.4, Priority.BULK: 0.2}
"""What each priority has of its lane's part of the window, so that none shuts another out. Open lanes share equally."""

OFFERED = 0.9
"""How full a part may be filled by what has just become pending, or is held up; the rest is for flows that wait to be
fed."""

_Queue = OrderedDict[Share, None]
"""Tenants with flows to feed, in the order of their turns; which flows, the tenant's share knows (`_asking`)."""

_NOBODY: OrderedDict[int, Flow] = OrderedDict()


class Hunger:
    """Flows that want to be fed, and how large the parts of the window are (in tickets)."""

    def __init__(self, capacity: int, lanes: Mapping[str, Lane], flows: Mapping[int, Flow]) -> None:
        self.capacity = capacity
        self._lanes = lanes
        self._flows = flows
        self._parts: dict[Priority, int] = {}
        self._queues: OrderedDict[tuple[str, Priority], tuple[_Queue, _Queue]] = OrderedDict()
        """By lane and priority: those free, those held up. The part that was served last comes last."""
        self._many = 0
        self._later: list[tuple[Instant, int]] = []
        """When which flow is looked at again."""
        for name in lanes:
            self.add_lane(name)

    # -- how much ----------------------------------------------------------------------------------------------------

    def add_lane(self, name: str) -> None:
        for priority in Priority:
            self._queues[name, priority] = (OrderedDict(), OrderedDict())
        self.share_out()

    def remove_lane(self, name: str) -> None:
        """No flow waits there any more."""
        for priority in Priority:
            del self._queues[name, priority]
        self.share_out()

    def share_out(self) -> None:
        """A lane opened, closed, came or went."""
        lanes = max(1, sum(lane.open for lane in self._lanes.values()))
        self._parts = {priority: max(1, int(self.capacity * SHARES[priority] / lanes)) for priority in Priority}

    def part(self, priority: Priority) -> int:
        """How many tickets a priority may hold in a lane."""
        return self._parts[priority]

    def fair(self, flow: Flow) -> int:
        """What a flow would hold of its part if tenants held alike, and inside a tenant its flows."""
        tenants = len(self._lanes[flow.lane].shares[flow.priority])
        return self.part(flow.priority) // (tenants * len(flow.share.flows))

    def slice(self, flow: Flow) -> int:
        """How much it is fed at once."""
        return max(LEAST, min(SLICE, self.fair(flow)))

    # -- who ---------------------------------------------------------------------------------------------------------

    def __bool__(self) -> bool:
        return self._many > 0

    def want(self, flow: Flow) -> None:
        """The flow wants to be fed."""
        if flow.hungry:
            return
        flow.hungry = True
        self._many += 1
        flow.share.hungry[flow.block is not Hold.NONE][flow.id] = flow
        self._queue(flow.share)

    def sate(self, flow: Flow) -> None:
        """The flow wants nothing."""
        if not flow.hungry:
            return
        flow.hungry = False
        self._many -= 1
        for flows in flow.share.hungry:
            flows.pop(flow.id, None)
        self._queue(flow.share)

    def sort_flow(self, flow: Flow, is_free: bool) -> None:
        """Its campaign was held up or let go. Its tenant's other flows stay where they are: there may be thousands."""
        if flow.hungry:
            self.sate(flow)
            self.want(flow)
        self._requeue(flow.share, is_free)

    def sort(self, share: Share, is_free: bool) -> None:
        """The tenant was held up or let go."""
        self._queue(share)
        self._requeue(share, is_free)

    def _requeue(self, share: Share, is_free: bool) -> None:
        """Let go, a tenant comes first: else one that is held up again and again would never come to its turn."""
        free = self._queues[share.lane, share.priority][False]
        if is_free and share in free:
            free.move_to_end(share, last=False)

    def _queue(self, share: Share) -> None:
        """The tenant queues where it has flows to feed, and keeps its place where it has one."""
        for is_held_up, queue in enumerate(self._queues[share.lane, share.priority]):
            if self._asking(share, bool(is_held_up)):
                queue.setdefault(share)
            else:
                queue.pop(share, None)

    @staticmethod
    def _asking(share: Share, is_held_up: bool) -> OrderedDict[int, Flow]:
        """Of the tenant's hungry flows those free, or those held up; of a tenant held up all are."""
        free, held_up = share.hungry
        if not share.block:
            return held_up if is_held_up else free
        return free or held_up if is_held_up else _NOBODY

    def next(self, until: Instant, make_room: Callable[[Lane, Priority], None]) -> Flow | None:
        """Who is fed next, of those with something due at `until` or before; who has only later ones is looked at then.

        `make_room` is asked where a flow wants to be fed and its part is full of what is held up.
        """
        for held_up in (False, True):
            for part, queues in self._queues.items():
                queue = queues[held_up]
                if queue and self._has_room(*part, held_up, make_room):
                    flow = self._first(queue, held_up, until)
                    if flow is not None:
                        self._queues.move_to_end(part)
                        return flow
        return None

    def _has_room(
        self, name: str, priority: Priority, held_up: bool, make_room: Callable[[Lane, Priority], None]
    ) -> bool:
        lane = self._lanes[name]
        if held_up:
            return lane.held[priority] < OFFERED * self.part(priority)
        if lane.held[priority] >= self.part(priority) and lane.idle[priority]:
            make_room(lane, priority)
        return lane.held[priority] < self.part(priority)

    def _first(self, queue: _Queue, is_held_up: bool, until: Instant) -> Flow | None:
        while queue:
            share = next(iter(queue))
            flow = self._asking(share, is_held_up).popitem(last=False)[1]
            flow.hungry = False
            self._many -= 1
            queue.move_to_end(share)
            self._queue(share)
            if flow.beyond is None:
                continue
            if flow.beyond <= until:
                return flow
            self._put_off(flow, flow.beyond - LOOKAHEAD_MS)
        return None

    # -- when to look again ------------------------------------------------------------------------------------------

    def _put_off(self, flow: Flow, at: Instant) -> None:
        if flow.later is not None and flow.later <= at:
            return
        flow.later = at
        heapq.heappush(self._later, (at, flow.id))
        if len(self._later) > 2 * len(self._flows) + 64:
            self._later = [(each.later, each.id) for each in self._flows.values() if each.later is not None]
            heapq.heapify(self._later)

    @property
    def wake(self) -> Instant | None:
        """When a flow that was put off is to be looked at; None: none was."""
        return self._later[0][0] if self._later else None

    def awake(self, now: Instant) -> list[Flow]:
        """Flows that were put off until now."""
        flows: list[Flow] = []
        while self._later and self._later[0][0] <= now:
            flow = self._flows.get(heapq.heappop(self._later)[1])
            if flow is not None:
                flow.later = None
                flows.append(flow)
        return flows
