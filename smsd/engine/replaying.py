"""Which callbacks wait, which were given up, and how are those tried again?

What operators and applications see of the callbacks' queue. A callback that was given up stays until somebody has it
tried again, or its time to be kept is over (`store`). One that waits may be six hours from its next try when its
receiver is mended: it is tried again in the same way, and the places of its tenant are left alone no more. It refuses
to know how one travels (`engine.callbacks`, which the outbox wakes when callbacks are due anew) and who may ask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from smsd.clock import Clock
from smsd.core.callback import Callback
from smsd.store import CallbackCounts, Outbox, Records

MOST_AT_ONCE: Final = 1_000
"""Callbacks given up that one replay of all makes due: some tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did. `count`: callbacks that are due anew; `left`: those still given up, of a tenant at most
    MOST_AT_ONCE of them."""

    count: int
    left: int


class Replaying:
    """The queue of callbacks, as operators see it. A tenant of None means all tenants. All raise StoreError."""

    def __init__(self, outbox: Outbox, records: Records, clock: Clock, end_rests: Callable[[str | None], None]) -> None:
        """`end_rests`: nothing of this tenant's (None: of anybody's) is left alone any more."""
        self._outbox = outbox
        self._records = records
        self._clock = clock
        self._end_rests = end_rests

    async def page(
        self, tenant: str | None, failed: bool, after: str | None, limit: int
    ) -> tuple[tuple[Callback, ...], str | None]:
        """At most `limit` that wait (`failed`: that were given up), in order of their ids, behind the id `after`;
        and the id behind which the next page begins, None at the end."""
        found = await self._records.callbacks(tenant, failed, after, limit + 1)
        shown = found[:limit]
        return shown, shown[-1].id if len(found) > limit else None

    async def replay(self, ids: Sequence[str] | None, tenant: str | None) -> Replayed:
        """Let callbacks be tried at once that wait or were given up: these, or the oldest MOST_AT_ONCE of all given up
        and, with the last of them, all that wait."""
        count = await self._outbox.replay_callbacks(ids, tenant, self._clock.wall(), MOST_AT_ONCE)
        if count or ids is None:
            self._end_rests(tenant)
        return Replayed(count, await self._given_up(tenant))

    async def _given_up(self, tenant: str | None) -> int:
        if tenant is None:
            return (await self.counts()).failed
        return len(await self._records.callbacks(tenant, True, None, MOST_AT_ONCE))

    async def counts(self) -> CallbackCounts:
        """How many wait, and how many were given up."""
        return await self._records.callback_counts()
