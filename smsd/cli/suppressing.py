"""Who wants no more texts, as operators handle it?

The family `suppress`: add, remove, list, show, and lists of numbers from and to files. Which numbers and providers
there are is the daemon's to know. A file is read line by line and each line is a request of its own: a bad one is told
with its number and stops no other, and a file that was cut off can be given again as a whole.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Final

import click

from smsd.cli.completion import known_providers
from smsd.cli.explaining import known_by
from smsd.cli.filters import first, more, up_to
from smsd.cli.frame import EX_DATAERR, Out, asks_daemon, complain, examples, exit_code, leave, printable
from smsd.cli.numbers import HEAD, Line, lines
from smsd.cli.render import table, when
from smsd.client import Client, Document, SmsdError, SubmissionInvalid

EVERYWHERE: Final = "*"
"""How the daemon calls the scope of what holds at every provider."""


def _scope(told: str) -> Callable[[click.decorators.FC], click.decorators.FC]:
    return click.option("--scope", metavar="PROVIDER", shell_complete=known_providers, help=told)


_OF = _scope("The provider whose senders it is about. Without: all texts.")
_NUMBERS = click.argument("numbers", metavar="NUMBER...", nargs=-1, required=True)


@click.group(
    "suppress", short_help="Numbers that get no more texts.", context_settings={"help_option_names": ["-h", "--help"]}
)
def suppress_command() -> None:
    """Numbers that get no more texts: of one provider's senders, or of anybody.

    New submissions to them are refused, and what waits fails; a call that has begun runs on. For administrators of the
    whole daemon.

    \b
    Examples:
      smsd suppress add +15550100123
      smsd suppress list
      smsd suppress import opted-out.csv
    """


@suppress_command.command(
    "add", epilog=examples("smsd suppress add +15550100123", "smsd suppress add +15550100123 --scope main")
)
@_NUMBERS
@_OF
@asks_daemon
def add_command(client: Client, out: Out, *, numbers: tuple[str, ...], scope: str | None) -> None:
    """Text these numbers no more."""

    def add(number: str) -> str | Document:
        kept = client.suppress(number, scope=scope)
        return kept if out.json else f"{kept['number']}  {_added(kept)}"

    _each(out, numbers, add)


def _added(kept: Document) -> str:
    whom = _whom(kept["scope"])
    return f"gets nothing more from {whom}" if kept["added"] else f"got nothing more from {whom} already"


@suppress_command.command(
    "remove",
    short_help="Let these numbers be texted again.",
    epilog=examples("smsd suppress remove +15550100123", "smsd suppress remove +15550100123 --scope main"),
)
@_NUMBERS
@_OF
@asks_daemon
def remove_command(client: Client, out: Out, *, numbers: tuple[str, ...], scope: str | None) -> None:
    """Let these numbers be texted again, if they asked for it. What holds in another scope stays."""

    def remove(number: str) -> str | Document:
        lifted = client.unsuppress(number, scope=scope)
        return lifted if out.json else f"{lifted['number']}  may be texted again by {_whom(lifted['scope'])}"

    _each(out, numbers, remove)


def _each(out: Out, numbers: tuple[str, ...], act: Callable[[str], str | Document]) -> None:
    """Do it to every number; those it cannot be done to are told, and the exit code is that of the first of them."""
    code = 0
    for number in numbers:
        try:
            done = act(number)
        except SmsdError as error:
            out.problem(error, number)
            code = code or exit_code(error)
            if error.code in {"unreachable", "not_allowed", "unauthenticated"}:
                break  # nor will the others get through
        else:
            out.line(done) if isinstance(done, str) else out.document(done)
    if code:
        leave(code)


@suppress_command.command(
    "list", epilog=examples("smsd suppress list", "smsd suppress list --scope main --json | jq -r .number")
)
@_scope('Those of this provider; "*": those that hold at every one.')
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Numbers shown at most.")
@asks_daemon
def list_command(client: Client, out: Out, *, scope: str | None, limit: int) -> None:
    """Numbers that get no more texts, in order."""
    found = client.suppressions(scope=scope, limit=limit + 1)
    if out.json:
        for each in up_to(limit, found):
            out.document(each)
        return
    shown, cut = first(limit, found)
    _shown(shown, "Nobody is suppressed.")
    if cut:
        complain([more(limit)], "")


@suppress_command.command(
    "show",
    short_help="Whose texts a number gets no more.",
    epilog=examples("smsd suppress show +15550100123", "smsd suppress show +15550100123 --json"),
)
@click.argument("number")
@asks_daemon
def show_command(client: Client, out: Out, *, number: str) -> None:
    """Whose texts a number gets no more, since when, and how smsd knows."""
    found = [*client.suppressions(number=number)]
    if not out.json:
        _shown(found, f"{printable(number)} is not suppressed.")
    for each in found if out.json else ():
        out.document(each)


def _shown(found: list[Document], none: str) -> None:
    if not found:
        click.echo(none, err=True)
        return
    now = datetime.now(UTC)
    rows = [(each["number"], each["scope"], when(each["at"], now), known_by(each)) for each in found]
    table(("NUMBER", "SCOPE", "SINCE", "SOURCE"), rows, ("SINCE",))


def _whom(scope: str) -> str:
    return "every provider" if scope == EVERYWHERE else f"provider {scope}"


# -- files ------------------------------------------------------------------------------------------------------------


@suppress_command.command(
    "import",
    short_help="Text the numbers in a file no more.",
    epilog=examples(
        "smsd suppress import opted-out.csv",
        "smsd suppress import --scope main - < numbers.txt",
        "smsd suppress import moved.csv --json",
    ),
)
@click.argument("file", type=click.Path(allow_dash=True))
@_OF
@asks_daemon
def import_command(client: Client, out: Out, *, file: str, scope: str | None) -> None:
    """Text the numbers in a file no more: one a line, or the first column of CSV; `-` is standard input.

    Blank lines and lines that begin with # are passed over. Under a first line `number,scope`, as `export` writes it,
    the second column names the provider. A bad line is told and stops no other; the exit code is 65 then.
    """
    try:
        stream = click.open_file(file, "rb")
    except OSError as error:
        raise click.FileError(file, error.strerror) from None
    with stream:
        counts = _imported(client, out, stream, scope)
    out.document(counts) if out.json else out.line(f"{_counted(counts)}.")
    if counts["bad"]:
        leave(EX_DATAERR)


def _imported(client: Client, out: Out, file: IO[bytes], scope: str | None) -> dict[str, int]:
    """How many lines were what."""
    counts = {"added": 0, "present": 0, "bad": 0}
    for line in lines(file):
        try:
            kept = client.suppress(line.number, scope=line.scope or scope)
        except SubmissionInvalid as error:
            if error.field == "scope" and not line.scope:
                raise  # it would be told of every line
            counts["bad"] += 1
            _bad(out, file.name, line, error)
        except SmsdError:
            complain([f"{file.name}:{line.nr}: it ended here, after {_counted(counts)}."], "Give the file again.")
            raise
        else:
            counts["added" if kept["added"] else "present"] += 1
    return counts


def _bad(out: Out, name: str, line: Line, error: SubmissionInvalid) -> None:
    if out.json:
        out.document({"line": line.nr, "error": error.document()})
    else:
        complain([f"{name}:{line.nr}: {error.message}"], "")


def _counted(counts: dict[str, int]) -> str:
    return f"{counts['added']} added, {counts['present']} there already, {counts['bad']} bad"


@suppress_command.command(
    "export",
    short_help="Print all suppressed numbers as CSV.",
    epilog=examples("smsd suppress export > opted-out.csv", "smsd suppress export --scope main --json"),
)
@_scope('Those of this provider; "*": those that hold at every one.')
@asks_daemon
def export_command(client: Client, out: Out, *, scope: str | None) -> None:
    """Print all suppressed numbers as CSV, under the line `number,scope`: what `import` reads."""
    if not out.json:
        out.line(HEAD)
    for each in client.suppressions(scope=scope):
        out.document(each) if out.json else out.line(_row(each))


def _row(each: Document) -> str:
    number: str = each["number"]
    return number if each["scope"] == EVERYWHERE else f"{number},{each['scope']}"
