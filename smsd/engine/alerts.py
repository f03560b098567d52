"""Which alerts are raised, and is each told, once if that can be?

The loop of the alerts: it looks when something happened that can change a reading, at most once in LOOK_S, and when a
reading can have changed merely because time went by; else it sleeps. What is raised is kept in the outbox, so that a
restart raises nothing a second time and calls off what is over. The log is told by the bus (alert.raised,
alert.cleared); the other places by their Sounders (`alarms_places`), of which none can hold anything up.

A raise goes in this order: its row; the log and Sentry; the webhook; each mark in the row that says so. So each raise
that has a row is told at least once: what a row does not say was told, the next start tells, before anything else. A
daemon that is killed between a telling and its mark tells it a second time: neither a log nor Slack nor Sentry knows a
repetition, so nothing else can be promised. An end goes the other way round, its row is taken away when it was told;
killed before that, the next start calls it off again, after a hold.

What cannot be written down is told all the same: the outbox may be what it is about. A look waits for the rows of its
alerts for ROW_S altogether, however many it raises, and for none that is late already (`alarms_rows`). So an outbox
whose writes hang holds back the first alerts by ROW_S and later ones not at all. Killed before it could be written, an
alert is raised anew if its reason is still there.

What cannot be read is as it was: neither raised nor cleared, and no calm. Reads are waited for READ_S a look, and if
one hangs never again until it ends (`alarms_outbox`). The rows of before the start are read in the same way, by
themselves. A start gives them READ_S, and if they are not there then TRY_AGAIN_S and LOOK_S more, for without them what
was told before is told again; then halts, the disk and all else are watched and told without them. Rows that come after
that: of an alert that was told since, nothing is told, whatever its row says. If it is still raised, it goes on as the
one of the row, since when that says; if it is over, so is the row's. Every other row is taken as one at a start is. So
what a row says was told is told again only if its reason was found while no row could be read.

It refuses to know what the readings are (`alarms_read`), what follows from them (`core.alerting`), and how a place is
reached (`alarms`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core import alerting
from smsd.core.alerting import QUIET, RAISED, Alarm, AlertRules, Notice, Reading, Watch
from smsd.core.events import Event, Kind
from smsd.engine.alarms_outbox import READ_S, TRY_AGAIN_S, Question, ask
from smsd.engine.alarms_places import Make, Places, sounder_of
from smsd.engine.alarms_read import Readings
from smsd.engine.alarms_rows import Rows
from smsd.engine.bus import Bus
from smsd.store import operators
from smsd.store.operators import MOST_OVER, Over, Raised

Past = tuple[tuple[Raised, ...], tuple[Over, ...]]
"""What the outbox says: alerts that are raised, and those that are over, oldest end first."""

log = structlog.get_logger("smsd.alerts")

LOOK_S: Final = 1.0
"""At least so long from one look to the next."""

ROW_S: Final = 2.0
"""For so long the alerts of a look wait for their rows before they are told without."""

_STIRRING: Final = frozenset(
    kind
    for kind in Kind
    if kind.startswith(("message.", "provider.", "outbox.", "campaign."))
    or kind in {Kind.DAEMON_READY, Kind.CONFIG_RELOADED}
)
"""What can change a reading."""


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """What `[alerts]` says."""

    rules: AlertRules = field(default_factory=AlertRules)
    source: str = ""
    """What this smsd is called in alerts."""
    webhook: str = field(default="", repr=False)
    sentry_dsn: str = field(default="", repr=False)


class Alerts:
    """A sink of the bus, and a loop. `rule` before `run`; `close` after it."""

    def __init__(
        self, kept: operators.Alerts, readings: Readings, bus: Bus, clock: Clock, make: Make = sounder_of
    ) -> None:
        self._kept = kept
        self._readings = readings
        self._bus = bus
        self._clock = clock
        self._settings = AlertSettings()
        self._kick = asyncio.Event()
        self._places = Places(clock, self._kick.set, make)
        self._alarms: dict[str, Alarm] = {}
        self.raised: dict[str, Raised] = {}
        """Alerts that are raised now, by name."""
        self._over: deque[Over] = deque(maxlen=MOST_OVER)
        """Those that were, oldest end first."""
        self._ending: dict[str, Raised] = {}
        """Alerts that are over, of whose end somebody is still to be told."""
        self._rows = Rows(kept, self._wanted_rows, self._kick.set)
        self._past = Question("what was raised", self._read_past, self._recall, clock, self._kick.set)
        self._recalled = False
        readings.settled = self._kick.set
        bus.subscribe(self)

    def rule(self, settings: AlertSettings) -> None:
        """These settings count from now on. What is raised and watched no more is called off; what waits to be told is
        told to the new place."""
        self._settings = settings
        self._readings.rule(settings.rules)
        self._places.rule(settings.source, settings.webhook, settings.sentry_dsn)
        self._kick.set()

    @property
    def over(self) -> list[Over]:
        """The alerts that are over, the latest end first; MOST_OVER at most."""
        return [*reversed(self._over)]

    def __call__(self, event: Event) -> None:
        if self._settings.rules.any:
            self._readings(event)
            if event.kind in _STIRRING:
                self._kick.set()

    def standing(self) -> list[tuple[Watch, str, bool]]:
        """What is watched, of which provider ("": of none), and whether the alert is raised."""
        return [(*alerting.parts_of(name), alarm.raised) for name, alarm in self._alarms.items()]

    async def run(self) -> None:
        """Until cancelled."""
        while not self._settings.rules.any:
            await self._kick.wait()
            self._kick.clear()
        if not await self._asked_past(asyncio.get_running_loop().time() + READ_S):
            await asyncio.sleep(TRY_AGAIN_S + LOOK_S)  # so that the next look asks again
        while True:
            self._kick.clear()
            again = await self._look()
            await asyncio.sleep(LOOK_S)
            if again is not None and not self._kick.is_set():
                wait_s = max(0.0, (again - self._now()) / 1e3)
                timer = asyncio.get_running_loop().call_later(wait_s, self._kick.set)
            else:
                timer = None
            try:
                await self._kick.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def close(self) -> None:
        """Give the places a moment to tell what they were told, and the outbox ROW_S to say so. Idempotent."""
        await self._past.close()
        await self._readings.close()
        await self._places.close()
        await self._rows.close(asyncio.get_running_loop().time() + ROW_S)

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    # -- what was before the start -------------------------------------------------------------------------------------

    async def _asked_past(self, until: float) -> bool:
        """Whether it is known what was raised before the start, and what is over since then."""
        if not self._recalled:
            await ask([self._past], until)
        return self._recalled

    async def _read_past(self) -> Past:
        return await self._kept.raised(), await self._kept.over()

    def _recall(self, past: Past) -> None:
        found, over = past
        self._recalled = True
        ended = {each.name for each in self._over}
        here = {(each.name, each.raised_at) for each in self._over}
        before = [each for each in over if (each.name, each.raised_at) not in here]
        self._over = deque([*before, *self._over], MOST_OVER)
        for each in found:
            self._rows.found(each)
            try:
                watch, provider = alerting.parts_of(each.name)
            except ValueError:
                continue  # another version's; it is taken out of the outbox
            since = self.raised.get(each.name)
            if each.name in ended:
                continue
            if since is not None and since.announced:
                self.raised[each.name] = replace(since, raised_at=each.raised_at)
            else:
                self._go_on(each, watch, provider)

    def _go_on(self, raised: Raised, watch: Watch, provider: str) -> None:
        """It is raised since before the start."""
        self.raised[raised.name] = raised
        self._alarms[raised.name] = RAISED
        self._tell_again(raised)
        if watch is Watch.COOLDOWNS:
            # Rests are not kept; but there had been that many when it was raised.
            ago_ms = max(0, self._clock.wall() - raised.raised_at)
            self._readings.rested(provider, self._now() - ago_ms, self._settings.rules.cooldowns)

    def _tell_again(self, raised: Raised) -> None:
        """What its row does not say was told."""
        remedy = alerting.remedy_of(raised.name)
        at, value, bound = raised.raised_at, raised.value, raised.bound
        notice = Notice(raised.name, True, at, raised.category, raised.text, remedy, value, bound)
        if not raised.announced:
            self._announce(raised, notice)
        elif not raised.told:
            self._places.tell_again(notice)

    # -- a look ------------------------------------------------------------------------------------------------------

    async def _look(self) -> int | None:
        """Raise and clear; when to look again if nothing happens (ms of boot time)."""
        loop = asyncio.get_running_loop()
        recalled = await self._asked_past(loop.time() + READ_S)
        readings = await self._readings.take(self.raised, loop.time() + READ_S)
        now = self._now()
        names = [*readings, *(name for name in self._alarms if name not in readings)]
        followed = [self._follow(name, readings, now) for name in names]
        until = loop.time() + ROW_S
        await self._tell_raised([each for each in followed if each is not None], until)
        hindered = await self._rows.write(until)
        again = now + int(TRY_AGAIN_S * 1e3) if hindered and not self._rows.late else None
        times = [alarm.clears_at for alarm in self._alarms.values()]
        times += [self._readings.changes_at(self.raised), again, None if recalled else self._past.at(now)]
        return min((time for time in times if time is not None), default=None)

    def _follow(self, name: str, readings: Mapping[str, Reading | None], now: int) -> Notice | None:
        """The notice of a raise, of which nobody has been told yet."""
        before, reading = self._alarms.get(name, QUIET), readings.get(name)
        if reading is None and name in readings:
            self._alarms[name] = alerting.unread(before)
            return None
        if reading is None:
            del self._alarms[name]
        else:
            self._alarms[name] = alerting.step(before, reading, now)
        raised = reading is not None and self._alarms[name].raised
        if raised and not before.raised:
            assert reading is not None
            return self._raise(name, reading)
        if before.raised and not raised:
            self._clear(name, reading)
        return None

    def _raise(self, name: str, reading: Reading) -> Notice:
        text = alerting.raised_text(name, reading, self._settings.rules)
        category, value, bound = alerting.category_of(name, reading), reading.value, reading.bound
        raised = Raised(name, self._clock.wall(), category, text, value=value, bound=bound)
        self.raised[name] = raised
        self._ending.pop(name, None)
        remedy = alerting.remedy_of(name)
        return Notice(name, True, raised.raised_at, category, text, remedy, value, bound)

    async def _tell_raised(self, notices: list[Notice], until: float) -> None:
        """Tell everybody of these raises when their rows are there, at `until` (s of the loop) at the latest."""
        hindered = await self._rows.write(until) if notices else ""
        for notice in notices:
            raised = self.raised[notice.name]
            if raised.announced:
                continue  # so says its row of before the start, which came meanwhile
            if not self._rows.say(raised):
                log.error("an alert is told before it could be written down", alert=notice.name, error=hindered)
            self._announce(raised, notice)

    def _announce(self, raised: Raised, notice: Notice) -> None:
        """Tell everybody that it is raised."""
        self.raised[raised.name] = replace(raised, announced=True)
        self._publish(Kind.ALERT_RAISED, notice)
        self._places.tell(notice)

    def _clear(self, name: str, reading: Reading | None) -> None:
        raised, now = self.raised.pop(name), self._clock.wall()
        text = alerting.cleared_text(name, reading, now - raised.raised_at)
        value, bound = (None, None) if reading is None else (reading.value, reading.bound)
        self._ending[name] = raised
        notice = Notice(name, False, now, raised.category, text, "", value, bound)
        self._publish(Kind.ALERT_CLEARED, notice)
        self._places.tell(notice)
        self._remember(Over(name, raised.raised_at, now, raised.category, raised.text, raised.value, raised.bound))

    def _remember(self, over: Over) -> None:
        """One that a start called off again has one line all the same."""
        for each in [each for each in self._over if (each.name, each.raised_at) == (over.name, over.raised_at)]:
            self._over.remove(each)
        self._over.append(over)
        self._rows.ended(over)

    def _publish(self, kind: Kind, notice: Notice) -> None:
        fields: dict[str, object] = {"alert": notice.name, "category": notice.category, "about": notice.text}
        fields |= {"value": notice.value, "bound": notice.bound}
        if notice.remedy:
            fields["remedy"] = notice.remedy
        self._bus.publish(kind, notice.at, **fields)

    def _wanted_rows(self) -> dict[str, Raised]:
        """What the outbox is to say."""
        untold = self._places.untold
        raises = {notice.name for notice in untold if notice.raised}
        ends = {notice.name for notice in untold if not notice.raised}
        self._ending = {name: each for name, each in self._ending.items() if name in ends}
        rows = [*self._ending.values(), *self.raised.values()]
        return {each.name: replace(each, told=each.announced and each.name not in raises) for each in rows}
