"""What did the operator decide?

One TOML file becomes frozen values before anything starts; past this door nobody knows TOML, units, secrets' origins or
where a default came from. Everything that is wrong is found in one run and reported with its key and remedy (see
ConfigError). Contradictions between keys are found here; what a key means is decided where its value is used.

    file        how it is read, and what `run --dev` has instead     values    what becomes of it
    sections, http, tenants, limits, guards, templates, providers    tables    the strict reader they all use
    show        the file that would say what is in force             changes   what a reload changed

Durations are milliseconds, sizes bytes. The keys and their defaults stand in `config.toml.example`, which a test
compares with this package.
"""

from smsd.config.changes import Changes, compare
from smsd.config.file import embedded_dev, load
from smsd.config.show import describe
from smsd.config.sources import Secret
from smsd.config.tables import ConfigError, Fault
from smsd.config.values import (
    Config,
    DaemonConfig,
    Group,
    HttpAddress,
    HttpConfig,
    LoggingConfig,
    OutboxConfig,
    ProviderConfig,
    RetryConfig,
    SocketConfig,
    TokenConfig,
)

__all__ = [
    "Changes",
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
    "TokenConfig",
    "compare",
    "describe",
    "embedded_dev",
    "load",
]
