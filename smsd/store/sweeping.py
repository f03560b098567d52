"""What is old beside messages?

Rows that lie in the order of their age, of which those at the low end go; and two walks over small tables that lie
otherwise. Each is looked at once an hour at most: their rules speak of days. What stays whatever its age: the newest
text received, the newest campaign and the newest line of the audit, for numbering goes on behind them. It refuses to
know what is swept elsewhere: receipts of unknown messages (`kept`), charges (`charges`), callbacks that were given up
(`telling`; here they go earlier where numbers are not to be kept).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from smsd.core.message import Instant
from smsd.core.units import DAY, HOUR
from smsd.store.connection import Handle
from smsd.store.hands import Hands
from smsd.store.operators import Removed, RetentionRules
from smsd.store.pace import MOST_ROWS, Pace
from smsd.store.redaction import Redaction
from smsd.store.transitions import Ledger

INBOUND_MS: Final = 4 * DAY
"""A text received is kept for so long at least: a provider may bring it again, and it must be known."""

MINUTES_MS: Final = 400 * DAY

AGAIN_MS: Final = HOUR
"""Between two looks."""

NOTHING: Final = Removed(0, done=True)

Keeping = Callable[[RetentionRules], int | None]
"""For how long the rules keep a sort of rows, in ms; None: for ever."""


class Chore(Protocol):
    """One sort of rows."""

    next: Instant | None
    """When more may be old enough, as far as the last step knows; None: look again when others are looked at."""

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """One read or one write. Raises StoreError."""
        ...


FIND_CALLS: Final = (
    "SELECT nr FROM (SELECT nr, settled_at FROM attempts WHERE seq < 0 ORDER BY seq DESC, n DESC LIMIT ?) "
    "WHERE settled_at <= ?"
)
"""Nobody's calls, those of the oldest messages first."""

FIND_KEYS: Final = (
    "SELECT tenant, key FROM (SELECT tenant, key, forget_at FROM keys WHERE forget_at IS NOT NULL "
    "ORDER BY forget_at LIMIT ?) WHERE forget_at <= ?"
)

FIND_INBOUND: Final = (
    "SELECT nr FROM (SELECT nr, received_at FROM inbound ORDER BY nr LIMIT ?) "
    "WHERE received_at <= ? AND nr < (SELECT max(nr) FROM inbound)"
)

FIND_AUDIT: Final = (
    "SELECT nr FROM (SELECT nr, at FROM audit ORDER BY nr LIMIT ?) WHERE at <= ? AND nr < (SELECT max(nr) FROM audit)"
)

FIND_MINUTES: Final = (
    "SELECT minute, provider FROM (SELECT minute, provider FROM minutes ORDER BY minute, provider LIMIT ?) "
    "WHERE minute <= ? / 60000"
)

FIND_CALLBACKS: Final = (
    "SELECT id FROM (SELECT id, tried_at FROM callbacks WHERE due IS NULL ORDER BY tried_at LIMIT ?) "
    "WHERE tried_at <= ?"
)
GIVEN_UP: Final = "SELECT 1 FROM callbacks WHERE id = ? AND due IS NULL"

FORGET_CALL: Final = "DELETE FROM attempts WHERE nr = ? AND seq < 0"
FORGET_KEY: Final = "DELETE FROM keys WHERE tenant = ? AND key = ? AND forget_at IS NOT NULL"
FORGET_INBOUND: Final = "DELETE FROM inbound WHERE nr = ?"
FORGET_AUDIT: Final = "DELETE FROM audit WHERE nr = ?"
FORGET_MINUTE: Final = "DELETE FROM minutes WHERE minute = ? AND provider = ?"

Taking = Callable[[Handle, Sequence[Sequence[Any]], Instant], int]
"""Deals with rows that were found to be old, by the latest time that is old enough; how many went, or were redacted."""


class Low:
    """Rows that lie in the order of their age: those at the low end that are old enough go."""

    def __init__(self, hands: Hands, pace: Pace, what: str, keep: Keeping, find: str, take: Taking) -> None:
        """`find`: its parameters are how many rows it looks at, and the latest time that is old enough."""
        self._hands = hands
        self._pace = pace
        self._what = what
        self._keep = keep
        self._find = find
        self._take = take
        self._looked: Instant | None = None
        self.next: Instant | None = None

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """See Chore.step."""
        keep_ms = self._keep(rules)
        if keep_ms is None or (self._looked is not None and abs(now - self._looked) < AGAIN_MS):
            return NOTHING
        cut = now - keep_ms
        rows = await self._hands.read(lambda db: db.execute(self._find, (MOST_ROWS, cut)).fetchall())
        if not rows:
            self._looked = now
            return NOTHING
        work = self._pace.within(rows, lambda db, _, some: self._take(db, some, cut))
        _, taken = await self._hands.change(work, size=len(rows))
        if not taken:  # what was found changed meanwhile
            self._looked = now
        return Removed(taken, done=False, what=self._what)


