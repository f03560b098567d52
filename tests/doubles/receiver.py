"""A real HTTP receiver of callbacks on 127.0.0.1, of which each test says what it answers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def status(code: int, *headers: str, body: bytes = b"") -> bytes:
    """An answer."""
    lines = (f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


@dataclass
class Got:
    """One request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    def verified_by(self, secret: str) -> bool:
        """As a receiver finds out; also that it is not older than five minutes."""
        Webhook(secret).verify(self.body, self.headers)
        return True


@dataclass
class Receiver:
    """Listens from start() to stop(); may be started again at the same port."""

    answer: Callable[[Got], bytes | Awaitable[bytes]] = lambda got: OK
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    got: list[Got] = field(default_factory=list)
    open_now: int = 0
    most_at_once: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/told"

    @property
    def ids(self) -> list[str]:
        return [got.id for got in self.got]

    async def start(self) -> Receiver:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Refuse connections, and break those that are there."""
        if self._server is not None:
            self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the caller went, or the test is over
        finally:
            self._tasks.discard(task)
            with suppress(ConnectionError):
                writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        got = Got(head[0], headers, await reader.readexactly(int(headers.get("content-length", "0"))))
        self.got.append(got)
        self.open_now += 1
        self.most_at_once = max(self.most_at_once, self.open_now)
        try:
            said = self.answer(got)
            said = said if isinstance(said, bytes) else await said
        finally:
            self.open_now -= 1
        writer.write(said)
        await writer.drain()
        return True


async def never(got: Got) -> bytes:
    """It does not answer."""
    await asyncio.Event().wait()
    return OK
