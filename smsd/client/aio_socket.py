"""How do tasks of an event loop share connections to the daemon's socket?

Calls that are answered at once are pipelined on one connection: many requests on it, answers handed out in order. A
call that waits would hold up those behind it (the daemon answers in order), so it gets a connection of its own, and of
these there is a bounded number. How the same is done over HTTP is known by `aio_threads`.
"""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from smsd.client.doors import SocketDoor
from smsd.client.errors import SmsdError
from smsd.client.loss import LateError, LostError, StrangerError, time_is_up
from smsd.client.place import no_connection
from smsd.client.tries import Tries
from smsd.client.words import ANSWER_BYTES, WINDOW, Document, Line, decode, result_of

WAITING: Final = 64
"""Calls of a client that wait at the same time, each on its connection; one more waits for its turn first."""

KEPT: Final = 4
"""Idle connections kept for such calls."""

QUEUE_PAUSE_S: Final = 0.01
"""Between two tries while the daemon's queue of connections is full."""


class AsyncLink:
    """One connection of an event loop: many requests on it, answers handed out in order by one reading task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._waiting: deque[tuple[int, asyncio.Future[Document]]] = deque()
        self._slots = asyncio.Semaphore(WINDOW)
        self.open = True
        self.reading = self._loop.create_task(self._read())

    async def ask(self, line: Line, seconds: float) -> Document:
        """The answer. Raises LostError, LateError, StrangerError.

        A slot stays taken until its answer comes, also when nobody waits for it any more: that bounds what is
        unanswered, and with words.LINE_BYTES what is buffered.
        """
        written = False
        try:
            async with asyncio.timeout(seconds):
                await self._slots.acquire()
                self.open = self.open and not self._hung_up()
                if not self.open:
                    self._slots.release()
                    raise LostError(written=False)
                answer: asyncio.Future[Document] = self._loop.create_future()
                self._waiting.append((line.ref, answer))
                self._writer.write(line.data)
                written = True
                return await answer
        except TimeoutError:
            raise LateError(written) from None

    def _hung_up(self) -> bool:
        """Whether the daemon has closed it; the reading task sees that only when the loop comes round to it."""
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket"), select.POLLRDHUP)
        return bool(poll.poll(0))

    async def _read(self) -> None:
        failure: Exception = LostError(written=True)
        try:
            while (line := await self._reader.readline()).endswith(b"\n"):
                self._hand_out(line)
        except (StrangerError, ValueError):
            failure = StrangerError()
        except OSError:
            failure = LostError(written=True)
        finally:
            self._end(failure)

    def _hand_out(self, line: bytes) -> None:
        if not self._waiting:
            raise StrangerError
        ref, answer = self._waiting[0]
        document = decode(line, ref)
        self._waiting.popleft()
        self._slots.release()
        if not answer.done():
            answer.set_result(document)

    def _end(self, failure: Exception) -> None:
        self.open = False
        self._writer.close()
        while self._waiting:
            _, answer = self._waiting.popleft()
            self._slots.release()
            if not answer.done():
                answer.set_exception(failure)

    async def close(self) -> None:
        self.reading.cancel()
        await asyncio.wait([self.reading])
        try:
            await self._writer.wait_closed()
        except OSError:
            return  # the other side was quicker; closed is closed


async def _linked(path: str) -> AsyncLink:
    """A new connection. Raises OSError.

    unix(7): a full queue of connections answers EAGAIN at once. asyncio's own connect takes that for a connection under
    way and then for an open one; there is no event to wait for, so it is tried again.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.connect(path)
                break
            except BlockingIOError:
                await asyncio.sleep(QUEUE_PAUSE_S)
        return AsyncLink(*await asyncio.open_unix_connection(sock=connection, limit=ANSWER_BYTES))
    except BaseException:
        connection.close()
        raise


class AsyncChannel:
    """One connection at most, made at the first request and again after a loss, in one event loop at a time."""

    def __init__(self, door: SocketDoor) -> None:
        self._door = door
        self._refs = 0
        self._link: AsyncLink | None = None
        self._home: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._ended = asyncio.Event()

    def ended(self) -> bool:
        """Whether end() was called."""
        return self._ended.is_set()

    async def ask(self, request: Document, seconds: float) -> Document:
        """The result; on failure the request is repeated once on a new connection where that is safe."""
        self._refs += 1
        line = self._door.prepare(request, self._refs)
        tries = Tries(request, self._door.name, seconds)
        deadline = time.monotonic() + seconds
        while True:
            try:
                link = await self._connected(deadline)
                answer = await link.ask(line, max(0.0, deadline - time.monotonic()))
                break
            except (LostError, LateError, StrangerError, SmsdError) as error:
                tries.failed(error, final=self.ended())
        return result_of(answer, request["op"])

    async def _connected(self, deadline: float) -> AsyncLink:
        path = self._door.name
        connecting = self._at_home()
        try:
            async with asyncio.timeout(deadline - time.monotonic()), connecting:
                if self._link is None or not self._link.open:
                    self._link = await _linked(path)
                return self._link
        except TimeoutError:
            raise LateError(written=False) from None
        except OSError as error:
            raise no_connection(path, error) from None

    def _at_home(self) -> asyncio.Lock:
        """The lock under which this event loop connects. A connection of an earlier loop was closed when that ended."""
        loop = asyncio.get_running_loop()
        if self._home is None or self._home[0] is not loop:
            self._home, self._link = (loop, asyncio.Lock()), None
        return self._home[1]

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until it ends."""
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return

    async def end(self) -> None:
        """Close it for good: the call under way raises QueueUnavailable."""
        self._ended.set()
        await self.close()

    async def close(self) -> None:
        """Close the connection; the next call opens a new one. Calls under way end as if it were lost."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()


class SocketSide:
    """The connections of one AsyncClient: the shared one, and those of calls that wait."""

    def __init__(self, door: SocketDoor) -> None:
        self._door = door
        self._shared = AsyncChannel(door)
        self._idle: deque[AsyncChannel] = deque()
        self._busy: set[AsyncChannel] = set()
        self._turns: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def ask(self, request: Document, seconds: float) -> Document:
        """On the shared connection."""
        return await self._shared.ask(request, seconds)

    async def aside(self, request: Document, seconds: float) -> Document:
        """On a connection of its own, as soon as one may be had."""
        deadline = time.monotonic() + seconds
        turns = self._turns_here()
        try:
            async with asyncio.timeout(seconds):
                await turns.acquire()
        except TimeoutError:
            raise time_is_up(self._door.name, seconds, doubtful=False) from None
        try:
            async with self.own() as channel:
                return await channel.ask(request, deadline - time.monotonic())
        finally:
            turns.release()

    def _turns_here(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns[0] is not loop:
            self._turns = (loop, asyncio.Semaphore(WAITING))
        return self._turns[1]

    @asynccontextmanager
    async def own(self) -> AsyncIterator[AsyncChannel]:
        """A channel for one caller. It is kept afterwards only if it was left in order: without a request on it."""
        channel = self._idle.pop() if self._idle else AsyncChannel(self._door)
        self._busy.add(channel)
        try:
            yield channel
        except BaseException:
            await channel.end()
            raise
        else:
            if channel.ended() or len(self._idle) >= KEPT:
                await channel.end()
            else:
                self._idle.append(channel)
        finally:
            self._busy.discard(channel)

    async def close(self) -> None:
        """Close all connections; the next call opens a new one."""
        for channel in (*self._busy, *self._idle):
            await channel.end()
        self._idle.clear()
        await self._shared.close()
