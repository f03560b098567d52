"""What is in force?

The whole configuration laid out in the sections and keys of `config.toml.example`, for a person (`describe`) and for
the comparison of two (`compare`). Values that must not be shown are kept as Secrets and become "***" only when they
are written, so that a changed secret is found and none is ever shown. Of a value that may be shown in part a dialect
says how, by {"shown": function} in the metadata of its field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, dataclass
from typing import Any

from smsd.config.alerts import shown_alerts
from smsd.config.callbacks import shown_callbacks, shown_of_tenant
from smsd.config.guards import shown_guards
from smsd.config.inbound import shown_inbound
from smsd.config.own import own_fields, shown
from smsd.config.routing import NEVER, OTHER
from smsd.config.several import shown_secrets
from smsd.config.sources import Masked, Secret
from smsd.config.tables import key_text, size_text
from smsd.config.templates import shown_template
from smsd.config.values import SCOPES, Config, Group, HttpConfig, ProviderConfig, RetryConfig, TokenConfig
from smsd.core import units
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.limits import AT_ACCEPTANCE, Rule
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietHours, clock
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Section:
    """One section of the file."""

    path: str
    """Unlike that of any other: `providers.main`, `http.tokens.shop`."""
    values: Mapping[str, object]
    """Texts, numbers, lists and tables of them; Secrets, Masked and Groups; None: the key is not set."""
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
        Section("messages", {**_shown_messages(config.messages), **shown_guards(config.guards)}),
        *(
            Section(f"templates.{key_text(name)}", shown_template(template))
            for name, template in config.messages.templates.items()
        ),
        *(
            Section(f"tenants.{key_text(name)}", {**_shown_tenant(rules), **shown_of_tenant(config.callbacks, name)})
            for name, rules in config.tenants.items()
        ),
        Section("callbacks", shown_callbacks(config.callbacks)),
        *(Section(_limit_path(rule), _shown_limit(rule), "[limits]") for rule in config.limits),
        *(Section("quiet_hours", _shown_hours(hours)) for hours in [config.quiet_hours] if hours is not None),
        Section("inbound", shown_inbound(config.inbound)),
        Section("retry", _shown_retry(config.retry)),
        *(Section(f"retry.profiles.{name}", _shown_rules(rules)) for name, rules in config.retry.profiles.items()),
        *(Section(f"retry.codes.{kind}", _shown_codes(book)) for kind, book in config.retry.codes.items()),
        Section("routing", _shown_routing(config.routing)),
        *(Section(f"accounts.{name}", _shown_pace(pace, free=None)) for name, pace in config.accounts.items()),
        *(Section(f"providers.{each.name}", _shown_provider(each)) for each in config.providers),
        Section("alerts", shown_alerts(config.alerts)),
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
        "keep_finished": _span_or_off(config.outbox.keep_finished_ms),
        "keep_failed": _span_or_off(config.outbox.keep_failed_ms),
        "redact_text_after": _span_or_off(config.outbox.redact_text_after_ms),
    }


def _span_or_off(span_ms: int | None) -> str:
    return "off" if span_ms is None else units.duration_text(span_ms)


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
        "quiet_hours": _shown_hours(rules.quiet) if rules.quiet else rules.quiet,
    }


def _shown_hours(hours: QuietHours) -> dict[str, object]:
    return {"from": clock(hours.start_min), "to": clock(hours.end_min)}


def _limit_path(rule: Rule) -> str:
    """What it counts, by which no other rule is called: `limits.recipient.1h`."""
    kind = rule.action.value if rule.action in AT_ACCEPTANCE else None
    parts = ("limits", rule.per.value, rule.tenant, units.duration_text(rule.span_ms), kind)
    return ".".join(key_text(part) for part in parts if part is not None)


def _shown_limit(rule: Rule) -> dict[str, object]:
    return {
        "per": rule.per.value,
        "rate": units.rate_text(rule.count, rule.span_ms),
        "action": rule.action.value,
        "max_wait": None if rule.max_wait_ms is None else units.duration_text(rule.max_wait_ms),
        "tenant": rule.tenant,
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


def _shown_retry(retry: RetryConfig) -> dict[str, object]:
    return {
        **_shown_rules(retry.default),
        "on_uncertain": retry.on_uncertain,
        "budget": False if retry.budget is None else retry.budget,
        "network_costs_attempt": retry.network_costs_attempt,
    }


def _shown_codes(book: CodeBook) -> dict[str, object]:
    """A line for each rule, in the order in which they count."""
    rules: dict[str, CodeRule | None] = {**book.codes, **{each.value: rule for each, rule in book.categories.items()}}
    rules |= {"http_4xx": book.http_4xx, "http_5xx": book.http_5xx, "default": book.default}
    return {key: _shown_code(rule) for key, rule in rules.items() if rule is not None}


def _shown_code(rule: CodeRule) -> dict[str, object]:
    shown = {
        "fate": rule.fate or None,
        "scope": None if rule.scope is None else rule.scope.value,
        "max_attempts": rule.max_attempts,
        "delays": [units.duration_text(delay) for delay in rule.delays_ms] or None,
    }
    return {key: value for key, value in shown.items() if value is not None}


def _shown_routing(rules: RoutingRules) -> dict[str, object]:
    wait = rules.failover_after_ms
    return {"strategy": rules.strategy, "failover_after": NEVER if wait is None else units.duration_text(wait)}


def _shown_provider(provider: ProviderConfig) -> dict[str, object]:
    rules = provider.rules
    return {
        "type": provider.type,
        "enabled": provider.enabled,
        **{each.name: _own(provider.adapter, each) for each in own_fields(type(provider.adapter))},
        "from": list(rules.senders),
        "account": rules.account or None,
        # Beside an account no rate means that the account's alone counts.
        **_shown_pace(rules.pace, free=None if rules.account else "unlimited"),
        "max_in_flight": rules.max_in_flight,
        "timeout": units.duration_text(rules.timeout_ms),
        "cooldown": units.duration_text(rules.cooldown_ms),
        "retry_after": rules.retry_after,
        "adaptive": rules.adaptive,
        "breaker": _shown_breaker(rules.breaker),
        "on_auth_failure": rules.on_auth_failure,
        "halt_probe": rules.halt_probe,
        "retry": rules.profile or None,
        "on_uncertain": rules.on_uncertain,
        "reconcile_after": units.duration_text(rules.reconcile_after_ms),
        "reconcile_again": units.duration_text(rules.reconcile_again_ms),
        "reconcile_timeout": units.duration_text(rules.reconcile_timeout_ms),
        "prefixes": list(rules.prefixes),
        "weight": rules.weight,
        "price": {prefix or OTHER: price for prefix, price in rules.prices.items()},
        **_shown_webhooks(provider),
    }


def _shown_webhooks(provider: ProviderConfig) -> dict[str, object]:
    """The keys that every provider has; one that the dialect has for itself stands with the dialect's."""
    shown: dict[str, object] = {"answer_words": provider.answer_words}
    if provider.webhook_secrets:
        shown["webhook_secret"] = shown_secrets(provider.webhook_secrets)
    return shown


