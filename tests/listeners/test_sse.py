"""Following events over HTTP, by real connections."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web

from smsd.core.events import Event, Kind
from smsd.core.message import Priority
from smsd.core.verdict import Category
from smsd.engine.stream import Stream, Wanted
from smsd.listeners.callers import ProblemError
from smsd.listeners.events import event_view
from smsd.listeners.http.problems import problem
from smsd.listeners.http.sse import BATCH, EventStreams
from tests.listeners.house import until

AT = 1_790_000_000_000
RUN = "0123abcd"
Block = dict[str, str]


class Follower:
    """One client: what comes, block by block."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.status = 0
        self.headers: dict[str, str] = {}
        self._left = b""

    async def head(self) -> None:
        async with asyncio.timeout(10):
            first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    async def raw_block(self) -> str:
        """The next block with its comments; raises EOFError at the end."""
        while b"\n\n" not in self._left:
            async with asyncio.timeout(10):
                size = int(await self._reader.readline() or b"0", 16)
                if not size:
                    raise EOFError
                self._left += (await self._reader.readexactly(size + 2))[:-2]
        block, _, self._left = self._left.partition(b"\n\n")
        return block.decode()

    async def block(self) -> Block:
        """The next block as a browser reads it."""
        lines = (await self.raw_block()).split("\n")
        fields = (line.partition(": ") for line in lines if not line.startswith(":"))
        return {name: value for name, _, value in fields}

    async def event(self) -> tuple[str, Any]:
        """The next event: id and document; places and pauses are passed over."""
        while "data" not in (block := await self.block()):
            pass
        document = json.loads(block["data"])
        assert document["event"] == block["event"]
        return block.get("id", ""), document


