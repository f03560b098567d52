"""How many rows does one transaction of the retention take?

So many that they cost the writer about WORK_S: a claim that comes meanwhile waits for no more than that. It learns from
how long the last ones took. It refuses to know what is done to the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from smsd.store.connection import Handle
from smsd.store.deltas import Deltas

WORK_S: Final = 0.005
"""What one transaction may take of the writer's time, its sync aside."""

FIRST_ROWS: Final = 100
LEAST_ROWS: Final = 10
MOST_ROWS: Final = 500


class Pace:
    """Rows of one transaction, by how long the last ones took."""

    def __init__(self) -> None:
        self.rows = FIRST_ROWS
        self.longest_s = 0.0
        """What the longest took of the writer's time."""
        self.busiest_s = 0.0
        """What one took of the processor, at most: without its waiting for others."""

    def timed(self, work: Callable[[Handle, Deltas], int]) -> Callable[[Handle, Deltas], int]:
        """The same work; the pace learns from it."""

        def run(db: Handle, deltas: Deltas) -> int:
            began, busy = time.perf_counter(), time.thread_time()
            rows = work(db, deltas)
            self.busiest_s = max(self.busiest_s, time.thread_time() - busy)
            self.learn(rows, time.perf_counter() - began)
            return rows

        return run

    def learn(self, rows: int, took_s: float) -> None:
        """So many rows took so long."""
        self.longest_s = max(self.longest_s, took_s)
        if took_s > WORK_S:
            self.rows = max(LEAST_ROWS, self.rows // 2)
        elif rows >= self.rows and took_s < WORK_S / 2:
            self.rows = min(MOST_ROWS, self.rows * 5 // 4)
