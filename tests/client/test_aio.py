"""Does one AsyncClient serve tasks, cancelled calls and two event loops without mixing up answers?"""

from __future__ import annotations

import asyncio

import pytest

from smsd.client import (
    AsyncClient,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import FakeDaemon


class TestAsyncOnly:
    async def test_tasks_share_one_connection(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            results = await asyncio.gather(*(client.send(TO, f"{n}") for n in range(1_000)))
        assert len({result["id"] for result in results}) == 1_000
        assert len(fake.connections) == 1
        assert [request["text"] for request in fake.requests] == [f"{n}" for n in range(1_000)]

    async def test_a_cancelled_call_does_not_shift_answers(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            await client.ping()
            abandoned = asyncio.create_task(client.send(TO, "abandoned"))
            await asyncio.sleep(0)
            abandoned.cancel()
            assert (await client.stats())["uptime_s"] == 3725
            with pytest.raises(asyncio.CancelledError):
                await abandoned
            assert len(fake.connections) == 1

    async def test_leaving_a_stream_early_leaves_nothing_behind(self, fake: FakeDaemon) -> None:
        async with AsyncClient(fake.path) as client:
            stream = client.send_many({"to": TO, "text": f"{n}"} for n in range(50))
            async for result in stream:
                assert result["ok"]
                break
            await stream.aclose()  # type: ignore[attr-defined]  # it is an async generator
            assert (await client.ping())["pong"]
            assert len(asyncio.all_tasks()) <= 2, "this test and the connection's reader"

    def test_one_client_in_two_loops(self, fake: FakeDaemon) -> None:
        client = AsyncClient(fake.path)

        async def several() -> int:
            return len(await asyncio.gather(*(client.ping() for _ in range(5))))

        assert asyncio.run(several()) == asyncio.run(several()) == 5
        assert len(fake.connections) == 2
