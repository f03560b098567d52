"""How many messages went to a person lately?

`user` and `recipient`: counts about one user or one number, of the caller's own messages unless he may see all; of a
number also where it opted out.
"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from smsd.cli.explaining import known_by
from smsd.cli.frame import Out, asks_daemon, examples
from smsd.cli.render import facts, when
from smsd.client import Client, Document

_TENANT = click.option("--tenant", metavar="TENANT", help="Messages of this tenant only (administrators).")


@click.command(
    "user", epilog=examples("smsd user alice", "smsd user alice --tenant shop", "smsd user alice --json | jq .pending")
)
@click.argument("user")
@_TENANT
@asks_daemon
def user_command(client: Client, out: Out, *, user: str, tenant: str | None) -> None:
    """Counts of the messages about one of your users."""
    _told(out, "User", user, client.user_stats(user, tenant=tenant))


@click.command(
    "recipient",
    short_help="Counts of the messages to one number; opt-outs.",
    epilog=examples("smsd recipient +15550100123", "smsd recipient +15550100123 --json | jq .suppression"),
)
@click.argument("number")
@_TENANT
@asks_daemon
def recipient_command(client: Client, out: Out, *, number: str, tenant: str | None) -> None:
    """Counts of the messages to one number, and whether it opted out."""
    found = client.recipient_stats(number, tenant=tenant)
    _told(out, "Recipient", found["recipient"], found)


def _opted_out(suppression: Document, now: datetime) -> str:
    """Of whom, since when, and how smsd knows."""
    whom = "every provider" if suppression["scope"] == "*" else f"provider {suppression['scope']}"
    return f"of {whom} since {when(suppression['at'], now)}, {known_by(suppression)}"


def _left(remaining: int | None) -> str | None:
    """How many more may go now; None: no limit binds."""
    if remaining is None:
        return None
    return f"{remaining} more may go now" if remaining else "none may go now (smsd help limits)"


def _told(out: Out, label: str, name: str, counts: Document) -> None:
    if out.json:
        out.document(counts)
        return
    now = datetime.now(UTC)
    facts(
        [
            (label, name),
            ("Waiting", counts["pending"]),
            ("Sent", f"{counts['sent_last_hour']} in the last hour, {counts['sent_today']} today"),
            ("Failed today", counts["failed_today"]),
            ("Left of limits", _left(counts["rate_limit_remaining"])),
            *(("Opted out", _opted_out(each, now)) for each in counts.get("suppression", ())),
        ]
    )
