"""What may be sent next, and if nothing, when?

The schedule holds tickets, never messages: a number, a due time, a cost. It is a bounded window (about 20,000 tickets)
over the outbox, fed from it and rebuilt from it at any moment, so a million pending messages cost neither memory nor a
scan. It knows no clock, no store and no provider: it is told the time and how much room each lane has. Whose turn it is
in a lane is said by `lanes` and `flows`; how the window is kept true to the outbox by `supply`, which asks `hunger` who
is read next, and `blocks` whom a limit holds up. Here flows are given their lanes, and tickets are given out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from smsd.core.flows import NOTHING, Flow, Key, Supply, Ticket
from smsd.core.hunger import LOOKAHEAD_MS, SLICE
from smsd.core.lanes import Lane
from smsd.core.message import Instant, Priority
from smsd.core.supply import CAPACITY, Meal, Window

__all__ = [
    "CAPACITY",
    "LOOKAHEAD_MS",
    "NOTHING",
    "SLICE",
    "Flow",
    "Key",
    "Lane",
    "Meal",
    "Schedule",
    "Supply",
    "Ticket",
    "Work",
]


@dataclass(frozen=True, slots=True)
class Work:
    """What to claim now; and if that is not all, when to ask again."""

    tickets: tuple[Ticket, ...]
    wake: Instant | None
    """The next due time of a waiting ticket, of a flow to be fed, or the end of a block; None: only an event can bring
    work."""
    crowded: tuple[str, ...]
    """Lanes that hold ready tickets for which there was no room."""


class Schedule(Window):
    """The window. `add`, `take`, `free`, and `next_meal`/`feed` to keep it full."""

    # -- flows and lanes ---------------------------------------------------------------------------------------------

    def know_flow(
        self,
        id: int,
        route: str,
        lane: str,
        priority: Priority,
        *,
        next_due: Instant | None,
        tenant: str = "",
        campaign: str | None = None,
    ) -> None:
        """Make a flow known. `next_due` None: the outbox holds nothing pending of it; else it wants to be fed then."""
        if id in self._flows:
            return
        flow = self._flows[id] = Flow(id, route, lane, priority, next_due, tenant, campaign)
        for group in flow.groups[1:]:
            self._campaigns.setdefault(group, {})[id] = flow
            flow.block = self._blocks.seen(group)
        self._lanes[lane].enter(flow, self._blocks.seen(flow.groups[0]))
        self._appetite(flow)

    def add_lane(self, name: str) -> None:
        """A provider more. Nothing happens when it is there."""
        if name not in self._lanes:
            self._lanes[name] = Lane(name)
            self._hunger.add_lane(name)

    def remove_lane(self, name: str, lane_of: Callable[[str], str]) -> None:
        """A provider less. `lane_of` says by the route in which other lane each of its flows waits."""
        self._leave(name, self._of_lane(name), lane_of)
        del self._lanes[name]
        self._hunger.remove_lane(name)

    def routes(self) -> list[tuple[int, str, str]]:
        """(flow, route, lane) of every known flow."""
        return [(flow.id, flow.route, flow.lane) for flow in self._flows.values()]

    def _of_lane(self, name: str) -> list[Flow]:
        return [flow for flow in self._flows.values() if flow.lane == name]

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

    def _leave(self, name: str, flows: Collection[Flow], lane_of: Callable[[str], str]) -> None:
        """They leave the lane `name`."""
        self._put_back(flows)
        for flow in flows:
            self._hunger.sate(flow)
            self._lanes[name].leave(flow)
            self._lanes[lane_of(flow.route)].enter(flow, self._blocks.seen(flow.groups[0]))
            self._appetite(flow)

    def set_open(self, lane: str, is_open: bool) -> None:
        """A closed lane gives nothing out and its tickets go back to the outbox; opened, its flows are fed again."""
        queue = self._lanes[lane]
        if queue.open == is_open:
            return
        queue.open = is_open
        self._hunger.share_out()
        flows = self._of_lane(lane)
        if not is_open:
            self._put_back(flows)
        for flow in flows:
            self._appetite(flow)

    # -- demand ------------------------------------------------------------------------------------------------------

    def take(self, now: Instant, room: Callable[[str, int], int]) -> Work:
        """What may be claimed now. Every ticket taken must be freed.

        `room(lane, wanted)` says how many tickets the lane may give out, and is asked only when it has some: `wanted`.
        """
        taken: list[Ticket] = []
        crowded: list[str] = []
        self._look(now)
        wakes = [at for at in (self._hunger.wake, self._blocks.wake) if at is not None]
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
            if (due := lane.due) is not None:
                wakes.append(due)
        return Work(tuple(taken), min(wakes, default=None), tuple(crowded))

    def free(self, ticket: Ticket) -> None:
        """The ticket's attempt is over. If the message is pending again by that, `add` it after this; if by something
        else that came before, it is held now."""
        if self._tickets.get(ticket.seq) is ticket:
            del self._tickets[ticket.seq]
        if ticket.again is not None:
            self._repay(ticket, *ticket.again)
        self._forget_idle(ticket.flow)

    def drop(self, seq: int) -> None:
        """The message left `pending` by another way (cancelled, expired): its ticket, if held and not taken, goes."""
        ticket = self._tickets.get(seq)
        if ticket is None:
            return
        if ticket.taken:
            if ticket.again is not None:
                flow, _ = ticket.again
                self._forgive(ticket)
                self._forget_idle(flow)
            return
        del self._tickets[seq]
        self._lanes[ticket.flow.lane].discard(ticket)
        self._appetite(ticket.flow)
        self._forget_idle(ticket.flow)
