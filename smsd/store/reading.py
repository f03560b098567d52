"""How are the questions of the read side answered?

Functions of an open reading connection: each is one short read, so that checkpoints are not held up. A listing looks at
a bounded number of rows and hands a cursor back; nothing scans the table. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.suppression import Suppression
from smsd.store import failing, rows
from smsd.store.accepting import Same, answer_for_key, key_row
from smsd.store.answers import KeyConflict, Replay
from smsd.store.binding import ATTEMPTS_AT_ONCE, MAX_INTEGER
from smsd.store.connection import Handle
from smsd.store.opening import Start
from smsd.store.pending import Due, Slice
from smsd.store.recovery import by_state, counts
from smsd.store.rows import CRASHED, OVERTAKEN
from smsd.store.statements import arrays, grouped
from smsd.store.statements.accepting import FIND_KEY
from smsd.store.statements.counting import (
    CATEGORIES,
    MINUTES,
    OLDEST_PENDING,
    OLDEST_PENDING_OF_TENANT,
    TENANT_CATEGORIES,
    TENANT_COUNTERS,
    TENANT_MINUTES,
)
from smsd.store.statements.flows import FEED, FEED_NEXT
from smsd.store.statements.reading import (
    ATTEMPTS_OF,
    COUNTS_OF_RECIPIENT,
    COUNTS_OF_USER,
    FLOOR_OF_FAILED_PAGE,
    FLOOR_OF_PAGE,
    FLOOR_OF_USERS_PAGE,
    NEXT_UNCERTAIN,
    STARTS,
    TENANT_OF_USER,
    UNCERTAIN,
)
from smsd.store.statements.suppressing import SUPPRESSIONS_AFTER, SUPPRESSIONS_IN_SCOPE_AFTER, SUPPRESSIONS_OF
from smsd.store.views import MinuteRow, Page, PersonCounts, Query, Totals

ROWS_LOOKED_AT = 20_000
"""What one page of a listing looks at, at most: some 10 ms."""

FAILED_QUEUE = "both"
"""Read by the two partial indexes of what failed and what was not delivered (`failing`)."""

RECIPIENT_STRETCHES = 10
"""Stretches of ROWS_LOOKED_AT that counts of a recipient look at, each a read of its own."""

TENANTS_OF_USER = 100
"""Tenants whose users of one name are counted together, at most, each in a read of its own."""

IN_FLIGHT_SLACK = 10_000
"""Attempts are numbered as they are settled, not as they were started: as many may be out of place as may be in flight
at once ([providers.NAME] max_in_flight goes up to this)."""


def attempts(db: Handle, seq: int) -> list[Attempt]:
    """The settled attempts of a message, in order."""
    return [rows.attempt(row) for row in arrays(db, ATTEMPTS_OF, (seq,))]


def suppressions_of(db: Handle, number: str) -> tuple[Suppression, ...]:
    """All of the number, in order of their scopes."""
    return tuple(Suppression(*row) for row in db.execute(SUPPRESSIONS_OF, (number,)).fetchall())


def suppressions(db: Handle, scope: str | None, after: tuple[str, str] | None, limit: int) -> tuple[Suppression, ...]:
    """Those of a scope (None: of every one) after a place (number, scope), in order of (number, scope)."""
    number, beyond = after or ("", "")
    if scope is None:
        found = db.execute(SUPPRESSIONS_AFTER, (number, beyond, limit)).fetchall()
    else:
        found = db.execute(SUPPRESSIONS_IN_SCOPE_AFTER, (scope, number, limit)).fetchall()
    return tuple(Suppression(*row) for row in found)


def find_key(db: Handle, tenant: str, key: str, content_hash: bytes, same: Same) -> Replay | KeyConflict | None:
    """What a submission with this key would get; None: the key is free."""
    row = db.execute(FIND_KEY, (tenant, key)).fetchone()
    return None if row is None else answer_for_key(key_row(row), content_hash, same)


def totals(db: Handle, since_minute: int, tenant: str | None) -> Totals:
    """The kept counts, all of one moment."""
    db.execute("BEGIN")
    try:
        return totals_of_all(db, since_minute) if tenant is None else totals_of(db, since_minute, tenant)
    finally:
        db.execute("COMMIT")


def totals_of_all(db: Handle, since_minute: int) -> Totals:
    """Everybody's, with minutes by provider."""
    oldest = db.execute(OLDEST_PENDING).fetchone()
    return Totals(
        states=counts(db),
        categories=dict(db.execute(CATEGORIES).fetchall()),
        minutes=tuple(MinuteRow(*row) for row in db.execute(MINUTES, (since_minute,)).fetchall()),
        oldest_pending_at=None if oldest is None else oldest[0],
    )


