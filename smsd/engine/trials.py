"""What if a campaign is made for messages, and none of them is taken?

Then nobody would ever end it: it would stand there as one that is being sent. So whoever hands messages in makes it on
trial, and when all who do so have left without a message it is taken away again. The outbox has the last word: it keeps
one that something happened to meanwhile. That it was made is told all the same, for that comes before its first
message. Whoever goes away while it is made or taken away stops neither: what is asked of the outbox is done all the
same, and nobody else would know that it is to be undone. It refuses to know how messages are handed in, and what a
campaign is.
"""

from __future__ import annotations

import asyncio
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
    gone: bool = False
    """It was taken away again; known when it was left."""


class Trials:
    """Campaigns that messages are handed to now: as many as there are such requests."""

    def __init__(self, make: Make, kept: Campaigns) -> None:
        self._make = make
        self._kept = kept
        self._trying: Counter[Name] = Counter()
        """How many hand messages to each of them."""
        self._unused: set[Name] = set()
        """Those that are new and have none."""
        self._leaving: set[asyncio.Task[bool]] = set()
        """As many as there are who leave."""

    def is_tried(self, tenant: str, id: str) -> bool:
        """Whether messages are handed to it now."""
        return (tenant, id) in self._trying

    @asynccontextmanager
    async def trying(self, tenant: str, id: str, terms: Terms) -> AsyncIterator[Trial]:
        """Make it if it is not there (see store.operators.Campaigns.make), and hand messages in. Raises StoreError."""
        name = (tenant, id)
        self._trying[name] += 1
        making = asyncio.create_task(self._begun(name, terms))
        trial: Trial | None = None
        try:
            trial = await asyncio.shield(making)
            try:
                yield trial
            finally:
                if trial.used:
                    self._unused.discard(name)
        finally:
            leaving = asyncio.create_task(self._left(name, making))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            gone = await asyncio.shield(leaving)
            if trial is not None:
                trial.gone = gone

    async def _begun(self, name: Name, terms: Terms) -> Trial:
        trial = Trial(*await self._make(*name, terms))
        if trial.is_new:
            self._unused.add(name)
        return trial

    async def _left(self, name: Name, making: asyncio.Task[Trial]) -> bool:
        """One of them leaves, perhaps before it is made. True: it was taken away."""
        await asyncio.wait([making])
        self._trying[name] -= 1
        if self._trying[name]:
            return False
        del self._trying[name]
        if name not in self._unused:
            return False
        self._unused.discard(name)
        try:
            return await self._kept.unmake(*name)
        except StoreError as error:
            log.error("a campaign without a message stays until the retention takes it", error=str(error))
            return False