class Door:
    """A bare HTTP server with nothing but the streams."""

    def __init__(self, **bounds: Any) -> None:
        self.stream = Stream(RUN, size=bounds.pop("ring", 4_096))
        self.streams = EventStreams(self.stream, **bounds)
        self._open: list[Follower] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        tenant = request.query.get("tenant")
        after = request.query.get("after")
        try:
            return await self.streams.stream_events(request, tenant or "admin", Wanted(tenant), after)
        except ProblemError as error:
            return problem(*error.faults)

    async def follow(self, query: str = "", *, buffer: int | None = None, **headers: str) -> Follower:
        """Connect and ask; back when the head has come."""
        sock = socket.socket()
        sock.setblocking(False)
        if buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        follower = Follower(*await asyncio.open_connection(sock=sock, limit=1 << 16))
        self._open.append(follower)
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        follower.writer.write(f"GET /v1/events{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
        await follower.head()
        return follower

    def publish(self, n: int, tenant: str = "shop", **fields: object) -> None:
        self.stream(Event(Kind.MESSAGE_SENT, AT, {"id": f"m{n}", "tenant": tenant, "n": n, **fields}))


@asynccontextmanager
async def opened(**bounds: Any) -> AsyncIterator[Door]:
    door = Door(**bounds)
    app = web.Application()
    app.router.add_get("/v1/events", door.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    door.port = runner.addresses[0][1]
    try:
        yield door
    finally:
        door.stream.close()
        for follower in door._open:
            follower.writer.close()
        await runner.cleanup()


async def test_events_come_as_they_happen() -> None:
    async with opened() as door:
        door.publish(0)
        follower = await door.follow()
        assert (follower.status, follower.headers["content-type"]) == (200, "text/event-stream")
        assert follower.headers["cache-control"] == "no-store"
        assert await follower.block() == {"retry": "2000", "id": f"{RUN}-1"}
        door.publish(1)
        door.publish(2)
        assert await follower.block() == {
            "id": f"{RUN}-2",
            "event": "message.sent",
            "data": json.dumps(
                {
                    "id": f"{RUN}-2",
                    "event": "message.sent",
                    "at": "2026-09-21T14:13:20.000Z",
                    "data": {"id": "m1", "tenant": "shop", "n": 1},
                },
                separators=(",", ":"),
            ),
        }
        assert (await follower.event())[1]["data"]["n"] == 2


async def test_a_client_that_reconnects_misses_nothing() -> None:
    async with opened() as door:
        follower = await door.follow()
        door.publish(0)
        last, _ = await follower.event()
        follower.writer.close()
        for n in range(1, 250):
            door.publish(n)
        again = await door.follow(f"?after={RUN}-0", Last_Event_ID=last)
        assert [(await again.event())[1]["data"]["n"] for _ in range(249)] == list(range(1, 250))
        first = await door.follow(f"?after={RUN}-0")
        assert (await first.event())[1]["data"]["n"] == 0


async def test_what_is_no_longer_held_is_told() -> None:
    async with opened(ring=3) as door:
        for n in range(5):
            door.publish(n)
        follower = await door.follow(f"?after={RUN}-1")
        assert await follower.event() == ("", {"event": "stream.lost"})
        assert [(await follower.event())[1]["data"]["n"] for _ in range(3)] == [2, 3, 4]
        other_run = await door.follow("?after=ffffffff-1")
        assert await other_run.event() == ("", {"event": "stream.lost"})


async def test_a_tenant_is_shown_its_own() -> None:
    async with opened() as door:
        follower = await door.follow("?tenant=shop")
        door.publish(0, "other")
        door.stream(Event(Kind.PROVIDER_HALTED, AT, {"provider": "main"}))
        door.publish(1, "shop")
        assert (await follower.event())[1]["data"]["n"] == 1


async def test_a_silent_stream_says_that_it_lives_and_how_far_it_is() -> None:
    async with opened(heartbeat_s=0.02) as door:
        follower = await door.follow("?tenant=shop")
        await follower.block()
        door.publish(0, "other")
        while (block := await follower.raw_block()) != f":\nid: {RUN}-1":
            assert block == f":\nid: {RUN}-0"


async def test_there_are_no_more_streams_than_places() -> None:
    async with opened(most=3, most_of_one=2, heartbeat_s=0.02) as door:
        followers = [await door.follow("?tenant=shop") for _ in range(2)]
        third = await door.follow("?tenant=shop")
        assert (third.status, third.headers["retry-after"]) == (429, "5")
        assert (await door.follow("?tenant=other")).status == 200
        assert (await door.follow("?tenant=third")).status == 429
        followers[0].writer.close()
        await until(lambda: door.streams.open == 2)
        assert (await door.follow("?tenant=shop")).status == 200


async def test_a_client_that_does_not_read_is_dropped_and_others_are_served() -> None:
    async with opened(patience_s=0.3, ring=4_096) as door:
        deaf = await door.follow("?tenant=shop", buffer=4_096)
        alert = await door.follow("?tenant=other")
        await alert.block()
        cast(asyncio.Transport, deaf.writer.transport).pause_reading()
        n = 0
        async with asyncio.timeout(10):
            while door.streams.open == 2:
                for _ in range(BATCH):
                    n += 1
                    door.publish(n, padding="x" * 1_000)
                door.publish(n, "other")
                assert (await alert.event())[1]["data"]["n"] == n
        assert door.streams.open == 1
        again = await door.follow(f"?tenant=shop&after={RUN}-{max(0, door.stream._newest - 50)}")
        assert (await again.event())[1]["data"]["n"] > 0


async def test_at_the_end_every_stream_ends_with_what_happened() -> None:
    async with opened() as door:
        followers = [await door.follow() for _ in range(3)]
        for n in range(2 * BATCH):
            door.publish(n)
        door.stream(Event(Kind.DAEMON_STOPPED, AT, {"open_attempts": 0}))
        door.stream.close()
        for follower in followers:
            assert [(await follower.event())[1]["data"]["n"] for _ in range(2 * BATCH)] == [*range(2 * BATCH)]
            assert (await follower.event())[1]["event"] == "daemon.stopped"
            with pytest.raises(EOFError):
                await follower.event()
        await until(lambda: door.streams.open == 0)


def test_an_event_is_shown_without_numbers_and_in_values_of_json(tmp_path: Path) -> None:
    event = Event(
        Kind.PROVIDER_COOLDOWN,
        AT,
        {
            "to": "+14155550123",
            "error": "+14155550123 is not a number; ask +442071838750",
            "until": AT + 1,
            "attempt": 2,
            "category": Category.NETWORK,
            "priority": Priority.HIGH,
            "provider": None,
            "http": ["127.0.0.1:7670", "+14155550123"],
            "path": tmp_path,
            "done": True,
        },
    )
    view = event_view(f"{RUN}-1", event)
    assert (view.id, view.event, view.at) == (f"{RUN}-1", "provider.cooldown", "2026-09-21T14:13:20.000Z")
    assert view.data == {
        "to": "+1415*****23",
        "error": "+1415*****23 is not a number; ask +4420******50",
        "until": "2026-09-21T14:13:20.001Z",
        "attempt": 2,
        "category": "NETWORK",
        "priority": "high",
        "provider": None,
        "http": ["127.0.0.1:7670", "+1415*****23"],
        "path": str(tmp_path),
        "done": True,
    }
