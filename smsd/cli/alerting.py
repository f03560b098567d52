"""What is wrong now, and what was wrong tonight?

`smsd alerts`; and the raised ones for `stats`. What is watched, and in which words it is told, is the daemon's to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import click

from smsd.cli.frame import Out, asks_daemon, examples, printable
from smsd.cli.live import WATCH, View, present
from smsd.cli.render import Page, coloured, when
from smsd.client import Client, Document


@click.command(
    "alerts",
    short_help="What is wrong now, and what was.",
    epilog=examples(
        "smsd alerts",
        "smsd alerts --watch=10s",
        "smsd alerts --json | jq -r 'select(.state == \"raised\") | .name'",
    ),
)
@WATCH
@asks_daemon
def alerts_command(client: Client, out: Out, *, every: float | None) -> None:
    """Alerts that are raised, each with what to do; then the last 50 that are over.

    What is watched, and at which bounds: smsd help alerts.
    """
    present(View(client.alerts, lambda found: found, _page), out, every)


def _page(alerts: list[Document]) -> Page:
    page, now = Page(), datetime.now(UTC)
    raised = [each for each in alerts if each["state"] == "raised"]
    add_raised(page, raised, now)
    if not raised:
        page.line("No alert is raised.")
    over = [each for each in alerts if each["state"] != "raised"]
    if over:
        rows = [
            (each["name"], when(each["raised_at"], now), when(each["cleared_at"], now), each["text"]) for each in over
        ]
        page.table(("OVER", "RAISED", "CLEARED", "WHAT"), rows, ("CLEARED", "RAISED"))
    return page


def add_raised(page: Page, alerts: Iterable[Document], now: datetime) -> None:
    """Each in a few lines: its name, since when, what is wrong, what to do."""
    for each in alerts:
        page.line(coloured(f"ALERT {printable(each['name'])}, since {when(each['raised_at'], now)}", "red"))
        page.line(f"  {printable(each['text'])}")
        page.line(f"  -> {printable(each['remedy'])}")