def totals_of(db: Handle, since_minute: int, tenant: str) -> Totals:
    """One tenant's."""
    oldest = db.execute(OLDEST_PENDING_OF_TENANT, (tenant,)).fetchone()
    return Totals(
        states=by_state(db.execute(TENANT_COUNTERS, (tenant,)).fetchall()),
        categories=dict(db.execute(TENANT_CATEGORIES, (tenant,)).fetchall()),
        minutes=tuple(MinuteRow(*row) for row in db.execute(TENANT_MINUTES, (tenant, since_minute)).fetchall()),
        oldest_pending_at=None if oldest is None else oldest[0],
    )


def feed(db: Handle, flow: int, after: tuple[Instant, int] | None, until: Instant, limit: int) -> Slice:
    """The flow's next pending messages. `next_due` only for a complete slice: the first due time beyond `until`."""
    due, seq = after or (-1, -1)
    found = [Due(*row) for row in arrays(db, FEED, (flow, due, seq, until, limit + 1))]
    if len(found) > limit:
        return Slice(tuple(found[:limit]), complete=False, next_due=None)
    following = db.execute(FEED_NEXT, (flow, until)).fetchone()
    return Slice(tuple(found), complete=True, next_due=None if following is None else following[0])


def uncertain(db: Handle, until: Instant, limit: int, without: Collection[str]) -> tuple[list[Message], Instant | None]:
    """Uncertain messages due for a look-up by `until`, earliest first, and when the next after them is due."""
    others = "".join(f"\n{name}\n" for name in without)
    found = [rows.message(row) for row in arrays(db, UNCERTAIN, (until, others, limit + 1))]
    if len(found) > limit:
        return found[:limit], found[limit].due
    following = db.execute(NEXT_UNCERTAIN, (until,)).fetchone()
    return found, None if following is None else following[0]


def starts(db: Handle, boot: int, provider: str, since: Instant, since_boot: int, limit: int) -> list[Start]:
    """Calls of this boot started after `since_boot`, of other boots after `since`; oldest first, at most the newest
    `limit`. A crashed one counts as started when it was found, an overtaken one when its message was proved.

    Reads backward. An attempt numbered above one that started lately, and itself started before, was in flight at that
    moment. So when more such attempts were seen than can be in flight, nothing that started lately lies further back.
    The wall clock may have been stepped; within this boot it is not asked.
    """
    found: list[Start] = []
    before, earlier = MAX_INTEGER, 0
    while len(found) < limit + IN_FLIGHT_SLACK and earlier < IN_FLIGHT_SLACK:
        some: list[Any] = db.execute(STARTS, (before, ATTEMPTS_AT_ONCE)).fetchall()
        for nr, name, started_at, started_boot, in_boot, settled_at, cost, outcome, segments in some:
            before = nr
            at = started_boot if in_boot == boot else None
            wall = settled_at if outcome in (CRASHED, OVERTAKEN) else started_at
            if wall <= since if at is None else at <= since_boot:
                earlier += 1
            elif name == provider:
                found.append(Start(wall, at, cost, segments))
        if len(some) < ATTEMPTS_AT_ONCE:
            break
    return newest(found, limit)


def newest(found: list[Start], limit: int) -> list[Start]:
    """The newest `limit`, oldest first: those of other boots, by wall time, before those of this one."""
    found.sort(key=lambda start: (0, start.wall) if start.boot is None else (1, start.boot))
    return found[len(found) - limit :] if len(found) > limit else found


