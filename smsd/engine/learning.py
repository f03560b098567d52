"""What does the end of a call change in what is known of its provider?

A throttle cools it down and lowers its rate, a refusal of our credentials halts it, failures open its breaker, a probe
that succeeds closes it. From the health as it was and what was heard follow the health as it is and what there is to
tell. It refuses to know who calls, where health is kept and which calls may begin: that is the lane's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from smsd.clock import Clock
from smsd.core.account import ProviderRules
from smsd.core.breaker import is_failure
from smsd.core.events import Kind
from smsd.core.health import Health
from smsd.core.message import Instant
from smsd.core.settlement import Cooldown, Effect, Halt
from smsd.core.suspicion import Evidence, weigh
from smsd.core.units import duration_text
from smsd.core.verdict import Fate, Verdict
from smsd.engine.experience import Experience

HALT_PROBE_MS = 600_000
"""Between two calls that try a halted provider, with `halt_probe`: what was revoked is seldom restored in minutes."""

News = tuple[Kind, dict[str, object]]
"""An event about the provider, with its fields."""


@dataclass(slots=True)
class Heard:
    """What came of one call, as the provider's health learns from it."""

    verdict: Verdict
    effect: Effect | None
    started_at: Instant
    """Wall time."""
    started_boot: int | None
    """Boot time, us; None: no call was made, it is known just now."""
    segments: int = 1
    """Of the message: what a rate is charged for it depends on the rate's unit."""
    era: int | None = None
    """Learning.era when the call began; None: no call was made."""


@dataclass(slots=True)
class Lesson:
    """What follows from it."""

    health: Health
    """The same object when nothing changed that must outlive a restart."""
    news: list[News] = field(default_factory=list)
    new_rate: bool = False