def _own(adapter: Provider, own: Field[Any]) -> object:
    """One of a dialect's keys; None: it is not set."""
    value, part = shown(adapter, own), own.metadata.get("shown")
    return value if part is None or value is None else Masked(value, part(value))


def _shown_breaker(rules: BreakerRules | None) -> object:
    if rules is None:
        return False
    return {
        "window": units.duration_text(rules.window_ms),
        "failures": rules.failures,
        "min_calls": rules.min_calls,
        "probe_every": units.duration_text(rules.probe_every_ms),
    }


def _shown_pace(pace: Pace, *, free: str | None) -> dict[str, object]:
    """`free`: what says that there is no ceiling; None: the key's absence does."""
    return {
        "rate": [_shown_rate(window) for window in pace.windows] or free,
        "unit": pace.unit,
        "burst": pace.burst,
        "min_gap": units.duration_text(pace.min_gap_us // 1_000),
    }


def _shown_rate(window: Window) -> str:
    return units.rate_text(window.limit, window.span_us // 1_000)


def _toml_lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key_text(key)} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _toml(value: object) -> str:
    match value:
        case bool() | str() | int() | float():
            # TOML wants DEL escaped, JSON does not.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case Secret():
            return json.dumps(str(value))
        case Masked():
            return _toml(value.shown)
        case Group():
            return json.dumps(value.name, ensure_ascii=False)
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key_text(key)} = {_toml(each)}' for key, each in value.items())}}}"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
