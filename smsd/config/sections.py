"""What do the plain sections say: daemon, outbox, socket, messages, retry, logging?

Each function reads one table into its value and notes what is wrong with it; contradictions inside the section are
found here, those between sections in `http` and `tenants`.
"""

from __future__ import annotations

import grp
import os
import re
import zoneinfo
from pathlib import Path
from types import MappingProxyType
from typing import Final

from smsd.config.codes import code_books
from smsd.config.senders import sender_in
from smsd.config.tables import Table
from smsd.config.values import DaemonConfig, Group, LoggingConfig, OutboxConfig, RetryConfig, SocketConfig
from smsd.core import address
from smsd.core.acceptance import MessageRules
from smsd.core.retry import RetryRules
from smsd.core.units import DAY, HOUR, MAX_SPAN_MS, MINUTE, SECOND

SUN_PATH_BYTES: Final = 107
"""Longest path of a Unix socket (unix(7): 108 bytes with the closing zero)."""

KEPT_LEAST_MS: Final = HOUR
"""What may still be called for, looked up or told by a receipt is not taken away."""

PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def daemon(table: Table) -> DaemonConfig:
    """`[daemon]`."""
    default = DaemonConfig()
    timezone = table.text("timezone", default.timezone)
    if not _is_timezone(timezone):
        table.fault(
            "timezone", f'{timezone!r} is not a time zone of this machine; write "UTC" or one like "Europe/Zurich"'
        )
    result = DaemonConfig(
        state_dir=_directory(table, "state_dir", default.state_dir),
        runtime_dir=_directory(table, "runtime_dir", default.runtime_dir),
        drain_timeout_ms=table.duration("drain_timeout", default.drain_timeout_ms, 0, 10 * MINUTE),
        timezone=timezone,
    )
    table.done()
    return result


def _directory(table: Table, key: str, default: Path) -> Path:
    path = Path(table.text(key, str(default)))
    if not path.is_absolute():
        table.fault(key, f"{str(path)!r} is not an absolute path; begin it with /")
    return path


def _is_timezone(name: str) -> bool:
    try:
        # A machine without zone data still knows what UTC is.
        return name == "UTC" or bool(zoneinfo.ZoneInfo(name))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False


def outbox(table: Table) -> OutboxConfig:
    """`[outbox]`."""
    default = OutboxConfig()
    result = OutboxConfig(
        synchronous=table.choice("synchronous", default.synchronous, ("full", "normal")),
        max_backlog=table.integer("max_backlog", default.max_backlog, 1, 1_000_000_000),
        min_free=table.size("min_free", default.min_free, 0, 1 << 40),
        ballast=table.size("ballast", default.ballast, 0, 1 << 30),
        keep_finished_ms=_kept(table, "keep_finished", default.keep_finished_ms),
        keep_failed_ms=_kept(table, "keep_failed", default.keep_failed_ms),
        redact_text_after_ms=_kept(table, "redact_text_after", default.redact_text_after_ms),
    )
    if result.synchronous == "normal":
        table.warn("synchronous", '"normal" breaks the promise: a power cut loses accepted messages; write "full"')
    if result.ballast == 0:
        table.warn("ballast", "without ballast a full disk also stops what was accepted from being settled")
    if _sooner(result.keep_finished_ms, result.redact_text_after_ms):
        table.warn("redact_text_after", "not below keep_finished: messages are removed before they would be redacted")
    table.done()
    return result


def _sooner(kept_ms: int | None, redacted_ms: int | None) -> bool:
    return kept_ms is not None and redacted_ms is not None and kept_ms <= redacted_ms


def _kept(table: Table, key: str, default: int | None) -> int | None:
    """A span of an hour or more; None: "off"."""
    if table.raw(key) == "off" or (default is None and not table.has(key)):
        return None
    return table.duration(key, default or DAY, KEPT_LEAST_MS, MAX_SPAN_MS)


def socket(table: Table, runtime_dir: Path) -> SocketConfig:
    """`[socket]`."""
    default = SocketConfig()
    path = _directory(table, "path", runtime_dir / default.path.name)
    if len(os.fsencode(path)) > SUN_PATH_BYTES:
        table.fault("path", f"is longer than {SUN_PATH_BYTES} bytes, the limit of Unix sockets; choose a shorter one")
    mode = table.text("mode", "0660")
    if not re.fullmatch(r"0?[0-7]{3}", mode):
        table.fault("mode", f'{mode!r} is not a file mode; write three octal digits, such as "0660"')
        mode = "0660"
    result = SocketConfig(path, int(mode, 8), _group(table, "group"), _group(table, "admin_group"))
    table.done()
    return result


