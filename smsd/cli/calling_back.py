"""What has an application not been told yet, and how is that told again?

The family `callbacks`: list and replay. Why a call did not come through is the daemon's to say; a callback's URL is
shown without its query, where secrets travel.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import click

from smsd.cli.filters import first, more, up_to
from smsd.cli.frame import EX_DATAERR, Out, asks_daemon, complain, examples, leave
from smsd.cli.render import table, when
from smsd.client import Client, Document

IDS_AT_ONCE: Final = 500
"""Ids in one request; the daemon takes no more."""


@click.group(
    "callbacks",
    short_help="What applications were not told yet.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def callbacks_command() -> None:
    """What applications were not told yet: callbacks that wait for their next try, and those that were given up.

    A callback is tried for three days ([callbacks] give_up_after). What was given up is kept. Either can be tried at
    once.

    \b
    Examples:
      smsd callbacks list
      smsd callbacks list --failed
      smsd callbacks replay --all
    """


@callbacks_command.command(
    "list",
    short_help="Callbacks that wait, or were given up.",
    epilog=examples(
        "smsd callbacks list", "smsd callbacks list --failed", "smsd callbacks list --failed --json | jq -r .url"
    ),
)
@click.option("--failed", is_flag=True, help="Those that were given up.")
@click.option("--tenant", metavar="TENANT", help="About the messages of this tenant.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Callbacks shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, failed: bool, tenant: str | None, limit: int) -> None:
    """Callbacks that wait for their next try, or with --failed those that were given up; oldest first."""
    found = client.callbacks(failed=failed, tenant=tenant, limit=limit + 1)
    if out.json:
        for each in up_to(limit, found):
            out.document(each)
        return
    shown, cut = first(limit, found)
    if not shown:
        click.echo("None was given up." if failed else "Applications have been told everything.", err=True)
        return
    now = datetime.now(UTC)
    time = "LAST TRY" if failed else "NEXT TRY"
    table(("CALLBACK", "EVENT", "URL", "TRIED", time, "WHY"), [_row(each, failed, now) for each in shown], _OPTIONAL)
    if cut:
        complain([more(limit)], "")


_OPTIONAL: Final = ("EVENT", "URL", "LAST TRY", "NEXT TRY", "TRIED")


def _row(callback: Document, failed: bool, now: datetime) -> tuple[object, ...]:
    at = callback["tried_at"] if failed else callback["next_try_at"]
    return (*(callback[name] for name in ("id", "event", "url", "tries")), when(at, now), callback["error"])


@callbacks_command.command(
    "replay",
    short_help="Try callbacks again, at once.",
    epilog=examples(
        "smsd callbacks replay evt_01920000-0000-7000-8000-000000000001_1_delivered", "smsd callbacks replay --all"
    ),
)
@click.argument("ids", metavar="[CALLBACK]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that wait, and all that were given up.")
@asks_daemon
def replay_command(client: Client, out: Out, *, ids: tuple[str, ...], every: bool) -> None:
    """Try callbacks again that wait or were given up: those named, or all. Their receiver knows them by the same ids.

    They are tried at once, and then for as long as new ones. What was due already is not counted by --all: it is tried
    at once too.
    """
    if bool(ids) == every:
        raise click.UsageError(
            "Name callbacks, or give --all." if not ids else "Name callbacks or give --all, not both."
        )
    count, left = _named(client, ids) if ids else _all(client)
    if out.json:
        out.document({"replayed": count, "left": left})
    else:
        out.line(f"{count} tried again, {left} left that were given up.")
    missing = len(set(ids)) - count
    if ids and missing > 0:
        told = f"{missing} of them neither wait nor were given up: they were told, or are not there."
        complain([told], "smsd callbacks list, smsd callbacks list --failed")
        leave(EX_DATAERR)


def _named(client: Client, ids: tuple[str, ...]) -> tuple[int, int]:
    """How many are tried again, and how many are left."""
    chosen, count, left = [*dict.fromkeys(ids)], 0, 0
    for start in range(0, len(chosen), IDS_AT_ONCE):
        done = client.replay_callbacks(chosen[start : start + IDS_AT_ONCE])
        count, left = count + done["replayed"], done["left"]
    return count, left


def _all(client: Client) -> tuple[int, int]:
    """The same for all; what is given up meanwhile, again or anew, is left."""
    done = client.replay_callbacks()
    count, left = done["replayed"], done["left"]
    before = count + left
    while done["replayed"] and left and count < before:
        done = client.replay_callbacks()
        count, left = count + done["replayed"], done["left"]
    return count, left
