"""How does a file of recipients become a campaign?

`smsd import`: what the command line says of all messages, what is told while it runs, and what is said in the end. Rows
are read by `sheets`, handed over by `feeding`, and kept by `refusing` when they are refused. Each has a key made of the
campaign and its number, so the same command, run again after whatever happened, goes on where it was and sends nothing
twice. Whether a campaign stays that has no message is the affair of `trying`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from smsd.cli.encoding import stray
from smsd.cli.feeding import Feeding, GaveUpError
from smsd.cli.frame import (
    EX_CANTCREAT,
    EX_DATAERR,
    EX_TEMPFAIL,
    Out,
    asks_daemon,
    complain,
    examples,
    exit_code,
    leave,
    printable,
    spans,
)
from smsd.cli.progress import progress
from smsd.cli.refusing import Refusals
from smsd.cli.sheets import CONVERT, Row, Sheet, SheetError, campaign_of
from smsd.cli.terms import BETWEEN, NAME, RATE
from smsd.cli.trying import Trying
from smsd.client import Client, Document, SmsdError
from smsd.client.errors import refusal

EVERY_S: Final = 10.0
"""A line of progress where nobody sees a bar."""
SHOWN: Final = 5
"""Refused rows told of; all stand in --errors."""
INTERRUPTED: Final = 130
UNSURE: Final = frozenset({"unreachable", "outcome_unknown"})
"""Rows may have been handed over that nothing was said of."""

ANEW: Final = "Run the same command again: it goes on where it was, and nothing is sent twice."
UP_TO_THERE: Final = "The rows above were handed over. Mend it, then run the same command again: nothing is sent twice."

_SHARED: Final = (
    click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path)),
    click.option("--campaign", metavar="ID", help="Its id. Default: the file's name without its ending."),
    NAME,
    click.option("--text", metavar="TEXT", help="The same text for everybody."),
    click.option("--template", metavar="NAME", help="A template of the configuration; columns fill its blanks."),
    click.option("--lang", metavar="TAG", help="The template's language, e.g. de."),
    click.option("--from", "from_", metavar="SENDER", help="Number, short code or name to send from."),
    click.option("--type", metavar="LABEL", help="A label for reports."),
    click.option("--priority", type=click.Choice(["high", "normal", "bulk"]), default="bulk", show_default=True),
    click.option("--ttl", metavar="SPAN", help="Give up this long after acceptance or --send-at, e.g. 2h."),
    click.option("--send-at", metavar="TIME", help="Not before this time (RFC 3339 with offset)."),
    click.option("--tenant", metavar="TENANT", help="On whose behalf (administrators only)."),
    RATE,
    BETWEEN,
    click.option("--skip", "skipped", metavar="COLUMN", multiple=True, help="Pass over this column. Repeatable."),
)


def campaign_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is said of a file and of its campaign as a whole."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.command(
    "import",
    short_help="Send to everybody in a CSV file, as a campaign.",
    epilog=examples(
        'smsd import spring.csv --text "We open at nine."',
        "smsd import spring.csv --template invitation --rate 1000/hour",
        'smsd import spring.csv --text Hello --between "09:00-18:00 Europe/Berlin"',
        "smsd import spring.csv --errors refused.csv",
    ),
)
@campaign_options
@click.option(
    "--errors", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Write refused rows here, if any."
)
@click.option(
    "--patience",
    default="10m",
    show_default=True,
    metavar="SPAN",
    callback=spans(0, 30 * 86_400),
    help="Give up when nothing was taken for so long.",
)
@asks_daemon
def import_command(client: Client, out: Out, *, file: Path, campaign: str | None, **options: Any) -> None:
    """Send a message to everybody in a CSV file, as one campaign.

    FILE is UTF-8 with a header (one that is not is refused as a whole, unless --errors keeps its rows); columns are
    parted by comma, semicolon, tab or |. A - is standard input, and needs --campaign. One column has the numbers:
    to, phone, number, mobile or recipient. Columns named like a message's fields (text, from, user, type, send_at,
    ttl, priority, idempotency_key, metadata.NAME ...) are these fields; with --template all others fill its blanks
    (vars.NAME where a name is taken). --text is sent as it stands: only a template has blanks.

    Every row has a key of its own, so this command can be run again after whatever happened: rows that were taken are
    not sent twice. A row that was changed since is refused (key_conflict); another --campaign sends it.

    --errors has refused rows with reasons in front; mend the rows, leave these columns, and import it into the same
    campaign. What stood there before is set aside as FILE.1, FILE.2 ... A new campaign is deleted when none of its rows
    was taken and no other import is bringing it messages.

    Exit codes: 0 all rows are taken, 65 some are refused, 75 not now: run it again.
    """
    id = campaign or campaign_of(file)
    if not id:
        raise click.UsageError("Nothing of the file's name can be in an id; give one with --campaign.")
    with ExitStack() as stack:
        sheet = opened(stack, file, id, options)
        if options["errors"] is None:
            _look_through(sheet)
        refused = _refusals(stack, options["errors"], sheet)
        Import(client, out, sheet, id, refused, options).run()


def opened(stack: ExitStack, file: Path, campaign: str, options: dict[str, Any]) -> Sheet:
    """Ends the command when the file will not do."""
    usual = {name.rstrip("_"): options[name] for name in _OF_MESSAGES if options[name] is not None}
    try:
        sheet = stack.enter_context(Sheet(file, campaign, usual, options["skipped"]))
    except SheetError as error:
        tell_of_sheet(error, file)
        leave(EX_DATAERR)
    except OSError as error:
        raise click.FileError(str(file), error.strerror) from None
    if sheet.unused:
        complain([f"columns not used: {', '.join(sheet.unused)}"], "Only a template has blanks: --template NAME.")
    return sheet


_OF_MESSAGES: Final = ("text", "template", "lang", "from_", "type", "priority", "ttl", "send_at", "tenant")


def tell_of_sheet(error: SheetError, file: Path) -> None:
    complain([error.message], error.remedy, str(file))


def _look_through(sheet: Sheet) -> None:
    """Ends the command when the file is not UTF-8 to its end: half of it would be sent, and which half is chance."""
    found = stray(sheet.fileno())
    if found is not None:
        text = f"Line {found.line} has the byte 0x{found.byte:X}, which is not UTF-8; nothing was sent."
        tell_of_sheet(SheetError(text, f"{CONVERT}. Or keep such rows for later: --errors FILE"), sheet.path)
        leave(EX_DATAERR)


def _refusals(stack: ExitStack, path: Path | None, sheet: Sheet) -> Refusals | None:
    """Ends the command when it cannot be written."""
    if path is None:
        return None
    try:
        if sheet.is_at(path):
            raise click.UsageError("--errors names the file that is imported; give it another name.")
        return stack.enter_context(Refusals(path, sheet))
    except OSError as error:
        complain([f"{path} cannot be written: {error.strerror}."], "Name another file with --errors.")
        leave(EX_CANTCREAT)


class Import:
    """One run."""

    def __init__(
        self, client: Client, out: Out, sheet: Sheet, campaign: str, refused: Refusals | None, options: dict[str, Any]
    ) -> None:
        self._out = out
        self._sheet = sheet
        self._campaign = campaign
        self._refusals = refused
        self._options = options
        self._counts: Counter[str] = Counter()
        self._first: list[str] = []
        """The first refused rows, in words."""
        self._later = ""
        """Why some rows were not taken now."""
        self._broken: SheetError | None = None
        """Why the file could not be read to its end."""
        self._is_sure = True
        """All rows that were handed over are answered: none of them comes later."""
        self._progress = progress(sheet)
        self._trying = Trying(client, campaign, options)
        self._feeding = Feeding(client, options["patience"], self._progress.say, ready=self._renew)

    def run(self) -> None:
        """Ends the command with its exit code unless all rows were taken. Raises SmsdError when nothing was begun."""
        code = 0
        try:
            self._trying.begin(self._feeding.ask)
            with self._progress:
                self._feed()
        except GaveUpError as error:
            self._out.problem(self._trying.with_remedy(error.error))
            code = exit_code(error.error) if error.for_good else EX_TEMPFAIL
            self._is_sure = error.error.code not in UNSURE or self._feeding.settled
        except KeyboardInterrupt:
            complain(["interrupted"], ANEW)
            code = INTERRUPTED
            self._is_sure = self._feeding.settled
        if self._broken is not None:
            tell_of_sheet(self._broken, self._sheet.path)
            complain([], "" if code else UP_TO_THERE)
            code = code or EX_DATAERR
        kept = self._keep()
        self._summary()
        if self._is_sure and not self._is_used():
            self._trying.leave()
        leave(code or self._code() or kept)

    def _is_used(self) -> bool:
        return any(self._counts[name] for name in ("accepted", "replayed", "failed"))

    def _renew(self) -> None:
        if not self._is_used():
            self._trying.renew(self._feeding.absences)

    def _keep(self) -> int:
        """The refused rows, in their place; the exit code if that cannot be."""
        if self._refusals is None:
            return 0
        path = self._refusals.path
        try:
            aside = self._refusals.keep()
        except OSError as error:
            complain([f"{path} cannot be written: {error.strerror}."], ANEW)
            return EX_CANTCREAT
        if aside is not None:
            complain([f"what stood in {path} is in {aside} now"], "")
        return 0

    def _feed(self) -> None:
        for row, answer in self._feeding.verdicts(self._readable()):
            if answer["ok"]:
                self._count(answer)
            else:
                self._refuse(row, refusal(answer["error"]))
            self._progress.step(self._counts)

    def _readable(self) -> Iterator[Row]:
        try:
            for row in self._sheet:
                if row.fault:
                    self._refuse(row, SmsdError("malformed", row.fault))
                    self._progress.step(self._counts)
                else:
                    yield row
        except SheetError as error:
            self._broken = error  # rows under way still get their verdicts

    def _count(self, answer: Document) -> None:
        if answer["replayed"]:
            self._counts["replayed"] += 1
        else:
            self._counts["failed" if answer["state"] == "failed" else "accepted"] += 1

    def _refuse(self, row: Row, error: SmsdError) -> None:
        told = "; ".join(str(fault["message"]) for fault in error.errors) or error.message
        if error.code == "limit_exceeded":
            self._counts["later"] += 1
            self._later = told
        else:
            self._counts["refused"] += 1
        if error.code == "key_conflict":
            told = "This row was taken before with another content; --campaign NEW sends it as it is now."
        if len(self._first) < SHOWN:
            self._first.append(f"line {row.line}: {error.code}: {told}")
        if self._refusals is not None:
            self._refusals.add(row, error.code, told)

    def _code(self) -> int:
        if self._counts["later"]:
            return EX_TEMPFAIL
        return EX_DATAERR if self._counts["refused"] else 0

    def _summary(self) -> None:
        counts = {name: self._counts[name] for name in ("accepted", "replayed", "failed", "refused", "later")}
        if self._out.json:
            self._out.document({"campaign": self._campaign, **counts, "errors": self._first})
            return
        told = [text.format(counts[name]) for name, text in WORDS.items() if counts[name] or name == "accepted"]
        self._out.line(f"campaign {printable(self._campaign)}: {', '.join(told)}")
        left = counts["refused"] + counts["later"] - len(self._first)
        complain(self._first, "")
        if left > 0:
            complain([f"and {left:,} more"], "--errors FILE keeps them all." if self._refusals is None else "")
        if counts["later"]:
            complain([f"{counts['later']} rows were not taken because of a limit: {self._later}"], ANEW)


WORDS: Final = {
    "accepted": "{:,} accepted",
    "replayed": "{:,} already there",
    "failed": "{:,} failed (opted out)",
    "refused": "{:,} refused",
    "later": "{:,} not now",
}
