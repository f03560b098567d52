"""What was charged under a key lately?

The ledger of limits: a table of charges, and the windows read from it that were asked for lately, in memory. Charges
are written in the transaction of the claim or the acceptance that they are for, and a window is charged in memory with
it; when the transaction is rolled back, every window it touched is forgotten and read again. What a window has no room
for, and what follows, is decided in `core.admission`; who asks is `limiting`; when a charge was made over steps of the
wall clock and restarts of the machine, `timeline`.

A window that cannot be read binds nobody: limits protect people from too many texts, and a message that never goes is
worse than one too many. It is logged. Want of room on the disk is another matter: then nothing is claimed at all.

Who holds promises, and under which keys, is remembered by the message's number: as whom it would have been sent, and by
which rules it was bound, nobody can tell any more when it ends.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import groupby

import structlog

from smsd.core.admission import PERS, AdmissionRules, At, Key, kind_of
from smsd.core.limits import AT_ACCEPTANCE, LEDGER_MS, Rule
from smsd.core.windows import Moment, Window
from smsd.store.connection import Handle
from smsd.store.faults import Fault, describe, fault
from smsd.store.statements import change, look_up_plain
from smsd.store.statements.charging import ADD_CHARGES, FORGET_CHARGES, OLDEST_CHARGES, TAKE_BACK, charges_of
from smsd.store.timeline import Timeline

KEYS_KEPT = 20_000
"""Windows in memory: some 10 MB. The one unused longest is forgotten and read again."""

CHARGES_KEPT = 2_000_000
"""Charges in all of them, 16 bytes each, some 32 MB: 20 windows of the largest count a rule may have, each of which
takes some 200 ms to read again."""

PROMISES_KEPT = 50_000
"""Turns promised, some 20 MB. Of those that wait beyond them only the last turn is kept, by key."""

PURGED_AT_ONCE = 2_000
"""Rows that one purge() looks at: some 10 ms where each lies under another key; the commit's sync costs as much."""

