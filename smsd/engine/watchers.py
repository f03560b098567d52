"""Has this message left the queue?

For callers that wait for what becomes of one message. Who waits is held by message id and woken by the event that says
so; nobody asks the outbox again and again. What the message's state is then is for the outbox to say.

A waiter hears of what happens from the moment its wait has begun: whoever looks at the message first begins to wait
first, so that nothing falls between the look and the wait.
"""

from __future__ import annotations

import asyncio
from typing import Final

from smsd.core.events import Event, Kind

WAITERS: Final = 10_000
"""Callers that may wait at the same time; one more is told at once that it has not happened yet."""

SETTLED: Final = frozenset(
    {
        Kind.MESSAGE_SENT,
        Kind.MESSAGE_RECONCILED,
        Kind.MESSAGE_DELIVERED,
        Kind.MESSAGE_UNDELIVERED,
        Kind.MESSAGE_FAILED,
        Kind.MESSAGE_EXPIRED,
        Kind.MESSAGE_CANCELLED,
    }
)
"""What happens to a message when it leaves the queue."""


class Watchers:
    """A sink of the bus that wakes whoever waits. All methods belong to the event loop."""

    def __init__(self, most: int = WAITERS) -> None:
        self._most = most
        self._waiting: dict[str, set[asyncio.Future[bool]]] = {}
        self._count = 0
        self._closed = False

    def __call__(self, event: Event) -> None:
        """Wake those who wait for this message."""
        if self._waiting and event.kind in SETTLED:
            for waiter in self._waiting.pop(str(event.fields["id"]), ()):
                if not waiter.done():
                    waiter.set_result(True)

    async def settled(self, id: str, timeout_s: float) -> bool:
        """Wait until message `id` leaves the queue, `timeout_s` seconds at most. False: it has not, or nobody knows."""
        if self._closed or self._count >= self._most:
            return False
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiting.setdefault(id, set()).add(waiter)
        self._count += 1
        timer = loop.call_later(timeout_s, _give_up, waiter)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._count -= 1
            self._forget(id, waiter)

    def _forget(self, id: str, waiter: asyncio.Future[bool]) -> None:
        waiters = self._waiting.get(id)
        if waiters is not None:
            waiters.discard(waiter)
            if not waiters:
                del self._waiting[id]

    def close(self) -> None:
        """The daemon ends: whoever waits is told that it has not happened. Idempotent."""
        self._closed = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                _give_up(waiter)
        self._waiting.clear()


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)
