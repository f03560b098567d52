"""How does the schedule stay true to the outbox?

The feeder is the only one who tells the schedule what is pending: what intake has stored, what a settlement put back,
and, slice by slice, what still lies in the outbox. It also decides in which lane a flow waits (routing) and moves flows
when a provider falls out or comes back. It reads only when a flow is hungry; a million pending messages are never
scanned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from smsd.clock import Clock
from smsd.core.health import Standing
from smsd.core.message import Instant, Message, Priority
from smsd.core.routing import FAILOVER_AFTER_MS, choose
from smsd.core.schedule import Meal, Schedule, Supply
from smsd.engine.lane import NORMAL, Lane
from smsd.store import Due, FlowRow, Records, StoreError

log = structlog.get_logger("smsd.feeder")

NO_ROUTE = ""
"""The lane of flows none of whose providers exists any more. It is always closed."""

RETRY_READ_S = 1.0
"""After a read that failed."""


class Whose(Protocol):
    """What messages of one flow share beside their route."""

    @property
    def priority(self) -> Priority: ...
    @property
    def tenant(self) -> str: ...
    @property
    def campaign(self) -> str | None: ...


class Feeder:
    """Keeps the window of the schedule filled."""

    def __init__(
        self, schedule: Schedule, records: Records, lanes: Mapping[str, Lane], clock: Clock, kick: Callable[[], None]
    ) -> None:
        self._schedule = schedule
        self._records = records
        self._lanes = lanes
        self._clock = clock
        self._kick = kick
        self._hungry = asyncio.Event()
        self.failover_after_ms: int | None = FAILOVER_AFTER_MS

    def recover(self, flows: tuple[FlowRow, ...]) -> None:
        """At start: make the flows known; their messages stay where they are until they are wanted."""
        for flow in flows:
            self._know(flow.id, flow.route, flow, next_due=flow.next_due)
        self.wake()

    def offer(self, message: Message) -> None:
        """A message is pending (again)."""
        due = Due(message.seq, message.attempt, message.due, message.segments)
        self.add(message.flow, message.route, message, due)

    def add(self, flow: int, route: str, whose: Whose, due: Supply) -> None:
        """A message of this flow is pending."""
        if not self._schedule.knows(flow):
            self._know(flow, route, whose, next_due=None)
        self._schedule.add(flow, due, self._clock.wall())
        self._kick()

    def _know(self, flow: int, route: str, whose: Whose, *, next_due: Instant | None) -> None:
        self._schedule.know_flow(
            flow,
            route,
            self._lane_of(route),
            whose.priority,
            next_due=next_due,
            tenant=whose.tenant,
            campaign=whose.campaign,
        )

    def _lane_of(self, route: str) -> str:
        standings: dict[str, Standing] = {}
        until: dict[str, Instant | None] = {}
        now = self._clock.wall()
        for name in route.split(","):
            lane = self._lanes.get(name)
            if lane is not None:
                standings[name] = lane.standing()
                until[name] = lane.until()
        return choose(standings, until, now, self.failover_after_ms) or NO_ROUTE

    def lane_changed(self, lane: Lane) -> None:
        """A provider opened or closed: its lane follows, and flows that have another choice move."""
        if self._lanes.get(lane.name) is not lane:
            return  # it is configured no more; what it still learns is only written down
        self._follow(lane)
        self._schedule.reroute(self._lane_of, only=lambda route: "," in route)
        self.wake()
        self._kick()

    def lanes_changed(self) -> None:
        """The providers, or their order, changed: every lane follows, every flow waits where its route leads now."""
        for lane in self._lanes.values():
            self._follow(lane)
        self._schedule.reroute(self._lane_of)
        self.wake()
        self._kick()

    def _follow(self, lane: Lane) -> None:
        is_open = lane.standing() in NORMAL
        lane.gate.set_open(is_open)
        self._schedule.set_open(lane.name, is_open)

    def lane_gone(self, name: str) -> None:
        """A provider is configured no more (its lane is out of the mapping): its flows wait elsewhere."""
        self._schedule.remove_lane(name, self._lane_of)
        self.wake()
        self._kick()

    def stranded(self) -> tuple[str, ...]:
        """Routes, none of whose providers is configured, on which messages wait; at most the first ten."""
        routes = {route for _, route, lane in self._schedule.routes() if lane == NO_ROUTE}
        return tuple(sorted(routes)[:10])

    @property
    def flows(self) -> int:
        """Flows with messages."""
        return self._schedule.flows

    def wake(self) -> None:
        """Some flow may be hungry. The dispatcher says so at every look, so this must not make it look again."""
        if self._schedule.hungry:
            self._hungry.set()

    async def run(self) -> None:
        """Feed whoever is hungry; sleep until someone is."""
        while True:
            await self._hungry.wait()
            self._hungry.clear()
            while (meal := self._schedule.next_meal(self._clock.wall())) is not None:
                await self._serve(meal)

    async def _serve(self, meal: Meal) -> None:
        try:
            found = await self._records.feed(meal.flow, meal.after, meal.until, meal.limit)
        except StoreError as error:
            log.error("the outbox could not be read; asking again", error=str(error))
            self._schedule.skip(meal)
            await asyncio.sleep(RETRY_READ_S)
            return
        now = self._clock.wall()
        self._schedule.feed(meal, found.items, complete=found.complete, next_due=found.next_due, now=now)
        self._kick()
