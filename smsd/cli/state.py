"""How does the daemon do, and how do its providers?

`stats`, `providers`, `pause`, `resume`, `ping`: the daemon's own counts and words, laid out for a person. A caller who
sees only its own messages gets its own counts; of the providers then only what is nobody's secret.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click

from smsd.cli import standing
from smsd.cli.alerting import add_raised
from smsd.cli.completion import known_providers
from smsd.cli.frame import Out, asks_daemon, examples, printable
from smsd.cli.live import WATCH, View, present
from smsd.cli.render import Page, about, span, when
from smsd.client import Client, Document


@click.command(
    "stats",
    short_help="Counts and throughput.",
    epilog=examples("smsd stats", "smsd stats --watch", "smsd stats --watch=10s", "smsd stats --json | jq .states"),
)
@WATCH
@asks_daemon
def stats_command(client: Client, out: Out, *, every: float | None) -> None:
    """Counts and throughput: of the whole daemon, or of your own messages if you may see only those.

    Alerts that are raised stand first, for who may read everybody's messages.
    """
    present(View(client.stats, lambda stats: [stats], _stats_page), out, every)


def _stats_page(stats: Document) -> Page:
    now = datetime.now(UTC)
    page = Page()
    page.line(f"smsd {stats['version']}, up {span(stats['uptime_s'])}")
    add_raised(page, stats.get("alerts") or (), now)
    page.facts(
        [
            *((state.capitalize(), count) for state, count in stats["states"].items()),
            ("Throughput", ", ".join(f"{stats[name]} {label}" for name, label in _THROUGHPUT)),
            ("Failed today", stats["failed_today"]),
            ("Oldest due", stats["oldest_pending_at"] and when(stats["oldest_pending_at"], now)),
            ("All sent", stats["eta"] and about(stats["eta"], now)),
        ]
    )
    if stats["categories"]:
        page.line("Failed by category")
        page.facts([*stats["categories"].items()])
    if stats["providers"]:
        add_providers(page, [*stats["providers"].values()], now)
    return page


_THROUGHPUT = (
    ("sent_last_minute", "sent in the last minute"),
    ("sent_last_hour", "in the last hour"),
    ("sent_today", "today"),
)


@click.command(
    "providers",
    short_help="Each provider's state, rate and load.",
    epilog=examples("smsd providers", "smsd providers --watch", "smsd providers --json | jq -r .name"),
)
@WATCH
@asks_daemon
def providers_command(client: Client, out: Out, *, every: float | None) -> None:
    """Each provider's state, rate and load. Rates are a minute.

    A rate like `50 of 100/min` is one that the provider's "too fast" has lowered for now; UNTIL of a broken provider is
    its next probe. What the states mean and what ends them: smsd help breaker.
    """
    present(View(client.providers, lambda found: found, _providers_page), out, every)


def _providers_page(providers: list[Document]) -> Page:
    page = Page()
    if providers:
        add_providers(page, providers, datetime.now(UTC))
    else:
        page.line("No provider is configured and enabled for you.")
    return page


_LOAD = (
    ("IN FLIGHT", "in_flight"),
    ("LAST MINUTE", "sent_last_minute"),
    ("THROTTLES/H", "throttles_last_hour"),
)
"""Null for a caller who sees only its own messages: they are about everybody's."""


_OPTIONAL = ("RATE", "UNTIL", "IN FLIGHT", "TYPE", "LAST MINUTE", "THROTTLES/H")


def add_providers(page: Page, providers: Sequence[Document], now: datetime) -> None:
    """The table of providers, without the figures that the caller may not see."""
    load = [(head, name) for head, name in _LOAD if any(each[name] is not None for each in providers)]
    heads = ("PROVIDER", "TYPE", "STATE", "UNTIL", "RATE", *(head for head, _ in load), "REASON")
    page.table(heads, [_row(each, [name for _, name in load], now) for each in providers], _OPTIONAL)


def _row(provider: Document, load: Sequence[str], now: datetime) -> tuple[object, ...]:
    return (
        *(provider[name] for name in ("name", "type", "state")),
        when(provider["until"], now),
        standing.rate(provider),
        *(provider[name] for name in load),
        standing.told(provider, now),
    )


@click.command(
    "pause",
    short_help="Begin no more calls at a provider.",
    epilog=examples("smsd pause main", "smsd pause main --json"),
)
@click.argument("provider", shell_complete=known_providers)
@asks_daemon
def pause_command(client: Client, out: Out, *, provider: str) -> None:
    """Begin no more calls at a provider; its messages wait in place. It holds over a restart."""
    _told(out, client.pause(provider))


@click.command(
    "resume",
    short_help="Call a provider again, whatever kept it back.",
    epilog=examples("smsd resume main", "smsd resume main --json"),
)
@click.argument("provider", shell_complete=known_providers)
@asks_daemon
def resume_command(client: Client, out: Out, *, provider: str) -> None:
    """Call a provider again: lifts a pause, a halt, an open breaker and a cooldown."""
    _told(out, client.resume(provider))


def _told(out: Out, provider: Document) -> None:
    if out.json:
        out.document(provider)
        return
    reason = f": {printable(provider['reason'])}" if provider["reason"] else ""
    out.line(f"{provider['name']} is {provider['state']}{reason}")


@click.command("ping", epilog=examples("smsd ping && echo up", "smsd ping --url http://127.0.0.1:7670 --json"))
@asks_daemon
def ping_command(client: Client, out: Out) -> None:
    """Whether the daemon answers, and where. Exit code 69 when it does not."""
    began = time.perf_counter()
    answer = client.ping()
    took = (time.perf_counter() - began) * 1_000
    if out.json:
        door = {"url" if "://" in client.path else "socket": client.path}
        out.document({**answer, **door, "ms": round(took, 3)})
    else:
        out.line(f"smsd {answer['version']} answers on {client.path} in {took:.1f} ms")
