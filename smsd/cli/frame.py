"""What do all commands have in common?

The options --json and --socket, the connection, how an error is told (what happened, then what to do) and which exit
code says so to a script. It knows no command and no field of a message. Nothing here imports rich or asyncio: `smsd
send` stands in shell loops, and whoever waits for it pays for every import.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, NoReturn

import click

from smsd import client

EX_FAILED: Final = 1
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78
"""sysexits(3)"""

EXIT_CODES: Final = """\b
Exit codes (sysexits):
   0  done
   1  it did not work for another reason
  64  the command line is wrong
  65  the request is refused: invalid submission, unknown id or name, wrong state
  69  the daemon cannot be reached
  75  not now, later perhaps: backlog or disk full, shutting down, own limit, or
      the outcome is unknown (repeat with the same --key)
  77  not allowed
  78  the configuration is wrong"""


def exit_code(error: client.SmsdError) -> int:
    """What an error is to a script."""
    match error:
        case client.QueueUnavailable(code="unreachable"):
            return EX_UNAVAILABLE
        case client.QueueUnavailable() | client.LimitExceeded():
            return EX_TEMPFAIL
        case client.NotAllowed():
            return EX_NOPERM
        case client.SubmissionInvalid() | client.NotFound() | client.WrongState() | client.KeyConflict():
            return EX_DATAERR
    return EX_FAILED


class Out:
    """Where a command's answer goes: JSON for programs, text for people."""

    def __init__(self, as_json: bool) -> None:
        self.json = as_json

    def document(self, document: object) -> None:
        """One JSON document on one line."""
        click.echo(json.dumps(document, ensure_ascii=False))

    def line(self, text: str) -> None:
        """One line for a person."""
        click.echo(text)

    def problem(self, error: client.SmsdError, subject: str = "") -> None:
        """What happened and what to do, on standard error; as JSON on standard output, where the answer would stand."""
        if self.json:
            self.document({**({"id": subject} if subject else {}), "error": error.document()})
            return
        told = [str(fault["message"]) for fault in error.errors] or [error.message]
        complain(told, error.remedy, subject)


def complain(what_happened: list[str], remedy: str, subject: str = "") -> None:
    """Tell a person on standard error: what happened, one line each, then what to do."""
    for text in what_happened:
        click.echo(f"smsd: {subject + ': ' if subject else ''}{printable(text)}", err=True)
    if remedy:
        click.echo(f"      {printable(remedy)}", err=True)


def printable(text: str) -> str:
    """The text without what a terminal would obey: providers' words are shown here, and nobody vouches for them."""
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode()


def leave(code: int) -> NoReturn:
    """End the command with this exit code."""
    click.get_current_context().exit(code)


def on_terminal() -> bool:
    """Whether a person reads the answer."""
    return sys.stdout.isatty()


def asks_daemon(function: Callable[..., None]) -> Callable[..., None]:
    """A command's function `(client, out, **options)` gets both, and what the daemon refuses becomes an exit code."""

    def wrapper(*, as_json: bool, socket: str | None, **options: Any) -> None:
        out = Out(as_json)
        with client.Client(socket) as connection:
            try:
                function(connection, out, **options)
            except client.SmsdError as error:
                out.problem(error)
                leave(exit_code(error))

    for option in (SOCKET, AS_JSON):
        wrapper = option(wrapper)
    return update_wrapper(wrapper, function)


def examples(*lines: str) -> str:
    """A command's closing text: examples as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (times in UTC).")
SOCKET: Final = click.option(
    "--socket",
    metavar="PATH",
    help="The daemon's socket. Default: $SMSD_SOCKET, /run/smsd/smsd.sock, ./smsd-dev/smsd.sock.",
)
