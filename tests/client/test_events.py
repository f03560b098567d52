"""Does a reader of events get each once and in order, over losses and restarts, until the client is closed?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from smsd.client import AsyncClient, Client, LimitExceeded, NotAllowed, QueueUnavailable, SmsdError
from smsd.client.following import LOST, Following
from tests.client.http_daemon import HttpFront
from tests.doubles.fake_daemon import Do, FakeDaemon, RefusedError, wait_for


@pytest.fixture(params=["socket", "http"])
def where(request: pytest.FixtureRequest, fake: FakeDaemon) -> dict[str, Any]:
    fake.patient = True
    return {"url": request.getfixturevalue("front").url} if request.param == "http" else {"socket": fake.path}


class Reading:
    """A thread that reads events until they end."""

    def __init__(self, client: Client, **options: Any) -> None:
        self.seen: list[str] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, args=(client, options))
        self._thread.start()

    def _read(self, client: Client, options: dict[str, Any]) -> None:
        try:
            for event in client.events(**options):
                self.seen.append(str(event.get("id", event["event"])))
        except SmsdError as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(3)
        assert not self._thread.is_alive()


class TestSync:
    def test_they_come_as_they_happen_and_end_when_closed(self, where: dict[str, Any], fake: FakeDaemon) -> None:
        fake.happen("message.accepted")
        client = Client(**where)
        reading = Reading(client, kinds="message.*")
        wait_for(lambda: len(fake.requests) == 2)
        assert reading.seen == [], "it begins now"
        assert client.ping()["pong"], "it has a connection of its own"
        fake.happen("message.sent")
        wait_for(lambda: reading.seen)
        fake.happen("message.sent")
        wait_for(lambda: len(reading.seen) == 2)
        client.close()
        reading.join()
        assert (reading.seen, reading.error) == (["0badcafe-2", "0badcafe-3"], None)
        told = [{name: value for name, value in each.items() if name != "ref"} for each in fake.requests[:2]]
        assert told[0] == {"op": "events", "kinds": "message.*"}
        assert told[1] == {"op": "events", "kinds": "message.*", "after": "0badcafe-1", "wait": "20s"}

    def test_it_goes_on_after_a_loss_where_it_was(self, where: dict[str, Any], fake: FakeDaemon) -> None:
        for _ in range(3):
            fake.happen("message.sent")
        with Client(**where) as client:
            events = client.events(after="0badcafe-0")
            assert [next(events)["id"] for _ in range(3)] == ["0badcafe-1", "0badcafe-2", "0badcafe-3"]
            fake.script.extend([Do.HANG_UP] * 4)
            fake.happen("message.sent")
            assert next(events)["id"] == "0badcafe-4"
            fake.lose_events = True
            fake.happen("message.sent")
            assert next(events) == LOST
            assert next(events)["id"] == "0badcafe-5"
            events.close()  # type: ignore[attr-defined]  # it is a generator

    def test_it_waits_for_a_daemon_that_is_away(self, tmp_path: Path) -> None:
        with Client(tmp_path / "s") as client:
            with FakeDaemon(tmp_path / "s") as first:
                first.patient = True
                first.happen("message.sent")
                reading = Reading(client, after="0badcafe-0")
                wait_for(lambda: reading.seen)
            (tmp_path / "s").unlink()
            time.sleep(0.15)  # some tries meet nobody
            with FakeDaemon(tmp_path / "s") as second:
                second.patient = True
                second.happened = list(first.happened)
                second.happen("message.failed")
                wait_for(lambda: len(reading.seen) == 2)
                client.close()
                reading.join()
        assert reading.seen == ["0badcafe-1", "0badcafe-2"]

    def test_a_daemon_that_never_answered_is_told(
        self, tmp_path: Path, where: dict[str, Any], fake: FakeDaemon
    ) -> None:
        with Client(tmp_path / "none") as client, pytest.raises(QueueUnavailable):
            next(iter(client.events()))
        fake.refuse["events"] = RefusedError("not_allowed", "No.")
        with Client(**where) as client, pytest.raises(NotAllowed):
            next(iter(client.events()))


class TestAsync:
    async def test_tasks_read_while_others_call(self, where: dict[str, Any], fake: FakeDaemon) -> None:
        client = AsyncClient(**where)
        seen: list[str] = []

        async def read() -> None:
            async for event in client.events():
                seen.append(event["id"])  # noqa: PERF401 - one by one, as a program sees them

        reading = [asyncio.create_task(read()) for _ in range(3)]
        while len(fake.requests) < 6:
            await asyncio.sleep(0.01)
        for n in range(3):
            fake.happen("message.sent")
            while len(seen) < 3 * (n + 1):
                assert (await client.ping())["pong"]
                await asyncio.sleep(0.01)
        began = time.monotonic()
        await client.close()
        await asyncio.gather(*reading)
        assert time.monotonic() - began < 2
        assert sorted(seen) == sorted(["0badcafe-1", "0badcafe-2", "0badcafe-3"] * 3)

    async def test_a_reader_that_is_cancelled_lets_go_of_its_connection(
        self, where: dict[str, Any], fake: FakeDaemon
    ) -> None:
        async with AsyncClient(**where) as client:
            for n in range(12):  # more than there are threads: each must be free again
                before = len(fake.requests)
                reading = asyncio.create_task(_first(client))
                while len(fake.requests) < before + 2:
                    await asyncio.sleep(0.005)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
                assert n < 12
            assert (await client.ping())["pong"]


def test_a_program_ends_though_nobody_closed(front: HttpFront, fake: FakeDaemon) -> None:
    """asyncio.run() closes the generator, and so its thread is free; else the interpreter waited for it."""
    fake.patient = True

    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", ENDS, front.url], check=True, timeout=20, capture_output=True, text=True
    )
    assert done.stdout == "waiting\n"
    assert time.monotonic() - began < 5, "the poll itself takes 20 s"


ENDS = """
import asyncio, sys
from smsd.client import AsyncClient
async def main():
    stream = AsyncClient(url=sys.argv[1]).events()
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.3)
    print("waiting" if not waiting.done() else waiting.result())
asyncio.run(main())
"""


async def _first(client: AsyncClient) -> Any:
    async for event in client.events():
        return event
    return None


class TestPauses:
    def test_they_grow_and_begin_anew(self) -> None:
        following = Following("0badcafe-7", None)
        gone = QueueUnavailable("unreachable", "Gone.")
        with pytest.raises(QueueUnavailable):
            following.failed(gone)
        following.take({"events": [], "last": "0badcafe-9", "lost": False})
        assert [following.failed(gone) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
        assert following.failed(LimitExceeded("limit_exceeded", "Many.", retry_after=60)) == 5.0
        following.take({"events": [], "last": "0badcafe-9", "lost": False})
        assert following.failed(QueueUnavailable("shutting_down", "Ends.", retry_after=2)) == 2
        assert following.request() == {"op": "events", "after": "0badcafe-9", "wait": "20s"}
        with pytest.raises(NotAllowed):
            following.failed(NotAllowed("not_allowed", "No."))
