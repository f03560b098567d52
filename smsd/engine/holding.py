"""How do messages that limits and quiet hours put off learn that these have changed?

What holds a message up is written on it together with its next due time; so a limit that is lifted by a reload, or
between two runs, would go on holding up what it had put off. After every change of the rules all of it is asked again
(`Outbox.release_held`), piece by piece. Whoever is still held up is put off anew at its next claim.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.admission import AdmissionRules
from smsd.store import Outbox, StoreError

log = structlog.get_logger("smsd.holding")

AGAIN_S: Final = 1.0
"""Before a piece that the outbox could not write is tried again."""


def digest_of(rules: AdmissionRules) -> str:
    """Another one for other limits or quiet hours."""
    return hashlib.sha256(repr((rules.limits, rules.quiet)).encode()).hexdigest()


class Holding:
    """Lets go of what other rules than those in force hold up. `released`: due times in memory are void."""

    def __init__(self, outbox: Outbox, clock: Clock, released: Callable[[], None]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._released = released
        self._digest = ""
        self._changed = asyncio.Event()

    def rule(self, rules: AdmissionRules) -> None:
        """These rules are in force from now on, in the outbox too."""
        self._digest = digest_of(rules)
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled; sleeps until there are other rules."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if await self._follow():
                self._released()

    async def _follow(self) -> bool:
        digest, after = self._digest, -1
        while digest == self._digest:  # other rules that come meanwhile begin anew
            try:
                following = await self._outbox.release_held(digest, after, self._clock.wall())
                if following is None:
                    break
                after = following
            except StoreError as error:
                log.error("what is held up could not be let go; trying again", error=str(error))
                await asyncio.sleep(AGAIN_S)
        return after >= 0
