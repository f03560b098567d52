"""How does the stand-in hold one client?

Parses its requests, hands complete ones to their owner and writes, or breaks, the answers. What is sent, taken and
counted is the owner's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Protocol, cast

import httptools

from tests.doubles.stand_in_answers import answer, scripted
from tests.doubles.stand_in_dialects import DIALECTS, Dialect
from tests.doubles.stand_in_rules import Rule


class Owner(Protocol):
    """Whose connections they are."""

    open_connections: set[Connection]
    connections: int
    record_headers: bool
    requests: deque[tuple[str, str, dict[str, str]]]
    shift_s: int

    def send(self, dialect: Dialect, body: bytes, key: str, connection: Connection) -> None:
        """A send came."""
        ...

    def get(self, target: bytes, connection: Connection) -> None:
        """Another GET came."""
        ...

    def post(self, path: bytes, body: bytes, connection: Connection) -> None:
        """Another POST came."""
        ...


class Connection(asyncio.Protocol):
    """One client. Parses, hands complete requests to the StandIn, writes answers."""

    __slots__ = ("_authorized", "_body", "_headers", "_key", "_owner", "_parser", "_target", "_transport")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._parser = httptools.HttpRequestParser(self)
        self._owner.open_connections.add(self)
        self._owner.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner.open_connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort()

    # httptools calls these.

    def on_message_begin(self) -> None:
        self._target = b""
        self._body = b""
        self._authorized = False
        self._key = ""
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        lower = name.lower()
        if lower == b"authorization":
            self._authorized = bool(value)
        elif lower == b"idempotency-key":
            self._key = value.decode()
        if self._owner.record_headers:
            self._headers[lower.decode()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body = body if not self._body else self._body + body

    def on_message_complete(self) -> None:
        owner, target = self._owner, self._target
        post = self._parser.get_method() == b"POST"
        if owner.record_headers:
            owner.requests.append((self._parser.get_method().decode(), target.decode(), self._headers))
        path = target.partition(b"?")[0]
        dialect = next((each for each in DIALECTS if each.is_send(path)), None)
        if dialect is not None and not self._authorized:
            self.later(0, answer(401, dialect.error(20003, "Authenticate", 401)))
        elif post and dialect is not None:
            owner.send(dialect, self._body, self._key, self)
        elif post:
            owner.post(target, self._body, self)
        else:
            owner.get(target, self)

    # Answers.

    def later(self, delay_s: float, data: bytes) -> None:
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self.write, data)
        elif self._transport is not None:
            self._transport.write(data)

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """RST: what a close does when the socket may not linger."""
        if self._transport is not None:
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self._transport.abort()

    def finish(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def misbehave(self, rule: Rule, dialect: Dialect, right: bytes, status: int, latency_s: float) -> None:
        """Do what the rule says; `right` and `status` are what the answer should have been."""
        delay = latency_s + rule.delay_ms / 1_000
        loop = asyncio.get_running_loop()
        match rule.kind:
            case "hang":
                return
            case "reset":
                loop.call_later(delay, self.reset)
            case "close":
                loop.call_later(delay, self.finish)
            case "partial":
                loop.call_later(delay, self.write, answer(status, right)[:-20])
                loop.call_later(delay + 0.02, self.reset)
            case "garbage":
                self.later(delay, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            case "trickle":
                self._trickle(answer(status, right), max(rule.delay_ms, 1) / 1_000)
            case _:
                self.later(delay, scripted(rule, dialect, right, status, self._owner.shift_s))

    def _trickle(self, data: bytes, pause_s: float, at: int = 0) -> None:
        if self._transport is not None and at < len(data):
            self._transport.write(data[at : at + 1])
            asyncio.get_running_loop().call_later(pause_s, self._trickle, data, pause_s, at + 1)
