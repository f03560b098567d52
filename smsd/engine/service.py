"""What can be asked of the running daemon, and what can an operator tell it?

The doors' counterpart: look up, list, wait, explain, cancel, reschedule, retry, count, pause, resume. Every answer
about a message that is not final says why it waits. A tenant of None means all tenants; who may pass None is the doors'
affair.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from smsd.clock import Clock
from smsd.core.acceptance import Fault, MessageRules, end_of_life
from smsd.core.events import Kind, about
from smsd.core.health import Standing
from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.rescheduling import new_times
from smsd.core.schedule import Schedule
from smsd.core.suppression import Suppression
from smsd.core.waiting import Outlook, Waiting, explain
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.hooks import Hooks
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.office import Office
from smsd.engine.optouts import OptOuts
from smsd.engine.outlook import Lookout
from smsd.engine.receipts import Receipts
from smsd.engine.registering import Registering
from smsd.engine.replaying import Replaying
from smsd.engine.snapshots import Snapshots
from smsd.engine.stream import Stream
from smsd.engine.tally import Tally
from smsd.engine.watchers import Watchers
from smsd.store import Inbound, Outbox, Person, PersonCounts, Query, Records, Totals, WrongState

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

PAGE_CHARS = 262_144
"""Characters of texts and metadata in one page of a listing; one that holds more ends early."""

SLICE = 64
"""Messages of a page explained in one go, about 1 ms."""

QUEUED = frozenset({State.PENDING, State.PROCESSING})


@dataclass(frozen=True, slots=True)
class Seen:
    """A message and why it waits."""

    message: Message
    waiting: Waiting | None
    eta: Instant | None = None
    """When it will go, by the look ahead; None: nobody knows, or it was not asked: that is dear for many."""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One provider as operators see it; rates are messages (or segments) a minute, None: unlimited."""

    name: str
    type: str
    state: Standing
    since: Instant | None
    """When its breaker opened or its rest began; None: it is open, or nobody wrote it down."""
    until: Instant | None
    reason: str
    rate: float | None
    rate_now: float | None
    """What it is called at now: what throttles have taught it, else as configured."""
    recommended_rate: float | None
    """What `rate` might be set to, as far as throttles have taught; None: as it is."""
    in_flight: int
    sent_last_minute: int
    throttles_last_hour: int


@dataclass(frozen=True, slots=True)
class Stats:
    """The daemon's counts."""

    totals: Totals
    providers: tuple[ProviderView, ...]
    sent_last_minute: int
    sent_last_hour: int
    sent_today: int
    failed_today: int
    eta: Instant | None
    uptime_s: int


class UnknownProviderError(LookupError):
    """No such provider is configured and enabled."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"No provider {name!r} is enabled. There are: {', '.join(known) or 'none'}.")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The configuration was read again."""

    changed: tuple[str, ...]
    """Keys whose new values count now."""
    restart: tuple[str, ...]
    """Keys whose new values count after a restart."""
    warnings: tuple[str, ...]


class ReloadRefusedError(Exception):
    """The configuration has faults; the old settings stay. `faults`: (path, message), at least one."""

    def __init__(self, faults: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in faults))
        self.faults = faults


