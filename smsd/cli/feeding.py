"""How do very many rows reach the daemon, whatever happens on the way?

A Feeding keeps a bounded window of rows under way (client.send_many) and gives one verdict for each. What the daemon
cannot take now is waited out with growing pauses: a full backlog or disk, a restart, a lost connection. Then what was
not answered is said again; every row has a key of its own, so saying it twice does no harm. A row that a limit refuses
waits by itself while others go on.

It gives up when nothing was taken for as long as it has patience. It refuses to know where rows come from and what
becomes of the verdicts.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final

from smsd.cli.sheets import Row
from smsd.client import Client, Document, SmsdError
from smsd.client.errors import refusal

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 10.0
LATE: Final = 1_000
"""Rows that wait for a limit at the same time; one more, and the others wait too."""
TRIES: Final = 3
"""For a row that the daemon meets a fault of its own with."""
AFTER_A_LIMIT_S: Final = 5.0
"""When a limit does not say when it has room."""

NOT_NOW: Final = frozenset({"unreachable", "outcome_unknown", "backlog_full", "disk_full", "shutting_down"})
AWAY: Final = frozenset({"unreachable", "outcome_unknown", "shutting_down"})
"""Of these, those after which it may be another process."""
LIMIT: Final = "limit_exceeded"
NOBODYS: Final = frozenset({"not_allowed", "unauthenticated", "unknown_op"})
"""Of no single row unless they name a field: no row would be taken."""


class GaveUpError(Exception):
    """Rows are left. `error`: why; `for_good`: waiting does not help."""

    def __init__(self, error: SmsdError, *, for_good: bool) -> None:
        super().__init__(error)
        self.error = error
        self.for_good = for_good


class Feeding:
    """One client, and what it waits for."""

    def __init__(
        self,
        client: Client,
        patience_s: float,
        tell: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """`tell` is given a sentence for a person whenever something has to be waited for. `ready` is called whenever
        rows are about to be handed over; they wait for what it cannot do now. Raises SmsdError."""
        self._client = client
        self._patience_s = patience_s
        self._tell = tell
        self._ready = ready
        self._now = now
        self._sleep = sleep
        self._again: deque[Row] = deque()
        self._under_way: deque[Row] = deque()
        self._late: list[tuple[float, int, Row]] = []
        """When, in which order, what."""
        self._turns = count()
        self._hurdles: list[SmsdError] = []
        """What the daemon said why it takes nothing now; empty: it does."""
        self._pause_s = FIRST_PAUSE_S
        self._moved = now()
        self._ended = False
        self._is_doubtful = False
        """Rows were lost on the way, or their answers."""
        self.absences = 0
        """How often the daemon was away, or may have been."""

    @property
    def settled(self) -> bool:
        """Whether every row that was handed over is answered: none of them comes later."""
        return not self._under_way and not self._is_doubtful

    def ask(self, op: str, **fields: object) -> Document:
        """One request that may be repeated, for as long as there is patience. The first must find a daemon."""
        first = True
        while True:
            try:
                return self._client.call(op, **fields)
            except SmsdError as error:
                if error.code not in NOT_NOW or (first and error.code == "unreachable"):
                    raise
                self._wait(error)
            first = False

    def verdicts(self, rows: Iterator[Row]) -> Iterator[tuple[Row, Document]]:
        """Each row once, with the daemon's answer (`{ok: True, state, replayed ...}` or `{ok: False, error}`). Raises
        GaveUpError."""
        self._moved = self._now()
        while not self._ended or self._again or self._late:
            self._hurdles.clear()
            yield from self._round(rows)
            self._is_doubtful |= bool(self._under_way)
            self._again.extendleft(reversed(self._under_way))
            self._under_way.clear()
            if self._hurdles:
                self._wait(self._hurdles[0])
            elif self._late and (not self._again or len(self._late) >= LATE):
                self._await_room()

    def _round(self, rows: Iterator[Row]) -> Iterator[tuple[Row, Document]]:
        """As far as it goes without a hurdle."""
        try:
            for answer in self._client.send_many(self._feed(rows)):
                row = self._under_way.popleft()
                if self._final(row, answer):
                    yield row, answer
        except SmsdError as error:
            if error.code not in NOT_NOW:
                raise GaveUpError(error, for_good=True) from error
            self._hurdles.append(error)

    def _feed(self, rows: Iterator[Row]) -> Iterator[Document]:
        while not self._hurdles:
            row = self._next(rows)
            if row is not None:
                self._under_way.append(row)
            self._ready()
            if row is None:
                return
            yield row.fields

    def _next(self, rows: Iterator[Row]) -> Row | None:
        if self._late and self._late[0][0] <= self._now():
            return heapq.heappop(self._late)[2]
        if self._again:
            return self._again.popleft()
        if self._ended or len(self._late) >= LATE:
            return None
        row = next(rows, None)
        self._ended = row is None
        return row

    def _final(self, row: Row, answer: Document) -> bool:
        """Whether that is what becomes of the row."""
        if answer["ok"]:
            self._moved, self._pause_s = self._now(), FIRST_PAUSE_S
            return True
        error = refusal(answer["error"])
        if error.code in NOT_NOW:
            self._hurdles.append(error)
            self._is_doubtful |= error.code == "outcome_unknown"
            self._again.append(row)
            return False
        if (error.code in NOBODYS and not error.field) or (error.code == "wrong_state" and error.field == "campaign"):
            raise GaveUpError(error, for_good=True)
        row.tries += 1
        if error.code == "internal" and row.tries < TRIES:
            self._again.append(row)
            return False
        return not (error.code == LIMIT and self._waits(row, error))

    def _waits(self, row: Row, error: SmsdError) -> bool:
        """Whether the row waits for its limit: not when that takes longer than there is patience."""
        seconds = AFTER_A_LIMIT_S * row.tries if error.retry_after is None else max(error.retry_after, FIRST_PAUSE_S)
        if seconds > self._patience_s:
            return False
        heapq.heappush(self._late, (self._now() + seconds, next(self._turns), row))
        return True

    def _await_room(self) -> None:
        seconds = max(0.0, self._late[0][0] - self._now())
        self._tell(f"{len(self._late)} rows wait for a limit; going on in {seconds:.0f} s")
        self._sleep(seconds)

    def _wait(self, error: SmsdError) -> None:
        """Raises GaveUpError."""
        self.absences += error.code in AWAY
        if self._now() - self._moved > self._patience_s:
            raise GaveUpError(error, for_good=False)
        seconds = max(self._pause_s, min(error.retry_after or 0.0, LONGEST_PAUSE_S))
        self._tell(f"{error.message} Trying again in {seconds:.1f} s")
        self._sleep(seconds)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
