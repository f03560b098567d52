"""What can be asked of the running daemon, and what can an operator tell it?

The doors' counterpart: look up, list, explain, cancel, retry, count, pause, resume. Every answer about a message that
is not final says why it waits. A tenant of None means all tenants; who may pass None is the doors' affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo

from smsd.clock import Clock
from smsd.core.acceptance import Fault, end_of_life
from smsd.core.events import Kind
from smsd.core.health import Standing
from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.schedule import Schedule
from smsd.core.waiting import Outlook, Waiting, explain
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane
from smsd.engine.tally import Tally
from smsd.store import Outbox, Query, Records, Totals, WrongState

MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Seen:
    """A message and why it waits."""

    message: Message
    waiting: Waiting | None


@dataclass(frozen=True, slots=True)
class ProviderView:
    """One provider as operators see it; rates are calls (or segments) a minute, None: unlimited."""

    name: str
    type: str
    state: Standing
    until: Instant | None
    reason: str
    rate: float | None
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
        super().__init__(f"no provider {name!r} is enabled; there are: {', '.join(known) or 'none'}")


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
        zone: tzinfo,
        ttl_ms: int,
    ) -> None:
        self.intake = intake
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
        self._ttl_ms = ttl_ms
        self._started = clock.boot()
        self.store_full = False
        """The outbox has no room; kept up to date by the composition root."""

    # -- messages ----------------------------------------------------------------------------------------------------

    async def get(self, id: str, tenant: str | None) -> Seen | None:
        """One message."""
        message = await self._records.get(id, tenant)
        return None if message is None else self._see(message)

    async def page(self, query: Query) -> tuple[list[Seen], int | None]:
        """A page of a listing and the next page's cursor."""
        page = await self._records.page(query)
        return [self._see(message) for message in page.items], page.next_before

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
            self._bus.publish(Kind.MESSAGE_CANCELLED, now, id=id, to=found.recipient, tenant=found.tenant)
            return self._see(found)
        return found

    async def retry(
        self, id: str, tenant: str | None, *, ttl: str | None, expires_at: str | None, force: bool
    ) -> Seen | WrongState | Fault | None:
        """An operator's retry: a new round, attempts and ttl anew. Fault: of `ttl` or `expires_at`."""
        now = self._clock.wall()
        end = end_of_life(ttl, expires_at, now, now, self._ttl_ms)
        if isinstance(end, Fault):
            return end
        found = await self._outbox.reopen(id, tenant, now, end, force)
        if isinstance(found, Message):
            self._bus.publish(Kind.MESSAGE_REOPENED, now, id=id, to=found.recipient, tenant=found.tenant)
            self._feeder.offer(found)
            self._feeder.wake()
            self._janitor.notice(found.expires_at)
            return self._see(found)
        return found

    def _see(self, message: Message) -> Seen:
        now = self._clock.wall()
        names = [name for name in message.route.split(",") if name in self._lanes]
        carriers = {name: self._outlook(self._lanes[name], now) for name in names}
        return Seen(message, explain(message, carriers, store_full=self.store_full, now=now))

    def _outlook(self, lane: Lane, now: Instant) -> Outlook:
        boot = self._clock.boot()
        wait_ms = max(0, lane.pacer.opens_at() - boot) // 1_000
        return Outlook(lane.standing(), lane.until(), lane.reason(), now + wait_ms)

    # -- counts ------------------------------------------------------------------------------------------------------

    async def stats(self) -> Stats:
        """Counts; none of them is made by counting messages."""
        now = self._clock.wall()
        today = self._today(now)
        totals = await self._records.totals(today)
        return Stats(
            totals=totals,
            providers=self.providers(),
            sent_last_minute=self._tally.sent_last_minute(),
            sent_last_hour=self._tally.sent_last_hour(),
            sent_today=sum(row.sent for row in totals.minutes),
            failed_today=sum(row.failed for row in totals.minutes),
            eta=self._eta(totals, now),
            uptime_s=(self._clock.boot() - self._started) // 1_000_000,
        )

    def _today(self, now: Instant) -> int:
        """The minute at which today began in the daemon's time zone."""
        local = datetime.fromtimestamp(now / 1e3, self._zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        return int(midnight.timestamp()) // 60

    def _eta(self, totals: Totals, now: Instant) -> Instant | None:
        """When the backlog would be gone at the open providers' rates; None: nothing waits, or nobody knows."""
        waiting = sum(count for (state, _), count in totals.states.items() if state is State.PENDING)
        rates = [lane.pacer.rate_per_minute() for lane in self._lanes.values() if lane.standing() is Standing.OPEN]
        total = sum(rate for rate in rates if rate is not None)
        if not waiting or not rates or None in rates or not total:
            return None
        return now + int(waiting / total * MINUTE_MS)

    # -- providers ---------------------------------------------------------------------------------------------------

    def providers(self) -> tuple[ProviderView, ...]:
        """Every enabled provider."""
        return tuple(self._provider(lane) for lane in self._lanes.values())

    def _provider(self, lane: Lane) -> ProviderView:
        return ProviderView(
            name=lane.name,
            type=lane.provider.type,
            state=lane.standing(),
            until=lane.until(),
            reason=lane.reason(),
            rate=lane.pacer.rate_per_minute(),
            in_flight=lane.in_flight,
            sent_last_minute=self._tally.sent_last_minute(lane.name),
            throttles_last_hour=self._tally.throttles_last_hour(lane.name),
        )

    async def pause(self, name: str, reason: str) -> ProviderView:
        """No calls to this provider until resumed. Raises UnknownProviderError."""
        lane = self._lane(name)
        await lane.pause(reason)
        return self._provider(lane)

    async def resume(self, name: str) -> ProviderView:
        """Lift pause, halt and cooldown. Raises UnknownProviderError."""
        lane = self._lane(name)
        await lane.resume()
        return self._provider(lane)

    def _lane(self, name: str) -> Lane:
        if name not in self._lanes:
            raise UnknownProviderError(name, tuple(self._lanes))
        return self._lanes[name]
