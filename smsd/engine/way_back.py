"""How do what providers tell us and what we tell applications hang together?

The parts of the way back, put together once: receipts and inbound texts come in by the webhooks, callbacks go out. What
the outbox must write down for that (`Tracking`) follows from who is configured, and is as little as possible, for each
of it costs something for each message. It refuses to know what a part does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from smsd.clock import Clock
from smsd.core.inbound import InboundRules
from smsd.core.message import Instant
from smsd.core.schedule import Schedule
from smsd.core.submission import MessageRules
from smsd.engine.bus import Bus
from smsd.engine.callbacks import Callbacks
from smsd.engine.carrier import Carrier
from smsd.engine.feeder import Feeder
from smsd.engine.hooks import Hooks, takes
from smsd.engine.inbound import Inbounds
from smsd.engine.intake import Intake
from smsd.engine.lane import Lane
from smsd.engine.meters import Meters
from smsd.engine.receipts import Receipts
from smsd.engine.registering import Registering
from smsd.engine.replaying import Replaying
from smsd.engine.setting import Setting
from smsd.providers.base import HookKind, Webhooks
from smsd.store import Outbox, Received, Records, Tracking

log = structlog.get_logger("smsd.way_back")


@dataclass(frozen=True, slots=True)
class WayRules:
    """What the configuration says about the way back."""

    settings: tuple[Setting, ...] = ()
    """Every provider, the disabled ones included: what they took is not done yet."""
    public_url: str = ""
    """Where providers reach us; empty: nowhere that we know of."""
    messages: MessageRules = field(default_factory=MessageRules)
    """Callbacks and tenants."""
    inbound: InboundRules = field(default_factory=InboundRules)

    @property
    def tracking(self) -> Tracking:
        """What the outbox is to write down for it."""
        status = [each for each in self.settings if takes(each, HookKind.STATUS)]
        return Tracking(
            ids=frozenset(each.name for each in status if _reports_by_id(each)),
            threads=frozenset(each.name for each in self.settings if takes(each, HookKind.INBOUND)),
            callbacks=self.messages.callbacks.urls,
        )


def _reports_by_id(setting: Setting) -> bool:
    return isinstance(setting.provider, Webhooks) and setting.provider.reports_by_id


class WayBack:
    """The parts. `rule` before `run`; `close` ends the calls to applications."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        schedule: Schedule,
        feeder: Feeder,
        lanes: Mapping[str, Lane],
        intake: Intake,
        carrier: Carrier,
        bus: Bus,
        clock: Clock,
        meters: Meters,
        dice: Callable[[], float],
        new_id: Callable[[], str],
        withdraw: Callable[[str], None],
        notice_expiry: Callable[[Instant], None],
    ) -> None:
        """`withdraw`: keeps a message's call from beginning. `notice_expiry`: a message is pending until then."""
        self.receipts = Receipts(
            outbox, schedule, feeder, lanes, bus, clock, dice, withdraw, notice_expiry, meters.receipt
        )
        self.inbounds = Inbounds(outbox, records, bus, clock, intake, new_id)
        self.hooks = Hooks(self.receipts, self.inbounds, bus, clock, meters)
        self.callbacks = Callbacks(outbox, records, bus, clock, dice, meters.callback)
        self.replaying = Replaying(outbox, records, clock, self.callbacks.end_rests)
        self.registering = Registering(carrier, dice)
        self._outbox = outbox
        self._applying: set[asyncio.Task[None]] = set()
        outbox.notify(self._received, self.callbacks.wake)

    def rule(self, rules: WayRules) -> None:
        """These rules count from now on; what they need to be written down, `Outbox.track` must have been told."""
        self.hooks.rule(rules.settings, rules.public_url)
        self.registering.rule(rules.settings, rules.public_url)
        self.inbounds.rule(rules.inbound, rules.messages.tenants)
        self.callbacks.rule(rules.messages.callbacks)

    def _received(self, received: Sequence[Received]) -> None:
        """Receipts that were kept count now that their ids are known; they are written already."""
        task = asyncio.get_running_loop().create_task(self.receipts.applied(received))
        self._applying.add(task)
        task.add_done_callback(self._applied)

    def _applied(self, task: asyncio.Task[None]) -> None:
        """They are in the outbox whatever comes of this; a fault here must be seen all the same."""
        self._applying.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("kept receipts are written and could not take effect: a fault of the daemon", exc_info=error)

    async def run(self) -> None:
        """Tell applications, until cancelled."""
        await self.callbacks.run()

    async def close(self) -> None:
        """No more calls to applications; those in flight are given a moment. Idempotent."""
        self.hooks.close()
        await self.callbacks.close()
        await asyncio.gather(*self._applying, return_exceptions=True)
