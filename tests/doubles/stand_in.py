"""A provider that is really there: a small Twilio on a real socket, which counts and can be told to misbehave.

In a test:        async with StandIn(latency_ms=50) as s: ... s.url, s.calls, s.stats()
As a process:     python -m tests.doubles.stand_in --port 0 --latency-ms 50 --journal FILE    (prints its port)

It speaks Twilio's two endpoints for messages (send and list) and keeps every send in order of arrival with the
monotonic time at which its last byte came in. Faults are Rules: the first rule that matches a send and is not used up
decides. It is fast (one asyncio.Protocol on httptools, no framework), so that a client is measured and not this.

Bounds: `keep` calls are kept for reading and for the list (older ones are forgotten, their counts are not); the
journal file keeps all. What was taken is told apart by recipient and text up to DISTINCT of them; then `saturated` is 1
and the counts `distinct` and `again` stand still. It is not made for clients that pipeline.

    GET  /_calls           counts, as `stats()`
    GET  /_calls.ndjson    the calls kept, one JSON object a line
    POST /_script          a JSON array of rules (the fields of Rule) replaces those in force
    POST /_reset           forget calls and counts; rules stay
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Any, BinaryIO, Self, cast
from urllib.parse import parse_qs, unquote_to_bytes

import httptools
import msgspec

ACCOUNT = "AC" + "0" * 32
TOKEN = "stand-in-token"

DISTINCT = 5_000_000

KINDS = frozenset(
    {
        "ok",  # no fault: use it with `listed=False` or `delay_ms`
        "answer",  # status, headers, body as given
        "code",  # Twilio's error body with `code` and `status`
        "throttle",  # 429 with code 20429; retry_after: "" none, "30", or "date" (30 s after the Date header)
        "hang",  # never answers
        "reset",  # RST after the request was read
        "close",  # FIN after the request was read
        "partial",  # status line, headers, half of the body, then RST
        "html",  # a proxy's 502 page
        "malformed",  # 201 with JSON that ends too early
        "garbage",  # bytes that are not HTTP
        "redirect",  # 307 to /elsewhere
        "oversized",  # 201 with 1 MiB of JSON
        "trickle",  # the right answer, one byte each `delay_ms`
    }
)


@dataclass(slots=True)
class Rule:
    """A fault, and the requests it strikes. All given conditions must hold; none given: every send."""

    kind: str
    on: str = "send"
    """"send" or "list"."""
    to: str | None = None
    """Recipient (E.164)."""
    nth: int | None = None
    """Only the n-th send (or list) of all, counted from 1."""
    every: int | None = None
    """Only each n-th."""
    times: int | None = None
    """How often it strikes before it is used up; None: for ever."""
    taken: bool = False
    """Whether the message is taken all the same (sent on, and in the list)."""
    listed: bool = True
    """False: a message that was taken is missing from the list."""
    delay_ms: int = 0
    status: int = 400
    code: int = 21211
    message: str = "scripted"
    retry_after: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""
    hex: str = ""
    """The body as hexadecimal digits, when it is not text."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: {self.kind!r} is none of {', '.join(sorted(KINDS))}")
        if self.kind in {"ok", "oversized", "malformed", "trickle"}:
            self.taken = True

    def strikes(self, on: str, to: str, n: int) -> bool:
        return (
            self.times != 0
            and self.on == on
            and self.to in {None, to}
            and self.nth in {None, n}
            and (self.every is None or n % self.every == 0)
        )


class Sent(msgspec.Struct, gc=False):
    """One send as it arrived. `sid` is None when it was not taken."""

    n: int
    at_ns: int
    """CLOCK_MONOTONIC when the last byte of the request was read."""
    to: str
    sender: str
    body: str
    sid: str | None
    listed: bool
    fault: str
    """Kind of the rule that struck, "throttle" for the rate, "" for none."""
    callback: str
    created: int
    """Unix time in seconds."""

    def line(self) -> bytes:
        return msgspec.json.encode(self) + b"\n"


