"""How is a running daemon given new settings, and its outbox copied?

`reload` and `backup`. Both are done by the daemon; what arrives here of a backup is written so that FILE is either the
whole copy, on disk, or not there: first to FILE.part, which only its owner can read, then synced, then renamed.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

import click

from smsd.cli.frame import (
    EX_CANTCREAT,
    EX_CONFIG,
    EX_IOERR,
    Out,
    asks_daemon,
    complain,
    examples,
    leave,
)
from smsd.cli.render import size
from smsd.client import Client, SubmissionInvalid


@click.command(
    "reload",
    short_help="Let the daemon read its configuration again.",
    epilog=examples("smsd reload", "smsd check-config && smsd reload", "smsd reload --json"),
)
@asks_daemon
def reload_command(client: Client, out: Out) -> None:
    """Let the daemon read its configuration again; say what changed and what needs a restart.

    A faulty file changes nothing: all its faults are told, the exit code is 78, and the daemon goes on as before.
    """
    try:
        told = client.reload()
    except SubmissionInvalid as error:
        if out.json:
            out.problem(error)
        else:
            complain([_fault(fault) for fault in error.errors] or [error.message], "The old settings stay in force.")
        leave(EX_CONFIG)
    if out.json:
        out.document(told)
        return
    for key in told["changed"]:
        out.line(f"changed: {key}")
    for key in told["restart"]:
        out.line(f"needs a restart: {key}")
    if not (told["changed"] or told["restart"]):
        out.line("Nothing has changed.")
    complain([f"warning: {warning}" for warning in told["warnings"]], "")


def _fault(fault: dict[str, str | None]) -> str:
    field, message = fault.get("field"), str(fault["message"])
    return message if not field or message.startswith((f"{field}:", f"`{field}`")) else f"{field}: {message}"


@click.command(
    "backup",
    short_help="Copy the outbox of the running daemon.",
    epilog=examples(
        "smsd backup /var/backups/smsd.db",
        "smsd backup --force smsd.db",
        "smsd backup - | zstd > smsd.db.zst",
    ),
)
@click.argument("file")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@asks_daemon
def backup_command(client: Client, out: Out, *, file: str, force: bool) -> None:
    """Copy the outbox of the running daemon to FILE (`-`: standard output), as it is at one moment.

    The copy holds texts and numbers: FILE can be read by its owner only. It is a SQLite database; `smsd restore` puts
    it back. Nothing waits for the copy, neither submissions nor sending.
    """
    if file == "-":
        if out.json:
            raise click.UsageError("--json and `-` both want standard output; leave one of them out.")
        if sys.stdout.isatty():
            raise click.UsageError("A database does not belong on a terminal; name a FILE, or send it through a pipe.")
        _copied(client, sys.stdout.buffer)
        return
    target = Path(file)
    _refuse_existing(target, force)
    try:
        count = _written(client, target, force)
    except OSError as error:
        complain([f"{target} cannot be written: {error.strerror or error}."], "Name a FILE in a directory with room.")
        leave(EX_CANTCREAT if isinstance(error, PermissionError | FileNotFoundError) else EX_IOERR)
    if out.json:
        out.document({"file": str(target), "bytes": count})
    else:
        out.line(f"{target}: {size(count)}")


def _refuse_existing(target: Path, force: bool) -> None:
    if target.is_dir():
        raise click.UsageError(f"{target} is a directory; name a file in it.")
    if target.exists() and not force:
        complain([f"{target} exists."], "Name another file, or replace it: --force")
        leave(EX_CANTCREAT)


def _written(client: Client, target: Path, force: bool) -> int:
    """Copy to the partial file, then give it its name. Raises OSError, SmsdError; the partial file is gone then."""
    part = target.with_name(target.name + ".part")
    with _opened(part) as file:
        try:
            count = _copied(client, file)
            os.fsync(file.fileno())
            _refuse_existing(target, force)
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name too is on disk, or the power may take it back
    finally:
        os.close(directory)
    return count


def _copied(client: Client, file: IO[bytes]) -> int:
    counting = _Counting(file)
    try:
        count = client.backup(cast(BinaryIO, counting))
        file.flush()
    finally:
        counting.done()
    return count


def _opened(part: Path) -> IO[bytes]:
    """The partial file, empty and locked: what a killed backup left is taken over, a running one is not disturbed."""
    file = os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        complain([f"Another backup is writing {part}."], "Wait for it, or name another FILE.")
        leave(EX_CANTCREAT)
    os.fchmod(file.fileno(), 0o600)
    file.truncate()
    return file


class _Counting:
    """A file to write to that tells a person on a terminal how far it is."""

    PAUSE_S: Final = 0.1

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._shown = sys.stderr.isatty()
        self._count = 0
        self._told = 0.0

    def write(self, data: bytes) -> int:
        self._count += len(data)
        now = time.monotonic()
        if self._shown and now - self._told >= self.PAUSE_S:
            self._told = now
            click.echo(f"\r{size(self._count)} ...\x1b[K", nl=False, err=True)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def done(self) -> None:
        """Leave the terminal as it was."""
        if self._shown:
            click.echo("\r\x1b[K", nl=False, err=True)