def forgetting(forget: str) -> Taking:
    """Each row that was found holds the parameters of this statement."""

    def take(db: Handle, rows: Sequence[Sequence[Any]], cut: Instant) -> int:
        return sum(db.execute(forget, row).rowcount for row in rows)

    return take


def callbacks_of(ledger: Ledger) -> Taking:
    """Callbacks that were given up, whose bodies name numbers."""

    def take(db: Handle, rows: Sequence[Sequence[Any]], cut: Instant) -> int:
        given_up = [row[0] for row in rows if db.execute(GIVEN_UP, row).fetchone() is not None]
        ledger.teller.told(db, given_up)
        return len(given_up)

    return take


# --- by walking ------------------------------------------------------------------------------------------------------

STRETCH: Final = 2_000
"""Rows that a walk reads at a time."""

Found = tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]
"""Parameters of what is to be done to each old row, and the place to read on at; None: that was all."""


class Around:
    """Rows that lie in another order than that of their age: all are walked, a stretch at a time."""

    def __init__(
        self,
        hands: Hands,
        pace: Pace,
        what: str,
        keep: Keeping,
        first: tuple[Any, ...],
        look: Callable[[Handle, tuple[Any, ...], Instant], Found],
        take: Taking,
    ) -> None:
        """`first`: the place where a walk begins; `look`: reads a stretch from a place on, and judges it."""
        self._hands = hands
        self._pace = pace
        self._what = what
        self._keep = keep
        self._first = first
        self._look = look
        self._take = take
        self._place: tuple[Any, ...] | None = first
        self._old: list[tuple[Any, ...]] = []
        self._looked: Instant | None = None
        self.next: Instant | None = None

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """See Chore.step."""
        keep_ms = self._keep(rules)
        if keep_ms is None or (self._looked is not None and abs(now - self._looked) < AGAIN_MS):
            return NOTHING
        cut = now - keep_ms
        if self._old:
            old = self._old[:MOST_ROWS]
            work = self._pace.within(old, lambda db, _, some: self._take(db, some, cut))
            dealt, taken = await self._hands.change(work, size=len(old))
            del self._old[:dealt]
            return Removed(taken, done=False, what=self._what)
        place = self._place
        if place is None:
            self._looked, self._place = now, self._first
            return NOTHING
        self._old, self._place = await self._hands.read(lambda db: self._look(db, place, cut))
        return Removed(0, done=False, what=self._what)


THREADS: Final = (
    "SELECT recipient, sender, at FROM threads WHERE (recipient, sender) > (?, ?) ORDER BY recipient, sender LIMIT ?"
)
FORGET_THREAD: Final = "DELETE FROM threads WHERE recipient = ? AND sender = ? AND at <= ?"

TEXTS: Final = "SELECT nr, received_at, redacted FROM inbound WHERE nr > ? ORDER BY nr LIMIT ?"
SENDER: Final = "SELECT sender FROM inbound WHERE nr = ? AND redacted = 0"
REDACT: Final = "UPDATE inbound SET text = '', sender = ?, redacted = 1 WHERE nr = ?"


def old_threads(db: Handle, place: tuple[Any, ...], cut: Instant) -> Found:
    """Who texted whom last, until then."""
    rows = db.execute(THREADS, (*place, STRETCH)).fetchall()
    old = [(recipient, sender) for recipient, sender, at in rows if at <= cut]
    return old, (rows[-1][0], rows[-1][1]) if len(rows) == STRETCH else None


def forget_threads(db: Handle, rows: Sequence[Sequence[Any]], cut: Instant) -> int:
    """Unless they texted again since."""
    return sum(db.execute(FORGET_THREAD, (*row, cut)).rowcount for row in rows)


def old_texts(db: Handle, place: tuple[Any, ...], cut: Instant) -> Found:
    """Texts received until then that are not redacted."""
    rows = db.execute(TEXTS, (*place, STRETCH)).fetchall()
    old = [(nr,) for nr, received_at, redacted in rows if received_at <= cut and not redacted]
    more = len(rows) == STRETCH and rows[-1][1] <= cut
    return old, (rows[-1][0],) if more else None


CAMPAIGNS_STRETCH: Final = 500
"""Each asks for its counts, too."""

SAID_MS: Final = 365 * DAY
"""For so much longer a campaign is kept that is paused or cancelled, or was made and never used: what was said of it
must still hold when its messages come at last."""

CAMPAIGN_STAYS: Final = (
    "EXISTS (SELECT 1 FROM campaign_counters AS n WHERE n.tenant = c.tenant AND n.campaign = c.id "
    "AND n.state IN (0, 1) AND n.n > 0) "
    "OR (SELECT total(n.n) FROM campaign_counters AS n WHERE n.tenant = c.tenant AND n.campaign = c.id) > c.removed "
    "OR c.nr = (SELECT max(nr) FROM campaigns)"
)
"""Messages of it are queued, or not taken away yet: a failed one may be sent again."""

CAMPAIGN_SAID: Final = (
    "c.paused_at IS NOT NULL OR c.cancelled_at IS NOT NULL OR NOT EXISTS "
    "(SELECT 1 FROM campaign_counters AS n WHERE n.tenant = c.tenant AND n.campaign = c.id)"
)

