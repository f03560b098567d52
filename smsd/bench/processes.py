"""How does a process of the benchmark start, say something and end?

Each is `python -m` something, started as a user would start it and ended by its process id, whatever happened
meanwhile. All that can go wrong is a MeasureError whose text is the reason: the process's own last words where it has
any. It knows Linux's /proc for what a process cost. It does not know what any of them does.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

START_S: Final = 30.0
"""Patience with any process until it is ready."""
LOOK_S: Final = 0.03
"""Between looks at the carrier's count. A look costs it 0.2 ms."""

_LEFT_OUT: Final = ("SMSD_", "NOTIFY_", "LISTEN_", "WATCHDOG_")
"""Variables that would make a daemon believe that systemd or an operator meant it."""


class MeasureError(Exception):
    """A measure could not be taken; the text says why."""


class Deadline:
    """The end of the whole run (`seconds` from now)."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = time.monotonic() + seconds

    def within(self, seconds: float) -> float:
        """The earlier of `seconds` from now and the run's end, as time.monotonic(). MeasureError when it is past."""
        self._not_over()
        return min(time.monotonic() + seconds, self._at)

    def until(self, holds: Callable[[], bool], what: str, seconds: float, look_s: float = LOOK_S) -> None:
        """Look until it holds. MeasureError, naming `what`, when it does not within `seconds` or by the run's end."""
        end = self.within(seconds)
        while not holds():
            if time.monotonic() > end:
                self._not_over()
                raise MeasureError(f"{what}: not within {seconds:g} s")
            time.sleep(look_s)

    def _not_over(self) -> None:
        if time.monotonic() >= self._at:
            raise MeasureError(f"the {self._seconds:g} s of the whole run are over")


class Child:
    """`python -m ARGUMENTS` as a process of its own session, so that Ctrl-C reaches us and not it."""

    def __init__(self, deadline: Deadline, directory: Path, *arguments: str) -> None:
        self._deadline = deadline
        self.name = arguments[0]
        self._log = directory / f"{self.name}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 -- our own modules, with arguments we wrote
                [sys.executable, "-m", *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        self._said = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """End it at once. Idempotent."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):  # unsent input of a process that is dead
                pipe.close()
        self._process.wait()

    def tell(self, text: str) -> None:
        """A line on its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        self._process.stdin.flush()

    def line(self, seconds: float = START_S) -> str:
        """The next line it prints. MeasureError when it ends or says nothing within `seconds`."""
        end = self._deadline.within(seconds)
        assert self._process.stdout is not None
        while b"\n" not in self._said:
            if not select.select([self._process.stdout], [], [], max(0.0, end - time.monotonic()))[0]:
                self._deadline.within(0)
                raise MeasureError(f"{self.name} said nothing within {seconds:g} s")
            data = os.read(self._process.stdout.fileno(), 1 << 16)
            if not data:
                raise MeasureError(self.last_words())
            self._said += data
        said, _, self._said = self._said.partition(b"\n")
        return said.decode()

    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        """Why it ended: the last line on its standard error."""
        code = self._process.wait()
        words = self._log.read_text(errors="replace").splitlines()
        return f"{self.name} ended with {code}: {words[-1] if words else 'it said nothing'}"

    def cpu_s(self) -> float:
        """Seconds of CPU it used so far, user and system, all threads (proc_pid_stat(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib(self, what: str = "VmRSS") -> float:
        """Resident memory now, or (`VmHWM`) at its peak (proc_pid_status(5))."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what)) / 1_024
