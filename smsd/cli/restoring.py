"""How does an outbox come back from a backup?

`restore` puts a backup where the daemon's outbox is. The daemon must be stopped. What the backup knows as waiting may
have been sent since it was made, and nobody can tell: the operator decides, and is told what either choice means. The
work itself is the store's, imported inside the command.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from smsd.cli.frame import (
    AS_JSON,
    EX_CONFIG,
    EX_IOERR,
    EX_NOINPUT,
    EX_TEMPFAIL,
    EX_USAGE,
    Out,
    complain,
    examples,
    leave,
)
from smsd.cli.service import CONFIG, CONFIG_OPTION

HOW_TO_GO_ON: Final = (
    "smsd list --state failed --category UNCERTAIN",
    "smsd retry --state failed --category UNCERTAIN --force",
)


HOW_TO_STOP: Final = " A daemon is stopped by: systemctl stop smsd.service smsd.socket"


@click.command(
    "restore",
    epilog=examples(
        "smsd restore /var/backups/smsd.db",
        "smsd restore smsd.db --pending send --yes",
        "smsd restore smsd.db --state-dir ./smsd-dev",
    ),
)
@click.argument("file", type=click.Path(path_type=Path))
@CONFIG_OPTION
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the outbox goes. Default: [daemon] state_dir of the configuration.",
)
@click.option(
    "--pending",
    type=click.Choice(["hold", "send"]),
    default="hold",
    show_default=True,
    help="What becomes of messages that were not sent yet when the backup was made.",
)
@click.option("--yes", is_flag=True, help="Do not ask. Needed where nobody can be asked.")
@AS_JSON
def restore_command(
    file: Path, path: Path | None, state_dir: Path | None, pending: str, yes: bool, as_json: bool
) -> None:
    """Put a backup in the place of the daemon's outbox. The daemon must be stopped.

    Messages that were waiting when the backup was made may have been sent since. `--pending hold` keeps them back as
    failed with UNCERTAIN: none is sent twice, and you decide. `--pending send` sends them again. An outbox that is in
    the place is kept beside it under another name.

    Applications with callbacks are told of each message that is held back, once the daemon runs. The URLs of tenants
    are the configuration's: with `--state-dir` only messages that named a URL of their own are told of.
    """
    if path is not None and state_dir is not None:
        raise click.UsageError("--config and --state-dir both say where the outbox is; leave one of them out.")
    out = Out(as_json)
    if not (file.is_file() and os.access(file, os.R_OK)):
        complain([f"{file} is not a file that can be read."], "Name the FILE that `smsd backup FILE` wrote.")
        leave(EX_NOINPUT)
    place, urls = (state_dir, {}) if state_dir is not None else _configured(path or CONFIG)
    _confirm(file, place, pending, yes)
    _restore(file, place, pending, urls, out)


def _configured(path: Path) -> tuple[Path, Mapping[str, str]]:
    """Where the outbox goes, and by tenant the URL that is called back."""
    from smsd.config import ConfigError, load

    try:
        config = load(path, os.environ)
        return config.daemon.state_dir, config.callbacks.urls
    except ConfigError as error:
        complain([str(fault) for fault in error.faults], "Or say where the outbox goes: --state-dir DIR")
        leave(EX_CONFIG)


def _confirm(file: Path, place: Path, pending: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        complain(["Nobody can be asked whether to replace the outbox."], "Say so beforehand: --yes")
        leave(EX_USAGE)
    fate = "are held back as UNCERTAIN" if pending == "hold" else "are SENT, perhaps for the second time"
    click.echo(
        f"{file} takes the place of the outbox in {place}. Messages not sent yet in the backup {fate}.", err=True
    )
    click.confirm("Go on?", abort=True, err=True)


def _restore(file: Path, place: Path, pending: str, urls: Mapping[str, str], out: Out) -> None:
    from smsd.store import DiskFullError, StoreError
    from smsd.store.guard import LockHeldError
    from smsd.store.restore import restore

    try:
        done = restore(file, place, pending=pending, urls=urls)
    except StoreError as error:
        runs = isinstance(error.__cause__, LockHeldError)
        complain([str(error)], f"Nothing was changed.{HOW_TO_STOP if runs else ''}")
        leave(EX_TEMPFAIL if isinstance(error, DiskFullError) else EX_IOERR)
    replaced = None if done.replaced is None else str(done.replaced)
    if out.json:
        told = {"calls": done.calls, "ceilings_full": done.ceilings_full, "keys_forgotten": done.keys_forgotten}
        out.document({"messages": done.messages, "held": done.held, "replaced": replaced, **told})
        return
    out.line(f"{done.messages} messages are in {place}.")
    if replaced is not None:
        out.line(f"The outbox that was there is kept as {replaced}.")
    if done.held:
        out.line(
            f"{done.held} of them were not sent when the backup was made, and may have been since. They are failed"
        )
        out.line("with UNCERTAIN. Start the daemon; then look at them and send again those that are still wanted:")
        for command in HOW_TO_GO_ON:
            out.line(f"  {command}")
    _say_what_is_unknown(done.ceilings_full, done.keys_forgotten, out)


def _say_what_is_unknown(ceilings_full: bool, keys_forgotten: int | None, out: Out) -> None:
    """What happened after the backup and the restored outbox cannot know."""
    if ceilings_full:
        out.line("What was called since the backup is not known: every provider's rate counts as used up from now, and")
        out.line("sending begins as its windows pass. Pauses and halts are the backup's: smsd providers")
    if keys_forgotten != 0:
        some = "The" if keys_forgotten is None else f"The {keys_forgotten}"
        out.line(f"{some} idempotency keys used since the backup are forgotten: a program that repeats such a request")
        out.line("has its text sent again.")
