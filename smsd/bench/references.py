"""What would the machine allow, if smsd cost nothing?

Bare programs that do one part each of what the daemon does, with the same libraries and the same neighbours: a commit
by sqlite3, a POST by aiohttp, a line decoded from a socket, a POST taken by aiohttp.web. The daemon's figures divided
by these say how much of the machine it uses; they move with the machine, so they are measured in the same run.

    python -m smsd.bench.references posts URL SECONDS      (prints requests a second)
    python -m smsd.bench.references lines PATH             (prints `ready`, answers until standard input ends)
    python -m smsd.bench.references web                    (prints its port, answers until standard input ends)
    python -m smsd.bench.references http                   (the same, by hand)

The doors made by hand (lines, http) also say what the load generators can do: no figure taken with one can be greater.
"""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import sys
import time
from pathlib import Path
from typing import Final, cast
from urllib.parse import urlencode

import aiohttp
import msgspec
import uvloop
from aiohttp.web import Application, AppRunner, Request, Response
from yarl import URL

from smsd.bench.http11 import HEAD_END, content_length
from smsd.bench.load import recipient, text
from smsd.bench.stand_in import ACCOUNT, SENDER, TOKEN

WORKERS: Final = 64
WARM_S: Final = 0.3
NOBODY: Final = 1
"""The message number of calls that only measure; no load uses it."""


def commits(path: Path, seconds: float) -> float:
    """Commits a second of one row each, into a new database in WAL mode with synchronous=FULL."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE message (seq INTEGER PRIMARY KEY, recipient TEXT, text TEXT)")
        row = (recipient(NOBODY), text(NOBODY))
        count, began = 0, time.monotonic()
        while (passed := time.monotonic() - began) < seconds:
            connection.execute("INSERT INTO message (recipient, text) VALUES (?, ?)", row)
            count += 1
    finally:
        connection.close()
    return count / passed


async def posts(url: str, seconds: float) -> float:
    """Requests a second by one aiohttp session with WORKERS calls in flight; body and headers are encoded once."""
    form = {"To": recipient(NOBODY), "From": SENDER, "Body": text(NOBODY)}
    body = urlencode(form).encode()
    credentials = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/x-www-form-urlencoded"}
    target = URL(url, encoded=True)
    count = 0

    async def call(session: aiohttp.ClientSession, until: float) -> None:
        nonlocal count
        while time.monotonic() < until:
            async with session.post(target, data=body, headers=headers, allow_redirects=False) as response:
                await response.read()
            count += 1

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        for span in (WARM_S, seconds):
            count, began = 0, time.monotonic()
            await asyncio.gather(*(call(session, began + span) for _ in range(WORKERS)))
        return count / (time.monotonic() - began)


class Submission(msgspec.Struct):
    """As much of a submission as a line must have."""

    to: str
    text: str


class Door(asyncio.Protocol):
    """One client: decode each line into its type, answer all that came together in one write."""

    def __init__(self) -> None:
        self._rest = b""
        self._decode = msgspec.json.Decoder(Submission).decode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._transport.write(b"".join([b'{"ok":true,"to":"%s"}\n' % self._decode(each).to.encode() for each in lines]))


async def lines(path: str) -> None:
    """Serve the bare door until standard input ends."""
    server = await asyncio.get_running_loop().create_unix_server(Door, path)
    await _serve(server, "ready")


class HttpDoor(asyncio.Protocol):
    """One client: decode each message that is posted, alone or in a batch, and answer it.

    A batch is answered while it is read, all lines that came together in one chunk.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._left = 0
        """Bytes of a batch that have not come."""
        self._decode = msgspec.json.Decoder(Submission).decode

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it

    def data_received(self, data: bytes) -> None:
        if self._left:
            self._some(data)
            return
        data = self._rest + data
        end = data.find(HEAD_END) + len(HEAD_END)
        length = content_length(data[:end]) if end >= len(HEAD_END) else 0
        if length and data.startswith(b"POST /v1/messages/batch "):
            self._left, self._rest = length, b""
            self._transport.write(_BATCH_HEAD)
            self._some(data[end:])
        elif length and len(data) >= end + length:
            self._rest = b""
            answer = self._answer(data[end:])
            self._transport.write(_POST_HEAD % len(answer) + answer)
        else:
            self._rest = data

    def _some(self, data: bytes) -> None:
        """A piece of a batch, cut anywhere."""
        self._left -= len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        answers = b"".join([self._answer(each) for each in lines])
        chunk = b"%x\r\n%s\r\n" % (len(answers), answers) if answers else b""
        self._transport.write(chunk if self._left else chunk + b"0\r\n\r\n")

    def _answer(self, message: bytes) -> bytes:
        return b'{"ok":true,"to":"%s"}\n' % self._decode(message).to.encode()


_POST_HEAD: Final = b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_BATCH_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"


async def http() -> None:
    """Serve the bare HTTP door until standard input ends."""
    server = await asyncio.get_running_loop().create_server(HttpDoor, "127.0.0.1", 0)
    await _serve(server, str(server.sockets[0].getsockname()[1]))


async def web() -> None:
    """Serve single posts by aiohttp.web until standard input ends."""
    decode = msgspec.json.Decoder(Submission).decode

    async def post(request: Request) -> Response:
        answer = b'{"ok":true,"to":"%s"}\n' % decode(await request.read()).to.encode()
        return Response(status=202, body=answer, content_type="application/json")

    app = Application()
    app.router.add_post("/v1/messages", post)
    runner = AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None, "setup() has made it"
    server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
    await _serve(server, str(server.sockets[0].getsockname()[1]))
    await runner.cleanup()


async def _serve(server: asyncio.Server, words: str) -> None:
    print(words, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    server.close()


def main() -> None:
    """The process."""
    match sys.argv[1:]:
        case ["posts", url, seconds]:
            print(uvloop.run(posts(url, float(seconds))), flush=True)
        case ["lines", path]:
            uvloop.run(lines(path))
        case ["web"]:
            uvloop.run(web())
        case ["http"]:
            uvloop.run(http())
        case _:
            sys.exit("usage: python -m smsd.bench.references posts URL SECONDS | lines PATH | web | http")


if __name__ == "__main__":
    main()
