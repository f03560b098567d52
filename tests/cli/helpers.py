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


def on_terminal(*args: str, **environ: str) -> str:
    """What a person sees on a terminal of 200 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    seen = bytearray()

    def read() -> None:
        try:
            while data := os.read(ours, 65_536):
                seen.extend(data)
        except OSError:
            return  # Linux says EIO when the last writer has gone

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run(
        [sys.executable, "-m", "smsd", *args],
        stdout=theirs,
        check=True,
        timeout=20,
        env={**os.environ, "TZ": "UTC", **environ},
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return seen.decode()