class Learning:
    """Of one provider."""

    def __init__(self, experience: Experience, rules: ProviderRules, clock: Clock) -> None:
        self.rules = rules
        self._experience = experience
        self._clock = clock
        self._strikes = 0
        """What the last suspect refusal made of the count; it counts once its rest begins."""
        self.era = 0
        """Grows whenever an operator resumes it or its credentials are changed: a refusal of a call begun before says
        nothing of how it is since. Counted, because times cannot tell: a call may begin in the very instant of the
        change, and what was made ready before it may leave the machine after."""
        self._out_of_order_us = clock.boot()
        """Since when it is broken or halted: calls begun before say nothing of how it is since."""

    def begin_era(self) -> None:
        """Somebody says that the cause of a halt, if there was one, is mended."""
        self.era += 1

    def weigh(self, verdict: Verdict, health: Health, started_at: Instant, now: Instant, load: float) -> Verdict:
        """What a suspect verdict means; `now` by the clock of its cooldown, `load` of its ceiling."""
        if (
            health.cooling_until is not None
            and now < health.cooling_until
            and started_at <= (health.cooling_since or 0)
        ):
            # Begun before the rest that another answer brought: it waits with it and is no further strike.
            return replace(verdict, cooldown_ms=health.cooling_until - now)
        # By boot time: how long ago it was is what matters, whatever is done to the wall clock.
        accepted_us = self._experience.accepted_us
        evidence = Evidence(None if accepted_us is None else accepted_us // 1_000, health.strikes, load)
        judged, self._strikes = weigh(verdict, evidence, self._clock.boot() // 1_000)
        return judged

    def as_ever(self, health: Health, heard: Heard) -> bool:
        """A message was taken by a provider of which nothing is wrong: noted, and there is no lesson in it. False: look
        closer. All but a few calls go this way."""
        experience = self._experience
        if heard.started_boot is None or health.probe_at is not None or health.strikes or experience.rate is not None:
            return False
        now = self._clock.boot()
        experience.answered(now, failed=False, places=self.rules.max_in_flight)
        experience.took(heard.started_boot, now, heard.segments)
        return True

    def hear(self, health: Health, heard: Heard) -> Lesson:
        """What a call's end says."""
        lesson = Lesson(health)
        match heard.effect:
            case Cooldown():
                self._cool(lesson, heard, heard.effect)
            case Halt():
                self._halt(lesson, heard, heard.effect)
            case _:
                pass
        if heard.started_boot is not None:
            self._answered(lesson, heard.verdict, heard.started_boot, heard.segments)
        return lesson

    def _cool(self, lesson: Lesson, heard: Heard, effect: Cooldown) -> None:
        cooled = lesson.health.cool(self._clock.wall(), effect.until, effect.reason, heard.started_at)
        if cooled is lesson.health:
            return
        if heard.verdict.suspect:
            cooled = replace(cooled, strikes=self._strikes)
        lesson.health = cooled
        lesson.news.append((Kind.PROVIDER_COOLDOWN, {"until": effect.until, "reason": effect.reason}))
        started = heard.started_boot
        if heard.verdict.suspect and cooled.strikes > 1:
            # Refused again after a rest: it may well not be the rate. One such throttle teaches, those after do not.
            return
        if started is not None and self._experience.throttled(started, self._clock.boot()):
            self._new_rate(lesson)

    def _halt(self, lesson: Lesson, heard: Heard, effect: Halt) -> None:
        health = lesson.health
        if health.halted is not None and heard.started_boot is None and health.probe_at is not None:
            # It was to be tried, and no call could even be made.
            lesson.health = health.probed(self._clock.wall() + HALT_PROBE_MS)
        if health.halted is not None or heard.era not in {None, self.era}:
            return
        lesson.health = self.halted(health, effect.reason)
        lesson.news.append((Kind.PROVIDER_HALTED, {"reason": effect.reason}))

    def halted(self, health: Health, reason: str) -> Health:
        """The health of a provider that refuses us, from now on."""
        self._out_of_order_us = self._clock.boot()
        probe_at = self._clock.wall() + HALT_PROBE_MS if self.rules.halt_probe else None
        return health.halt(reason, probe_at, self._clock.wall())

    def _answered(self, lesson: Lesson, verdict: Verdict, started: int, segments: int) -> None:
        """Whether it answers at all, and how fast it takes what it is given."""
        now = self._clock.boot()
        failed = is_failure(verdict.category)
        opens = self._experience.answered(now, failed=failed, places=self.rules.max_in_flight)
        if verdict.fate is Fate.ACCEPTED:
            if self._experience.took(started, now, segments):
                self._new_rate(lesson)
            if lesson.health.strikes:
                lesson.health = replace(lesson.health, strikes=0)
        health = lesson.health
        if health.probe_at is not None and started > self._out_of_order_us:
            self._probed(lesson, verdict, failed=failed)
        elif opens and health.broken_since is None and health.halted is None:
            self._break(lesson, verdict)

    def _probed(self, lesson: Lesson, verdict: Verdict, *, failed: bool) -> None:
        """A call tried a provider that is out of order."""
        refused = lesson.health.halted is not None and verdict.fate is not Fate.ACCEPTED
        if failed or refused:
            breaker = self.rules.breaker
            pause = HALT_PROBE_MS if refused or breaker is None else breaker.probe_every_ms
            lesson.health = lesson.health.probed(self._clock.wall() + pause)
            return
        kind = Kind.PROVIDER_RESUMED if lesson.health.halted is not None else Kind.PROVIDER_BREAKER_CLOSED
        self._experience.begin_slowly()
        lesson.health = lesson.health.mended()
        lesson.news.append((kind, {"reason": "a probe succeeded"}))

    def _break(self, lesson: Lesson, verdict: Verdict) -> None:
        rules, breaker = self.rules.breaker, self._experience.breaker
        if rules is None or breaker is None:
            return
        self._out_of_order_us = self._clock.boot()
        share = breaker.share(self._clock.boot())
        span = duration_text(rules.window_ms)
        reason = f"{share:.0%} of its calls in the last {span} failed; the last one: {verdict.message}"
        wall = self._clock.wall()
        lesson.health = lesson.health.broken(wall, wall + rules.probe_every_ms, reason)
        lesson.news.append((Kind.PROVIDER_BREAKER_OPENED, {"until": wall + rules.probe_every_ms, "reason": reason}))

    def _new_rate(self, lesson: Lesson) -> None:
        """It was lowered, or climbs again."""
        experience = self._experience
        lesson.new_rate = True
        lesson.health = replace(
            lesson.health,
            rate=experience.rate,
            learnt=experience.learnt,
            learnt_at=experience.learnt_at(self._clock.wall(), self._clock.boot()),
        )
        rate = experience.rate if experience.rate is not None else experience.base_rate
        lesson.news.append((Kind.PROVIDER_RATE_CHANGED, {"rate": shown(rate), "learnt": shown(experience.learnt)}))


def shown(rate: float | None) -> float | None:
    """A rate as events tell it."""
    return None if rate is None else round(rate, 2)
