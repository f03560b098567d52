"""By which provider does a message go, and which ceilings do providers share?

`[routing]` and `[accounts.NAME]`, and what a provider says for them: the numbers it may carry and what it takes for
them. What contradicts itself across sections is found here; how a route is made is known to `core.routing`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from smsd.config.pace import pace_in
from smsd.config.tables import Table
from smsd.config.values import ProviderConfig, RetryConfig
from smsd.core.pacing import Pace
from smsd.core.routing import RoutingRules
from smsd.core.units import DAY

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
NAME_REMEDY: Final = "use at most 32 of a-z 0-9 - _, beginning with a letter or digit"

STRATEGIES: Final = ("priority", "weighted", "cheapest")

NEVER: Final = "never"
OTHER: Final = "default"
"""The key of `price` for numbers that no prefix fits."""

MAX_PRICE: Final = 1_000_000

_PREFIX: Final = re.compile(r"\+[1-9][0-9]{0,14}")
_PREFIX_REMEDY: Final = 'is not the beginning of a number; write + and digits, such as "+41"'


def routing(table: Table) -> RoutingRules:
    """`[routing]`."""
    usual = RoutingRules()
    strategy = table.choice("strategy", usual.strategy, STRATEGIES)
    failover_after_ms: int | None = None
    if table.raw("failover_after") != NEVER:
        before = len(table.report.faults)
        failover_after_ms = table.duration("failover_after", usual.failover_after_ms or 0, 0, DAY)
        if len(table.report.faults) > before:
            table.fault("failover_after", f'{table.report.faults.pop().message}; or "{NEVER}"')
    table.done()
    return RoutingRules(strategy, failover_after_ms)


def accounts(table: Table) -> Mapping[str, Pace]:
    """`[accounts.NAME]`, by name; those with a fault too, so that a provider's `account` is judged by its name."""
    found: dict[str, Pace] = {}
    for name, section in table.tables():
        if not NAME.fullmatch(name):
            table.fault(name, f"is not an account's name; {NAME_REMEDY}")
        found[name] = pace_in(section)
        section.done()
    return MappingProxyType(found)


def account_in(table: Table, known: Mapping[str, Pace]) -> str:
    """A provider's `account`: one that has a section, or none."""
    name = table.text("account", "")
    if name and name not in known:
        remedy = f"write one of {', '.join(known)}, or add the section" if known else "add the section with its rate"
        table.fault("account", f"there is no [accounts.{name}]; {remedy}")
    return name


def prefixes_in(table: Table) -> tuple[str, ...]:
    """A provider's `prefixes`; absent or empty: it may carry every number."""
    found = table.texts("prefixes")
    for text in found:
        if not _PREFIX.fullmatch(text):
            table.fault("prefixes", f"{text[:20]!r} {_PREFIX_REMEDY}")
    if len(set(found)) != len(found):
        table.fault("prefixes", "names a prefix twice; remove one")
    return found


def prices_in(table: Table) -> Mapping[str, float]:
    """A provider's `price`: beginning of the number (the empty text: any other) -> price of a segment."""
    prices = table.table("price")
    found: dict[str, float] = {}
    for key in prices.names():
        price = prices.number(key, 0, 0, MAX_PRICE)
        if key != OTHER and not _PREFIX.fullmatch(key):
            prices.fault(key, f"{_PREFIX_REMEDY}, or `{OTHER}` for all others")
        found["" if key == OTHER else key] = price
    return found


def judge(
    root: Table,
    rules: RoutingRules,
    shared: Mapping[str, Pace],
    retry: RetryConfig,
    providers: Sequence[ProviderConfig],
) -> None:
    """Warn of what is written for nothing. `root`: the whole file; `providers`: all of them, without a fault."""
    for name in shared:
        if all(each.rules.account != name for each in providers):
            root.warn("accounts", f"no provider names {name!r} as its `account`, so nothing is counted against it")
    if rules.strategy == "cheapest" and not any(each.rules.prices for each in providers):
        root.warn("routing", 'strategy is "cheapest" and no provider has a `price`: their order alone decides')
    for kind in retry.codes:
        if all(each.type != kind for each in providers):
            root.warn("retry", f"codes.{kind} is read by no provider: none is of that type")
