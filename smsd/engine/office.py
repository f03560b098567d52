"""What is there for operators beside the messages themselves?

Campaigns, the failed queue, plans, reports, alerts, retention and the audit: parts that use the loop and that the loop
never needs. They are put together here, once; those with work of their own run as long as the engine does. It refuses
to know what a part does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from smsd.clock import Clock
from smsd.core.acceptance import MessageRules
from smsd.core.schedule import Schedule
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.intake import Intake
from smsd.engine.janitor import Janitor
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.outlook import Lookout
from smsd.engine.tally import Tally
from smsd.store import Outbox, Records
from smsd.store.operators import Desk, RetentionRules


@dataclass(frozen=True, slots=True)
class OfficeRules:
    """What the configuration says about these parts."""

    messages: MessageRules
    zone: tzinfo = UTC
    retention: RetentionRules = field(default_factory=RetentionRules)


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


class Office:
    """The parts. `rule` before `run`."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = asyncio.Event()

    def rule(self, rules: OfficeRules) -> None:
        """These rules count from now on."""

    async def run(self) -> None:
        """Until cancelled. A part that ends by itself is a fault."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._stop.wait(), name="office")

    async def close(self) -> None:
        """End what the parts have under way. Idempotent."""
