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

What cannot be written down is told all the same: the outbox may be what it is about. One task writes, a row at a time;
a look waits for it for ROW_S altogether, however many alerts it raises, and once that ran out no look waits for that
task again. So an outbox whose writes hang holds back the first alerts by ROW_S and later ones not at all. The task
stays with the row it has in hand; when the outbox answers, it writes what is then still to be said, so a hang leaves
no queue of rows behind. Killed before that, an alert is raised anew if its reason is still there.

It refuses to know what the readings are (`alarms_read`), what follows from them (`core.alerting`), and how a place is
reached (`alarms`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core import alerting
from smsd.core.alerting import QUIET, RAISED, Alarm, AlertRules, Notice, Reading, Watch
from smsd.core.events import Event, Kind
from smsd.engine.alarms_places import Make, Places, sounder_of
from smsd.engine.alarms_read import Readings
from smsd.engine.bus import Bus
from smsd.store import StoreError, operators
from smsd.store.operators import MOST_OVER, Over, Raised

log = structlog.get_logger("smsd.alerts")

LOOK_S: Final = 1.0
"""At least so long from one look to the next."""

TRY_AGAIN_S: Final = 5.0
"""When the outbox could not be read."""

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
        self._unwritten: deque[Over] = deque(maxlen=MOST_OVER)
        """Of them, those that the outbox does not have yet."""
        self._ending: dict[str, Raised] = {}
        """Alerts that are over, of whose end somebody is still to be told."""
        self._written: dict[str, Raised | None] = {}
        """What the outbox says of those that are raised; None: a row may be there, and nobody knows what it says."""
        self._writing: asyncio.Task[str] | None = None
        """Brings the outbox up to date; its result is what hindered it, "" if nothing did."""
        self._late = False
        """It has been waited for long enough."""
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
        """Give the places a moment to tell what they were told, and the outbox ROW_S to say so. Idempotent."""
        await self._places.close()
        self._late = False
        await self._write(asyncio.get_running_loop().time() + ROW_S)
        if self._late and self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    # -- a look ------------------------------------------------------------------------------------------------------

    async def _recall(self) -> None:
        """What was raised before the start, and what is over since then."""
        while True:
            try:
                found, over = await self._kept.raised(), await self._kept.over()
                break
            except StoreError as error:
                log.error("raised alerts could not be read; trying again", error=str(error))
                await asyncio.sleep(TRY_AGAIN_S)
        self._over.extend(over)
        for each in found:
            self._written[each.name] = each
            try:
                watch, provider = alerting.parts_of(each.name)
            except ValueError:
                continue  # another version's; it is taken out of the outbox
            self.raised[each.name] = each
            self._alarms[each.name] = RAISED
            self._tell_again(each)
            if watch is Watch.COOLDOWNS:
                # Rests are not kept; but there had been that many when it was raised.
                ago_ms = max(0, self._clock.wall() - each.raised_at)
                self._readings.rested(provider, self._now() - ago_ms, self._settings.rules.cooldowns)

    def _tell_again(self, raised: Raised) -> None:
        """What its row does not say was told."""
        remedy = alerting.remedy_of(raised.name)
        notice = Notice(raised.name, True, raised.raised_at, raised.category, raised.text, remedy)
        if not raised.announced:
            self._announce(raised, notice)
        elif not raised.told:
            self._places.tell_again(notice)

    async def _look(self) -> int | None:
        """Raise and clear; when to look again if nothing happens (ms of boot time)."""
        try:
            readings = await self._readings.take(self.raised)
        except StoreError as error:
            log.error("what alerts watch could not be read; trying again", error=str(error))
            return self._now() + int(TRY_AGAIN_S * 1e3)
        now = self._now()
        names = [*readings, *(name for name in self._alarms if name not in readings)]
        followed = [self._follow(name, readings.get(name), now) for name in names]
        until = asyncio.get_running_loop().time() + ROW_S
        await self._tell_raised([each for each in followed if each is not None], until)
        hindered = await self._write(until)
        # The end of a write that is merely late is an event of its own.
        again = now + int(TRY_AGAIN_S * 1e3) if hindered and not self._late else None
        times = [alarm.clears_at for alarm in self._alarms.values()]
        times += [self._readings.changes_at(self.raised), again]
        return min((time for time in times if time is not None), default=None)

    def _follow(self, name: str, reading: Reading | None, now: int) -> Notice | None:
        """The notice of a raise, of which nobody has been told yet."""
        before = self._alarms.get(name, QUIET)
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
        raised = Raised(name, self._clock.wall(), alerting.category_of(name, reading), text)
        self.raised[name] = raised
        self._ending.pop(name, None)
        remedy = alerting.remedy_of(name)
        return Notice(name, True, raised.raised_at, raised.category, text, remedy, reading.value, reading.bound)

    async def _tell_raised(self, notices: list[Notice], until: float) -> None:
        """Tell everybody of these raises when their rows are there, at `until` (s of the loop) at the latest."""
        hindered = await self._write(until) if notices else ""
        for notice in notices:
            raised = self.raised[notice.name]
            if self._written.get(notice.name) != raised:
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
        self._remember(Over(name, raised.raised_at, now, raised.category, raised.text))

    def _remember(self, over: Over) -> None:
        """One that a start called off again has one line all the same."""
        for each in [each for each in self._over if (each.name, each.raised_at) == (over.name, over.raised_at)]:
            self._over.remove(each)
        self._over.append(over)
        self._unwritten.append(over)

    def _publish(self, kind: Kind, notice: Notice) -> None:
        fields: dict[str, object] = {"alert": notice.name, "category": notice.category, "about": notice.text}
        fields |= {"value": notice.value, "bound": notice.bound}
        if notice.remedy:
            fields["remedy"] = notice.remedy
        self._bus.publish(kind, notice.at, **fields)

    def _rows(self) -> dict[str, Raised]:
        """What the outbox is to say."""
        untold = self._places.untold
        raises = {(notice.name, notice.at) for notice in untold if notice.raised}
        ends = {notice.name for notice in untold if not notice.raised}
        self._ending = {name: each for name, each in self._ending.items() if name in ends}
        rows = [*self._ending.values(), *self.raised.values()]
        return {
            each.name: replace(each, told=each.announced and (each.name, each.raised_at) not in raises) for each in rows
        }

    # -- what the outbox says -----------------------------------------------------------------------------------------

    async def _write(self, until: float) -> str:
        """Have the outbox say what is raised, and wait for that until then (s of the loop), unless it is late already.
        What hinders it; "": it says so."""
        loop = asyncio.get_running_loop()
        if self._writing is None or self._writing.done():
            if self._writing is not None:
                self._writing.result()  # a fault in it that nobody waited for
            self._writing, self._late = loop.create_task(self._bring(), name="alerts: rows"), False
        writing = self._writing
        if not self._late:
            await asyncio.wait({writing}, timeout=max(0.0, until - loop.time()))
            self._late = not writing.done()
            if self._late:
                log.error("which alerts are raised is not written down yet; not waiting for it any more")
                writing.add_done_callback(lambda _: self._kick.set())
        return f"no answer within {ROW_S:g} s" if self._late else writing.result()

    async def _bring(self) -> str:
        """Write until nothing is left to be written. What hindered it; "": nothing."""
        try:
            while await self._write_one():
                pass
        except StoreError as error:
            log.error("which alerts are raised could not be written down; trying again", error=str(error))
            return str(error)
        return ""

    async def _write_one(self) -> bool:
        """The next of what the outbox does not say yet; False: nothing. Whose row is waited for comes first."""
        rows = self._rows()
        other = [raised for name, raised in rows.items() if self._written.get(name) != raised]
        new = [raised for raised in other if not raised.announced]
        gone = [name for name in self._written if name not in rows]
        if new:
            await self._keep(new[0])
        elif self._unwritten:
            over = self._unwritten[0]
            await self._kept.end(over)
            # Meanwhile a later one may have pushed it out.
            if self._unwritten[0] is over:
                self._unwritten.popleft()
        elif gone:
            self._written[gone[0]] = None
            await self._kept.clear(gone[0])
            del self._written[gone[0]]
        elif other:
            await self._keep(other[0])
        else:
            return False
        return True

    async def _keep(self, raised: Raised) -> None:
        self._written[raised.name] = None
        await self._kept.keep(raised)
        self._written[raised.name] = raised
