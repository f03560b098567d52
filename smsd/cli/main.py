"""What can be typed after `smsd`?

The table of commands, each imported when it is typed, what click's own errors are in sysexits(3), and what becomes of
an answer that cannot be written. The commands stand beside this file; none of them touches the outbox of a running
daemon.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, NoReturn, TextIO

import click

from smsd import __version__
from smsd.cli.frame import DOOR, EX_FAILED, EX_IOERR, EX_NOINPUT, EX_USAGE, EXIT_CODES, AnswerError, complain

SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Messages": {
        "send": "submit",
        "show": "messages",
        "queue": "messages",
        "list": "messages",
        "cancel": "acting",
        "reschedule": "acting",
        "retry": "acting",
        "failed": "failing",
        "user": "people",
        "recipient": "people",
        "inbound": "receiving",
        "import": "importing",
        "campaign": "campaigning",
        "plan": "planning",
    },
    "The daemon": {
        "stats": "state",
        "alerts": "alerting",
        "report": "reporting",
        "providers": "state",
        "suppress": "suppressing",
        "provider": "registering",
        "callbacks": "calling_back",
        "pause": "state",
        "resume": "state",
        "watch": "watch",
        "ping": "state",
        "doctor": "doctor.command",
        "audit": "auditing",
        "reload": "keeping",
        "backup": "keeping",
    },
    "Setting up": {
        "run": "service",
        "check-config": "service",
        "token": "tokens",
        "restore": "restoring",
        "completion": "completion",
        "bench": "service",
        "help": "help",
    },
}
"""Heading -> command -> module of this package, in the order of the help. There it is `NAME_command`, `_` for `-`."""

COMMANDS: Final[Mapping[str, str]] = {
    name: module for commands in SECTIONS.values() for name, module in commands.items()
}

INTERRUPTED: Final = 130


class Commands(click.Group):
    """Imports a command's module when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"smsd.cli.{COMMANDS[cmd_name]}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One list under each heading."""
        widest = max(map(len, COMMANDS))
        for heading, names in SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name.ljust(widest), command.get_short_help_str(limit=formatter.width - widest - 6)))
            with formatter.section(heading):
                formatter.write_dl(rows)


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, prog_name="smsd")
def smsd(**_: str | None) -> None:
    """An outbox for text messages: what it accepts is durable, paced to the carrier, sent once, and can be explained.

    \b
    Try it:
      smsd run --dev                       a daemon with a simulated carrier
      smsd send +15550100123 "Hello"       prints the message's id
      smsd show ID                         what became of it, and why
      smsd queue                           what waits, and for what
      smsd help                            what else there is to know
    """


for _option in DOOR:
    _option(smsd)


class _Answer(io.BufferedWriter):
    """Standard output whose failures cannot be taken for those of another file. Of a broken pipe click makes a silent
    end of the command.

    Not the file below it: an interrupt in a Python method there comes after the write and before its count is known,
    and what was written would be written again.
    """

    def write(self, data: Any, /) -> int:
        """`data`: anything with bytes in it (typing has no name for that before Python 3.12)."""
        try:
            return super().write(data)
        except OSError as error:
            raise AnswerError(error.errno, error.strerror) from None

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise AnswerError(error.errno, error.strerror) from None


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The console script: run a command and end the process with its exit code."""
    sys.stdout = _watched(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character shows its number instead of ending the command.
            stream.reconfigure(errors="backslashreplace")
    sys.exit(_run(args))


def _watched(stream: TextIO) -> TextIO:
    """The same file, whose failures are AnswerErrors; anything but a plain file of the process is left as it is."""
    if type(stream) is not io.TextIOWrapper:
        return stream
    return io.TextIOWrapper(
        _Answer(io.FileIO(stream.fileno(), "wb", closefd=False)),
        stream.encoding,
        line_buffering=stream.line_buffering or stream.write_through,  # python -u
    )


def _run(args: Sequence[str] | None) -> int:
    try:
        return _result(args)
    except AnswerError as error:
        with suppress(OSError):  # standard error may be on the same full disk; the exit code says it too
            complain([f"the answer could not be written: {error.strerror}"], "")
        _forget()
        return EX_IOERR


def _forget() -> None:
    """Drop what is still buffered: it would fail again when the process ends, and Python would have the last word."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())


def _result(args: Sequence[str] | None) -> int:
    try:
        code = smsd.main(args, prog_name="smsd", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        return EX_USAGE
    except click.FileError as error:
        error.show()
        return EX_NOINPUT
    except click.ClickException as error:
        error.show()
        return EX_FAILED
    except click.Abort:
        click.echo("smsd: interrupted", err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else 0
