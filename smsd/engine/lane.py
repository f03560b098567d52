"""What is one configured provider at run time?

Its dialect, its rules, the gate that keeps its ceiling, how many calls are in flight, what its answers have taught
(`experience`), which pairs rest, and its health. Changes of health are made durable before they are told to anyone;
whoever needs to know (the dispatcher: the lane opens or closes) hears of it through `changed`. Which message goes next
is the schedule's affair, what an answer means is the dialect's.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace

import structlog

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.events import Kind
from smsd.core.health import Health, Standing
from smsd.core.message import Instant, Message
from smsd.core.pacing import Pacer
from smsd.core.routing import Candidate
from smsd.core.settlement import Rest
from smsd.core.verdict import Fate, Verdict
from smsd.engine.bus import Bus
from smsd.engine.experience import Experience
from smsd.engine.gate import Gate
from smsd.engine.learning import HALT_PROBE_MS, Heard, Learning, News, shown
from smsd.engine.rests import Rests
from smsd.providers.base import Provider
from smsd.store import Outbox, StoreError

log = structlog.get_logger("smsd.lane")

CLAIM_AHEAD_US = 20_000
"""How far ahead of their slots attempts are claimed, so that their claims share a commit."""

PROBE_PATIENCE_MS = 60_000
"""How long a probe waits for a message that is not urgent, where others can carry those that are."""

NORMAL = frozenset({Standing.OPEN, Standing.HALF_OPEN})
"""Standings in which calls may begin."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One `[providers.NAME]` section, finished: what the engine is given of it."""

    name: str
    provider: Provider
    rules: ProviderRules
    needs_sender: bool = False
    """It cannot send without a sender and owns none (see core.routing.Candidate)."""
    default_sender: str = ""
    """As whom it sends if it owns no sender and nobody names one: `[messages] from`."""
    webhook_secret: str = field(default="", repr=False)
    """What the paths of its webhooks end with; empty: they have none."""
    older_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What the paths of URLs that went out earlier end with; they are accepted as well."""
    answer_words: str | None = None
    """Who answers STOP, START and HELP: provider | smsd; None: as its dialect says."""
    status_url: str | None = field(default=None, repr=False)
    """Where it is to report what becomes of a message (hooks.status_url); None: nowhere."""
    expected_s: float | None = None
    """How long a call takes before any was made, where its adapter knows (a simulated carrier); None: nobody knows."""

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """All that are accepted; empty: none is needed."""
        return (self.webhook_secret, *self.older_secrets) if self.webhook_secret else ()

    def fingerprint(self) -> str:
        """A digest that changes with all that may be the cause of a halt and can be mended by configuration: account,
        credentials, URL, and the senders that smsd chooses."""
        senders = self.rules.senders or ((self.default_sender,) if self.default_sender else ())
        parts = "\0".join((self.provider.fingerprint(), *senders))
        return hashlib.sha256(parts.encode()).hexdigest()


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
        self.health = health = self._as_configured(health)
        self.gate = Gate(Pacer(setting.rules.pace), clock)
        self.experience = Experience(setting.rules)
        self._learning = Learning(self.experience, setting.rules, clock)
        self.rests = Rests()
        self.in_flight = 0
        self._resumed_at: Instant = 0
        """When it was resumed last in this run."""
        """Attempts claimed and not settled."""
        self.calls_to: Counter[tuple[str, str]] = Counter()
        """(recipient, text) of calls under way: an answer may bind the provider id that a look-up sees as free."""
        self._open_calls: dict[int, tuple[int, int]] = {}
        self.noted: list[tuple[int, int]] | None = None
        """While set: every call that begins is noted here, as in open_calls()."""
        self._outbox = outbox
        self._bus = bus
        self._changed = changed
        self._cool_until_us = self._boot_of(health.cooling_until)
        self._probe_at_us = self._boot_of(health.probe_at)
        self._half_open_told = False
        self._unbroken = False
        """Its breaker was open when the configuration took it away; that is to be told."""
        self._rate_dropped = False
        """A reload ended what was learnt of its rate; that is to be told."""

    def _as_configured(self, health: Health) -> Health:
        """Without what its rules do not know any more, or do not allow: an open breaker, probes of a halt."""
        if self.rules.breaker is None and health.broken_since is not None:
            health = replace(health, broken_since=None, broken_reason="", probe_at=None)
        if health.halted is not None and (health.probe_at is not None) is not self.rules.halt_probe:
            health = replace(health, probe_at=self._clock.wall() + HALT_PROBE_MS if self.rules.halt_probe else None)
        return health

    def _boot_of(self, instant: Instant | None) -> int | None:
        """A time by the wall clock as boot time (us): taken when it is set, or found at a start."""
        return None if instant is None else self._clock.boot() + (instant - self._clock.wall()) * 1_000

    @property
    def candidate(self) -> Candidate:
        """What routing needs to know of it."""
        rules = self.rules
        return Candidate(self.name, rules.senders, self.needs_sender, rules.prefixes, rules.weight, rules.prices)

    @property
    def pacer(self) -> Pacer:
        """Its own ceiling, as configured."""
        return self.gate.pacer

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

    def now(self) -> Instant:
        """The time by which its cooldown is judged: it lasts as long as it was meant to, whatever is done to the wall
        clock meanwhile."""
        left = self._left_ms(self._cool_until_us)
        return self._clock.wall() if left is None else (self.health.cooling_until or 0) - left

    def _left_ms(self, end_us: int | None) -> int | None:
        """Milliseconds until then, by boot time; None: there is no such time. 0 or less: it is over."""
        return None if end_us is None else -(-(end_us - self._clock.boot()) // 1_000)

    def _is_over(self, end_us: int | None) -> bool:
        return end_us is not None and end_us <= self._clock.boot()

    def changes_in_ms(self) -> int | None:
        """When its standing changes by itself next: a cooldown ends, a probe is due. None: only news change it."""
        ends = [self._left_ms(self._cool_until_us)]
        if not self._half_open_told:
            ends.append(self._left_ms(self._probe_at_us))
        return min((left for left in ends if left is not None), default=None)

    def look(self) -> Coroutine[object, object, None] | None:
        """Notice what time alone has changed; what of it is worth telling, to be awaited."""
        if not self._half_open_told and self._is_over(self._probe_at_us):
            self._half_open_told = True
            self._changed(self)
        return self.recover() if self._is_over(self._cool_until_us) else None

    def standing(self) -> Standing:
        """Its state now."""
        return self.health.standing(self.now(), self._is_over(self._probe_at_us))

    def until(self) -> Instant | None:
        """When that ends by itself, or is next put to the test, by the wall clock as it is now; None: it is open, or
        nobody knows."""
        match self.standing():
            case Standing.COOLING:
                left = self._left_ms(self._cool_until_us)
            case Standing.BROKEN:
                left = self._left_ms(self._probe_at_us)
            case _:
                return None
        return None if left is None else self._clock.wall() + left

    def reason(self) -> str:
        """One sentence on the state; empty when open."""
        return self.health.reason(self.now())

    def room(self, wanted: int, *, in_turn: bool = True) -> int:
        """How many of `wanted` attempts may be claimed now: in-flight places, and slots that come soon. `in_turn`: see
        Gate.room."""
        return self.gate.room(min(wanted, self._places() - self.in_flight), CLAIM_AHEAD_US, in_turn=in_turn)

    def _places(self) -> int:
        if self._probe_at_us is not None and self.standing() is Standing.HALF_OPEN:
            return 0 if self._open_calls else 1
        opening = self.experience.opening
        return self.rules.max_in_flight if opening is None else min(opening, self.rules.max_in_flight)

    def is_being_tried(self) -> bool:
        """Whether it is out of order and a call that tries it is claimed or under way: then no other one may."""
        return self.standing() is Standing.HALF_OPEN and (self.in_flight > 0 or bool(self._open_calls))

    def room_in_us(self) -> int | None:
        """Microseconds until a slot comes near enough to claim for; None: only a call that begins or ends makes it."""
        line = self.gate.line
        if self.in_flight >= self._places() or (self.gate.unstarted if line is None else line.claimed):
            return None
        now = self._clock.boot()
        return max(0, self.gate.ready_at(now) - now - CLAIM_AHEAD_US)

    def probe_is_overdue(self) -> bool:
        """Whether its probe has been due for a while, and nothing else came to try it."""
        left = self._left_ms(self._probe_at_us)
        return left is not None and left <= -PROBE_PATIENCE_MS

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
        self.calls_to[message.recipient, message.text] += 1
        self._open_calls[message.seq] = (started, message.segments)
        if self.noted is not None:
            self.noted.append((started, message.segments))
        return self.standing() is Standing.HALF_OPEN

    def end_call(self, message: Message) -> None:
        """The call is settled."""
        self._open_calls.pop(message.seq, None)
        key = (message.recipient, message.text)
        self.calls_to[key] -= 1
        if not self.calls_to[key]:
            del self.calls_to[key]

    def note_calls(self) -> list[tuple[int, int]]:
        """From now on every call that begins is noted in this list, as in open_calls(), until `noted` is unset."""
        if self.noted is None:
            self.noted = []
        return self.noted

    def open_calls(self) -> list[tuple[int, int]]:
        """Calls under way, as (boot time us at which they were charged, segments)."""
        return [*self._open_calls.values()]

    def calls_alike(self, message: Message) -> bool:
        """Whether a call with this text to this number is under way."""
        return (message.recipient, message.text) in self.calls_to

    # -- reload ------------------------------------------------------------------------------------------------------

    def change(self, setting: Setting) -> None:
        """Other rules count from now on. The ceilings are the fleet's to change, before this."""
        fingerprint = setting.fingerprint()
        if fingerprint != self._fingerprint:
            self._fingerprint = fingerprint
            self._learning.renewed()
        self.provider, self.rules, self.needs_sender = setting.provider, setting.rules, setting.needs_sender
        self.expected_s = setting.expected_s
        self.status_url, self.webhook_secrets = setting.status_url, setting.webhook_secrets
        self._learning.rules = setting.rules
        self.follow_rate()
        was_broken = self.health.broken_since is not None
        self._set(self._as_configured(self.health))
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
        trusted = self.health.with_credentials(self._fingerprint)
        if self._unbroken:
            self._unbroken = False
            self.experience.begin_slowly()
            await self._learnt(trusted, (Kind.PROVIDER_BREAKER_CLOSED, {"reason": "it has no breaker any more"}))
            return
        if trusted is self.health:
            return
        if self.health.halted is not None:
            self.experience.begin_slowly()
            await self._learnt(trusted, (Kind.PROVIDER_RESUMED, {"reason": "its configuration was changed"}))
            return
        self.health = trusted
        await self._save()

    # -- news --------------------------------------------------------------------------------------------------------

    def weigh(self, verdict: Verdict, started_at: Instant) -> Verdict:
        """What a refusal without a reason means, given what is known of the provider (see core.suspicion)."""
        if not verdict.suspect:
            return verdict  # the load is dear to know: it looks at every start of a window
        return self._learning.weigh(verdict, self.health, started_at, self.now(), self.gate.load(self._clock.boot()))

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
        if self._is_over(self._cool_until_us):
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
        """What the provider said after a call, begun at `called_at`: that it refuses us. It waits for a person, as when
        an answer says so; but what was called before somebody resumed it says nothing of how it is since."""
        if self.health.halted is None and called_at >= self._resumed_at:
            health = self._learning.halted(self.health, reason)
            await self._learnt(health, (Kind.PROVIDER_HALTED, {"reason": reason}))

    async def resume(self, by: str) -> None:
        """An operator's word; lifts pause, halt, cooldown, an open breaker and the rests of pairs. Raises StoreError as
        `pause` does."""
        self.rests.clear()
        self._resumed_at = self._clock.wall()
        if self.health.standing(self.now()) is not Standing.OPEN:
            self.experience.begin_slowly()
        news: list[News] = [(Kind.PROVIDER_RESUMED, {"by": by})]
        if self.health.rate is not None:
            self.experience.forget_rate()
            self._keep_rate()
            news.append(self._as_fast_as_configured())
        await self._become(self.health.resume(), *news)

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
        before, self.health = self.health, health
        if health.cooling_until != before.cooling_until:
            self._cool_until_us = self._boot_of(health.cooling_until)
        if health.probe_at != before.probe_at:
            self._probe_at_us = self._boot_of(health.probe_at)
            self._half_open_told = False
        self._changed(self)

    async def _tell(self, news: list[News]) -> None:
        await self._save()
        self._publish(news)

    async def _save(self) -> None:
        try:
            await self._outbox.save_provider(self.health)
        except StoreError as error:
            log.error("a provider's health cannot be written down", provider=self.name, error=str(error))

    def _publish(self, news: Iterable[News]) -> None:
        for kind, fields in news:
            self._bus.publish(kind, self._clock.wall(), provider=self.name, **fields)
