"""What must a restored outbox still know of the one whose place it takes?

A ceiling holds in every window, and a pause or a halt until somebody lifts it; neither began anew because an older
outbox came back. Least of all may somebody be texted who opted out meanwhile. So the calls that the new outbox does not
have, the providers' health, the suppressions, which campaigns were made, paused or cancelled, the URLs that want no
more callbacks and the newest time are carried over from the replaced one. What its messages say is not: a restore goes
back to the backup, and what was accepted since stays in the replaced file.

What limits on recipients, users and the rest were charged holds on too: the charges that the backup does not have.

Calls and charges are carried under their message's number negated. Numbers of messages begin at 1, so they belong to no
message here, however the numbers are given out anew: a call counts for the ceilings, and its provider's message id
stays bound to another message than those a look-up may ask for. A message that the backup has too keeps the history it
had then; but its carried calls leave their provider's id free, for a look-up to find that the message was sent.

Idempotency keys used since the backup are not carried, only counted. A key is answered with its message, and that
message is not here: a replay would promise what does not exist. Nor would it be right for all: of the messages accepted
since, those never sent are to be sent when they are asked for again. Whoever repeats one that was sent sends it twice;
the operator is told how many keys there are.

Where nobody can tell what was called since the backup (there was no outbox, it cannot be read, or it is not the one
that the backup was made of), the moment of the restore is written down: a window that reaches back beyond it is full.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smsd.core.message import Instant
from smsd.core.pacing import MAX_LIMIT
from smsd.store.connection import BUSY_TIMEOUT_S
from smsd.store.errors import StoreError
from smsd.store.migrate import migrations, version
from smsd.store.recovery import UNKNOWN_BEFORE, latest_time
from smsd.store.rows import ATTEMPT_COLUMNS, CRASHED, HEALTH_COLUMNS, SUPPRESSION_COLUMNS
from smsd.store.statements import BEGIN, COMMIT, ROLLBACK, prefixed, with_rows
from smsd.store.statements.meta import GET_META, SET_META
from smsd.store.statements.recovering import OPEN_ATTEMPTS
from smsd.store.statements.suppressing import ADD_SUPPRESSIONS, LIFT_SUPPRESSION
from smsd.store.timeline import ANCHOR, clocks, keep_clocks

CALLS_MATTERING = MAX_LIMIT + 10_000
"""Of one provider, newest first: no window holds more, and as many may be numbered out of place (see `reading`)."""

OLD_CALLS = (
    f"SELECT m.id, m.segments, {prefixed('a', ATTEMPT_COLUMNS)} "
    "FROM attempts AS a LEFT JOIN messages AS m ON m.seq = a.seq ORDER BY a.nr"
)

CALLS_OF_PROVIDERS = "SELECT provider, count(*) FROM attempts GROUP BY provider"

NEWEST_CALL = "SELECT seq, n, provider, started_at FROM attempts WHERE outcome <> 'crashed' ORDER BY nr DESC LIMIT 1"

KNOWS_CALL = (
    "SELECT 1 FROM attempts WHERE seq IN (:seq, -:seq) AND n = :n AND provider = :provider AND started_at = :started_at"
)

NEWEST_MESSAGE = "SELECT id FROM messages ORDER BY seq DESC LIMIT 1"

KNOWS_MESSAGE = "SELECT 1 FROM messages WHERE id = ?"

LAST_CALL = "SELECT coalesce(max(nr), 0) FROM attempts"

_CALL = ("message", "segments", *(name.strip() for name in ATTEMPT_COLUMNS.split(",")))
_VALUES = {
    "seq": "-abs(:seq)",
    "cost": "max(:cost, coalesce(:segments, 0))",
    "provider_message_id": "iif(EXISTS (SELECT 1 FROM messages WHERE id = :message), NULL, :provider_message_id)",
}

CARRY = (
    f"INSERT INTO attempts ({ATTEMPT_COLUMNS}) SELECT {', '.join(_VALUES.get(n, f':{n}') for n in _CALL[2:])} "
    f"WHERE NOT EXISTS ({KNOWS_CALL} AND started_boot IS :started_boot AND nr <= :last)"
)
"""A row of OLD_CALLS into the copy, unless the backup has it. `last`: the backup's last call. The cost is that of the
segments: without its message nobody could tell what the call costs a rate whose unit was changed."""

OLD_CHARGES = "SELECT nr, kind, key, at, boot, boot_us, seq FROM charges ORDER BY nr"

CARRY_CHARGE = (
    "INSERT INTO charges (kind, key, at, boot, boot_us, seq) SELECT :kind, :key, :at, :boot, :boot_us, -abs(:seq) "
    "WHERE NOT EXISTS (SELECT 1 FROM charges WHERE nr = :nr AND nr <= :last AND kind = :kind AND key = :key "
    "AND at = :at AND boot_us IS :boot_us)"
)
"""A row of OLD_CHARGES into the copy, unless the backup has it. `last`: the backup's last charge."""