def _group(table: Table, key: str) -> Group | None:
    name = table.text(key, "")
    if not name:
        return None
    try:
        return Group(name, grp.getgrnam(name).gr_gid)
    except KeyError:
        table.fault(
            key, f"there is no group {name!r} on this machine; create it (groupadd --system) or leave the key empty"
        )
        return None


def messages(table: Table, retrying: RetryConfig) -> MessageRules:
    """`[messages]`, and what `[retry]` says about the number of calls."""
    default = MessageRules()
    region = table.text("default_region", default.default_region)
    if region and not address.known_region(region):
        table.fault("default_region", f'{region!r} is not a country; write two capital letters, such as "CH", or ""')
    sender = table.text("from", "")
    result = MessageRules(
        default_region=region,
        sender=sender_in(table, sender) if sender else default.sender,
        ttl_ms=table.duration("ttl", default.ttl_ms, SECOND, 30 * DAY),
        max_chars=table.integer("max_chars", default.max_chars, 0, 100_000),
        max_segments=table.integer("max_segments", default.max_segments, 0, 255),
        truncate_chars=table.integer("truncate_chars", default.truncate_chars, 0, 100_000),
        overflow=table.choice("overflow", default.overflow, ("reject", "truncate")),
        smart_encoding=table.boolean("smart_encoding", default.smart_encoding),
        max_attempts=retrying.default.max_attempts,
        profiles={name: rules.max_attempts for name, rules in retrying.profiles.items()},
    )
    if 0 < result.max_chars < result.truncate_chars:
        table.fault("truncate_chars", "is more than max_chars, which would refuse the truncated text; lower it")
    table.done()
    return result


def retry(table: Table) -> RetryConfig:
    """`[retry]` with its profiles and codes."""
    usual = RetryConfig()
    default = _rules(table, RetryRules())
    profiles: dict[str, RetryRules] = {}
    for name, profile in table.table("profiles").tables():
        if not PROFILE_NAME.fullmatch(name):
            table.fault("profiles", f"{name!r} is not a name; use at most 64 of A-Z a-z 0-9 - _")
        profiles[name] = _rules(profile, default)
        profile.done()
    most = max(rules.max_attempts for rules in (default, *profiles.values()))
    found = RetryConfig(
        default=default,
        profiles=MappingProxyType(profiles),
        on_uncertain=table.choice("on_uncertain", usual.on_uncertain, ("retry", "hold")),
        budget=_budget(table, usual.budget),
        network_costs_attempt=table.boolean("network_costs_attempt", usual.network_costs_attempt),
        codes=code_books(table.table("codes"), most),
    )
    table.done()
    return found


def _budget(table: Table, usual: float | None) -> float | None:
    value = table.raw("budget")
    if value is False:
        return None
    if value is True:
        table.fault("budget", "must be a number between 0 and 1, or false; got true")
        return None
    return table.number("budget", usual or 0, 0, 1)


def _rules(table: Table, base: RetryRules) -> RetryRules:
    """The rules of one table; what it does not set is as in `base`."""
    stepped = [key for key in ("backoff", "multiplier", "max_backoff") if table.has(key)]
    if table.has("delays") and stepped:
        table.fault("delays", f"stands beside {', '.join(stepped)}, which it replaces; remove one or the other")
    delays = table.durations("delays") if table.has("delays") else () if stepped else base.delays_ms
    result = RetryRules(
        max_attempts=table.integer("max_attempts", base.max_attempts, 1, 20),
        backoff_ms=table.duration("backoff", base.backoff_ms, 1, DAY),
        multiplier=table.number("multiplier", base.multiplier, 1, 100),
        max_backoff_ms=table.duration("max_backoff", base.max_backoff_ms, 1, 7 * DAY),
        jitter=table.choice("jitter", base.jitter, ("none", "equal", "full")),
        delays_ms=delays,
    )
    if result.max_backoff_ms < result.backoff_ms:
        table.fault("max_backoff", "is less than backoff; raise it")
    return result


def logging(table: Table) -> LoggingConfig:
    """`[logging]`."""
    default = LoggingConfig()
    result = LoggingConfig(
        level=table.choice("level", default.level, ("debug", "info", "warning", "error", "critical")),
        format=table.choice("format", default.format, ("auto", "console", "json")),
        redact=table.boolean("redact", default.redact),
    )
    if not result.redact:
        table.warn("redact", "the log shows whole phone numbers")
    table.done()
    return result
