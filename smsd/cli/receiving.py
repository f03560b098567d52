"""What did people write back?

`inbound`: texts received, newest first. Whose they are, and what a STOP in them did, is the daemon's to know.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from smsd.cli.filters import first, more, up_to
from smsd.cli.frame import Out, asks_daemon, examples
from smsd.cli.live import WATCH, View, present
from smsd.cli.render import Page, when
from smsd.client import Client, Document


@click.command(
    "inbound",
    short_help="Texts received.",
    epilog=examples(
        "smsd inbound",
        "smsd inbound --from +15550100123 --json | jq -r .text",
        "smsd inbound --to +15005550006 --since 2026-01-02T00:00:00Z --watch",
    ),
)
@click.option("--from", "from_", metavar="NUMBER", help="Who wrote them: a number in E.164, a short code or a name.")
@click.option("--to", metavar="NUMBER", help="Your number that they were sent to.")
@click.option("--tenant", metavar="TENANT", help="To whom they belong.")
@click.option("--since", metavar="TIME", help="Received at this time or later (RFC 3339 with offset).")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Texts shown at most.")
@WATCH
@asks_daemon
def inbound_command(client: Client, out: Out, *, limit: int, every: float | None, **filters: str | None) -> None:
    """Texts received, newest first.

    A text belongs to the tenant of the last message between the two numbers (smsd help inbound). What happens at this
    moment: smsd watch --kind inbound.received.
    """
    if out.json and every is None:
        for each in up_to(limit, client.inbound(limit=limit + 1, **filters)):
            out.document(each)
        return

    def ask() -> tuple[list[Document], bool]:
        return first(limit, client.inbound(limit=limit + 1, **filters))

    present(View(ask, lambda found: found[0], _page, lambda found: more(limit) if found[1] else None), out, every)


_HEADS: Final = ("RECEIVED", "FROM", "TO", "WORD", "TENANT", "TEXT")
_OPTIONAL: Final = ("TO", "WORD", "TENANT")


def _page(found: tuple[list[Document], bool]) -> Page:
    now = datetime.now(UTC)
    page = Page()
    texts, _ = found
    if texts:
        page.table(_HEADS, [_row(each, now) for each in texts], _OPTIONAL)
    else:
        page.line("No such texts.")
    return page


def _row(each: Document, now: datetime) -> tuple[object, ...]:
    return (when(each["received_at"], now), *(each[name] for name in ("from", "to", "word", "tenant", "text")))
