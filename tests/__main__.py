"""The one command: python -m tests [pytest arguments]. Format, lint, types, then tests; the first failure ends it.

Two runs of tests: what lives in virtual time, in plain values or in a world of its own, over all cores; then what has
daemons, great loads and the real clock, one after the other, because such tests disturb each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHECKS: tuple[tuple[str, list[str]], ...] = (
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("lint", ["-m", "ruff", "check", "."]),
    ("types", ["-m", "mypy"]),
)

WORKERS = str((os.cpu_count() or 1) + 1)
"""One more than there are cores: many tests wait now and then for something else than the processor."""

TIMELESS = (
    "bench",
    "cli",
    "client",
    "config",
    "core",
    "engine",
    "listeners",
    "logs",
    "providers",
    "simulation",
    "store",
)
"""Directories of tests that no neighbour can disturb, but for TIMED."""

TIMED = tuple(f"tests/listeners/test_{name}.py" for name in ("batch", "http_cut", "http_limits"))
"""Files there that count on what happens within a second or so."""

PLAIN = (
    *(f"tests/test_{name}.py" for name in ("architecture", "templates", "wire")),
    *(
        f"tests/daemon/test_{name}.py"
        for name in (
            "audit",
            "batch_http",
            "faults",
            "import",
            "kill",
            "life",
            "outcomes",
            "systemd",
            "verdicts",
            "way_back",
        )
    ),
)
"""Files elsewhere that no neighbour can disturb either: their daemons have time."""


def runs(arguments: list[str]) -> tuple[tuple[str, list[str]], ...]:
    """The runs of tests. Who names tests, or wants anything but --long, gets one run."""
    if [argument for argument in arguments if argument != "--long"]:
        return (("tests", ["-m", "pytest", *arguments]),)
    timeless = [*PLAIN, *(f"tests/{name}" for name in TIMELESS)]  # the long ones first: no core ends alone
    timed = [f"--ignore={name}" for name in TIMED]
    plain = [f"--ignore={name}" for name in PLAIN]
    directories = {path.parent for path in (ROOT / "tests").glob("*/test_*.py")}
    rest = sorted(str(each.relative_to(ROOT)) for each in directories if each.name not in TIMELESS)
    rest += sorted({str(each.relative_to(ROOT)) for each in (ROOT / "tests").glob("test_*.py")} - {*PLAIN})
    return (
        ("tests in any order", ["-m", "pytest", "-n", WORKERS, "--dist", "worksteal", *timeless, *timed, *arguments]),
        ("tests in order", ["-m", "pytest", *rest, *TIMED, *plain, *arguments]),
    )


def environment() -> dict[str, str]:
    """With compiled files: every worker would compile every test anew."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def warming(arguments: list[str]) -> Iterator[None]:
    """Compile the tests beside the checks, which use one core: the workers find them done."""
    if runs(arguments)[0][0] == "tests":
        yield
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:cacheprovider"]
    quiet = subprocess.DEVNULL  # a fault of collection is told by the run that meets it
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=quiet, stderr=quiet):
        yield


def check(name: str, command: list[str]) -> int:
    """Run it and say how long it took; its exit code."""
    began = time.monotonic()
    print(f"== {name}", flush=True)
    code = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment(), check=False).returncode
    print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
    return code


def main(arguments: list[str]) -> int:
    """Run everything; the exit code of the first check that fails."""
    with warming(arguments):
        code = next((code for each in CHECKS if (code := check(*each))), 0)
    return code or next((code for each in runs(arguments) if (code := check(*each))), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
