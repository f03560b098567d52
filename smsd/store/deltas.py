"""What do the transitions of one transaction add up to?

Counters, error categories and minutes, each of all and by tenant, the flows' pending counts, and campaigns with theirs
are kept by the transaction that changes the messages, so they are as crash-safe as the messages themselves and nothing
is ever counted over the table. A Deltas collects the differences of one transaction and writes them once at its end. It
knows no messages, only what moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from smsd.core.message import Instant, State
from smsd.store.connection import Handle
from smsd.store.statements import change
from smsd.store.statements.counting import (
    ADD_CAMPAIGN_COUNTERS,
    ADD_CAMPAIGNS,
    ADD_CATEGORIES,
    ADD_COUNTERS,
    ADD_MINUTES,
    ADD_TENANT_CATEGORIES,
    ADD_TENANT_COUNTERS,
    ADD_TENANT_MINUTES,
)
from smsd.store.statements.flows import ADD_PENDING

MINUTE_MS = 60_000


class Deltas:
    """Differences, not totals."""

    __slots__ = ("_campaigns", "_categories", "_changed", "_counters", "_minutes", "_pending", "_tenant_minutes")

    def __init__(self) -> None:
        self._counters: Counter[tuple[str, int, int]] = Counter()
        self._pending: Counter[int] = Counter()
        self._categories: Counter[tuple[str, str]] = Counter()
        self._minutes: dict[tuple[int, str], list[int]] = {}
        self._tenant_minutes: dict[tuple[str, int], list[int]] = {}
        self._campaigns: Counter[tuple[str, str, int]] = Counter()
        self._changed: dict[tuple[str, str], Instant] = {}
        """When a campaign of (tenant, id) last changed in this transaction."""

    def accepted(self, tenant: str, priority: int, flow: int, campaign: str | None, at: Instant) -> None:
        """A new pending message. The first of a campaign makes its row."""
        self._counters[tenant, State.PENDING, priority] += 1
        self._pending[flow] += 1
        if campaign is not None:
            self._campaigns[tenant, campaign, State.PENDING] += 1
            self._change(tenant, campaign, at)

    def moved(
        self, before: State, after: State, tenant: str, priority: int, flow: int, campaign: str | None, at: Instant
    ) -> None:
        """A message went from one state to another."""
        if before is after:
            return
        self._counters[tenant, before, priority] -= 1
        self._counters[tenant, after, priority] += 1
        if before is State.PENDING:
            self._pending[flow] -= 1
        elif after is State.PENDING:
            self._pending[flow] += 1
        if campaign is not None:
            self._campaigns[tenant, campaign, before] -= 1
            self._campaigns[tenant, campaign, after] += 1
            self._change(tenant, campaign, at)

    def touches(self, tenant: str, campaign: str) -> bool:
        """Whether something happened to the campaign in this transaction."""
        return (tenant, campaign) in self._changed

    def _change(self, tenant: str, campaign: str, at: Instant) -> None:
        self._changed[tenant, campaign] = max(at, self._changed.get((tenant, campaign), at))

    def removed(self, state: State, tenant: str, priority: int) -> None:
        """A final message is there no more. Its campaign counts it on."""
        self._counters[tenant, state, priority] -= 1

    def changed_flow(self, before: int, after: int) -> None:
        """A pending message went from one flow to another."""
        self._pending[before] -= 1
        self._pending[after] += 1

    def failed(self, tenant: str, category: str) -> None:
        """A message ended in `failed`."""
        self._categories[tenant, category] += 1

    def called(self, at: Instant, provider: str, tenant: str, *, sent: bool = False, failed: bool = False) -> None:
        """A call of the provider was settled: sent, failed for good, or (neither) throttled. Throttles are the
        provider's matter and not counted for the tenant."""
        row = self._minutes.setdefault((at // MINUTE_MS, provider), [0, 0, 0])
        row[0 if sent else 1 if failed else 2] += 1
        if sent or failed:
            row = self._tenant_minutes.setdefault((tenant, at // MINUTE_MS), [0, 0])
            row[0 if sent else 1] += 1

    def write(self, db: Handle) -> None:
        """Write the differences into the open transaction."""
        # A flow is written even when its differences cancel out: its next due time may have changed.
        change(db, ADD_PENDING, sorted(self._pending.items()))
        moved = [(*key, n) for key, n in self._counters.items() if n]
        change(db, ADD_TENANT_COUNTERS, moved)
        change(db, ADD_COUNTERS, summed((state, priority, n) for _, state, priority, n in moved))
        ended = [(*key, n) for key, n in self._categories.items()]
        change(db, ADD_TENANT_CATEGORIES, ended)
        change(db, ADD_CATEGORIES, summed((category, n) for _, category, n in ended))
        change(db, ADD_MINUTES, [(*key, *row) for key, row in self._minutes.items()])
        change(db, ADD_TENANT_MINUTES, [(*key, *row) for key, row in self._tenant_minutes.items()])
        change(db, ADD_CAMPAIGNS, [(*name, "", at, at) for name, at in self._changed.items()])
        change(db, ADD_CAMPAIGN_COUNTERS, [(*key, n) for key, n in self._campaigns.items() if n])


def summed(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """One row for each key (all but the last value), with the sum of the last values; without those of sum 0."""
    sums: Counter[tuple[Any, ...]] = Counter()
    for *key, n in rows:
        sums[tuple(key)] += n
    return [(*key, n) for key, n in sums.items() if n]
