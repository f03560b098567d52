"""What can somebody do about messages: those named, or all that a filter finds?

`cancel` and `retry`, and `reschedule` for one. A filter is asked first and its messages are counted: somebody says yes
to a number before anything is done. Then each message is done by itself, as if it had been named. What is allowed is
the daemon's to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import click

from smsd.cli.filters import by_filters
from smsd.cli.frame import EX_USAGE, Out, asks_daemon, complain, examples, exit_code, leave, seconds
from smsd.client import Client, Document, SmsdError

MOST: Final = 100_000
"""Messages one command does by a filter; their ids are held meanwhile (some 10 MB). The rest is said to be there."""

CANCELLABLE: Final = ("pending",)
RETRIABLE: Final = ("failed", "undelivered", "expired")
"""The states that a filter stands for when it names none."""

NOW: Final = "1970-01-01T00:00:00Z"
"""What is past means now, whatever the clock here says."""

Filters = Mapping[str, str | None]

_IDS = click.argument("ids", metavar="[ID]...", nargs=-1)
_YES = click.option("--yes", is_flag=True, help="With filters: do not ask. Needed where nobody can be asked.")


@click.command(
    "cancel",
    short_help="Cancel messages that are still pending.",
    epilog=examples(
        "smsd cancel ID", "smsd cancel --user alice", "smsd cancel --campaign ID --since 2026-01-02T00:00:00Z --yes"
    ),
)
@_IDS
@partial(by_filters, states=CANCELLABLE)
@_YES
@asks_daemon
def cancel_command(
    client: Client, out: Out, *, ids: tuple[str, ...], states: tuple[str, ...], yes: bool, **filters: str | None
) -> None:
    """Cancel messages that are still pending: those named, or all that the filters find.

    One that is being sent cannot be called back.
    """
    chosen = _chosen(client, ids, states, CANCELLABLE, filters)
    if not ids:
        _confirm(f"{_counted(chosen)} to be cancelled.", chosen, yes)
    _each(out, chosen, client.cancel)


@click.command(
    "retry",
    short_help="Send failed messages again.",
    epilog=examples(
        "smsd retry ID",
        "smsd retry ID --ttl 2h",
        "smsd retry --category NETWORK --since 2026-01-02T00:00:00Z",
        "smsd retry --state failed --category UNCERTAIN --force",
    ),
)
@_IDS
@partial(by_filters, states=RETRIABLE)
@click.option("--ttl", metavar="SPAN", help="New time to live, e.g. 2h.")
@click.option("--force", is_flag=True, help="Also one that may have been sent already: it may arrive twice.")
@_YES
@asks_daemon
def retry_command(
    client: Client,
    out: Out,
    *,
    ids: tuple[str, ...],
    states: tuple[str, ...],
    ttl: str | None,
    force: bool,
    yes: bool,
    **filters: str | None,
) -> None:
    """Send failed, undelivered or expired messages again, in a new round of attempts: those named, or all that the
    filters find.
    """
    chosen = _chosen(client, ids, states, RETRIABLE, filters)
    if not ids:
        twice = " One that was sent already arrives twice." if force else ""
        _confirm(f"{_counted(chosen)} to be sent again.{twice}", chosen, yes)
    _each(out, chosen, partial(client.retry, ttl=ttl, force=force))


def _time(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """`now` and spans as the daemon reads times; what else it may be the daemon says."""
    if value == "now":
        return NOW
    span = None if value.isdigit() else seconds(value)
    if span is None:
        return value
    try:
        return (datetime.now(UTC) + timedelta(seconds=span)).isoformat()
    except OverflowError:
        raise click.BadParameter(f"{value!r} is longer than calendars go.") from None


@click.command(
    "reschedule",
    short_help="Give a pending message another time.",
    epilog=examples(
        "smsd reschedule ID 2026-01-02T08:00:00+01:00", "smsd reschedule ID 2h", "smsd reschedule ID now --ttl 10m"
    ),
)
@click.argument("id")
@click.argument("send_at", metavar="TIME", callback=_time)
@click.option("--ttl", metavar="SPAN", help="Give up this long after its new time, e.g. 2h.")
@click.option("--expires-at", metavar="TIME", help="Give up at this time (RFC 3339 with offset).")
@asks_daemon
def reschedule_command(
    client: Client, out: Out, *, id: str, send_at: str, ttl: str | None, expires_at: str | None
) -> None:
    """Give a message that is still pending another time.

    TIME is RFC 3339 with an offset, a span from now (2h), or `now`. It lives as long from its new time on as it would
    have from the old one, unless an end is given. Quiet hours may put it off further (smsd help quiet).
    """
    message = client.reschedule(id, send_at, ttl=ttl, expires_at=expires_at)
    if out.json:
        out.document(message)
        return
    why = (message["waiting"] or {}).get("text")
    out.line("  ".join(filter(None, (message["id"], message["state"], why))))


def _chosen(
    client: Client, ids: tuple[str, ...], states: tuple[str, ...], all_states: tuple[str, ...], filters: Filters
) -> list[str]:
    """The ids: those given, or what the filters find, perhaps nothing. Raises click.UsageError for both or none."""
    filtered = bool(states) or any(value is not None for value in filters.values())
    if bool(ids) == filtered:
        text = "IDs and filters both say which messages; leave one of them out."
        raise click.UsageError(text if ids else "Name messages: their IDs, or a filter such as --user or --since.")
    if ids:
        return [*ids]
    found = client.list(state=",".join(states or all_states), limit=MOST + 1, **filters)
    return [message["id"] for message in found]


def _counted(chosen: list[str]) -> str:
    return "1 message is" if len(chosen) == 1 else f"{min(len(chosen), MOST)} messages are"


def _confirm(what: str, chosen: list[str], yes: bool) -> None:
    """Go on only if somebody means it; more than MOST are cut to that."""
    if not chosen:
        click.echo("No such messages.", err=True)
        leave(0)
    if len(chosen) > MOST:
        del chosen[MOST:]
        complain([f"There are more than {MOST}; these are the newest."], "Give the command again for the rest.")
    if yes:
        return
    if not sys.stdin.isatty():
        complain([f"{what} Nobody can be asked whether that is meant."], "Say so beforehand: --yes")
        leave(EX_USAGE)
    click.echo(what, err=True)
    click.confirm("Go on?", abort=True, err=True)


def _each(out: Out, ids: Iterable[str], act: Callable[[str], Document]) -> None:
    """Do it to every message; those that cannot be done are told, and the exit code is that of the first of them."""
    code = 0
    for id in ids:
        try:
            message = act(id)
        except SmsdError as error:
            out.problem(error, id)
            code = code or exit_code(error)
            if error.code == "unreachable":
                break  # nor will the others get through
        else:
            out.document(message) if out.json else out.line(f"{message['id']}  {message['state']}")
    if code:
        leave(code)