KEPT_LONGER_MS = 86_400_000
"""A charge is kept so much longer than the longest window it may lie in: clocks are set, and rules changed back."""

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
        self._promised: dict[int, tuple[Key, ...]] = {}
        """Under which keys each message holds promises; all of them lie in `_known`."""
        self.queues: set[Key] = set()
        """Where more wait than promises are kept."""
        self._touched: set[Key] = set()
        self._rows: list[tuple[object, ...]] = []
        self._purged = 0
        self._told: Moment | None = None
        """When it was last said that something cannot be read."""
        self._of_kind: dict[int, tuple[Rule, ...]] = {}
        self._own: dict[int, tuple[int, int]] = {}
        """As `_extents`, of the rules that only some messages know of (bind())."""
        self.govern(AdmissionRules())

    def start(self, line: Timeline) -> None:
        """The outbox was opened."""
        self.line = line

    def govern(self, rules: AdmissionRules) -> None:
        """These rules count from now on. Windows and promises of kinds whose rules are what they were are kept."""
        self.rules = rules
        self.at_claim: tuple[Rule, ...] = tuple(r for r in rules.limits if r.action not in AT_ACCEPTANCE)
        self.at_acceptance: tuple[Rule, ...] = tuple(r for r in rules.limits if r.action in AT_ACCEPTANCE)
        self.idle = not self.at_claim and rules.quiet is None
        """Whether no claim is ever asked about."""
        before, self._of_kind = self._of_kind, {}
        for rule in rules.limits:
            self._of_kind[kind_of(rule)] = (*self._of_kind.get(kind_of(rule), ()), rule)
        self._extents = self._measured()
        """By kind: the largest count and the longest span (us) of its rules."""
        for key in [key for key in self._known if self._of_kind.get(key.kind) != before.get(key.kind)]:
            self._forget(key)

    def _measured(self) -> dict[int, tuple[int, int]]:
        found = dict(self._own)
        for kind, some in self._of_kind.items():
            most, span = found.get(kind, (0, 0))
            found[kind] = (
                max(most, *(rule.count for rule in some)),
                max(span, *(rule.span_ms * 1_000 for rule in some)),
            )
        return found

    def bind(self, rules: Iterable[Rule]) -> None:
        """Campaigns have these rates of their own, beside the rules of govern(): windows reach so far from now on, and
        charges are kept for them. What was bound once counts until the end of the process."""
        for rule in rules:
            kind = kind_of(rule)
            most, span = self._own.get(kind, (0, 0))
            self._own[kind] = max(most, rule.count), max(span, rule.span_ms * 1_000)
        before, self._extents = self._extents, self._measured()
        for key in [key for key in self._known if self._extents.get(key.kind) != before.get(key.kind)]:
            self._forget(key)  # it may lack older charges, which count now

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
                for seq in window.forget(at.moment - span, most):
                    self._holds_no_more(seq, key)
                window.come_to(at.moment)
                self._count(window, before)
                found[key] = window
        return found

    def _load(self, db: Handle, keys: Sequence[Key], now: Moment) -> None:
        try:
            for most in {self._extents[key.kind][0] for key in keys}:
                some = [key for key in keys if self._extents[key.kind][0] == most]
                numbered = [(place, *key) for place, key in enumerate(some)]
                self._keep(some, look_up_plain(db, charges_of(most), numbered), now)
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

    def _keep(self, keys: Sequence[Key], rows: Iterable[tuple[int, int, int, int | None, int]], now: Moment) -> None:
        found: list[list[tuple[Moment, int]]] = [[] for _ in keys]
        for place, at, boot, boot_us, seq in rows:
            found[place].append((self.line.moment(at, boot, boot_us, now), seq))
        for key, charges in zip(keys, found, strict=True):
            window = self._known[key] = Window(charges)
            self._size += window.size

    def _count(self, window: Window, before: tuple[int, int]) -> None:
        self._size += window.size - before[0]
        self._promises += window.promises - before[1]

    # -- writing -----------------------------------------------------------------------------------------------------

    def charge(self, keys: Iterable[Key], seq: int, at: At) -> None:
        """Message `seq` is counted under these keys, whose windows were asked for in this transaction, and waits for no
        turn any more. On the disk with the next write()."""
        boot_us = None if self.line.us is None else at.moment
        for key in keys:
            window = self._touch(key)
            before = window.size, window.promises
            window.charge(seq, at.moment)
            self._count(window, before)
            self._rows.append((*key, at.wall, self.line.boot, boot_us, seq))
        self.release(seq)

    def promise(self, key: Key, seq: int, turn: Moment) -> None:
        """Message `seq` is told to come at this turn."""
        window = self._touch(key)
        before = window.size, window.promises
        if window.promised(seq) is not None:
            window.promise(seq, turn)
        elif window.last_turn is not None or self._promises >= PROMISES_KEPT:
            window.queue(turn)
            self.queues.add(key)
        else:
            window.promise(seq, turn)
            self._promised[seq] = (*self._promised.get(seq, ()), key)
        self._count(window, before)

    def release(self, seq: int, but: Collection[Key] = ()) -> bool:
        """Message `seq` needs no turn any more, except under the keys `but`; whether it held any promise."""
        keys = self._promised.get(seq)
        if keys is None:
            return False
        for key in keys:
            if key not in but:
                window = self._touch(key)
                before = window.size, window.promises
                window.release(seq)
                self._count(window, before)
                self._holds_no_more(seq, key)
        return True

    def _holds_no_more(self, seq: int, key: Key) -> None:
        left = tuple(each for each in self._promised.get(seq, ()) if each != key)
        if left:
            self._promised[seq] = left
        else:
            self._promised.pop(seq, None)

    def leave(self, keys: Iterable[Key]) -> None:
        """Somebody who queued without a promise under these keys, all of them in `queues`, waits no more."""
        for key in keys:
            step = max(-(-rule.span_ms * 1_000 // rule.count) for rule in self._of_kind[key.kind])
            self._touch(key).leave(step)

    def take_back(self, db: Handle, keys: Iterable[Key], seq: int) -> None:
        """Message `seq` is not counted under these keys any more; of several charges the newest is taken. Acceptances
        are charged under them."""
        for key in keys:
            most = self._extents[key.kind][0]
            gone = db.execute(TAKE_BACK, (*key, seq, *key, most)).rowcount
            if gone and key in self._known:
                window = self._touch(key)
                if window.size >= most:  # it may lack older charges, which count again
                    self._forget(key)
                    continue
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
            change(db, ADD_CHARGES, rows)

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
            self.queues.discard(key)
            for seq in window.waiting():
                self._holds_no_more(seq, key)

    def purge(self, db: Handle, at: At) -> bool:
        """Take some of the charges away that no window counts any more, the oldest first; whether there is more to see.

        They are numbered in the order in which they were made, and each kind is kept for a time of its own. So the look
        goes over those that are kept, and over what a wrong clock dated into the future, from call to call, until it
        meets one that is young by all measures; then it begins anew.
        """
        kept = {kind: min(LEDGER_MS, span // 1_000 + KEPT_LONGER_MS) for kind, (_, span) in self._extents.items()}
        shortest = min([LEDGER_MS, *kept.values()])
        rows = db.execute(OLDEST_CHARGES, (self._purged, 1)).fetchall()
        if not rows or (rows[0][2] <= at.wall and self._age_ms(rows[0], at) <= shortest):
            self._purged = 0
            return False
        rows = db.execute(OLDEST_CHARGES, (self._purged, PURGED_AT_ONCE)).fetchall()
        for old, run in groupby(rows, lambda row: self._age_ms(row, at) > kept.get(row[1], LEDGER_MS)):
            if old:
                numbers = [row[0] for row in run]
                db.execute(FORGET_CHARGES, (numbers[0], numbers[-1]))
        self._purged = rows[-1][0]
        return len(rows) == PURGED_AT_ONCE

    def _age_ms(self, row: Sequence[int], at: At) -> int:
        _, _, wall, boot, boot_us = row
        return (at.moment - self.line.moment(wall, boot, boot_us, at.moment)) // 1_000
