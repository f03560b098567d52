"""How far are campaigns, and who holds one up?

The family `campaign`: list, which is what it does without a word, show, create, pause, resume, cancel and delete. Its
messages are handed in by `smsd import`, or by anybody who names it in `send`. What a campaign may do is the daemon's to
say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import click

from smsd.cli.failing import Family
from smsd.cli.filters import first, more, up_to
from smsd.cli.frame import EX_USAGE, Out, asks_daemon, complain, examples, exit_code, leave, printable
from smsd.cli.render import about, facts, table, when
from smsd.cli.terms import AS_IT_STANDS, BETWEEN, NAME, RATE, named, terms_of
from smsd.client import Client, Document, SmsdError

_TENANT: Final = click.option("--tenant", metavar="TENANT", help="Whose it is (administrators).")
_IDS: Final = click.argument("ids", metavar="ID...", nargs=-1, required=True)
_SPARE: Final = ("SENT", "FAILED", "QUEUED", "TOTAL", "NAME", "TENANT", "MADE")


@click.group(
    "campaign",
    cls=Family,
    short_help="How far campaigns are; create, pause, resume, cancel, delete them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def campaign_command() -> None:
    """Campaigns: many messages under one id. `smsd import` makes one of a file, `create` one for messages to come.

    Without a command they are listed.

    \b
    Examples:
      smsd campaign
      smsd campaign show spring
      smsd campaign create spring --rate 1000/hour
      smsd campaign pause spring
      smsd campaign cancel spring --yes
    """


@campaign_command.command(
    "list",
    short_help="Campaigns, newest first.",
    epilog=examples("smsd campaign", "smsd campaign list --limit 1000", "smsd campaign --json | jq -r .status"),
)
@click.option("--tenant", metavar="TENANT", help="Those of this tenant.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Campaigns shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, tenant: str | None, limit: int) -> None:
    """Campaigns, newest first, and how far they are."""
    found = client.campaigns(limit=limit + 1, tenant=tenant)
    if out.json:
        for each in up_to(limit, found):
            out.document(each)
        return
    shown, cut = first(limit, found)
    if not shown:
        click.echo("There is no campaign.", err=True)
        return
    now = datetime.now(UTC)
    heads = ("CAMPAIGN", "STATUS", "DONE", "TOTAL", "QUEUED", "SENT", "FAILED", "TENANT", "MADE", "NAME")
    table(heads, [_row(each, now) for each in shown], _SPARE)
    if cut:
        complain([more(limit)], "")


def _row(campaign: Document, now: datetime) -> tuple[object, ...]:
    counts = (campaign[name] for name in ("total", "queued", "sent", "failed"))
    made = when(campaign["created_at"], now)
    return (
        campaign["id"],
        campaign["status"],
        _done(campaign),
        *counts,
        campaign["tenant"],
        made,
        campaign["name"] or None,
    )


def _done(campaign: Document) -> str:
    """Rounded down: 100 % is all of it."""
    return f"{int(campaign['progress'] * 100)} %"


@campaign_command.command(
    "show",
    short_help="One campaign: counts, rate, hours, when it ends.",
    epilog=examples("smsd campaign show spring", "smsd campaign show spring --json | jq .states"),
)
@click.argument("id")
@_TENANT
@asks_daemon
def show_command(client: Client, out: Out, *, id: str, tenant: str | None) -> None:
    """One campaign: how many of its messages are in which state, its rate and hours, and when the last will go."""
    _told(out, client.campaign(id, tenant=tenant))


@campaign_command.command(
    "create",
    short_help="Make one before its messages.",
    epilog=examples(
        "smsd campaign create spring --rate 1000/hour",
        'smsd campaign create spring --name "Spring sale" --between "09:00-18:00 Europe/Berlin"',
        "smsd campaign create spring && smsd send +14155550123 Hello --campaign spring",
    ),
)
@click.argument("id")
@NAME
@RATE
@BETWEEN
@_TENANT
@asks_daemon
def create_command(client: Client, out: Out, *, id: str, **options: str | None) -> None:
    """Make a campaign before its messages, so that its rate and hours hold from the first one on.

    Messages come later, by whoever names it: `smsd send --campaign ID`, `smsd import --campaign ID` with the same
    terms. The same command again changes nothing; one that is there with another name, rate or hours stays as it is,
    and that is told.
    """
    try:
        made = client.campaign_create(id, **terms_of(options))
    except SmsdError as error:
        if error.code in {"wrong_state", "key_conflict"}:
            error.remedy = AS_IT_STANDS.format(id=named(id, options["tenant"]))
        raise
    if out.json:
        out.document(made)
    else:
        messages = f"{made['total']} message{'' if made['total'] == 1 else 's'}"
        told = "made" if made["created"] else f"was there already, {made['status']}, {messages}"
        out.line(f"{printable(made['id'])}  {told}")


@campaign_command.command(
    "pause", short_help="Send nothing of it any more.", epilog=examples("smsd campaign pause spring")
)
@_IDS
@_TENANT
@asks_daemon
def pause_command(client: Client, out: Out, *, ids: tuple[str, ...], tenant: str | None) -> None:
    """Send nothing of these campaigns until they are resumed. A call that has begun runs on."""
    _each(out, ids, partial(client.campaign_pause, tenant=tenant), tenant)


@campaign_command.command("resume", short_help="Send it on.", epilog=examples("smsd campaign resume spring"))
@_IDS
@_TENANT
@asks_daemon
def resume_command(client: Client, out: Out, *, ids: tuple[str, ...], tenant: str | None) -> None:
    """Send these campaigns on."""
    _each(out, ids, partial(client.campaign_resume, tenant=tenant), tenant)


@campaign_command.command(
    "cancel",
    short_help="Cancel all of it that waits, for good.",
    epilog=examples("smsd campaign cancel spring", "smsd campaign cancel spring --yes --json"),
)
@_IDS
@_TENANT
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked.")
@asks_daemon
def cancel_command(client: Client, out: Out, *, ids: tuple[str, ...], tenant: str | None, yes: bool) -> None:
    """Cancel all messages of these campaigns that wait. It cannot be undone, and the id takes no more messages.

    Very many take a while: `queued` of `smsd campaign show` says how many are left.
    """
    if not yes:
        _confirm([client.campaign(id, tenant=tenant) for id in ids])
    _each(out, ids, partial(client.campaign_cancel, tenant=tenant), tenant)


@campaign_command.command(
    "delete",
    short_help="Delete one that never had a message.",
    epilog=examples("smsd campaign delete spring", "smsd campaign delete spring --json"),
)
@_IDS
@_TENANT
@asks_daemon
def delete_command(client: Client, out: Out, *, ids: tuple[str, ...], tenant: str | None) -> None:
    """Delete campaigns that have no message and never had one, such as one that was made under a wrong id.

    Any other stays, with its counts: cancel it. One that is paused must be resumed first; one that is cancelled stays.
    """
    _each(out, ids, partial(client.campaign_delete, tenant=tenant), tenant)


def _confirm(chosen: list[Document]) -> None:
    """Go on only if somebody means it."""
    waiting = sum(each["queued"] for each in chosen)
    what = f"{waiting} waiting message{'' if waiting == 1 else 's'} to be cancelled for good."
    if not sys.stdin.isatty():
        complain([f"{what} Nobody can be asked whether that is meant."], "Say so beforehand: --yes")
        leave(EX_USAGE)
    click.echo(what, err=True)
    click.confirm("Go on?", abort=True, err=True)


def _each(out: Out, ids: tuple[str, ...], act: Callable[[str], Document], tenant: str | None) -> None:
    """Do it to every one; those that cannot be done are told, and the exit code is that of the first of them."""
    code = 0
    for id in ids:
        try:
            found = act(id)
        except SmsdError as error:
            if error.code == "wrong_state":
                error.remedy = AS_IT_STANDS.format(id=named(id, tenant))
            out.problem(error, id)
            code = code or exit_code(error)
            continue
        if out.json:
            out.document(found)
        else:
            told = "deleted" if "deleted" in found else f"{found['status']}, {found['queued']} queued"
            out.line(f"{printable(found['id'])}  {told}")
    leave(code)


def _told(out: Out, campaign: Document) -> None:
    if out.json:
        out.document(campaign)
        return
    now = datetime.now(UTC)
    out.line(f"{printable(campaign['id'])}  {campaign['status']}")
    counts = ", ".join(f"{n} {state}" for state, n in campaign["states"].items() if n)
    facts(
        [
            ("Name", campaign["name"] or None),
            ("Tenant", campaign["tenant"]),
            ("Messages", f"{campaign['total']}, {_done(campaign)} done"),
            ("Of these", counts or None),
            ("Rate", campaign["rate"]),
            ("Sent between", _hours(campaign["send_between"])),
            ("Made", when(campaign["created_at"], now)),
            ("Last change", when(campaign["changed_at"], now)),
            ("Paused", campaign["paused_at"] and when(campaign["paused_at"], now)),
            ("Cancelled", campaign["cancelled_at"] and when(campaign["cancelled_at"], now)),
            ("Last one goes", campaign["eta"] and about(campaign["eta"], now)),
        ]
    )


def _hours(said: dict[str, Any] | None) -> str | None:
    return None if said is None else f"{said['from']} and {said['to']} ({said['zone']})"
