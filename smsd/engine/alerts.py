"""Which alerts are raised, and is each told exactly once?

The loop of the alerts: it looks when something happened that can change a reading, at most once in LOOK_S, and when a
reading can have changed merely because time went by; else it sleeps. What is raised is kept in the outbox, so that a
restart raises nothing a second time and calls off what is over. The log is told by the bus (alert.raised,
alert.cleared); the other places by their Sounders, of which none can hold anything up.

An alert goes out even if it cannot be written down: the outbox may be what it is about. It is written later. Its row
says whether the webhook is done with it, and stays until that is done with its end too; what is not, the next start
tells again, before anything else. So each is told once, but for a daemon that ends in between: what was told and not
written is told again. Sentry does not say what arrived, and is told nothing twice. It refuses to know what the readings
are (`alarms_read`), what follows from them (`core.alerting`), and how a place is reached (`alarms`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core import alerting
from smsd.core.alerting import QUIET, RAISED, Alarm, AlertRules, Notice, Reading, Watch
from smsd.core.events import Event, Kind
from smsd.engine.alarms import Done, Sounder, WebhookSounder, unheard
from smsd.engine.alarms_read import Readings
from smsd.engine.alarms_sentry import SentrySounder
from smsd.engine.bus import Bus
from smsd.store import StoreError, operators
from smsd.store.operators import Raised

log = structlog.get_logger("smsd.alerts")

LOOK_S: Final = 1.0
"""At least so long from one look to the next."""

TRY_AGAIN_S: Final = 5.0
"""When the outbox could not be read."""

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


def sounders_of(settings: AlertSettings, clock: Clock, done: Done = unheard) -> list[Sounder]:
    """The places beside the log."""
    found: list[Sounder] = []
    if settings.webhook:
        found.append(WebhookSounder(settings.webhook, settings.source, clock, done=done))
    if settings.sentry_dsn:
        found.append(SentrySounder(settings.sentry_dsn, settings.source))
    return found


class Alerts:
    """A sink of the bus, and a loop. `rule` before `run`; `close` after it."""

    def __init__(
        self,
        kept: operators.Alerts,
        readings: Readings,
        bus: Bus,
        clock: Clock,
        sounders: Callable[[AlertSettings, Clock, Done], Sequence[Sounder]] = sounders_of,
    ) -> None:
        self._kept = kept
        self._readings = readings
        self._bus = bus
        self._clock = clock
        self._make = sounders
        self._settings = AlertSettings()
        self._sounders: Sequence[Sounder] = ()
        self._gone: set[asyncio.Task[None]] = set()
        """Places of old settings, on their way out."""
        self._alarms: dict[str, Alarm] = {}
        self.raised: dict[str, Raised] = {}
        """Alerts that are raised now, by name."""
        self._ending: dict[str, Raised] = {}
        """Alerts that are over, of whose end somebody is still to be told."""
        self._untold: dict[Notice, None] = {}
        """Notices that a place is not done with, in order."""
        self._written: dict[str, Raised] = {}
        """What the outbox says of it."""
        self._kick = asyncio.Event()
        bus.subscribe(self)

    def rule(self, settings: AlertSettings) -> None:
        """These settings count from now on. What is raised and watched no more is called off."""
        before, self._settings = self._settings, settings
        self._readings.rule(settings.rules)
        places = (settings.source, settings.webhook, settings.sentry_dsn)
        if places != (before.source, before.webhook, before.sentry_dsn):
            for sounder in self._sounders:
                task = asyncio.get_running_loop().create_task(sounder.close(), name="alerts: old place")
                self._gone.add(task)
                task.add_done_callback(self._gone.discard)
            self._sounders = self._make(settings, self._clock, self._done)
            waiting, self._untold = list(self._untold), {}
            for notice in waiting:  # the old place did not take it
                self._sound(notice)
        self._kick.set()

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
        await self._recall()
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
        """Give the places a moment to tell what they were told. Idempotent."""
        sounders, self._sounders = self._sounders, ()
        await asyncio.gather(*(sounder.close() for sounder in sounders), *self._gone)
        await self._write()

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    # -- a look ------------------------------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """What was raised before the start."""
        while True:
            try:
                found = await self._kept.raised()
                break
            except StoreError as error:
                log.error("raised alerts could not be read; trying again", error=str(error))
                await asyncio.sleep(TRY_AGAIN_S)
        for each in found:
            self._written[each.name] = each
            try:
                watch, provider = alerting.parts_of(each.name)
            except ValueError:
                continue  # another version's; it is taken out of the outbox
            self.raised[each.name] = each
            self._alarms[each.name] = RAISED
            if not each.told:
                remedy = alerting.remedy_of(each.name)
                self._sound(Notice(each.name, True, each.raised_at, each.category, each.text, remedy))
            if watch is Watch.COOLDOWNS:
                # Rests are not kept; but there had been that many when it was raised.
                ago_ms = max(0, self._clock.wall() - each.raised_at)
                self._readings.rested(provider, self._now() - ago_ms, self._settings.rules.cooldowns)

    async def _look(self) -> int | None:
        """Raise and clear; when to look again if nothing happens (ms of boot time)."""
        try:
            readings = await self._readings.take(self.raised)
        except StoreError as error:
            log.error("what alerts watch could not be read; trying again", error=str(error))
            return self._now() + int(TRY_AGAIN_S * 1e3)
        now = self._now()
        for name in [*readings, *(name for name in self._alarms if name not in readings)]:
            self._follow(name, readings.get(name), now)
        written = await self._write()
        times = [alarm.clears_at for alarm in self._alarms.values()]
        times += [self._readings.changes_at(self.raised), None if written else now + int(TRY_AGAIN_S * 1e3)]
        return min((time for time in times if time is not None), default=None)

    def _follow(self, name: str, reading: Reading | None, now: int) -> None:
        before = self._alarms.get(name, QUIET)
        if reading is None:
            del self._alarms[name]
        else:
            self._alarms[name] = alerting.step(before, reading, now)
        raised = reading is not None and self._alarms[name].raised
        if raised and not before.raised:
            assert reading is not None
            self._raise(name, reading)
        elif before.raised and not raised:
            self._clear(name, reading)

    def _raise(self, name: str, reading: Reading) -> None:
        text = alerting.raised_text(name, reading, self._settings.rules)
        raised = Raised(name, self._clock.wall(), alerting.category_of(name, reading), text)
        self.raised[name] = raised
        remedy = alerting.remedy_of(name)
        notice = Notice(name, True, raised.raised_at, raised.category, text, remedy, reading.value, reading.bound)
        self._ending.pop(name, None)
        self._tell(Kind.ALERT_RAISED, notice)

    def _clear(self, name: str, reading: Reading | None) -> None:
        raised, now = self.raised.pop(name), self._clock.wall()
        text = alerting.cleared_text(name, reading, now - raised.raised_at)
        value, bound = (None, None) if reading is None else (reading.value, reading.bound)
        self._ending[name] = raised
        self._tell(Kind.ALERT_CLEARED, Notice(name, False, now, raised.category, text, "", value, bound))

    def _tell(self, kind: Kind, notice: Notice) -> None:
        fields: dict[str, object] = {"alert": notice.name, "category": notice.category, "about": notice.text}
        fields |= {"value": notice.value, "bound": notice.bound}
        if notice.remedy:
            fields["remedy"] = notice.remedy
        self._bus.publish(kind, notice.at, **fields)
        for sounder in self._sounders:
            if not sounder.answers:
                sounder.sound(notice)
        self._sound(notice)

    def _sound(self, notice: Notice) -> None:
        """Tell the places that answer."""
        answering = [sounder for sounder in self._sounders if sounder.answers]
        if answering:
            self._untold[notice] = None
        for sounder in answering:
            sounder.sound(notice)

    def _done(self, notice: Notice) -> None:
        """See alarms.Done."""
        self._untold.pop(notice, None)
        self._kick.set()

    def _rows(self) -> dict[str, Raised]:
        """What the outbox is to say."""
        raises = {(notice.name, notice.at) for notice in self._untold if notice.raised}
        ends = {notice.name for notice in self._untold if not notice.raised}
        self._ending = {name: each for name, each in self._ending.items() if name in ends}
        rows = [*self._ending.values(), *self.raised.values()]
        return {each.name: replace(each, told=(each.name, each.raised_at) not in raises) for each in rows}

    async def _write(self) -> bool:
        """Have the outbox say what is raised; False: it could not be written wholly."""
        rows = self._rows()
        try:
            for name in [name for name in self._written if name not in rows]:
                await self._kept.clear(name)
                del self._written[name]
            for name, raised in rows.items():
                if self._written.get(name) != raised:
                    await self._kept.keep(raised)
                    self._written[name] = raised
        except StoreError as error:
            log.error("which alerts are raised could not be written down; trying again", error=str(error))
            return False
        return True