class Service:
    """Everything the operations table calls, apart from submitting."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        lanes: Mapping[str, Lane],
        schedule: Schedule,
        feeder: Feeder,
        janitor: Janitor,
        tally: Tally,
        bus: Bus,
        clock: Clock,
        intake: Intake,
        stream: Stream,
        watchers: Watchers,
        meters: Meters,
        zone: tzinfo,
        rules: MessageRules,
        limits: Limits,
        receipts: Receipts,
        registering: Registering,
        hooks: Hooks,
        replaying: Replaying,
    ) -> None:
        self.intake = intake
        self.stream = stream
        self.meters = meters
        self.receipts = receipts
        self.optouts = OptOuts(outbox, records, lanes, bus, clock)
        self.hooks = hooks
        self.replaying = replaying
        self.registering = registering
        self.office: Office
        """The parts for operators; set where the engine is put together."""
        self.snapshots: Snapshots | None = None
        """Copies of the outbox; None: nowhere to put them."""
        self.reloader: Callable[[], Awaitable[Reloaded]] | None = None
        """Reads the configuration again; raises ReloadRefusedError. None: there is no file."""
        self._watchers = watchers
        self._outbox = outbox
        self._records = records
        self._lanes = lanes
        self._schedule = schedule
        self._feeder = feeder
        self._janitor = janitor
        self._tally = tally
        self._bus = bus
        self._clock = clock
        self._zone = zone
        self._rules = rules
        self._limits = limits
        self.lookout = Lookout(records, lanes, schedule, feeder, limits, meters, clock)
        self._started = clock.boot()
        self.store_full = False
        """The outbox has no room; kept up to date by the composition root."""
        self.cursor_key = b""
        """See store.Recovery."""

    def rule(self, rules: MessageRules, zone: tzinfo) -> None:
        """New rules count from now on."""
        self._rules, self._zone = rules, zone

    # -- messages ----------------------------------------------------------------------------------------------------

    async def get(self, id: str, tenant: str | None) -> Seen | None:
        """One message, and when it will go."""
        message = await self._records.get(id, tenant)
        if message is None:
            return None
        eta = await self.lookout.message_eta(message)
        return replace(self._see(message), eta=eta)

    async def wait(self, id: str, tenant: str | None, timeout_ms: int) -> Seen | None:
        """One message, once it has left the queue (sent, or final) or after `timeout_ms`, whichever comes first."""
        if timeout_ms <= 0:
            return await self.get(id, tenant)
        # Listened to before it is read, so that what happens in between is not missed.
        settled = asyncio.ensure_future(self._watchers.settled(id, timeout_ms / 1e3))
        try:
            message = await self._records.get(id, tenant)
            if message is None or message.state not in QUEUED:
                return None if message is None else self._see(message)
            await settled
            return await self.get(id, tenant)
        finally:
            settled.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await settled

    async def page(self, query: Query) -> tuple[list[Seen], int | None]:
        """A page of a listing and the next page's cursor. It ends early when its messages are large."""
        page = await self._records.page(query)
        seen: list[Seen] = []
        left = PAGE_CHARS
        for message in page.items:
            left -= len(message.text) + sum(len(key) + len(word) for key, word in (message.metadata or {}).items())
            if left < 0 and seen:
                return seen, seen[-1].message.seq
            seen.append(self._see(message))
            if len(seen) % SLICE == 0:
                await asyncio.sleep(0)  # a long page holds nobody else up
        return seen, page.next_before

    async def attempts(self, id: str, tenant: str | None) -> list[Attempt] | None:
        """All attempts in order, the open one (outcome "open") included."""
        message = await self._records.get(id, tenant)
        if message is None:
            return None
        attempts = await self._records.attempts(message.seq)
        if message.state is State.PROCESSING and not any(each.n == message.attempt for each in attempts):
            attempts.append(
                Attempt(
                    n=message.attempt,
                    provider=message.provider or "",
                    started_at=message.claimed_at or 0,
                    started_boot=None,
                    cost=message.segments,
                    latency_ms=None,
                    outcome="open",
                )
            )
        return attempts

    async def cancel(self, id: str, tenant: str | None) -> Seen | WrongState | None:
        """Cancel a pending message."""
        now = self._clock.wall()
        found = await self._outbox.cancel(id, tenant, now)
        if isinstance(found, Message):
            self._schedule.drop(found.seq)
            self._bus.publish(Kind.MESSAGE_CANCELLED, now, **about(found))
            return self._see(found)
        return found

    async def reschedule(
        self, id: str, tenant: str | None, *, send_at: str, ttl: str | None, expires_at: str | None
    ) -> Seen | WrongState | tuple[Fault, ...] | None:
        """Another time for a pending message; quiet hours count as at its acceptance. Faults: of the times."""
        now = self._clock.wall()
        message = await self._records.get(id, tenant)
        if message is None:
            return None
        times = new_times(message, send_at, ttl, expires_at, self._rules.quiet, now)
        if isinstance(times, tuple):
            return times
        due, held, held_by = times.start
        found = await self._outbox.reschedule(
            id, tenant, due, times.send_at, times.expires_at, held, held_by, self._clock.wall()
        )
        if isinstance(found, Message):
            self._schedule.drop(found.seq)
            self._bus.publish(Kind.MESSAGE_RESCHEDULED, now, **about(found))
            self._feeder.offer(found)
            self._feeder.wake()
            self._janitor.notice(found.expires_at)
            return self._see(found)
        return found

    async def retry(
        self, id: str, tenant: str | None, *, ttl: str | None, expires_at: str | None, force: bool
    ) -> Seen | WrongState | Fault | None:
        """An operator's retry: a new round, attempts and ttl anew. Fault: of `ttl` or `expires_at`."""
        now = self._clock.wall()
        end = end_of_life(ttl, expires_at, now, now, self._rules.ttl_ms)
        if isinstance(end, Fault):
            return end
        found = await self.office.failed.reopen(id, tenant, end, force=force)
        return self._see(found) if isinstance(found, Message) else found

    def _see(self, message: Message) -> Seen:
        now = self._clock.wall()
        names = [name for name in message.route.split(",") if name in self._lanes]
        carriers = {name: self._outlook(self._lanes[name], now) for name in names}
        blocks = self._limits.blocks_of(message.tenant, message.campaign)
        return Seen(message, explain(message, carriers, store_full=self.store_full, now=now, blocks=blocks))

    def _outlook(self, lane: Lane, now: Instant) -> Outlook:
        boot = self._clock.boot()
        opens = lane.gate.opens_at()
        shared = lane.gate.shared
        by_account = shared is not None and opens > boot and shared.opens_at() == opens
        wait_ms = max(0, opens - boot) // 1_000
        standing = lane.standing()
        if standing is Standing.HALF_OPEN and lane.health.halted is not None:
            standing = Standing.HALTED  # that one call tries it does not make it anything else to who waits
        return Outlook(standing, lane.until(), lane.reason(), now + wait_ms, by_account)

    # -- counts ------------------------------------------------------------------------------------------------------

    async def stats(self, tenant: str | None = None) -> Stats:
        """Counts, of all or of one tenant; none of them is made by counting messages."""
        now = self._clock.wall()
        today, hour = self._today(now), now // MINUTE_MS - 59
        totals = await self._records.totals(min(today, hour), tenant)
        of_today = [row for row in totals.minutes if row.minute >= today]
        if tenant is None:
            last_minute, last_hour = self._tally.sent_last_minute(), self._tally.sent_last_hour()
        else:
            last_minute = self._tally.sent_last_minute_of(tenant)
            last_hour = sum(row.sent for row in totals.minutes if row.minute >= hour)
        return Stats(
            totals=totals,
            providers=self.providers(tenant),
            sent_last_minute=last_minute,
            sent_last_hour=last_hour,
            sent_today=sum(row.sent for row in of_today),
            failed_today=sum(row.failed for row in of_today),
            # How long a tenant's messages take depends on everybody's; their number is not the tenant's to know.
            eta=await self.lookout.backlog_eta() if tenant is None else None,
            uptime_s=(self._clock.boot() - self._started) // 1_000_000,
        )

    async def totals(self) -> Totals:
        """The kept counts of the whole daemon, without any minutes."""
        return await self._records.totals(self._clock.wall() // MINUTE_MS + 1)

    async def counts_of(self, person: Person) -> PersonCounts:
        """Counts of the messages about a user or to a number."""
        now = self._clock.wall()
        return await self._records.counts_of(person, self._today(now) * MINUTE_MS, now - HOUR_MS)

    async def remaining(self, person: Person) -> int | None:
        """How many more messages the limits on the person have room for now, the least over all; None: none binds it.

        Raises StoreError when the ledger cannot be read.
        """
        return await self._records.remaining(person, self._clock.wall())

    async def suppressions_of(self, number: str) -> tuple[Suppression, ...]:
        """Where the number (E.164) gets nothing more."""
        return await self._records.suppressions_of(number)

    async def inbound(
        self,
        tenant: str | None,
        *,
        sender: str | None,
        recipient: str | None,
        since: Instant | None,
        before: int | None,
        limit: int,
    ) -> tuple[tuple[Inbound, ...], int | None]:
        """A page of texts received, newest first, and the next page's cursor. It ends early when they are long."""
        return await self._records.inbound(
            tenant, sender=sender, recipient=recipient, since=since, before=before, limit=limit
        )

    def wall(self) -> Instant:
        """The time by which all of this is told."""
        return self._clock.wall()

    def _today(self, now: Instant) -> int:
        """The minute at which today began in the daemon's time zone."""
        local = datetime.fromtimestamp(now / 1e3, self._zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return int(midnight.timestamp()) // 60

    # -- providers ---------------------------------------------------------------------------------------------------

    def providers(self, tenant: str | None = None) -> tuple[ProviderView, ...]:
        """Every enabled provider, or those that may carry a tenant's messages."""
        bounds = None if tenant is None else self._rules.tenants.get(tenant)
        names = bounds.providers if bounds is not None and bounds.providers else self._lanes
        return tuple(self._provider(lane) for lane in self._lanes.values() if lane.name in names)

    def _provider(self, lane: Lane) -> ProviderView:
        state = lane.standing()
        return ProviderView(
            name=lane.name,
            type=lane.provider.type,
            state=state,
            since=lane.health.since(lane.now()),
            until=lane.until(),
            reason=lane.reason(),
            rate=lane.pacer.rate_per_minute(),
            rate_now=lane.rate_now(),
            recommended_rate=lane.recommended_rate(),
            in_flight=lane.in_flight,
            sent_last_minute=self._tally.sent_last_minute(lane.name),
            throttles_last_hour=self._tally.throttles_last_hour(lane.name),
        )

    async def pause(self, name: str, reason: str = "paused by an operator", by: str = "") -> ProviderView:
        """No calls to this provider until resumed. Raises UnknownProviderError."""
        lane = self._lane(name)
        await lane.pause(reason, by)
        return self._provider(lane)

    async def resume(self, name: str, by: str = "") -> ProviderView:
        """Lift pause, halt and cooldown. Raises UnknownProviderError."""
        lane = self._lane(name)
        await lane.resume(by)
        return self._provider(lane)

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            raise UnknownProviderError(name, tuple(self._lanes))
        return self._lanes[name]
