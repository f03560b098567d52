"""What do the `[providers.NAME]` sections say?

The common keys become ProviderRules, together with what `[retry]` says for all providers or for those of a type. A
dialect's own keys are read by `own`. What a key means to a carrier is not known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from smsd.config.own import adapter_of
from smsd.config.pace import pace_in
from smsd.config.routing import NAME, NAME_REMEDY, account_in, prefixes_in, prices_in
from smsd.config.senders import senders_in
from smsd.config.tables import Fault, Table
from smsd.config.values import ProviderConfig, RetryConfig
from smsd.config.webhooks import answer_words, path_secrets, useless
from smsd.core.account import ProviderRules
from smsd.core.breaker import BreakerRules
from smsd.core.pacing import Pace
from smsd.core.units import DAY, HOUR, MINUTE, SECOND
from smsd.providers import TYPES
from smsd.providers.base import Local

DEFAULT_RATES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({"dialpad": ("100/min",)})
"""By type, where the carrier states one rate for every account (developers.dialpad.com, "Rate limits")."""


@dataclass(frozen=True, slots=True)
class Common:
    """What other sections say about every provider."""

    retry: RetryConfig
    accounts: Mapping[str, Pace]
    sender: str
    """`[messages] from`."""


def providers(table: Table, given: bool, common: Common) -> tuple[ProviderConfig, ...]:
    """The sections without a fault, in their order. `given`: there is a table at all."""
    found: list[ProviderConfig] = []
    for name, section in table.tables():
        if not NAME.fullmatch(name):
            table.fault(name, f"is not a provider's name; {NAME_REMEDY}")
        provider = _provider(section, name, common)
        if provider is not None:
            found.append(provider)
    if not given:
        text = "none is set, so nothing could be sent; add [providers.main] with type and rate"
        table.report.faults.append(Fault(table.path, text))
    elif found and not any(provider.enabled for provider in found):
        table.warn("enabled", "no provider is enabled: every submission will be refused with no_route")
    return tuple(found)


def _provider(table: Table, name: str, common: Common) -> ProviderConfig | None:
    """One section; None when it has a fault that leaves no adapter."""
    kind = table.choice("type", "", TYPES) if table.has("type") else ""
    enabled = table.boolean("enabled", True)
    if not kind:
        # Which keys belong here is known only with the type; the others wait for the next run.
        if not table.has("type"):
            table.fault("type", f"missing; write one of {', '.join(TYPES)}")
        return None
    before = len(table.report.faults)
    adapter = adapter_of(table, name, TYPES[kind])
    rules = _rules(table, kind, common)
    secrets = path_secrets(table, TYPES[kind])
    words = answer_words(table)
    table.done()
    if adapter is not None:
        useless(table, adapter)
    if adapter is None or len(table.report.faults) > before:
        return None
    provider = ProviderConfig(name, kind, enabled, adapter, rules, secrets, words)
    if provider.needs_sender and not (rules.senders or common.sender):
        table.warn("from", "not set, and [messages] from is not either: every submission must name its own `from`")
    return provider


def _rules(table: Table, kind: str, common: Common) -> ProviderRules:
    account = account_in(table, common.accounts)
    simulated = issubclass(TYPES[kind], Local)
    pace = pace_in(table, default=DEFAULT_RATES.get(kind, ()), free=simulated, needed=not account)
    default = ProviderRules(pace)
    return ProviderRules(
        pace=pace,
        max_in_flight=table.integer("max_in_flight", default.max_in_flight, 1, 10_000),
        timeout_ms=table.duration("timeout", default.timeout_ms, 100, 5 * MINUTE),
        cooldown_ms=table.duration("cooldown", default.cooldown_ms, 0, DAY),
        retry_after=table.choice("retry_after", default.retry_after, ("honour", "at_least_cooldown", "ignore")),
        on_auth_failure=table.choice("on_auth_failure", default.on_auth_failure, ("halt", "fail", "retry")),
        on_uncertain=table.choice("on_uncertain", common.retry.on_uncertain, ("retry", "hold")),
        reconcile_after_ms=table.duration("reconcile_after", default.reconcile_after_ms, 0, HOUR),
        reconcile_again_ms=table.duration("reconcile_again", default.reconcile_again_ms, 0, HOUR),
        reconcile_timeout_ms=table.duration("reconcile_timeout", default.reconcile_timeout_ms, 0, DAY),
        weight=table.integer("weight", default.weight, 1, 1_000),
        senders=senders_in(table),
        adaptive=table.boolean("adaptive", default.adaptive),
        breaker=_breaker(table),
        halt_probe=table.boolean("halt_probe", default.halt_probe),
        account=account,
        prefixes=prefixes_in(table),
        prices=prices_in(table),
        codes=common.retry.codes.get(kind, default.codes),
        profile=_profile(table, common.retry),
        network_costs_attempt=common.retry.network_costs_attempt,
    )


def _breaker(table: Table) -> BreakerRules | None:
    value = table.raw("breaker")
    if value is False:
        return None
    usual = BreakerRules()
    if value is not None and not isinstance(value, dict):
        table.fault("breaker", "must be a table such as {failures = 0.5}, or false")
        return usual
    own = table.table("breaker")
    rules = BreakerRules(
        window_ms=own.duration("window", usual.window_ms, SECOND, DAY),
        failures=own.number("failures", usual.failures, 0, 1),
        min_calls=own.integer("min_calls", usual.min_calls, 1, 1_000_000),
        probe_every_ms=own.duration("probe_every", usual.probe_every_ms, SECOND, DAY),
    )
    if rules.failures == 0:
        own.fault("failures", "0 would open it without a failure; write more, or breaker = false")
    own.done()
    return rules


def _profile(table: Table, retry: RetryConfig) -> str:
    name = table.text("retry", "")
    if name and name not in retry.profiles:
        known = ", ".join(retry.profiles)
        remedy = f"write one of {known}, or add the section" if known else "add the section"
        table.fault("retry", f"there is no [retry.profiles.{name}]; {remedy}")
    return name