class StandIn:
    """The server. `rate=(n, window_ms)`: a send that would be the n+1-th in any such window is refused with 429."""

    def __init__(
        self,
        *rules: Rule,
        latency_ms: float = 0,
        rate: tuple[int, int] | None = None,
        retry_after: str = "",
        port: int = 0,
        journal: Path | None = None,
        keep: int = 200_000,
        shift_s: int = 0,
    ) -> None:
        self.rules = list(rules)
        self.latency_s = latency_ms / 1_000
        self.rate = rate
        self.retry_after = retry_after
        self.shift_s = shift_s
        """Added to the dates it gives: a provider whose clock is not ours."""
        self.calls: deque[Sent] = deque(maxlen=keep)
        self.requests: deque[tuple[str, str, dict[str, str]]] = deque(maxlen=1_000)
        """(method, target, headers) of the last 1,000 requests, headers only when `record_headers`."""
        self.record_headers = False
        self.connections = 0
        """Opened so far."""
        self._port = port
        self._keep = keep
        self._path = journal
        self._journal: BinaryIO | None = None
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()
        self._by_to: dict[str, list[Sent]] = {}
        self._window: deque[int] = deque()
        self._flush: asyncio.TimerHandle | None = None
        self._zero()

    def _zero(self) -> None:
        self.sends = self.taken = self.throttled = self.lists = self.elsewhere = 0
        self._once: set[int] = set()
        self._again = 0
        self._saturated = 0

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        if self._path is not None:
            self._journal = self._path.open("ab", buffering=1 << 16)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=4_096)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.abort()
        await self._server.wait_closed()
        if self._flush is not None:
            self._flush.cancel()
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def stats(self) -> dict[str, int]:
        """sends: arrived; taken; distinct: different (to, body) among the taken; again: taken that were not the first
        of their (to, body); throttled: refused by the rate; lists: look-ups; elsewhere: requests to other paths."""
        return {
            "sends": self.sends,
            "taken": self.taken,
            "distinct": len(self._once),
            "again": self._again,
            "saturated": self._saturated,
            "throttled": self.throttled,
            "lists": self.lists,
            "elsewhere": self.elsewhere,
            "connections": self.connections,
        }

    def taken_calls(self) -> list[Sent]:
        return [call for call in self.calls if call.sid is not None]

    def reset(self) -> None:
        """Forget calls and counts; rules stay."""
        self.calls.clear()
        self._by_to.clear()
        self._window.clear()
        self._zero()

    def script(self, rules: Iterable[Rule]) -> None:
        """Replace the rules in force."""
        self.rules = list(rules)

    # One send, from form to answer.

    def send(self, form: dict[bytes, bytes], connection: _Connection) -> None:
        now = time.monotonic_ns()
        self.sends += 1
        to = form.get(b"To", b"").decode()
        rule = self._rule("send", to, self.sends)
        fault = "" if rule is None else rule.kind
        if not self._within_rate(now):
            rule, fault = Rule("throttle", retry_after=self.retry_after), "rate"
        sent = Sent(
            n=self.sends,
            at_ns=now,
            to=to,
            sender=(form.get(b"From") or form.get(b"MessagingServiceSid", b"")).decode(),
            body=form.get(b"Body", b"").decode(),
            sid=f"SM{self.sends:032x}" if rule is None or rule.taken else None,
            listed=rule is None or rule.listed,
            fault=fault,
            callback=form.get(b"StatusCallback", b"").decode(),
            created=int(time.time()) + self.shift_s,
        )
        self._record(sent)
        if rule is None:
            connection.later(self.latency_s, _resource(sent))
        else:
            connection.misbehave(rule, _resource_json(sent), 201, self.latency_s)

    def _rule(self, on: str, to: str, n: int) -> Rule | None:
        for rule in self.rules:
            if rule.strikes(on, to, n):
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None

    def _within_rate(self, now: int) -> bool:
        if self.rate is None:
            return True
        limit, window_ms = self.rate
        while self._window and self._window[0] <= now - window_ms * 1_000_000:
            self._window.popleft()
        if len(self._window) >= limit:
            self.throttled += 1
            return False
        self._window.append(now)
        return True

    def _record(self, sent: Sent) -> None:
        if len(self.calls) == self._keep:
            self._forget(self.calls[0])
        self.calls.append(sent)
        if sent.sid is not None:
            self.taken += 1
            key = hash((sent.to, sent.body))
            if len(self._once) == DISTINCT:
                self._saturated = 1
            elif key in self._once:
                self._again += 1
            else:
                self._once.add(key)
            self._by_to.setdefault(sent.to, []).append(sent)
        if self._journal is not None:
            self._journal.write(sent.line())
            if self._flush is None:
                self._flush = asyncio.get_running_loop().call_later(0.02, self._flush_journal)

    def _forget(self, sent: Sent) -> None:
        same = self._by_to.get(sent.to)
        if same and same[0] is sent:
            same.pop(0)
            if not same:
                del self._by_to[sent.to]

    def _flush_journal(self) -> None:
        self._flush = None
        if self._journal is not None:
            self._journal.flush()

    # Everything that is not a send.

    def get(self, target: bytes, connection: _Connection) -> None:
        path, _, query = target.partition(b"?")
        if path.endswith(b"/Messages.json"):
            self.look_up({name: values[0] for name, values in parse_qs(query.decode()).items()}, connection)
        elif path == b"/_calls":
            connection.later(0, _answer(200, json.dumps(self.stats()).encode()))
        elif path == b"/_calls.ndjson":
            lines = b"".join(call.line() for call in self.calls)
            connection.later(0, _answer(200, lines, content_type="application/x-ndjson"))
        else:
            self.elsewhere += 1
            connection.later(0, _answer(404, _error(20404, "not here", 404)))

    def post(self, path: bytes, body: bytes, connection: _Connection) -> None:
        if path == b"/_script":
            self.script(Rule(**rule) for rule in json.loads(body))
        elif path == b"/_reset":
            self.reset()
        else:
            self.elsewhere += 1
            connection.later(0, _answer(404, _error(20404, "not here", 404)))
            return
        connection.later(0, _answer(200, b"{}"))

    def look_up(self, query: dict[str, str], connection: _Connection) -> None:
        self.lists += 1
        rule = self._rule("list", query.get("To", ""), self.lists)
        if rule is None:
            connection.later(self.latency_s, _answer(200, self._page(query)))
        else:
            connection.misbehave(rule, self._page(query), 200, self.latency_s)

    def _page(self, query: dict[str, str]) -> bytes:
        """The list: newest first, `PageSize` of them, with Twilio's envelope."""
        size = int(query.get("PageSize", "50"))
        sender = query.get("From")
        known: Iterator[Sent] = reversed(self._by_to.get(query.get("To", ""), []))
        items = [sent for sent in known if sent.listed and (sender is None or sender == sent.sender)]
        body = {
            "messages": [json.loads(_resource_json(sent)) for sent in items[:size]],
            "page": 0,
            "page_size": size,
            "next_page_uri": "/2010-04-01/next" if len(items) > size else None,
        }
        return json.dumps(body).encode()


