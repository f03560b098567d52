"""How is the loop put together, started and stopped?

The engine is everything between the doors and the outbox. It is composed here, once, for the daemon and for the
simulation alike; they differ only in the outbox's connections, the carrier and the clock they pass in. Started in
order (recover, seed the ceilings, feed, dispatch), stopped in reverse; half a start is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Protocol

import structlog

from smsd.clock import Clock
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.admission import AdmissionRules
from smsd.core.events import Kind, of_failure
from smsd.core.health import Standing
from smsd.core.inbound import InboundRules
from smsd.core.message import Instant, State
from smsd.core.pacing import Pace
from smsd.core.routing import Routes, RoutingRules
from smsd.core.schedule import CAPACITY, Schedule
from smsd.engine.alerts import AlertSettings
from smsd.engine.askable import Askable
from smsd.engine.attempts import Attempts
from smsd.engine.bus import Bus
from smsd.engine.carrier import Carrier
from smsd.engine.dispatcher import Dispatcher
from smsd.engine.feeder import NO_ROUTE, Feeder
from smsd.engine.fleet import Fleet, Prepared
from smsd.engine.holding import Holding
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane, Setting
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.office import Office, OfficeRules, Parts
from smsd.engine.reconciler import Reconciler
from smsd.engine.service import Service
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.steps import Steps
from smsd.engine.stream import Stream
from smsd.engine.tally import Tally
from smsd.engine.watchers import Watchers
from smsd.engine.way_back import WayBack, WayRules
from smsd.store import Outbox, Records, Recovery
from smsd.store.operators import Desk, RetentionRules

log = structlog.get_logger("smsd.engine")


PASSING = frozenset({Standing.OPEN, Standing.COOLING, Standing.BROKEN, Standing.HALF_OPEN})
"""Standings of a provider that end by themselves."""


class Store(Outbox, Records, Protocol):
    """Both sides of the outbox, and what operators work with."""

    @property
    def desk(self) -> Desk: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration says to the engine."""

    settings: tuple[Setting, ...]
    rules: MessageRules
    retries: RetryBook
    zone: tzinfo
    max_backlog: int = 5_000_000
    retired: tuple[Setting, ...] = ()
    """Disabled providers: no call is made to them, but what they may have taken can still be looked up."""
    on_uncertain: str = "retry"
    """For messages whose provider is configured no more."""
    window: int = CAPACITY
    """Tickets the schedule holds in memory at most."""
    routing: RoutingRules = field(default_factory=RoutingRules)
    accounts: Mapping[str, Pace] = field(default_factory=dict)
    """`[accounts.NAME]`: ceilings that providers share."""
    admission: AdmissionRules = field(default_factory=AdmissionRules)
    """`[[limits]]`, quiet hours and the guards: when a message may be claimed, and whether it is accepted."""
    public_url: str = ""
    """`[http] public_url`: where providers reach us; empty: nowhere that we know of."""
    inbound: InboundRules = field(default_factory=InboundRules)
    retention: RetentionRules = field(default_factory=RetentionRules)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    """`[alerts]`"""

    @property
    def office(self) -> OfficeRules:
        """What is said about the parts for operators."""
        return OfficeRules(self.rules, self.zone, self.retention, self.alerts)

    @property
    def way_back(self) -> WayRules:
        """What is said about receipts, inbound texts and callbacks."""
        return WayRules(self.configured, self.public_url, self.rules, self.inbound)

    @property
    def configured(self) -> tuple[Setting, ...]:
        """Every provider, the disabled ones included."""
        return (*self.retired, *self.settings)

    @property
    def rules_of_gone(self) -> ProviderRules:
        """The rules for a message whose provider is configured no more: it cannot be asked, the policy decides."""
        return ProviderRules(pace=Pace(), on_uncertain=self.on_uncertain)


