"""What is there for operators beside the messages themselves?

Campaigns, the failed queue, plans, reports, alerts, retention and the audit: parts that use the loop and that the loop
never needs. They are put together here, once; those with work of their own run as long as the engine does. It refuses
to know what a part does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from smsd.clock import Clock
from smsd.core.acceptance import MessageRules
from smsd.core.schedule import Schedule
from smsd.engine.alarms_read import Readings
from smsd.engine.alerts import Alerts, AlertSettings
from smsd.engine.auditing import Auditing
from smsd.engine.bus import Bus
from smsd.engine.campaigns import Campaigns
from smsd.engine.failed import Failed
from smsd.engine.feeder import Feeder
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.outlook import Lookout
from smsd.engine.planning import Planning
from smsd.engine.reporting import Reporting
from smsd.engine.retention import Retention
from smsd.engine.tally import Tally
from smsd.store import Outbox, Records
from smsd.store.operators import Desk, RetentionRules


@dataclass(frozen=True, slots=True)
class OfficeRules:
    """What the configuration says about these parts."""

    messages: MessageRules
    zone: tzinfo = UTC
    retention: RetentionRules = field(default_factory=RetentionRules)
    alerts: AlertSettings = field(default_factory=AlertSettings)


@dataclass(frozen=True, slots=True)
class Parts:
    """Of the loop, what the parts for operators may use."""

    outbox: Outbox
    records: Records
    desk: Desk
    lanes: Mapping[str, Lane]
    schedule: Schedule
    feeder: Feeder
    janitor: Janitor
    intake: Intake
    tally: Tally
    limits: Limits
    lookout: Lookout
    meters: Meters
    bus: Bus
    clock: Clock
    campaign_changed: Callable[[], None]
    """A campaign may go now, or may not any more: what is held up is asked about again."""
    full: Callable[[], bool]
    """Whether the outbox has no room."""


class Office:
    """The parts. `rule` before `run`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.auditing = Auditing(parts.desk.audit, parts.bus, parts.clock)
        self.reporting = Reporting(parts.desk.reports, parts.lanes, parts.clock)
        self.failed = Failed(
            parts.outbox,
            parts.records,
            parts.desk.failed,
            parts.desk.removal,
            parts.feeder,
            parts.janitor,
            parts.bus,
            parts.clock,
        )
        self.campaigns = Campaigns(
            parts.desk.campaigns, parts.schedule, parts.lookout, parts.bus, parts.clock, parts.campaign_changed
        )
        readings = Readings(
            parts.records, parts.desk.alerts, parts.lanes, parts.tally, parts.limits, parts.clock, parts.full
        )
        self.alerts = Alerts(parts.desk.alerts, readings, parts.bus, parts.clock)
        self.retention = Retention(parts.desk.removal, parts.clock, parts.meters.removal)
        parts.lookout.surveyor.campaigns = parts.desk.campaigns
        self.planning = Planning(
            parts.intake,
            parts.records,
            parts.desk.foresight,
            parts.lookout.surveyor,
            parts.lanes,
            parts.limits,
            parts.clock,
        )

    def rule(self, rules: OfficeRules) -> None:
        """These rules count from now on."""
        self.planning.rule(rules.messages)
        self.failed.rule(rules.messages)
        self.alerts.rule(rules.alerts)
        self.retention.rule(rules.retention)
        self.reporting.rule(rules.zone)
        self.campaigns.rule(rules.zone)

    async def run(self) -> None:
        """Until cancelled. A part that ends by itself is a fault."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.alerts.run(), name="alerts")
            tasks.create_task(self.campaigns.run(), name="campaigns")
            tasks.create_task(self.retention.run(), name="retention")

    async def close(self) -> None:
        """End what the parts have under way. Idempotent."""
        await self.alerts.close()
