"""With which SQL are charges under limits kept, counted and forgotten?

There may be a hundred thousand under one key: each statement looks at the newest so many, in the order of an index. It
refuses to know what a limit is (`smsd.store.charges`, `smsd.store.allowance`).
"""

from __future__ import annotations

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

CHARGED_BEFORE = (
    "SELECT nr FROM charges INDEXED BY charges_key WHERE kind = ? AND key = ? AND nr < ? ORDER BY nr DESC "
    "LIMIT 1 OFFSET ?"
)

CHARGED_AT = "SELECT at, boot, boot_us FROM charges WHERE nr = ?"
