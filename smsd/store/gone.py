"""Which URLs take no more callbacks?

Those that said 410 (gone), until an operator replays something of theirs. GONE_KEPT of them are remembered: an
application that makes up URLs must not fill the disk. They are numbered as they come, and the lowest numbers go, so
that nothing is counted or sorted however many there are. It refuses to know what becomes of their callbacks.
"""

from __future__ import annotations

from collections.abc import Iterable

from smsd.core.message import Instant
from smsd.store.connection import Handle
from smsd.store.statements import look_up_plain

GONE_KEPT = 100_000
"""URLs, of those that said it last. One that is forgotten is asked once more, and says so again."""

FORGOTTEN_AT_ONCE = 100
"""URLs that one transaction forgets at most: a restore may have brought more than are kept."""

ANY_GONE = "SELECT 1 FROM gone_urls LIMIT 1"

GONE = (
    "WITH v (tenant, url) AS (VALUES {rows}) "
    "SELECT g.tenant, g.url FROM v CROSS JOIN gone_urls AS g ON g.tenant = v.tenant AND g.url = v.url"
)

ADD_GONE = "INSERT OR REPLACE INTO gone_urls (tenant, url, at) VALUES (?, ?, ?)"

FORGET_OLDEST_GONE = (
    "DELETE FROM gone_urls WHERE nr IN "
    "(SELECT nr FROM gone_urls WHERE nr <= (SELECT max(nr) FROM gone_urls) - ? ORDER BY nr LIMIT ?)"
)
"""Numbers have gaps, so some fewer may be kept than might be."""

LIFT_GONE = "DELETE FROM gone_urls WHERE tenant = ? AND url = ?"


def mark(db: Handle, tenant: str, url: str, now: Instant) -> None:
    """It said so at `now`."""
    db.execute(ADD_GONE, (tenant, url, now))
    db.execute(FORGET_OLDEST_GONE, (GONE_KEPT, FORGOTTEN_AT_ONCE))


def lift(db: Handle, tenant: str, url: str) -> bool:
    """It counts as gone no more. Whether it did."""
    return db.execute(LIFT_GONE, (tenant, url)).rowcount > 0


def any_gone(db: Handle) -> bool:
    """Whether there is one at all."""
    return db.execute(ANY_GONE).fetchone() is not None


def of(db: Handle, urls: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these (tenant, URL) are gone."""
    return {(tenant, url) for tenant, url in look_up_plain(db, GONE, list(dict.fromkeys(urls)))}
