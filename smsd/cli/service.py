"""How is the daemon started, its configuration checked, its speed measured?

The commands that are not a conversation with a running daemon. The daemon, the configuration and the benchmark are
imported inside them: no other command waits for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from smsd.cli.frame import AS_JSON, EX_CONFIG, Out, complain, examples, leave

CONFIG: Final = Path("/etc/smsd/config.toml")

CONFIG_OPTION: Final = click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help=f"The configuration. Default: {CONFIG}.",
)


@click.command("run", epilog=examples("smsd run --dev", "smsd run --config /etc/smsd/config.toml"))
@CONFIG_OPTION
@click.option("--dev", is_flag=True, help="No configuration: a simulated carrier, state in ./smsd-dev/.")
def run_command(path: Path | None, dev: bool) -> None:
    """Run the daemon in the foreground.

    SIGTERM (or Ctrl-C) ends it in order: calls under way are finished and recorded. A second one ends it at once.
    """
    if dev and path is not None:
        raise click.UsageError("--dev needs no --config; leave one of them out.")
    from smsd.daemon import main

    leave(main(None if dev else path or CONFIG, dev))


@click.command("check-config", epilog=examples("smsd check-config", "smsd check-config --config ./config.toml"))
@CONFIG_OPTION
@AS_JSON
def check_config_command(path: Path | None, as_json: bool) -> None:
    """Check a configuration; print what is in force.

    Secrets are masked, and nothing is started. Every fault is reported at once, with its key and remedy; the exit code
    is then 78.
    """
    import os

    from smsd.config import ConfigError, describe, load

    out = Out(as_json)
    try:
        config = load(path or CONFIG, os.environ)
    except ConfigError as error:
        if as_json:
            faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            out.document({"ok": False, "faults": faults})
        else:
            complain([str(fault) for fault in error.faults], "")
        leave(EX_CONFIG)
    if as_json:
        out.document({"ok": True, "warnings": [*config.warnings], "config": describe(config)})
        return
    out.line(describe(config).rstrip())
    complain([f"warning: {warning}" for warning in config.warnings], "")


@click.command(
    "bench",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def bench_command(args: tuple[str, ...]) -> None:
    """Measure this machine: accept, send, latency, start."""
    from smsd.bench.main import run

    leave(run(args))
