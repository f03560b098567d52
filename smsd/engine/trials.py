"""What if a campaign is made for messages, and none of them is taken?

Then nobody would ever end it: it would stand there as one that is being sent. So whoever hands messages in makes it on
trial, and when all who do so have left without a message it is taken away again. The outbox has the last word: it keeps
one that something happened to meanwhile. That it was made is told all the same, for that comes before its first
message. Whoever goes away while it is made or taken away stops neither: what is asked of the outbox is done all the
same, and nobody else would know that it is to be undone.

Who brings messages in requests of their own (an import) joins a trial under a word of its own and says when it leaves
without one. It is taken away only when all who joined have said so: one that still brings messages is to find its rate
and hours. So it is not deleted without a word either while a word lasts. Whoever says nothing for a while counts as
gone (it was killed), so that the next one who leaves takes it away; nobody does when none comes. Who joined is known to
this process only: after a restart such a campaign stays until its words were said again and those who did have left. It
refuses to know how messages are handed in, and what a campaign is.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.campaign import Campaign, Terms
from smsd.store import StoreError
from smsd.store.operators import Campaigns

log = structlog.get_logger("smsd.campaigns")

JOINED: Final = 1_000
"""Campaigns whose trial somebody joined under a word. Of more, the one that was longest without is forgotten: it
stays."""

WORDS: Final = 100
"""Who join one trial. One more, and it is none any longer: the campaign stays."""

LASTS_US: Final = 5 * 60 * 1_000_000
"""A word lasts so long after it was said (boot time, microseconds). Who brings messages says it again before the first
of them; an import does so every minute until one is taken (cli.trying.RENEW_S), and whenever the daemon was away."""

Name = tuple[str, str]
"""Tenant and id."""

Make = Callable[[str, str, Terms], Awaitable[tuple[Campaign, bool]]]


@dataclass(slots=True)
class Trial:
    """A campaign that somebody hands messages to. `used`: it has one, or is wanted without for now."""

    campaign: Campaign
    is_new: bool
    used: bool = False
    gone: bool = False
    """It was taken away again; known when it was left."""


class Trials:
    """Campaigns that messages are handed to now: as many as there are such requests."""

    def __init__(self, make: Make, kept: Campaigns, clock: Clock) -> None:
        self._make = make
        self._kept = kept
        self._clock = clock
        self._trying: Counter[Name] = Counter()
        """How many hand messages to each of them."""
        self._unused: set[Name] = set()
        """Those that are new and have none."""
        self._joined: OrderedDict[Name, dict[str, int]] = OrderedDict()
        """The words of those who bring messages to a new campaign in requests of their own, and when they were said."""
        self._leaving: set[asyncio.Task[bool]] = set()
        """As many as there are who leave."""

    def is_tried(self, tenant: str, id: str) -> bool:
        """Whether messages are handed to it now."""
        return (tenant, id) in self._trying

    def is_joined(self, tenant: str, id: str) -> bool:
        """Whether somebody said lately that messages of it come in other requests."""
        return bool(self._lasting((tenant, id)))

    def join(self, tenant: str, id: str, trial: Trial, word: str | None) -> bool:
        """Messages of it come in other requests: to be called while it is tried, and again before the word has lasted
        LASTS_US. True: it is on trial until all who joined have left. `word` None: it is wanted without any, and no
        longer on trial."""
        name = (tenant, id)
        if word is None:
            self._joined.pop(name, None)
            return False
        if not (trial.is_new or name in self._unused or name in self._joined):
            return False
        words = self._lasting(name)
        words[word] = self._clock.boot()
        self._joined[name] = words
        self._joined.move_to_end(name)
        if len(words) > WORDS:
            del self._joined[name]
        elif len(self._joined) > JOINED:
            self._joined.popitem(last=False)
        return name in self._joined

    def leave(self, tenant: str, id: str, word: str) -> bool:
        """Who joined under that word brings no more, and none was taken. True: that is the last of all who try it, so
        that it may be taken away; the word is kept until `left` says that it was, so that it can be said again. Those
        who try it now decide when they leave."""
        name = (tenant, id)
        if name not in self._joined:
            return False
        words = self._joined[name] = self._lasting(name)
        if words.keys() - {word}:
            words.pop(word, None)
            return False
        if name in self._trying:
            del self._joined[name]
            self._unused.add(name)
            return False
        return True

    def left(self, tenant: str, id: str, word: str) -> None:
        """It was taken away."""
        words = self._joined.get((tenant, id), {})
        words.pop(word, None)
        if not words:
            self._joined.pop((tenant, id), None)

    def _lasting(self, name: Name) -> dict[str, int]:
        """The words that were said lately."""
        since = self._clock.boot() - LASTS_US
        return {word: said for word, said in self._joined.get(name, {}).items() if said > since}

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
            self._joined.pop(name, None)  # another of that id was taken away; who joins this one comes later
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
