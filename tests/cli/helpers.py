"""What the tests of the command line share: a command as a process, on a terminal, and what it said."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

TO = "+15550100123"
UNKNOWN = "01920000-0000-7000-8000-999999999999"


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def documents(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Done]


def process(*args: str, stdin: bytes = b"", **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a command as the process a shell would start."""
    return subprocess.run(
        [sys.executable, "-m", "smsd", *args],
        check=False,
        input=stdin,
        capture_output=True,
        timeout=20,
        env={**os.environ, **environ},
    )


def on_terminal(*args: str, columns: int = 200, typed: str = "", code: int = 0, **environ: str) -> str:
    """What a person sees on a terminal, standard error and what was typed (a line) aside; the command ends with `code`.

    Without `typed` standard input is nobody's.
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    if typed:
        os.write(ours, typed.encode() + b"\n")
    seen = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 65_536):
                seen.extend(data)
        except OSError:
            return  # Linux says EIO when the last writer has gone

    reader = threading.Thread(target=read)
    reader.start()
    done = subprocess.run(
        [sys.executable, "-m", "smsd", *args],
        stdin=theirs if typed else subprocess.DEVNULL,
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=False,
        timeout=20,
        env={**{name: value for name, value in os.environ.items() if name != "COLUMNS"}, "TZ": "UTC", **environ},
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    assert done.returncode == code, done.stderr.decode()
    return seen.decode()
