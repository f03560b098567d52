"""The batch route alone, behind a real HTTP server, in front of a running house; and bodies for it."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from smsd.listeners.callers import Caller, ProblemError, Scope
from smsd.listeners.http.batch import BatchLimits, batch
from tests.listeners.house import House

Json = dict[str, Any]

NDJSON = "application/x-ndjson"
JSON = "application/json"
HOST = "127.0.0.1"
SMALL = 8_192
CALLER = Caller("token shop", "shop", frozenset({Scope.SEND}))


class Door:
    """Where the batch route is, and what its handlers met."""

    def __init__(self, house: House, limits: BatchLimits, caller: Caller) -> None:
        self.service = house.engine.service
        self.limits = limits
        self.caller = caller
        self.port = 0
        self.running: set[asyncio.Task[Any]] = set()
        """Requests that are being handled."""
        self.faults: list[Exception] = []

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}/v1/messages/batch"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.running.add(task)
        try:
            return await batch(request, self.caller, self.service, self.limits)
        except ProblemError as problem:
            return web.json_response({"code": problem.faults[0].code, "field": problem.faults[0].field}, status=422)
        except Exception as error:
            self.faults.append(error)
            raise
        finally:
            self.running.discard(task)

    @property
    def idle(self) -> bool:
        """Whether nothing is left of any batch."""
        together = self.limits.together
        return not (self.running or together.in_flight or together.unread or together.waiting)


@asynccontextmanager
async def door(
    house: House, limits: BatchLimits | None = None, caller: Caller = CALLER, *, small: bool = False
) -> AsyncIterator[Door]:
    """The route from start to stop; no request of it may have met a fault. `small`: the system buffers next to nothing
    for it."""
    found = Door(house, limits or BatchLimits(), caller)
    app = web.Application()
    app.router.add_post("/v1/messages/batch", found.handle)
    runner = web.AppRunner(app, access_log=None, lingering_time=0, shutdown_timeout=0.1)
    await runner.setup()
    listening = socket.socket()
    listening.bind((HOST, 0))
    if small:
        _shrink(listening)
    await web.SockSite(runner, listening).start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()
    assert not found.faults
    assert not found.running


def _shrink(each: socket.socket) -> None:
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        each.setsockopt(socket.SOL_SOCKET, option, SMALL)


class Raw:
    """A client that decides what is sent when, and reads when it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @property
    def transport(self) -> asyncio.Transport:
        return cast(asyncio.Transport, self.writer.transport)

    async def say(self, data: bytes) -> None:
        """One chunk of the body."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        await self.writer.drain()

    def finish(self) -> None:
        """The end of the body."""
        self.writer.write(b"0\r\n\r\n")

    async def head(self) -> bytes:
        """The head of the answer."""
        async with asyncio.timeout(10):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """One chunk of the answer; b"" at its end."""
        async with asyncio.timeout(10):
            size = int(await self.reader.readline(), 16)
            data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def lines(self) -> list[Json]:
        """All of the answer to its proper end."""
        found = bytearray()
        while data := await self.chunk():
            found += data
        return parse(bytes(found))

    async def ended(self) -> bytes:
        """What comes until the connection closes or is reset."""
        found = bytearray()
        async with asyncio.timeout(10):
            try:
                while data := await self.reader.read(65_536):
                    found += data
            except ConnectionError:
                pass
        return bytes(found)


@asynccontextmanager
async def raw(found: Door, content_type: str = NDJSON, *, small: bool = False, **headers: str) -> AsyncIterator[Raw]:
    """A client that has sent the head of its request. `small`: as of `door`."""
    connection = socket.socket()
    connection.setblocking(False)
    if small:
        _shrink(connection)
    await asyncio.get_running_loop().sock_connect(connection, (HOST, found.port))
    reader, writer = await asyncio.open_connection(sock=connection)
    lines = [
        "POST /v1/messages/batch HTTP/1.1",
        f"Host: {HOST}",
        f"Content-Type: {content_type}",
        "Transfer-Encoding: chunked",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


async def exchange(found: Door, *parts: bytes, content_type: str = NDJSON) -> list[Json]:
    """Send a body in these parts, then read the answer."""
    async with raw(found, content_type) as client:
        for part in parts:
            await client.say(part)
        client.finish()
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert b"content-type: application/x-ndjson\r\n" in head.lower()
        return await client.lines()


def parse(body: bytes) -> list[Json]:
    """The result lines."""
    assert not body or body.endswith(b"\n"), body[-200:]
    return [json.loads(line) for line in body.splitlines()]


def line(n: int, **fields: Any) -> bytes:
    """A submission that no other is like."""
    return json.dumps({"to": f"+1201{2_000_000 + n % 7_000_000}", "text": f"quagga {n}", **fields}).encode()


def lines(count: int, **fields: Any) -> bytes:
    """So many."""
    return b"".join(line(n, **fields) + b"\n" for n in range(count))


def keyed(count: int) -> bytes:
    """So many, each with an idempotency key."""
    return b"".join(line(n, idempotency_key=f"key {n}") + b"\n" for n in range(count))


def good(answers: Sequence[Json], count: int) -> bool:
    """Whether so many were accepted and answered in their order."""
    in_order = [each["index"] for each in answers] == list(range(count))
    return in_order and all(each["ok"] and each["state"] == "pending" for each in answers)


def stored(house_directory: Path) -> int:
    """Messages on disk."""
    with sqlite3.connect(f"file:{house_directory / 'outbox.db'}?mode=ro", uri=True) as connection:
        (count,) = connection.execute("SELECT count(*) FROM messages").fetchone()
    connection.close()
    return int(count)
