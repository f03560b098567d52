"""What is one configured provider at run time?

Its dialect, its rules, the gate that keeps its ceiling, its calls, what its answers have taught (`experience`), which
pairs rest, and how it stands (`condition`): here they are one. Changes of health are made durable before they are told
to anyone; whoever needs to know (the dispatcher: the lane opens or closes) hears of it through `changed`. Which message
goes next is the schedule's affair, what an answer means is the dialect's.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable

import structlog

from smsd.clock import Clock
from smsd.core.events import Kind
from smsd.core.health import Health, Standing
from smsd.core.message import Instant, Message
from smsd.core.pacing import Pacer
from smsd.core.routing import Candidate
from smsd.core.settlement import Rest
from smsd.core.verdict import Fate, Verdict
from smsd.engine.bus import Bus
from smsd.engine.calls import Calls
from smsd.engine.condition import Condition
from smsd.engine.experience import Experience
from smsd.engine.gate import Gate
from smsd.engine.learning import Heard, Learning, News, shown
from smsd.engine.rests import Rests
from smsd.engine.setting import Setting
from smsd.store import Outbox, StoreError

log = structlog.get_logger("smsd.lane")

CLAIM_AHEAD_US = 20_000
"""How far ahead of their slots attempts are claimed, so that their claims share a commit."""

PROBE_PATIENCE_MS = 60_000
"""How long a probe waits for a message that is not urgent, where others can carry those that are."""

NORMAL = frozenset({Standing.OPEN, Standing.HALF_OPEN})
"""Standings in which calls may begin."""


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
        self.expected_s = setting.expected_s
        self.status_url, self.webhook_secrets = setting.status_url, setting.webhook_secrets
        self._fingerprint = setting.fingerprint()
        self._clock = clock
        self.condition = Condition(health, setting.rules, clock)
        self.gate = Gate(Pacer(setting.rules.pace), clock)
        self.experience = Experience(setting.rules)
        self._learning = Learning(self.experience, setting.rules, clock)
        self.rests = Rests()
        self.in_flight = 0
        """Attempts claimed and not settled."""
        self.calls = Calls()
        self._outbox = outbox
        self._bus = bus
        self._changed = changed
        self.unwritten = False
        """What is known of it is yet to be written down: `trust` or `look` does."""
        self._unbroken = False
        """Its breaker was open when the configuration took it away; that is to be told."""
        self._rate_dropped = False
        """A reload ended what was learnt of its rate; that is to be told."""

    @property
    def health(self) -> Health:
        """What is known of it and survives a restart."""
        return self.condition.health

    @property
    def candidate(self) -> Candidate:
        """What routing needs to know of it."""
        rules = self.rules
        return Candidate(self.name, rules.senders, self.needs_sender, rules.prefixes, rules.weight, rules.prices)

    @property
    def pacer(self) -> Pacer:
        """Its own ceiling, as configured."""
        return self.gate.pacer

    @property
    def era(self) -> int:
        """To be noted when a call begins, and given back with what is heard of it (Heard.era)."""
        return self._learning.era

    def rate_now(self) -> float | None:
        """Units a minute that it may be called at now, in the long run; None: unlimited."""
        shared = None if self.gate.shared is None else self.gate.shared.rate_per_minute()
        rates = [self.pacer.rate_per_minute(), shared, self.experience.rate]
        return min((rate for rate in rates if rate is not None), default=None)

    def recommended_rate(self) -> float | None:
        """Units a minute that its `rate` might be set to, as throttles have taught; None: it is not above that now."""
        shared = None if self.gate.shared is None else self.gate.shared.rate_per_minute()
        recommended = self.experience.recommended
        configured = [rate for rate in (self.pacer.rate_per_minute(), shared) if rate is not None]
        return None if recommended is None or any(rate <= recommended for rate in configured) else recommended

    # -- how it stands -----------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """Its state now."""
        return self.condition.standing()

    def until(self) -> Instant | None:
        """When that ends by itself, or is next put to the test; see Condition.until."""
        return self.condition.until()

    def reason(self) -> str:
        """One sentence on the state; empty when open."""
        return self.condition.reason()

    def look(self) -> Coroutine[object, object, None] | None:
        """Notice what time alone has changed; what of it is worth telling, to be awaited."""
        if self.condition.probe_begins():
            self._changed(self)
        if self.condition.has_cooled():
            return self.recover()
        return self._save() if self.unwritten else None

    def room(self, wanted: int, *, in_turn: bool = True) -> int:
        """How many of `wanted` attempts may be claimed now: in-flight places, and slots that come soon. `in_turn`: see
        Gate.room."""
        return self.gate.room(min(wanted, self._places() - self.in_flight), CLAIM_AHEAD_US, in_turn=in_turn)

    def _places(self) -> int:
        if self.condition.is_tried():
            return 0 if self.calls else 1
        opening = self.experience.opening
        return self.rules.max_in_flight if opening is None else min(opening, self.rules.max_in_flight)

    def is_being_tried(self) -> bool:
        """Whether it is out of order and a call that tries it is claimed or under way: then no other one may."""
        return self.condition.is_tried() and (self.in_flight > 0 or bool(self.calls))

    def room_in_us(self) -> int | None:
        """Microseconds until a slot comes near enough to claim for; None: only a call that begins or ends makes it."""
        line = self.gate.line
        if self.in_flight >= self._places() or (self.gate.unstarted if line is None else line.claimed):
            return None
        now = self._clock.boot()
        return max(0, self.gate.ready_at(now) - now - CLAIM_AHEAD_US)

    def probe_is_overdue(self) -> bool:
        """Whether its probe has been due for a while, and nothing else came to try it."""
        return self.condition.probe_overdue_ms() >= PROBE_PATIENCE_MS

    # -- calls -------------------------------------------------------------------------------------------------------

    def resting_until(self, message: Message) -> Instant | None:
        """When it is the message's turn once its sender may text its recipient again (wall time); None: now. Asked once
        for each claim."""
        now = self._clock.boot()
        until = self.rests.until(message.sender or "", message.recipient, now)
        if until is None:
            return None
        return self._clock.wall() + (until + self.rests.turn_us(message.sender or "") - now) // 1_000

    def begin_call(self, message: Message, started: int) -> bool:
        """A call begins; it was charged at `started` (boot time, us). True: it is a probe."""
        self.calls.begin(message, started)
        return self.condition.is_tried()

    def end_call(self, message: Message) -> None:
        """The call is settled."""
        self.calls.end(message)

    # -- reload ------------------------------------------------------------------------------------------------------

    def change(self, setting: Setting) -> None:
        """Other rules count from now on. The ceilings are the fleet's to change, before this."""
        fingerprint = setting.fingerprint()
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._learning.begin_era()
        self.provider, self.rules, self.needs_sender = setting.provider, setting.rules, setting.needs_sender
        self.expected_s = setting.expected_s
        self.status_url, self.webhook_secrets = setting.status_url, setting.webhook_secrets
        self._learning.rules = setting.rules
        self.follow_rate()
        was_broken = self.health.broken_since is not None
        self.condition.follow(setting.rules)
        self._changed(self)
        self._unbroken = was_broken and self.health.broken_since is None
        if self.health.rate is not None and self.experience.rate is None:
            # Nothing learns any more, or it is called no faster than that anyway: not to come back by a later reload.
            self._set(self.health.unlearnt())
            self._rate_dropped = True

    def follow_rate(self) -> None:
        """Rules or ceilings are others now: what was learnt of its rate is put beside them."""
        shared = None if self.gate.shared is None else self.gate.shared.pace
        self.experience.follow(self.rules)
        self.experience.follow_rate(self.rules, shared, self.health, self._clock.wall(), self._clock.boot())
        self._keep_rate()

    def _keep_rate(self) -> None:
        """The rate that was learnt is the gate's from now on."""
        gate = self.gate
        gate.learn(self.experience.pacer(gate.pacer, gate.learnt, gate.shared))

    async def trust(self) -> None:
        """Note the credentials that are configured now. A halt ends when they, or the senders, were changed."""
        if self._rate_dropped:
            self._rate_dropped = False
            await self._tell([self._as_fast_as_configured()])
        trusted = self.health.with_credentials(self._fingerprint, self._clock.wall())
        if self._unbroken:
            self._unbroken = False
            self.experience.begin_slowly()
            await self._learnt(trusted, (Kind.PROVIDER_BREAKER_CLOSED, {"reason": "it has no breaker any more"}))
            return
        if trusted is self.health:
            if self.unwritten:
                await self._save()
            return
        if self.health.halted is not None:
            self.experience.begin_slowly()
            await self._learnt(trusted, (Kind.PROVIDER_RESUMED, {"reason": "its configuration was changed"}))
            return
        self.condition.become(trusted)
        await self._save()

    # -- news --------------------------------------------------------------------------------------------------------

    def weigh(self, verdict: Verdict, started_at: Instant) -> Verdict:
        """What a refusal without a reason means, given what is known of the provider (see core.suspicion)."""
        if not verdict.suspect:
            return verdict  # the load is dear to know: it looks at every start of a window
        return self._learning.weigh(
            verdict, self.health, started_at, self.condition.now(), self.gate.load(self._clock.boot())
        )

    def hear(self, heard: Heard) -> Coroutine[object, object, None] | None:
        """What a call's end says about the provider. It counts at once; what is worth keeping and telling, if anything,
        is to be awaited."""
        if heard.verdict.fate is Fate.ACCEPTED and self._learning.as_ever(self.health, heard):
            return None
        if isinstance(heard.effect, Rest):
            self._rest(heard.effect)
        lesson = self._learning.hear(self.health, heard)
        if lesson.new_rate:
            self._keep_rate()
        if lesson.health is self.health:
            return None
        self._set(lesson.health)
        return self._tell(lesson.news)

    def _rest(self, rest: Rest) -> None:
        now = self._clock.boot()
        until = now + max(0, rest.until - self._clock.wall()) * 1_000
        self.rests.add(rest.sender, rest.recipient, until, now)

    async def recover(self) -> None:
        """The end of a cooldown is a fact worth telling, once."""
        if self.condition.has_cooled():
            self.experience.begin_slowly()
            await self._learnt(self.health.warm(), (Kind.PROVIDER_RECOVERED, {}))

    async def pause(self, reason: str, by: str) -> None:
        """An operator's word. Raises StoreError when it holds now but would be forgotten at a restart.

        `by`: who said so; for the log and operators, while `reason` is shown to whoever has a message waiting.
        """
        await self._become(
            self.health.pause(reason, self._clock.wall()), (Kind.PROVIDER_PAUSED, {"reason": reason, "by": by})
        )

    async def halt(self, reason: str, called_at: Instant) -> None:
        """What the provider said after a call, claimed at `called_at`: that it refuses us. It waits for a person, as
        when an answer says so; but what was called before somebody resumed it says nothing of how it is since."""
        if self.health.halted is None and self.health.is_told_by(called_at):
            health = self._learning.halted(self.health, reason)
            await self._learnt(health, (Kind.PROVIDER_HALTED, {"reason": reason}))

    async def resume(self, by: str) -> None:
        """An operator's word; lifts pause, halt, cooldown, an open breaker and the rests of pairs. Raises StoreError as
        `pause` does."""
        self.rests.clear()
        self._learning.begin_era()
        if self.health.standing(self.condition.now()) is not Standing.OPEN:
            self.experience.begin_slowly()
        news: list[News] = [(Kind.PROVIDER_RESUMED, {"by": by})]
        if self.health.rate is not None:
            self.experience.forget_rate()
            self._keep_rate()
            news.append(self._as_fast_as_configured())
        await self._become(self.health.resume(self._clock.wall()), *news)

    def _as_fast_as_configured(self) -> News:
        return Kind.PROVIDER_RATE_CHANGED, {"rate": shown(self.experience.base_rate), "learnt": None}

    async def _learnt(self, health: Health, *news: News) -> None:
        """What the provider itself said holds, whether or not there is room to write it down."""
        self._set(health)
        await self._tell([*news])

    async def _become(self, health: Health, *news: News) -> None:
        self._set(health)
        try:
            await self._outbox.save_provider(health)
        finally:
            self._publish(news)

    def _set(self, health: Health) -> None:
        self.condition.become(health)
        self._changed(self)

    async def _tell(self, news: list[News]) -> None:
        await self._save()
        self._publish(news)

    def step_followed(self) -> None:
        """The wall clock was stepped, and what is due has followed it: so does since when it is trusted."""
        health = self.health.trusted_by(self._clock.wall())
        if health is not self.health:
            self.condition.become(health)
            self.unwritten = True

    async def _save(self) -> None:
        self.unwritten = False
        try:
            await self._outbox.save_provider(self.health)
        except StoreError as error:
            log.error("a provider's health cannot be written down", provider=self.name, error=str(error))

    def _publish(self, news: Iterable[News]) -> None:
        for kind, fields in news:
            self._bus.publish(kind, self._clock.wall(), provider=self.name, **fields)
