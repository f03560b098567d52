"""What do the transitions of one transaction add up to?

Counters, error categories, minutes and the flows' pending counts are kept by the transaction that changes the messages,
so they are as crash-safe as the messages themselves and nothing is ever counted over the table. A Deltas collects the
differences of one transaction and writes them once at its end. It knows no messages, only what moved.
"""

from __future__ import annotations

from collections import Counter

from smsd.core.message import Instant, State
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.statements import change

MINUTE_MS = 60_000


class Deltas:
    """Differences, not totals."""

    __slots__ = ("_categories", "_counters", "_minutes", "_pending")

    def __init__(self) -> None:
        self._counters: Counter[tuple[int, int]] = Counter()
        self._pending: Counter[int] = Counter()
        self._categories: Counter[str] = Counter()
        self._minutes: dict[tuple[int, str], list[int]] = {}

    def accepted(self, priority: int, flow: int) -> None:
        """A new pending message."""
        self._counters[State.PENDING, priority] += 1
        self._pending[flow] += 1

    def moved(self, before: State, after: State, priority: int, flow: int) -> None:
        """A message went from one state to another."""
        if before is after:
            return
        self._counters[before, priority] -= 1
        self._counters[after, priority] += 1
        if before is State.PENDING:
            self._pending[flow] -= 1
        elif after is State.PENDING:
            self._pending[flow] += 1

    def failed(self, category: str) -> None:
        """A message ended in `failed`."""
        self._categories[category] += 1

    def called(self, at: Instant, provider: str, *, sent: bool = False, failed: bool = False) -> None:
        """A call of the provider was settled: sent, failed for good, or (neither) throttled."""
        row = self._minutes.setdefault((at // MINUTE_MS, provider), [0, 0, 0])
        row[0 if sent else 1 if failed else 2] += 1

    def write(self, db: Handle) -> None:
        """Write the differences into the open transaction."""
        # A flow is written even when its differences cancel out: its next due time may have changed.
        change(db, sql.ADD_PENDING, sorted(self._pending.items()))
        change(db, sql.ADD_COUNTERS, [(state, priority, n) for (state, priority), n in self._counters.items() if n])
        change(db, sql.ADD_CATEGORIES, list(self._categories.items()))
        change(db, sql.ADD_MINUTES, [(*key, *row) for key, row in self._minutes.items()])
