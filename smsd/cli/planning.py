"""How does a person ask what a file of recipients would come to?

`smsd plan`: the same file and the same options as `smsd import`, read by the same `sheets`, and nothing is sent. What
would happen the daemon says.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import click

from smsd.cli.frame import EX_DATAERR, Out, asks_daemon, complain, examples, leave, printable
from smsd.cli.importing import campaign_options, opened, tell_of_sheet
from smsd.cli.sheets import Sheet, SheetError, campaign_of
from smsd.cli.terms import hours
from smsd.client import Client, Document

ERRORS: Final = 100
"""Invalid rows that are told of with --json."""

SHOWN: Final = 10
"""Invalid rows that are told of; --json has a hundred."""


@click.command(
    "plan",
    short_help="Say what a CSV file would come to: counts, cost, and when it ends.",
    epilog=examples(
        'smsd plan spring.csv --text "We open at nine."',
        'smsd plan spring.csv --template spring --rate 500/min --between "09:00-18:00 Asia/Tokyo"',
        "smsd plan spring.csv --json",
    ),
)
@campaign_options
@asks_daemon
def plan_command(client: Client, out: Out, *, file: Path, campaign: str | None, **options: Any) -> None:
    """Say what `smsd import` with the same FILE and options would come to. Nothing is stored and nothing is sent.

    Told are: rows that are not valid, opted-out numbers, numbers that stand there twice, segments, cost, rows that
    quiet hours would hold up, when the last message would go, and which limit decides that. See `smsd help plan`.

    Exit codes: 0 all rows are valid, 65 some are not.
    """
    id = campaign or campaign_of(file)
    if not id:
        raise click.UsageError("Nothing of the file's name can be in an id; give one with --campaign.")
    with ExitStack() as stack:
        sheet = opened(stack, file, id, options)
        try:
            found = _planned(client, sheet, id, options)
        except SheetError as error:
            tell_of_sheet(error, file)
            leave(EX_DATAERR)
    if out.json:
        out.document(found)
    else:
        _show(out, id, found)
    if found["invalid"]:
        leave(EX_DATAERR)


def _planned(client: Client, sheet: Sheet, campaign: str, options: dict[str, Any]) -> Document:
    """The answer, and with it the rows that cannot even be read; in the place of `index` stands the line in the file.
    Raises SheetError, SmsdError."""
    unreadable: list[Document] = []
    lines = array("I")
    said = {"campaign": campaign, "rate": options["rate"], "tenant": options["tenant"]}
    rows = _readable(sheet, lines, unreadable)
    found = client.plan(rows, send_between=hours(options["between"]), **said)
    errors = [{"line": lines[fault.pop("index")], **fault} for fault in found["errors"]]
    found["errors"] = sorted([*unreadable[:ERRORS], *errors], key=lambda fault: int(fault["line"]))[:ERRORS]
    found["rows"] += len(unreadable)
    found["invalid"] += len(unreadable)
    if unreadable:
        found["codes"]["malformed"] = found["codes"].get("malformed", 0) + len(unreadable)
    return found


def _readable(sheet: Sheet, lines: array[int], unreadable: list[Document]) -> Iterator[Document]:
    """The rows that can be read; `lines` gets the line of each."""
    for row in sheet:
        if row.fault:
            unreadable.append({"line": row.line, "field": None, "code": "malformed", "message": row.fault})
        else:
            lines.append(row.line)
            yield row.fields


def _show(out: Out, campaign: str, found: Document) -> None:
    rows: list[tuple[str, str]] = [("rows", f"{found['rows']:,}")]
    for name, words in COUNTS.items():
        if found[name]:
            rows.append((words, f"{found[name]:,}"))
    rows += [("segments", f"{found['segments']:,}")]
    rows += [(f"in {name}", f"{count:,}") for name, count in found["encodings"].items()]
    rows += [("cost", f"{amount} {currency}".strip()) for currency, amount in found["cost"].items()]
    if found["held_by_quiet_hours"]:
        rows.append(("until", found["quiet_until"]))
    if found["finishes_at"] is not None:
        rows += [("starts", found["starts_at"]), ("finishes", f"{found['finishes_at']} ({_span(found['duration_s'])})")]
    decided = found["decided_by"]
    if decided is not None:
        rows.append(("decided by" if found["finishes_at"] else "never ends", f"{decided['limit']}: {decided['words']}"))
    out.line(f"campaign {printable(campaign)}, if it were sent now")
    for name, value in rows:
        out.line(f"  {name:<22}{printable(value)}")
    told = [f"line {each['line']}: {each['code']}: {each['message']}" for each in found["errors"][:SHOWN]]
    complain(told, "")
    if found["invalid"] > len(told):
        complain([f"{found['invalid']:,} rows are not valid"], "--json tells of the first hundred.")


COUNTS: Final = {
    "invalid": "not valid",
    "already_there": "already there",
    "suppressed": "opted out",
    "limited": "refused by a limit",
    "duplicates": "to a number again",
    "truncated": "cut short",
    "expiring": "would expire",
    "unpriced": "without a price",
    "held_by_quiet_hours": "held by quiet hours",
}


def _span(seconds: float) -> str:
    """For people: `3 h 20 min`, `12 s`."""
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    told = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(told[:2]) or "at once"
