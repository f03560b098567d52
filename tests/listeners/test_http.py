"""What do monitors hear over HTTP, and what can a client do there?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from smsd.listeners.http import HttpDoor
from tests.listeners.house import House, running

HOST = "127.0.0.1"


class Reply:
    """One answer, read from the wire."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@asynccontextmanager
async def door(reasons: Any, **settings: Any) -> AsyncIterator[HttpDoor]:
    found = HttpDoor(reasons, **settings)
    await found.listen([(HOST, 0)])
    try:
        yield found
    finally:
        await found.close()


async def raw(found: HttpDoor, data: bytes) -> Reply:
    """What is answered to these bytes."""
    reader, writer = await asyncio.open_connection(*found.addresses[0])
    writer.write(data)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    return Reply(answer)


async def ask(found: HttpDoor, path: str, method: str = "GET") -> Reply:
    return await raw(found, f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())


async def test_healthz_says_that_the_process_answers(house: House) -> None:
    async with door(lambda: ("no_provider",)) as found:
        reply = await ask(found, "/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert reply.headers["content-type"].startswith("application/json")
    assert reply.headers["cache-control"] == "no-store"


async def test_readyz_says_what_stands_in_the_way(house: House) -> None:
    engine = house.engine
    async with door(engine.unready) as found:

        async def is_told(*wanted: str) -> None:
            reply = await ask(found, "/readyz")
            assert reply.status == (503 if wanted else 200)
            assert reply.json == {"status": "unready" if wanted else "ready", "reasons": list(wanted)}
            assert b"main" not in reply.body, "no provider is named"

        await is_told("no_provider")
        await engine.service.resume("main")
        await is_told()
        engine.service.store_full = True
        await is_told("disk_full")
        await engine.drain(0.1)
        await is_told("shutting_down", "disk_full")
        await engine.service.pause("main", "for the test")
        await is_told("shutting_down", "disk_full", "no_provider")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/", 404), ("GET", "/nothing", 404), ("POST", "/healthz", 405), ("DELETE", "/readyz", 405)],
)
async def test_everything_else_is_a_problem(method: str, path: str, status: int) -> None:
    async with door(lambda: ()) as found:
        reply = await ask(found, path, method)
    assert reply.status == status
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert reply.json["status"] == status
    assert set(reply.json) == {"type", "title", "status"}
    assert ("allow" in reply.headers) is (status == 405)


async def test_a_fault_of_the_daemon_tells_no_story(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> tuple[str, ...]:
        raise RuntimeError("a secret of ours")

    async with door(broken) as found:
        reply = await ask(found, "/readyz")
        assert (await ask(found, "/healthz")).status == 200
    assert reply.status == 500
    assert reply.headers["content-type"].startswith("application/problem+json")
    assert reply.json == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert "a secret of ours" in capsys.readouterr().out, "the log has it"


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
    ],
    ids=["target", "field", "no HTTP", "no version"],
)
async def test_a_head_too_large_or_unreadable_is_refused(data: bytes) -> None:
    async with door(lambda: ()) as found:
        reply = await raw(found, data)
        assert reply.status == 400
        assert b"<html" not in reply.body.lower()
        assert b"Traceback" not in reply.body
        assert (await ask(found, "/healthz")).status == 200


async def test_a_slow_client_holds_up_nobody_and_is_closed_in_the_end() -> None:
    async with door(lambda: (), age_s=0.2) as found:
        reader, writer = await asyncio.open_connection(*found.addresses[0])

        async def drip() -> None:
            for byte in b"GET /healthz HTTP/1.1\r\nA: " + b"x" * 1_000:
                writer.write(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        await asyncio.sleep(0.1)
        assert (await ask(found, "/healthz")).status == 200
        async with asyncio.timeout(2):
            await reader.read()
        dripping.cancel()
        writer.close()


async def test_of_too_many_connections_the_newest_is_closed() -> None:
    async with door(lambda: (), connections=3) as found:
        waiting = [await asyncio.open_connection(*found.addresses[0]) for _ in range(3)]
        reader, writer = await asyncio.open_connection(*found.addresses[0])
        async with asyncio.timeout(2):
            assert await reader.read() == b""
        waiting[0][1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await waiting[0][0].readline()).startswith(b"HTTP/1.1 200")
        for _, each in [*waiting, (reader, writer)]:
            each.close()


async def test_an_address_that_is_taken_is_an_error(tmp_path: Path) -> None:
    async with door(lambda: ()) as found, running(tmp_path):
        other = HttpDoor(lambda: ())
        with pytest.raises(OSError, match="in use"):
            await other.listen(found.addresses)
        await other.close()
