"""A provider that is really there: a small carrier on a real socket, which counts and can be told to misbehave.

In a test:        async with StandIn(latency_ms=50) as s: ... s.url, s.calls, s.stats()
As a process:     python -m tests.doubles.stand_in --port 0 --latency-ms 50 --journal FILE    (prints its port)

It speaks Twilio, Dialpad, MessageBird and an API of nobody's (see `stand_in_dialects`), told apart by the path, and
keeps every send in order of arrival with the monotonic time at which its last byte came in. Faults are Rules: the first
rule that matches a send and is not used up decides; where none does, `draw` is asked. A send whose Idempotency-Key it
took before is answered as then and not taken again. It is fast (one asyncio.Protocol on httptools, no framework), so
that a client is measured and not this.

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
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, Self
from urllib.parse import parse_qs

from tests.doubles.stand_in_answers import answer
from tests.doubles.stand_in_connection import Connection
from tests.doubles.stand_in_dialects import ACCOUNT, DIALECTS, TOKEN, TWILIO, Dialect
from tests.doubles.stand_in_rules import Rule, Sent

__all__ = ["ACCOUNT", "TOKEN", "Rule", "Sent", "StandIn", "main"]

DISTINCT = 5_000_000


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
        draw: Callable[[str, str, str], Rule | None] | None = None,
        now: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
        ids_from: int = 0,
    ) -> None:
        self.rules = list(rules)
        self.latency_s = latency_ms / 1_000
        self.rate = rate
        self.retry_after = retry_after
        self.shift_s = shift_s
        """Added to the dates it gives: a provider whose clock is not ours."""
        self.draw = draw
        """(send or list, recipient, text; a list's is empty) -> the fault it meets, if no rule strikes."""
        self.now = now
        """Unix time in seconds."""
        self.tls = tls
        self.ids_from = ids_from
        """So that several give no id twice."""
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
        self.open_connections: set[Connection] = set()
        self._by_to: dict[str, list[Sent]] = {}
        self._by_key: dict[str, Sent] = {}
        self._window: deque[int] = deque()
        self._flush: asyncio.TimerHandle | None = None
        self._zero()

    def _zero(self) -> None:
        self.sends = self.taken = self.throttled = self.lists = self.elsewhere = 0
        self._once: set[int] = set()
        self._again = 0
        self._saturated = 0
        self.replays = 0
        """Sends whose key had been taken before."""

    @property
    def port(self) -> int:
        """Where it listens, or will."""
        if self._server is None:
            assert self._port, "it does not listen yet, and no port was asked for"
            return self._port
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        return f"http{'' if self.tls is None else 's'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def open(self) -> None:
        """Listen; again after `close` at the same port, with all it knew."""
        if self._path is not None:
            self._journal = self._path.open("ab", buffering=1 << 16)
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), "127.0.0.1", self._port, backlog=4_096, ssl=self.tls
        )
        self._port = self.port

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop every connection and listen no more. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.open_connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
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
        self._by_key.clear()
        self._window.clear()
        self._zero()

    def script(self, rules: Iterable[Rule]) -> None:
        """Replace the rules in force."""
        self.rules = list(rules)

    # One send, from form to answer.

    def send(self, dialect: Dialect, body: bytes, key: str, connection: Connection) -> None:
        now = time.monotonic_ns()
        self.sends += 1
        asked = dialect.read(body)
        rule = self._rule("send", asked.to, asked.body, self.sends)
        fault = "" if rule is None else rule.kind
        if not self._within_rate(now):
            rule, fault = Rule("throttle", retry_after=self.retry_after), "rate"
        known = self._by_key.get(key)
        sent = Sent(
            n=self.sends,
            at_ns=now,
            to=asked.to,
            sender=asked.sender,
            body=asked.body,
            sid=dialect.id(self.ids_from + self.sends) if known is None and (rule is None or rule.taken) else None,
            listed=rule is None or rule.listed,
            fault=fault,
            callback=asked.callback,
            created=int(self.now()) + self.shift_s,
            reference=asked.reference,
            key=key,
        )
        self._record(sent)
        self.replays += known is not None
        right = dialect.resource(known or sent)
        if rule is None:
            connection.later(self.latency_s, answer(dialect.created, right))
        else:
            connection.misbehave(rule, dialect, right, dialect.created, self.latency_s)

    def _rule(self, on: str, to: str, body: str, n: int) -> Rule | None:
        for rule in self.rules:
            if rule.strikes(on, to, n):
                if rule.times is not None:
                    rule.times -= 1
                return rule
        return None if self.draw is None else self.draw(on, to, body)

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
            if sent.key:
                self._by_key[sent.key] = sent
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

    def get(self, target: bytes, connection: Connection) -> None:
        path, _, query = target.partition(b"?")
        dialect = next((each for each in DIALECTS if each.is_list(path)), None)
        if dialect is not None:
            fields = {name: values[0] for name, values in parse_qs(query.decode()).items()}
            self.look_up(dialect, fields, connection)
        elif path == b"/_calls":
            connection.later(0, answer(200, json.dumps(self.stats()).encode()))
        elif path == b"/_calls.ndjson":
            lines = b"".join(call.line() for call in self.calls)
            connection.later(0, answer(200, lines, content_type="application/x-ndjson"))
        else:
            self._nowhere(connection)

    def post(self, path: bytes, body: bytes, connection: Connection) -> None:
        if path == b"/_script":
            self.script(Rule(**rule) for rule in json.loads(body))
        elif path == b"/_reset":
            self.reset()
        else:
            self._nowhere(connection)
            return
        connection.later(0, answer(200, b"{}"))

    def _nowhere(self, connection: Connection) -> None:
        self.elsewhere += 1
        connection.later(0, answer(404, TWILIO.error(20404, "not here", 404)))

    def look_up(self, dialect: Dialect, query: dict[str, str], connection: Connection) -> None:
        self.lists += 1
        to = dialect.recipient(query)
        rule = self._rule("list", to, "", self.lists)
        page = dialect.page(query, [sent for sent in reversed(self._by_to.get(to, [])) if sent.listed])
        if rule is None:
            connection.later(self.latency_s, answer(200, page))
        else:
            connection.misbehave(rule, dialect, page, 200, self.latency_s)


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
