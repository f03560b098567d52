"""How does an asyncio program hand over messages and ask about them?

AsyncClient, with the methods of Client (sync.py) as coroutines, over the socket (aio_socket) or over HTTP
(aio_threads). These three are the only modules of the client that import asyncio, so they are imported when somebody
asks for AsyncClient.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from smsd.client.aio_socket import SocketSide
from smsd.client.copying import Copying, put
from smsd.client.doors import SocketDoor, find
from smsd.client.errors import QueueUnavailable, SmsdError
from smsd.client.following import Following
from smsd.client.loss import accepted_all_the_same
from smsd.client.many import Stream
from smsd.client.words import (
    REPORT_S,
    SNAPSHOT_S,
    TIMEOUT,
    WINDOW,
    Document,
    Documents,
    document_at,
    documents_at,
    failed_request,
    given,
    line_of_result,
    page_request,
    report_request,
    reschedule_request,
    retry_request,
    send_now_request,
    submission,
    submission_of,
    wait_s,
)

if TYPE_CHECKING:
    from smsd.client.aio_threads import ThreadSide


class AsyncClient:
    """The daemon, for asyncio programs. Where it is and what calls raise: as for Client.

    Methods are those of Client, as coroutines; list, send_many and events are asynchronous iterators. It belongs to one
    event loop at a time.

    Over the socket, tasks share one connection and their requests are pipelined on it; calls that wait (send_now, get
    with `wait`) have connections of their own, 64 at a time. Over HTTP calls run in 8 threads, those that wait, events
    and backup in 8 more: what finds none free waits for its turn, within its time.

    A call that is cancelled or late may have been taken. Over HTTP a call that is under way cannot be taken back: it
    goes on in its thread, and only those that wait are cut off.
    """

    def __init__(
        self,
        socket: str | os.PathLike[str] | None = None,
        *,
        url: str | None = None,
        token: str | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self._door = find(socket, url, token)
        self._timeout = timeout
        self._side: SocketSide | ThreadSide
        if isinstance(self._door, SocketDoor):
            self._side = SocketSide(self._door)
        else:
            from smsd.client.aio_threads import ThreadSide

            self._side = ThreadSide(self._door)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def path(self) -> str:
        """Where the daemon is: the path of its socket, or its URL."""
        return self._door.name

    async def close(self) -> None:
        """Close the connections; the next call opens a new one. Calls under way end as if theirs were lost; events()
        ends."""
        await self._side.close()

    async def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return await self._call({"op": op, **fields})

    async def send(self, to: str, text: str | None = None, **fields: Any) -> Document:
        """Submit a message; see Client.send."""
        return await self._call(submission(to, text, fields))

    async def send_now(self, to: str, text: str | None = None, *, wait: str = "5s", **fields: Any) -> Document:
        """Submit a message and wait until it has left the queue, at most `wait`; see Client.send_now."""
        request, seconds = submission(to, text, fields), self._timeout + wait_s(wait)
        if self._door.sends_and_waits:
            found = await self._side.aside(send_now_request(request, wait), seconds)
            return found if "created_at" in found else await self.get(found["id"])
        accepted = await self._call(request)
        try:
            return await self.get(accepted["id"], wait=wait)
        except QueueUnavailable as error:
            raise accepted_all_the_same(accepted["id"], error) from error

    async def send_many(self, items: Iterable[Mapping[str, Any]]) -> AsyncIterator[Document]:
        """Submit many; results as Client.send_many's, in order. A daemon that is gone fails each item by itself."""
        side = self._side
        sending = self._pipelined(items) if isinstance(side, SocketSide) else self._batches(side, items)
        async with aclosing(sending) as results:
            async for result in results:
                yield result

    async def _pipelined(self, items: Iterable[Mapping[str, Any]]) -> AsyncGenerator[Document, None]:
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

    async def _batches(self, side: ThreadSide, items: Iterable[Mapping[str, Any]]) -> AsyncGenerator[Document, None]:
        """A window at a time, in a thread. The items are taken here: a program's iterator belongs to its loop."""
        feed, before = iter(items), 0
        while window := [*islice(feed, self._door.window)]:
            stream = Stream(self._door, self._timeout)
            results: Documents = await side.run(partial(list, stream.run(window)))
            for result in results:
                yield {**result, "index": result["index"] + before}
            before += len(window)

    async def offer(
        self,
        to: str,
        text: str | None = None,
        *,
        timeout: float = 0.25,  # noqa: ASYNC109 - the bound is what offer() is for
        **fields: Any,
    ) -> Document:
        """Submit a message; never raises, takes at most `timeout` seconds; see Client.offer."""
        try:
            return {"ok": True, **await self._call(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    async def get(self, id: str, *, wait: str | None = None) -> Document:
        """Everything known of a message (the message view); `wait`: see Client.get."""
        request, seconds = given("get", id=id, wait=wait), wait_s(wait)
        found = await (self._side.aside(request, self._timeout + seconds) if seconds else self._call(request))
        return document_at(found, "message")

    status = get

    async def list(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """Messages, newest first; see Client.list."""
        async for item in self._pages("list", filters, limit):
            yield item

    async def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return documents_at(await self._call({"op": "attempts", "id": id}), "attempts")

    async def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return document_at(await self._call({"op": "cancel", "id": id}), "message")

    async def reschedule(
        self, id: str, send_at: str, *, ttl: str | None = None, expires_at: str | None = None
    ) -> Document:
        """Give a pending message another time; see Client.reschedule."""
        return document_at(await self._call(reschedule_request(id, send_at, ttl, expires_at)), "message")

    async def retry(
        self, id: str, *, ttl: str | None = None, expires_at: str | None = None, force: bool = False
    ) -> Document:
        """Open a new round for a failed, undelivered or expired message; see Client.retry."""
        return document_at(await self._call(retry_request(id, ttl, expires_at, force)), "message")

    async def campaigns(self, *, limit: int | None = None, tenant: str | None = None) -> AsyncIterator[Document]:
        """Campaigns, newest first; see Client.campaigns."""
        async for item in self._pages("campaigns", {"tenant": tenant}, limit):
            yield item

    async def campaign(self, id: str, *, tenant: str | None = None) -> Document:
        """One campaign; see Client.campaign."""
        return document_at(await self._call(given("campaign", id=id, tenant=tenant)), "campaign")

    async def campaign_status(self, id: str, *, tenant: str | None = None) -> Document:
        """How far it is; see Client.campaign_status."""
        return await self._call(given("campaign_status", id=id, tenant=tenant))

    async def campaign_create(self, id: str | None = None, **fields: Any) -> Document:
        """Make a campaign and hand messages in; see Client.campaign_create."""
        return await self._call(given("campaign_create", id=id, **fields))

    async def campaign_pause(self, id: str, *, tenant: str | None = None) -> Document:
        """Send nothing of it until it is resumed; see Client.campaign_pause."""
        return document_at(await self._call(given("campaign_pause", id=id, tenant=tenant)), "campaign")

    async def campaign_resume(self, id: str, *, tenant: str | None = None) -> Document:
        """Send it on; see Client.campaign_resume."""
        return document_at(await self._call(given("campaign_resume", id=id, tenant=tenant)), "campaign")

    async def campaign_cancel(self, id: str, *, tenant: str | None = None) -> Document:
        """Cancel all of it that waits, for good; see Client.campaign_cancel."""
        return document_at(await self._call(given("campaign_cancel", id=id, tenant=tenant)), "campaign")

    async def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return await self._call({"op": "stats"})

    async def user_stats(self, user: str, *, tenant: str | None = None) -> Document:
        """Counts of the messages about one of your users; see Client.user_stats."""
        return await self._call(given("user", user=user, tenant=tenant))

    async def recipient_stats(self, number: str, *, tenant: str | None = None) -> Document:
        """The same counts of the messages to one number, with `recipient` for `user_id`."""
        return await self._call(given("recipient", number=number, tenant=tenant))

    async def suppressions(
        self, *, scope: str | None = None, number: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Document]:
        """Numbers that get nothing more, in order; see Client.suppressions."""
        async for item in self._pages("suppressions", {"scope": scope, "number": number}, limit):
            yield item

    async def suppress(self, number: str, *, scope: str | None = None) -> Document:
        """Text this number no more; see Client.suppress."""
        return await self._call(given("suppress", number=number, scope=scope))

    async def unsuppress(self, number: str, *, scope: str | None = None) -> Document:
        """Let it be texted again; see Client.unsuppress."""
        return await self._call(given("unsuppress", number=number, scope=scope))

    async def inbound(
        self,
        *,
        from_: str | None = None,
        to: str | None = None,
        tenant: str | None = None,
        since: str | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Document]:
        """Texts received, newest first; see Client.inbound."""
        filters = {"from": from_, "to": to, "tenant": tenant, "since": since}
        async for item in self._pages("inbound", filters, limit):
            yield item

    async def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return documents_at(await self._call({"op": "providers"}), "providers")

    async def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return document_at(await self._call({"op": "pause", "provider": provider}), "provider")

    async def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return document_at(await self._call({"op": "resume", "provider": provider}), "provider")

    async def register(self, provider: str, *, dry_run: bool = False) -> Document:
        """Let a provider know where to call back; see Client.register."""
        return await self._call(given("register", provider=provider, dry_run=dry_run or None))

    async def callbacks(
        self, *, failed: bool = False, tenant: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Document]:
        """Callbacks that wait or were given up, oldest first; see Client.callbacks."""
        async for item in self._pages("callbacks", {"failed": failed or None, "tenant": tenant}, limit):
            yield item

    async def replay_callbacks(self, ids: Iterable[str] | None = None) -> Document:
        """Try callbacks again; see Client.replay_callbacks."""
        return await self._call(given("replay", ids=None if ids is None else [*ids]))

    async def report(self, kind: str, **fields: Any) -> Document:
        """A report; see Client.report."""
        return await self._call(report_request(kind, fields), max(self._timeout, REPORT_S))

    async def events(self, *, after: str | None = None, kinds: str | None = None) -> AsyncIterator[Document]:
        """What happens, as it happens, for ever; see Client.events."""
        following = Following(after, kinds)
        async with self._side.own() as channel:
            while not channel.ended():
                try:
                    answer = await channel.ask(following.request(), self._timeout + following.wait_s)
                except SmsdError as error:
                    if channel.ended():
                        return
                    await channel.rest(following.failed(error))
                else:
                    for event in following.take(answer):
                        yield event

    async def failed(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """What failed or was not delivered, newest first; see Client.failed."""
        async for item in self._pages("failed", filters, limit):
            yield item

    async def failed_retry(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Open a new round for what failed; see Client.failed_retry."""
        return await self._call(failed_request("failed_retry", ids, all, fields))

    async def failed_delete(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Take away what failed; see Client.failed_delete."""
        return await self._call(failed_request("failed_delete", ids, all, fields))

    async def plan(self, rows: Iterable[Mapping[str, Any]], **fields: Any) -> Document:
        """What would happen if these messages were handed in; see Client.plan."""
        from smsd.client.planning import PLAN_S, plan_requests

        requests = plan_requests(rows, fields)
        request = next(requests)
        while True:
            answer = await self._call(request, max(self._timeout, PLAN_S))
            try:
                request = requests.send(answer)
            except StopIteration as done:
                result: Document = done.value
                return result

    async def audit(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """What operators did, newest first; see Client.audit."""
        async for item in self._pages("audit", filters, limit):
            yield item

    async def reload(self) -> Document:
        """Let the daemon read its configuration again; see Client.reload."""
        return await self._call({"op": "reload"})

    async def backup(self, file: BinaryIO) -> int:
        """Write a consistent copy of the outbox into `file`, in a thread; its bytes. See Client.backup."""
        copying = Copying()
        async with self._side.own() as channel:
            while not copying.done:
                seconds = self._timeout if copying.begun else max(self._timeout, SNAPSHOT_S)
                data = copying.take(await channel.ask(copying.request(), seconds))
                await asyncio.to_thread(put, file, data)
        return copying.size

    async def metrics(self) -> str:
        """The daemon's figures in Prometheus' text format."""
        return str((await self._call({"op": "metrics"}))["text"])

    async def ping(self) -> Document:
        """`{pong: True, version}`"""
        return await self._call({"op": "ping"})

    async def _pages(self, op: str, filters: Mapping[str, Any], limit: int | None) -> AsyncIterator[Document]:
        """The items of a listing, page after page."""
        cursor: str | None = None
        while limit is None or limit > 0:
            page = await self._call(page_request(op, filters, limit, cursor))
            for item in page["items"]:
                yield item
            cursor = page.get("next_cursor")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    async def _call(self, request: Document, seconds: float | None = None) -> Document:
        return await self._side.ask(request, self._timeout if seconds is None else seconds)
