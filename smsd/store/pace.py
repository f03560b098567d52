"""How much does one transaction of the retention do?

At most MOST_ROWS rows, and in slices, after each of which it looks at the time: when WORK_S is over it ends, and what
is left comes with the next one. So a claim that comes meanwhile waits for that and a sync, however slow the disk or a
sort of rows is. It refuses to know what is done to the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from smsd.store.connection import Handle
from smsd.store.deltas import Deltas

R = TypeVar("R")

WORK_S: Final = 0.005
"""What one transaction may take of the writer's time, its sync aside."""

MOST_ROWS: Final = 200
"""Each may write pages of its own, which the sync waits for."""

SLICE: Final = 10


class Pace:
    """Cuts work into transactions, and remembers the longest."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        """What the longest took of the writer's time."""
        self.busiest_s = 0.0
        """What one took of the processor, at most: without its waiting for others."""

    def within(
        self, rows: Sequence[R], act: Callable[[Handle, Deltas, Sequence[R]], int]
    ) -> Callable[[Handle, Deltas], tuple[int, int]]:
        """A transaction that acts on the first of the rows, as many as the time allows: on how many, and the sum of
        what `act` said."""

        def run(db: Handle, deltas: Deltas) -> tuple[int, int]:
            began, busy = time.perf_counter(), time.thread_time()
            dealt = total = 0
            while dealt < len(rows) and (dealt == 0 or time.perf_counter() - began < WORK_S):
                some = rows[dealt : dealt + SLICE]
                total += act(db, deltas, some)
                dealt += len(some)
            self.longest_s = max(self.longest_s, time.perf_counter() - began)
            self.busiest_s = max(self.busiest_s, time.thread_time() - busy)
            return dealt, total

        return run
