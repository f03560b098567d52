"""What did the operator decide?

One TOML file becomes frozen values before anything starts; past this door nobody knows TOML, units, secrets' origins or
where a default came from. Everything that is wrong is found in one run and reported with its key and remedy (see
ConfigError): a daemon that reads half its settings would keep half its promises. Contradictions between keys are found
here; what a key means is decided where its value is used.

Durations are milliseconds, sizes bytes. The keys and their defaults stand in `config.toml.example`, which a test
compares with this module.
"""

from __future__ import annotations

import grp
import ipaddress
import json
import os
import re
import stat
import tomllib
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast
from urllib.parse import urlsplit

from smsd.core import address, units
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.pacing import MAX_LIMIT, Pace, Window
from smsd.core.policy import RetryRules
from smsd.providers import TYPES
from smsd.providers.base import Local, Provider
from smsd.tables import ConfigError, Fault, Report, Secret, Sources, Table, size_text

__all__ = [
    "Config",
    "ConfigError",
    "DaemonConfig",
    "Fault",
    "Group",
    "HttpAddress",
    "HttpConfig",
    "LoggingConfig",
    "OutboxConfig",
    "ProviderConfig",
    "RetryConfig",
    "Secret",
    "SocketConfig",
    "describe",
    "embedded_dev",
    "load",
]

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
MIB: Final = 1 << 20

MAX_FILE_BYTES: Final = 1 << 20
SUN_PATH_BYTES: Final = 107
"""Longest path of a Unix socket (unix(7): 108 bytes with the closing zero)."""

PROVIDER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
PROFILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class DaemonConfig:
    """`[daemon]`"""

    state_dir: Path = Path("/var/lib/smsd")
    runtime_dir: Path = Path("/run/smsd")
    drain_timeout_ms: int = 30 * SECOND
    timezone: str = "UTC"
    """IANA name; the day of "today" in counts and reports."""


@dataclass(frozen=True, slots=True)
class OutboxConfig:
    """`[outbox]`"""

    synchronous: str = "full"
    """full | normal"""
    max_backlog: int = 5_000_000
    """Pending and processing messages; at it submissions are refused."""
    min_free: int = 256 * MIB
    """Free bytes of the file system below which submissions are refused and sending goes on."""
    ballast: int = 64 * MIB
    """Bytes kept in a file that is given up when the disk is full, so that what was accepted can be settled."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group of the system that exists."""

    name: str
    gid: int


@dataclass(frozen=True, slots=True)
class SocketConfig:
    """`[socket]`"""

    path: Path = Path("/run/smsd/smsd.sock")
    mode: int = 0o660
    group: Group | None = None
    """Owner group of the socket file: who may connect."""
    admin_group: Group | None = None
    """Whose members may do everything."""


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """One address to listen on. Port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`[http]`"""

    listen: tuple[HttpAddress, ...] = (HttpAddress("127.0.0.1", 7670),)
    """Empty: no HTTP."""


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """`[retry]` and `[retry.profiles.NAME]`"""

    default: RetryRules = field(default_factory=RetryRules)
    profiles: Mapping[str, RetryRules] = field(default_factory=lambda: MappingProxyType({}))
    on_uncertain: str = "retry"
    """For every provider that does not say otherwise."""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """`[providers.NAME]`"""

    name: str
    type: str
    enabled: bool
    adapter: Provider
    rules: ProviderRules

    @property
    def needs_sender(self) -> bool:
        """Whether a message must name a sender unless one is configured: not where the provider picks or needs none."""
        return not (isinstance(self.adapter, Local) or getattr(self.adapter, "messaging_service_sid", None))


