"""How does the daemon do, and how do its providers?

`stats`, `providers`, `pause`, `resume`, `ping`: the daemon's own counts and words, laid out for a person.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from smsd.cli.frame import Out, asks_daemon, examples, printable
from smsd.cli.render import facts, span, table, when
from smsd.client import Client, Document


@click.command("stats", epilog=examples("smsd stats", "smsd stats --json | jq .states.pending"))
@asks_daemon
def stats_command(client: Client, out: Out) -> None:
    """Counts and throughput of the whole daemon."""
    stats = client.stats()
    if out.json:
        out.document(stats)
        return
    now = datetime.now(UTC)
    out.line(f"smsd {stats['version']}, up {span(stats['uptime_s'])}")
    facts(
        [
            *((state.capitalize(), count) for state, count in stats["states"].items()),
            ("Throughput", ", ".join(f"{stats[name]} {label}" for name, label in _THROUGHPUT)),
            ("Failed today", stats["failed_today"]),
            ("Oldest due", stats["oldest_pending_at"] and when(stats["oldest_pending_at"], now)),
            ("All sent", stats["eta"] and when(stats["eta"], now)),
        ]
    )
    if stats["categories"]:
        out.line("Failed by category")
        facts([*stats["categories"].items()])
    if stats["providers"]:
        _table([*stats["providers"].values()], now)


_THROUGHPUT = (
    ("sent_last_minute", "sent in the last minute"),
    ("sent_last_hour", "in the last hour"),
    ("sent_today", "today"),
)


@click.command("providers", epilog=examples("smsd providers", "smsd providers --json | jq -r .name"))
@asks_daemon
def providers_command(client: Client, out: Out) -> None:
    """Each provider's state, rate and load."""
    providers = client.providers()
    if out.json:
        for provider in providers:
            out.document(provider)
        return
    _table(providers, datetime.now(UTC))


def _table(providers: list[Document], now: datetime) -> None:
    heads = ("PROVIDER", "TYPE", "STATE", "UNTIL", "RATE", "IN FLIGHT", "LAST MINUTE", "THROTTLES/H", "REASON")
    table(heads, [_row(provider, now) for provider in providers])


def _row(provider: Document, now: datetime) -> tuple[object, ...]:
    return (
        *(provider[name] for name in ("name", "type", "state")),
        when(provider["until"], now),
        provider["rate"] or "unlimited",
        *(provider[name] for name in ("in_flight", "sent_last_minute", "throttles_last_hour", "reason")),
    )


@click.command("pause", epilog=examples("smsd pause main"))
@click.argument("provider")
@asks_daemon
def pause_command(client: Client, out: Out, *, provider: str) -> None:
    """Begin no more calls at a provider; its messages wait in place. It holds over a restart."""
    _told(out, client.pause(provider))


@click.command("resume", epilog=examples("smsd resume main"))
@click.argument("provider")
@asks_daemon
def resume_command(client: Client, out: Out, *, provider: str) -> None:
    """Call a provider again: lifts a pause, a halt and a cooldown."""
    _told(out, client.resume(provider))


def _told(out: Out, provider: Document) -> None:
    if out.json:
        out.document(provider)
        return
    reason = f": {printable(provider['reason'])}" if provider["reason"] else ""
    out.line(f"{provider['name']} is {provider['state']}{reason}")


@click.command("ping", epilog=examples("smsd ping && echo up"))
@asks_daemon
def ping_command(client: Client, out: Out) -> None:
    """Whether the daemon answers. Exit code 69 when it does not."""
    began = time.perf_counter()
    answer = client.ping()
    took = (time.perf_counter() - began) * 1_000
    if out.json:
        out.document({**answer, "socket": client.path, "ms": round(took, 3)})
    else:
        out.line(f"smsd {answer['version']} answers on {client.path} in {took:.1f} ms")