class _Connection(asyncio.Protocol):
    """One client. Parses, hands complete requests to the StandIn, writes answers."""

    __slots__ = ("_authorized", "_body", "_headers", "_owner", "_parser", "_target", "_transport")

    def __init__(self, owner: StandIn) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not derived from it
        self._parser = httptools.HttpRequestParser(self)
        self._owner._open.add(self)
        self._owner.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._owner._open.discard(self)

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
        self._headers: dict[str, str] = {}

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"Authorization" or name.lower() == b"authorization":
            self._authorized = value.startswith(b"Basic ")
        if self._owner.record_headers:
            self._headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body = body if not self._body else self._body + body

    def on_message_complete(self) -> None:
        owner, target = self._owner, self._target
        post = self._parser.get_method() == b"POST"
        if owner.record_headers:
            owner.requests.append((self._parser.get_method().decode(), target.decode(), self._headers))
        if target.startswith(b"/2010-04-01/Accounts/") and not self._authorized:
            self.later(0, _answer(401, _error(20003, "Authenticate", 401)))
        elif post and target.startswith(b"/2010-04-01/Accounts/") and target.endswith(b"/Messages.json"):
            owner.send(_form(self._body), self)
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

    def misbehave(self, rule: Rule, right: bytes, status: int, latency_s: float) -> None:
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
                loop.call_later(delay, self.write, _answer(status, right)[:-20])
                loop.call_later(delay + 0.02, self.reset)
            case "garbage":
                self.later(delay, b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            case "trickle":
                self._trickle(_answer(status, right), max(rule.delay_ms, 1) / 1_000)
            case _:
                self.later(delay, _scripted(rule, right, status, self._owner.shift_s))

    def _trickle(self, data: bytes, pause_s: float, at: int = 0) -> None:
        if self._transport is not None and at < len(data):
            self._transport.write(data[at : at + 1])
            asyncio.get_running_loop().call_later(pause_s, self._trickle, data, pause_s, at + 1)


def _scripted(rule: Rule, right: bytes, status: int, shift_s: int) -> bytes:
    """The bytes of a fault that is an answer."""
    match rule.kind:
        case "ok":
            return _answer(status, right)
        case "answer":
            return _answer(rule.status, bytes.fromhex(rule.hex) or rule.body.encode(), headers=rule.headers)
        case "code":
            return _answer(rule.status, _error(rule.code, rule.message, rule.status), headers=rule.headers)
        case "throttle":
            now = time.time() + shift_s
            wait = formatdate(now + 30, usegmt=True) if rule.retry_after == "date" else rule.retry_after
            headers = {"Date": formatdate(now, usegmt=True)} | ({"Retry-After": wait} if wait else {})
            return _answer(429, _error(20429, "Too many requests", 429), headers=headers)
        case "html":
            page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
            return _answer(502, page, content_type="text/html")
        case "malformed":
            return _answer(status, right[:-40])
        case "redirect":
            return _answer(307, b"", headers={"Location": "/elsewhere?secret=1"})
        case "oversized":
            return _answer(status, right[:-1] + b',"padding":"' + b"x" * (1 << 20) + b'"}')
    raise AssertionError(rule.kind)


_REASONS = {200: "OK", 201: "Created", 307: "Temporary Redirect", 429: "Too Many Requests", 502: "Bad Gateway"}


def _answer(
    status: int, body: bytes, *, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> bytes:
    fields = {"Content-Type": content_type} | (headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _error(code: int, message: str, status: int) -> bytes:
    more = f"https://www.twilio.com/docs/errors/{code}"
    return json.dumps({"code": code, "message": message, "more_info": more, "status": status}).encode()


_RESOURCE = (
    b'{"account_sid":"%s","api_version":"2010-04-01","body":%s,"date_created":"%s","date_sent":null,"date_updated":"%s",'
    b'"direction":"outbound-api","error_code":null,"error_message":null,"from":"%s","messaging_service_sid":null,'
    b'"num_media":"0","num_segments":"1","price":null,"price_unit":"USD","sid":"%s","status":"queued",'
    b'"subresource_uris":{"media":"/2010-04-01/Accounts/%s/Messages/%s/Media.json"},"to":"%s",'
    b'"uri":"/2010-04-01/Accounts/%s/Messages/%s.json"}'
)
_HEAD = (
    b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n"
    b"Twilio-Request-Id: RQ%032x\r\nContent-Length: %d\r\n\r\n"
)
_AC = ACCOUNT.encode()
_date: tuple[int, bytes] = (0, b"")


def _resource_json(sent: Sent) -> bytes:
    """Twilio's message resource."""
    global _date  # noqa: PLW0603 -- one date a second is formatted, not one a message
    if _date[0] != sent.created:
        _date = (sent.created, formatdate(sent.created).replace("-0000", "+0000").encode())
    date, sid = _date[1], (sent.sid or "SM" + "0" * 32).encode()
    text, sender, to = msgspec.json.encode(sent.body), sent.sender.encode(), sent.to.encode()
    return _RESOURCE % (_AC, text, date, date, sender, sid, _AC, sid, to, _AC, sid)


def _resource(sent: Sent) -> bytes:
    body = _resource_json(sent)
    return _HEAD % (sent.n, len(body)) + body


def _form(body: bytes) -> dict[bytes, bytes]:
    pairs = (pair.partition(b"=") for pair in body.split(b"&"))
    return {name: unquote_to_bytes(value.replace(b"+", b" ")) for name, _, value in pairs}


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stand_in", description="A provider that is really there.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--keep", type=int, default=200_000)
    parser.add_argument("--rate", help="N/MS: refuse with 429 what exceeds N in any MS milliseconds")
    parser.add_argument("--retry-after", default="")
    parser.add_argument("--script", default="[]", help="JSON array of rules")
    return parser.parse_args(argv)


async def _serve(arguments: argparse.Namespace) -> None:
    rate: Any = tuple(int(part) for part in arguments.rate.split("/")) if arguments.rate else None
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with StandIn(
        *(Rule(**rule) for rule in json.loads(arguments.script)),
        latency_ms=arguments.latency_ms,
        rate=rate,
        retry_after=arguments.retry_after,
        port=arguments.port,
        journal=arguments.journal,
        keep=arguments.keep,
    ) as stand_in:
        print(stand_in.port, flush=True)
        await stopped.wait()


def main(argv: list[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    with contextlib.suppress(ImportError):
        import uvloop

        uvloop.run(_serve(_arguments(argv)))
        return
    asyncio.run(_serve(_arguments(argv)))


if __name__ == "__main__":
    main(sys.argv[1:])
