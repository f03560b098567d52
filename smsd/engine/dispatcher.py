"""How does a due message get to its provider, and what becomes of it?

The loop asks the schedule one question (what now, and if nothing, when?) and starts an attempt for every ticket it is
given: claimed together in one commit (durable before the wire), then each on its own (`attempts`), then applied. What
becomes of one message never holds another up; a message that may try a provider that is out of order is sent there
instead of where its flow waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

import structlog

from smsd.clock import Clock
from smsd.core.health import Standing
from smsd.core.message import Instant, Message, Priority, State
from smsd.core.routing import RoutingRules, sender_for
from smsd.core.schedule import Schedule, Ticket, Work
from smsd.core.settlement import Settlement
from smsd.engine.attempts import Attempts
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.settler import Settler
from smsd.store import Blocked, Claim, Due, Outbox, StoreError

log = structlog.get_logger("smsd.dispatcher")

LOOK_AGAIN_S = 30.0
"""However far the next due time seems, look again after this: the wall clock may have been stepped."""

STORE_RETRY_S = 1.0
"""Between tries to claim while the outbox cannot."""


NOTHING_NOW = Work((), None, ())


class Dispatcher:
    """take -> begin -> send -> classify -> decide -> settle -> apply."""

    def __init__(
        self,
        schedule: Schedule,
        outbox: Outbox,
        lanes: Mapping[str, Lane],
        attempts: Attempts,
        settler: Settler,
        feeder: Feeder,
        clock: Clock,
        default_sender: str,
        routing: RoutingRules,
        limits: Limits,
        dice: Callable[[], float],
        died: Callable[[BaseException], None],
    ) -> None:
        self._schedule = schedule
        self._outbox = outbox
        self._lanes = lanes
        self._attempts = attempts
        self._settler = settler
        self._feeder = feeder
        self._clock = clock
        self._default_sender = default_sender
        self._routing = routing
        self._limits = limits
        self._dice = dice
        self._died = died
        self._kick = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unstarted: set[Ticket] = set()
        """Tickets taken whose call has not begun; bounded by the lanes' max_in_flight."""
        self._draining = False
        self._held = False
        self.ticked_at = asyncio.get_running_loop().time()
        """When the loop last looked (its own time, s, which a suspend does not count): the watchdog's proof that it
        lives."""

    def follow(self, default_sender: str, routing: RoutingRules) -> None:
        """Other rules count from now on."""
        self._default_sender, self._routing = default_sender, routing

    @property
    def in_flight(self) -> int:
        """Attempts claimed and not settled."""
        return sum(lane.in_flight for lane in self._lanes.values())

    def hold(self, is_held: bool) -> None:
        """While held nothing is claimed: due times are about to change."""
        self._held = is_held
        self._kick.set()

    def kick(self) -> None:
        """Something changed: look again."""
        self._kick.set()

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled or drained."""
        while not self._draining:
            self._kick.clear()
            self.ticked_at = asyncio.get_running_loop().time()
            self._look_at_lanes()
            now = self._clock.wall()
            work = NOTHING_NOW if self._held else self._schedule.take(now, self._room)
            self._launch(work.tickets, now)
            if self._schedule.hungry:
                self._feeder.wake()
            await self._rest(self._rest_s(work))

    def _room(self, lane: str, wanted: int) -> int:
        return self._lanes[lane].room(wanted)

    def _look_at_lanes(self) -> None:
        for lane in self._lanes.values():
            if (news := lane.look()) is not None:
                self._start(news)

    def _rest_s(self, work: Work) -> float:
        now = self._clock.wall()
        waits = [LOOK_AGAIN_S]
        if work.wake is not None:
            waits.append((work.wake - now) / 1e3)
        for name in work.crowded:
            wait_us = self._lanes[name].room_in_us()
            if wait_us is not None:
                waits.append(wait_us / 1e6)
        waits += [left / 1e3 for lane in self._lanes.values() if (left := lane.condition.changes_in_ms()) is not None]
        return max(0.0, min(waits))

    async def _rest(self, seconds: float) -> None:
        """Until kicked, `seconds` at most; in any case the other parts of the loop get their turn."""
        if seconds <= 0 or self._kick.is_set():
            await asyncio.sleep(0)
            return
        timer = asyncio.get_running_loop().call_later(seconds, self._kick.set)
        try:
            await self._kick.wait()
        finally:
            timer.cancel()

    # -- attempts ----------------------------------------------------------------------------------------------------

    def _launch(self, tickets: tuple[Ticket, ...], now: Instant) -> None:
        if not tickets:
            return
        work: list[tuple[Ticket, Lane]] = []
        for ticket in tickets:  # all take their places before any of them is diverted to one that has only one place
            self._lanes[ticket.flow.lane].in_flight += 1
        for ticket in tickets:
            home = self._lanes[ticket.flow.lane]
            if home.gate.line is not None:
                home.gate.line.take_up()
            lane = self._probe_for(ticket) or home
            home.in_flight -= 1
            lane.in_flight += 1
            lane.gate.unstarted += 1
            self._unstarted.add(ticket)
            work.append((ticket, lane))
        self._start(self._begin(work, now, self._limits.edition))

    def _probe_for(self, ticket: Ticket) -> Lane | None:
        """A provider of the ticket's route that is out of order and due to be tried: this message tries it, while the
        others of its flow go on by another provider."""
        if "," not in ticket.flow.route or self._routing.failover_after_ms is None:
            return None
        urgent = ticket.flow.priority is Priority.HIGH
        for name in ticket.flow.route.split(","):
            lane = self._lanes.get(name)
            if lane is None or name == ticket.flow.lane or lane.standing() is not Standing.HALF_OPEN:
                continue
            # An urgent message is not risked on it as long as others come by.
            if lane.room(1, in_turn=False) and (not urgent or lane.probe_is_overdue()):
                return lane
        return None

    def _start(self, story: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("an attempt died; the next start looks it up", exc_info=error)
            self._died(error)

    async def _begin(self, work: list[tuple[Ticket, Lane]], now: Instant, edition: int) -> None:
        """Claim them all in one commit; each that is ours then goes its own way, in order. `now`: when they were taken,
        in which `edition` of the limits."""
        senders = {lane.name: self._senders(lane) for lane in {lane for _, lane in work}}
        claims = [
            Claim(ticket.seq, ticket.attempt, lane.name, *senders[lane.name], self._dice(), ticket.due)
            for ticket, lane in work
        ]
        try:
            messages = await self._outbox.begin(claims, now)
        except Exception as error:
            log.error("nothing can be claimed, so nothing is sent", error=str(error), exc_info=not_expected(error))
            await self._give_back(work)
            return
        for (ticket, lane), found in zip(work, messages, strict=True):
            if isinstance(found, Message) and found.state is State.PROCESSING:
                self._start(self._attempt(ticket, lane, found))
            elif isinstance(found, Blocked):
                self._limits.blocked(found, ticket.flow.tenant, edition)
                self._put_back(ticket, lane)
            else:
                self._leave(ticket, lane)
                if found is not None:
                    self._refused(found, now)

    def _senders(self, lane: Lane) -> tuple[str, Callable[[str], str] | None]:
        """As whom the lane sends what names no sender; where its pool has several, how one follows from the
        recipient."""
        candidate = lane.candidate
        sender = sender_for(candidate, None, self._default_sender, "")
        if len(candidate.senders) < 2:
            return sender, None
        return sender, lambda recipient: sender_for(candidate, None, self._default_sender, recipient)

    def _refused(self, message: Message, asked_at: Instant) -> None:
        """The claim was not granted, and the outbox wrote down what follows: a limit or quiet hours put it off, its
        recipient wants no texts of this provider and it goes by another one, it has failed, or its campaign is
        cancelled and it is too."""
        if message.state is State.PENDING:
            self._feeder.offer(message)
        self._limits.refused(message, asked_at)

    async def _give_back(self, work: list[tuple[Ticket, Lane]]) -> None:
        await asyncio.sleep(STORE_RETRY_S)
        for ticket, lane in work:
            self._put_back(ticket, lane)

    def _put_back(self, ticket: Ticket, lane: Lane) -> None:
        """It could not be claimed and is as it was: it takes its old place."""
        flow = ticket.flow
        self._leave(ticket, lane)
        due = min(ticket.due, self._clock.wall())  # it was due, by a clock that may have been set back since
        supply = Due(ticket.seq, ticket.attempt, due, ticket.segments)
        self._feeder.add(flow.id, flow.route, flow, supply)

    def _pass(self, ticket: Ticket, lane: Lane) -> None:
        """The call begins, or never will: the slot it was claimed for is no longer owed."""
        if ticket in self._unstarted:
            self._unstarted.remove(ticket)
            lane.gate.unstarted -= 1
            self._kick.set()

    def _leave(self, ticket: Ticket, lane: Lane) -> None:
        self._pass(ticket, lane)
        lane.in_flight -= 1
        self._schedule.free(ticket)
        self._kick.set()

    async def _attempt(self, ticket: Ticket, lane: Lane, message: Message) -> None:
        """One attempt, from the gate to its settlement."""
        settlement: Settlement | None = None
        try:
            settlement = await self._attempts.make(lane, message, partial(self._pass, ticket, lane))
        except Exception as error:
            log.critical(
                "an attempt could not be settled", id=message.id, error=str(error), exc_info=not_expected(error)
            )
            settlement = await self._attempts.doubt(lane, message)
        finally:
            self._leave(ticket, lane)
        if settlement is not None:
            self._settler.apply(message, settlement)

    # -- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Begin no call any more, let those in flight end; returns how many did not in time (they stay open)."""
        self._draining = True
        self._kick.set()
        for lane in self._lanes.values():
            lane.gate.shut()
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while self._tasks and loop.time() < end:  # a claim under way begins further tasks
            await asyncio.wait(self._tasks, timeout=end - loop.time())
        left = [task for task in self._tasks if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        return len(left)


def not_expected(error: Exception) -> Exception | None:
    """The error, if its story belongs in the log: one of the outbox's is told by its text."""
    return None if isinstance(error, StoreError) else error
