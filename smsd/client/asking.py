"""In which ways does a program without an event loop ask the daemon?

At once, on the connection that all calls share; aside, on one of its own, where the answer is waited for; page after
page, piece after piece, or on and on. How long each may take is decided here. Which request belongs to which method is
known by `sync`, how one reaches the daemon and whether it is repeated by `channel`. AsyncAsking in aio_asking.py is the
same for AsyncClient.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from smsd.client.channel import Channel, Spares
from smsd.client.copying import Copying, put
from smsd.client.doors import SocketDoor
from smsd.client.errors import QueueUnavailable, SmsdError
from smsd.client.following import Following
from smsd.client.loss import accepted_all_the_same
from smsd.client.many import Stream
from smsd.client.paging import Paging
from smsd.client.words import SNAPSHOT_S, Document, document_at, given, send_now_request, wait_s

if TYPE_CHECKING:
    from smsd.client.http import HttpDoor


class Asking:
    """The connections of one Client. `seconds`: what a call may take unless told otherwise."""

    def __init__(self, door: SocketDoor | HttpDoor, seconds: float) -> None:
        self._door = door
        self._seconds = seconds
        self._channel = Channel(door)
        self._spares = Spares(door)

    def close(self) -> None:
        """Close all connections; the next call opens a new one. What waits aside is ended, the rest waited for."""
        spares, self._spares = self._spares, Spares(self._door)
        spares.close()
        self._channel.close()

    def ask(self, request: Document, seconds: float | None = None, *, at_least: float = 0.0) -> Document:
        """The answer to one request, in `seconds`; `at_least`: more than usual, if that is less."""
        return self._channel.ask(request, max(self._seconds if seconds is None else seconds, at_least))

    def get(self, id: str, wait: str | None) -> Document:
        """The view of a message. One that is waited for is asked for aside."""
        request, seconds = given("get", id=id, wait=wait), wait_s(wait)
        found = self._spares.ask(request, self._seconds + seconds) if seconds else self.ask(request)
        return document_at(found, "message")

    def send_now(self, request: Document, wait: str) -> Document:
        """The view of a message after its submission, once it has left the queue or `wait` is over."""
        seconds = self._seconds + wait_s(wait)
        if self._door.sends_and_waits:
            found = self._spares.ask(send_now_request(request, wait), seconds)
            return found if "created_at" in found else self.get(found["id"], None)
        accepted = self.ask(request)
        try:
            return self.get(accepted["id"], wait)
        except QueueUnavailable as error:
            raise accepted_all_the_same(accepted["id"], error) from error

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        """The results of submissions, on a connection of their own."""
        return Stream(self._door, self._seconds).run(items)

    def pages(self, op: str, filters: Mapping[str, Any], limit: int | None) -> Iterator[Document]:
        """The items of a listing, page after page."""
        paging = Paging(op, filters, limit)
        while not paging.done:
            yield from paging.take(self.ask(paging.request()))

    def plan(self, rows: Iterable[Mapping[str, Any]], fields: Mapping[str, Any]) -> Document:
        """What a plan comes to; its rows go piece after piece."""
        from smsd.client.planning import PLAN_S, plan_requests

        requests = plan_requests(rows, fields)
        request = next(requests)
        while True:
            answer = self.ask(request, at_least=PLAN_S)
            try:
                request = requests.send(answer)
            except StopIteration as done:
                result: Document = done.value
                return result

    def copy(self, file: BinaryIO) -> int:
        """Write a copy of the outbox into `file`, piece after piece; its bytes. Raises OSError."""
        copying = Copying()
        with self._spares.one() as channel:
            while not copying.done:
                seconds = self._seconds if copying.begun else max(self._seconds, SNAPSHOT_S)
                put(file, copying.take(channel.ask(copying.request(), seconds)))
        return copying.size

    def follow(self, after: str | None, kinds: str | None) -> Iterator[Document]:
        """Events, on and on, until it is closed."""
        following = Following(after, kinds)
        with self._spares.one() as channel:
            while not channel.ended():
                try:
                    answer = channel.ask(following.request(), self._seconds + following.wait_s)
                except SmsdError as error:
                    if channel.ended():
                        return
                    channel.rest(following.failed(error))
                else:
                    yield from following.take(answer)
