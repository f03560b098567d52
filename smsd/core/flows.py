"""Who waits in the window, and whose turn is it inside one tenant?

Tickets, the flows they belong to, and the share of a tenant that unites its flows in one priority of one lane. Nothing
here knows the outbox, the clock or a provider: a ticket is a number, a due time and a cost.

Two levels, because a tenant with a thousand campaigns shall get no more than one with a single campaign: tenants take
turns (`lanes`), and inside a tenant its flows do (here). Both by deficit round robin: each turn is worth one segment,
and who cannot pay for its next message yet keeps what it was given.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from enum import IntEnum
from functools import lru_cache
from typing import Protocol

from smsd.core.limits import groups_of
from smsd.core.message import Instant, Priority

Key = tuple[Instant, int]
"""Order of messages in a flow: due time, then order of acceptance."""

_groups_of = lru_cache(4_096)(groups_of)
"""Flows come and go with every message of a quiet campaign."""

NOTHING: Key = (-1, -1)
EVERYTHING: Key = (2**62, 2**62)


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


class Hold(IntEnum):
    """Whether a limit holds something up, and what it may keep meanwhile."""

    NONE = 0
    SHORT = 1
    """It gives nothing out, but holds tickets, so that it competes as any other the moment it is let go."""
    LONG = 2
    """It ends later than the window looks ahead: nothing is held."""


class Ticket:
    """One pending message in the window: what scheduling needs, never its text."""

    __slots__ = ("again", "attempt", "due", "flow", "gone", "key", "ready", "segments", "seq", "taken")

    def __init__(self, seq: int, attempt: int, due: Instant, segments: int, flow: Flow) -> None:
        self.seq = seq
        self.attempt = attempt
        self.due = due
        self.key: Key = (due, seq)
        self.segments = segments
        self.flow = flow
        self.ready = False
        self.taken = False
        self.gone = False
        self.again: tuple[Flow, Supply] | None = None
        """Taken, and its message is pending again before its call is over: as what it comes back."""

    def __lt__(self, other: Ticket) -> bool:
        """Only two of one message meet in a heap with the same key: all but one are gone."""
        return False


class Flow:
    """Messages that share route, priority, tenant and campaign, and so share fairly with other flows as one."""

    __slots__ = (
        "beyond",
        "block",
        "campaign",
        "deficit",
        "eating",
        "groups",
        "held",
        "horizon",
        "hungry",
        "id",
        "in_ring",
        "lane",
        "last",
        "later",
        "offered",
        "owed",
        "priority",
        "ready",
        "route",
        "share",
        "tenant",
        "waiting",
    )

    share: Share
    """Its tenant's, in the lane where it waits; set by that lane."""

    def __init__(
        self,
        id: int,
        route: str,
        lane: str,
        priority: Priority,
        beyond: Instant | None,
        tenant: str,
        campaign: str | None,
    ) -> None:
        self.id = id
        self.route = route
        """Who may carry it; opaque here, kept for whoever chooses the lane."""
        self.lane = lane
        self.priority = priority
        self.tenant = tenant
        self.campaign = campaign
        self.groups = _groups_of(tenant, campaign)
        """What it may be held up with: its tenant's group, then its campaign's."""
        self.block = Hold.NONE
        """Whether its campaign is held up; its tenant's block is its share's."""
        self.waiting: dict[int, Ticket] = {}
        """Tickets in the first stage, by seq, so that they can be given back without a look at those of others."""
        self.ready: deque[Ticket] = deque()
        self.held = 0
        """Tickets that wait here, in either stage."""
        self.deficit = 0
        self.in_ring = False
        self.horizon = EVERYTHING if beyond is None else NOTHING
        self.last = NOTHING
        """The largest key ever held since the last unloading."""
        self.beyond = beyond
        """When the earliest message that is not held here is due; None: all are held."""
        self.later: Instant | None = None
        """When the schedule will look at `beyond` again, if that is not now."""
        self.hungry = False
        """Whether it queues to be fed."""
        self.eating = False
        self.offered: list[Supply] = []
        """Offers that arrived while the flow was being fed; looked at when the slice is in."""
        self.owed = 0
        """Tickets of other rounds, still taken, that come back here (`Ticket.again`)."""

    @property
    def held_up(self) -> Hold:
        """By whatever holds it up the longest."""
        return max(self.block, self.share.block)

    def leave_behind(self, due: Instant) -> None:
        """A message due then stays in the outbox."""
        self.beyond = due if self.beyond is None else min(self.beyond, due)

    def forget_held(self) -> None:
        """All that was held is back in the outbox: what is read next is read from the first message on."""
        self.last = NOTHING
        self.horizon = EVERYTHING if self.beyond is None else NOTHING


class Share:
    """What one tenant has of one priority of one lane: its flows, and whose turn it is among them."""

    __slots__ = ("block", "deficit", "flows", "group", "hungry", "in_ring", "lane", "priority", "ready", "ring")

    def __init__(self, group: str, lane: str, priority: Priority, block: Hold) -> None:
        self.group = group
        """The tenant, by the name under which its flows are held up."""
        self.lane = lane
        self.priority = priority
        self.block = block
        self.flows: dict[int, Flow] = {}
        self.hungry: tuple[OrderedDict[int, Flow], OrderedDict[int, Flow]] = (OrderedDict(), OrderedDict())
        """Flows that queue to be fed: those whose campaign is free, and those whose campaign is held up."""
        self.ring: deque[Flow] = deque()
        """Flows with tickets to give out; who has none any more, or is blocked, leaves when its turn comes."""
        self.ready = 0
        """Due tickets of its flows that are not blocked."""
        self.deficit = 0
        self.in_ring = False

    def join(self, flow: Flow) -> None:
        """The flow has something to give out."""
        flow.deficit = 0
        flow.in_ring = True
        self.ring.append(flow)

    def head(self) -> Ticket | None:
        """The ticket it gives next; asked again before it is given, the same."""
        ring = self.ring
        while ring:
            flow = ring[0]
            if flow.block or not flow.ready:
                ring.popleft().in_ring = False
                continue
            ticket = flow.ready[0]
            if flow.deficit >= ticket.segments:
                return ticket
            if len(ring) == 1:  # alone it waits for no turn
                flow.deficit = ticket.segments
                return ticket
            flow.deficit += 1
            ring.rotate(-1)
        return None

    def give(self, ticket: Ticket) -> None:
        """The ticket of `head` goes."""
        flow = ticket.flow
        flow.ready.popleft()
        flow.deficit -= ticket.segments
        flow.held -= 1
        self.ready -= 1