_CHARGE = ("nr", "kind", "key", "at", "boot", "boot_us", "seq")

LAST_CHARGE = "SELECT coalesce(max(nr), 0) FROM charges"

COLUMNS_OF = "SELECT name FROM pragma_table_info(?)"
"""None for a table that is not there: the replaced outbox may be of an earlier version, and is not migrated."""

SUPPRESSIONS = f"SELECT {SUPPRESSION_COLUMNS} FROM suppressions"

ADD_SUPPRESSION = with_rows(ADD_SUPPRESSIONS, 5, 1)

SCOPES_AND_NUMBERS = "SELECT scope, number FROM suppressions"

HAS_SUPPRESSION = "SELECT 1 FROM suppressions WHERE scope = ? AND number = ?"

GONE_URLS = "SELECT tenant, url, at FROM gone_urls"

ADD_GONE_URL = "INSERT OR IGNORE INTO gone_urls (tenant, url, at) VALUES (?, ?, ?)"

CAMPAIGN_COLUMNS = (
    "tenant, id, name, created_at, changed_at, made, paused_at, cancelled_at, rate_count, rate_span_ms, between_start, "
    "between_end, zone"
)

OLD_CAMPAIGNS = (
    f"SELECT {CAMPAIGN_COLUMNS} FROM campaigns WHERE made OR paused_at IS NOT NULL OR cancelled_at IS NOT NULL"
)

_TERMS = ("name", "rate_count", "rate_span_ms", "between_start", "between_end", "zone")

CARRY_CAMPAIGN = (
    f"INSERT INTO campaigns ({CAMPAIGN_COLUMNS}) VALUES ({', '.join('?' * len(CAMPAIGN_COLUMNS.split(',')))}) "
    "ON CONFLICT (tenant, id) DO UPDATE SET paused_at = coalesce(campaigns.paused_at, excluded.paused_at), "
    "cancelled_at = coalesce(campaigns.cancelled_at, excluded.cancelled_at), made = max(campaigns.made, excluded.made)"
    + "".join(f", {name} = iif(campaigns.made, campaigns.{name}, excluded.{name})" for name in _TERMS)
)

PAUSED_CAMPAIGNS = "SELECT tenant, id FROM campaigns WHERE paused_at IS NOT NULL"

IS_RESUMED = "SELECT 1 FROM campaigns WHERE tenant = ? AND id = ? AND paused_at IS NULL"

RESUME_CAMPAIGN = "UPDATE campaigns SET paused_at = NULL WHERE tenant = ? AND id = ?"

OLD_KEYS = "SELECT tenant, key FROM keys"

HAS_KEY = "SELECT 1 FROM keys WHERE tenant = ? AND key = ?"


@dataclass(frozen=True, slots=True)
class Carried:
    """What was taken over."""

    calls: int
    known: bool
    """Whether these are all calls since the backup; else every window that reaches back beyond now is full."""
    keys_forgotten: int | None
    """Idempotency keys used since the backup, which the new outbox does not know; None: nobody knows how many."""


def read_only(path: Path) -> sqlite3.Connection:
    """Open a database that nobody writes, with what lies in a -wal beside it. No file is made beside one without."""
    wal = path.with_name(path.name + "-wal")
    mode = "mode=ro" if wal.exists() else "mode=ro&immutable=1"
    uri = f"{path.absolute().as_uri()}?{mode}"
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def carry(replaced: Path, db: sqlite3.Connection, now: Instant) -> Carried:
    """Write into `db`, the migrated copy of a backup, what it must know of the outbox `replaced`.

    Nobody has that open, and it need not exist; its -wal is read with it. Health and suppressions are written first,
    by themselves: a damaged outbox may still tell of a pause. Raises sqlite3.Error only for want of room in `db`.
    """
    calls, known, keys = 0, False, None
    if replaced.exists():
        try:
            with closing(read_only(replaced)) as old:
                require_ours(old)
                carry_health(old, db)
                carry_suppressions(old, db)
                carry_gone_urls(old, db)
                carry_campaigns(old, db)
                keys = sum(1 for key in old.execute(OLD_KEYS) if db.execute(HAS_KEY, key).fetchone() is None)
                known = continues(old, db)
                calls = carry_calls(old, db, now)
                if known:
                    lift_what_was_lifted(old, db)
        except (StoreError, sqlite3.DatabaseError) as error:
            # Damage shows in many codes. Where the copy itself is at fault, the mark below cannot be written either.
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise
            if db.in_transaction:
                db.execute(ROLLBACK)
            calls, known = 0, False
    if not known:
        db.execute(SET_META, (UNKNOWN_BEFORE, now))
    return Carried(calls, known, keys)


