"""What is one configured provider at run time?

Its dialect, its rules, the gate that keeps its ceiling, how many calls are in flight, and its health. Changes of health
are made durable before they are told to anyone; whoever needs to know (the dispatcher: the lane opens or closes) hears
of it through `changed`. Which message goes next is the schedule's affair, what an answer means is the dialect's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.events import Kind
from smsd.core.health import Health, Standing
from smsd.core.message import Instant, Message
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
    """One provider. Lives as long as the daemon; a reload changes it."""

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
        self.calls_to: Counter[tuple[str, str]] = Counter()
        """(recipient, text) of calls under way: an answer may bind the provider id that a look-up sees as free."""
        self._open_calls: dict[int, tuple[int, int]] = {}
        self.noted: list[tuple[int, int]] | None = None
        """While set: every call that begins is noted here, as in open_calls()."""
        self._renewed_at = -1
        """When the credentials were last changed while it was running (boot time, us)."""
        self._senders_changed = False
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._changed = changed
        self._cool_until_us = self._cooling_end()

    def _cooling_end(self) -> int | None:
        """The end of the cooldown as boot time (us), taken when the cooldown begins or is found at a start."""
        until = self.health.cooling_until
        return None if until is None else self._clock.boot() + (until - self._clock.wall()) * 1_000

    @property
    def candidate(self) -> Candidate:
        """What routing needs to know of it."""
        return Candidate(self.name, self.rules.senders, self.needs_sender)

    @property
    def pacer(self) -> Pacer:
        return self.gate.pacer

    def now(self) -> Instant:
        """The time by which its health is judged: a cooldown lasts as long as it was meant to, whatever is done to the
        wall clock meanwhile."""
        left = self.cooling_left_ms()
        return self._clock.wall() if left is None else (self.health.cooling_until or 0) - left

    def cooling_left_ms(self) -> int | None:
        """How much of the cooldown is left, by boot time; None: there is none. 0 or less: it is over."""
        return None if self._cool_until_us is None else -(-(self._cool_until_us - self._clock.boot()) // 1_000)

    def cooldown_over(self) -> bool:
        """Whether a cooldown has ended and was not told yet."""
        left = self.cooling_left_ms()
        return left is not None and left <= 0

    def standing(self) -> Standing:
        """Its state now."""
        return self.health.standing(self.now())

    def until(self) -> Instant | None:
        """When that ends by itself, by the wall clock as it is now; None: it is open, or nobody knows."""
        left = self.cooling_left_ms()
        return self._clock.wall() + left if left is not None and self.standing() is Standing.COOLING else None

    def reason(self) -> str:
        """One sentence on the state; empty when open."""
        return self.health.reason(self.now())

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

    def begin_call(self, message: Message, started: int) -> None:
        """A call begins; it was charged at `started` (boot time, us)."""
        self.calls_to[message.recipient, message.text] += 1
        self._open_calls[message.seq] = (started, message.segments)
        if self.noted is not None:
            self.noted.append((started, message.segments))

    def end_call(self, message: Message) -> None:
        """The call is settled."""
        self._open_calls.pop(message.seq, None)
        key = (message.recipient, message.text)
        self.calls_to[key] -= 1
        if not self.calls_to[key]:
            del self.calls_to[key]

    def open_calls(self) -> list[tuple[int, int]]:
        """Calls under way, as (boot time us at which they were charged, segments)."""
        return [*self._open_calls.values()]

    def calls_alike(self, message: Message) -> bool:
        """Whether a call with this text to this number is under way."""
        return (message.recipient, message.text) in self.calls_to

    def change(self, setting: Setting) -> None:
        """Other rules count from now on. The ceiling is the gate's to change."""
        if setting.provider.fingerprint() != self.provider.fingerprint():
            self._renewed_at = self._clock.boot()
        self._senders_changed = setting.rules.senders != self.rules.senders
        self.provider, self.rules, self.needs_sender = setting.provider, setting.rules, setting.needs_sender

    async def trust(self) -> None:
        """Note the credentials that are configured now. A halt ends when they, or the senders, were changed."""
        trusted = self.health.with_credentials(self.provider.fingerprint())
        if self._senders_changed and trusted.halted is not None:
            trusted = replace(trusted, halted=None)
        self._senders_changed = False
        if trusted is self.health:
            return
        if self.health.halted is not None:
            await self._learnt(trusted, Kind.PROVIDER_RESUMED, reason="its configuration was changed")
            return
        self.health = trusted
        try:
            await self._outbox.save_provider(trusted)
        except StoreError as error:
            log.error("a provider's health cannot be written down", provider=self.name, error=str(error))

    async def learn(self, effect: Cooldown | Halt | None, started_at: Instant, started_boot: int | None) -> None:
        """What a settlement says about the provider as a whole. When its call began: by the wall clock, as it is
        written down, and by boot time (us), which nobody steps; None: no call was made, it is known just now."""
        match effect:
            case Cooldown(until, reason):
                cooled = self.health.cool(self._clock.wall(), until, reason, started_at)
                if cooled is not self.health:
                    await self._learnt(cooled, Kind.PROVIDER_COOLDOWN, until=until, reason=reason)
            case Halt(reason):
                # A refusal of what was configured when the call began says nothing of what is configured now.
                of_today = started_boot is None or started_boot > self._renewed_at
                if self.health.halted is None and of_today:
                    await self._learnt(self.health.halt(reason), Kind.PROVIDER_HALTED, reason=reason)
            case None:
                pass

    async def recover(self) -> None:
        """The end of a cooldown is a fact worth telling, once."""
        if self.cooldown_over():
            await self._learnt(self.health.warm(), Kind.PROVIDER_RECOVERED)

    async def pause(self, reason: str, by: str) -> None:
        """An operator's word. Raises StoreError when it holds now but would be forgotten at a restart.

        `by`: who said so; for the log and operators, while `reason` is shown to whoever has a message waiting.
        """
        await self._become(self.health.pause(reason), Kind.PROVIDER_PAUSED, reason=reason, by=by)

    async def resume(self, by: str) -> None:
        """An operator's word; lifts pause, halt and cooldown. Raises StoreError as `pause` does."""
        await self._become(self.health.resume(), Kind.PROVIDER_RESUMED, by=by)

    async def _learnt(self, health: Health, kind: Kind, **fields: object) -> None:
        """What the provider itself said holds, whether or not there is room to write it down."""
        try:
            await self._become(health, kind, **fields)
        except StoreError as error:
            log.error("a provider's health cannot be written down", provider=self.name, error=str(error))

    async def _become(self, health: Health, kind: Kind, **fields: object) -> None:
        before, self.health = self.health, health
        if health.cooling_until != before.cooling_until:
            self._cool_until_us = self._cooling_end()
        self._changed(self)
        try:
            await self._outbox.save_provider(health)
        finally:
            self._bus.publish(kind, self._clock.wall(), provider=self.name, **fields)
