"""The one command: python -m tests [pytest arguments]. Format, lint, types, then tests; the first failure ends it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]

CHECKS: tuple[tuple[str, list[str]], ...] = (
    ("format", ["-m", "ruff", "format", "--check", "."]),
    ("lint", ["-m", "ruff", "check", "."]),
    ("types", ["-m", "mypy"]),
)


def main(arguments: list[str]) -> int:
    """Run everything; the exit code of the first check that fails."""
    for name, command in [*CHECKS, ("tests", ["-m", "pytest", *arguments])]:
        began = time.monotonic()
        print(f"== {name}", flush=True)
        code = subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
        print(f"== {name}: {'ok' if code == 0 else 'FAILED'} in {time.monotonic() - began:.0f} s", flush=True)
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
