"""What is old, and how does it go without anybody noticing?

Chores, each about one sort of rows: what is old enough is found on the reading connection and dealt with in small
transactions of the writer. A step of a chore does one of either: it reads a stretch, or writes some rows (`pace` says
how many). Here are the messages, and the order of all; the rest is `sweeping`. Messages are looked up again in the
transaction that takes or redacts them: an operator may have sent one again meanwhile. It refuses to know when a step is
made (`engine.retention`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from smsd.core.message import Instant, State
from smsd.core.verdict import Category
from smsd.store.aging import ENDED, Walk
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.hands import Hands
from smsd.store.operators import Removed, RetentionRules
from smsd.store.pace import MOST_ROWS, Pace
from smsd.store.redaction import Redaction
from smsd.store.removing import VIEW, Going, take_away
from smsd.store.statements import change, expect, grouped, listed, look_up
from smsd.store.sweeping import NOTHING, Chore, Keeping, redacted, sweeps

FINISHED: Final = frozenset({int(s) for s in (State.SENT, State.DELIVERED, State.CANCELLED, State.EXPIRED)})


# --- messages --------------------------------------------------------------------------------------------------------

Acting = Callable[[Handle, Deltas, Sequence[int], RetentionRules, Instant], int]
"""What becomes of messages, by their numbers, as far as they still are what was looked for; how many were."""

STILL: Final = "WITH v (seq) AS (VALUES {rows}) " + grouped(
    f"m.redacted, m.recipient, {ENDED}, {VIEW}", "v CROSS JOIN messages AS m ON m.seq = v.seq"
)


class Messages:
    """Messages that ended so long ago."""

    def __init__(self, hands: Hands, pace: Pace, what: str, walk: Walk, keep: Keeping, act: Acting) -> None:
        self._hands = hands
        self._pace = pace
        self._what = what
        self._walk = walk
        self._keep = keep
        self._act = act
        self._under_way = False
        self.next: Instant | None = None

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        """See Chore.step."""
        keep_ms = self._keep(rules)
        if keep_ms is None:
            self.next, self._under_way = None, False
            return NOTHING
        if not self._under_way:
            self._under_way = True
            self._walk.begin(now)
        found = self._walk.found(MOST_ROWS)
        if found:
            work = self._pace.within(found, lambda db, deltas, some: self._act(db, deltas, some, rules, now))
            dealt, rows = await self._hands.change(work, size=len(found))
            self._walk.done(dealt)
            return Removed(rows, done=False, what=self._what)
        if not self._walk.complete:
            await self._hands.read(lambda db: self._walk.read(db, keep_ms, now))
            return Removed(0, done=False, what=self._what)
        self.next, self._under_way = self._walk.next, False
        return NOTHING


def still(
    db: Handle, seqs: Sequence[int], states: frozenset[int], keep_ms: int | None, now: Instant
) -> list[tuple[bool, str, Going]]:
    """Of these messages those that are in the states and ended so long ago: whether it is redacted, its recipient."""
    rows: list[list[Any]] = look_up(db, STILL, [(seq,) for seq in seqs])
    found = ((bool(redacted), recipient, ended, Going(*rest)) for redacted, recipient, ended, *rest in rows)
    return [
        (redacted, recipient, going)
        for redacted, recipient, ended, going in found
        if keep_ms is not None and going.state in states and ended <= now - keep_ms
    ]


def removing(states: frozenset[int], keep: Keeping) -> Acting:
    """They are taken away."""

    def act(db: Handle, deltas: Deltas, seqs: Sequence[int], rules: RetentionRules, now: Instant) -> int:
        old = [going for _, _, going in still(db, seqs, states, keep(rules), now)]
        take_away(db, deltas, old, rules, now)
        return len(old)

    return act


REDACT: Final = (
    "UPDATE messages SET text = '', recipient = v.hash, head = v.head, redacted = 1, error_message = "
    f"iif(error_category = '{Category.EXPIRED}' OR error_message IS NULL, error_message, '') "
    f"FROM {listed('seq, hash, head')} WHERE messages.seq = v.seq AND messages.redacted = 0"
)
"""What a provider said of it may name the number; that it expired are our own words."""

FORGET_TRACES: Final = "UPDATE attempts SET trace = NULL WHERE seq IN (VALUES {rows})"


CONTENT: Final = "SELECT hash FROM keys WHERE tenant = ? AND key = ? AND seq = ?"
HIDE_CONTENT: Final = "UPDATE keys SET hash = ? WHERE tenant = ? AND key = ? AND seq = ?"


def hide_content(db: Handle, redaction: Redaction, going: Sequence[Going]) -> None:
    """What stands beside their idempotency keys tells nobody the number, and still answers who repeats them."""
    for one in going:
        if one.key is not None:
            name = one.tenant, one.key, one.seq
            row = db.execute(CONTENT, name).fetchone()
            if row is not None:
                db.execute(HIDE_CONTENT, (redaction.hidden_content(row[0]), *name))


def head_of(recipient: str, heads: frozenset[str]) -> str:
    """The longest of these beginnings that the number has; empty: none. All prices that fit the number fit this."""
    return next((recipient[:end] for end in range(len(recipient), 0, -1) if recipient[:end] in heads), "")


def redacting(redaction: Redaction) -> Acting:
    """Their texts go, and a hash stands for the number."""

    def act(db: Handle, deltas: Deltas, seqs: Sequence[int], rules: RetentionRules, now: Instant) -> int:
        old = [
            (recipient, going)
            for redacted, recipient, going in still(db, seqs, FINISHED, rules.redact_ms, now)
            if not redacted
        ]
        if not old:
            return 0
        rows = [(going.seq, redaction.hidden(number), head_of(number, rules.heads)) for number, going in old]
        expect(change(db, REDACT, rows), len(old))
        change(db, FORGET_TRACES, [(going.seq,) for _, going in old])
        hide_content(db, redaction, [going for _, going in old])
        redaction.note(db)
        return len(old)

    return act


def finished(rules: RetentionRules) -> int | None:
    """Sent, delivered, cancelled and expired messages."""
    return rules.finished_ms


def failed(rules: RetentionRules) -> int | None:
    """Failed and undelivered messages."""
    return rules.failed_ms


def chores(hands: Hands, pace: Pace) -> tuple[Chore, ...]:
    """All, in the order in which they are done. Campaigns are behind their messages."""

    def messages(what: str, walk: Walk, keep: Keeping, act: Acting) -> Chore:
        return Messages(hands, pace, what, walk, keep, act)

    taken = [
        messages("messages", Walk(states, only=only), keep, removing(states, keep))
        for states, only, keep in (
            (FINISHED, None, finished),
            (frozenset({int(State.FAILED)}), int(State.FAILED), failed),
            (frozenset({int(State.UNDELIVERED)}), int(State.UNDELIVERED), failed),
        )
    ]
    hidden = messages("redacted", Walk(FINISHED, redacted=False), redacted, redacting(hands.redaction))
    return (*taken, hidden, *sweeps(hands, pace))
