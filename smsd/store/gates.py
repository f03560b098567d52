"""Which campaigns are held up, or have a rate of their own?

Those that something was said about, from the table, in memory: every claim and every acceptance of a campaign asks.
They are read at the start; whoever changes or removes one says so here in the same transaction, and what was said in a
transaction that was rolled back is taken back, which costs as much as that transaction changed. They are as many as
the table holds, about 1 KiB each: those that an operator held up or made with hours or a rate, until the retention
takes them away. What a claim does with the answer is not known here.
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


Name = tuple[str, str]
"""Tenant and id."""


class Gates:
    """Lives on the writing connection's thread; committed() or undone() ends each transaction."""

    def __init__(self) -> None:
        self._known: dict[Name, Campaign] = {}
        self._rated: set[Name] = set()
        """Those with a rate of their own."""
        self._before: dict[Name, Campaign | None] = {}
        """What the open transaction changed, as it was before it; None: it was not known."""

    def start(self, db: Handle) -> None:
        """The outbox was opened."""
        self._known = {(one.tenant, one.id): one for one in map(campaign, db.execute(GATED).fetchall())}
        self._rated = {name for name, one in self._known.items() if one.terms.rate is not None}
        self._before.clear()

    def committed(self) -> None:
        """What the transaction changed is durable."""
        self._before.clear()

    def undone(self) -> None:
        """The transaction is rolled back."""
        for name, before in self._before.items():
            self._put(name, before)
        self._before.clear()

    def any(self) -> bool:
        """Whether there is one at all."""
        return bool(self._known)

    def changed(self, one: Campaign) -> None:
        """It is like this now."""
        is_gated = one.paused_at is not None or one.cancelled_at is not None
        is_gated = is_gated or one.terms.rate is not None or one.terms.hours is not None
        self._change((one.tenant, one.id), one if is_gated else None)

    def removed(self, names: Iterable[Name]) -> None:
        """These are there no more."""
        for name in names:
            self._change(name, None)

    def _change(self, name: Name, one: Campaign | None) -> None:
        self._before.setdefault(name, self._known.get(name))
        self._put(name, one)

    def _put(self, name: Name, one: Campaign | None) -> None:
        if one is None:
            self._known.pop(name, None)
        else:
            self._known[name] = one
        if one is None or one.terms.rate is None:
            self._rated.discard(name)
        else:
            self._rated.add(name)

    def rules(self) -> list[Rule]:
        """The rates of all."""
        return [rule for one in self._known.values() if (rule := one.terms.rule(one.tenant)) is not None]

    def are_unrated(self) -> bool:
        """Whether none has a rate."""
        return not self._rated

    def rule(self, tenant: str, id: str) -> Rule | None:
        """The campaign's own rate."""
        one = self._known.get((tenant, id))
        return None if one is None else one.terms.rule(tenant)

    def is_closed(self, tenant: str, id: str) -> bool:
        """Whether it is cancelled."""
        one = self._known.get((tenant, id))
        return one is not None and one.cancelled_at is not None

    def gate(self, tenant: str, id: str, now: Instant) -> tuple[str, Gate] | None:
        """What holds it up now, and the group of its flows."""
        one = self._known.get((tenant, id))
        found = None if one is None else gate(one, now)
        return None if found is None else (group(tenant, id), found)
