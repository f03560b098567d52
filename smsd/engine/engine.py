"""How is the loop put together, started and stopped?

The engine is everything between the doors and the outbox: the way out, the way back, what the doors ask (`service`) and
the parts for operators (`office`), each of which puts its own parts together. It is composed here, once, for the daemon
and for the simulation alike; they differ only in the outbox's connections, the carrier and the clock they pass in.
Started in order (recover, seed the ceilings, feed, dispatch), stopped in reverse; half a start is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from smsd.clock import Clock
from smsd.core.events import Kind, of_failure
from smsd.core.health import Standing
from smsd.core.message import State
from smsd.engine.bus import Bus
from smsd.engine.carrier import Carrier
from smsd.engine.configuration import Plan
from smsd.engine.fleet import Fleet, Prepared
from smsd.engine.intake import Intake
from smsd.engine.lane import Lane
from smsd.engine.meters import Meters
from smsd.engine.office import Office, Parts
from smsd.engine.service import Service
from smsd.engine.steps import Steps
from smsd.engine.stream import Stream
from smsd.engine.tally import Tally
from smsd.engine.watchers import Watchers
from smsd.engine.way_back import WayBack
from smsd.engine.way_out import Part, WayOut
from smsd.store import Outbox, Records, Recovery
from smsd.store.operators import Desk

log = structlog.get_logger("smsd.engine")


PASSING = frozenset({Standing.OPEN, Standing.COOLING, Standing.BROKEN, Standing.HALF_OPEN})
"""Standings of a provider that end by themselves."""


class Store(Outbox, Records, Protocol):
    """Both sides of the outbox, and what operators work with."""

    @property
    def desk(self) -> Desk: ...


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
        self.way_out.recover(recovery)
        self.steps.begin(recovery.steps)
        parts: list[tuple[str, Part]] = [
            ("steps", self.steps),
            *self.way_out.running,
            ("way_back", self.way_back),
            ("office", self.office),
        ]
        for name, part in parts:
            self._tasks.append(self._keep(name, part.run()))
        log.info("recovered", flows=len(recovery.flows), open_attempts=recovery.reopened)

    async def _compose(self, recovery: Recovery) -> None:
        self.tally = Tally(self._clock, [setting.name for setting in self._plan.settings])
        self._bus.subscribe(self.tally)
        self.fleet = self._fleet()
        self.way_out = WayOut(
            self._plan, self._store, self._store, self.fleet, self._carrier, self._bus, self._clock, self._dice
        )
        campaigns = self._store.desk.campaigns
        await self.way_out.open(recovery, campaigns, self.meters, self.tally, self._new_id, self._died)
        self._compose_way_back()
        self._compose_service(recovery.cursor_key)
        for lane in self.lanes.values():
            self.way_out.feeder.lane_changed(lane)

    def _compose_way_back(self) -> None:
        out = self.way_out
        self.way_back = WayBack(
            self._store,
            self._store,
            out.schedule,
            out.feeder,
            self.fleet.lanes,
            out.intake,
            self._carrier,
            self._bus,
            self._clock,
            self.meters,
            self._dice,
            self._new_id,
            out.attempts.withdraw,
            out.janitor.notice,
        )
        self.way_back.rule(self._plan.way_back)

    def _compose_service(self, cursor_key: bytes) -> None:
        plan, out = self._plan, self.way_out
        self.service = Service(
            self._store,
            self._store,
            self.fleet.lanes,
            out.schedule,
            out.feeder,
            out.janitor,
            self.tally,
            self._bus,
            self._clock,
            out.intake,
            self.stream,
            self.watchers,
            self.meters,
            plan.zone,
            plan.rules,
            out.limits,
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
                out.schedule,
                out.feeder,
                out.janitor,
                out.intake,
                self.tally,
                out.limits,
                self.service.lookout,
                self.meters,
                self._bus,
                self._clock,
                out.campaign_changed,
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

    @property
    def intake(self) -> Intake:
        """Where messages come in."""
        return self.way_out.intake

    def _lane_changed(self, lane: Lane) -> None:
        self.way_out.feeder.lane_changed(lane)

    def _stepped(self, ahead: bool) -> None:
        self.way_back.callbacks.hold(True)
        self.way_out.stepped(ahead)

    def _step_followed(self) -> None:
        self.way_back.callbacks.hold(False)
        self.way_out.step_followed()

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
        self._plan = plan
        self.way_out.become(plan, prepared)
        self.service.rule(plan.rules, plan.zone)
        self.way_back.rule(plan.way_back)
        self.office.rule(plan.office)

    def stranded(self) -> tuple[str, ...]:
        """Providers for which messages wait although they are configured no more."""
        return self.way_out.feeder.stranded()

    # -- the end -----------------------------------------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> int:
        """Refuse new work, let calls in flight end; returns how many attempts stay open."""
        return await self.way_out.drain(timeout_s)

    async def stop(self, *, orderly: bool = True) -> None:
        """End the loop and close the outbox. Idempotent; also undoes half a start. `orderly`: see Outbox.close."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            await self.office.close()
            await self.way_back.close()
            await self.way_out.dispatcher.drain(0)
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
        return self.way_out.dispatcher.ticked_at
