"""The engine in virtual time with `[alerts]`: what a story about alerts needs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from smsd.core.alerting import AlertRules
from smsd.core.events import Kind
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