def require_ours(old: sqlite3.Connection) -> None:
    """Raise StoreError unless the columns mean what they mean here."""
    if not 1 <= version(old) <= len(migrations()):
        raise StoreError("the outbox that is replaced is empty or of a newer smsd")


def carry_health(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """Cooldowns, halts, pauses, breakers and learnt rates as they are now. A provider that only the backup knows keeps
    its own."""
    known = {name for (name,) in old.execute(COLUMNS_OF, ("providers",))}
    columns = [name for name in (each.strip() for each in HEALTH_COLUMNS.split(",")) if name in known]
    named = ", ".join(columns)
    db.execute(BEGIN)
    db.executemany(
        f"INSERT OR REPLACE INTO providers ({named}) VALUES ({', '.join('?' * len(columns))})",
        old.execute(f"SELECT {named} FROM providers"),
    )
    db.execute(COMMIT)


def knows_suppressions(old: sqlite3.Connection) -> bool:
    """Whether it is of a version that kept them."""
    return old.execute(COLUMNS_OF, ("suppressions",)).fetchone() is not None


def carry_suppressions(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """Who opted out in either outbox has opted out."""
    if knows_suppressions(old):
        db.execute(BEGIN)
        db.executemany(ADD_SUPPRESSION, old.execute(SUPPRESSIONS))
        db.execute(COMMIT)


def carry_gone_urls(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """What said that it is gone in either outbox is not asked again."""
    if old.execute(COLUMNS_OF, ("gone_urls",)).fetchone() is not None:
        db.execute(BEGIN)
        db.executemany(ADD_GONE_URL, old.execute(GONE_URLS))
        db.execute(COMMIT)


def carry_campaigns(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """What was cancelled or paused in either outbox is, and what was made since the backup stays made: more messages
    may come for it. Its counts are those of the backup's messages."""
    if old.execute(COLUMNS_OF, ("campaigns",)).fetchone() is not None:
        db.execute(BEGIN)
        db.executemany(CARRY_CAMPAIGN, old.execute(OLD_CAMPAIGNS))
        db.execute(COMMIT)


def lift_what_was_lifted(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """The replaced outbox went on from the backup: what it has no more was lifted since, and campaigns that it does not
    hold up were resumed."""
    if old.execute(COLUMNS_OF, ("campaigns",)).fetchone() is not None:
        paused = db.execute(PAUSED_CAMPAIGNS).fetchall()
        resumed = [each for each in paused if old.execute(IS_RESUMED, each).fetchone() is not None]
        db.execute(BEGIN)
        db.executemany(RESUME_CAMPAIGN, resumed)
        db.execute(COMMIT)
    if knows_suppressions(old):
        lifted = [
            each for each in db.execute(SCOPES_AND_NUMBERS) if old.execute(HAS_SUPPRESSION, each).fetchone() is None
        ]
        db.execute(BEGIN)
        db.executemany(LIFT_SUPPRESSION, lifted)
        db.execute(COMMIT)


def continues(old: sqlite3.Connection, db: sqlite3.Connection) -> bool:
    """Whether the backup was made of this outbox, or of one it was itself restored over: it knows the backup's newest
    call; or, when there was none, its newest message."""
    call = db.execute(NEWEST_CALL).fetchone()
    if call is not None:
        values = dict(zip(("seq", "n", "provider", "started_at"), call, strict=True))
        return old.execute(KNOWS_CALL, values).fetchone() is not None
    message = db.execute(NEWEST_MESSAGE).fetchone()
    return message is None or old.execute(KNOWS_MESSAGE, message).fetchone() is not None


def carry_calls(old: sqlite3.Connection, db: sqlite3.Connection, now: Instant) -> int:
    """The calls that the copy lacks, in their order, and those that are open, as started `now` at the cost of their
    segments (whether the rate counts them is not known here; too much is the safe side). How many."""
    db.execute(BEGIN)
    old_boot, boot = common_boot(old, db)
    latest = max((time for time in (latest_time(old), latest_time(db)) if time is not None), default=None)
    if latest is not None:
        db.execute(SET_META, ("beat", latest))
    carry_mark(old, db)
    carry_clocks(old, db, old_boot, boot)
    carry_charges(old, db, old_boot, boot)
    last: int = db.execute(LAST_CALL).fetchone()[0]
    calls = db.executemany(CARRY, ({**call, "last": last} for call in old_calls(old, old_boot, boot))).rowcount
    nothing = dict.fromkeys(_CALL)
    for seq, n, provider, claimed_at, segments in old.execute(OPEN_ATTEMPTS):
        crashed = {"seq": seq, "n": n, "provider": provider, "started_at": claimed_at, "boot": boot, "settled_at": now}
        call = {**nothing, **crashed, "cost": segments, "outcome": CRASHED, "last": last}
        calls += db.execute(CARRY, call).rowcount
    db.execute(COMMIT)
    return calls


def carry_clocks(old: sqlite3.Connection, db: sqlite3.Connection, old_boot: int, boot: int) -> None:
    """By how much the wall clock was ahead in the boots of both. Where they differ over a boot, or mean two boots by
    one number, the greater counts: it leaves windows fuller."""
    known = clocks(db)
    for of, ahead in clocks(old).items():
        number = boot if of == old_boot else of
        known[number] = max(ahead, known.get(number, ahead))
    keep_clocks(db, known)


def carry_charges(old: sqlite3.Connection, db: sqlite3.Connection, old_boot: int, boot: int) -> None:
    """What limits were charged in the replaced outbox and the copy lacks, in its order."""
    if old.execute(COLUMNS_OF, ("charges",)).fetchone() is None:
        return
    last: int = db.execute(LAST_CHARGE).fetchone()[0]
    for row in old.execute(OLD_CHARGES):
        charge = dict(zip(_CHARGE, row, strict=True))
        if charge["boot"] == old_boot:
            charge["boot"] = boot
        db.execute(CARRY_CHARGE, {**charge, "last": last})


def old_calls(old: sqlite3.Connection, old_boot: int, boot: int) -> Iterator[dict[str, Any]]:
    """The calls that may still matter, oldest first. Those of the last boot, `old_boot`, get the number `boot`."""
    beyond = Counter({name: n - CALLS_MATTERING for name, n in old.execute(CALLS_OF_PROVIDERS)})
    for row in old.execute(OLD_CALLS):
        call = dict(zip(_CALL, row, strict=True))
        beyond[call["provider"]] -= 1
        if beyond[call["provider"]] < 0:
            if call["boot"] == old_boot:
                call["boot"] = boot
            yield call


def common_boot(old: sqlite3.Connection, db: sqlite3.Connection) -> tuple[int, int]:
    """The number of the last boot in the replaced outbox, and its number in the copy from now on.

    Boot times are compared within one number only. Where the two outboxes do not mean the same boot by it, the last
    boot gets a number that neither has used; the copy's own calls then count by the wall clock.
    """
    (old_boot, old_token), (boot, token) = boot_of(old), boot_of(db)
    if (old_boot, old_token) == (boot, token):
        return old_boot, boot
    number = max(old_boot, boot) + 1
    db.execute(SET_META, ("boot", number))
    db.execute(SET_META, ("boot_token", old_token))
    anchor = old.execute(GET_META, (ANCHOR,)).fetchone()
    if anchor is not None and anchor[0].split()[0] == str(old_boot):
        db.execute(SET_META, (ANCHOR, " ".join([str(number), *anchor[0].split()[1:]])))
    return old_boot, number


def boot_of(db: sqlite3.Connection) -> tuple[int, str]:
    """The last boot's number and token; 0 and none when it was never opened."""
    number, token = (db.execute(GET_META, (name,)).fetchone() for name in ("boot", "boot_token"))
    return (0 if number is None else number[0], "" if token is None else token[0])


def carry_mark(old: sqlite3.Connection, db: sqlite3.Connection) -> None:
    """What was not known at an earlier restore is not known now."""
    marks = [row[0] for one in (old, db) if (row := one.execute(GET_META, (UNKNOWN_BEFORE,)).fetchone())]
    if marks:
        db.execute(SET_META, (UNKNOWN_BEFORE, max(marks)))
