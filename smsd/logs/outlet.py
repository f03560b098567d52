"""How does a line get out without holding anybody up?

The caller appends to a queue with a bound; a thread writes. When the queue is full, or the log is closed, lines are
dropped and counted, and a later line says how many. A queue and not a direct write, because a log disk that is full or
a reader that hangs must not stop a text. It refuses to know what a line says.

Each line comes with its target. So the form of the log may change while lines of the old form wait, or are being made
by another thread: each still goes where its form is read, in the order in which they came.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Final

from smsd.logs.targets import PATIENCE_S, Target

QUEUE_BYTES: Final = 4 << 20
"""Lines waiting to be written; above it new ones are dropped."""
GATHER_S: Final = 0.01
"""The writer waits this long for lines to gather: a write costs more than a line."""


class Outlet:
    """The queue and the thread that empties it.

    `targets`: all that lines may come for; they are closed at the end. `report` makes the line that tells of a number
    of dropped ones, and names its target.
    """

    def __init__(
        self, targets: Sequence[Target], report: Callable[[int], tuple[Target, bytes]], bound: int = QUEUE_BYTES
    ) -> None:
        self._targets = targets
        self._report = report
        self._bound = bound
        # Re-entrant: a finaliser that logs may run inside `put` itself.
        self._lock = threading.RLock()
        self._signal = threading.Event()
        self._runs: list[tuple[Target, list[bytes]]] = []
        """Lines in their order; neighbours for one target lie together."""
        self._size = 0
        self._awake = False
        self._deadline: float | None = None
        self._unreported = 0
        self.dropped = 0
        """Lines that were not written since the start."""
        self._thread = threading.Thread(target=self._run, name="smsd-log", daemon=True)
        self._thread.start()

    def put(self, target: Target, line: bytes) -> None:
        """Queue a line; drops and counts it when the queue is full or closed. Never waits, never raises."""
        with self._lock:
            if self._size + len(line) > self._bound or self._deadline is not None:
                self._lose(1)
                return
            if not self._runs or self._runs[-1][0] is not target:
                self._runs.append((target, []))
            self._runs[-1][1].append(line)
            self._size += len(line)
            if self._awake:
                return
            self._awake = True
        self._signal.set()

    def close(self, patience_s: float = 2.0) -> None:
        """Write what is queued, for at most `patience_s`; what is left is counted as dropped."""
        self._deadline = monotonic() + patience_s
        self._signal.set()
        self._thread.join(patience_s + 2 * PATIENCE_S)

    def _lose(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _run(self) -> None:
        while True:
            self._signal.wait()
            if self._deadline is None:
                sleep(GATHER_S)
            with self._lock:
                runs, self._runs = self._runs, []
                self._size = 0
                self._awake = False
                self._signal.clear()
                lost_before = self._unreported
            lost = sum(self._write(target, lines) for target, lines in runs)
            told = lost_before > 0 and self._tell(lost_before)
            with self._lock:
                self._lose(lost)
                if told:
                    self._unreported -= lost_before
            if self._deadline is not None and not self._runs:
                for target in self._targets:
                    target.close()
                return

    def _write(self, target: Target, lines: list[bytes]) -> int:
        """How many could not be written."""
        return target.write(lines, lambda: self._deadline)

    def _tell(self, count: int) -> bool:
        target, line = self._report(count)
        return self._write(target, [line]) == 0
