"""Which alerts are raised, for who may know?

Whoever may read and is bound to no tenant: alerts are about everybody's messages and about the providers' accounts.
Read from memory, so it is answered while the outbox is what the alert is about.
"""

from __future__ import annotations

from smsd import wire
from smsd.core import alerting
from smsd.core.units import rfc3339
from smsd.engine.service import Service
from smsd.listeners.callers import Caller
from smsd.store.operators import Over, Raised


async def alerts(service: Service, caller: Caller, request: wire.Alerts) -> wire.AlertList:
    """Those that are raised, and those that were lately."""
    over = [_view(each, "cleared", rfc3339(each.cleared_at), None) for each in service.office.alerts.over]
    return wire.AlertList([*raised(service), *over])


def raised(service: Service) -> list[wire.AlertView]:
    """Those that are raised, oldest first."""
    found = sorted(service.office.alerts.raised.values(), key=lambda each: (each.raised_at, each.name))
    return [_view(each, "raised", None, alerting.remedy_of(each.name)) for each in found]


def _view(alert: Raised | Over, state: str, cleared_at: str | None, remedy: str | None) -> wire.AlertView:
    return wire.AlertView(
        alert.name,
        state,
        alert.category,
        rfc3339(alert.raised_at),
        cleared_at,
        alert.text,
        remedy,
        alert.value,
        alert.bound,
    )
