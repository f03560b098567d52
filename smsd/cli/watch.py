"""What happens in the daemon, at this moment?

`watch`: the daemon's events as they happen, one line each. It stays connected over restarts of the daemon, and says so
where something may be missing. Ctrl-C is the way to end it and therefore no failure: exit code 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import click

from smsd.cli.frame import Out, asks_daemon, examples, on_terminal
from smsd.cli.render import cell, coloured
from smsd.cli.tables import ABSENT
from smsd.client import Client, Document

LOST: Final = "stream.lost"

_FIRST: Final = ("id", "to", "provider", "category")
"""Fields in columns, in this order; the others follow as name=value."""

_COLOURS: Final[Mapping[str, str]] = {
    "message.sent": "green",
    "message.delivered": "green",
    "message.retry_scheduled": "yellow",
    "message.deferred": "yellow",
    "message.throttled": "yellow",
    "message.uncertain": "yellow",
    "message.expired": "yellow",
    "message.failed": "red",
    "message.undelivered": "red",
    "provider.cooldown": "yellow",
    "provider.halted": "red",
    "provider.breaker_opened": "red",
    "provider.breaker_closed": "green",
    "provider.recovered": "green",
    "provider.rate_changed": "yellow",
    "limit.hit": "yellow",
    "suppression.added": "yellow",
    "outbox.full": "red",
    "outbox.broken": "red",
    LOST: "magenta",
}


@click.command(
    "watch",
    epilog=examples(
        "smsd watch",
        "smsd watch --kind 'message.*' --kind provider.halted",
        "smsd watch --json | jq -r 'select(.event == \"message.failed\") | .data.id'",
    ),
)
@click.option(
    "--kind", "kinds", metavar="KIND", multiple=True, help="Only such events; `message.*` is all of a family."
)
@click.option("--after", metavar="ID", help="Begin after this event (an id that --json showed).")
@asks_daemon
def watch_command(client: Client, out: Out, *, kinds: tuple[str, ...], after: str | None) -> None:
    """Events as they happen, one line each, until Ctrl-C.

    Numbers are masked, and texts are never shown. After a lost connection it goes on where it was; a line `stream.lost`
    says where events may be missing.
    """
    try:
        for event in client.events(after=after, kinds=",".join(kinds) or None):
            out.document(event) if out.json else out.line(event_line(event))
    except KeyboardInterrupt:
        return


def event_line(event: Document) -> str:
    """One event for a person. What is absent is left out, but for the columns."""
    kind = str(event["event"])
    shown = coloured(kind.ljust(23), _COLOURS.get(kind))
    at = _time(event["at"]) if event.get("at") else ABSENT
    if kind == LOST:
        return f"{at}  {shown}  Events may be missing here: the daemon no longer has them."
    data = event.get("data") or {}
    if kind.startswith("message."):
        columns = [cell(data.get(field)) for field in _FIRST]
    else:
        columns = [cell(data[field]) for field in _FIRST if data.get(field) is not None]
    rest = [f"{field}={_value(value)}" for field, value in data.items() if field not in _FIRST and value is not None]
    return "  ".join([at, shown, *columns, *rest])


def _time(text: str) -> str:
    at = datetime.fromisoformat(text).astimezone()
    return at.strftime("%H:%M:%S.%f")[:-3] if on_terminal() else at.isoformat(sep=" ", timespec="milliseconds")


def _value(value: object) -> str:
    told = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return cell(f'"{told}"' if " " in told or not told else told)
