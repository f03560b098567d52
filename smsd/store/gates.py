"""Which campaigns are held up, or have a rate of their own?

Those that something was said about, from the table, in memory: every claim and every acceptance of a campaign asks.
They are read at the start, and again after a transaction that was rolled back; whoever changes or removes one says so
here in the same transaction. They are as many as the table holds, which is those that an operator held up or made with
hours or a rate, until the retention takes them away. What a claim does with the answer is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from smsd.core.campaign import Campaign, Gate, Hours, Terms, gate, group
from smsd.core.limits import Rule
from smsd.core.message import Instant
from smsd.store.connection import Handle

COLUMNS = (
    "nr, tenant, id, created_at, changed_at, name, rate_count, rate_span_ms, between_start, between_end, zone, "
    "paused_at, cancelled_at"
)
"""In the order of campaign()."""

GATED = (
    f"SELECT {COLUMNS} FROM campaigns INDEXED BY campaigns_gated WHERE paused_at IS NOT NULL "
    "OR cancelled_at IS NOT NULL OR rate_count IS NOT NULL OR between_start IS NOT NULL"
)


def campaign(row: Sequence[Any]) -> Campaign:
    """A row of COLUMNS, without counts."""
    nr, tenant, id_, created, changed, name, count, span_ms, start, end, zone, paused, cancelled = row
    terms = Terms(
        name,
        None if count is None else (count, span_ms),
        None if start is None else Hours(start, end, zone),
    )
    return Campaign(nr, tenant, id_, created, changed, terms, paused, cancelled)


class Gates:
    """Lives on the writing connection's thread; undone() ends a transaction that was rolled back."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Campaign] | None = {}
        """None: it must be read again."""
        self._rated: set[tuple[str, str]] = set()
        """Those with a rate of their own."""

    def start(self, db: Handle) -> None:
        """The outbox was opened."""
        self._known = {(one.tenant, one.id): one for one in map(campaign, db.execute(GATED).fetchall())}
        self._rated = {name for name, one in self._known.items() if one.terms.rate is not None}

    def undone(self) -> None:
        """The transaction is rolled back."""
        self._known = None

    def _all(self, db: Handle) -> dict[tuple[str, str], Campaign]:
        if self._known is None:
            self.start(db)
        assert self._known is not None
        return self._known

    def any(self, db: Handle) -> bool:
        """Whether there is one at all."""
        return bool(self._all(db))

    def changed(self, db: Handle, one: Campaign) -> None:
        """It is like this now."""
        self.removed(db, [(one.tenant, one.id)])
        is_gated = one.paused_at is not None or one.cancelled_at is not None
        is_gated = is_gated or one.terms.rate is not None or one.terms.hours is not None
        if is_gated:
            self._all(db)[one.tenant, one.id] = one
        if one.terms.rate is not None:
            self._rated.add((one.tenant, one.id))

    def removed(self, db: Handle, names: Iterable[tuple[str, str]]) -> None:
        """These (tenant, id) are there no more."""
        known = self._all(db)
        for name in names:
            known.pop(name, None)
            self._rated.discard(name)

    def rules(self, db: Handle) -> list[Rule]:
        """The rates of all."""
        return [rule for one in self._all(db).values() if (rule := one.terms.rule(one.tenant)) is not None]

    def are_unrated(self, db: Handle) -> bool:
        """Whether none has a rate."""
        self._all(db)
        return not self._rated

    def rule(self, db: Handle, tenant: str, id: str) -> Rule | None:
        """The campaign's own rate."""
        one = self._all(db).get((tenant, id))
        return None if one is None else one.terms.rule(tenant)

    def is_closed(self, db: Handle, tenant: str, id: str) -> bool:
        """Whether it is cancelled."""
        one = self._all(db).get((tenant, id))
        return one is not None and one.cancelled_at is not None

    def gate(self, db: Handle, tenant: str, id: str, now: Instant) -> tuple[str, Gate] | None:
        """What holds it up now, and the group of its flows."""
        one = self._all(db).get((tenant, id))
        found = None if one is None else gate(one, now)
        return None if found is None else (group(tenant, id), found)
