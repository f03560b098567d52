"""What failed, and what does somebody do about it?

The family `failed`: list, which is what it does without a word, retry and delete. Messages are named, or a filter says
which; then somebody says yes before anything is done. A sweep over many is as many requests as it takes, each with the
place where the one before ended. What may be retried or deleted is the daemon's to say.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Final

import click

from smsd.cli.filters import BY_CATEGORY, first, more, up_to
from smsd.cli.frame import EX_DATAERR, EX_TEMPFAIL, EX_USAGE, Out, asks_daemon, complain, examples, leave
from smsd.cli.messages import listed
from smsd.cli.render import when
from smsd.client import Client, Document

IDS_AT_ONCE: Final = 500
"""Ids in one request; the daemon takes no more."""

AT_ONCE: Final = 1_000
"""Messages one request deals with by a filter: a second or so, so that progress is seen."""

COUNTED: Final = 1_000
"""Messages that are counted before somebody is asked; beyond it, it is said that there are more."""

SKIPPED_SHOWN: Final = 100

ITS_OWN: Final = frozenset({"not_found", "wrong_state"})
"""Codes of what is skipped because of what it is; any other is a fault that may pass."""

Filters = Mapping[str, str | None]


class Family(click.Group):
    """`list` is what it does when no command is named."""

    def spelled_out(self, args: list[str]) -> list[str]:
        """The words with the command that they mean."""
        named = bool(args) and (args[0] in self.commands or args[0] in {"-h", "--help"})
        return args if named else ["list", *args]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self.spelled_out(args))


def _filters(function: click.decorators.FC) -> click.decorators.FC:
    for option in reversed(
        (
            click.option("--to", metavar="NUMBER", help="Recipient, in E.164."),
            click.option("--user", metavar="USER", help="Whom of your users they are about."),
            click.option("--tenant", metavar="TENANT", help="On whose behalf."),
            click.option("--campaign", metavar="ID", help="Of this campaign."),
            BY_CATEGORY,
            click.option("--provider", metavar="NAME", help="The provider of the last call."),
            click.option("--since", metavar="TIME", help="Accepted at this time or later (RFC 3339 with offset)."),
            click.option("--until", metavar="TIME", help="Accepted before this time."),
        )
    ):
        function = option(function)
    return function


def _chosen(function: click.decorators.FC) -> click.decorators.FC:
    function = click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked.")(function)
    function = click.option("--all", "every", is_flag=True, help="All that failed.")(function)
    return click.argument("ids", metavar="[ID]...", nargs=-1)(_filters(function))


@click.group(
    "failed",
    cls=Family,
    short_help="What failed: list it, retry it, delete it.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def failed_command() -> None:
    """What failed or was not delivered. It is kept until it is retried or deleted, or until [outbox] keep_failed ends.

    Without a command it is listed.

    \b
    Examples:
      smsd failed
      smsd failed --category NETWORK
      smsd failed retry --category NETWORK --rate 100/min
      smsd failed delete --until 2026-01-01T00:00:00Z
    """


@failed_command.command(
    "list",
    short_help="Messages that failed, newest first.",
    epilog=examples(
        "smsd failed", "smsd failed list --campaign spring --limit 1000", "smsd failed --json | jq -r .error.category"
    ),
)
@_filters
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Messages shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, limit: int, **filters: str | None) -> None:
    """Messages that failed or were not delivered, newest first, and why."""
    found = client.failed(limit=limit + 1, **filters)
    if out.json:
        for message in up_to(limit, found):
            out.document(message)
        return
    shown, cut = first(limit, found)
    if shown:
        listed(shown)
    else:
        click.echo("Nothing failed that the filters find." if any(filters.values()) else "Nothing failed.", err=True)
    if cut:
        complain([more(limit)], "")


@failed_command.command(
    "retry",
    short_help="Send what failed again.",
    epilog=examples(
        "smsd failed retry ID",
        "smsd failed retry --category NETWORK --rate 100/min",
        "smsd failed retry --campaign spring --ttl 2h --yes",
        "smsd failed retry --category UNCERTAIN --force",
    ),
)
@_chosen
@click.option("--rate", metavar="RATE", help="One after another, at most so many in so much time, e.g. 100/min.")
@click.option("--ttl", metavar="SPAN", help="New time to live of each, from when it is due, e.g. 2h.")
@click.option("--force", is_flag=True, help="Also one that may have been sent already: it may arrive twice.")
@asks_daemon
def retry_command(
    client: Client,
    out: Out,
    *,
    ids: tuple[str, ...],
    every: bool,
    yes: bool,
    rate: str | None,
    ttl: str | None,
    force: bool,
    **filters: str | None,
) -> None:
    """Send messages again that failed or were not delivered, in a new round of attempts: those named, those that the
    filters find, or all.

    Each is retried once, also if it fails again at once. With --rate they are due one after another.
    """
    if rate and len(ids) > IDS_AT_ONCE:
        raise click.UsageError(f"--rate goes with at most {IDS_AT_ONCE} IDs: use a filter for more.")
    twice = " One that was sent already arrives twice." if force else ""
    if not _confirmed(client, ids, every, yes, filters, f"to be sent again.{twice}"):
        _tell_nothing(out, "retried")
        return
    act = partial(client.failed_retry, rate=rate, ttl=ttl, force=force or None)
    done = _swept(act, "retried", ids, every, filters)
    last = f", the last {when(done['last_at'], datetime.now(UTC))}" if rate and done["last_at"] else ""
    _tell(out, done, f"{done['retried']} to be sent again{last}.", named=bool(ids))


@failed_command.command(
    "delete",
    short_help="Delete what failed.",
    epilog=examples(
        "smsd failed delete ID",
        "smsd failed delete --category INVALID_RECIPIENT",
        "smsd failed delete --until 2026-01-01T00:00:00Z --yes",
    ),
)
@_chosen
@asks_daemon
def delete_command(
    client: Client, out: Out, *, ids: tuple[str, ...], every: bool, yes: bool, **filters: str | None
) -> None:
    """Delete messages that failed or were not delivered: those named, those that the filters find, or all.

    Their texts, numbers and attempts are gone for good; what was counted stays counted.
    """
    if not _confirmed(client, ids, every, yes, filters, "to be deleted for good."):
        _tell_nothing(out, "deleted")
        return
    done = _swept(client.failed_delete, "deleted", ids, every, filters)
    _tell(out, done, f"{done['deleted']} deleted.", named=bool(ids))


def _confirmed(client: Client, ids: tuple[str, ...], every: bool, yes: bool, filters: Filters, what: str) -> bool:
    """Go on only if it is said which messages, and, for those that nobody named, if somebody means it; False: there are
    none to ask about."""
    filtered = [name for name, value in filters.items() if value is not None]
    if (bool(ids) + every + bool(filtered) != 1) and not (every and filtered == ["tenant"]):
        raise click.UsageError("Say which, in one way: IDs, a filter such as --category or --since, or --all.")
    if ids or yes:
        return True
    count = sum(1 for _ in client.failed(limit=COUNTED + 1, **filters))
    if not count:
        return False
    number = f"More than {COUNTED}" if count > COUNTED else str(count)
    question = f"{number} {'message is' if count == 1 else 'messages are'} {what}"
    if not sys.stdin.isatty():
        complain([f"{question} Nobody can be asked whether that is meant."], "Say so beforehand: --yes")
        leave(EX_USAGE)
    click.echo(question, err=True)
    click.confirm("Go on?", abort=True, err=True)
    return True


def _tell_nothing(out: Out, done: str) -> None:
    if out.json:
        out.document(_nothing(done))
    else:
        click.echo("No such messages.", err=True)


def _nothing(done: str) -> Document:
    return {done: 0, "skipped": [], "skipped_total": 0, **({"last_at": None} if done == "retried" else {})}


def _swept(act: Callable[..., Document], done: str, ids: tuple[str, ...], every: bool, filters: Filters) -> Document:
    """As many requests as it takes; their answers added up."""
    total = _nothing(done)
    for answer in _answers(act, ids, every, filters):
        total[done] += answer[done]
        total["skipped"] += answer["skipped"][: SKIPPED_SHOWN - len(total["skipped"])]
        total["skipped_total"] += answer["skipped_total"]
        if "last_at" in total:
            total["last_at"] = answer["last_at"] or total["last_at"]
        if answer["more"] and sys.stderr.isatty():
            click.echo(f"\r{total[done]} {done} so far ...", nl=False, err=True)
    if sys.stderr.isatty() and total[done] > AT_ONCE:
        click.echo("\r\x1b[K", nl=False, err=True)
    return total


def _answers(act: Callable[..., Document], ids: tuple[str, ...], every: bool, filters: Filters) -> Iterator[Document]:
    if ids:
        named = [*dict.fromkeys(ids)]
        for start in range(0, len(named), IDS_AT_ONCE):
            yield act(named[start : start + IDS_AT_ONCE])
        return
    cursor: str | None = None
    while True:
        answer = act(all=every, limit=AT_ONCE, cursor=cursor, **filters)
        yield answer
        cursor = answer["next_cursor"]
        if cursor is None:
            return


def _tell(out: Out, done: Document, text: str, *, named: bool) -> None:
    """What was done, and what was not; the exit code says whether that is somebody's affair."""
    if out.json:
        out.document(done)
    else:
        out.line(text)
        for each in done["skipped"]:
            complain([each["message"]], "", each["id"])
        if done["skipped_total"] > len(done["skipped"]):
            complain([f"{done['skipped_total']} were skipped in all."], "")
    if any(each["code"] not in ITS_OWN for each in done["skipped"]):
        leave(EX_TEMPFAIL)
    if named and done["skipped_total"]:
        leave(EX_DATAERR)