class Engine:
    """The running loop. `start`, then use `service`; `drain`, then `stop`."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        carrier: Carrier,
        clock: Clock,
        bus: Bus,
        dice: Callable[[], float],
        new_id: Callable[[], str],
        died: Callable[[BaseException], None],
    ) -> None:
        self._plan = plan
        self._retries = plan.retries
        self._store = store
        self._carrier = carrier
        self._clock = clock
        self._bus = bus
        self._dice = dice
        self._new_id = new_id
        self._died = died
        self._tasks: list[asyncio.Task[None]] = []
        self.stream = Stream()
        self.watchers = Watchers()
        self.meters = Meters(setting.name for setting in plan.settings)
        for sink in (self.stream, self.watchers, self.meters):
            bus.subscribe(sink)

    async def start(self) -> None:
        """Open the outbox, recover, and begin to send. Raises StoreError when the outbox cannot be used."""
        await self._store.govern(self._plan.admission)
        await self._store.track(self._plan.way_back.tracking)
        by_segments = {setting.name for setting in self._plan.configured if setting.rules.pace.unit == "segments"}
        recovery = await self._store.open(self._clock.wall(), by_segments)
        self._clock = self.steps = Steps(self._clock, self._store, self._stepped, self._step_followed)
        await self._compose(recovery)
        for message in recovery.parked:
            self._bus.publish(Kind.MESSAGE_FAILED, self._clock.wall(), **of_failure(message))
        await self._seed_counts(recovery)
        self.feeder.recover(recovery.flows)
        if recovery.next_uncertain is not None:
            self.reconciler.doubt(recovery.next_uncertain)
        if recovery.next_expiry is not None:
            self.janitor.notice(recovery.next_expiry)
        self.steps.begin(recovery.steps)
        self.holding.rule(self._plan.admission)
        for name in ("steps", "holding", "feeder", "reconciler", "janitor", "dispatcher", "way_back", "office"):
            part: _Part = getattr(self, name)
            self._tasks.append(self._keep(name, part.run()))
        log.info("recovered", flows=len(recovery.flows), open_attempts=recovery.reopened)

    async def _compose(self, recovery: Recovery) -> None:
        plan, clock, bus = self._plan, self._clock, self._bus
        self.schedule = Schedule([NO_ROUTE, *(setting.name for setting in plan.settings)], plan.window)
        self.schedule.set_open(NO_ROUTE, False)
        self.limits = Limits(bus, clock, self.schedule.block)
        self.holding = Holding(self._store, clock, self._due_anew)
        self.limits.rule(plan.admission.limits)
        self.tally = Tally(clock, [setting.name for setting in plan.settings])
        bus.subscribe(self.tally)
        self.fleet = self._fleet()
        self._askable = Askable(plan.configured, plan.rules_of_gone)
        self.feeder = Feeder(self.schedule, self._store, self.fleet.lanes, clock, self._kick)
        self.feeder.failover_after_ms = plan.routing.failover_after_ms
        await self.fleet.open(plan.settings, recovery, plan.accounts, plan.retired)
        self.settler = Settler(self._store, self.feeder, bus, self._doubt, self._notice_expiry, self.meters.attempted)
        self._compose_sending()
        self.janitor = Janitor(self._store, clock, bus, self.schedule.drop)
        self.intake = self._intake()
        self._compose_way_back()
        self._compose_service(recovery.cursor_key)
        for lane in self.lanes.values():
            self.feeder.lane_changed(lane)

    def _compose_sending(self) -> None:
        plan, clock = self._plan, self._clock
        self.reconciler = Reconciler(
            self._store,
            self._store.desk.campaigns,
            self.fleet.known,
            self._askable,
            self._carrier,
            self.settler,
            self._retries,
            clock,
            self._dice,
        )
        self.attempts = Attempts(
            self.fleet.lanes,
            self._carrier,
            self.settler,
            self._retries,
            clock,
            self._dice,
            plan.rules.sender,
            plan.routing,
            plan.rules.tenants,
        )
        self.dispatcher = Dispatcher(
            self.schedule,
            self._store,
            self.fleet.lanes,
            self.attempts,
            self.settler,
            self.feeder,
            clock,
            plan.rules.sender,
            plan.routing,
            self.limits,
            self._dice,
            self._died,
        )

    def _compose_way_back(self) -> None:
        self.way_back = WayBack(
            self._store,
            self._store,
            self.schedule,
            self.feeder,
            self.fleet.lanes,
            self.intake,
            self._carrier,
            self._bus,
            self._clock,
            self.meters,
            self._dice,
            self._new_id,
            self.attempts.withdraw,
            self.janitor.notice,
        )
        self.way_back.rule(self._plan.way_back)

    def _compose_service(self, cursor_key: bytes) -> None:
        plan = self._plan
        self.service = Service(
            self._store,
            self._store,
            self.fleet.lanes,
            self.schedule,
            self.feeder,
            self.janitor,
            self.tally,
            self._bus,
            self._clock,
            self.intake,
            self.stream,
            self.watchers,
            self.meters,
            plan.zone,
            plan.rules,
            self.limits,
            self.way_back.receipts,
            self.way_back.registering,
            self.way_back.hooks,
            self.way_back.replaying,
        )
        self.service.cursor_key = cursor_key
        self.office = Office(
            Parts(
                self._store,
                self._store,
                self._store.desk,
                self.fleet.lanes,
                self.schedule,
                self.feeder,
                self.janitor,
                self.intake,
                self.tally,
                self.limits,
                self.service.lookout,
                self.meters,
                self._bus,
                self._clock,
                self._campaign_changed,
                lambda: self.service.store_full,
            )
        )
        self.office.rule(plan.office)
        self.service.office = self.office

    def _fleet(self) -> Fleet:
        return Fleet(self._store, self._store, self._bus, self._clock, self._lane_changed)

    @property
    def lanes(self) -> dict[str, Lane]:
        """The enabled providers' lanes, by name in routing order."""
        return self.fleet.lanes

    def _lane_changed(self, lane: Lane) -> None:
        self.feeder.lane_changed(lane)

    def _kick(self) -> None:
        self.dispatcher.kick()

    def _doubt(self, due: Instant) -> None:
        self.reconciler.doubt(due)

    def _notice_expiry(self, expires_at: Instant) -> None:
        self.janitor.notice(expires_at)

    def _stepped(self, ahead: bool) -> None:
        """The wall clock was stepped: the ends of blocks are void, and after a step ahead what is due by mistake."""
        self.limits.forget()
        self.schedule.unblock_all()
        self.way_back.callbacks.hold(True)
        if ahead:
            self.dispatcher.hold(True)

    def _step_followed(self) -> None:
        """What is due has followed the clock."""
        now = self._clock.wall()
        self.dispatcher.hold(False)
        self.way_back.callbacks.hold(False)
        self.reconciler.doubt(now)
        self.janitor.notice(now)
        self._due_anew()

    def _campaign_changed(self) -> None:
        """What holds campaigns up is another: the next claims find it out, at once."""
        self.reconciler.campaign_changed()
        self.limits.forget()
        self.schedule.unblock_all()
        self.feeder.wake()
        self._kick()

    def _due_anew(self) -> None:
        """Due times in the outbox are others than those in memory."""
        self.schedule.reread(self._clock.wall())
        self.feeder.wake()
        self._kick()

    def _routes(self) -> Routes:
        candidates = [lane.candidate for lane in self.lanes.values()]
        return Routes(candidates, self._plan.rules.sender, rules=self._plan.routing)

    def _intake(self) -> Intake:
        return Intake(
            self._store,
            self._store,
            self.feeder,
            self.tally,
            self._bus,
            self._clock,
            self._plan.rules,
            self._routes(),
            self._new_id,
            self.janitor.notice,
            self.limits,
            self._plan.max_backlog,
        )

    async def _seed_counts(self, recovery: Recovery) -> None:
        now, boot = self._clock.wall(), self._clock.boot()
        totals = await self._store.totals(now // 60_000 - 59)
        for row in totals.minutes:
            if row.sent and row.provider in self.lanes:
                ago_ms = max(0, now - row.minute * 60_000)
                self.lanes[row.provider].experience.accepted_us = boot - ago_ms * 1_000
        backlog = sum(
            count for (state, _), count in recovery.counts.items() if state in {State.PENDING, State.PROCESSING}
        )
        self.tally.seed(totals.minutes, backlog)

    def _keep(self, name: str, story: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """A part of the loop that ends by itself is a fault of the daemon: it is told, so that the process ends."""
        task = asyncio.get_running_loop().create_task(story, name=name)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                log.critical("a part of the loop died", part=name, exc_info=error)
                self._died(error)

        task.add_done_callback(ended)
        return task

    # -- reload ------------------------------------------------------------------------------------------------------

    async def reconfigure(self, plan: Plan, also: Callable[[], None] = lambda: None) -> None:
        """Let another plan count, without losing a message, a call in flight or what a ceiling remembers.

        Providers come, go and change; messages whose providers are all gone wait (no_route) until one is back. The
        size of the window stays. `also` is called in the same breath: what else is to count from that moment on. Raises
        StoreError, and then nothing has changed.
        """
        prepared = await self.fleet.prepare(plan.settings, plan.accounts, plan.retired)
        await self._store.govern(plan.admission)
        await self._store.track(plan.way_back.tracking)
        self._apply(plan, prepared)
        also()
        for lane in [*self.lanes.values()]:
            await lane.trust()

    def _apply(self, plan: Plan, prepared: Prepared) -> None:
        """Nothing is awaited here: no message may meet half a plan."""
        names = [setting.name for setting in plan.settings]
        self.tally.know(names)
        self.meters.know(names)
        for name in names:
            self.schedule.add_lane(name)
        gone = prepared.apply()
        self._plan = plan
        for name in gone:
            self.feeder.lane_gone(name)
        self._retries.become(plan.retries)
        self.limits.rule(plan.admission.limits)
        self.holding.rule(plan.admission)
        self.schedule.unblock_all()
        self._askable.become(plan.configured, plan.rules_of_gone, self._clock.wall())
        self.attempts.follow(plan.rules.sender, plan.routing, plan.rules.tenants)
        self.dispatcher.follow(plan.rules.sender, plan.routing)
        self.feeder.failover_after_ms = plan.routing.failover_after_ms
        self.intake.rule(plan.rules, self._routes(), plan.max_backlog)
        self.service.rule(plan.rules, plan.zone)
        self.way_back.rule(plan.way_back)
        self.office.rule(plan.office)
        self.feeder.lanes_changed()

    def stranded(self) -> tuple[str, ...]:
        """Providers for which messages wait although they are configured no more."""
        return self.feeder.stranded()

    # -- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Refuse new work, let calls in flight end; returns how many attempts stay open."""
        self.intake.draining = True
        return await self.dispatcher.drain(timeout_s)

    async def stop(self, *, orderly: bool = True) -> None:
        """End the loop and close the outbox. Idempotent; also undoes half a start. `orderly`: see Outbox.close."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self.office.close()
            await self.way_back.close()
            await self.dispatcher.drain(0)
        self._tasks.clear()
        await self._store.close(orderly=orderly)

    # -- how it is ---------------------------------------------------------------------------------------------------

    def unready(self) -> tuple[str, ...]:
        """What stands in the way of accepting and sending; names no provider."""
        reasons: list[str] = []
        if self.intake.draining:
            reasons.append("shutting_down")
        if self.service.store_full:
            reasons.append("disk_full")
        if not any(lane.standing() in PASSING for lane in self.lanes.values()):
            reasons.append("no_provider")
        return tuple(reasons)

    def last_tick(self) -> float:
        """When the dispatcher last looked (the loop's time, s)."""
        return self.dispatcher.ticked_at


class _Part(Protocol):
    def run(self) -> Coroutine[object, object, None]: ...
