"""What does the configuration say to the engine?

Everything, as one value: given at the start and at every reload, finished and free of faults. Which key of the file it
comes from is known by `assembly`; what a part does with it is the part's affair. (What would become of messages that
nobody has handed in yet is another sort of plan: `planning`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo

from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.admission import AdmissionRules
from smsd.core.inbound import InboundRules
from smsd.core.pacing import Pace
from smsd.core.routing import RoutingRules
from smsd.core.schedule import CAPACITY
from smsd.engine.alerts import AlertSettings
from smsd.engine.office import OfficeRules
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.engine.way_back import WayRules
from smsd.store.operators import RetentionRules


@dataclass(frozen=True, slots=True)
class Plan:
    """What the configuration says to the engine."""

    settings: tuple[Setting, ...]
    rules: MessageRules
    retries: RetryBook
    zone: tzinfo
    max_backlog: int = 5_000_000
    retired: tuple[Setting, ...] = ()
    """Disabled providers: no call is made to them, but what they may have taken can still be looked up."""
    on_uncertain: str = "retry"
    """For messages whose provider is configured no more."""
    window: int = CAPACITY
    """Tickets the schedule holds in memory at most."""
    routing: RoutingRules = field(default_factory=RoutingRules)
    accounts: Mapping[str, Pace] = field(default_factory=dict)
    """`[accounts.NAME]`: ceilings that providers share."""
    admission: AdmissionRules = field(default_factory=AdmissionRules)
    """`[[limits]]`, quiet hours and the guards: when a message may be claimed, and whether it is accepted."""
    public_url: str = ""
    """`[http] public_url`: where providers reach us; empty: nowhere that we know of."""
    inbound: InboundRules = field(default_factory=InboundRules)
    retention: RetentionRules = field(default_factory=RetentionRules)
    alerts: AlertSettings = field(default_factory=AlertSettings)
    """`[alerts]`"""

    @property
    def office(self) -> OfficeRules:
        """What is said about the parts for operators."""
        return OfficeRules(self.rules, self.zone, self.retention, self.alerts)

    @property
    def way_back(self) -> WayRules:
        """What is said about receipts, inbound texts and callbacks."""
        return WayRules(self.configured, self.public_url, self.rules, self.inbound)

    @property
    def configured(self) -> tuple[Setting, ...]:
        """Every provider, the disabled ones included."""
        return (*self.retired, *self.settings)

    @property
    def rules_of_gone(self) -> ProviderRules:
        """The rules for a message whose provider is configured no more: it cannot be asked, the policy decides."""
        return ProviderRules(pace=Pace(), on_uncertain=self.on_uncertain)
