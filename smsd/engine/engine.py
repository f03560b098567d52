"""How is the loop put together, started and stopped?

The engine is everything between the doors and the outbox. It is composed here, once, for the daemon and for the
simulation alike; they differ only in the outbox's connections, the carrier and the clock they pass in. Started in
order (recover, seed the ceilings, feed, dispatch), stopped in reverse; half a start is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import tzinfo
from typing import Protocol

import structlog

from smsd.clock import Clock
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.health import Health, Standing
from smsd.core.message import Instant, State
from smsd.core.pacing import Pace
from smsd.core.routing import Routes
from smsd.core.schedule import CAPACITY, Schedule
from smsd.engine.bus import Bus
from smsd.engine.carrier import Carrier
from smsd.engine.dispatcher import Dispatcher
from smsd.engine.feeder import NO_ROUTE, Feeder
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane, Setting
from smsd.engine.reconciler import Reconciler
from smsd.engine.service import Service
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.tally import Tally
from smsd.store import Outbox, Records, Recovery

log = structlog.get_logger("smsd.engine")

LONGEST_COOLDOWN_MS = 3_600_000
"""A kept cooldown that lies further ahead than this and the configured one was written by a clock that was wrong."""


class Store(Outbox, Records, Protocol):
    """Both sides of the outbox."""


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
        self._store = store
        self._carrier = carrier
        self._clock = clock
        self._bus = bus
        self._dice = dice
        self._new_id = new_id
        self._died = died
        self._tasks: list[asyncio.Task[None]] = []
        self.lanes: dict[str, Lane] = {}

    async def start(self) -> None:
        """Open the outbox, recover, and begin to send. Raises StoreError when the outbox cannot be used."""
        by_segments = {setting.name for setting in self._plan.settings if setting.rules.pace.unit == "segments"}
        recovery = await self._store.open(self._clock.wall(), by_segments)
        self._compose(recovery)
        await self._seed_ceilings(recovery)
        await self._seed_counts(recovery)
        self.feeder.recover(recovery.flows)
        if recovery.next_uncertain is not None:
            self.reconciler.doubt(recovery.next_uncertain)
        if recovery.next_expiry is not None:
            self.janitor.notice(recovery.next_expiry)
        for name in ("feeder", "reconciler", "janitor", "dispatcher"):
            part: _Part = getattr(self, name)
            self._tasks.append(self._keep(name, part.run()))
        log.info("recovered", flows=len(recovery.flows), open_attempts=recovery.reopened)

    def _compose(self, recovery: Recovery) -> None:
        plan, clock, bus = self._plan, self._clock, self._bus
        kept = {health.name: health for health in recovery.providers}
        self.schedule = Schedule([NO_ROUTE, *(setting.name for setting in plan.settings)], plan.window)
        self.schedule.set_open(NO_ROUTE, False)
        self.tally = Tally(clock, [setting.name for setting in plan.settings])
        bus.subscribe(self.tally)
        self.feeder = Feeder(self.schedule, self._store, self.lanes, clock, self._kick)
        for setting in plan.settings:
            health = self._known_health(setting, kept.get(setting.name))
            self.lanes[setting.name] = Lane(setting, health, self._store, bus, clock, self.feeder.lane_changed)
        self.settler = Settler(self._store, self.feeder, bus, self._doubt, self._notice_expiry)
        self.reconciler = Reconciler(
            self._store,
            self.lanes,
            {setting.name: setting for setting in (*plan.retired, *plan.settings)},
            ProviderRules(pace=Pace(), on_uncertain=plan.on_uncertain),
            self._carrier,
            self.settler,
            plan.retries,
            clock,
            self._dice,
        )
        self.dispatcher = Dispatcher(
            self.schedule,
            self._store,
            self.lanes,
            self._carrier,
            self.settler,
            self.feeder,
            plan.retries,
            clock,
            self._dice,
            plan.rules.sender,
            self._died,
        )
        self.janitor = Janitor(self._store, clock, bus, self.schedule.drop)
        self.intake = self._intake()
        self.service = Service(
            self._store,
            self._store,
            self.lanes,
            self.schedule,
            self.feeder,
            self.janitor,
            self.tally,
            bus,
            clock,
            self.intake,
            plan.zone,
            plan.rules.ttl_ms,
        )
        for lane in self.lanes.values():
            self.feeder.lane_changed(lane)

    def _kick(self) -> None:
        self.dispatcher.kick()

    def _doubt(self, due: Instant) -> None:
        self.reconciler.doubt(due)

    def _notice_expiry(self, expires_at: Instant) -> None:
        self.janitor.notice(expires_at)

    def _intake(self) -> Intake:
        routes = Routes([lane.candidate for lane in self.lanes.values()], self._plan.rules.sender)
        return Intake(
            self._store,
            self._store,
            self.feeder,
            self.tally,
            self._bus,
            self._clock,
            self._plan.rules,
            routes,
            self._new_id,
            self.janitor.notice,
            self._plan.max_backlog,
        )

    def _known_health(self, setting: Setting, kept: Health | None) -> Health:
        """What was written down, unless credentials changed meanwhile or a wrong clock wrote it."""
        fingerprint = setting.provider.fingerprint()
        health = (kept or Health(setting.name, fingerprint)).with_credentials(fingerprint)
        now = self._clock.wall()
        furthest = now + max(LONGEST_COOLDOWN_MS, setting.rules.cooldown_ms)
        if health.cooling_until is not None and health.cooling_until > furthest:
            health = replace(health, cooling_until=now + setting.rules.cooldown_ms)
        return health

    async def _seed_ceilings(self, recovery: Recovery) -> None:
        """The calls of earlier runs still count in every window; in doubt the window is taken as full."""
        wall, boot = self._clock.wall(), self._clock.boot()
        stepped_back = recovery.latest is not None and wall < recovery.latest
        for lane in self.lanes.values():
            span_ms = -(-lane.pacer.window_max // 1_000)
            if not span_ms:
                continue
            since = min(wall, recovery.latest or wall) - span_ms
            starts = await self._store.starts(lane.name, since, boot - lane.pacer.window_max, lane.pacer.capacity)
            if stepped_back and any(start.boot is None for start in starts):
                lane.pacer.fill(boot)
                continue
            lane.pacer.seed(
                sorted(
                    (start.boot if start.boot is not None else boot - max(0, wall - start.wall) * 1_000, start.cost)
                    for start in starts
                )
            )

    async def _seed_counts(self, recovery: Recovery) -> None:
        totals = await self._store.totals(self._clock.wall() // 60_000 - 59)
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

    # -- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Refuse new work, let calls in flight end; returns how many attempts stay open."""
        self.intake.draining = True
        return await self.dispatcher.drain(timeout_s)

    async def stop(self) -> None:
        """End the loop and close the outbox. Idempotent; also undoes half a start."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self.dispatcher.drain(0)
        self._tasks.clear()
        await self._store.close()

    # -- how it is ---------------------------------------------------------------------------------------------------

    def unready(self) -> tuple[str, ...]:
        """What stands in the way of accepting and sending; names no provider."""
        reasons: list[str] = []
        if self.intake.draining:
            reasons.append("shutting_down")
        if self.service.store_full:
            reasons.append("disk_full")
        if not any(lane.standing() in {Standing.OPEN, Standing.COOLING} for lane in self.lanes.values()):
            reasons.append("no_provider")
        return tuple(reasons)

    def last_tick(self) -> int:
        """When the dispatcher last looked (boot time, us)."""
        return self.dispatcher.ticked_at


class _Part(Protocol):
    def run(self) -> Coroutine[object, object, None]: ...
