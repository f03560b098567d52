"""What did operators do, and what became of it?

`smsd audit`. Which acts are written down, and in which words, is the daemon's to say.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from smsd.cli.filters import first, more, up_to
from smsd.cli.frame import Out, asks_daemon, complain, examples
from smsd.cli.render import table, when
from smsd.client import Client, Document

UNKNOWN: Final = "unknown"
"""smsd ended before it was known what became of it; it may have been done."""


@click.command(
    "audit",
    short_help="What operators did.",
    epilog=examples(
        "smsd audit",
        "smsd audit --operation retry --since 2026-01-02T00:00:00Z",
        'smsd audit --who "uid 0" --json | jq -r .outcome',
    ),
)
@click.option("--operation", metavar="NAME", help="Only this one: retry, pause, reload ... (smsd help audit).")
@click.option("--who", metavar="NAME", help='Only what this caller did: "uid 0", or the name of a token.')
@click.option("--since", metavar="TIME", help="Begun at this time or later (RFC 3339 with offset).")
@click.option("--tenant", metavar="TENANT", help="Only what operators of this tenant did.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Lines shown at most.")
@asks_daemon
def audit_command(client: Client, out: Out, *, limit: int, **filters: str | None) -> None:
    """What operators did, newest first: when, who, what, about what, and what became of it.

    A line is written before the act begins. `unknown` stands where smsd ended before it could say what became of it: it
    may have been done.
    """
    found = client.audit(limit=limit + 1, **filters)
    if out.json:
        for each in up_to(limit, found):
            out.document(each)
        return
    shown, cut = first(limit, found)
    if not shown:
        click.echo("Nothing of the kind was done.", err=True)
        return
    now = datetime.now(UTC)
    table(
        ("AT", "WHO", "TENANT", "OPERATION", "SUBJECT", "DETAIL", "OUTCOME"),
        [_row(each, now) for each in shown],
        _SPARE,
    )
    if cut:
        complain([more(limit)], "")


_SPARE: Final = ("DETAIL", "TENANT", "WHO")


def _row(line: Document, now: datetime) -> tuple[object, ...]:
    words = (line[name] or None for name in ("who", "tenant", "operation", "subject", "detail"))
    return (when(line["at"], now), *words, line["outcome"] or UNKNOWN)
