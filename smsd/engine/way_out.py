"""How do the parts hang together that take messages in and send them?

Intake, the schedule and who feeds it, the dispatcher with its attempts, the reconciler, the janitor, and what holds
messages up: put together once, as `way_back` is for what comes back. What becomes of all of them when the facts change
under their feet (another plan, a stepped clock, a campaign that may go) is said here too. It refuses to know what a
part does, and who is told.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Protocol

from smsd.clock import Clock
from smsd.core.message import Instant
from smsd.core.routing import Routes
from smsd.core.schedule import Schedule
from smsd.engine.askable import Askable
from smsd.engine.attempts import Attempts
from smsd.engine.bus import Bus
from smsd.engine.carrier import Carrier
from smsd.engine.configuration import Plan
from smsd.engine.dispatcher import Dispatcher
from smsd.engine.feeder import NO_ROUTE, Feeder
from smsd.engine.fleet import Fleet, Prepared
from smsd.engine.holding import Holding
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.reconciler import Reconciler
from smsd.engine.settler import RetryBook, Settler
from smsd.engine.tally import Tally
from smsd.store import Outbox, Records, Recovery
from smsd.store.operators import Campaigns


class Part(Protocol):
    """Something with work of its own."""

    def run(self) -> Coroutine[object, object, None]:
        """Until cancelled."""
        ...


class WayOut:
    """The parts. `open`, `recover`, then run what `running` names."""

    def __init__(
        self,
        plan: Plan,
        outbox: Outbox,
        records: Records,
        fleet: Fleet,
        carrier: Carrier,
        bus: Bus,
        clock: Clock,
        dice: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._outbox = outbox
        self._records = records
        self._fleet = fleet
        self._carrier = carrier
        self._bus = bus
        self._clock = clock
        self._dice = dice
        self.retries: RetryBook = plan.retries
        self.schedule = Schedule([NO_ROUTE, *(setting.name for setting in plan.settings)], plan.window)
        self.schedule.set_open(NO_ROUTE, False)
        self.limits = Limits(bus, clock, self.schedule.block)
        self.limits.rule(plan.admission.limits)
        self.holding = Holding(outbox, clock, self._due_anew)
        self._askable = Askable(plan.configured, plan.rules_of_gone)
        self.feeder = Feeder(self.schedule, records, fleet.lanes, clock, self._kick)
        self.feeder.failover_after_ms = plan.routing.failover_after_ms

    async def open(
        self,
        recovery: Recovery,
        campaigns: Campaigns,
        meters: Meters,
        tally: Tally,
        new_id: Callable[[], str],
        died: Callable[[BaseException], None],
    ) -> None:
        """Make the lanes as they were left, and all that uses them. Raises StoreError."""
        plan, clock = self._plan, self._clock
        await self._fleet.open(plan.settings, recovery, plan.accounts, plan.retired)
        self.settler = Settler(self._outbox, self.feeder, self._bus, self._doubt, self._notice_expiry, meters.attempted)
        self.reconciler = Reconciler(
            self._records,
            campaigns,
            self._fleet.known,
            self._askable,
            self._carrier,
            self.settler,
            self.retries,
            clock,
            self._dice,
        )
        self._compose_attempts(died)
        self.janitor = Janitor(self._outbox, clock, self._bus, self.schedule.drop)
        self.intake = Intake(
            self._outbox,
            self._records,
            self.feeder,
            tally,
            self._bus,
            clock,
            plan.rules,
            self._routes(),
            new_id,
            self.janitor.notice,
            self.limits,
            plan.max_backlog,
        )

    def _compose_attempts(self, died: Callable[[BaseException], None]) -> None:
        plan, lanes = self._plan, self._fleet.lanes
        self.attempts = Attempts(
            lanes,
            self._carrier,
            self.settler,
            self.retries,
            self._clock,
            self._dice,
            plan.rules.sender,
            plan.routing,
            plan.rules.tenants,
        )
        self.dispatcher = Dispatcher(
            self.schedule,
            self._outbox,
            lanes,
            self.attempts,
            self.settler,
            self.feeder,
            self._clock,
            plan.rules.sender,
            plan.routing,
            self.limits,
            self._dice,
            died,
        )

    def _routes(self) -> Routes:
        candidates = [lane.candidate for lane in self._fleet.lanes.values()]
        return Routes(candidates, self._plan.rules.sender, rules=self._plan.routing)

    def recover(self, recovery: Recovery) -> None:
        """Let what was found in the outbox count."""
        self.feeder.recover(recovery.flows)
        if recovery.next_uncertain is not None:
            self.reconciler.doubt(recovery.next_uncertain)
        if recovery.next_expiry is not None:
            self.janitor.notice(recovery.next_expiry)
        self.holding.rule(self._plan.admission)

    @property
    def running(self) -> tuple[tuple[str, Part], ...]:
        """The parts with work of their own, by name, in the order in which they start."""
        return (
            ("holding", self.holding),
            ("feeder", self.feeder),
            ("reconciler", self.reconciler),
            ("janitor", self.janitor),
            ("dispatcher", self.dispatcher),
        )

    def become(self, plan: Plan, prepared: Prepared) -> None:
        """Another plan counts. Nothing is awaited here: no message may meet half of it."""
        for setting in plan.settings:
            self.schedule.add_lane(setting.name)
        gone = prepared.apply()
        self._plan = plan
        for name in gone:
            self.feeder.lane_gone(name)
        self.retries.become(plan.retries)
        self.limits.rule(plan.admission.limits)
        self.holding.rule(plan.admission)
        self.schedule.unblock_all()
        self._askable.become(plan.configured, plan.rules_of_gone, self._clock.wall())
        self.attempts.follow(plan.rules.sender, plan.routing, plan.rules.tenants)
        self.dispatcher.follow(plan.rules.sender, plan.routing)
        self.feeder.failover_after_ms = plan.routing.failover_after_ms
        self.intake.rule(plan.rules, self._routes(), plan.max_backlog)
        self.feeder.lanes_changed()

    async def drain(self, timeout_s: float) -> int:
        """Refuse new work, let calls in flight end; returns how many attempts stay open."""
        self.intake.draining = True
        return await self.dispatcher.drain(timeout_s)

    # -- when facts change -------------------------------------------------------------------------------------------

    def stepped(self, ahead: bool) -> None:
        """The wall clock was stepped: the ends of blocks are void, and after a step ahead what is due by mistake."""
        self.limits.forget()
        self.schedule.unblock_all()
        if ahead:
            self.dispatcher.hold(True)

    def step_followed(self) -> None:
        """What is due has followed the clock."""
        now = self._clock.wall()
        self._fleet.step_followed()
        self.dispatcher.hold(False)
        self.reconciler.doubt(now)
        self.janitor.notice(now)
        self._due_anew()

    def campaign_changed(self) -> None:
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

    def _kick(self) -> None:
        self.dispatcher.kick()

    def _doubt(self, due: Instant) -> None:
        self.reconciler.doubt(due)

    def _notice_expiry(self, expires_at: Instant) -> None:
        self.janitor.notice(expires_at)
