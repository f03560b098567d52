"""Which messages are old enough, without a scan that holds anybody up?

A walk goes over messages in order of their numbers, on the reading connection, a bounded stretch at a time, and ends at
the first that was accepted too late for any behind it to be old enough. How old a message is counts from its end: the
latest of the times at which it was settled and delivered. A walk remembers how far it has come and, of what it passed,
what ends later: the next one goes on there. Once a day it begins anew, for what failed, was passed and was sent again;
and after an hour if it passed more than it can remember, so that these are late and hold nobody up. It refuses to know
what becomes of those it finds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from smsd.core.message import Instant
from smsd.core.units import DAY, HOUR
from smsd.store.connection import Handle
from smsd.store.statements import arrays, grouped, look_up

STRETCH: Final = 1_000
"""Messages read at a time: 3 ms."""

LATER_KEPT: Final = 10_000
"""Messages remembered that were passed before they were old enough. Others are met when the walk begins anew."""

ANEW_MS: Final = HOUR
"""After so long, if there were others."""

ENDED: Final = "max(coalesce(m.processed_at, m.created_at), coalesce(m.delivered_at, 0))"
"""When a final message came to its end."""

VIEW: Final = f"m.seq, m.state, m.created_at, {ENDED}, m.redacted"

FROM: Final = {
    None: grouped(VIEW, "(SELECT * FROM messages WHERE seq > ? ORDER BY seq LIMIT ?) AS m"),
    4: grouped(VIEW, "(SELECT * FROM messages WHERE state = 4 AND seq > ? ORDER BY seq LIMIT ?) AS m"),
    5: grouped(VIEW, "(SELECT * FROM messages WHERE state = 5 AND seq > ? ORDER BY seq LIMIT ?) AS m"),
}
"""By the one state that is walked, by its own index; None: all messages."""

THESE: Final = "WITH v (seq) AS (VALUES {rows}) " + grouped(VIEW, "v CROSS JOIN messages AS m ON m.seq = v.seq")

LIVE: Final = frozenset({0, 1})


class Walk:
    """Finds messages in some states that ended at least so long ago. Each read is a function of the reading
    connection; what it found is taken between two reads."""

    def __init__(self, states: frozenset[int], *, only: int | None = None, redacted: bool = True) -> None:
        """`only`: the one state that is walked by its index, every time from the start; then `states` holds it.
        `redacted`: those that are redacted are looked for, too."""
        self._states = states
        self._only = only
        self._redacted = redacted
        self._mark = 0
        self._later: dict[int, Instant] = {}
        self._began: Instant | None = None
        self._forgot = False
        """Since it began anew it passed some that it does not remember."""
        self._found: deque[int] = deque()
        self.complete = False
        """Nothing is left to be read at that time; `begin` starts another walk."""
        self.next: Instant | None = None
        """With `complete`: the earliest time at which a message may be old enough that is not yet."""

    def begin(self, now: Instant) -> None:
        """Walk again, from where the last walk ended."""
        self.complete = False
        self.next = None
        if self._only is not None:
            self._mark = 0
        elif self._began is None or abs(now - self._began) >= (ANEW_MS if self._forgot else DAY):
            self._mark, self._began, self._forgot = 0, now, False
            self._later.clear()

    def found(self, most: int) -> list[int]:
        """The next that were found, at most so many."""
        return list(islice(self._found, most))

    def done(self, count: int) -> None:
        """So many of those that were found are dealt with."""
        for _ in range(count):
            self._found.popleft()

    def read(self, db: Handle, keep_ms: int, now: Instant) -> None:
        """Read on."""
        due = list(islice((seq for seq, at in self._later.items() if at <= now), STRETCH))
        if due:
            self._look_again(db, due, keep_ms, now)
            return
        rows = arrays(db, FROM[self._only], (self._mark, STRETCH))
        for seq, state, created_at, ended, redacted in rows:
            if created_at > now - keep_ms:
                self._ends(created_at + keep_ms)
                return
            self._mark = seq
            self._judge(seq, state, ended, redacted, keep_ms, now)
        if len(rows) < STRETCH:
            self._ends(None)

    def _look_again(self, db: Handle, due: Sequence[int], keep_ms: int, now: Instant) -> None:
        """At what was passed and may be old enough by now."""
        for seq in due:
            del self._later[seq]
        rows: list[Any] = look_up(db, THESE, [(seq,) for seq in due])
        for seq, state, _, ended, redacted in rows:
            self._judge(seq, state, ended, redacted, keep_ms, now)

    def _judge(self, seq: int, state: int, ended: Instant, redacted: int, keep_ms: int, now: Instant) -> None:
        if redacted and not self._redacted:
            return
        if state in LIVE:
            self._remember(seq, now + HOUR)
        elif state in self._states:
            if ended <= now - keep_ms:
                self._found.append(seq)
            elif self._only is None:
                self._remember(seq, ended + keep_ms)

    def _remember(self, seq: int, at: Instant) -> None:
        if len(self._later) < LATER_KEPT:
            self._later[seq] = at
        else:
            self._forgot = True

    def _ends(self, following: Instant | None) -> None:
        self.complete = True
        anew = self._began + ANEW_MS if self._forgot and self._began is not None else None
        times = [at for at in (following, anew, min(self._later.values(), default=None)) if at is not None]
        self.next = min(times, default=None)