CAMPAIGN_VIEW: Final = f"c.changed_at, c.nr, c.tenant, c.id, {CAMPAIGN_STAYS}, {CAMPAIGN_SAID}"

CAMPAIGNS: Final = (
    f"SELECT {CAMPAIGN_VIEW} FROM campaigns AS c WHERE (c.changed_at, c.nr) > (?, ?) "
    "ORDER BY c.changed_at, c.nr LIMIT ?"
)
CAMPAIGN: Final = f"SELECT {CAMPAIGN_VIEW} FROM campaigns AS c WHERE c.nr = ?"

FORGET_CAMPAIGN: Final = "DELETE FROM campaigns WHERE tenant = ? AND id = ?"
FORGET_COUNTERS: Final = "DELETE FROM campaign_counters WHERE tenant = ? AND campaign = ?"


def is_over(row: Sequence[Any], cut: Instant) -> bool:
    """Whether a campaign (CAMPAIGN_VIEW) may go that did not change since."""
    changed_at, _, _, _, stays, said = row
    return not stays and changed_at <= (cut - SAID_MS if said else cut)


def old_campaigns(db: Handle, place: tuple[Any, ...], cut: Instant) -> Found:
    """Campaigns that did not change since, and of which nothing is left."""
    rows = db.execute(CAMPAIGNS, (*place, CAMPAIGNS_STRETCH)).fetchall()
    more = len(rows) == CAMPAIGNS_STRETCH and rows[-1][0] <= cut
    return [(row[1],) for row in rows if is_over(row, cut)], (rows[-1][0], rows[-1][1]) if more else None


def campaigns_of(ledger: Ledger) -> Taking:
    """Campaigns go with their counts, unless something happened to them meanwhile."""

    def take(db: Handle, rows: Sequence[Sequence[Any]], cut: Instant) -> int:
        found = [db.execute(CAMPAIGN, row).fetchone() for row in rows]
        done = [(row[2], row[3]) for row in found if row is not None and is_over(row, cut)]
        for name in done:
            db.execute(FORGET_CAMPAIGN, name)
            db.execute(FORGET_COUNTERS, name)
        ledger.gates.removed(done)
        return len(done)

    return take


def texts_hidden_by(redaction: Redaction) -> Taking:
    """Their texts go, and a hash stands for who wrote them. Our own number stays."""

    def take(db: Handle, rows: Sequence[Sequence[Any]], cut: Instant) -> int:
        found = [(nr, db.execute(SENDER, (nr,)).fetchone()) for (nr,) in rows]
        hidden = [(redaction.hidden(sender[0]), nr) for nr, sender in found if sender is not None]
        for values in hidden:
            db.execute(REDACT, values)
        if hidden:
            redaction.note(db)
        return len(hidden)

    return take


# --- all of them -----------------------------------------------------------------------------------------------------


def calls(rules: RetentionRules) -> int | None:
    """Calls of messages that are gone."""
    return rules.calls_ms


def redacted(rules: RetentionRules) -> int | None:
    """Texts and numbers."""
    return rules.redact_ms


def received(rules: RetentionRules) -> int | None:
    """Texts received."""
    return None if rules.finished_ms is None else max(rules.finished_ms, INBOUND_MS)


def named(rules: RetentionRules) -> int | None:
    """Who texted whom last: not longer than the numbers of the messages."""
    return min((ms for ms in (rules.finished_ms, rules.redact_ms) if ms is not None), default=None)


def longest(rules: RetentionRules) -> int | None:
    """Campaigns: as long as any of their messages."""
    if rules.finished_ms is None or rules.failed_ms is None:
        return None
    return max(rules.finished_ms, rules.failed_ms)


def sweeps(hands: Hands, pace: Pace) -> tuple[Chore, ...]:
    """All but messages."""

    def low(what: str, keep: Keeping, find: str, take: Taking) -> Chore:
        return Low(hands, pace, what, keep, find, take)

    hidden = texts_hidden_by(hands.redaction)
    return (
        low("calls", calls, FIND_CALLS, forgetting(FORGET_CALL)),
        low("keys", lambda rules: 0, FIND_KEYS, forgetting(FORGET_KEY)),
        low("inbound", received, FIND_INBOUND, forgetting(FORGET_INBOUND)),
        Around(hands, pace, "inbound_redacted", redacted, (0,), old_texts, hidden),
        low("callbacks", redacted, FIND_CALLBACKS, callbacks_of(hands.ledger)),
        Around(hands, pace, "threads", named, ("", ""), old_threads, forget_threads),
        low("audit", lambda rules: rules.audit_ms, FIND_AUDIT, forgetting(FORGET_AUDIT)),
        low("minutes", lambda rules: MINUTES_MS, FIND_MINUTES, forgetting(FORGET_MINUTE)),
        Around(hands, pace, "campaigns", longest, (-(2**63), 0), old_campaigns, campaigns_of(hands.ledger)),
    )
