"""Which callbacks wait, which were given up, and how are those tried again?

What operators and applications see of the callbacks' queue. A callback that was given up stays until somebody has it
tried again, or its time to be kept is over (`store`). It refuses to know how one travels (`engine.callbacks`, which the
outbox wakes when callbacks are due anew) and who may ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from smsd.clock import Clock
from smsd.core.callback import Callback
from smsd.store import CallbackCounts, Outbox, Records

MOST_AT_ONCE: Final = 1_000
"""Callbacks that one replay makes due: one transaction, some tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did. `left`: those still given up, of a tenant at most MOST_AT_ONCE of them."""

    count: int
    left: int


class Replaying:
    """The queue of callbacks, as operators see it. A tenant of None means all tenants. All raise StoreError."""

    def __init__(self, outbox: Outbox, records: Records, clock: Clock) -> None:
        self._outbox = outbox
        self._records = records
        self._clock = clock

    async def page(
        self, tenant: str | None, failed: bool, after: str | None, limit: int
    ) -> tuple[tuple[Callback, ...], str | None]:
        """At most `limit` that wait (`failed`: that were given up), in order of their ids, behind the id `after`;
        and the id behind which the next page begins, None at the end."""
        found = await self._records.callbacks(tenant, failed, after, limit + 1)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    async def replay(self, ids: Sequence[str] | None, tenant: str | None) -> Replayed:
        """Let those given up be tried again: these, or the oldest MOST_AT_ONCE of all."""
        count = await self._outbox.replay_callbacks(ids, tenant, self._clock.wall(), MOST_AT_ONCE)
        return Replayed(count, await self._given_up(tenant))

    async def _given_up(self, tenant: str | None) -> int:
        if tenant is None:
            return (await self.counts()).failed
        return len(await self._records.callbacks(tenant, True, None, MOST_AT_ONCE))

    async def counts(self) -> CallbackCounts:
        """How many wait, and how many were given up."""
        return await self._records.callback_counts()
