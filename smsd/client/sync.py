"""How does a program without an event loop hand over a message and ask about it?

Client: one method for each operation of the daemon, one request at a time on one connection. Here it is decided whether
a request is repeated after a loss. AsyncClient in aio.py is the same for asyncio programs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from smsd.client.errors import SmsdError
from smsd.client.link import Link
from smsd.client.loss import LostError, StrangerError, connection_lost, not_smsd, time_is_up
from smsd.client.many import Stream
from smsd.client.place import socket_path
from smsd.client.words import (
    TIMEOUT,
    Document,
    Documents,
    acts,
    document_at,
    documents_at,
    encode,
    page_request,
    repeatable,
    result_of,
    retry_request,
    submission,
)


class Client:
    """A connection to the daemon for programs without an event loop. Threads may share one; their calls take turns.

    It connects at the first call and again after a loss. `timeout`: seconds a call may take. Calls raise SmsdError or
    one of its kinds.
    """

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = TIMEOUT) -> None:
        self._given = socket
        self._timeout = timeout
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._refs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> str:
        """The socket it talks to."""
        return socket_path(self._given)

    def close(self) -> None:
        """Close the connection, after the call under way if there is one; the next call opens a new one."""
        with self._lock:
            self._drop()

    def call(self, op: str, **fields: Any) -> Document:
        """Any operation of the daemon by its name; the answer without `ok` and `ref`."""
        return self._call({"op": op, **fields})

    def send(self, to: str, text: str, **fields: Any) -> Document:
        """Submit a message: `{id, state, segments, encoding, replayed}`, once it is durable.

        Fields: from_, priority (high, normal, bulk), send_at, ttl ("2h") or expires_at (RFC 3339), idempotency_key,
        user, type, metadata, tenant, provider, max_attempts, retry, overflow.
        """
        return self._call(submission(to, text, fields))

    def send_many(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        """Submit many, each a mapping of fields with `to` and `text`; results in their order, one bad one fails alone.

        A result is `{index, ok: True, id, state, ...}` or `{index, ok: False, error: {code, message, field, errors}}`.
        Uses a connection of its own and reads up to WINDOW items ahead. Raises QueueUnavailable when the daemon is gone
        for good, after the results of all items taken; its message says from which index on nothing was sent.
        """
        return Stream(self.path, self._timeout).run(items)

    def offer(self, to: str, text: str, *, timeout: float = 0.25, **fields: Any) -> Document:
        """Submit a message from code that must not fail because of it: never raises, takes at most `timeout` seconds.

        `{ok: True, id, ...}` or `{ok: False, error: {...}}`; error code outcome_unknown: it may have been taken.
        """
        try:
            return {"ok": True, **self._call(submission(to, text, fields), timeout)}
        except SmsdError as error:
            return {"ok": False, "error": error.document()}

    def get(self, id: str) -> Document:
        """Everything known of a message (the message view)."""
        return document_at(self._call({"op": "get", "id": id}), "message")

    status = get

    def list(self, *, limit: int | None = None, **filters: Any) -> Iterator[Document]:
        """Messages, newest first, at most `limit`; pages are fetched as the iterator moves.

        Filters: state, to, user, tenant, campaign, category, since (RFC 3339).
        """
        cursor: str | None = None
        while limit is None or limit > 0:
            page = self._call(page_request(filters, limit, cursor))
            yield from page["items"]
            cursor = page.get("next_cursor")
            limit = None if limit is None else limit - len(page["items"])
            if cursor is None:
                return

    def attempts(self, id: str) -> Documents:
        """The calls made for a message, oldest first."""
        return documents_at(self._call({"op": "attempts", "id": id}), "attempts")

    def cancel(self, id: str) -> Document:
        """Cancel a pending message; its view. Raises WrongState once it is being sent."""
        return document_at(self._call({"op": "cancel", "id": id}), "message")

    def retry(self, id: str, *, ttl: str | None = None, force: bool = False) -> Document:
        """Open a new round for a failed, undelivered or expired message; its view.

        `ttl` ("2h"): its new time to live. `force`: also one that failed UNCERTAIN, which may then arrive twice.
        """
        return document_at(self._call(retry_request(id, ttl, force)), "message")

    def stats(self) -> Document:
        """Counts of states, categories, providers; throughput; uptime_s; version."""
        return self._call({"op": "stats"})

    def providers(self) -> Documents:
        """Each provider with its state, rate and load."""
        return documents_at(self._call({"op": "providers"}), "providers")

    def pause(self, provider: str) -> Document:
        """Begin no more calls at a provider; its view."""
        return document_at(self._call({"op": "pause", "provider": provider}), "provider")

    def resume(self, provider: str) -> Document:
        """Lift a provider's pause, halt or cooldown; its view."""
        return document_at(self._call({"op": "resume", "provider": provider}), "provider")

    def ping(self) -> Document:
        """`{pong: True, version}`"""
        return self._call({"op": "ping"})

    def _call(self, request: Document, seconds: float | None = None) -> Document:
        seconds = self._timeout if seconds is None else seconds
        deadline = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise time_is_up(self.path, seconds, doubtful=False)
        try:
            self._refs += 1
            return result_of(self._ask({**request, "ref": self._refs}, seconds, deadline))
        finally:
            self._lock.release()

    def _ask(self, request: Document, seconds: float, deadline: float) -> Document:
        """One exchange, repeated once on a new connection where that is safe."""
        line = encode(request)
        repeated = doubtful = False
        while True:
            try:
                link = self._connected(deadline)
                link.write(line, deadline)
                doubtful = acts(request)
                return link.read(request["ref"], deadline)
            except LostError as lost:
                self._drop()
                if repeated or (lost.written and not repeatable(request)):
                    raise connection_lost(self.path, doubtful) from None
                repeated = True
            except TimeoutError:
                self._drop()
                raise time_is_up(self.path, seconds, doubtful) from None
            except StrangerError:
                self._drop()
                raise not_smsd(self.path) from None
            except SmsdError:
                if doubtful:  # it left on the first connection, and there is no second one
                    raise connection_lost(self.path, doubtful) from None
                raise
            except BaseException:
                self._drop()  # an interrupt between question and answer: the answer must not meet the next question
                raise

    def _connected(self, deadline: float) -> Link:
        if self._link is not None and not self._link.idle():
            self._drop()
        if self._link is None:
            self._link = Link(self.path, deadline)
        return self._link

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()
