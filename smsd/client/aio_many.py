"""How does AsyncClient.send_many keep many submissions on the way at once?

Over the socket each is a call of its own, pipelined on the one connection, at most a window of them; over HTTP a window
is one batch, which a thread sends and reads. Results come in the items' order. `many` is the same for Client.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from smsd.client.errors import SmsdError
from smsd.client.many import ManyDoor, Stream
from smsd.client.words import WINDOW, Document, Documents, line_of_result, submission_of

if TYPE_CHECKING:
    from smsd.client.aio_threads import ThreadSide

Ask = Callable[[Document], Awaitable[Document]]


async def pipelined(ask: Ask, items: Iterable[Mapping[str, Any]]) -> AsyncGenerator[Document, None]:
    """Each by itself, as `ask` sends it. Closed early, it cancels what is under way."""
    flights: deque[asyncio.Task[Document]] = deque()
    try:
        for index, item in enumerate(items):
            if len(flights) >= WINDOW:
                yield await flights.popleft()
            flights.append(asyncio.create_task(_one(ask, index, item)))
        while flights:
            yield await flights.popleft()
    finally:
        for flight in flights:
            flight.cancel()


async def _one(ask: Ask, index: int, item: Mapping[str, Any]) -> Document:
    try:
        return line_of_result(index, await ask(submission_of(item)))
    except SmsdError as error:
        return line_of_result(index, error)


async def in_batches(
    door: ManyDoor, side: ThreadSide, seconds: float, items: Iterable[Mapping[str, Any]]
) -> AsyncGenerator[Document, None]:
    """A window at a time, in a thread. The items are taken here: a program's iterator belongs to its loop."""
    feed, before = iter(items), 0
    while window := [*islice(feed, door.window)]:
        stream = Stream(door, seconds)
        results: Documents = await side.run(partial(list, stream.run(window)))
        for result in results:
            yield {**result, "index": result["index"] + before}
        before += len(window)
