"""What is one configured provider at run time?

Its dialect, its rules, the gate that keeps its ceiling, how many calls are in flight, and its health. Changes of health
are made durable before they are told to anyone; whoever needs to know (the dispatcher: the lane opens or closes) hears
of it through `changed`. Which message goes next is the schedule's affair, what an answer means is the dialect's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.events import Kind
from smsd.core.health import Health, Standing
from smsd.core.message import Instant
from smsd.core.pacing import Pacer
from smsd.core.policy import Cooldown, Halt
from smsd.core.routing import Candidate
from smsd.engine.bus import Bus
from smsd.engine.gate import Gate
from smsd.providers.base import Provider
from smsd.store import Outbox, StoreError

log = structlog.get_logger("smsd.lane")

CLAIM_AHEAD_US = 20_000
"""How far ahead of their slots attempts are claimed, so that their claims share a commit."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One `[providers.NAME]` section, finished: what the engine is given of it."""

    name: str
    provider: Provider
    rules: ProviderRules
    needs_sender: bool = False
    """It cannot send without a sender and owns none (see core.routing.Candidate)."""


class Lane:
    """One provider. Lives as long as the daemon."""

    def __init__(
        self,
        setting: Setting,
        health: Health,
        outbox: Outbox,
        bus: Bus,
        clock: Clock,
        changed: Callable[[Lane], None],
    ) -> None:
        self.name = setting.name
        self.provider = setting.provider
        self.rules = setting.rules
        self.needs_sender = setting.needs_sender
        self.health = health
        self.gate = Gate(Pacer(setting.rules.pace), clock)
        self.in_flight = 0
        """Attempts claimed and not settled."""
        self.unstarted = 0
        """Those of them whose call has not begun: being claimed, or waiting at the gate."""
        self.calls_to: Counter[str] = Counter()
        """Recipients of calls under way: their answers may bind a provider id that a look-up sees as free."""
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._changed = changed

    @property
    def candidate(self) -> Candidate:
        """What routing needs to know of it."""
        return Candidate(self.name, self.rules.senders, self.needs_sender)

    @property
    def pacer(self) -> Pacer:
        return self.gate.pacer

    def standing(self) -> Standing:
        return self.health.standing(self._clock.wall())

    def room(self, wanted: int) -> int:
        """How many of `wanted` attempts may be claimed now: in-flight places, and slots that come soon."""
        places = min(wanted, self.rules.max_in_flight - self.in_flight)
        if places <= 0:
            return 0
        ahead = self.unstarted
        slots = self.pacer.allowance(self._clock.boot(), CLAIM_AHEAD_US, places + ahead) - ahead
        return max(0, min(places, slots))

    def room_in_us(self) -> int | None:
        """Microseconds until a slot comes near enough to claim for; None: only a call that begins or ends makes it."""
        if self.in_flight >= self.rules.max_in_flight or self.unstarted:
            return None
        now = self._clock.boot()
        return max(0, self.pacer.ready_at(now) - now - CLAIM_AHEAD_US)

    def end_call(self, recipient: str) -> None:
        """The call to this recipient is settled."""
        self.calls_to[recipient] -= 1
        if not self.calls_to[recipient]:
            del self.calls_to[recipient]

    async def learn(self, effect: Cooldown | Halt | None, started_at: Instant) -> None:
        """What a settlement says about the provider as a whole."""
        now = self._clock.wall()
        match effect:
            case Cooldown(until, reason):
                cooled = self.health.cool(now, until, reason, started_at)
                if cooled is not self.health:
                    await self._learnt(cooled, Kind.PROVIDER_COOLDOWN, until=until, reason=reason)
            case Halt(reason):
                if self.health.halted is None:
                    await self._learnt(self.health.halt(reason), Kind.PROVIDER_HALTED, reason=reason)
            case None:
                pass

    async def recover(self) -> None:
        """The end of a cooldown is a fact worth telling, once."""
        health = self.health
        if health.cooling_until is not None and self._clock.wall() >= health.cooling_until:
            await self._learnt(health.warm(), Kind.PROVIDER_RECOVERED)

    async def pause(self, reason: str) -> None:
        """An operator's word. Raises StoreError when it holds now but would be forgotten at a restart."""
        await self._become(self.health.pause(reason), Kind.PROVIDER_PAUSED, reason=reason)

    async def resume(self) -> None:
        """An operator's word; lifts pause, halt and cooldown. Raises StoreError as `pause` does."""
        await self._become(self.health.resume(), Kind.PROVIDER_RESUMED)

    async def _learnt(self, health: Health, kind: Kind, **fields: object) -> None:
        """What the provider itself said holds, whether or not there is room to write it down."""
        try:
            await self._become(health, kind, **fields)
        except StoreError as error:
            log.error("a provider's health cannot be written down", provider=self.name, error=str(error))

    async def _become(self, health: Health, kind: Kind, **fields: object) -> None:
        self.health = health
        self._changed(self)
        try:
            await self._outbox.save_provider(health)
        finally:
            self._bus.publish(kind, self._clock.wall(), provider=self.name, **fields)
