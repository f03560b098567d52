"""What is in force?

The whole configuration laid out in the sections and keys of `config.toml.example`, for a person (`describe`) and for
the comparison of two (`compare`). Values that must not be shown are kept as Secrets and become "***" only when they
are written, so that a changed secret is found and none is ever shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any

from smsd.config.providers import own_fields
from smsd.config.sources import Secret
from smsd.config.tables import key_text, size_text
from smsd.config.values import SCOPES, Config, Group, HttpConfig, ProviderConfig, TokenConfig
from smsd.core import units
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.pacing import Window
from smsd.core.policy import RetryRules
from smsd.core.units import DAY, HOUR, MINUTE, SECOND
from smsd.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the file."""

    path: str
    """Unlike that of any other: `providers.main`, `http.tokens.shop`."""
    values: Mapping[str, object]
    """Texts, numbers, lists and tables of them; Secrets and Groups; None: the key is not set."""
    header: str = ""
    """What stands in brackets where that is not the path."""


def describe(config: Config) -> str:
    """The effective configuration as TOML, secrets as "***", in the order of `config.toml.example`.

    Without secrets, `load` reads it back to the same Config.
    """
    return "\n".join(f"[{each.header or each.path}]\n{_toml_lines(each.values)}" for each in layout(config))


def layout(config: Config) -> list[Section]:
    """Every section with every key that is in force, in the order of `config.toml.example`."""
    return [
        Section("daemon", _shown_daemon(config)),
        Section("outbox", _shown_outbox(config)),
        Section("socket", _shown_socket(config)),
        Section("http", _shown_http(config.http)),
        *(
            Section(f"http.tokens.{key_text(each.name)}", _shown_token(each), "[http.tokens]")
            for each in config.http.tokens
        ),
        Section("messages", _shown_messages(config.messages)),
        *(Section(f"tenants.{key_text(name)}", _shown_tenant(rules)) for name, rules in config.tenants.items()),
        Section("retry", {**_shown_rules(config.retry.default), "on_uncertain": config.retry.on_uncertain}),
        *(Section(f"retry.profiles.{name}", _shown_rules(rules)) for name, rules in config.retry.profiles.items()),
        *(Section(f"providers.{each.name}", _shown_provider(each)) for each in config.providers),
        Section(
            "logging",
            {"level": config.logging.level, "format": config.logging.format, "redact": config.logging.redact},
        ),
    ]


def _shown_daemon(config: Config) -> dict[str, object]:
    return {
        "state_dir": str(config.daemon.state_dir),
        "runtime_dir": str(config.daemon.runtime_dir),
        "drain_timeout": units.duration_text(config.daemon.drain_timeout_ms),
        "timezone": config.daemon.timezone,
    }


def _shown_outbox(config: Config) -> dict[str, object]:
    return {
        "synchronous": config.outbox.synchronous,
        "max_backlog": config.outbox.max_backlog,
        "min_free": size_text(config.outbox.min_free),
        "ballast": size_text(config.outbox.ballast),
    }


def _shown_socket(config: Config) -> dict[str, object]:
    return {
        "path": str(config.socket.path),
        "mode": f"{config.socket.mode:04o}",
        "group": config.socket.group or "",
        "admin_group": config.socket.admin_group or "",
    }


def _shown_http(http: HttpConfig) -> dict[str, object]:
    return {
        "listen": [str(each) for each in http.listen],
        "anonymous": _shown_scopes(http.anonymous),
        "public_url": http.public_url,
        "max_body": size_text(http.max_body),
    }


def _shown_token(token: TokenConfig) -> dict[str, object]:
    return {
        "name": token.name,
        "sha256": Secret(token.sha256.hex()),
        "scopes": _shown_scopes(token.scopes),
        "tenant": token.tenant,
    }


def _shown_scopes(scopes: frozenset[str]) -> list[str]:
    return sorted(scopes, key=SCOPES.index)


def _shown_tenant(rules: TenantRules) -> dict[str, object]:
    return {
        "from": list(rules.senders) or None,
        "providers": list(rules.providers) or None,
        "max_priority": rules.max_priority.label,
    }


def _shown_messages(rules: MessageRules) -> dict[str, object]:
    return {
        "default_region": rules.default_region,
        "from": rules.sender,
        "ttl": units.duration_text(rules.ttl_ms),
        "max_chars": rules.max_chars,
        "max_segments": rules.max_segments,
        "truncate_chars": rules.truncate_chars,
        "overflow": rules.overflow,
        "smart_encoding": rules.smart_encoding,
    }


def _shown_rules(rules: RetryRules) -> dict[str, object]:
    shown: dict[str, object] = {"max_attempts": rules.max_attempts, "jitter": rules.jitter}
    if rules.delays_ms:
        return {**shown, "delays": [units.duration_text(delay) for delay in rules.delays_ms]}
    return {
        **shown,
        "backoff": units.duration_text(rules.backoff_ms),
        "multiplier": rules.multiplier,
        "max_backoff": units.duration_text(rules.max_backoff_ms),
    }


def _shown_provider(provider: ProviderConfig) -> dict[str, object]:
    rules, pace = provider.rules, provider.rules.pace
    own = {each.name: _shown_own(provider.adapter, each) for each in own_fields(type(provider.adapter))}
    return {
        "type": provider.type,
        "enabled": provider.enabled,
        **own,
        "from": list(rules.senders),
        "rate": [_shown_rate(window) for window in pace.windows] or "unlimited",
        "unit": pace.unit,
        "burst": pace.burst,
        "min_gap": units.duration_text(pace.min_gap_us // 1_000),
        "max_in_flight": rules.max_in_flight,
        "timeout": units.duration_text(rules.timeout_ms),
        "cooldown": units.duration_text(rules.cooldown_ms),
        "retry_after": rules.retry_after,
        "on_auth_failure": rules.on_auth_failure,
        "on_uncertain": rules.on_uncertain,
        "reconcile_after": units.duration_text(rules.reconcile_after_ms),
        "reconcile_again": units.duration_text(rules.reconcile_again_ms),
        "reconcile_timeout": units.duration_text(rules.reconcile_timeout_ms),
        "weight": rules.weight,
    }


def _shown_own(adapter: Provider, own: Field[Any]) -> object:
    value = getattr(adapter, own.name)
    if own.metadata.get("secret") and value:
        return Secret(value)
    return units.duration_text(value) if own.metadata.get("unit") == "duration" else value


def _shown_rate(window: Window) -> str:
    span_ms = window.span_us // 1_000
    names = {SECOND: "s", MINUTE: "min", HOUR: "hour", DAY: "day"}
    return f"{window.limit}/{names.get(span_ms) or units.duration_text(span_ms)}"


def _toml_lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _toml(value: object) -> str:
    match value:
        case bool() | str() | int() | float():
            return json.dumps(value, ensure_ascii=False)
        case Secret():
            return json.dumps(str(value))
        case Group():
            return json.dumps(value.name, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key} = {_toml(each)}' for key, each in value.items())}}}"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
