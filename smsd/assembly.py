"""What does each part of the daemon get of the configuration?

The configuration's values become the parts' own: the engine's plan, the HTTP door's access. Used at the start and at
every reload, so that both mean the same. Like `daemon` it names concrete things; it starts nothing.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo

from smsd.config import Config
from smsd.config.values import ProviderConfig
from smsd.core.admission import AdmissionRules
from smsd.core.quiet import QuietBook
from smsd.core.units import DAY
from smsd.engine.alerts import AlertSettings
from smsd.engine.configuration import Plan
from smsd.engine.hooks import status_url
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access, Token
from smsd.providers.sandbox import Sandbox
from smsd.store.operators import RetentionRules


def plan_of(config: Config) -> Plan:
    """What the configuration says to the engine."""
    quiet = quiet_book(config)
    settings = [(setting_of(each, config), each.enabled) for each in config.providers]
    return Plan(
        settings=tuple(setting for setting, enabled in settings if enabled),
        retired=tuple(setting for setting, enabled in settings if not enabled),
        on_uncertain=config.retry.on_uncertain,
        rules=replace(config.messages, quiet=quiet),
        retries=RetryBook(config.retry.default, config.retry.profiles, config.retry.budget),
        zone=zone_of(config.daemon.timezone),
        max_backlog=config.outbox.max_backlog,
        routing=config.routing,
        accounts=config.accounts,
        public_url=config.http.public_url,
        inbound=config.inbound,
        alerts=alerts_of(config),
        retention=retention_of(config),
        admission=AdmissionRules(
            limits=(*config.limits, *config.guards),
            quiet=quiet,
            retries=config.retry.profiles,
            default_retry=config.retry.default,
        ),
    )


def alerts_of(config: Config) -> AlertSettings:
    """What is watched, and who is told beside the log."""
    told = config.alerts
    return AlertSettings(told.rules, told.name or platform.node() or "smsd", told.webhook, told.sentry_dsn)


def retention_of(config: Config) -> RetentionRules:
    """How long what is kept. A call outlives its message as long as it counts in a ceiling."""
    outbox = config.outbox
    paces = [*(each.rules.pace for each in config.providers), *config.accounts.values()]
    longest_ms = max((window.span_us // 1_000 for pace in paces for window in pace.windows), default=0)
    return RetentionRules(
        finished_ms=outbox.keep_finished_ms,
        failed_ms=outbox.keep_failed_ms,
        redact_ms=outbox.redact_text_after_ms,
        heads=frozenset(head for each in config.providers for head in each.rules.prices if head),
        calls_ms=max(RetentionRules().calls_ms, longest_ms + DAY),
    )


def setting_of(provider: ProviderConfig, config: Config) -> Setting:
    """What the engine is given of one `[providers.NAME]`."""
    setting = Setting(
        provider.name,
        provider.adapter,
        provider.rules,
        provider.needs_sender,
        config.messages.sender,
        next(iter(provider.webhook_secrets), ""),
        provider.webhook_secrets[1:],
        provider.answer_words,
    )
    expected_s = provider.adapter.latency / 1e3 if isinstance(provider.adapter, Sandbox) else None
    return replace(setting, status_url=status_url(config.http.public_url, setting), expected_s=expected_s)


def access_of(config: Config) -> Access:
    """Who may do what over HTTP."""
    tokens = tuple(
        Token(each.name, each.sha256, frozenset(map(Scope, each.scopes)), each.tenant) for each in config.http.tokens
    )
    return Access(tokens, frozenset(map(Scope, config.http.anonymous)), config.http.public_url)


def quiet_book(config: Config) -> QuietBook | None:
    """Whose messages keep which quiet hours; None: nobody's keep any."""
    own = {name: rules.quiet or None for name, rules in config.tenants.items() if rules.quiet is not None}
    if config.quiet_hours is None and not any(own.values()):
        return None
    return QuietBook(config.quiet_hours, own, zone_of(config.daemon.timezone))


def zone_of(name: str) -> tzinfo:
    """The zone; UTC needs no time zone database."""
    return UTC if name == "UTC" else ZoneInfo(name)


def running(old: Config, new: Config) -> Config:
    """The configuration in force after a reload: what counts only from a restart on is still the old one's."""
    return replace(
        new,
        daemon=replace(new.daemon, state_dir=old.daemon.state_dir, runtime_dir=old.daemon.runtime_dir),
        outbox=replace(
            new.outbox,
            synchronous=old.outbox.synchronous,
            min_free=old.outbox.min_free,
            ballast=old.outbox.ballast,
        ),
        socket=old.socket,
        http=replace(new.http, listen=old.http.listen),
    )
