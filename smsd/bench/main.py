"""How fast is smsd on this machine, in one command?

`smsd bench`: takes the measures one after the other, tells on standard error which one, and prints one table. Nothing
here passes or fails by a figure: the exit code says whether it could be measured. A measure that fails is reported with
its reason, and the others are taken all the same. However it ends (Ctrl-C and SIGTERM included), the processes are
gone and so is the directory.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from smsd.bench.bars import ROWS
from smsd.bench.ground import FULL, QUICK, Bench
from smsd.bench.measures import MEASURES
from smsd.bench.processes import MeasureError
from smsd.bench.report import Reading, Report, file_system, machine
from smsd.client import SmsdError

EX_OK: Final = 0
EX_FAILED: Final = 1
EX_USAGE: Final = 64
INTERRUPTED: Final = 130

DIRECTORY: Final = Path("/var/tmp")  # noqa: S108 -- a new directory with a name of its own is made in it
"""Unlike /tmp it is on a disk (hier(7)); in memory a sync costs nothing, and the figures would not be true."""
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
PATH_BYTES: Final = 107
"""Of a Unix socket (unix(7))."""
OWN_BYTES: Final = len("/smsd-bench-12345678/99/s")


class Arguments(argparse.ArgumentParser):
    """Usage errors end with sysexits' code, as those of the other commands do."""

    def error(self, message: str) -> NoReturn:
        self.exit(EX_USAGE, f"{self.format_usage()}{self.prog}: {message}\n")


def run(args: Sequence[str]) -> int:
    """`smsd bench ARGS`; the exit code. SystemExit for --help and faulty arguments."""
    given = _parse(args)
    size = QUICK if given.quick else FULL
    began, load = time.monotonic(), os.getloadavg()[0]
    readings: dict[str, Reading] = {}
    with _ends_by_exception():
        try:
            with tempfile.TemporaryDirectory(prefix="smsd-bench-", dir=given.dir) as root:
                bench = Bench(Path(root), size)
                for name in given.only or MEASURES:
                    print(f"smsd: measuring {name}", file=sys.stderr, flush=True)
                    readings.update((reading.row.name, reading) for reading in take(name, bench))
            code = EX_FAILED if any(reading.failure for reading in readings.values()) else EX_OK
        except KeyboardInterrupt:
            print("smsd: interrupted", file=sys.stderr)
            code = INTERRUPTED
    ordered = [readings[name] for name in ROWS if name in readings]
    seconds = time.monotonic() - began
    report = Report(ordered, machine(given.dir), load, size.pending, given.quick, seconds)
    print(json.dumps(report.document()) if given.json else report.text())
    return code


def take(name: str, bench: Bench) -> Iterable[Reading]:
    """One measure: a Reading for each of its rows."""
    measure = MEASURES[name]
    values: dict[str, float] = {}
    failure = ""
    try:
        values.update(measure.take(bench))  # what came before a failure stays
    except (MeasureError, SmsdError, OSError) as error:
        failure = str(error) or type(error).__name__
    return [Reading(ROWS[row], values.get(row), "" if row in values else failure) for row in measure.rows]


def _parse(args: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(prog="smsd bench", description="Measure smsd on this machine. Takes about two minutes.")
    parser.add_argument("--quick", action="store_true", help="half a minute; smaller loads, so rougher figures")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    parser.add_argument(
        "--only",
        nargs="+",
        action="extend",
        choices=[*MEASURES],
        metavar="NAME",
        help=f"only these measures: {', '.join(MEASURES)}",
    )
    parser.add_argument(
        "--dir", type=Path, default=DIRECTORY, help=f"where the outboxes lie meanwhile; default: {DIRECTORY}"
    )
    given = parser.parse_args(args)
    given.dir = given.dir.resolve()
    if not given.dir.is_dir():
        parser.error(f"--dir: {given.dir} is not a directory; make it or name another one")
    if len(str(given.dir)) + OWN_BYTES > PATH_BYTES:
        parser.error(
            f"--dir: longer than {PATH_BYTES - OWN_BYTES} bytes, too long for a socket in it; name another one"
        )
    if (kind := file_system(given.dir)) in IN_MEMORY:
        print(f"smsd: {given.dir} is {kind}: a sync costs nothing there; use --dir on a disk", file=sys.stderr)
    return given


@contextmanager
def _ends_by_exception() -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the run as Ctrl-C does, so that nothing is left behind."""

    def unwind(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, unwind) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
