"""When is an operator told that something is wrong, and where?

`[alerts]`: the bounds, each of which can be switched off, and the places beside the log where alerts are told. Both
places are secrets: whoever knows a webhook's URL or a Sentry DSN can write there, so neither is ever shown. That the
package for Sentry is missing is found here, not when the first alert is due.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Final
from urllib.parse import urlsplit

from smsd.config.sources import Secret
from smsd.config.tables import Table
from smsd.config.urls import is_loopback
from smsd.core import units
from smsd.core.alerting import AlertRules
from smsd.core.callee import callee_of
from smsd.core.units import DAY, HOUR, MINUTE

OFF: Final = "off"

DEFAULT: Final = AlertRules(
    auth_halt=True,
    disk=True,
    error_rate=0.01,
    error_window_ms=15 * MINUTE,
    error_minimum=100,
    backlog=10_000,
    cooldowns=3,
    cooldowns_span_ms=HOUR,
    oldest_pending_ms=HOUR,
)

LONGEST_NAME: Final = 64

_DSN_REMEDY: Final = "copy it from the project's settings (Client Keys): https://KEY@HOST/PROJECT"


@dataclass(frozen=True, slots=True)
class AlertsConfig:
    """`[alerts]`"""

    rules: AlertRules = DEFAULT
    name: str = ""
    """What this smsd is called in alerts; empty: the machine's host name."""
    webhook: str = field(default="", repr=False)
    """URL; empty: none."""
    sentry_dsn: str = field(default="", repr=False)
    """Empty: none."""


def alerts(table: Table) -> AlertsConfig:
    """`[alerts]`"""
    count, span_ms = _cooldowns(table)
    rules = AlertRules(
        auth_halt=table.boolean("auth_halt", DEFAULT.auth_halt),
        disk=table.boolean("disk", DEFAULT.disk),
        error_rate=0.0 if _is_off(table, "error_rate") else table.number("error_rate", DEFAULT.error_rate, 0, 1),
        error_window_ms=table.duration("error_window", DEFAULT.error_window_ms, MINUTE, DAY),
        error_minimum=table.integer("error_minimum", DEFAULT.error_minimum, 1, 10_000_000),
        backlog=0 if _is_off(table, "backlog") else table.integer("backlog", DEFAULT.backlog, 0, 1_000_000_000),
        cooldowns=count,
        cooldowns_span_ms=span_ms,
        oldest_pending_ms=_oldest_pending(table),
    )
    found = AlertsConfig(rules, _name(table), _webhook(table), _sentry_dsn(table))
    table.done()
    return found


def _is_off(table: Table, key: str) -> bool:
    """Whether the key says 0 or "off"."""
    value = table.raw(key)
    return value == OFF or (not isinstance(value, bool) and value == 0)


def _cooldowns(table: Table) -> tuple[int, int]:
    if _is_off(table, "cooldowns"):
        return 0, DEFAULT.cooldowns_span_ms
    text = table.text("cooldowns", units.rate_text(DEFAULT.cooldowns, DEFAULT.cooldowns_span_ms))
    try:
        count, span_ms = units.rate(text)
        if not MINUTE <= span_ms <= 7 * DAY:
            raise ValueError("its span must be between 1m and 7d")
    except ValueError as error:
        table.fault("cooldowns", f'{error}; write a rate such as "3/hour", or "{OFF}"')
        return DEFAULT.cooldowns, DEFAULT.cooldowns_span_ms
    return count, span_ms


def _oldest_pending(table: Table) -> int:
    if _is_off(table, "oldest_pending"):
        return 0
    return table.duration("oldest_pending", DEFAULT.oldest_pending_ms, MINUTE, 30 * DAY)


def _name(table: Table) -> str:
    name = table.text("name", "")
    if len(name) > LONGEST_NAME:
        table.fault("name", f"has {len(name)} characters; at most {LONGEST_NAME} are allowed")
    return name


def _secret(table: Table, key: str) -> str:
    """A secret, or "" where the key is absent or empty."""
    if table.raw(key) == "":
        return ""
    found = table.secret(key)
    return "" if found is None else found.reveal()


def _webhook(table: Table) -> str:
    url = _secret(table, "webhook")
    callee = callee_of(url) if url else None
    if isinstance(callee, str):
        table.fault("webhook", f"{callee}; write the URL that alerts are posted to, or remove the key")
    elif callee is not None and callee.scheme == "http" and not is_loopback(callee.host):
        table.warn("webhook", "alerts travel unencrypted; write https://")
    return url


def _sentry_dsn(table: Table) -> str:
    dsn = _secret(table, "sentry_dsn")
    if not dsn:
        return ""
    if not _is_dsn(dsn):
        table.fault("sentry_dsn", f"is no DSN of Sentry; {_DSN_REMEDY}")
    elif find_spec("sentry_sdk") is None:
        table.fault("sentry_dsn", "needs a package that is missing: pip install 'smsd-outbox[sentry]', or remove it")
    return dsn


def _is_dsn(text: str) -> bool:
    """https://develop.sentry.dev/sdk/foundations/transport/authentication/#parsing-the-dsn"""
    try:
        url = urlsplit(text)
        project = url.path.rpartition("/")[2]
        fine = url.scheme in {"http", "https"} and url.hostname and url.username and url.port != 0
        return bool(fine and project.isascii() and project.isdigit() and not url.query and not url.fragment)
    except ValueError:
        return False


def shown_alerts(config: AlertsConfig) -> Mapping[str, object]:
    """The section as the file would say it."""
    rules = config.rules
    return {
        "webhook": Secret(config.webhook) if config.webhook else None,
        "sentry_dsn": Secret(config.sentry_dsn) if config.sentry_dsn else None,
        "name": config.name,
        "auth_halt": rules.auth_halt,
        "disk": rules.disk,
        "error_rate": rules.error_rate,
        "error_window": units.duration_text(rules.error_window_ms),
        "error_minimum": rules.error_minimum,
        "backlog": rules.backlog,
        "cooldowns": units.rate_text(rules.cooldowns, rules.cooldowns_span_ms) if rules.cooldowns else OFF,
        "oldest_pending": units.duration_text(rules.oldest_pending_ms) if rules.oldest_pending_ms else OFF,
    }
