"""Does a batch stay whole, quick and small when it is very long, whoever sends it?

The long ones are by clients that are really used: curl, and one that reads as it writes. urllib, which writes
everything before it reads, has its run at the real process (tests/daemon/test_batch_http.py).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from smsd.listeners.http.batch import BatchLimits
from tests.listeners.batch_rig import JSON, NDJSON, Door, door, exchange, good, keyed, line, lines, parse, raw, stored
from tests.listeners.house import House, resident, running, until

MANY = 60_000

GROWTH = 60 << 20
"""What the process may grow by: the engine's 20,000 tickets and SQLite's cache. The answers alone are 27
MiB, the body another 14."""


class Watched:
    """Runs one exchange of MANY lines and looks at what it costs meanwhile."""

    def __init__(self, found: Door) -> None:
        self._found = found
        self._least = resident()
        self.growth = 0
        self._began = time.perf_counter()

    def look(self) -> None:
        self.growth = max(self.growth, resident() - self._least)

    async def command(self, *command: str) -> None:
        """Wait for its end."""
        process = await asyncio.create_subprocess_exec(*command)
        ending = asyncio.ensure_future(process.wait())
        while not ending.done():
            self.look()
            await asyncio.wait([ending], timeout=0.05)
        assert process.returncode == 0

    def report(self, client: str) -> None:
        """Say it, and judge the memory."""
        took = time.perf_counter() - self._began
        print(f"\n{client}: {MANY / took:,.0f} lines/s; grew by {self.growth / 2**20:.1f} MiB")
        assert self.growth < GROWTH
        assert self._found.idle


async def test_curl_sends_an_array(house: House, tmp_path: Path) -> None:
    body, answer = tmp_path / "body", tmp_path / "answer"
    body.write_bytes(b"[" + b",\n".join(line(n) for n in range(MANY)) + b"]")
    async with door(house) as found:
        watched = Watched(found)
        headers = ["-H", f"Content-Type: {JSON}"]
        await watched.command("curl", "-sSfN", *headers, "--data-binary", f"@{body}", "-o", str(answer), found.url)
        assert good(parse(answer.read_bytes()), MANY)
        watched.report("curl")
    assert stored(tmp_path) == MANY


async def test_a_client_that_reads_as_it_writes(house: House, tmp_path: Path) -> None:
    async def body() -> AsyncIterator[bytes]:
        for first in range(0, MANY, 500):
            yield b"".join(line(n) + b"\n" for n in range(first, first + 500))

    async with door(house) as found, aiohttp.ClientSession() as session:
        watched = Watched(found)
        count = 0
        async with session.post(found.url, data=body(), headers={"Content-Type": NDJSON}) as answer:
            while data := await answer.content.readline():
                each = json.loads(data)
                assert each["ok"] and each["index"] == count
                count += 1
                if count % 5_000 == 0:
                    watched.look()
        assert count == MANY
        watched.report("aiohttp")
    assert stored(tmp_path) == MANY


async def test_a_cut_and_a_repeat_double_nothing(house: House, tmp_path: Path) -> None:
    count = 5_000
    body = keyed(count)
    async with door(house) as found:
        async with raw(found) as client:
            await client.say(body[: len(body) * 2 // 3])
            await client.head()
            await client.chunk()
        await until(lambda: found.idle)
        before = stored(tmp_path)
        assert 0 < before < count
        answers = await exchange(found, body)
        assert good(answers, count)
        assert sum(each["replayed"] for each in answers) == before
        assert stored(tmp_path) == count
        assert len({each["id"] for each in answers}) == count


async def test_fifty_at_once(house: House, tmp_path: Path) -> None:
    async with door(house) as found:
        mixed = [
            exchange(found, lines(400))
            if n % 2
            else exchange(found, b"[" + b",".join(line(n) for n in range(400)) + b"]", content_type=JSON)
            for n in range(50)
        ]
        for answers in await asyncio.gather(*mixed):
            assert good(answers, 400)
        assert found.idle
    assert stored(tmp_path) == 20_000


async def test_nobody_waits_behind_one_who_never_reads(tmp_path: Path) -> None:
    async with running(tmp_path) as house, door(house, BatchLimits(unread=100_000)) as found, raw(found) as deaf:
        deaf.transport.pause_reading()

        async def flood() -> None:
            while True:
                await deaf.say(lines(2_000))

        flooding = asyncio.ensure_future(flood())
        await until(lambda: found.limits.together.unread >= 100_000, seconds=20)
        began = time.perf_counter()
        for answers in await asyncio.gather(*(exchange(found, lines(200)) for _ in range(10))):
            assert good(answers, 200)
        assert time.perf_counter() - began < 5
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
