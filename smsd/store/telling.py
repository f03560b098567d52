"""What is yet to be told to applications, and in which transaction is it written?

A callback is written by the transaction that changes the message, from the row as that change leaves it: neither can be
without the other. A state that the message was in before, in the same round, is not told again: the receiver would take
it for a repeat. Only receipts bring a message back, so what they write down (`been`) is all that is needed. Where no
URL is known (no tenant has one, and no message ever came with one, a kept fact) no statement is spent on it. A URL that
said 410 gets nothing more: what comes for it is kept as given up.

CALLBACKS_KEPT callbacks are kept at most. Beyond them the oldest that were given up go, then the oldest that wait: the
newest of a receiver that works are told within seconds, so the oldest are those of one that has been down the longest,
and one receiver that is down must not keep another's from being written. How many went is counted. What was given up
goes by itself after KEPT_MS.

Of each place (tenant and origin) that has something waiting, the earliest due time is kept beside, by the same
transaction, so that whoever looks for what is due steps over no place that has nothing. It refuses to know how a
callback travels, and when it is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from smsd.core.callback import (
    TOLD,
    Callback,
    event_id,
    happened_at,
    inbound_id,
    inbound_payload,
    payload,
    place_of,
)
from smsd.core.events import Kind
from smsd.core.message import Instant, Message
from smsd.core.units import DAY
from smsd.store import anew, gone, rows
from smsd.store import statements as sql
from smsd.store.connection import Handle
from smsd.store.incoming import Inbound
from smsd.store.places import keep_first_due
from smsd.store.statements import arrays, change, expect, grouped, listed, look_up_plain

CALLBACKS_KEPT = 1_000_000
"""At some 1.2 KB each, 1.2 GB on the disk; none of them is in memory."""

KEPT_MS = 30 * DAY
"""How long one that was given up is kept, for an operator to replay."""

SWEPT_AT_ONCE = 500
"""Rows that one beat deletes at most: some 5 ms."""

PIECE = 500
"""Rows that one transaction gives up, or replays by their ids."""

BEFORE_ALL = (-1, -1)
"""The (due, number) before all callbacks of a place."""

GONE_ERROR = "410 Gone: this URL takes no more callbacks. Replay one of them when it does again"

URLS = "callback_urls"
"""The name in `meta` of the mark that a message came with a URL of its own. It stays."""

WAITING, FAILED, DROPPED = "callbacks_waiting", "callbacks_failed", "callbacks_dropped"
"""The names in `meta` of the kept counts: what waits, what was given up, what went at the bound before it was told."""

KEPT_NUMBERS = f"SELECT name, value FROM meta WHERE name IN ('{URLS}', '{WAITING}', '{FAILED}', '{DROPPED}')"

SET_NUMBERS = "INSERT OR REPLACE INTO meta (name, value) VALUES {rows}"

_COLUMNS = ", ".join(
    "''" if name.strip() == "text" else f"m.{name.strip()}" for name in rows.MESSAGE_COLUMNS.split(",")
)

TELLABLE = (
    "WITH v (seq) AS (VALUES {rows}) "
    + grouped(_COLUMNS, "v CROSS JOIN messages AS m ON m.seq = v.seq ")
    + f"WHERE m.state IN ({', '.join(str(int(state)) for state in TOLD)}) AND NOT m.been >> m.state & 1 "
    + "AND (m.callback_url IS NOT NULL OR instr(?, char(10) || m.tenant || char(10)) > 0)"
)
"""Whole messages without their texts, of those in a state that is new in their round, in the order of the rows. The
last parameter: the tenants that have a URL."""

INSERT_CALLBACKS = (
    "INSERT INTO callbacks (id, event, tenant, subject, url, place, payload, created_at, due, error, http_status, "
    "tried_at) VALUES {rows} ON CONFLICT (id) DO NOTHING"
)

DROP_GIVEN_UP = (
    "DELETE FROM callbacks WHERE nr IN (SELECT nr FROM callbacks WHERE due IS NULL ORDER BY tried_at LIMIT ?)"
)

DROP_OLDEST = "DELETE FROM callbacks WHERE nr IN (SELECT nr FROM callbacks ORDER BY nr LIMIT ?) RETURNING place"
"""Of those that wait: it is asked only when nothing that was given up is left."""

SWEEP = (
    "DELETE FROM callbacks WHERE nr IN "
    "(SELECT nr FROM callbacks WHERE due IS NULL AND tried_at < ? ORDER BY tried_at LIMIT ?)"
)

TOLD_ONES = (
    "WITH v (id) AS (VALUES {rows}) SELECT c.place, c.due IS NOT NULL FROM v CROSS JOIN callbacks AS c ON c.id = v.id"
)

DELETE_TOLD = "DELETE FROM callbacks WHERE id IN (VALUES {rows})"

KEEP_TRY = (
    "UPDATE callbacks SET due = ?, tries = ?, error = ?, http_status = ?, tried_at = coalesce(?, created_at) "
    "WHERE id = ? AND due IS NOT NULL"
)

OF_PLACE = grouped(
    "due, nr, mine",
    "(SELECT due, nr, url = ? AS mine FROM callbacks "
    "WHERE due IS NOT NULL AND place = ? AND (due, nr) > (?, ?) ORDER BY due, nr LIMIT ?)",
)

GIVE_UP = (
    "UPDATE callbacks SET due = NULL, error = v.error, http_status = 410, tried_at = v.at "
    f"FROM {listed('nr, error, at')} WHERE callbacks.nr = v.nr AND +callbacks.due IS NOT NULL"
)


class Teller:
    """Writes callbacks. Lives on the writing connection's thread; write() ends what a transaction does, committed() or
    undone() the transaction itself."""

    def __init__(self, most: int = CALLBACKS_KEPT) -> None:
        """`most`: callbacks kept."""
        self._most = most
        self._urls: Mapping[str, str] = {}
        self._tenants = ""
        self._rows: list[tuple[object, ...]] = []
        self._touched: set[str] = set()
        """Places of which the first due time may be another than the kept one."""
        self._adding = False
        self._added = False
        self._changed = False
        self._gone: bool | None = None
        """Whether any URL is gone; None: the database must be asked."""
        self._known = False
        """Whether the rest is as it lies in the database."""
        self._own = False
        self._waiting = self._failed = self._dropped = 0

    def track(self, urls: Mapping[str, str]) -> None:
        """By tenant: where what happens to its messages is told from now on, unless a message says otherwise."""
        self._urls = dict(urls)
        self._tenants = "\n".join(["", *self._urls, ""]) if self._urls else ""

    def start(self, db: Handle) -> None:
        """The outbox was opened."""
        self.undone()
        self._know(db)

    # --- what happened -----------------------------------------------------------------------------------------------

    def url_seen(self, db: Handle) -> None:
        """A message with a URL of its own is accepted by this transaction."""
        self._know(db)
        if not self._own:
            self._own = True
            change(db, SET_NUMBERS, [(URLS, 1)])

    def tell(self, db: Handle, seqs: Sequence[int], at: Instant) -> None:
        """These messages came into their states at about `at`. Whose state is told to somebody gets a callback, due at
        once, that says what the row says now; call it after each change of state."""
        if not seqs or not self._listens(db):
            return
        for message in self._tellable(db, dict.fromkeys(seqs)):
            url = message.callback_url or self._urls[message.tenant]
            body = payload(message, happened_at(message, at))
            self._add(event_id(message), TOLD[message.state], message.tenant, message.id, url, body, at)

    def arrived(self, db: Handle, inbound: Inbound) -> None:
        """This text came in: its tenant is told, if it has a URL."""
        url = self._urls.get(inbound.tenant)
        if url is None:
            return
        body = inbound_payload(
            id=inbound.id,
            sender=inbound.sender,
            recipient=inbound.recipient,
            text=inbound.text,
            tenant=inbound.tenant,
            provider=inbound.provider,
            message=inbound.message,
            word=None if inbound.word is None else str(inbound.word),
            received_at=inbound.received_at,
        )
        event = Kind.INBOUND_RECEIVED
        self._add(inbound_id(inbound.id), event, inbound.tenant, inbound.id, url, body, inbound.received_at)

    def _listens(self, db: Handle) -> bool:
        """Whether anybody is told anything."""
        if self._urls:
            return True
        self._know(db)
        return self._own

    def _tellable(self, db: Handle, seqs: Mapping[int, None]) -> list[Message]:
        found = []
        for piece in sql.pieces([(seq,) for seq in seqs]):
            statement = sql.with_rows(TELLABLE, 1, len(piece))
            found += arrays(db, statement, (*(seq for (seq,) in piece), self._tenants))
        return [rows.message(row) for row in found]

    def _add(self, id: str, event: Kind, tenant: str, subject: str, url: str, body: str, at: Instant) -> None:
        self._rows.append((id, str(event), tenant, subject, url, place_of(tenant, url), body, at, at, None, None, None))

    # --- what became of them -----------------------------------------------------------------------------------------

    def told(self, db: Handle, ids: Sequence[str]) -> None:
        """See Outbox.callback_told."""
        wanted = [(id,) for id in dict.fromkeys(ids)]
        self._know(db)
        for place, waits in look_up_plain(db, TOLD_ONES, wanted):
            self._touched.add(place)
            self._count(waiting=-waits, failed=waits - 1)
        change(db, DELETE_TOLD, wanted)

    def failed(self, db: Handle, callback: Callback) -> None:
        """See Outbox.callback_failed. One that was given up meanwhile (its URL is gone) stays so."""
        tried = (callback.due, callback.tries, rows.storable(callback.error), callback.http_status, callback.tried_at)
        self._know(db)
        if db.execute(KEEP_TRY, (*tried, callback.id)).rowcount:
            self._touched.add(callback.place)
            if callback.due is None:
                self._count(waiting=-1, failed=1)

    def mark_gone(self, db: Handle, tenant: str, url: str, now: Instant) -> None:
        """What comes for the URL from now on is kept as given up."""
        self._gone = True
        gone.mark(db, tenant, url, now)

    def give_up(
        self, db: Handle, tenant: str, url: str, now: Instant, after: tuple[Instant, int]
    ) -> tuple[int, tuple[Instant, int] | None]:
        """Some of what waits for the URL is given up, behind the place `after` (BEFORE_ALL: all). How many, and
        the place where to go on; None: that was all."""
        self._know(db)
        place = place_of(tenant, url)
        found = arrays(db, OF_PLACE, (url, place, *after, PIECE))
        self._touched.add(place)
        mine = [(nr, GONE_ERROR, now) for _, nr, is_mine in found if is_mine]
        expect(change(db, GIVE_UP, mine), len(mine))
        self._count(waiting=-len(mine), failed=len(mine))
        return len(mine), (found[-1][0], found[-1][1]) if len(found) == PIECE else None

    def replay(self, db: Handle, ids: Sequence[str], tenant: str | None, now: Instant) -> int:
        """Those of the ids that wait or were given up (of this tenant) are due now, as if they were new, and their URLs
        count as gone no more. How many."""
        self._know(db)
        mine = anew.named(db, ids, tenant)
        for of, url in dict.fromkeys((one.tenant, one.url) for one in mine):
            if gone.lift(db, of, url):
                self._gone = None
        failed = sum(one.failed for one in mine)
        self._count(waiting=failed, failed=-failed)
        return self._renew(db, [one.nr for one in mine], [place_of(one.tenant, one.url) for one in mine], now)

    def hasten(self, db: Handle, tenant: str | None, now: Instant, after: str) -> tuple[int, str | None]:
        """Some of what waits for a later time is due now, as if it was new; see anew.later. How many, and the place
        behind which to go on."""
        numbers, places, following = anew.later(db, tenant, now, after)
        return self._renew(db, numbers, places if numbers else (), now), following

    def _renew(self, db: Handle, numbers: Sequence[int], places: Iterable[str], now: Instant) -> int:
        anew.renew(db, numbers, now)
        self._touched.update(places)
        self._adding = self._adding or bool(numbers)
        return len(numbers)

    def sweep(self, db: Handle, now: Instant) -> None:
        """Some of what was given up long ago goes."""
        self._know(db)
        if self._failed:
            self._count(failed=-db.execute(SWEEP, (now - KEPT_MS, SWEPT_AT_ONCE)).rowcount)

    # --- the transaction ---------------------------------------------------------------------------------------------

    def write(self, db: Handle) -> None:
        """All that the open transaction does is done: write what is told of it, and the counts."""
        if self._rows:
            self._know(db)
            self._insert(db)
        if self._changed:
            self._make_room(db)
            counts = (WAITING, self._waiting, FAILED, self._failed, DROPPED, self._dropped)
            db.execute(sql.with_rows(SET_NUMBERS, 2, 3), counts)
            self._changed = False
        if self._touched:
            keep_first_due(db, self._touched)
            self._touched.clear()

    def committed(self) -> None:
        """What was written is durable."""
        self._added = self._added or self._adding
        self._adding = False

    def undone(self) -> None:
        """The transaction is rolled back."""
        self._rows.clear()
        self._touched.clear()
        self._adding = self._changed = self._known = self._own = False
        self._gone = None

    def take_added(self) -> bool:
        """Whether callbacks were added, or are due anew, since the last call; of what is committed."""
        added, self._added = self._added, False
        return added

    def _insert(self, db: Handle) -> None:
        refused = self._gone_ones(db, [(str(row[2]), str(row[4])) for row in self._rows])
        waiting, given_up = [], []
        for row in self._rows:
            if (row[2], row[4]) in refused:
                given_up.append((*row[:8], None, GONE_ERROR, 410, row[7]))
            else:
                waiting.append(row)
        self._rows.clear()
        fresh = change(db, INSERT_CALLBACKS, waiting)
        self._touched.update(str(row[5]) for row in waiting)
        self._adding = self._adding or fresh > 0
        self._count(waiting=fresh, failed=change(db, INSERT_CALLBACKS, given_up))

    def _gone_ones(self, db: Handle, urls: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        if self._gone is None:
            self._gone = gone.any_gone(db)
        return gone.of(db, urls) if self._gone else set()

    def _make_room(self, db: Handle) -> None:
        over = self._waiting + self._failed - self._most
        if over > 0 and self._failed:
            dropped = db.execute(DROP_GIVEN_UP, (over,)).rowcount
            self._failed -= dropped
            over -= dropped
        if over > 0:
            went = [place for (place,) in db.execute(DROP_OLDEST, (over,)).fetchall()]
            self._touched.update(went)
            self._waiting -= len(went)
            self._dropped += len(went)

    def _count(self, *, waiting: int = 0, failed: int = 0) -> None:
        self._waiting += waiting
        self._failed += failed
        self._changed = self._changed or bool(waiting or failed)

    def _know(self, db: Handle) -> None:
        """Ask the database for what it keeps, unless it is known."""
        if not self._known:
            kept = dict(db.execute(KEPT_NUMBERS).fetchall())
            self._own = URLS in kept
            self._waiting, self._failed, self._dropped = (kept.get(name, 0) for name in (WAITING, FAILED, DROPPED))
            self._known = True
