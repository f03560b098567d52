"""Where are alerts told beside the log, and which place still has to say that it is done with one?

Each place has one Sounder at a time. Other settings make a new one, which takes over what waits at the old one; so a
reload that mends the URL tells what could not be told before, and nothing is dropped by it. A place that is there no
more is given its short time, and logs what it did not tell. It refuses to know when an alert is raised, and what is
written down of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from enum import StrEnum
from functools import partial

import structlog

from smsd.clock import Clock
from smsd.core.alerting import Notice
from smsd.engine.alarms import Done, Sounder, WebhookSounder
from smsd.engine.alarms_sentry import SentrySounder

log = structlog.get_logger("smsd.alerts")


class Where(StrEnum):
    """The places there can be."""

    SENTRY = "sentry"
    WEBHOOK = "webhook"


Make = Callable[[Where, str, str, Clock, Done], Sounder | None]
"""(place, URL, what this smsd is called, clock, done) -> who tells it there; None: nobody is to."""


def sounder_of(where: Where, url: str, source: str, clock: Clock, done: Done) -> Sounder | None:
    """The Make of a daemon. An empty `url`: the place is switched off."""
    if not url:
        return None
    if where is Where.SENTRY:
        return SentrySounder(url, source)
    return WebhookSounder(url, source, clock, done=done)


class Places:
    """Who is told. `rule` before `tell`, in a running loop; `close` at the end."""

    def __init__(self, clock: Clock, settled: Callable[[], None], make: Make = sounder_of) -> None:
        """`settled` is called when a place is done with a notice."""
        self._clock = clock
        self._settled = settled
        self._make = make
        self._settings: dict[Where, tuple[str, str]] = {}
        """(what this smsd is called, URL) of each."""
        self._sounders: dict[Where, Sounder] = {}
        self._owed: dict[Notice, set[Where]] = {}
        """Which places that answer are not done with a notice, in order."""
        self._gone: set[asyncio.Task[None]] = set()
        """Sounders of old settings, on their way out."""

    @property
    def untold(self) -> Collection[Notice]:
        """What a place that answers is not done with, in order."""
        return self._owed.keys()

    def rule(self, source: str, webhook: str, sentry_dsn: str) -> None:
        """These settings count from now on; a place whose own did not change goes on as it is."""
        for where, url in ((Where.SENTRY, sentry_dsn), (Where.WEBHOOK, webhook)):
            settings = (source, url)
            if self._settings.get(where) != settings:
                self._settings[where] = settings
                self._replace(where, self._make(where, url, source, self._clock, partial(self._done, where)))

    def _replace(self, where: Where, new: Sounder | None) -> None:
        old = self._sounders.pop(where, None)
        waiting = [] if old is None or new is None else old.hand_over()
        if old is not None:
            task = asyncio.get_running_loop().create_task(old.close(), name=f"alerts: old {where}")
            self._gone.add(task)
            task.add_done_callback(self._gone.discard)
        if new is None:
            for notice in [*self._owed]:
                self._done(where, notice)
            return
        self._sounders[where] = new
        if waiting:
            log.info("what was not told is told to the new place", place=where.value, alerts=len(waiting))
        for notice in waiting:
            new.sound(notice)

    def tell(self, notice: Notice) -> None:
        """Tell every place."""
        for sounder in self._sounders.values():
            if not sounder.answers:
                sounder.sound(notice)
        self.tell_again(notice)

    def tell_again(self, notice: Notice) -> None:
        """Tell the places that answer."""
        answering = {where: sounder for where, sounder in self._sounders.items() if sounder.answers}
        if answering:
            self._owed[notice] = {*answering}
        for sounder in answering.values():
            sounder.sound(notice)

    def _done(self, where: Where, notice: Notice) -> None:
        """See alarms.Done."""
        owing = self._owed.get(notice, set())
        owing.discard(where)
        if not owing:
            self._owed.pop(notice, None)
        self._settled()

    async def close(self) -> None:
        """Give the places a moment to tell what they were told. Idempotent."""
        sounders, self._sounders = [*self._sounders.values()], {}
        await asyncio.gather(*(sounder.close() for sounder in sounders), *self._gone)
