"""The engine in virtual time with `[alerts]`: what a story about alerts needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from smsd.clock import Clock
from smsd.core.alerting import AlertRules, Notice
from smsd.core.events import Kind
from smsd.engine.alarms import Done
from smsd.engine.alarms_places import Where
from smsd.engine.alerts import AlertSettings
from smsd.engine.configuration import Plan
from smsd.store import StoreError
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import Rig, answer

T = TypeVar("T")

DENIED = answer(401, code=20003, message="Authenticate +14155550199")


class Watched(Rig):
    """With `[alerts]`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.alerts = AlertRules()

    def plan(self) -> Plan:
        return replace(super().plan(), alerts=AlertSettings(self.alerts, "host"))

    @property
    def told(self) -> list[str]:
        """Alerts as they were told: +name, -name."""
        signs = {Kind.ALERT_RAISED: "+", Kind.ALERT_CLEARED: "-"}
        return [f"{signs[each.kind]}{each.fields['alert']}" for each in self.events if each.kind in signs]

    def fill(self, full: bool = True) -> None:
        """The outbox has no room, or has room again."""
        self.engine.service.store_full = full
        self.engine._bus.publish(Kind.OUTBOX_FULL if full else Kind.OUTBOX_RECOVERED, self.clock.wall())

    async def halt(self) -> None:
        await self.engine.lanes["main"].halt("denied", self.clock.wall())

    async def kept(self) -> list[str]:
        return [each.name for each in await self.store.desk.alerts.raised()]

    async def texts(self, count: int) -> None:
        for n in range(count):
            await self.accepted(to=f"+1415555{n % 10_000:04d}", text=f"text {n}")


class Place:
    """A webhook's place: down until it is up."""

    answers = True

    def __init__(self) -> None:
        self.up = False
        self.heard: list[str] = []
        self.waiting: list[Notice] = []
        self.taken: list[Notice] = []
        self.done: Done | None = None

    def made(self, where: Where, url: str, source: str, clock: Clock, done: Done) -> Place | None:
        """As a start does."""
        if where is not Where.WEBHOOK:
            return None
        self.done, self.waiting = done, []
        return self

    def hand_over(self) -> list[Notice]:
        return self.waiting

    def sound(self, notice: Notice) -> None:
        self.waiting.append(notice)
        self.deliver()

    def deliver(self) -> None:
        while self.up and self.waiting:
            notice = self.waiting.pop(0)
            self.taken.append(notice)
            self.heard.append(("+" if notice.raised else "-") + notice.name)
            assert self.done is not None
            self.done(notice)

    async def close(self) -> None:
        pass


class Mute:
    """The outbox's reads for alerts, which hang while `free` is not set, and fail with `fault` if there is one."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.fault: StoreError | None = None
        self.faults: int | None = None
        """So often, None: always."""
        self.asked: list[str] = []
        self.answers_in_s = 0.0

    def stand_before(self, store: SqliteOutbox) -> None:
        kept = store.desk.alerts
        for name in ("raised", "paced", "longest_due"):
            setattr(kept, name, self._muted(name, getattr(kept, name)))  # as a reader does that is stuck

    def stand_before_totals(self, store: SqliteOutbox) -> None:
        self.stand_before(store)
        store.totals = self._muted("totals", store.totals)  # type: ignore[method-assign]  # the same

    def _muted(self, name: str, read: Callable[..., Coroutine[Any, Any, T]]) -> Callable[..., Coroutine[Any, Any, T]]:
        async def reading(*values: Any) -> T:
            self.asked.append(name)
            if self.answers_in_s:
                await asyncio.sleep(self.answers_in_s)
            elif self.fault is None:
                await self.free.wait()
            elif self.faults is None or self.faults > 0:
                self.faults = None if self.faults is None else self.faults - 1
                raise self.fault
            return await read(*values)

        return reading

    def from_the_start(self, rig: Watched) -> None:
        mute = self

        class Muted(SqliteOutbox):
            def __init__(self, *args: Any, **fields: Any) -> None:
                super().__init__(*args, **fields)
                mute.stand_before(self)

        rig.outbox = Muted
