"""What can be done with a campaign as a whole, and when is it over?

It is made, looked at, paused, resumed, cancelled and deleted here; the outbox keeps what was said about it and asks it
at every claim. Two things are work of their own. A cancelled campaign may have a million messages that wait: they are
cancelled in small steps with rests between them, which go on after a restart; and as long as calls are under way for
some, those that come back are cancelled too. And a campaign is complete when its last message has left the queue: those
of which a message left are looked at, once a second at most, and each is told of once until something of it waits
again. One that ends within the last second of a process is not told of: its status says it. Who may ask, and what a
submission is, is not known here.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, tzinfo
from functools import partial
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.campaign import Campaign, Move, Status, Terms
from smsd.core.events import Event, Kind, about
from smsd.core.message import Instant
from smsd.core.schedule import Schedule
from smsd.engine.bus import Bus
from smsd.engine.outlook import Lookout
from smsd.engine.trials import Trials
from smsd.store import StoreError
from smsd.store.operators import Campaigns as Kept

log = structlog.get_logger("smsd.campaigns")

STEP: Final = 200
"""Messages cancelled in one transaction, a few milliseconds."""

IN_FLIGHT: Final = 4_096
"""Messages that are handed in as campaigns and not answered, all together: some 10 MiB."""

LOOK_S: Final = 1.0
"""Between two looks at whether campaigns are complete."""

AGAIN_S: Final = 5.0
"""After a fault of the outbox."""

KNOWN: Final = 20_000
"""Campaigns with messages in the queue that are kept in mind, as many as there may be (intake.FLOWS_MOST). Of more, the
one that was longest without news is forgotten: its end is not told as an event; its status says it all the same."""

LINGER_S: Final = 60.0
"""Between two looks at cancelled campaigns that still have messages in the queue, where no event brings one."""

RECENT: Final = 1_000
"""Of the newest campaigns those with messages in the queue are found at the start."""
PAGE: Final = 100

Name = tuple[str, str]
"""Tenant and id."""

CAME: Final = frozenset(
    {
        Kind.MESSAGE_ACCEPTED,
        Kind.MESSAGE_REOPENED,
        Kind.MESSAGE_RETRY_SCHEDULED,
        Kind.MESSAGE_THROTTLED,
        Kind.MESSAGE_DEFERRED,
        Kind.MESSAGE_UNCERTAIN,
        Kind.MESSAGE_RESCHEDULED,
    }
)
"""Facts about a message that is in the queue then."""

WENT: Final = frozenset(
    {
        Kind.MESSAGE_SENT,
        Kind.MESSAGE_RECONCILED,
        Kind.MESSAGE_FAILED,
        Kind.MESSAGE_DELIVERED,
        Kind.MESSAGE_UNDELIVERED,
        Kind.MESSAGE_EXPIRED,
        Kind.MESSAGE_CANCELLED,
    }
)
"""Facts after which the queue may hold one less."""

TOLD: Final = {
    Move.PAUSE: Kind.CAMPAIGN_PAUSED,
    Move.RESUME: Kind.CAMPAIGN_RESUMED,
    Move.CANCEL: Kind.CAMPAIGN_CANCELLED,
}


class Campaigns:
    """The campaigns of all tenants. `rule` before use; `run` does the work of its own. All that asks the outbox raises
    StoreError."""

    def __init__(
        self, kept: Kept, schedule: Schedule, lookout: Lookout, bus: Bus, clock: Clock, changed: Callable[[], None]
    ) -> None:
        self._kept = kept
        self._schedule = schedule
        self._lookout = lookout
        self._bus = bus
        self._clock = clock
        self._changed = changed
        self.trials = Trials(self.make, kept, clock)
        self.room = asyncio.Semaphore(IN_FLIGHT)
        """Of all that hand messages of campaigns in."""
        self.zone = str(UTC)
        """The name of the zone in which hours are meant that name none."""
        self._open: OrderedDict[Name, None] = OrderedDict()
        """Campaigns with messages in the queue, the one with the latest news last."""
        self._noted: dict[Name, None] = {}
        """Those of them of which a message left; a part of `_open`."""
        self._looking: Name | None = None
        """The one that is being looked at, unless something of it came meanwhile."""
        self._doomed: deque[Name] = deque()
        """Those whose messages are being cancelled; each was asked for by an operator."""
        self._lingering: dict[Name, None] = {}
        """Cancelled ones that may still have messages in the queue, which come back when their calls end. At most
        KNOWN: of more, those of the first wait for their claims, which cancel them."""
        self._news = asyncio.Event()
        self._work = asyncio.Event()
        bus.subscribe(self._happened)

    def rule(self, zone: tzinfo) -> None:
        """New rules count from now on. `zone`: of hours that name none."""
        self.zone = str(zone)

    # -- what operators do -------------------------------------------------------------------------------------------

    async def make(self, tenant: str, id: str, terms: Terms) -> tuple[Campaign, bool]:
        """See store.operators.Campaigns.make."""
        found, is_new = await self._kept.make(tenant, id, terms, self._clock.wall())
        if is_new:
            self._tell(Kind.CAMPAIGN_CREATED, found)
        return found, is_new

    async def find(self, id: str, tenant: str | None) -> tuple[Campaign, ...]:
        """The campaign of this id; with tenant None those of all tenants."""
        return await self._kept.find(id, tenant)

    async def page(self, tenant: str | None, before: int | None, limit: int) -> tuple[tuple[Campaign, ...], int | None]:
        """Newest first, and the `before` of the next page; None: that was all."""
        found = await self._kept.page(tenant, before, limit + 1)
        return found[:limit], found[limit - 1].nr if len(found) > limit else None

    async def eta(self, campaign: Campaign) -> Instant | None:
        """When the last of its messages that wait will go, as things stand; None: none waits, or nobody knows."""
        if campaign.status is not Status.SENDING or not campaign.counts.queued:
            return None
        return await self._lookout.campaign_eta(campaign.tenant, campaign.id)

    async def move(self, tenant: str, id: str, move: Move) -> Campaign | None:
        """Pause, resume or cancel it. None: no such campaign. Idempotent: what is so already is not told again. One
        that is completed is neither paused nor cancelled: it comes back as it is."""
        before = await self._kept.find(id, tenant)
        if before and before[0].status is Status.COMPLETED and move is not Move.RESUME:
            return before[0]
        now = self._clock.wall()
        found = await self._kept.move(tenant, id, move, now)
        if found is None:
            return None
        if not before or _said(before[0]) != _said(found):
            self._tell(TOLD[move], found)
            self._changed()
        if move is Move.CANCEL and (tenant, id) not in self._doomed:
            self._doomed.append((tenant, id))
            self._work.set()
        return found

    async def delete(self, campaign: Campaign, word: str | None = None) -> bool:
        """Take it away if it never had a message, nothing holds it up and nobody hands messages to it now or joined its
        trial: these are to find its rate and hours. `word`: who asks has joined under it. False: it is another, or not
        there. What was not done, also for a StoreError, is done when it is asked for again."""
        tenant, id = campaign.tenant, campaign.id
        if word is None and self.trials.is_joined(tenant, id):
            return False
        if word is not None and not self.trials.leave(tenant, id, word):
            return False
        if self.trials.is_tried(tenant, id) or not await self._kept.unmake(tenant, id):
            return False
        if word is not None:
            self.trials.left(tenant, id, word)
        self._tell(Kind.CAMPAIGN_DELETED, campaign)
        return True

    def _tell(self, kind: Kind, campaign: Campaign, **more: object) -> None:
        self._bus.publish(kind, self._clock.wall(), tenant=campaign.tenant, campaign=campaign.id, **more)

    # -- work of its own ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        for start in (self._find_doomed, self._find_open):
            await self._persist(start)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._cancel(), name="campaigns cancelled")
            tasks.create_task(self._watch(), name="campaigns watched")

    async def _find_doomed(self) -> None:
        self._doomed.extend(name for name in await self._kept.cancelled() if name not in self._doomed)

    async def _find_open(self) -> None:
        """Each is looked at once: its last message may have left the queue since it was read."""
        before: int | None = None
        for _ in range(RECENT // PAGE):
            found, before = await self.page(None, before, PAGE)
            for campaign in reversed(found):
                if campaign.counts.queued:
                    name = (campaign.tenant, campaign.id)
                    self._open.setdefault(name)
                    self._note(name)
            if before is None:
                return

    async def _cancel(self) -> None:
        while True:
            while self._doomed:
                tenant, id = self._doomed[0]
                await self._persist(partial(self._cancel_one, tenant, id))
                self._doomed.popleft()
            self._work.clear()
            timer = asyncio.get_running_loop().call_later(LINGER_S, self._cancel_lingering) if self._lingering else None
            try:
                await self._work.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _cancel_lingering(self) -> None:
        self._doomed.extend(self._lingering)
        self._lingering.clear()
        self._work.set()

    async def _cancel_one(self, tenant: str, id: str) -> None:
        """Cancel what waits. Between two steps it rests for as long as the last one took, its wait for its turn with
        the writer included: others have half of what the writer can do at least."""
        found = await self._kept.find(id, tenant)
        if not found or not found[0].counts.queued:
            return
        self._linger((tenant, id))  # before the first step: whatever comes back from now on has it done again
        loop = asyncio.get_running_loop()
        began, now = loop.time(), self._clock.wall()
        while messages := await self._kept.cancel_some(tenant, id, now, STEP):
            for message in messages:
                self._schedule.drop(message.seq)
                self._bus.publish(Kind.MESSAGE_CANCELLED, now, **about(message))
            await asyncio.sleep(loop.time() - began)
            began, now = loop.time(), self._clock.wall()

    def _linger(self, name: Name) -> None:
        self._lingering[name] = None
        if len(self._lingering) > KNOWN:
            del self._lingering[next(iter(self._lingering))]

    async def _persist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do it, and if the outbox cannot now, again later: it may be taken up where it was."""
        while True:
            try:
                await work()
                return
            except StoreError as error:
                log.error("a campaign's work waits for the outbox; trying again", error=str(error))
                await asyncio.sleep(AGAIN_S)

    # -- completed ---------------------------------------------------------------------------------------------------

    def _happened(self, event: Event) -> None:
        if event.kind in CAME:
            came = True
        elif event.kind in WENT:
            came = False
        else:
            return
        id = event.fields.get("campaign")
        if id is None:
            return
        name = (str(event.fields["tenant"]), str(id))
        if came:
            self._keep(name)
            if name in self._lingering:
                del self._lingering[name]
                self._doomed.append(name)
                self._work.set()
        elif name in self._open:
            self._note(name)

    def _note(self, name: Name) -> None:
        self._noted[name] = None
        self._news.set()

    def _keep(self, name: Name) -> None:
        self._open[name] = None
        self._open.move_to_end(name)
        if self._looking == name:
            self._looking = None
        if len(self._open) > KNOWN:
            forgotten, _ = self._open.popitem(last=False)
            self._noted.pop(forgotten, None)

    async def _watch(self) -> None:
        while True:
            await self._news.wait()
            await asyncio.sleep(LOOK_S)
            self._news.clear()
            for name in [*self._noted]:
                await self._persist(partial(self._look, name))

    async def _look(self, name: Name) -> None:
        """Whether it is complete. What is told of it meanwhile may be in the counts already or not: something that came
        keeps it open, something that went has it looked at once more."""
        tenant, id = name
        self._noted.pop(name, None)
        self._looking = name
        found = await self._kept.find(id, tenant)
        if self._looking != name or name in self._noted or (found and found[0].counts.queued):
            return
        self._open.pop(name, None)
        if found and found[0].status is Status.COMPLETED:
            counts = found[0].counts
            self._tell(Kind.CAMPAIGN_COMPLETED, found[0], total=counts.total, sent=counts.sent, failed=counts.failed)


def _said(campaign: Campaign) -> Campaign:
    """What an operator said about it, without what happened."""
    return replace(campaign, changed_at=0, counts=type(campaign.counts)())
