"""A running daemon in this process: the real engine and outbox behind a real socket, and a client that sends bytes."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC
from pathlib import Path
from typing import Any, TypeVar, cast

from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.admission import AdmissionRules
from smsd.core.limits import Rule
from smsd.core.message import Draft, Instant, Message
from smsd.core.pacing import Pace
from smsd.core.quiet import QuietBook
from smsd.core.retry import RetryRules
from smsd.engine.bus import Bus
from smsd.engine.configuration import Plan
from smsd.engine.engine import Engine
from smsd.engine.setting import Setting
from smsd.engine.settler import RetryBook
from smsd.listeners.connection import Limits
from smsd.listeners.unix import Peers, UnixDoor, bind
from smsd.providers.sandbox import Sandbox
from smsd.store import AcceptResult, Blocked, Claim, StoreError, WrongState
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.clock import ManualClock
from tests.doubles.laid import lay
from tests.doubles.scripted import ScriptedExchange

T = TypeVar("T")

Json = dict[str, Any]

NUMBER = "+14155550123"

NOBODY = -2
"""An own uid that is nobody's, so that only root is an admin."""


class Outbox(SqliteOutbox):
    """The real one, with a hand on its tap: commits can be held back, and faults put in their place."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, on_fatal=lambda error: None)
        self.path = path
        self.fault: StoreError | None = None
        """What acceptances and changes meet instead of a commit."""
        self.held: list[tuple[Draft, Callable[[AcceptResult], None]]] | None = None
        """Acceptances that wait for `release`; None: they pass."""
        self.gate = asyncio.Event()
        """Cancels and retries wait for it, once committed."""
        self.gate.set()
        self.changes = 0
        self.claims = asyncio.Event()
        """Claims wait for it before they are made."""
        self.claims.set()

    def accept(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        if self.fault is not None:
            asyncio.get_running_loop().call_soon(done, self.fault)
        elif self.held is not None:
            self.held.append((draft, done))
        else:
            super().accept(draft, done)

    def release(self, count: int | None = None) -> None:
        """Let so many (all) of the held acceptances go on."""
        assert self.held is not None
        going, self.held = self.held[:count], self.held[len(self.held[:count]) :]
        for draft, done in going:
            super().accept(draft, done)

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        await self.claims.wait()
        return await super().begin(claims, now)

    async def cancel(self, id: str, tenant: str | None, now: Instant) -> Message | WrongState | None:
        return await self._after(super().cancel(id, tenant, now))

    async def reopen(
        self,
        id: str,
        tenant: str | None,
        now: Instant,
        expires_at: Instant,
        force: bool,
        due: Instant | None = None,
    ) -> Message | WrongState | None:
        return await self._after(super().reopen(id, tenant, now, expires_at, force, due))

    async def _after(self, change: Coroutine[Any, Any, T]) -> T:
        if self.fault is not None:
            change.close()
            raise self.fault
        found = await change
        self.changes += 1
        await self.gate.wait()
        return found


class Client:
    """A raw client: bytes out, lines in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def raw(self, data: bytes) -> None:
        """Send these bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def say(self, *requests: Json) -> None:
        """Send requests in one write."""
        await self.raw(b"".join(json.dumps(each).encode() + b"\n" for each in requests))

    async def answer(self) -> Json:
        """The next answer."""
        async with asyncio.timeout(10):
            line = await self.reader.readline()
        assert line.endswith(b"\n"), f"the connection ended: {line!r}"
        found: Json = json.loads(line)
        return found

    async def answers(self, count: int) -> list[Json]:
        """The next answers."""
        return [await self.answer() for _ in range(count)]

    async def ask(self, **request: Any) -> Json:
        """One request and its answer."""
        await self.say(request)
        return await self.answer()

    async def send(self, text: str = "hello", **fields: Any) -> Json:
        """Submit a message."""
        return await self.ask(to=NUMBER, text=text, **fields)

    async def ends(self) -> bytes:
        """What comes until the end of the connection."""
        async with asyncio.timeout(10):
            return await self.reader.read()

    def deafen(self) -> None:
        """Read no more."""
        cast(asyncio.Transport, self.writer.transport).pause_reading()

    def listen(self) -> None:
        """Read again."""
        cast(asyncio.Transport, self.writer.transport).resume_reading()

    def finish(self) -> None:
        """Say no more; still listen."""
        self.writer.write_eof()

    def vanish(self) -> None:
        """Be gone."""
        self.writer.transport.abort()


class House:
    """The engine and its door. The provider is paused: messages stay pending until `engine.service.resume("main")`."""

    def __init__(
        self,
        directory: Path,
        limits: Limits,
        peers: Peers,
        max_backlog: int,
        rules: ProviderRules,
        quiet: QuietBook | None = None,
        bounds: tuple[Rule, ...] = (),
    ) -> None:
        self.path = directory / "smsd.sock"
        self.clock = ManualClock()
        self.outbox = Outbox(directory / "outbox.db")
        self.deaths: list[BaseException] = []
        numbers = itertools.count(1)
        self.engine = Engine(
            Plan(
                settings=(Setting("main", Sandbox("main"), rules),),
                rules=MessageRules(profiles={"quick": 3}, quiet=quiet),
                admission=AdmissionRules(bounds, quiet),
                retries=RetryBook(RetryRules(jitter="none"), {"quick": RetryRules(max_attempts=3)}),
                zone=UTC,
                max_backlog=max_backlog,
            ),
            self.outbox,
            ScriptedExchange(),
            self.clock,
            Bus(),
            lambda: 0.5,
            lambda: f"01a2049a-0000-7000-8000-{next(numbers):012d}",
            self.deaths.append,
        )
        self._limits = limits
        self._peers = peers
        self._clients: list[Client] = []

    async def open(self, mode: int) -> None:
        """Start, and listen on `path`."""
        lay(self.outbox.path)
        await self.engine.start()
        await self.engine.service.pause("main", "for the test")
        self.door = UnixDoor(self.engine.service, self._peers, self._limits)
        await self.door.listen([bind(self.path, mode, None)])

    async def close(self) -> None:
        """Stop."""
        for each in self._clients:
            each.vanish()
        await self.door.close(0.2)
        await self.engine.stop()
        assert self.deaths == []

    async def client(self) -> Client:
        """Connect."""
        found = Client(*await asyncio.open_unix_connection(self.path, limit=1 << 24))
        self._clients.append(found)
        return found


@asynccontextmanager
async def running(
    directory: Path,
    *,
    limits: Limits | None = None,
    own_uid: int = NOBODY,
    admin_gid: int | None = None,
    mode: int = 0o600,
    max_backlog: int = 1_000_000,
    rules: ProviderRules | None = None,
    quiet: QuietBook | None = None,
    bounds: tuple[Rule, ...] = (),
) -> AsyncIterator[House]:
    """A House from start to stop. `bounds`: its `[[limits]]`."""
    peers = Peers(own_uid, admin_gid)
    house = House(directory, limits or Limits(), peers, max_backlog, rules or ProviderRules(Pace()), quiet, bounds)
    await house.open(mode)
    try:
        yield house
    finally:
        await house.close()


def code(answer: Json) -> str:
    """The code of an error answer; "" of one that worked."""
    return "" if answer["ok"] else str(answer["error"]["code"])


def resident() -> int:
    """Bytes of this process's memory that are resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def until(fact: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(seconds):
        while not fact():
            await asyncio.sleep(0.002)
