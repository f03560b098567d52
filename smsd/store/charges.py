"""What was charged under a key lately?

The ledger of limits: a table of charges, and the windows read from it that were asked for lately, in memory. Charges
are written in the transaction of the claim or the acceptance that they are for, and a window is charged in memory with
it; when the transaction is rolled back, every window it touched is forgotten and read again. What a window has no room
for, and what follows, is decided in `core.admission`; who asks is `limiting`; when a charge was made over steps of the
wall clock and restarts of the machine, `timeline`.

A window that cannot be read binds nobody: limits protect people from too many texts, and a message that never goes is
worse than one too many. It is logged. Want of room on the disk is another matter: then nothing is claimed at all.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence

import structlog

from smsd.core.admission import PERS, AdmissionRules, At, Key, kind_of
from smsd.core.limits import AT_ACCEPTANCE, LEDGER_MS, Rule
from smsd.core.windows import Moment, Window
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.faults import Fault, describe, fault
from smsd.store.statements import change, look_up
from smsd.store.timeline import Timeline

KEYS_KEPT = 20_000
"""Windows in memory: some 10 MB. The one unused longest is forgotten and read again."""

CHARGES_KEPT = 300_000
"""Charges in all of them, 16 bytes each: three windows of the largest count a rule may have."""

PROMISES_KEPT = 50_000
"""Turns promised, some 10 MB. Beyond them a message is told its turn and nobody queues behind it."""

PURGED_AT_ONCE = 2_000
"""Rows that one beat looks at: some milliseconds, and more than limits of 100 messages a second leave behind."""

TELL_AGAIN_US = 60_000_000
"""Between two lines of the log about windows that cannot be read."""

log = structlog.get_logger("smsd.store")


class Charges:
    """The ledger. Lives on the writing connection's thread; committed() and undone() end each transaction."""

    def __init__(self, boot_us: Callable[[], int] | None = None) -> None:
        """`boot_us` reads CLOCK_BOOTTIME, microseconds."""
        self._clock = boot_us
        self.line = Timeline(0, 0, None)
        self._known: OrderedDict[Key, Window] = OrderedDict()
        self._size = 0
        self._promises = 0
        self._touched: set[Key] = set()
        self._rows: list[tuple[object, ...]] = []
        self._purged = 0
        self._told: Moment | None = None
        """When it was last said that something cannot be read."""
        self.govern(AdmissionRules())

    def start(self, line: Timeline) -> None:
        """The outbox was opened."""
        self.line = line

    def govern(self, rules: AdmissionRules) -> None:
        """These rules count from now on."""
        self.rules = rules
        self.at_claim: tuple[Rule, ...] = tuple(r for r in rules.limits if r.action not in AT_ACCEPTANCE)
        self.at_acceptance: tuple[Rule, ...] = tuple(r for r in rules.limits if r.action in AT_ACCEPTANCE)
        self.idle = not self.at_claim and rules.quiet is None
        """Whether no claim is ever asked about."""
        self._extents: dict[int, tuple[int, int]] = {}
        """By kind: the largest count and the longest span (us) of its rules."""
        for rule in rules.limits:
            count, span = self._extents.get(kind_of(rule), (0, 0))
            self._extents[kind_of(rule)] = max(count, rule.count), max(span, rule.span_ms * 1_000)
        self._known.clear()
        self._size = self._promises = 0

    def boot_us(self) -> int | None:
        """Boot time now; None: there is no such clock."""
        return None if self._clock is None else self._clock()

    @property
    def promises(self) -> int:
        """Turns promised to messages that wait."""
        return self._promises

    # -- reading -----------------------------------------------------------------------------------------------------

    def windows(self, db: Handle, keys: Iterable[Key], at: At) -> Mapping[Key, Window]:
        """The windows of these keys, as they are at `at`; without those that cannot be read."""
        wanted = dict.fromkeys(keys)
        missing = [key for key in wanted if key not in self._known]
        if missing:
            self._load(db, missing, at.moment)
        found: dict[Key, Window] = {}
        for key in wanted:
            window = self._known.get(key)
            if window is not None:
                self._known.move_to_end(key)
                most, span = self._extents[key.kind]
                before = window.size, window.promises
                window.forget(at.moment - span, most)
                self._count(window, before)
                found[key] = window
        return found

    def _load(self, db: Handle, keys: Sequence[Key], now: Moment) -> None:
        try:
            for most in {self._extents[key.kind][0] for key in keys}:
                some = [key for key in keys if self._extents[key.kind][0] == most]
                self._keep(some, look_up(db, sql.charges_of(most), some), now)
        except sqlite3.Error as error:
            if fault(error) in {Fault.FULL, Fault.BUSY} or not db.in_transaction:
                raise
            if len(keys) > 1:  # the others of them can perhaps be read
                for key in keys:
                    self._load(db, [key], now)
            elif self._told is None or now - self._told >= TELL_AGAIN_US:
                self._told = now
                log.error(
                    "what was charged cannot be read: messages go without being held to the limit",
                    per=PERS[keys[0].kind // 2].value,
                    error=describe(error),
                )

    def _keep(
        self, keys: Sequence[Key], rows: Iterable[tuple[int, str, int, int, int | None, int]], now: Moment
    ) -> None:
        found: dict[Key, list[tuple[Moment, int]]] = {key: [] for key in keys}
        for kind, key, at, boot, boot_us, seq in rows:
            found[Key(kind, key)].append((self.line.moment(at, boot, boot_us, now), seq))
        for each, charges in found.items():
            window = self._known[each] = Window(charges)
            self._size += window.size

    def _count(self, window: Window, before: tuple[int, int]) -> None:
        self._size += window.size - before[0]
        self._promises += window.promises - before[1]

    # -- writing -----------------------------------------------------------------------------------------------------

    def charge(self, keys: Iterable[Key], seq: int, at: At) -> None:
        """Message `seq` is counted under these keys, whose windows were asked for in this transaction. On the disk with
        the next write()."""
        boot_us = None if self.line.us is None else at.moment
        for key in keys:
            window = self._touch(key)
            before = window.size, window.promises
            window.charge(seq, at.moment)
            self._count(window, before)
            self._rows.append((*key, at.wall, self.line.boot, boot_us, seq))

    def promise(self, key: Key, seq: int, turn: Moment) -> None:
        """Message `seq` is told to come at this turn."""
        window = self._touch(key)
        before = window.size, window.promises
        if self._promises < PROMISES_KEPT or window.promised(seq) is not None:
            window.promise(seq, turn)
        self._count(window, before)

    def release(self, keys: Iterable[Key], seq: int) -> None:
        """Message `seq` needs no turn any more."""
        for key in keys:
            if key in self._known:
                window = self._touch(key)
                before = window.size, window.promises
                window.release(seq)
                self._count(window, before)

    def take_back(self, db: Handle, keys: Iterable[Key], seq: int) -> None:
        """Message `seq` is not counted under these keys any more; of several charges the newest is taken."""
        for key in keys:
            most = self._extents[key.kind][0]
            if db.execute(sql.TAKE_BACK, (*key, seq, *key, most)).rowcount and key in self._known:
                window = self._touch(key)
                before = window.size, window.promises
                window.take_back(seq)
                self._count(window, before)

    def _touch(self, key: Key) -> Window:
        self._touched.add(key)
        return self._known[key]

    def write(self, db: Handle) -> None:
        """Write what was charged into the open transaction."""
        if self._rows:
            rows, self._rows = self._rows, []
            change(db, sql.ADD_CHARGES, rows)

    def committed(self) -> None:
        """What was written is durable."""
        self._touched.clear()
        while self._known and (len(self._known) > KEYS_KEPT or self._size > CHARGES_KEPT):
            self._forget(next(iter(self._known)))

    def undone(self) -> None:
        """The transaction is rolled back: what it touched is read again, and what was promised is promised anew."""
        for key in self._touched:
            self._forget(key)
        self._touched.clear()
        self._rows.clear()

    def _forget(self, key: Key) -> None:
        window = self._known.pop(key, None)
        if window is not None:
            self._size -= window.size
            self._promises -= window.promises

    def purge(self, db: Handle, at: At) -> None:
        """Take some of the charges away that are older than any window: the oldest ones first.

        They are numbered in the order in which they were made. One that a wrong clock dated into the future must not
        stand before all others, so the look goes on from there, beat by beat, until it meets one that is young.
        """
        rows = db.execute(sql.OLDEST_CHARGES, (self._purged, 1)).fetchall()
        if not rows or self._young(rows[0], at):
            self._purged = 0
            return
        rows = db.execute(sql.OLDEST_CHARGES, (self._purged, PURGED_AT_ONCE)).fetchall()
        old = [(row[0],) for row in rows if self._age_ms(row, at) > LEDGER_MS]
        change(db, sql.FORGET_CHARGES, old)
        self._purged = rows[-1][0]

    def _age_ms(self, row: Sequence[int], at: At) -> int:
        _, wall, boot, boot_us = row
        return (at.moment - self.line.moment(wall, boot, boot_us, at.moment)) // 1_000

    def _young(self, row: Sequence[int], at: At) -> bool:
        return row[1] <= at.wall and self._age_ms(row, at) <= LEDGER_MS
