"""What do all commands have in common?

The options --json, --socket, --url and --token-file, the connection, how a span is written, how an error is told (what
happened, then what to do) and which exit code says so to a script. It knows no command and no field of a message.
Nothing here imports rich or asyncio: `smsd send` stands in shell loops, and whoever waits for it pays for every import.

A token is never an argument: arguments of a process can be read by everybody on the machine (ps, /proc/PID/cmdline).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Final, NoReturn

import click

from smsd import client

EX_FAILED: Final = 1
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_NOINPUT: Final = 66
EX_UNAVAILABLE: Final = 69
EX_CANTCREAT: Final = 73
EX_IOERR: Final = 74
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
EX_CONFIG: Final = 78
"""sysexits(3)"""

EXIT_CODES: Final = """\b
Exit codes (sysexits): 0 done, 64 wrong command line, 65 refused, 69 no daemon
or not sent, 75 not now, 77 not allowed, 78 wrong configuration. All of them:
  smsd help exit-codes"""


def exit_code(error: client.SmsdError) -> int:
    """What an error is to a script."""
    match error:
        case client.QueueUnavailable(code="unreachable"):
            return EX_UNAVAILABLE
        case client.SmsdError(code="outcome_unknown", field="provider"):
            return EX_UNAVAILABLE  # a provider that was to be told something
        case client.SmsdError(code="not_available", field="provider"):
            return EX_CONFIG
        case client.QueueUnavailable() | client.LimitExceeded():
            return EX_TEMPFAIL
        case client.NotAllowed():
            return EX_NOPERM
        case client.SubmissionInvalid() | client.NotFound() | client.WrongState() | client.KeyConflict():
            return EX_DATAERR
    return EX_FAILED


class AnswerError(OSError):
    """Standard output did not take the answer: a full disk, a device that is gone. Whatever was asked for is done."""


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


def spans(least: float, most: float) -> Callable[[click.Context, click.Parameter, str | None], float | None]:
    """For an option's callback: a length of time (`5s`, `1.5m`, `1h30m`; a bare number is seconds) becomes seconds.

    `least` and `most` are seconds; anything else is a usage error.
    """

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
        if value is None:
            return None
        length = seconds(value)
        if length is None:
            raise click.BadParameter(f"{value!r} is not a span of time; write 500ms, 5s, 2m or 1h30m.")
        if not least <= length <= most:
            raise click.BadParameter(f"{value!r} is not between {least:g} s and {most:g} s.")
        return length

    return read


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def seconds(text: str) -> float | None:
    """Of a span; None when it is not one. The daemon's own reading (core/units.py) is stricter: it wants a unit."""
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text):
        return float(text)
    if not re.fullmatch(r"([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h|d))+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-z]+)", text))


def span_text(seconds: float) -> str:
    """Seconds as a span the daemon reads."""
    return f"{round(seconds * 1_000)}ms"


def connect(
    socket: str | None, url: str | None, token_file: str | None, timeout: float = client.TIMEOUT
) -> client.Client:
    """A client of the daemon that the options name: the command's, else those before the command, else the environment.

    Raises click.UsageError for options that contradict each other, click.FileError for a token's file that cannot be
    read, SmsdError for a URL that is none.
    """
    before = click.get_current_context().find_root().params
    if not (socket or url):
        socket, url = before.get("socket"), before.get("url")
    token_file = token_file or before.get("token_file")
    if socket and url:
        raise click.UsageError("--socket and --url name two doors; leave one of them out.")
    if token_file:
        url = url or (None if socket else os.environ.get("SMSD_URL"))
        if not url:
            raise click.UsageError("--token-file is for --url (or SMSD_URL); the socket needs no token.")
    token = _token(token_file) if token_file else None
    return client.Client(socket, url=url or None, token=token, timeout=timeout)


def _token(path: str) -> str:
    """Raises click.FileError."""
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib costs `smsd send` its start
            token = file.read(4_096).strip()
    except OSError as error:
        raise click.FileError(path, f"{error.strerror}. It holds one line: the token.") from None
    except UnicodeDecodeError:
        raise click.FileError(path, "It is not ASCII. It holds one line: the token.") from None
    if not token:
        raise click.FileError(path, "It is empty. It holds one line: the token.")
    return token


def asks_daemon(function: Callable[..., None]) -> Callable[..., None]:
    """A command's function `(client, out, **options)` gets both, and what the daemon refuses becomes an exit code."""

    def wrapper(*, as_json: bool, socket: str | None, url: str | None, token_file: str | None, **options: Any) -> None:
        out = Out(as_json)
        try:
            with connect(socket, url, token_file) as connection:
                function(connection, out, **options)
        except client.SmsdError as error:
            out.problem(error)
            leave(exit_code(error))

    for option in (*DOOR, AS_JSON):
        wrapper = option(wrapper)
    return update_wrapper(wrapper, function)


def examples(*lines: str) -> str:
    """A command's closing text: examples as they are typed."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


AS_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs (times in UTC).")
TOKEN_FILE: Final = click.option(
    "--token-file", metavar="FILE", help="File with the token for --url. Default: the token in $SMSD_TOKEN."
)
URL: Final = click.option(
    "--url", metavar="URL", help="The daemon's HTTP address, instead of the socket. Default: $SMSD_URL."
)
SOCKET: Final = click.option(
    "--socket",
    metavar="PATH",
    help="The daemon's socket. Default: $SMSD_SOCKET, /run/smsd/smsd.sock, ./smsd-dev/smsd.sock.",
)
DOOR: Final = (TOKEN_FILE, URL, SOCKET)
"""The options that say where the daemon is; applied last to first."""
