"""What can be asked of the running daemon, and what can an operator tell it?

The doors' counterpart: look up, list, wait, cancel, reschedule, retry, pause, resume; beside that it leads to the parts
that answer for themselves. Every answer about a message that is not final says why it waits (`explaining`). A tenant of
None means all tenants; who may pass None is the doors' affair.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import tzinfo

from smsd.clock import Clock
from smsd.core.acceptance import Fault, MessageRules, end_of_life
from smsd.core.events import Kind, about
from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.rescheduling import new_times
from smsd.core.schedule import Schedule
from smsd.core.suppression import Suppression
from smsd.engine.bus import Bus
from smsd.engine.counting import Counting
from smsd.engine.explaining import Explaining, Seen
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
from smsd.engine.roster import ProviderView, Roster
from smsd.engine.snapshots import Snapshots
from smsd.engine.stream import Stream
from smsd.engine.tally import Tally
from smsd.engine.watchers import Watchers
from smsd.store import Inbound, Outbox, Query, Records, WrongState

PAGE_CHARS = 262_144
"""Characters of texts and metadata in one page of a listing; one that holds more ends early."""

SLICE = 64
"""Messages of a page explained in one go, about 1 ms."""

QUEUED = frozenset({State.PENDING, State.PROCESSING})


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
        self.lookout = Lookout(records, lanes, schedule, feeder, limits, meters, clock)
        self.roster = Roster(lanes, tally, rules)
        self.counting = Counting(records, self.roster, tally, self.lookout, clock, zone)
        self.explaining = Explaining(lanes, limits, clock, lambda: self.store_full)
        self._watchers = watchers
        self._outbox = outbox
        self._records = records
        self._schedule = schedule
        self._feeder = feeder
        self._janitor = janitor
        self._bus = bus
        self._clock = clock
        self._rules = rules
        self.store_full = False
        """The outbox has no room; kept up to date by the composition root."""
        self.cursor_key = b""
        """See store.Recovery."""

    def rule(self, rules: MessageRules, zone: tzinfo) -> None:
        """New rules count from now on."""
        self._rules = self.roster.rules = rules
        self.counting.zone = zone

    # -- messages ----------------------------------------------------------------------------------------------------

    async def get(self, id: str, tenant: str | None) -> Seen | None:
        """One message, and when it will go."""
        message = await self._records.get(id, tenant)
        if message is None:
            return None
        eta = await self.lookout.message_eta(message)
        return replace(self.explaining.see(message), eta=eta)

    async def wait(self, id: str, tenant: str | None, timeout_ms: int) -> Seen | None:
        """One message, once it has left the queue (sent, or final) or after `timeout_ms`, whichever comes first."""
        if timeout_ms <= 0:
            return await self.get(id, tenant)
        # Listened to before it is read, so that what happens in between is not missed.
        settled = asyncio.ensure_future(self._watchers.settled(id, timeout_ms / 1e3))
        try:
            message = await self._records.get(id, tenant)
            if message is None or message.state not in QUEUED:
                return None if message is None else self.explaining.see(message)
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
            seen.append(self.explaining.see(message))
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
            return self.explaining.see(found)
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
            return self.explaining.see(found)
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
        return self.explaining.see(found) if isinstance(found, Message) else found

    # -- other things ------------------------------------------------------------------------------------------------

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

    # -- providers ---------------------------------------------------------------------------------------------------

    def providers(self, tenant: str | None = None) -> tuple[ProviderView, ...]:
        """Every enabled provider, or those that may carry a tenant's messages."""
        return self.roster.views(tenant)

    async def pause(self, name: str, reason: str = "paused by an operator", by: str = "") -> ProviderView:
        """No calls to this provider until resumed. Raises UnknownProviderError."""
        return await self.roster.pause(name, reason, by)

    async def resume(self, name: str, by: str = "") -> ProviderView:
        """Lift pause, halt and cooldown. Raises UnknownProviderError."""
        return await self.roster.resume(name, by)
