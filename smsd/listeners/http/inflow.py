"""How does a body come in that has no end worth waiting for?

In pieces, as far as there is room for what they become: whoever asks for the next bytes decides when. A body that
brings nothing for a while has stopped; a daemon that ends waits for no more of it. What the bytes say is known by
`splitting` and by those who ask (`batch`, `campaigns`).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestPayloadError

from smsd.core.acceptance import Fault
from smsd.listeners.http.batch_limits import BatchLimits

READ: Final = 32_768
"""Bytes read in one go: a few milliseconds of work, whatever they are."""

STOPPING: Final = Fault(
    "", "shutting_down", "smsd is shutting down; nothing was taken. Send it again after the restart."
)

BROKEN: Final = (RequestPayloadError, HttpProcessingError)
"""The body's packing or framing is broken, or the client is gone."""


class EndingError(Exception):
    """The daemon ends, and there is more that would have been taken."""


class Inflow:
    """The body of one request."""

    def __init__(self, request: web.Request, limits: BatchLimits) -> None:
        self._content = request.content
        self._limits = limits
        self._together = limits.together
        self._loop = asyncio.get_running_loop()
        self.received = 0
        """Bytes read."""
        self._patience: asyncio.Timeout | None = None
        """Set while bytes are awaited."""
        self.mark(0)

    def mark(self, pieces: int) -> None:
        """The body moves, so many pieces were found in it: it may stand still so long from now."""
        self._marked_pieces = pieces
        self._marked_bytes = self.received
        self._still_at = self._loop.time() + self._limits.idle_s

    async def more(self, pieces: int) -> bytes:
        """The next bytes; b"" at the end. `pieces`: how many were found. Raises TimeoutError when it stands still,
        EndingError, one of BROKEN."""
        if pieces > self._marked_pieces or self.received - self._marked_bytes >= self._limits.least:
            self.mark(pieces)
        if self._together.ended and not self._content.is_eof():
            raise EndingError
        try:
            async with asyncio.timeout_at(self._still_at) as self._patience:
                data: bytes = await self._content.read(READ)
        except TimeoutError:
            if self._together.ended:
                raise EndingError from None
            raise
        finally:
            self._patience = None
        self.received += len(data)
        return data

    def hurry(self) -> None:
        """The daemon ends: wait for no bytes."""
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._loop.time())

    async def drop(self, patience_s: float | None = None) -> None:
        """What still comes is not looked at, for as long as it moves, also when the daemon ends: a client that writes
        everything first reads its answer after that. `patience_s`: it may stand still so long (None: `idle_s`)."""
        patience_s = self._limits.idle_s if patience_s is None else min(patience_s, self._limits.idle_s)
        with contextlib.suppress(TimeoutError, ConnectionError, *BROKEN):
            while True:
                async with asyncio.timeout(patience_s):
                    left = self._limits.least
                    while left > 0:
                        data: bytes = await self._content.readany()
                        if not data:
                            return
                        left -= len(data)
