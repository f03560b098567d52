"""What if a campaign is made for messages, and none of them is taken?

Then nobody would ever end it: it would stand there as one that is being sent. So whoever hands messages in makes it on
trial, and when all who do so have left without a message it is taken away again. The outbox has the last word: it keeps
one that something happened to meanwhile. That it was made is told all the same, for that comes before its first
message. It refuses to know how messages are handed in, and what a campaign is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from smsd.core.campaign import Campaign, Terms
from smsd.store import StoreError
from smsd.store.operators import Campaigns

log = structlog.get_logger("smsd.campaigns")

Name = tuple[str, str]
"""Tenant and id."""

Make = Callable[[str, str, Terms], Awaitable[tuple[Campaign, bool]]]


@dataclass(slots=True)
class Trial:
    """A campaign that somebody hands messages to. `used`: it has one, or is wanted without."""

    campaign: Campaign
    is_new: bool
    used: bool = False


class Trials:
    """Campaigns that messages are handed to now: as many as there are such requests."""

    def __init__(self, make: Make, kept: Campaigns) -> None:
        self._make = make
        self._kept = kept
        self._trying: Counter[Name] = Counter()
        """How many hand messages to each of them."""
        self._unused: set[Name] = set()
        """Those that are new and have none."""

    @asynccontextmanager
    async def trying(self, tenant: str, id: str, terms: Terms) -> AsyncIterator[Trial]:
        """Make it if it is not there (see store.operators.Campaigns.make), and hand messages in. Raises StoreError."""
        name = (tenant, id)
        self._trying[name] += 1
        try:
            trial = Trial(*await self._make(tenant, id, terms))
            if trial.is_new:
                self._unused.add(name)
            try:
                yield trial
            finally:
                if trial.used:
                    self._unused.discard(name)
        finally:
            await self._left(name)

    async def _left(self, name: Name) -> None:
        self._trying[name] -= 1
        if self._trying[name]:
            return
        del self._trying[name]
        if name not in self._unused:
            return
        self._unused.discard(name)
        try:
            await self._kept.unmake(*name)
        except StoreError as error:
            log.error("a campaign without a message stays until the retention takes it", error=str(error))