def page(db: Handle, query: Query, redacted: str | None = None) -> Page:
    """One page of a listing, newest first. `redacted`: what stands for the recipient in redacted messages."""
    before = MAX_INTEGER if query.before is None else query.before
    index, floor = floor_of(db, query, before)
    lowest = 0 if floor is None else floor[0]
    conditions, values = filters(query, redacted)
    part = (before, lowest, *values)
    if index == FAILED_QUEUE:
        source, part = f"({failing.both('*', conditions)})", (*part, *part)
    else:
        source = f"(SELECT * FROM messages {index} WHERE seq < ? AND seq >= ? {conditions}ORDER BY seq DESC LIMIT ?)"
    found = arrays(db, grouped(rows.MESSAGE_COLUMNS, source), (*part, query.limit))
    items = tuple(rows.message(row) for row in found)
    if len(items) == query.limit:
        return Page(items, items[-1].seq)
    return Page(items, None if floor is None else lowest)


def floor_of(db: Handle, query: Query, before: int) -> tuple[str, Any]:
    """By which index the page is read, and the row of the last number it may look at; no row: to the very first."""
    skip = ROWS_LOOKED_AT - 1
    if query.user is not None and query.tenant is not None:
        values = (query.user, query.tenant, before, skip)
        return "INDEXED BY messages_user", db.execute(FLOOR_OF_USERS_PAGE, values).fetchone()
    if query.states == (State.FAILED,):
        return "INDEXED BY messages_failed", db.execute(FLOOR_OF_FAILED_PAGE, (before, skip)).fetchone()
    if frozenset(query.states) == failing.STATES:
        floor = failing.nth(db, before, ROWS_LOOKED_AT)
        return FAILED_QUEUE, None if floor is None else (floor,)
    return "NOT INDEXED", db.execute(FLOOR_OF_PAGE, (before, skip)).fetchone()


def tenants_of(db: Handle, user: str) -> list[str]:
    """The tenants that have a user of this name, at most TENANTS_OF_USER. One search a tenant."""
    found: list[str] = []
    while len(found) < TENANTS_OF_USER:
        row = db.execute(TENANT_OF_USER, (user, found[-1] if found else "")).fetchone()
        if row is None:
            break
        found.append(row[0])
    return found


def counts_of_user(db: Handle, user: str, tenant: str, day: Instant, hour: Instant) -> PersonCounts:
    """From the newest ROWS_LOOKED_AT messages about this tenant's user."""
    values = (day, hour, day, user, tenant, ROWS_LOOKED_AT)
    return PersonCounts(*db.execute(COUNTS_OF_USER, values).fetchone())


def counts_of_recipient(
    db: Handle, names: tuple[str, str], tenant: str | None, day: Instant, hour: Instant, before: int
) -> tuple[PersonCounts, int]:
    """From the next ROWS_LOOKED_AT messages below number `before`; and the number to go on below, 0 at the end.
    `names`: the recipient, and what stands for it in redacted messages."""
    floor = db.execute(FLOOR_OF_PAGE, (before, ROWS_LOOKED_AT - 1)).fetchone()
    lowest = 0 if floor is None else floor[0]
    values = (day, hour, day, before, lowest, *names, tenant)
    return PersonCounts(*db.execute(COUNTS_OF_RECIPIENT, values).fetchone()), lowest


def added(some: Iterable[PersonCounts]) -> PersonCounts:
    """All of them together."""
    counted = [(c.sent_today, c.sent_last_hour, c.failed_today, c.pending) for c in some]
    return PersonCounts(*map(sum, zip(*counted, strict=True))) if counted else PersonCounts(0, 0, 0, 0)


def filters(query: Query, redacted: str | None) -> tuple[str, list[object]]:
    """The query's conditions, each beginning with AND, and their values. Names are constants, values are bound."""
    conditions = ""
    values: list[object] = []
    if query.states:
        # Literal numbers, so that the partial index of failed messages can be used.
        numbers = ", ".join(str(int(state)) for state in query.states)
        conditions += f"AND state = {numbers} " if len(query.states) == 1 else f"AND state IN ({numbers}) "
    for name, value in (
        ("tenant", query.tenant),
        ('"user"', query.user),
        ("campaign", query.campaign),
        ("error_category", query.category),
        ("provider", query.provider),
    ):
        if value is not None:
            conditions += f"AND {name} = ? "
            values.append(value)
    if query.recipient is not None:
        conditions += "AND recipient IN (?, ?) "
        values += [query.recipient, redacted or query.recipient]
    if query.since is not None:
        conditions += "AND created_at >= ? "
        values.append(query.since)
    if query.until is not None:
        conditions += "AND created_at < ? "
        values.append(query.until)
    return conditions, values
