"""What do the `[providers.NAME]` sections say?

The common keys become ProviderRules; a dialect's own keys are the fields of its class, read by their kinds, so that a
new dialect needs no line here. What a key means to a carrier is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from typing import Any, Final, cast

from smsd.config.senders import senders_in
from smsd.config.tables import Fault, Table
from smsd.config.urls import plain_url
from smsd.config.values import ProviderConfig
from smsd.core import units
from smsd.core.account import ProviderRules
from smsd.core.pacing import MAX_LIMIT, Pace, Window
from smsd.core.units import DAY, HOUR, MINUTE
from smsd.providers import TYPES
from smsd.providers.base import Local, Provider

LATER: Final = frozenset({"adaptive", "price", "prefixes", "breaker", "halt_probe", "webhook_secret"})
"""Keys of coming versions. Who writes one means it, so it is refused with another word than a typo."""

PROVIDER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def providers(table: Table, given: bool, on_uncertain: str, sender: str) -> tuple[ProviderConfig, ...]:
    """The sections without a fault, in their order. `given`: there is a table at all; `sender`: `[messages] from`."""
    found: list[ProviderConfig] = []
    for name, section in table.tables():
        if not PROVIDER_NAME.fullmatch(name):
            table.fault(
                name, "is not a provider's name; use at most 32 of a-z 0-9 - _, beginning with a letter or digit"
            )
        provider = _provider(section, name, on_uncertain, sender)
        if provider is not None:
            found.append(provider)
    if not given:
        text = "none is set, so nothing could be sent; add [providers.main] with type and rate"
        table.report.faults.append(Fault(table.path, text))
    elif found and not any(provider.enabled for provider in found):
        table.warn("enabled", "no provider is enabled: every submission will be refused with no_route")
    return tuple(found)


def _provider(table: Table, name: str, on_uncertain: str, sender: str) -> ProviderConfig | None:
    """One section; None when it has a fault that leaves no adapter."""
    kind = table.choice("type", "", TYPES) if table.has("type") else ""
    enabled = table.boolean("enabled", True)
    if not kind:
        # Which keys belong here is known only with the type; the others wait for the next run.
        if not table.has("type"):
            table.fault("type", f"missing; write one of {', '.join(TYPES)}")
        return None
    before = len(table.report.faults)
    adapter = _adapter(table, name, TYPES[kind])
    local = isinstance(adapter, Local)
    rules = _provider_rules(table, local, on_uncertain)
    table.done(later=LATER)
    if adapter is None or len(table.report.faults) > before:
        return None
    provider = ProviderConfig(name, kind, enabled, adapter, rules)
    if provider.needs_sender and not (rules.senders or sender):
        table.warn("from", "not set, and [messages] from is not either: every submission must name its own `from`")
    return provider


def _provider_rules(table: Table, local: bool, on_uncertain: str) -> ProviderRules:
    pace = _pace(table, local)
    default = ProviderRules(pace)
    return ProviderRules(
        pace=pace,
        max_in_flight=table.integer("max_in_flight", default.max_in_flight, 1, 10_000),
        timeout_ms=table.duration("timeout", default.timeout_ms, 100, 5 * MINUTE),
        cooldown_ms=table.duration("cooldown", default.cooldown_ms, 0, DAY),
        retry_after=table.choice("retry_after", default.retry_after, ("honour", "at_least_cooldown", "ignore")),
        on_auth_failure=table.choice("on_auth_failure", default.on_auth_failure, ("halt", "fail", "retry")),
        on_uncertain=table.choice("on_uncertain", on_uncertain, ("retry", "hold")),
        reconcile_after_ms=table.duration("reconcile_after", default.reconcile_after_ms, 0, HOUR),
        reconcile_again_ms=table.duration("reconcile_again", default.reconcile_again_ms, 0, HOUR),
        reconcile_timeout_ms=table.duration("reconcile_timeout", default.reconcile_timeout_ms, 0, DAY),
        weight=table.integer("weight", default.weight, 1, 1_000),
        senders=senders_in(table),
    )


def _pace(table: Table, local: bool) -> Pace:
    """The provider's ceilings. No windows when a simulated provider says "unlimited", or after a fault."""
    default = Pace()
    windows = _windows(table, local)
    burst = table.integer("burst", default.burst, 1, MAX_LIMIT)
    min_gap_ms = table.duration("min_gap", default.min_gap_us // 1_000, 0, HOUR)
    unit = table.choice("unit", default.unit, ("messages", "segments"))
    try:
        return Pace(windows, burst, min_gap_ms * 1_000, unit)
    except ValueError as error:
        # Each value alone is fine by now; what is left is a burst that its rate cannot hold.
        table.fault("burst", str(error))
        return default


def _windows(table: Table, local: bool) -> tuple[Window, ...]:
    texts = table.texts("rate")
    if not texts:
        hint = 'what the carrier allows, such as "100/min"' + (', or "unlimited"' if local else "")
        table.fault("rate", f"missing; write {hint}")
        return ()
    if texts == ("unlimited",) and local:
        return ()
    windows: dict[int, Window] = {}
    for text in texts:
        try:
            limit, span_ms = units.rate(text)
            window = Window(limit, span_ms * 1_000)
        except ValueError as error:
            table.fault("rate", f"{text!r}: {error}")
            continue
        if span_ms in windows:
            table.fault("rate", f"states two limits for {units.duration_text(span_ms)}; keep the lower one")
        windows[span_ms] = window
    return tuple(windows.values())


def _adapter(table: Table, name: str, adapter: type[Any]) -> Provider | None:
    """The dialect with its own keys, which are the fields of its class; None after a fault."""
    before = len(table.report.faults)
    settings: dict[str, object] = {}
    for own in own_fields(adapter):
        value = _own_value(table, own)
        if value is not None:
            settings[own.name] = value
        elif own.default is MISSING and own.default_factory is MISSING and not table.has(own.name):
            table.fault(own.name, "missing; write its value or a reference such as {env = ...}")
    if len(table.report.faults) > before:
        return None
    try:
        return cast(Provider, adapter(name=name, **settings))
    except ValueError as error:
        # An adapter's own checks name the key before the colon.
        key, _, message = str(error).partition(": ")
        table.fault(key, message)
        return None


def own_fields(adapter: type[Any]) -> Iterator[Field[Any]]:
    """The keys a dialect takes beside the common ones, as the fields of its class."""
    return (own for own in fields(adapter) if own.init and own.name != "name")


def _own_value(table: Table, own: Field[Any]) -> object | None:
    """The value of one of an adapter's keys, by the field's metadata and kind; None: not set, or faulty."""
    key = own.name
    if not table.has(key):
        table.ask(key)
        return None
    if own.metadata.get("secret"):
        secret = table.secret(key)
        return None if secret is None else secret.reveal()
    if own.metadata.get("unit") == "duration":
        return table.duration(key, 0, 0, DAY)
    kind = str(own.type)
    if kind.startswith("Mapping[str, float]"):
        return table.shares(key)
    if key == "base_url":
        return _base_url(table, key)
    if kind in {"str", "str | None"}:
        return table.referred(key)
    raise TypeError(f"the adapter's field {key} is of a kind that no configuration can state: {kind}")


def _base_url(table: Table, key: str) -> str | None:
    text = table.referred(key)
    if text is None:
        return None
    return text if plain_url(table, key, text, "credentials and texts travel", path=True) else None
