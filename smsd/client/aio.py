"""How does an asyncio program hand over messages and ask about them?

AsyncClient, with the methods of Client (sync.py) as coroutines. In which way each is asked is known by aio_asking. The
modules whose names begin with aio are the only ones of the client that import asyncio, so they are imported when
somebody asks for AsyncClient.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, BinaryIO, Self

from smsd.client.aio_asking import AsyncAsking
from smsd.client.doors import find
from smsd.client.errors import SmsdError
from smsd.client.words import (
    REPORT_S,
    TIMEOUT,
    Document,
    Documents,
    document_at,
    documents_at,
    failed_request,
    given,
    report_request,
    reschedule_request,
    retry_request,
    submission,
)


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
        self._daemon = AsyncAsking(self._door, timeout)

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
        await self._daemon.close()

    async def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return await self._daemon.ask({"op": op, **fields})

    async def send(self, to: str, text: str | None = None, **fields: Any) -> Document:
        """Submit a message; see Client.send."""
        return await self._daemon.ask(submission(to, text, fields))

    async def send_now(self, to: str, text: str | None = None, *, wait: str = "5s", **fields: Any) -> Document:
        """Submit a message and wait until it has left the queue, at most `wait`; see Client.send_now."""
        return await self._daemon.send_now(submission(to, text, fields), wait)

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> AsyncIterator[Document]:
        """Submit many; results as Client.send_many's, in order. A daemon that is gone fails each item by itself."""
        return self._daemon.send_many(items)

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
            return {"ok": True, **await self._daemon.ask(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    async def get(self, id: str, *, wait: str | None = None) -> Document:
        """Everything known of a message (the message view); `wait`: see Client.get."""
        return await self._daemon.get(id, wait)

    status = get

    def list(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """Messages, newest first; see Client.list."""
        return self._daemon.pages("list", filters, limit)

    async def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return documents_at(await self._daemon.ask({"op": "attempts", "id": id}), "attempts")

    async def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return document_at(await self._daemon.ask({"op": "cancel", "id": id}), "message")

    async def reschedule(
        self, id: str, send_at: str, *, ttl: str | None = None, expires_at: str | None = None
    ) -> Document:
        """Give a pending message another time; see Client.reschedule."""
        return document_at(await self._daemon.ask(reschedule_request(id, send_at, ttl, expires_at)), "message")

    async def retry(
        self, id: str, *, ttl: str | None = None, expires_at: str | None = None, force: bool = False
    ) -> Document:
        """Open a new round for a failed, undelivered or expired message; see Client.retry."""
        return document_at(await self._daemon.ask(retry_request(id, ttl, expires_at, force)), "message")

    def campaigns(self, *, limit: int | None = None, tenant: str | None = None) -> AsyncIterator[Document]:
        """Campaigns, newest first; see Client.campaigns."""
        return self._daemon.pages("campaigns", {"tenant": tenant}, limit)

    async def campaign(self, id: str, *, tenant: str | None = None) -> Document:
        """One campaign; see Client.campaign."""
        return document_at(await self._daemon.ask(given("campaign", id=id, tenant=tenant)), "campaign")

    async def campaign_status(self, id: str, *, tenant: str | None = None) -> Document:
        """How far it is; see Client.campaign_status."""
        return await self._daemon.ask(given("campaign_status", id=id, tenant=tenant))

    async def campaign_create(self, id: str | None = None, **fields: Any) -> Document:
        """Make a campaign and hand messages in; see Client.campaign_create."""
        return await self._daemon.ask(given("campaign_create", id=id, **fields))

    async def campaign_pause(self, id: str, *, tenant: str | None = None) -> Document:
        """Send nothing of it until it is resumed; see Client.campaign_pause."""
        return document_at(await self._daemon.ask(given("campaign_pause", id=id, tenant=tenant)), "campaign")

    async def campaign_resume(self, id: str, *, tenant: str | None = None) -> Document:
        """Send it on; see Client.campaign_resume."""
        return document_at(await self._daemon.ask(given("campaign_resume", id=id, tenant=tenant)), "campaign")

    async def campaign_cancel(self, id: str, *, tenant: str | None = None) -> Document:
        """Cancel all of it that waits, for good; see Client.campaign_cancel."""
        return document_at(await self._daemon.ask(given("campaign_cancel", id=id, tenant=tenant)), "campaign")

    async def campaign_delete(self, id: str, *, tenant: str | None = None, trial: str | None = None) -> Document:
        """Take away one that never had a message; see Client.campaign_delete."""
        return await self._daemon.ask(given("campaign_delete", id=id, tenant=tenant, trial=trial))

    async def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return await self._daemon.ask({"op": "stats"})

    async def alerts(self) -> Documents:
        """Alerts that are raised and that were; see Client.alerts."""
        return documents_at(await self._daemon.ask({"op": "alerts"}), "items")

    async def user_stats(self, user: str, *, tenant: str | None = None) -> Document:
        """Counts of the messages about one of your users; see Client.user_stats."""
        return await self._daemon.ask(given("user", user=user, tenant=tenant))

    async def recipient_stats(self, number: str, *, tenant: str | None = None) -> Document:
        """The same counts of the messages to one number, with `recipient` for `user_id`."""
        return await self._daemon.ask(given("recipient", number=number, tenant=tenant))

    def suppressions(
        self, *, scope: str | None = None, number: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Document]:
        """Numbers that get nothing more, in order; see Client.suppressions."""
        return self._daemon.pages("suppressions", {"scope": scope, "number": number}, limit)

    async def suppress(self, number: str, *, scope: str | None = None) -> Document:
        """Text this number no more; see Client.suppress."""
        return await self._daemon.ask(given("suppress", number=number, scope=scope))

    async def unsuppress(self, number: str, *, scope: str | None = None) -> Document:
        """Let it be texted again; see Client.unsuppress."""
        return await self._daemon.ask(given("unsuppress", number=number, scope=scope))

    def inbound(
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
        return self._daemon.pages("inbound", filters, limit)

    async def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return documents_at(await self._daemon.ask({"op": "providers"}), "providers")

    async def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return document_at(await self._daemon.ask({"op": "pause", "provider": provider}), "provider")

    async def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return document_at(await self._daemon.ask({"op": "resume", "provider": provider}), "provider")

    async def register(self, provider: str, *, dry_run: bool = False) -> Document:
        """Let a provider know where to call back; see Client.register."""
        return await self._daemon.ask(given("register", provider=provider, dry_run=dry_run or None))

    def callbacks(
        self, *, failed: bool = False, tenant: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Document]:
        """Callbacks that wait or were given up, oldest first; see Client.callbacks."""
        return self._daemon.pages("callbacks", {"failed": failed or None, "tenant": tenant}, limit)

    async def replay_callbacks(self, ids: Iterable[str] | None = None) -> Document:
        """Try callbacks again; see Client.replay_callbacks."""
        return await self._daemon.ask(given("replay", ids=None if ids is None else [*ids]))

    async def report(self, kind: str, **fields: Any) -> Document:
        """A report; see Client.report."""
        return await self._daemon.ask(report_request(kind, fields), at_least=REPORT_S)

    def events(self, *, after: str | None = None, kinds: str | None = None) -> AsyncIterator[Document]:
        """What happens, as it happens, for ever; see Client.events."""
        return self._daemon.follow(after, kinds)

    def failed(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """What failed or was not delivered, newest first; see Client.failed."""
        return self._daemon.pages("failed", filters, limit)

    async def failed_retry(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Open a new round for what failed; see Client.failed_retry."""
        return await self._daemon.ask(failed_request("failed_retry", ids, all, fields))

    async def failed_delete(self, ids: Iterable[str] | None = None, *, all: bool = False, **fields: Any) -> Document:
        """Take away what failed; see Client.failed_delete."""
        return await self._daemon.ask(failed_request("failed_delete", ids, all, fields))

    async def plan(self, rows: Iterable[Mapping[str, Any]], **fields: Any) -> Document:
        """What would happen if these messages were handed in; see Client.plan."""
        return await self._daemon.plan(rows, fields)

    def audit(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[Document]:
        """What operators did, newest first; see Client.audit."""
        return self._daemon.pages("audit", filters, limit)

    async def reload(self) -> Document:
        """Let the daemon read its configuration again; see Client.reload."""
        return await self._daemon.ask({"op": "reload"})

    async def backup(self, file: BinaryIO) -> int:
        """Write a consistent copy of the outbox into `file`, in a thread; its bytes. See Client.backup."""
        return await self._daemon.copy(file)

    async def metrics(self) -> str:
        """The daemon's figures in Prometheus' text format."""
        return str((await self._daemon.ask({"op": "metrics"}))["text"])

    async def ping(self) -> Document:
        """`{pong: True, version}`"""
        return await self._daemon.ask({"op": "ping"})
