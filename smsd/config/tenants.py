"""What is a tenant bound to, and what may it be called?

`[tenants.NAME]` becomes the bounds that acceptance applies. A tenant needs no section; without one it is bound to
nothing. Bounds that no message could keep are found here, because whoever wrote them would learn it from a customer:
a provider that is not there, a sender that no enabled provider carries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smsd.config.quiet import own_quiet_hours
from smsd.config.senders import senders_in
from smsd.config.tables import Table
from smsd.config.values import ProviderConfig
from smsd.core.acceptance import TenantRules
from smsd.core.message import Priority

TENANT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,127}")
TENANT_REMEDY: Final = "is not a name; use at most 128 of A-Z a-z 0-9 - _ . : @, beginning with a letter or digit"

KEPT: Final = re.compile(r"anonymous|token:.*")
"""Tenants of callers over HTTP that are given none: without a token, and by the name of theirs."""
LOCAL: Final = re.compile(r"local:.*")
"""Tenants of callers over the socket, by uid. Bounds may be set for them; no token may be one of them."""

_PRIORITIES: Final = {priority.label: priority for priority in Priority}


def tenants(table: Table, named: Sequence[str], found: Sequence[ProviderConfig]) -> Mapping[str, TenantRules]:
    """`[tenants.NAME]`, by name. `named`: the providers that have a section; `found`: those without a fault."""
    rules: dict[str, TenantRules] = {}
    for name, section in table.tables():
        if KEPT.fullmatch(name):
            table.fault(name, "is kept for callers that are given no tenant; give their token a `tenant`")
        elif not TENANT_NAME.fullmatch(name):
            table.fault(name, TENANT_REMEDY)
        before = len(table.report.faults)
        rules[name] = _tenant(section, named)
        # A provider with a fault may own the sender, or be the enabled one.
        if len(found) == len(named) and len(table.report.faults) == before:
            _can_be_kept(section, rules[name], found)
    return MappingProxyType(rules)


def _tenant(table: Table, named: Sequence[str]) -> TenantRules:
    before = len(table.report.faults)
    senders, providers = senders_in(table), table.texts("providers")
    for key, values in (("from", senders), ("providers", providers)):
        if table.has(key) and not values and len(table.report.faults) == before:
            table.fault(key, "is empty, which would allow none; name at least one, or remove the key to allow all")
    if len(set(providers)) != len(providers):
        table.fault("providers", "names a provider twice; remove one")
    for each in dict.fromkeys(providers):
        if each not in named:
            table.fault("providers", f"there is no [providers.{each}]; write one of {', '.join(named) or 'those set'}")
    highest = _PRIORITIES[table.choice("max_priority", "high", _PRIORITIES)]
    found = TenantRules(senders, providers, highest, own_quiet_hours(table))
    for key in ("callback_url", "callback_secret"):
        table.ask(key)  # `callbacks` reads them
    table.done()
    return found


def _can_be_kept(table: Table, rules: TenantRules, providers: Sequence[ProviderConfig]) -> None:
    """Note senders that none of its enabled providers carries, and warn when there is no such provider."""
    able = [each for each in providers if each.enabled and (not rules.providers or each.name in rules.providers)]
    if not able:
        if any(each.enabled for each in providers):
            table.warn("providers", "none of them is enabled: every submission will be refused with no_route")
        return
    for sender in rules.senders:
        if not any(not each.rules.senders or sender in each.rules.senders for each in able):
            whose = "provider it may use" if rules.providers else "enabled provider"
            table.fault("from", f"no {whose} owns {sender!r}; write it into the provider's `from`, or remove it here")
