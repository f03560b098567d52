"""How does a due message get to its provider, and what becomes of it?

The loop asks the schedule one question (what now, and if nothing, when?) and starts an attempt for every ticket it is
given. An attempt reads as one story: begin (durable before the wire), pass the gate, send, classify, decide, settle,
apply. Nothing reaches the wire that is not on disk; a settlement names the attempt it settles and changes nothing if
that attempt is no longer open. If a settlement cannot be written before the process dies, the open attempt is found at
the next start and is uncertain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping

import structlog

from smsd.clock import Clock
from smsd.core.message import Attempt, Instant, Message
from smsd.core.policy import Settlement, decide, postpone, release
from smsd.core.routing import sender_for
from smsd.core.schedule import Schedule, Ticket, Work
from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.engine.carrier import Carrier
from smsd.engine.exchange import Answer
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.trace import without_private
from smsd.providers.base import Call, NoAnswer, Provider, Request, Response, read
from smsd.store import Claim, Due, Outbox, OutcomeUnknownError, StoreBrokenError, StoreError

log = structlog.get_logger("smsd.dispatcher")

LOOK_AGAIN_S = 30.0
"""However far the next due time seems, look again after this: the wall clock may have been stepped."""

STORE_RETRY_S = 1.0
"""Between tries to claim while the outbox cannot."""


class Dispatcher:
    """take -> begin -> send -> classify -> decide -> settle -> apply."""

    def __init__(
        self,
        schedule: Schedule,
        outbox: Outbox,
        lanes: Mapping[str, Lane],
        carrier: Carrier,
        settler: Settler,
        feeder: Feeder,
        retries: RetryBook,
        clock: Clock,
        dice: Callable[[], float],
        default_sender: str,
        died: Callable[[BaseException], None],
    ) -> None:
        self._schedule = schedule
        self._outbox = outbox
        self._lanes = lanes
        self._carrier = carrier
        self._settler = settler
        self._feeder = feeder
        self._retries = retries
        self._clock = clock
        self._dice = dice
        self.default_sender = default_sender
        self._died = died
        self._kick = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._unstarted: set[Ticket] = set()
        """Tickets taken whose call has not begun; bounded by the lanes' max_in_flight."""
        self._draining = False
        self.ticked_at = clock.boot()
        """When the loop last looked (boot time, us): the watchdog's proof that it lives."""

    @property
    def in_flight(self) -> int:
        """Attempts claimed and not settled."""
        return sum(lane.in_flight for lane in self._lanes.values())

    def kick(self) -> None:
        """Something changed: look again."""
        self._kick.set()

    # -- the loop ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled or drained."""
        while not self._draining:
            self._kick.clear()
            self.ticked_at = self._clock.boot()
            self._end_cooldowns()
            work = self._schedule.take(self._clock.wall(), self._room)
            self._launch(work.tickets)
            if self._schedule.hungry:
                self._feeder.wake()
            await self._rest(self._rest_s(work))

    def _room(self, lane: str, wanted: int) -> int:
        return self._lanes[lane].room(wanted)

    def _end_cooldowns(self) -> None:
        for lane in self._lanes.values():
            if lane.cooldown_over():
                self._start(lane.recover())

    def _rest_s(self, work: Work) -> float:
        now = self._clock.wall()
        waits = [LOOK_AGAIN_S]
        if work.wake is not None:
            waits.append((work.wake - now) / 1e3)
        for name in work.crowded:
            wait_us = self._lanes[name].room_in_us()
            if wait_us is not None:
                waits.append(wait_us / 1e6)
        waits += [left / 1e3 for lane in self._lanes.values() if (left := lane.cooling_left_ms()) is not None]
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

    def _launch(self, tickets: tuple[Ticket, ...]) -> None:
        if not tickets:
            return
        for ticket in tickets:
            lane = self._lanes[ticket.flow.lane]
            lane.in_flight += 1
            lane.unstarted += 1
            self._unstarted.add(ticket)
        self._start(self._begin([(ticket, self._lanes[ticket.flow.lane]) for ticket in tickets]))

    def _start(self, story: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(story)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("an attempt died; the next start looks it up", exc_info=error)
            self._died(error)

    async def _begin(self, work: list[tuple[Ticket, Lane]]) -> None:
        """Claim them all in one commit; each that is ours then goes its own way, in order."""
        claims = [
            Claim(ticket.seq, ticket.attempt, lane.name, sender_for(lane.candidate, None, self.default_sender))
            for ticket, lane in work
        ]
        try:
            messages = await self._outbox.begin(claims, self._clock.wall())
        except Exception as error:
            log.error("nothing can be claimed, so nothing is sent", error=str(error), exc_info=not_expected(error))
            await self._give_back(work)
            return
        for (ticket, lane), message in zip(work, messages, strict=True):
            if message is None:
                self._leave(ticket, lane)
            else:
                self._start(self._attempt(ticket, lane, message))

    async def _give_back(self, work: list[tuple[Ticket, Lane]]) -> None:
        await asyncio.sleep(STORE_RETRY_S)
        for ticket, lane in work:
            flow = ticket.flow
            self._leave(ticket, lane)
            supply = Due(ticket.seq, ticket.attempt, ticket.due, ticket.segments)
            self._feeder.add(flow.id, flow.route, flow.priority, supply)

    def _pass(self, ticket: Ticket, lane: Lane) -> None:
        """The call begins, or never will: the slot it was claimed for is no longer owed."""
        if ticket in self._unstarted:
            self._unstarted.remove(ticket)
            lane.unstarted -= 1
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
            settlement = await self._send_and_settle(ticket, lane, message)
        except Exception as error:
            log.critical(
                "an attempt could not be settled", id=message.id, error=str(error), exc_info=not_expected(error)
            )
            settlement = await self._doubt(lane, message)
        finally:
            self._leave(ticket, lane)
        if settlement is not None:
            self._settler.apply(message, settlement)

    async def _doubt(self, lane: Lane, message: Message) -> Settlement | None:
        """What became of the call cannot be written down as it was: then at least that nobody knows."""
        now = self._clock.wall()
        settlement = postpone(message, now + lane.rules.reconcile_after_ms, now)
        try:
            return settlement if await self._settler.write(None, settlement, None) else None
        except (StoreBrokenError, OutcomeUnknownError) as error:
            # The process ends because of it; the open attempt is found at the next start.
            log.error("an attempt stays open; the next start looks it up", id=message.id, error=str(error))
            return None

    async def _send_and_settle(self, ticket: Ticket, lane: Lane, message: Message) -> Settlement | None:
        if lane.needs_sender and not message.sender:
            return await self._settle(lane, message, _anonymous(lane), None)
        provider = lane.provider
        request = self._prepare(provider, message)
        if request is None:
            return await self._settle(lane, message, _unprepared(lane), None)
        cost = lane.pacer.cost(message.segments)
        started = await lane.gate.enter(cost)
        self._pass(ticket, lane)
        wall = self._clock.wall()
        if started is None or wall >= message.expires_at:
            # Turned away; or its end of life came while it waited for its slot, and the janitor expires it.
            settlement = release(message, wall)
            return settlement if await self._settler.write(None, settlement, None) else None
        lane.begin_call(message, started)
        try:
            if lane.provider is not provider:  # a reload came while it waited
                provider = lane.provider
                request = self._prepare(provider, message) or request
            answer = await self._send(provider, lane, message, request)
            left = started + answer.left_after_us
            lane.pacer.left(started, left)
            return await self._learn(provider, lane, message, answer, wall, left, cost)
        finally:
            lane.end_call(message)

    def _prepare(self, provider: Provider, message: Message) -> Request | None:
        try:
            return provider.prepare(self._call(message))
        except Exception:
            log.exception("the adapter could not prepare the call; nothing was sent", id=message.id)
            return None

    async def _send(self, provider: Provider, lane: Lane, message: Message, request: Request) -> Answer:
        try:
            return await self._carrier.send(provider, request, lane.rules.timeout_ms, self._dice())
        except Exception:
            log.exception("the exchange failed; the outcome is unknown", id=message.id)
            return Answer(NoAnswer("smsd's own exchange failed; see the log"), 0, request)

    async def _learn(
        self, provider: Provider, lane: Lane, message: Message, answer: Answer, wall: Instant, boot: int, cost: int
    ) -> Settlement | None:
        verdict = without_private(_verdict(provider, lane.name, message, answer), answer.request)
        record = Attempt(
            n=message.attempt,
            provider=lane.name,
            started_at=wall,
            started_boot=boot,
            cost=cost,
            latency_ms=answer.latency_ms,
            outcome=verdict.fate.value,
            http_status=answer.outcome.status if isinstance(answer.outcome, Response) else None,
            code=verdict.code,
            category=verdict.category,
            provider_message_id=verdict.provider_message_id,
            trace=answer.brief if verdict.fate is Fate.ACCEPTED else answer.trace,
        )
        return await self._settle(lane, message, verdict, record)

    async def _settle(
        self, lane: Lane, message: Message, verdict: Verdict, record: Attempt | None
    ) -> Settlement | None:
        retry = self._retries.rules_for(message)
        settlement = decide(message, verdict, lane.rules, retry, self._clock.wall(), self._dice())
        return settlement if await self._settler.write(lane, settlement, record) else None

    def _call(self, message: Message) -> Call:
        return Call(
            id=message.id,
            attempt=message.attempt,
            recipient=message.recipient,
            sender=message.sender or self.default_sender,
            text=message.text,
            encoding=message.encoding,
            segments=message.segments,
            expires_at=message.expires_at,
            now=self._clock.wall(),
        )

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


def _unprepared(lane: Lane) -> Verdict:
    detail = f"The adapter of {lane.name} could not prepare the call; nothing was sent. See the log."
    return Verdict(Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, detail)


def _anonymous(lane: Lane) -> Verdict:
    detail = f"{lane.name} has no sender: set its `from`, or [messages] from, and reload; messages wait until then."
    return Verdict(Fate.REFUSE, Category.CONFIG_ERROR, Scope.PROVIDER, detail)


def _verdict(provider: Provider, name: str, message: Message, answer: Answer) -> Verdict:
    try:
        return read(provider, answer.outcome)
    except Exception:
        log.exception("the adapter could not read the answer; the outcome is unknown", id=message.id)
        detail = f"The adapter of {name} could not read the answer. See the log."
        return Verdict(Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, detail)
