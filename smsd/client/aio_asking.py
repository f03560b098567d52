"""In which ways does an asyncio program ask the daemon?

As Asking (asking.py), with coroutines: at once or aside, page after page, piece after piece, or on and on. Over which
connections or threads is known by the side: aio_socket for the socket, aio_threads for HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from smsd.client.aio_many import in_batches, pipelined
from smsd.client.aio_socket import SocketSide
from smsd.client.copying import Copying, put
from smsd.client.doors import SocketDoor
from smsd.client.errors import QueueUnavailable, SmsdError
from smsd.client.following import Following
from smsd.client.loss import accepted_all_the_same
from smsd.client.paging import Paging
from smsd.client.words import SNAPSHOT_S, Document, document_at, given, send_now_request, wait_s

if TYPE_CHECKING:
    from smsd.client.aio_threads import ThreadSide
    from smsd.client.http import HttpDoor


class AsyncAsking:
    """The connections of one AsyncClient. `seconds`: what a call may take unless told otherwise."""

    def __init__(self, door: SocketDoor | HttpDoor, seconds: float) -> None:
        self._door = door
        self._seconds = seconds
        self._side: SocketSide | ThreadSide
        if isinstance(door, SocketDoor):
            self._side = SocketSide(door)
        else:
            from smsd.client.aio_threads import ThreadSide

            self._side = ThreadSide(door)

    async def close(self) -> None:
        """Close all connections; the next call opens a new one."""
        await self._side.close()

    async def ask(self, request: Document, seconds: float | None = None, *, at_least: float = 0.0) -> Document:
        """The answer to one request, in `seconds`; `at_least`: more than usual, if that is less."""
        return await self._side.ask(request, max(self._seconds if seconds is None else seconds, at_least))

    async def get(self, id: str, wait: str | None) -> Document:
        """The view of a message. One that is waited for is asked for aside."""
        request, seconds = given("get", id=id, wait=wait), wait_s(wait)
        found = await (self._side.aside(request, self._seconds + seconds) if seconds else self.ask(request))
        return document_at(found, "message")

    async def send_now(self, request: Document, wait: str) -> Document:
        """The view of a message after its submission, once it has left the queue or `wait` is over."""
        seconds = self._seconds + wait_s(wait)
        if self._door.sends_and_waits:
            found = await self._side.aside(send_now_request(request, wait), seconds)
            return found if "created_at" in found else await self.get(found["id"], None)
        accepted = await self.ask(request)
        try:
            return await self.get(accepted["id"], wait)
        except QueueUnavailable as error:
            raise accepted_all_the_same(accepted["id"], error) from error

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> AsyncGenerator[Document, None]:
        """The results of submissions."""
        if isinstance(self._side, SocketSide):
            return pipelined(self.ask, items)
        return in_batches(self._door, self._side, self._seconds, items)

    async def pages(self, op: str, filters: Mapping[str, Any], limit: int | None) -> AsyncGenerator[Document, None]:
        """The items of a listing, page after page."""
        paging = Paging(op, filters, limit)
        while not paging.done:
            for item in paging.take(await self.ask(paging.request())):
                yield item

    async def plan(self, rows: Iterable[Mapping[str, Any]], fields: Mapping[str, Any]) -> Document:
        """What a plan comes to; its rows go piece after piece."""
        from smsd.client.planning import PLAN_S, plan_requests

        requests = plan_requests(rows, fields)
        request = next(requests)
        while True:
            answer = await self.ask(request, at_least=PLAN_S)
            try:
                request = requests.send(answer)
            except StopIteration as done:
                result: Document = done.value
                return result

    async def copy(self, file: BinaryIO) -> int:
        """Write a copy of the outbox into `file`, piece after piece, in a thread; its bytes. Raises OSError."""
        copying = Copying()
        async with self._side.own() as channel:
            while not copying.done:
                seconds = self._seconds if copying.begun else max(self._seconds, SNAPSHOT_S)
                data = copying.take(await channel.ask(copying.request(), seconds))
                await asyncio.to_thread(put, file, data)
        return copying.size

    async def follow(self, after: str | None, kinds: str | None) -> AsyncGenerator[Document, None]:
        """Events, on and on, until it is closed."""
        following = Following(after, kinds)
        async with self._side.own() as channel:
            while not channel.ended():
                try:
                    answer = await channel.ask(following.request(), self._seconds + following.wait_s)
                except SmsdError as error:
                    if channel.ended():
                        return
                    await channel.rest(following.failed(error))
                else:
                    for event in following.take(answer):
                        yield event