@dataclass(frozen=True, slots=True)
class LoggingConfig:
    """`[logging]`"""

    level: str = "info"
    format: str = "auto"
    """auto | console | json"""
    redact: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """Everything the operator decided."""

    daemon: DaemonConfig
    outbox: OutboxConfig
    socket: SocketConfig
    http: HttpConfig
    messages: MessageRules
    retry: RetryConfig
    providers: tuple[ProviderConfig, ...]
    """In the order of the file, which is the order of routing."""
    logging: LoggingConfig
    warnings: tuple[str, ...] = ()
    """What is allowed and unwise; the daemon logs each at its start."""


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """The configuration in a file. Raises ConfigError with every fault, also when it cannot be read or is not TOML."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
            open_to_all = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
        if len(raw) > MAX_FILE_BYTES:
            raise ValueError(f"longer than {size_text(MAX_FILE_BYTES)}")
        document = tomllib.loads(raw.decode())
    except OSError as error:
        remedy = "write one after config.toml.example, or try smsd with `smsd run --dev`"
        raise ConfigError((Fault(str(path), f"cannot be read ({error.strerror}); {remedy}"),)) from None
    except UnicodeDecodeError as error:
        raise ConfigError((Fault(str(path), f"not UTF-8 at byte {error.start}; save it as UTF-8"),)) from None
    except ValueError as error:
        raise ConfigError((Fault(str(path), f"not a TOML file of smsd: {error}"),)) from None
    report = Report(Sources(environ, path.parent))
    config = _build(Table(document, report))
    if open_to_all and report.literal_secrets:
        keys = ", ".join(report.literal_secrets)
        note = f"{path} can be read by every user and holds {keys}; chmod o-r it, or write {{credential = ...}}"
        config = replace(config, warnings=(*config.warnings, note))
    return config


def embedded_dev(directory: Path) -> Config:
    """The configuration of `smsd run --dev`: all state in one directory, a simulated carrier, no file needed."""
    here = directory.resolve()
    document: dict[str, object] = {
        "daemon": {"state_dir": str(here), "runtime_dir": str(here), "drain_timeout": "5s"},
        "outbox": {"min_free": "64MiB", "ballast": "1MiB"},
        "socket": {"path": str(here / "smsd.sock")},
        "providers": {"sandbox": {"type": "sandbox", "rate": "unlimited"}},
        "logging": {"format": "console"},
    }
    return _build(Table(document, Report(Sources({}, here))))


def _build(root: Table) -> Config:
    """The whole document; raises ConfigError with all faults."""
    daemon = _daemon(root.table("daemon"))
    messages = root.table("messages")
    retry = _retry(root.table("retry"))
    rules = _messages(messages, retry)
    config = Config(
        daemon=daemon,
        outbox=_outbox(root.table("outbox")),
        socket=_socket(root.table("socket"), daemon),
        http=_http(root.table("http")),
        messages=rules,
        retry=retry,
        providers=_providers(root, retry.on_uncertain, rules.sender),
        logging=_logging(root.table("logging")),
        warnings=tuple(root.report.warnings),
    )
    root.done(later=LATER["root"])
    if root.report.faults:
        raise ConfigError(tuple(root.report.faults))
    return config


LATER: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "root": frozenset({"limits", "tenants", "alerts", "accounts", "routing", "templates", "quiet_hours"}),
        "outbox": frozenset({"keep_finished", "keep_failed", "redact_text_after"}),
        "http": frozenset({"anonymous", "public_url", "max_body", "tokens"}),
        "retry": frozenset({"budget", "codes", "network_costs_attempt"}),
        "provider": frozenset({"adaptive", "price", "prefixes", "breaker", "halt_probe", "webhook_secret"}),
    }
)
"""Keys of coming versions, by section. Who writes one means it, so it is refused with another word than a typo."""


# -- sections


def _daemon(table: Table) -> DaemonConfig:
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


def _outbox(table: Table) -> OutboxConfig:
    default = OutboxConfig()
    result = OutboxConfig(
        synchronous=table.choice("synchronous", default.synchronous, ("full", "normal")),
        max_backlog=table.integer("max_backlog", default.max_backlog, 1, 1_000_000_000),
        min_free=table.size("min_free", default.min_free, 0, 1 << 40),
        ballast=table.size("ballast", default.ballast, 0, 1 << 30),
    )
    if result.synchronous == "normal":
        table.warn("synchronous", '"normal" breaks the promise: a power cut loses accepted messages; write "full"')
    if result.ballast == 0:
        table.warn("ballast", "without ballast a full disk also stops what was accepted from being settled")
    table.done(later=LATER["outbox"])
    return result


def _socket(table: Table, daemon: DaemonConfig) -> SocketConfig:
    default = SocketConfig()
    path = _directory(table, "path", daemon.runtime_dir / default.path.name)
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


def _http(table: Table) -> HttpConfig:
    listen = HttpConfig().listen
    if table.has("listen"):
        listen = tuple(found for text in table.texts("listen") if (found := _address(table, text)) is not None)
    if len(set(listen)) != len(listen):
        table.fault("listen", "names an address twice; remove one")
    table.done(later=LATER["http"])
    return HttpConfig(listen)


def _address(table: Table, text: str) -> HttpAddress | None:
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ipaddress.ip_address(bare)
        number = int(port) if port.isdecimal() and port.isascii() else -1
        if not colon or (":" in bare) == (bare == host) or not 0 <= number <= 65_535:
            raise ValueError
    except ValueError:
        table.fault("listen", f'{text!r} is not an address and a port; write "127.0.0.1:7670" or "[::1]:7670"')
        return None
    return HttpAddress(bare, number)


def _messages(table: Table, retry: RetryConfig) -> MessageRules:
    default = MessageRules()
    region = table.text("default_region", default.default_region)
    if region and not address.known_region(region):
        table.fault("default_region", f'{region!r} is not a country; write two capital letters, such as "CH", or ""')
    sender = table.text("from", "")
    result = MessageRules(
        default_region=region,
        sender=_sender(table, sender) if sender else default.sender,
        ttl_ms=table.duration("ttl", default.ttl_ms, SECOND, 30 * DAY),
        max_chars=table.integer("max_chars", default.max_chars, 0, 100_000),
        max_segments=table.integer("max_segments", default.max_segments, 0, 255),
        truncate_chars=table.integer("truncate_chars", default.truncate_chars, 0, 100_000),
        overflow=table.choice("overflow", default.overflow, ("reject", "truncate")),
        smart_encoding=table.boolean("smart_encoding", default.smart_encoding),
        max_attempts=retry.default.max_attempts,
        profiles={name: rules.max_attempts for name, rules in retry.profiles.items()},
    )
    if 0 < result.max_chars < result.truncate_chars:
        table.fault("truncate_chars", "is more than max_chars, which would refuse the truncated text; lower it")
    table.done()
    return result


def _retry(table: Table) -> RetryConfig:
    default = _rules(table, RetryRules())
    on_uncertain = table.choice("on_uncertain", "retry", ("retry", "hold"))
    profiles: dict[str, RetryRules] = {}
    for name, profile in table.table("profiles").tables():
        if not PROFILE_NAME.fullmatch(name):
            table.fault("profiles", f"{name!r} is not a name; use at most 64 of A-Z a-z 0-9 - _")
        profiles[name] = _rules(profile, default)
        profile.done()
    table.done(later=LATER["retry"])
    return RetryConfig(default, MappingProxyType(profiles), on_uncertain)


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


def _logging(table: Table) -> LoggingConfig:
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


# -- providers


def _providers(root: Table, on_uncertain: str, sender: str | None) -> tuple[ProviderConfig, ...]:
    table = root.table("providers")
    found: list[ProviderConfig] = []
    for name, section in table.tables():
        if not PROVIDER_NAME.fullmatch(name):
            table.fault(
                name, "is not a provider's name; use at most 32 of a-z 0-9 - _, beginning with a letter or digit"
            )
        provider = _provider(section, name, on_uncertain, sender)
        if provider is not None:
            found.append(provider)
    if not root.has("providers"):
        root.fault("providers", "none is set, so nothing could be sent; add [providers.main] with type and rate")
    elif found and not any(provider.enabled for provider in found):
        table.warn("enabled", "no provider is enabled: every submission will be refused with no_route")
    return tuple(found)


def _provider(table: Table, name: str, on_uncertain: str, sender: str | None) -> ProviderConfig | None:
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
    table.done(later=LATER["provider"])
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
        senders=_senders(table),
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


def _senders(table: Table) -> tuple[str, ...]:
    senders = tuple(_sender(table, text) for text in table.texts("from"))
    if len(set(senders)) != len(senders):
        table.fault("from", "names a sender twice; remove one")
    return senders


def _sender(table: Table, text: str) -> str:
    found = address.sender(text)
    if isinstance(found, address.Problem):
        table.fault("from", f"{text!r} {found.message}")
        return text
    return found


def _adapter(table: Table, name: str, adapter: type[Any]) -> Provider | None:
    """The dialect with its own keys, which are the fields of its class; None after a fault."""
    before = len(table.report.faults)
    settings: dict[str, object] = {}
    for own in _own_fields(adapter):
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


def _own_fields(adapter: type[Any]) -> Iterator[Field[Any]]:
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
    try:
        url = urlsplit(text)
        fine = url.scheme in {"http", "https"} and url.hostname and url.port != 0 and not (url.query or url.fragment)
    except ValueError:
        fine = False
    if not fine or "@" in text:
        table.fault(key, 'is not a plain URL; write scheme, host and path, such as "https://api.example.com"')
        return None
    if url.scheme == "http" and not _is_loopback(url.hostname or ""):
        table.warn(key, "credentials and texts travel unencrypted; write https://")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# -- showing


def describe(config: Config) -> str:
    """The effective configuration as TOML, secrets as "***", in the order of `config.toml.example`.

    Without secrets, `load` reads it back to the same Config.
    """
    retry = {**_shown_rules(config.retry.default), "on_uncertain": config.retry.on_uncertain}
    sections: dict[str, dict[str, object]] = {
        "daemon": {
            "state_dir": str(config.daemon.state_dir),
            "runtime_dir": str(config.daemon.runtime_dir),
            "drain_timeout": units.duration_text(config.daemon.drain_timeout_ms),
            "timezone": config.daemon.timezone,
        },
        "outbox": {
            "synchronous": config.outbox.synchronous,
            "max_backlog": config.outbox.max_backlog,
            "min_free": size_text(config.outbox.min_free),
            "ballast": size_text(config.outbox.ballast),
        },
        "socket": {
            "path": str(config.socket.path),
            "mode": f"{config.socket.mode:04o}",
            "group": config.socket.group.name if config.socket.group else "",
            "admin_group": config.socket.admin_group.name if config.socket.admin_group else "",
        },
        "http": {"listen": [str(each) for each in config.http.listen]},
        "messages": _shown_messages(config.messages),
        "retry": retry,
        **{f"retry.profiles.{name}": _shown_rules(rules) for name, rules in config.retry.profiles.items()},
        **{f"providers.{each.name}": _shown_provider(each) for each in config.providers},
        "logging": {
            "level": config.logging.level,
            "format": config.logging.format,
            "redact": config.logging.redact,
        },
    }
    return "\n".join(f"[{name}]\n{_toml_lines(values)}" for name, values in sections.items())


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
    own = {each.name: _shown_own(provider.adapter, each) for each in _own_fields(type(provider.adapter))}
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
        return str(Secret(value))
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
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case Mapping():
            return f"{{{', '.join(f'{key} = {_toml(each)}' for key, each in value.items())}}}"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")
