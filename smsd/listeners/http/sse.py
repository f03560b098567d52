"""How does a client follow events over HTTP?

Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): a response that does not end, one
block per event, whose `data` is the same document that the socket's `events` gives. A client that reconnects says the
last id it saw and goes on from the engine's ring of recent events; what the ring no longer holds is told by a block
`stream.lost`. It refuses to know who may ask: the door has judged the caller and says what it may see.

Bounds: so many streams at once in all and of one caller, and a client that takes nothing for a while is dropped, since
reconnecting costs it nothing. What is written waits in memory only to the bound of one batch and two socket buffers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog
from aiohttp import web

from smsd import wire
from smsd.engine.stream import Batch, Stream, Wanted
from smsd.listeners.callers import ProblemError
from smsd.listeners.events import event_view
from smsd.listeners.http import problems

log = structlog.get_logger("smsd.sse")

STREAMS: Final = 256
STREAMS_OF_ONE: Final = 32
"""Streams open at once, in all and of one caller; above it a request is refused (`limit_exceeded`)."""

RETRY_MS: Final = 2_000
"""How long a client waits before it reconnects."""

HEARTBEAT_S: Final = 15.0
"""A stream without news says so much often: proxies close silent connections, and so is noticed who is gone without a
word."""

PATIENCE_S: Final = 30.0
"""A client that takes nothing for so long is dropped."""

GATHER_S: Final = 0.02
"""Between two batches to one client: under load a batch costs little more than an event."""

BATCH: Final = 100
"""Events written at once, at most; some 40 KiB."""

HEADERS: Final = {
    **problems.HEADERS,
    "Content-Type": "text/event-stream",
    "X-Accel-Buffering": "no",  # else nginx holds back what is not much (proxy_buffering)
}

LOST: Final = "stream.lost"
"""The name of the block that says that events are missing."""


class EventStreams:
    """The open streams of one daemon."""

    def __init__(
        self,
        stream: Stream,
        *,
        most: int = STREAMS,
        most_of_one: int = STREAMS_OF_ONE,
        heartbeat_s: float = HEARTBEAT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._stream = stream
        self._most = most
        self._most_of_one = most_of_one
        self._heartbeat_s = heartbeat_s
        self._patience_s = patience_s
        self._open: Counter[str] = Counter()

    @property
    def open(self) -> int:
        """Streams open now."""
        return self._open.total()

    async def stream_events(
        self, request: web.Request, caller: str, wants: Wanted, after: str | None
    ) -> web.StreamResponse:
        """Answer with the events that `caller` wants until the client goes, the task is cancelled (see `visits`) or
        `Stream.close` is called.

        Begins after the id in the header Last-Event-ID, else after `after`, else now. Raises ProblemError
        limit_exceeded when there are too many streams already.
        """
        with self._place(caller):
            response = web.StreamResponse(headers=HEADERS)
            await response.prepare(request)
            try:
                await self._follow(response, wants, request.headers.get("Last-Event-ID") or after)
            except TimeoutError:
                log.warning("a client does not read its events and is dropped", caller=caller)
                if request.transport is not None:
                    request.transport.abort()
            except ConnectionError:
                log.debug("a client stopped following events", caller=caller)
        return response

    @contextmanager
    def _place(self, caller: str) -> Iterator[None]:
        if self.open >= self._most or self._open[caller] >= self._most_of_one:
            text = (
                f"Too many event streams are open (at most {self._most}, and {self._most_of_one} of one caller). "
                "Close one, or try again later."
            )
            raise ProblemError.of("limit_exceeded", text)
        self._open[caller] += 1
        try:
            yield
        finally:
            self._open[caller] -= 1
            if not self._open[caller]:
                del self._open[caller]

    async def _follow(self, response: web.StreamResponse, wants: Wanted, after: str | None) -> None:
        batch = await self._stream.read(after, 0, BATCH, wants)
        # The place is told before anything happened, so that a client that is cut off at once misses nothing.
        await self._write(response, f"retry: {RETRY_MS}\n".encode() + _blocks(batch))
        while True:
            ending = self._stream.closed
            batch = await self._stream.read(batch.last, self._heartbeat_s, BATCH, wants, bounded=False)
            if batch.events or batch.lost or not ending:
                await self._write(response, _blocks(batch))
            if ending and not batch.events:
                break
            if batch.events and not ending:
                await asyncio.sleep(GATHER_S)
        async with asyncio.timeout(self._patience_s):
            await response.write_eof()

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        async with asyncio.timeout(self._patience_s):
            await response.write(data)


def _blocks(batch: Batch) -> bytes:
    """The batch as blocks. One without events carries no more than the place to go on from, which a client keeps."""
    blocks = [b'event: stream.lost\ndata: {"event":"stream.lost"}\n\n'] if batch.lost else []
    for id, event in batch.events:
        view = event_view(id, event)
        blocks.append(b"id: %s\nevent: %s\ndata: %s\n\n" % (id.encode(), view.event.encode(), wire.encode(view)))
    if not batch.events:
        blocks.append(b":\nid: %s\n\n" % batch.last.encode())
    return b"".join(blocks)
