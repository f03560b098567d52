"""The HTTP door in this process, and a client that sends bytes and reads answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access, Token
from smsd.listeners.http.door import HttpDoor, HttpLimits
from tests.listeners.house import NUMBER, House

HOST = "127.0.0.1"
ALL = frozenset(Scope)
ANYBODY = Access(anonymous=ALL)
MIB = 1 << 20


def token(name: str, *scopes: Scope, tenant: str = "", secret: str = "") -> Token:
    """A token whose text is its name, unless another secret is given."""
    return Token(name, hashlib.sha256((secret or name).encode()).digest(), frozenset(scopes or Scope), tenant)


class Reply:
    """One answer, read from the wire."""

    def __init__(self, head: bytes, body: bytes) -> None:
        first, *fields = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields if field)}
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[tuple[str | None, str]]:
        """Field and code of every fault of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        assert self.json["status"] == self.status
        return [(each["field"], each["code"]) for each in self.json["errors"]]


class HttpClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def say(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)

    async def reply(self, method: str = "GET") -> Reply:
        """The next answer."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
            found = Reply(head, b"")
            if method == "HEAD" or found.status == 100:
                return found
            if found.headers.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readline(), 16):
                    found.body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readline()
            else:
                found.body = await self.reader.readexactly(int(found.headers["content-length"]))
            return found

    async def ends(self) -> bytes:
        """What comes until the end of the connection."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    def deafen(self) -> None:
        """Read no more."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def listen(self) -> None:
        """Read again."""
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    async def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One request and its answer. A body that is no bytes is sent as JSON; None: none."""
        self.say(request(method, path, body, headers))
        return await self.reply(method)


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a request; its body is JSON unless it is bytes already."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": HOST}
    if method not in {"GET", "HEAD"}:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    fields |= headers or {}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value), "", ""]
    return "\r\n".join(lines).encode() + data


class Rig:
    """The door and its clients."""

    def __init__(self, house: House, door: HttpDoor) -> None:
        self.house = house
        self.door = door
        self._clients: list[HttpClient] = []

    async def client(self) -> HttpClient:
        """Connect."""
        found = HttpClient(*await asyncio.open_connection(*self.door.addresses[0]))
        self._clients.append(found)
        return found

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request on a connection of its own."""
        found = await self.client()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await found.ask(method, path, body, names)

    async def raw(self, data: bytes) -> Reply:
        """What is answered to these bytes."""
        found = await self.client()
        found.say(data)
        return await found.reply()

    async def send(self, text: str = "hello", **fields: Any) -> str:
        """Submit a message; its id."""
        reply = await self.ask("POST", "/v1/messages", {"to": NUMBER, "text": text, **fields})
        assert reply.status == 202, reply.body
        return str(reply.json["id"])

    def vanish(self) -> None:
        """All clients are gone."""
        for each in self._clients:
            each.writer.transport.abort()


@asynccontextmanager
async def serving(
    house: House, access: Access = ANYBODY, *, max_body: int = MIB, limits: HttpLimits | None = None
) -> AsyncIterator[Rig]:
    """A Rig from start to stop."""
    door = HttpDoor(house.engine.service, house.engine.unready, access, max_body=max_body, limits=limits)
    await door.listen([(HOST, 0)])
    rig = Rig(house, door)
    try:
        yield rig
    finally:
        rig.vanish()
        await door.close(0.2)
