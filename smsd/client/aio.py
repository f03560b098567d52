"""How does an asyncio program hand over messages and ask about them?

AsyncClient, with the methods of Client (sync.py) as coroutines: tasks share one connection, and their requests are
pipelined on it. This is the only module of the client that imports asyncio, so it is imported when somebody asks for
AsyncClient.
"""

from __future__ import annotations

import asyncio
import os
import select
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Self

from smsd.client.errors import SmsdError
from smsd.client.loss import LateError, LostError, StrangerError, connection_lost, not_smsd, time_is_up
from smsd.client.place import no_connection, socket_path
from smsd.client.words import (
    ANSWER_BYTES,
    TIMEOUT,
    WINDOW,
    Document,
    Documents,
    acts,
    decode,
    document_at,
    documents_at,
    encode,
    line_of_result,
    page_request,
    repeatable,
    result_of,
    retry_request,
    submission,
    submission_of,
)


class _AsyncLink:
    """One connection of an event loop: many requests on it, answers handed out in order by one reading task."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._writer = writer
        self._waiting: deque[tuple[int, asyncio.Future[Document]]] = deque()
        self._slots = asyncio.Semaphore(WINDOW)
        self.open = True
        self.reading = self._loop.create_task(self._read())

    async def ask(self, line: bytes, ref: int, seconds: float) -> Document:
        """The answer. Raises LostError, LateError, StrangerError.

        A slot stays taken until its answer comes, also when nobody waits for it any more: that bounds what is
        unanswered, and with LINE_BYTES what is buffered.
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
                self._waiting.append((ref, answer))
                self._writer.write(line)
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


class AsyncClient:
    """A connection to the daemon for asyncio programs. Tasks share it; their requests are pipelined on one connection.

    Methods are those of Client, as coroutines; list and send_many are asynchronous iterators. It belongs to one event
    loop at a time. A call that is cancelled or late may have been taken.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        self._given = socket
        self._timeout = timeout
        self._refs = 0
        self._link: _AsyncLink | None = None
        self._home: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def path(self) -> str:
        """The socket it talks to."""
        return socket_path(self._given)

    async def close(self) -> None:
        """Close the connection; the next call opens a new one. Calls under way end as if the connection were lost."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return await self._call({"op": op, **fields})

    async def send(self, to: str, text: str, **fields: Any) -> Document:
        """Submit a message; see Client.send."""
        return await self._call(submission(to, text, fields))

    async def send_many(self, items: Iterable[Mapping[str, Any]]) -> AsyncIterator[Document]:
        """Submit many; results as Client.send_many's, in order. A daemon that is gone fails each item by itself."""
        flights: deque[asyncio.Task[Document]] = deque()
        try:
            for index, item in enumerate(items):
                if len(flights) >= WINDOW:
                    yield await flights.popleft()
                flights.append(asyncio.create_task(self._one_of_many(index, item)))
            while flights:
                yield await flights.popleft()
        finally:
            for flight in flights:
                flight.cancel()

    async def _one_of_many(self, index: int, item: Mapping[str, Any]) -> Document:
        try:
            return line_of_result(index, await self._call(submission_of(item)))
        except SmsdError as error:
            return line_of_result(index, error)

    async def offer(
        self,
        to: str,
        text: str,
        *,
        timeout: float = 0.25,  # noqa: ASYNC109 - the bound is what offer() is for
        **fields: Any,
    ) -> Document:
        """Submit a message; never raises, takes at most `timeout` seconds; see Client.offer."""
        try:
            return {"ok": True, **await self._call(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    async def get(self, id: str) -> Document:
        """Everything known of a message (the message view)."""
        return document_at(await self._call({"op": "get", "id": id}), "message")

    status = get

    async def list(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """Messages, newest first; see Client.list."""
        cursor: str | None = None
        while limit is None or limit > 0:
            page = await self._call(page_request(filters, limit, cursor))
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    async def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return documents_at(await self._call({"op": "attempts", "id": id}), "attempts")

    async def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return document_at(await self._call({"op": "cancel", "id": id}), "message")

    async def retry(self, id: str, *, ttl: str | None = None, force: bool = False) -> Document:
        """Open a new round for a failed, undelivered or expired message; see Client.retry."""
        return document_at(await self._call(retry_request(id, ttl, force)), "message")

    async def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return await self._call({"op": "stats"})

    async def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return documents_at(await self._call({"op": "providers"}), "providers")

    async def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return document_at(await self._call({"op": "pause", "provider": provider}), "provider")

    async def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return document_at(await self._call({"op": "resume", "provider": provider}), "provider")

    async def ping(self) -> Document:
        """`{pong: True, version}`"""
        return await self._call({"op": "ping"})

    async def _call(self, request: Document, seconds: float | None = None) -> Document:
        seconds = self._timeout if seconds is None else seconds
        self._refs += 1
        return result_of(await self._ask({**request, "ref": self._refs}, seconds))

    async def _ask(self, request: Document, seconds: float) -> Document:
        """One exchange, repeated once on a new connection where that is safe."""
        line = encode(request)
        deadline = time.monotonic() + seconds
        repeated = doubtful = False
        while True:
            try:
                link = await self._connected(deadline)
                return await link.ask(line, request["ref"], max(0.0, deadline - time.monotonic()))
            except LostError as lost:
                doubtful = doubtful or (lost.written and acts(request))
                if repeated or (lost.written and not repeatable(request)):
                    raise connection_lost(self.path, doubtful) from None
                repeated = True
            except LateError as late:
                raise time_is_up(self.path, seconds, doubtful or (late.written and acts(request))) from None
            except StrangerError:
                raise not_smsd(self.path) from None
            except SmsdError:
                if doubtful:  # it left on the first connection, and there is no second one
                    raise connection_lost(self.path, doubtful) from None
                raise

    async def _connected(self, deadline: float) -> _AsyncLink:
        path = self.path
        connecting = self._at_home()
        try:
            async with asyncio.timeout(deadline - time.monotonic()), connecting:
                if self._link is None or not self._link.open:
                    reader, writer = await asyncio.open_unix_connection(path, limit=ANSWER_BYTES)
                    self._link = _AsyncLink(reader, writer)
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
