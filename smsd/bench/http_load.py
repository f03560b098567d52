"""How fast do clients hand messages over by HTTP?

    python -m smsd.bench.http_load --port N --token T --first N --count N [--batch] [--connections N]

Single posts: `--connections` kept-alive connections, each with one request under way, share the messages. A batch: one
request, its answers read while it is written. Otherwise it is as the generator for the socket (load): everything is
encoded before it begins, it prints `ready`, waits for a line, and last prints its Result; refusals are counted, and
the first is kept as it came.

It speaks HTTP by hand: a library's client costs as much as the server it asks, and would be measured with it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final, cast

import uvloop

from smsd.bench.http11 import HEAD_END, Chunks, content_length
from smsd.bench.load import BLOCK, Answers, Result, flood, line

HOST: Final = "127.0.0.1"
POSTS: Final = "/v1/messages"
BATCH: Final = "/v1/messages/batch"
CONNECTIONS: Final = 32

_ACCEPTED: Final = b"HTTP/1.1 202 "
_BEGUN: Final = b"HTTP/1.1 200 "
_CHUNKED: Final = b"transfer-encoding: chunked"


def head(path: str, port: int, token: str, kind: str, length: int) -> bytes:
    """The head of a POST with a body of `length` bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


# -- single posts


class Posts:
    """What the connections share: the requests that are left, and what became of the others."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._left: Iterator[bytes] = iter(requests)
        self._count = len(requests)
        self.result = Result()
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def take(self) -> bytes | None:
        """The next request; None when all have left."""
        return next(self._left, None)

    def answered(self, answer: bytes) -> None:
        """A whole answer came."""
        result = self.result
        result.answered += 1
        if not answer.startswith(_ACCEPTED):
            result.refused += 1
            result.refusal = result.refusal or _in_one_line(answer)
        if result.answered == self._count:
            result.ended = time.monotonic_ns()
            self.done.set_result(None)

    def lost(self) -> None:
        """A connection is gone. ConnectionResetError for who awaits `done`, unless all was answered."""
        if not self.done.done():
            self.done.set_exception(ConnectionResetError("the daemon closed a connection"))


class Connection(asyncio.Protocol):
    """One client: a request, its answer, the next request."""

    def __init__(self, posts: Posts) -> None:
        self._posts = posts
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one without inheriting from it

    def next(self) -> None:
        """Send one, if any is left."""
        request = self._posts.take()
        if request is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END) or len(data) < end + content_length(data[:end]):
            self._rest = data
            return
        self._rest = b""
        self._posts.answered(data)
        self.next()

    def connection_lost(self, exc: Exception | None) -> None:
        self._posts.lost()


async def post_all(port: int, requests: Sequence[bytes], connections: int) -> Result:
    """Connect, say `ready`, wait for a line, post all. ConnectionResetError when the daemon closes a connection."""
    loop = asyncio.get_running_loop()
    posts = Posts(requests)
    made = [(await loop.create_connection(lambda: Connection(posts), HOST, port))[1] for _ in range(connections)]
    if not _told():
        return posts.result
    posts.result.began = time.monotonic_ns()
    for each in made:
        each.next()
    await posts.done
    return posts.result


# -- a batch


class BatchAnswers(Answers):
    """Counts result lines in the answer to a batch."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self._head: bytes | None = b""
        """What came of it; None when it is over."""
        self._chunks = Chunks()

    def feed(self, data: bytes) -> None:
        """Some bytes as they came. ConnectionResetError at the stream's end, ValueError for another answer."""
        if data and self._head is not None:
            self._head += data
            head, found, data = self._head.partition(HEAD_END)
            if not found:
                return
            if not head.startswith(_BEGUN) or _CHUNKED not in head.lower():
                raise ValueError(f"the batch was answered with {_in_one_line(head + b' ' + data)}")
            self._head = None
            if not data:
                return
        content = self._chunks.feed(data)
        if content or not data:
            super().feed(content)


def batch(port: int, token: str, lines: Sequence[bytes]) -> Result:
    """Connect, say `ready`, wait for a line, post all in one request."""
    blocks = [b"".join(lines[at : at + BLOCK]) for at in range(0, len(lines), BLOCK)]
    begin = head(BATCH, port, token, "application/x-ndjson", sum(map(len, blocks)))
    with socket.create_connection((HOST, port)) as connection:
        if not _told():
            return Result()
        return flood(connection, [begin, *blocks], len(lines), BatchAnswers)


def _in_one_line(answer: bytes) -> str:
    return " ".join(answer.decode(errors="replace").split())


def _told() -> bool:
    """Whether somebody, who was told that we are ready, wants us to go."""
    print("ready", flush=True)
    return bool(sys.stdin.readline())


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="smsd.bench.http_load", description="Clients of the daemon's HTTP routes.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--batch", action="store_true", help="one request instead of one a message")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    given = parser.parse_args()
    lines = [line(number, {}) for number in range(given.first, given.first + given.count)]
    if given.batch:
        result = batch(given.port, given.token, lines)
    else:
        requests = [head(POSTS, given.port, given.token, "application/json", len(each)) + each for each in lines]
        result = uvloop.run(post_all(given.port, requests, given.connections))
    print(json.dumps(asdict(result)), flush=True)


if __name__ == "__main__":
    main()
