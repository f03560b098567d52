"""How does an asyncio program speak HTTP when the standard library has no client for it?

In threads: each call runs the synchronous channel in one of a bounded number. Calls that wait have threads of their
own, so that they hold up no others. A thread cannot be interrupted: a call that is cancelled before it got one is never
made; a plain one that runs goes on to its end and may be taken; one that waits is cut off, and a message it brought may
be taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from smsd.client.channel import Channel, Spares
from smsd.client.http import HttpDoor
from smsd.client.loss import connection_lost
from smsd.client.words import Document

T = TypeVar("T")

THREADS: Final = 8
"""For calls that are answered at once, and as many again for those that wait."""


class _Crew:
    """Threads and the connections they use; closed once and then replaced by another."""

    def __init__(self, door: HttpDoor, purpose: str) -> None:
        self._door = door
        self._pool = ThreadPoolExecutor(THREADS, f"smsd-{purpose}")
        self._closed = False
        self.spares = Spares(door, THREADS)

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Its result. Raises QueueUnavailable when the crew is closed before a thread was free."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, *args)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                raise connection_lost(self._door.name, doubtful=False) from None
            raise

    def close(self) -> None:
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.spares.close()


class ThreadChannel:
    """A Channel whose calls run in threads, for one task."""

    def __init__(self, channel: Channel, crew: _Crew) -> None:
        self._channel = channel
        self._crew = crew

    def ended(self) -> bool:
        return self._channel.ended()

    async def ask(self, request: Document, seconds: float) -> Document:
        """As Channel.ask. Cancelled, it ends the channel, so that its thread is free."""
        return await self._run(self._channel.ask, request, seconds, time.monotonic() + seconds)

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until it ends."""
        await self._run(self._channel.rest, seconds)

    async def _run(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await self._crew.run(function, *args)
        except asyncio.CancelledError:
            self._channel.abort()
            raise


class ThreadSide:
    """The threads and connections of one AsyncClient."""

    def __init__(self, door: HttpDoor) -> None:
        self._door = door
        self._at_once: _Crew | None = None
        self._waiting: _Crew | None = None

    async def ask(self, request: Document, seconds: float) -> Document:
        """In the next free thread."""
        crew = self._calls()
        return await crew.run(crew.spares.ask, request, seconds, time.monotonic() + seconds)

    async def run(self, function: Callable[[], T]) -> T:
        """Anything else that takes a while."""
        return await self._calls().run(function)

    async def aside(self, request: Document, seconds: float) -> Document:
        """In the next free thread for calls that wait."""
        async with self.own() as channel:
            return await channel.ask(request, seconds)

    @asynccontextmanager
    async def own(self) -> AsyncIterator[ThreadChannel]:
        """A channel for one caller."""
        if self._waiting is None:
            self._waiting = _Crew(self._door, "waiting")
        crew = self._waiting
        with crew.spares.one() as channel:
            yield ThreadChannel(channel, crew)

    def _calls(self) -> _Crew:
        if self._at_once is None:
            self._at_once = _Crew(self._door, "calls")
        return self._at_once

    async def close(self) -> None:
        """Close all connections; their threads end as soon as they notice. The next call begins anew."""
        for crew in (self._at_once, self._waiting):
            if crew is not None:
                crew.close()
        self._at_once = self._waiting = None
