"""Which SQL does the outbox speak?

The text of every statement that takes part in the daily flow, in one place, so that one test can ask SQLite for the
plan of each (tests/store/test_query_plans.py). What they are used for is said where they are used.

Set-wise statements take their rows as VALUES of bound parameters. SQLite wants the number of rows in the text, so a set
is cut into sizes of SIZES: few texts, each prepared once. A partial index is used only by a query that repeats its
condition literally (`state = 0`), hence the numbers in the text. CROSS JOIN fixes the order: the small set drives, the
table is searched (https://www.sqlite.org/optoverview.html#crossjoin).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from smsd.store.connection import Handle
from smsd.store.rows import (
    ACCEPTED_COLUMNS,
    ATTEMPT_COLUMNS,
    ATTEMPT_VIEW,
    HEALTH_COLUMNS,
    MESSAGE_COLUMNS,
    SETTLED_COLUMNS,
    SUPPRESSION_COLUMNS,
)

SIZES = (256, 64, 16, 4, 1)
"""Rows of one statement. 256 rows of 27 columns stay far below SQLite's 32,766 parameters."""

BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
CHECKPOINT_LAST = "PRAGMA wal_checkpoint(TRUNCATE)"


def prefixed(alias: str, columns: str) -> str:
    """The names of a list of columns, each with a table's alias."""
    return ", ".join(f"{alias}.{name.strip()}" for name in columns.split(","))


@cache
def with_rows(template: str, columns: int, rows: int) -> str:
    """The template with its {rows} replaced by `rows` tuples of `columns` parameters."""
    one = f"({', '.join('?' * columns)})"
    return template.replace("{rows}", ", ".join([one] * rows))


