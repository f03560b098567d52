"""Whose time is up?

One timer at the earliest expiry of any pending message, wherever it waits (also behind a halted provider, where no
ticket is held). Expiry is written by the outbox in bounded steps, so that a million stale messages after an outage
hold nobody up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from smsd.clock import Clock
from smsd.core.events import Kind, about
from smsd.core.message import Instant
from smsd.engine.bus import Bus
from smsd.store import Outbox, StoreError

log = structlog.get_logger("smsd.janitor")

STEP = 500
"""Messages expired in one transaction at most."""

LOOK_AGAIN_S = 30.0
"""However far the next expiry seems, look again after this: the wall clock may have been stepped."""

MERGE_MS = 50
"""Expiries closer together than this are written together."""


class Janitor:
    """Expires pending messages in time."""

    def __init__(self, outbox: Outbox, clock: Clock, bus: Bus, drop: Callable[[int], None]) -> None:
        self._outbox = outbox
        self._clock = clock
        self._bus = bus
        self._drop = drop
        self._next: Instant | None = None
        self._kick = asyncio.Event()

    def notice(self, expires_at: Instant) -> None:
        """A message that expires then is pending."""
        if self._next is None or expires_at < self._next:
            self._next = expires_at
            self._kick.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._kick.clear()
            if self._next is not None and self._next <= self._clock.wall():
                await self._expire()
            await self._rest()

    async def _expire(self) -> None:
        now = self._clock.wall()
        self._next = None
        try:
            expired, following = await self._outbox.expire(now, STEP)
        except StoreError as error:
            log.error("messages could not be expired; trying again", error=str(error))
            self.notice(now + 1_000)
            return
        if following is not None:
            self.notice(following)
        for message in expired:
            self._drop(message.seq)
            self._bus.publish(Kind.MESSAGE_EXPIRED, now, **about(message), category="EXPIRED")

    async def _rest(self) -> None:
        wait = LOOK_AGAIN_S
        if self._next is not None:
            wait = min(wait, max(MERGE_MS, self._next - self._clock.wall()) / 1e3)
        timer = asyncio.get_running_loop().call_later(wait, self._kick.set)
        try:
            await self._kick.wait()
        finally:
            timer.cancel()
