"""The engine in virtual time with `[alerts]`: what a story about alerts needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from smsd.clock import Clock
from smsd.core.alerting import AlertRules, Notice
from smsd.core.events import Kind
from smsd.engine.alarms import Done
from smsd.engine.alarms_places import Where
from smsd.engine.alerts import AlertSettings
from smsd.engine.configuration import Plan
from tests.engine.rig import Rig, answer

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
            self.heard.append(("+" if notice.raised else "-") + notice.name)
            assert self.done is not None
            self.done(notice)

    async def close(self) -> None:
        pass
