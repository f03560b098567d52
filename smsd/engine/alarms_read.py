"""How does what alerts watch stand now?

Counted from the bus between two looks (what was sent, what failed and why, how often a provider was rested), read off
the state of things at a look (backlog, halts, room on the disk), and only for the age of what waits asked of the
outbox: when it may have come to its bound, not before. What was sent and failed before a start is seeded from the kept
minutes. Each reading fails alone: of one whose question has no answer (`alarms_outbox`) it says that nobody knows it,
and the others are as they are; halts, rests and room need no outbox at all. It refuses to know what is raised by it
(`core.alerting`) and when to look; it says when a reading can have changed merely because time went by.

What counts for the error rate: messages that a provider took, and messages that failed, whichever way, but for
recipients who had opted out before anything was called: nobody made an error there. What is held up by an operator (a
pause of its providers or its campaign) or by its campaign's hours or rate does not count as waiting too long; what a
limit or a provider's rate holds up does. The backlog leaves out campaigns with a rate or hours of their own and paused
ones: each large one would raise it. It does not leave out what is merely not due, such as retries that were spread:
what a provider in trouble has put off is not due either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final

from smsd.clock import Clock
from smsd.core.alerting import CALM, AlertRules, Reading, Watch, name_of
from smsd.core.events import Event, Kind
from smsd.core.health import Standing
from smsd.core.message import Instant
from smsd.core.units import MINUTE, SECOND
from smsd.core.verdict import Category
from smsd.core.waiting import Reason
from smsd.engine.alarms_outbox import Asked, Question, ask
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.tally import Ring, Tally
from smsd.store import MinuteRow, Records
from smsd.store.operators import Alerts, Longest

TICKS: Final = 60
"""Buckets of a window."""

FLOWS: Final = 500
"""Flows that are looked at for what has waited too long. If somebody wants all of these to wait, nothing has."""

PACED_FLOWS: Final = 5_000
"""Flows that are looked at for campaigns that pace themselves; the messages of others count."""

PACED_AGAIN_MS: Final = 15 * SECOND
"""What they hold is asked for no more often than this, unless the backlog would else be at its bound."""

AGE_AGAIN_MS: Final = 15 * SECOND
"""The outbox is asked for the age of what waits no more often than this while that is too great."""

_ERROR_RATE: Final = name_of(Watch.ERROR_RATE)
_BACKLOG: Final = name_of(Watch.BACKLOG)
_OLDEST: Final = name_of(Watch.OLDEST_PENDING)

_SENT: Final = frozenset({Kind.MESSAGE_SENT, Kind.MESSAGE_RECONCILED})
_CATEGORIES: Final = frozenset(each.value for each in Category)
_MEANT: Final = frozenset({Reason.CAMPAIGN_PAUSED, Reason.QUIET_HOURS})


class ErrorWindow:
    """What was sent and what failed, the latter by category, within a span. Times: ms that never run backward."""

    def __init__(self, span_ms: int) -> None:
        self.tick_ms = span_ms // TICKS
        self._sent = Ring(TICKS, self.tick_ms)
        self._failed: dict[str, Ring] = {}
        """By category: a closed list."""

    def add(self, now: int, sent: int, failed: Mapping[str, int]) -> None:
        """Count what came until `now`."""
        if sent:
            self._sent.add(now, sent)
        for category, count in failed.items():
            if category not in self._failed:
                self._failed[category] = Ring(TICKS, self.tick_ms)
            self._failed[category].add(now, count)

    def totals(self, now: int) -> tuple[int, dict[str, int]]:
        """Sent, and failed by category."""
        return self._sent.total(now), {category: ring.total(now) for category, ring in self._failed.items()}


class Readings:
    """A sink of the bus. `rule` before `take`; `close` at the end."""

    def __init__(
        self,
        records: Records,
        kept: Alerts,
        lanes: Mapping[str, Lane],
        tally: Tally,
        limits: Limits,
        clock: Clock,
        full: Callable[[], bool],
    ) -> None:
        """`full`: whether the outbox has no room."""
        self._records = records
        self._kept = kept
        self._lanes = lanes
        self._tally = tally
        self._limits = limits
        self._clock = clock
        self._full = full
        self._rules = AlertRules()
        self._window: ErrorWindow | None = None
        """None: it is to be seeded."""
        self._sent = 0
        self._failed: dict[str, int] = {}
        """Since the last look."""
        self._cooldowns: dict[str, Ring] = {}
        self._paced = 0
        """Messages of the backlog that wait because their campaign's operator said so."""
        self._ask_paced_at = 0
        self._age_ms = 0
        self._ask_age_at = 0
        self._age_unasked = False
        """At the last look it was too early to ask for the age."""
        self._raised: Collection[str] = ()
        """Of the last look, as are the next."""
        self._unknown: dict[str, Asked] = {}
        """What could not be read, by the alert's name."""
        self.settled: Callable[[], None] = lambda: None
        """Called when a read ends that no look waits for any more; whoever looks sets it."""

        def settled() -> None:
            self.settled()

        self._minutes = Question("error rate", self._read_minutes, self._seed, clock, settled)
        self._holders = Question("paced campaigns", self._read_paced, self._learn_paced, clock, settled)
        self._flows = Question("age of what waits", self._read_flows, self._learn_age, clock, settled)

    def rule(self, rules: AlertRules) -> None:
        """These bounds count from the next look on."""
        if rules.error_window_ms != self._rules.error_window_ms:
            self._window = None
        if rules.cooldowns_span_ms != self._rules.cooldowns_span_ms:
            self._cooldowns.clear()
        self._ask_age_at = self._ask_paced_at = 0
        for question in (self._minutes, self._holders, self._flows):
            question.forget()
        self._rules = rules

    async def close(self) -> None:
        """End the reads under way. Idempotent."""
        for question in (self._minutes, self._holders, self._flows):
            await question.close()

    def __call__(self, event: Event) -> None:
        kind = event.kind
        if kind in _SENT:
            self._sent += 1
        elif kind is Kind.MESSAGE_FAILED:
            category = str(event.fields.get("category"))
            if category != Category.OPTED_OUT or event.fields.get("attempt"):
                category = category if category in _CATEGORIES else ""
                self._failed[category] = self._failed.get(category, 0) + 1
        elif kind is Kind.PROVIDER_COOLDOWN:
            self.rested(str(event.fields["provider"]), self._now())

    def rested(self, provider: str, at: int, times: int = 1) -> None:
        """The provider was rested then (ms of boot time)."""
        if provider in self._lanes:
            ring = self._cooldowns.setdefault(provider, Ring(TICKS, self._rules.cooldowns_span_ms // TICKS))
            ring.add(at, times)

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    # -- a look ------------------------------------------------------------------------------------------------------

    async def take(self, raised: Collection[str], until: float) -> dict[str, Reading | None]:
        """Every reading that is watched, by the alert's name; None: nobody knows it now. The outbox is waited for until
        then (s of the loop)."""
        rules, self._raised = self._rules, raised
        wanted = self._wanted()
        answers = await ask(wanted.values(), until)
        self._unknown = {name: wanted[name] for name, known in zip(wanted, answers, strict=True) if not known}
        now = self._now()
        found: dict[str, Reading | None] = {}
        if rules.error_rate:
            found[_ERROR_RATE] = self._error_rate(now)
        if rules.backlog:
            found[_BACKLOG] = Reading(self._backlog(), rules.backlog)
        if rules.oldest_pending_ms:
            found[_OLDEST] = Reading(self._age_ms, rules.oldest_pending_ms)
        found |= dict.fromkeys(self._unknown)
        if rules.disk:
            found[name_of(Watch.DISK)] = Reading(float(self._full()))
        for name, lane in self._lanes.items():
            if rules.auth_halt:
                found[name_of(Watch.AUTH_HALT, name)] = _halt(lane)
            if rules.cooldowns:
                ring = self._cooldowns.get(name)
                count = 0 if ring is None else ring.total(now)
                found[name_of(Watch.COOLDOWNS, name)] = Reading(
                    count, rules.cooldowns, category=Category.RATE_LIMITED.value
                )
        return found

    def _wanted(self) -> dict[str, Asked]:
        """What is to be asked of the outbox now, by the name of the alert that needs it."""
        rules, wanted = self._rules, dict[str, Asked]()
        if rules.error_rate and self._window is None:
            wanted[_ERROR_RATE] = self._minutes
        if rules.backlog and self._wants_paced():
            wanted[_BACKLOG] = self._holders
        if rules.oldest_pending_ms and self._wants_age():
            wanted[_OLDEST] = self._flows
        return wanted

    def changes_at(self, raised: Collection[str]) -> int | None:
        """When a reading can be another merely because time went by (ms of boot time); None: none can."""
        now, rules = self._now(), self._rules
        times: list[int | None] = [question.at(now) for question in self._unknown.values()]
        if rules.error_rate and self._window is not None:
            sent, failed = self._window.totals(now)
            some = sum(failed.values())
            if some and (sent + some >= rules.error_minimum or _ERROR_RATE in raised):
                times.append(_next_tick(now, self._window.tick_ms))
        for name, ring in self._cooldowns.items():
            if name_of(Watch.COOLDOWNS, name) in raised and ring.total(now):
                times.append(_next_tick(now, rules.cooldowns_span_ms // TICKS))
        if self._paced and self._tally.backlog >= rules.backlog > 0:
            times.append(self._holders.at(max(now, self._ask_paced_at)))
        # What is too old gets younger only by something that happens.
        ages = self._age_unasked or _OLDEST not in raised
        if rules.oldest_pending_ms and self._tally.backlog > 0 and ages:
            times.append(self._flows.at(max(now, self._ask_age_at)))
        return min((time for time in times if time is not None), default=None)

    # -- errors ------------------------------------------------------------------------------------------------------

    async def _read_minutes(self) -> tuple[MinuteRow, ...]:
        # What was told up to now was committed before it was told: the kept minutes hold it. What is told until they
        # are there may be counted twice; better than not at all, for an answer may be long under way.
        self._sent, self._failed = 0, {}
        totals = await self._records.totals((self._clock.wall() - self._rules.error_window_ms) // MINUTE + 1)
        return totals.minutes

    def _seed(self, minutes: Collection[MinuteRow]) -> None:
        """A new window begins with the kept minutes."""
        window, now, wall = ErrorWindow(self._rules.error_window_ms), self._now(), self._clock.wall()
        for row in minutes:
            if not row.provider:
                continue  # no call was made: they had opted out, or met a limit
            at = now - max(0, wall - row.minute * MINUTE)
            window.add(at, row.sent, {"": row.failed} if row.failed else {})
        self._window = window

    def _error_rate(self, now: int) -> Reading | None:
        """What the bus told since the last look goes into the window."""
        if self._window is None:
            return None
        if self._sent or self._failed:
            self._window.add(now, self._sent, self._failed)
            self._sent, self._failed = 0, {}
        sent, failed = self._window.totals(now)
        some = sum(failed.values())
        total = sent + some
        most = max(failed, key=failed.__getitem__, default="")
        return Reading(
            some / total if total else 0.0,
            self._rules.error_rate,
            enough=total >= self._rules.error_minimum,
            category=most if 2 * failed.get(most, 0) > some else "",
            of=total,
        )

    # -- what waits --------------------------------------------------------------------------------------------------

    def _backlog(self) -> int:
        return max(0, self._tally.backlog - self._paced)

    def _wants_paced(self) -> bool:
        """Whether there is enough of the backlog that it matters how much of it waits because somebody said so."""
        bound = self._rules.backlog
        if self._tally.backlog < CALM * bound:
            self._paced, self._ask_paced_at = 0, 0
            return False
        would = _BACKLOG not in self._raised and self._backlog() >= bound
        return would or self._now() >= self._ask_paced_at

    async def _read_paced(self) -> int:
        return await self._kept.paced(PACED_FLOWS)

    def _learn_paced(self, paced: int) -> None:
        self._paced, self._ask_paced_at = paced, self._now() + PACED_AGAIN_MS

    def _wants_age(self) -> bool:
        """Whether the message that has been due longest may have come to its bound."""
        now = self._now()
        if self._tally.backlog <= 0:
            # What is accepted from now on is of that age then at the earliest.
            self._age_ms, self._ask_age_at = 0, now + self._rules.oldest_pending_ms
            return False
        self._age_unasked = now < self._ask_age_at
        return not self._age_unasked

    async def _read_flows(self) -> tuple[Instant, tuple[Longest, ...]]:
        return self._clock.wall(), await self._kept.longest_due(FLOWS)

    def _learn_age(self, found: tuple[Instant, tuple[Longest, ...]]) -> None:
        (wall, flows), now, bound = found, self._now(), self._rules.oldest_pending_ms
        due = next((flow.due for flow in flows if flow.due > wall or not self._is_meant(flow)), wall)
        self._age_ms = max(0, wall - due)
        if _OLDEST in self._raised or self._age_ms >= bound:
            self._ask_age_at = now + AGE_AGAIN_MS
        else:
            # A call that ends without an answer gives back a message that is older than all that wait.
            self._ask_age_at = now + max(SECOND, min(bound - self._age_ms, bound // 4))

    def _is_meant(self, flow: Longest) -> bool:
        """Whether somebody wants these messages to wait."""
        if flow.rated:
            return True
        lanes = [self._lanes[name] for name in flow.route.split(",") if name in self._lanes]
        if lanes and all(lane.standing() is Standing.PAUSED for lane in lanes):
            return True
        return any(block.reason in _MEANT for block in self._limits.blocks_of(flow.tenant, flow.campaign))


def _halt(lane: Lane) -> Reading:
    halted = lane.health.halted
    if halted is None:
        return Reading(0.0, category=Category.AUTH_FAILED.value)
    config = halted.startswith(Category.CONFIG_ERROR.value)
    return Reading(1.0, category=(Category.CONFIG_ERROR if config else Category.AUTH_FAILED).value, words=halted)


def _next_tick(now: int, tick_ms: int) -> int:
    return now - now % tick_ms + tick_ms
