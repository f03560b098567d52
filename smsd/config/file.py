"""How does a file become a Config?

The file is read once, every section is read by its own function, and everything that is wrong is reported together: a
daemon that reads half its settings would keep half its promises. What a key means is decided where its value is used.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from smsd.config import sections
from smsd.config.alerts import alerts
from smsd.config.callbacks import callbacks
from smsd.config.guards import guards
from smsd.config.http import http
from smsd.config.inbound import inbound
from smsd.config.limits import limits
from smsd.config.providers import Common, providers
from smsd.config.quiet import quiet_hours
from smsd.config.routing import accounts, judge, routing
from smsd.config.sources import Sources
from smsd.config.tables import ConfigError, Fault, Report, Table, size_text
from smsd.config.templates import templates
from smsd.config.tenants import tenants
from smsd.config.values import SCOPES, Config
from smsd.config.webhooks import judge_webhooks

MAX_FILE_BYTES: Final = 1 << 20


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
        "http": {"anonymous": list(SCOPES)},
        "providers": {"sandbox": {"type": "sandbox", "rate": "unlimited"}},
        "logging": {"format": "console"},
    }
    return _build(Table(document, Report(Sources({}, here))))


def _build(root: Table) -> Config:
    """The whole document; raises ConfigError with all faults."""
    daemon = sections.daemon(root.table("daemon"))
    messages = root.table("messages")
    retry = sections.retry(root.table("retry"))
    guarding = guards(messages)
    rules = sections.messages(messages, retry)
    blanks = templates(root.table("templates"))
    outbox = sections.outbox(root.table("outbox"))
    socket = sections.socket(root.table("socket"), daemon.runtime_dir)
    web = http(root.table("http"))
    routes = routing(root.table("routing"))
    shared = accounts(root.table("accounts"))
    sections_of_providers = root.table("providers")
    found = providers(sections_of_providers, root.has("providers"), Common(retry, shared, rules.sender))
    bounds = tenants(root.table("tenants"), sections_of_providers.names(), found)
    told = callbacks(root.table("callbacks"), root.table("tenants"))
    bound = limits(root)
    quiet = quiet_hours(root)
    arriving = inbound(root.table("inbound"))
    watched = alerts(root.table("alerts"))
    logging = sections.logging(root.table("logging"))
    root.done()
    if root.report.faults:
        raise ConfigError(tuple(root.report.faults))
    judge(root, routes, shared, retry, found)
    judge_webhooks(root, web.public_url, found)
    return Config(
        daemon=daemon,
        outbox=outbox,
        socket=socket,
        http=web,
        messages=replace(rules, tenants=bounds, templates=blanks, callbacks=told),
        retry=retry,
        routing=routes,
        accounts=shared,
        providers=found,
        logging=logging,
        limits=bound,
        guards=guarding,
        quiet_hours=quiet,
        inbound=arriving,
        alerts=watched,
        warnings=tuple(root.report.warnings),
    )