def pieces(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    """The rows in order, in pieces of SIZES."""
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def listed(columns: str) -> str:
    """The {rows} of a change as a table v with these columns.

    Not a WITH clause: sqlite3 knows the number of changed rows only of statements that begin with INSERT or UPDATE.
    """
    named = ", ".join(f"column{n} AS {name.strip()}" for n, name in enumerate(columns.split(","), 1))
    return f"(SELECT {named} FROM (VALUES {{rows}})) AS v"


def change(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> int:
    """Run a set-wise change over the rows; the number of rows changed."""
    changed = 0
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        changed += db.execute(sql, tuple(chain.from_iterable(piece))).rowcount
    return changed


def expect(changed: int, wanted: int) -> None:
    """A set-wise change must have met every row that was looked up in the same transaction."""
    if changed != wanted:
        raise RuntimeError(f"{changed} rows changed where {wanted} were found in the same transaction")


def look_up(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Run a set-wise query over the rows; its arrays. The template selects one json_group_array."""
    found: list[Any] = []
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        found += arrays(db, sql, tuple(chain.from_iterable(piece)))
    return found


def look_up_plain(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Run a set-wise query over the rows; its rows."""
    found: list[Any] = []
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        found += db.execute(sql, tuple(chain.from_iterable(piece))).fetchall()
    return found


def arrays(db: Handle, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
    """The rows of a query made by grouped()."""
    result: list[Any] = json.loads(db.execute(sql, parameters).fetchone()[0])
    return result


def grouped(columns: str, source: str) -> str:
    """A query whose one row is the JSON array of all its rows, in the order of `source`."""
    return f"SELECT json_group_array(json_array({columns})) FROM {source}"


# --- accepting -------------------------------------------------------------------------------------------------------

INSERT_MESSAGES = f"INSERT INTO messages ({ACCEPTED_COLUMNS}) VALUES {{rows}}"

FIND_KEYS = (
    "WITH v (tenant, key) AS (VALUES {rows}) "
    "SELECT k.tenant, k.key, k.hash, coalesce(m.id, k.id), coalesce(m.state, k.state), "
    "coalesce(m.segments, k.segments), coalesce(m.encoding, k.encoding) "
    "FROM v CROSS JOIN keys AS k ON k.tenant = v.tenant AND k.key = v.key LEFT JOIN messages AS m ON m.seq = k.seq "
    "WHERE coalesce(m.id, k.id) IS NOT NULL"
)
"""Not grouped: hash is a BLOB, and as a rule no row is found. A key may outlive its message; then it says itself what
that was."""

INSERT_KEYS = "INSERT INTO keys (tenant, key, hash, seq) VALUES {rows}"

FIND_FLOW = "SELECT id FROM flows WHERE route = ? AND priority = ? AND tenant = ? AND campaign IS ?"

INSERT_FLOW = "INSERT INTO flows (id, route, priority, tenant, campaign) VALUES (?, ?, ?, ?, ?)"

# --- claiming --------------------------------------------------------------------------------------------------------

CLAIMABLE = (
    "WITH v (seq, attempt, now) AS (VALUES {rows}) "
    + grouped(prefixed("m", MESSAGE_COLUMNS + ", admitted"), "v CROSS JOIN messages AS m ON m.seq = v.seq ")
    + "WHERE m.state = 0 AND m.attempt = v.attempt AND m.expires_at > v.now"
)
"""A message, and behind its columns the round in which it was last claimed."""

LET_GO = "held = NULL, held_by = NULL, held_since = NULL"
"""Nothing holds the message up any more."""

CLAIM = (
    "UPDATE messages SET state = 1, attempt = messages.attempt + 1, provider = v.provider, "
    "sender = coalesce(messages.asked_sender, v.sender), "
    "claimed_at = v.now, uncertain = 0, uncertain_since = NULL, lookups = 0, "
    f"admitted = messages.round + 1, {LET_GO} "
    f"FROM {listed('seq, attempt, provider, sender, now')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)

REROUTE = (
    f"UPDATE messages SET route = v.route, flow = v.flow FROM {listed('seq, route, flow')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0"
)

TURN_AWAY = (
    f"UPDATE messages SET state = 5, {LET_GO}, processed_at = v.at, error_category = v.category, "
    "error_message = v.message, error_at = v.at, error_code = v.code, error_provider = v.provider, error_cause = NULL "
    f"FROM {listed('seq, category, message, at, code, provider')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0"
)

# --- limiting --------------------------------------------------------------------------------------------------------

HOLD_NEW = (
    f"UPDATE messages SET held = v.held, held_by = v.held_by FROM {listed('seq, held, held_by')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = 0"
)
"""Of messages inserted in the same transaction: few are held, and two more values would cost every insertion."""

NOTE_NEW = (
    f"UPDATE messages SET callback_url = v.callback_url, exempt = v.exempt FROM {listed('seq, callback_url, exempt')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = 0"
)
"""The same for what few messages have."""

HOLD_UP = (
    "UPDATE messages SET due = v.due, held = v.held, held_by = v.held_by, held_since = v.held_since "
    f"FROM {listed('seq, attempt, due, held, held_by, held_since')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)

REFUSE = (
    f"UPDATE messages SET state = v.state, {LET_GO}, due = v.due, charged = v.charged, "
    "processed_at = iif(v.state = 5, v.at, messages.processed_at), error_category = v.category, "
    "error_message = v.message, error_at = v.at, error_code = NULL, error_provider = NULL, error_cause = NULL "
    f"FROM {listed('seq, attempt, state, due, charged, category, message, at')} "
    "WHERE messages.seq = v.seq AND +messages.state = 0 AND messages.attempt = v.attempt"
)

CHARGES_OF = (
    "WITH v (place, kind, key) AS (VALUES {rows}) "
    "SELECT v.place, c.at, c.boot, c.boot_us, c.seq FROM v CROSS JOIN charges AS c INDEXED BY charges_key "
    "ON c.kind = v.kind AND c.key = v.key AND c.nr >= coalesce("
    "(SELECT nr FROM charges AS o WHERE o.kind = v.kind AND o.key = v.key ORDER BY nr DESC LIMIT 1 OFFSET {most}), 0)"
)
"""Not grouped: there may be a hundred thousand, and numbers come cheaper without JSON."""


def charges_of(most: int) -> str:
    """The query of the newest `most` (>= 1) charges under each of its keys."""
    # SQLite takes no column for an OFFSET.
    return CHARGES_OF.replace("{most}", str(most - 1))


ADD_CHARGES = "INSERT INTO charges (kind, key, at, boot, boot_us, seq) VALUES {rows}"

TAKE_BACK = (
    "DELETE FROM charges WHERE nr = (SELECT max(nr) FROM charges WHERE kind = ? AND key = ? AND seq = ? AND nr >= "
    "coalesce((SELECT nr FROM charges AS o WHERE o.kind = ? AND o.key = ? ORDER BY nr DESC LIMIT 1 OFFSET ?), 0))"
)

COUNT_CHARGES = (
    "WITH k (boot, since) AS (VALUES {rows}) SELECT count(*) FROM "
    "(SELECT nr FROM charges INDEXED BY charges_key WHERE kind = ? AND key = ? ORDER BY nr DESC LIMIT ?) AS v "
    "CROSS JOIN charges AS c ON c.nr = v.nr "
    "WHERE c.boot_us > (SELECT since FROM k WHERE k.boot = c.boot) OR (c.at > ? AND (c.boot <> ? OR c.boot_us IS NULL))"
)
"""How many of the newest charges under a key were made since: by boot time in the boots of k (those of most charges
first: it is walked), and by the wall clock but in this boot."""

OLDEST_CHARGES = "SELECT nr, kind, at, boot, boot_us FROM charges WHERE nr > ? ORDER BY nr LIMIT ?"

FORGET_CHARGES = "DELETE FROM charges WHERE nr >= ? AND nr <= ?"

FIRST_OF_ITS_KIND = "SELECT id, state, segments, encoding FROM messages WHERE seq = ?"

# --- settling --------------------------------------------------------------------------------------------------------

SETTLEABLE = (
    "WITH v (seq, attempt) AS (VALUES {rows}) "
    + grouped(
        "m.seq, m.tenant, m.priority, m.flow, m.provider, m.campaign", "v CROSS JOIN messages AS m ON m.seq = v.seq "
    )
    + "WHERE m.state = 1 AND m.attempt = v.attempt"
)

SETTLE = (
    "UPDATE messages SET attempt = v.attempt, state = v.state, due = v.due, charged = v.charged, "
    "uncertain = v.uncertain, "
    "uncertain_since = iif(v.uncertain, coalesce(messages.uncertain_since, v.doubt_at), NULL), lookups = v.lookups, "
    "processed_at = v.processed_at, sent_at = v.sent_at, "
    "sender = iif(v.state = 0, messages.asked_sender, messages.sender), "
    + ", ".join(
        f"error_{name} = iif(v.clear, NULL, iif(v.category IS NULL, messages.error_{name}, v.{name}))"
        for name in ("category", "message", "at", "code", "provider", "cause")
    )
    + ", provider_message_id = coalesce(v.pmid, messages.provider_message_id), "
    "price = coalesce(v.price, messages.price) "
    f"FROM {listed(SETTLED_COLUMNS)} WHERE messages.seq = v.seq AND +messages.state = 1"
)

INSERT_ATTEMPTS = f"INSERT INTO attempts ({ATTEMPT_COLUMNS}) VALUES {{rows}}"

BIND_ATTEMPT = "UPDATE attempts SET provider_message_id = ? WHERE seq = ? AND n = ?"
"""A look-up found it: the attempt that was uncertain learns its provider's id."""

OVERTAKEN_ONES = "WITH v (seq, n) AS (VALUES {rows}) " + (
    grouped(
        "a.seq, a.n, a.provider_message_id, a.receipt, a.receipt_code, a.receipt_at",
        "v CROSS JOIN attempts AS a ON a.seq = v.seq AND a.n = v.n ",
    )
    + "WHERE a.outcome = 'overtaken'"
)

KEEP_RECEIPT = (
    "UPDATE attempts SET receipt = v.receipt, receipt_code = v.code, receipt_at = v.at "
    f"FROM {listed('seq, n, receipt, code, at')} WHERE attempts.seq = v.seq AND attempts.n = v.n"
)
"""What receipts said of a call, beside its own end, which came later."""

FORGET_OVERTAKEN = "DELETE FROM attempts WHERE seq = ? AND n = ? AND outcome = 'overtaken'"

# --- suppressing -----------------------------------------------------------------------------------------------------

ANY_SUPPRESSION = "SELECT 1 FROM suppressions LIMIT 1"

SUPPRESSED = "WITH v (number) AS (VALUES {rows}) " + grouped(
    "s.number, s.scope, s.code", "v CROSS JOIN suppressions AS s ON s.number = v.number"
)

SUPPRESSIONS_OF = f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE number = ? ORDER BY scope"

SUPPRESSIONS_AFTER = (
    f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE (number, scope) > (?, ?) ORDER BY number, scope LIMIT ?"
)

SUPPRESSIONS_IN_SCOPE_AFTER = (
    f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions WHERE scope = ? AND number > ? ORDER BY number LIMIT ?"
)

ADD_SUPPRESSIONS = (
    f"INSERT INTO suppressions ({SUPPRESSION_COLUMNS}) VALUES {{rows}} ON CONFLICT (scope, number) DO NOTHING"
)

LIFT_SUPPRESSION = "DELETE FROM suppressions WHERE scope = ? AND number = ?"

# --- proving ---------------------------------------------------------------------------------------------------------

BOUND_TO_OTHER_BY_LOOKUP = (
    "SELECT 1 FROM attempts "
    "WHERE outcome IN ('unknown', 'crashed') AND provider_message_id = ? AND seq <> ? AND +provider = ?"
)

# --- keeping counts --------------------------------------------------------------------------------------------------

ADD_COUNTERS = (
    "INSERT INTO counters (state, priority, n) VALUES {rows} "
    "ON CONFLICT (state, priority) DO UPDATE SET n = n + excluded.n"
)

ADD_CATEGORIES = (
    "INSERT INTO categories (category, n) VALUES {rows} ON CONFLICT (category) DO UPDATE SET n = n + excluded.n"
)

ADD_MINUTES = (
    "INSERT INTO minutes (minute, provider, sent, failed, throttled) VALUES {rows} ON CONFLICT (minute, provider) "
    "DO UPDATE SET sent = sent + excluded.sent, failed = failed + excluded.failed, "
    "throttled = throttled + excluded.throttled"
)

ADD_TENANT_COUNTERS = (
    "INSERT INTO tenant_counters (tenant, state, priority, n) VALUES {rows} "
    "ON CONFLICT (tenant, state, priority) DO UPDATE SET n = n + excluded.n"
)

ADD_TENANT_CATEGORIES = (
    "INSERT INTO tenant_categories (tenant, category, n) VALUES {rows} "
    "ON CONFLICT (tenant, category) DO UPDATE SET n = n + excluded.n"
)

ADD_TENANT_MINUTES = (
    "INSERT INTO tenant_minutes (tenant, minute, sent, failed) VALUES {rows} "
    "ON CONFLICT (tenant, minute) DO UPDATE SET sent = sent + excluded.sent, failed = failed + excluded.failed"
)

ADD_CAMPAIGNS = (
    "INSERT INTO campaigns (tenant, id, name, created_at, changed_at) VALUES {rows} "
    "ON CONFLICT (tenant, id) DO UPDATE SET changed_at = max(campaigns.changed_at, excluded.changed_at)"
)

ADD_CAMPAIGN_COUNTERS = (
    "INSERT INTO campaign_counters (tenant, campaign, state, n) VALUES {rows} "
    "ON CONFLICT (tenant, campaign, state) DO UPDATE SET n = n + excluded.n"
)

FORGET_TENANT_MINUTES = (
    "DELETE FROM tenant_minutes WHERE (tenant, minute) IN "
    "(SELECT tenant, minute FROM tenant_minutes WHERE minute < ? ORDER BY minute LIMIT ?)"
)

ADD_PENDING = (
    "UPDATE flows SET pending = flows.pending + v.n, next_due = "
    "(SELECT m.due FROM messages AS m WHERE m.flow = flows.id AND m.state = 0 ORDER BY m.due, m.seq LIMIT 1) "
    f"FROM {listed('id, n')} WHERE flows.id = v.id"
)

# --- other transitions -----------------------------------------------------------------------------------------------

BY_ID = grouped(MESSAGE_COLUMNS, "messages WHERE id = ?")

BY_SEQ = grouped(MESSAGE_COLUMNS, "messages WHERE seq = ?")

BY_SEQS = "WITH v (seq) AS (VALUES {rows}) " + grouped(
    prefixed("m", MESSAGE_COLUMNS), "v CROSS JOIN messages AS m ON m.seq = v.seq"
)

EXPIRED = grouped(
    MESSAGE_COLUMNS,
    "(SELECT * FROM messages WHERE state = 0 AND expires_at <= ? ORDER BY expires_at LIMIT ?)",
)

NEXT_EXPIRY = "SELECT expires_at FROM messages WHERE state = 0 ORDER BY expires_at LIMIT 1"

EXPIRE = (
    f"UPDATE messages SET state = 7, {LET_GO}, processed_at = v.now, error_category = v.category, "
    "error_message = v.message, error_at = v.now, error_code = NULL, error_provider = NULL, error_cause = v.cause "
    f"FROM {listed('seq, now, category, message, cause')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

CANCEL = (
    f"UPDATE messages SET state = 6, {LET_GO}, processed_at = v.now "
    f"FROM {listed('seq, now')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

HELD = grouped(
    "seq, flow, send_at",
    "(SELECT seq, flow, send_at FROM messages WHERE state = 0 AND held IS NOT NULL AND seq > ? ORDER BY seq LIMIT ?)",
)

RELEASE = (
    f"UPDATE messages SET due = v.due, {LET_GO} "
    f"FROM {listed('seq, due')} WHERE messages.seq = v.seq AND +messages.state = 0"
)

RESCHEDULE = (
    "UPDATE messages SET due = ?, send_at = ?, expires_at = ?, held = ?, held_by = ?, held_since = NULL "
    "WHERE seq = ? AND +state = 0 AND attempt = ?"
)

REOPEN = (
    f"UPDATE messages SET state = 0, {LET_GO}, due = ?, expires_at = ?, round = round + 1, been = 0, charged = 0, "
    "uncertain = 0, "
    "uncertain_since = NULL, lookups = 0, sender = asked_sender, sent_at = NULL, processed_at = NULL, "
    "delivered_at = NULL, provider_message_id = NULL, price = NULL, crashes = 0 WHERE seq = ? AND state = ?"
)

SAVE_PROVIDER = (
    f"INSERT OR REPLACE INTO providers ({HEALTH_COLUMNS}) VALUES ({', '.join('?' * len(HEALTH_COLUMNS.split(',')))})"
)

# --- recovering ------------------------------------------------------------------------------------------------------

OPEN_ATTEMPTS = "SELECT seq, attempt, provider, claimed_at, segments FROM messages WHERE state = 1 AND uncertain = 0"

LAST_STRAW = "SELECT seq FROM messages WHERE state = 1 AND uncertain = 0 AND crashes >= ?"
"""Open attempts whose message was open at so many crashes before."""

COUNT_CRASH = "UPDATE messages SET crashes = crashes + 1 WHERE state = 1 AND uncertain = 0"

DOUBT_OPEN = (
    "UPDATE messages SET uncertain = 1, uncertain_since = ?, due = ?, lookups = 0, charged = charged + 1 "
    "WHERE state = 1 AND uncertain = 0"
)

LAST_ACCEPTED = "SELECT created_at FROM messages ORDER BY seq DESC LIMIT 1"

LAST_SETTLED = "SELECT settled_at FROM attempts ORDER BY nr DESC LIMIT 1"

LAST_CLAIMED = "SELECT max(claimed_at) FROM messages WHERE state = 1"

LAST_SEQ = (
    "SELECT max(coalesce((SELECT max(seq) FROM messages), 0), "
    "coalesce((SELECT value FROM meta WHERE name = 'last_seq'), 0))"
)
"""Also of those that were taken away."""

LAST_FLOW = "SELECT max(id) FROM flows"

SWEEP_FLOWS = (
    "DELETE FROM flows WHERE id IN (SELECT id FROM flows WHERE id > ? ORDER BY id LIMIT ?) "
    "AND pending = 0 AND campaign IS NOT NULL "
    "AND NOT EXISTS (SELECT 1 FROM messages WHERE state = 0 AND messages.flow = flows.id) "
    "AND id NOT IN (SELECT flow FROM messages WHERE state = 1 AND uncertain IN (0, 1))"
)

FLOW_AFTER = "SELECT id FROM flows WHERE id > ? ORDER BY id LIMIT 1 OFFSET ?"

CHANGE_FLOW = "UPDATE messages SET flow = ? WHERE seq = ?"

LIVE_FLOWS = "SELECT id, route, priority, tenant, campaign, pending, next_due FROM flows WHERE pending > 0"

PROVIDERS = f"SELECT {HEALTH_COLUMNS} FROM providers"

COUNTERS = "SELECT state, priority, n FROM counters"

GET_META = "SELECT value FROM meta WHERE name = ?"

DROP_META = "DELETE FROM meta WHERE name = ? RETURNING value"

SET_META = "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)"

# --- reading ---------------------------------------------------------------------------------------------------------

ATTEMPTS_OF = grouped(ATTEMPT_VIEW, "(SELECT * FROM attempts WHERE seq = ? ORDER BY n, nr)")

FIND_KEY = with_rows(FIND_KEYS, 2, 1)

CATEGORIES = "SELECT category, n FROM categories"

MINUTES = "SELECT minute, provider, sent, failed, throttled FROM minutes WHERE minute >= ? ORDER BY minute, provider"

OLDEST_PENDING = "SELECT next_due FROM flows WHERE pending > 0 ORDER BY next_due LIMIT 1"

TENANT_COUNTERS = "SELECT state, priority, n FROM tenant_counters WHERE tenant = ?"

TENANT_CATEGORIES = "SELECT category, n FROM tenant_categories WHERE tenant = ?"

TENANT_MINUTES = (
    "SELECT minute, '', sent, failed, 0 FROM tenant_minutes WHERE tenant = ? AND minute >= ? ORDER BY minute"
)

OLDEST_PENDING_OF_TENANT = "SELECT next_due FROM flows WHERE pending > 0 AND tenant = ? ORDER BY next_due LIMIT 1"

COUNTED = (
    "count(*) FILTER (WHERE sent_at >= ?), count(*) FILTER (WHERE sent_at >= ?), "
    "count(*) FILTER (WHERE state IN (4, 5) AND processed_at >= ?), count(*) FILTER (WHERE state IN (0, 1))"
)
"""The values of a PersonCounts; its parameters are day, hour, day."""

COUNTS_OF_USER = (
    f"SELECT {COUNTED} FROM (SELECT state, sent_at, processed_at FROM messages INDEXED BY messages_user "
    'WHERE "user" = ? AND tenant = ? ORDER BY seq DESC LIMIT ?)'
)

TENANT_OF_USER = (
    'SELECT tenant FROM messages INDEXED BY messages_user WHERE "user" = ? AND tenant > ? ORDER BY tenant LIMIT 1'
)

COUNTS_OF_RECIPIENT = (
    f"SELECT {COUNTED} FROM messages NOT INDEXED "
    "WHERE seq < ? AND seq >= ? AND recipient IN (?, ?) AND coalesce(tenant = ?, 1)"
)
"""The tenant may be NULL: any."""

FEED = grouped(
    "seq, attempt, due, segments",
    "(SELECT seq, attempt, due, segments FROM messages "
    "WHERE state = 0 AND flow = ? AND (due, seq) > (?, ?) AND due <= ? ORDER BY due, seq LIMIT ?)",
)

FEED_NEXT = "SELECT due FROM messages WHERE state = 0 AND flow = ? AND due > ? ORDER BY due, seq LIMIT 1"

UNCERTAIN = grouped(
    MESSAGE_COLUMNS,
    "(SELECT * FROM messages WHERE state = 1 AND uncertain = 1 AND due <= ? "
    "AND instr(?, char(10) || provider || char(10)) = 0 ORDER BY due LIMIT ?)",
)

NEXT_UNCERTAIN = "SELECT due FROM messages WHERE state = 1 AND uncertain = 1 AND due > ? ORDER BY due LIMIT 1"

BOUND_BY_LOOKUP = (
    "SELECT provider_message_id, provider FROM attempts "
    "WHERE outcome IN ('unknown', 'crashed') AND provider_message_id IN ({ids})"
)

BOUND_BY_ANSWER = (
    "SELECT provider_message_id, provider FROM attempts WHERE nr >= ? AND nr < ? AND +provider_message_id IN ({ids})"
)

EARLIEST_DOUBT = "SELECT min(claimed_at) FROM messages WHERE state = 1 AND uncertain = 1"

STEP_BACK = "SELECT nr, settled_at FROM attempts WHERE nr < ? ORDER BY nr DESC LIMIT 1 OFFSET ?"

STARTS = (
    "SELECT nr, provider, started_at, started_boot, boot, settled_at, cost, outcome, "
    "coalesce((SELECT segments FROM messages WHERE messages.seq = attempts.seq), cost) "
    "FROM attempts WHERE nr < ? ORDER BY nr DESC LIMIT ?"
)

FLOOR_OF_USERS_PAGE = (
    'SELECT seq FROM messages INDEXED BY messages_user WHERE "user" = ? AND tenant = ? AND seq < ? '
    "ORDER BY seq DESC LIMIT 1 OFFSET ?"
)

FLOOR_OF_PAGE = "SELECT seq FROM messages WHERE seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?"

FLOOR_OF_FAILED_PAGE = "SELECT seq FROM messages WHERE state = 5 AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?"

# --- looking ahead ---------------------------------------------------------------------------------------------------

LINES = (
    "SELECT v.*, (SELECT due FROM messages WHERE state = 0 AND flow = v.id ORDER BY due DESC, seq DESC LIMIT 1) "
    "FROM (SELECT id, route, priority, tenant, campaign, pending, next_due "
    "FROM flows WHERE pending > 0 ORDER BY pending DESC, id LIMIT ?) AS v"
)
"""The largest first. They are sorted: there are as many as have something pending."""

ALL_LINES = (
    "SELECT route, priority, sum(pending), max(next_due) FROM flows INDEXED BY flows_live WHERE pending > 0 "
    "GROUP BY route, priority ORDER BY route, priority"
)

DUES = (
    "SELECT v.due, m.segments FROM "
    "(SELECT seq, due, row_number() OVER (ORDER BY due, seq) AS place FROM messages WHERE state = 0 AND flow = ?) AS v "
    "CROSS JOIN messages AS m ON m.seq = v.seq WHERE v.place % ? = 0 ORDER BY v.place"
)

FIRST_SEGMENTS = (
    "SELECT avg(segments) FROM (SELECT segments FROM messages WHERE state = 0 AND flow = ? ORDER BY due, seq LIMIT ?)"
)

PLACE = (
    "SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 AND flow = ? AND (due, seq) < (?, ?) "
    "ORDER BY due DESC, seq DESC LIMIT ?)"
)

PLACE_FROM_BEHIND = (
    "SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 AND flow = ? AND (due, seq) > (?, ?) "
    "ORDER BY due, seq LIMIT ?)"
)

SPAN_OF_FLOW = (
    "SELECT pending, "
    "(SELECT seq FROM messages WHERE state = 0 AND flow = flows.id ORDER BY due, seq LIMIT 1), "
    "(SELECT seq FROM messages WHERE state = 0 AND flow = flows.id ORDER BY due DESC, seq DESC LIMIT 1) "
    "FROM flows WHERE id = ?"
)
"""How many are pending, and the numbers of the first and the last of them."""

CHARGED_BEFORE = (
    "SELECT nr FROM charges INDEXED BY charges_key WHERE kind = ? AND key = ? AND nr < ? ORDER BY nr DESC "
    "LIMIT 1 OFFSET ?"
)

CHARGED_AT = "SELECT at, boot, boot_us FROM charges WHERE nr = ?"
