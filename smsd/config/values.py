"""What can an operator decide?

The values every other module is given: frozen, complete, defaults included. Where they came from (TOML, units, secrets'
origins) is unknown here; how they are read, `sections` and its neighbours say. Durations are milliseconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from smsd.config.alerts import AlertsConfig
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.account import ProviderRules
from smsd.core.callback import CallbackRules
from smsd.core.codes import CodeBook
from smsd.core.inbound import InboundRules
from smsd.core.limits import Rule
from smsd.core.pacing import Pace
from smsd.core.quiet import QuietHours
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.core.units import DAY, SECOND
from smsd.providers.base import Local, Provider, SenderPicker

MIB: Final = 1 << 20

SCOPES: Final = ("send", "read", "admin")
"""What a caller over HTTP may be let do."""


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
    keep_finished_ms: int | None = 30 * DAY
    """Sent, delivered, expired and cancelled messages, from their end; texts received. None: for ever."""
    keep_failed_ms: int | None = 30 * DAY
    """Failed and undelivered messages. None: for ever."""
    redact_text_after_ms: int | None = None
    """Texts and numbers of sent, delivered, expired and cancelled messages, and of texts received. None: never."""


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
class TokenConfig:
    """`[[http.tokens]]`"""

    name: str
    sha256: bytes = field(repr=False)
    """Of the token as it is sent after `Bearer `; 32 bytes. The token itself is kept nowhere."""
    scopes: frozenset[str]
    tenant: str = ""
    """In whose name it acts, and whose messages alone it sees; empty: in its own, and all."""


@dataclass(frozen=True, slots=True)
class HttpConfig:
    """`[http]`"""

    listen: tuple[HttpAddress, ...] = (HttpAddress("127.0.0.1", 7670),)
    """Empty: no HTTP."""
    anonymous: frozenset[str] = frozenset()
    """Scopes of a request without a token."""
    public_url: str = ""
    """Scheme, host and port under which it is reached from outside, without a slash at the end; empty: it is not."""
    max_body: int = MIB
    """Bytes of a request's body above which it is refused."""
    tokens: tuple[TokenConfig, ...] = ()
    """In the order of the file; names and hashes are unique."""


@dataclass(frozen=True, slots=True)
class RetryConfig:
    """`[retry]`, `[retry.profiles.NAME]` and `[retry.codes.TYPE]`"""

    default: RetryRules = field(default_factory=RetryRules)
    profiles: Mapping[str, RetryRules] = field(default_factory=lambda: MappingProxyType({}))
    on_uncertain: str = "retry"
    """For every provider that does not say otherwise."""
    budget: float | None = 0.2
    """Share of the calls that retries may be; None: any."""
    network_costs_attempt: bool = False
    """Of every provider: whether a call for which no connection was obtained counts against max_attempts."""
    codes: Mapping[str, CodeBook] = field(default_factory=lambda: MappingProxyType({}))
    """By provider type."""


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """`[providers.NAME]`"""

    name: str
    type: str
    enabled: bool
    adapter: Provider
    rules: ProviderRules
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What the paths of its webhooks end with: any of these, the first in URLs that go out; empty: they have none, and
    its requests must be signed."""
    answer_words: str | None = None
    """Who answers STOP, START and HELP: provider | smsd; None: as its dialect says."""

    @property
    def needs_sender(self) -> bool:
        """Whether a message must name a sender unless one is configured: not where the provider picks or needs none."""
        if isinstance(self.adapter, SenderPicker):
            return not self.adapter.picks_sender
        return not isinstance(self.adapter, Local)


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
    routing: RoutingRules
    accounts: Mapping[str, Pace]
    """`[accounts.NAME]`: ceilings that providers share, by name."""
    providers: tuple[ProviderConfig, ...]
    """In the order of the file, which is the order of routing."""
    logging: LoggingConfig
    limits: tuple[Rule, ...] = ()
    """`[[limits]]`, a rule for each rate."""
    guards: tuple[Rule, ...] = ()
    """`[messages] loop_guard` and `duplicate_window`, those that are set."""
    quiet_hours: QuietHours | None = None
    """`[quiet_hours]`: of every tenant that has none of its own; None: none."""
    inbound: InboundRules = field(default_factory=InboundRules)
    """`[inbound]`"""
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    """`[alerts]`"""
    warnings: tuple[str, ...] = ()
    """What is allowed and unwise; the daemon logs each at its start."""

    @property
    def tenants(self) -> Mapping[str, TenantRules]:
        """`[tenants.NAME]`; a tenant that is not named is bound to nothing."""
        return self.messages.tenants

    @property
    def callbacks(self) -> CallbackRules:
        """`[callbacks]`, and `callback_url` and `callback_secret` of the tenants."""
        return self.messages.callbacks
