"""Does a call that waits get its answer when it is there, and hold up nobody meanwhile?"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from smsd.client import AsyncClient, Client, QueueUnavailable, SubmissionInvalid, aio_socket
from smsd.client.words import WAIT_MOST, wait_s
from smsd.core.units import duration_ms
from smsd.listeners.showing import WAIT_MAX_MS
from tests.client.conftest import TO
from tests.client.http_daemon import HttpFront
from tests.doubles.fake_daemon import Do, FakeDaemon, wait_for


@pytest.fixture
def patient(fake: FakeDaemon) -> FakeDaemon:
    fake.patient = True
    return fake


def settle_soon(fake: FakeDaemon, state: str = "sent", seconds: float = 0.05) -> threading.Timer:
    """Settle every message in a moment."""

    def settle() -> None:
        wait_for(lambda: fake.messages)
        for message in fake.messages.values():
            message["state"] = state

    timer = threading.Timer(seconds, settle)
    timer.start()
    return timer


class TestSendNow:
    @pytest.mark.parametrize("state", ["sent", "failed"])
    def test_the_state_reached_is_told(self, make: Any, patient: FakeDaemon, state: str) -> None:
        timer = settle_soon(patient, state)
        began = time.monotonic()
        message = make().send_now(TO, "Hello", wait="5s", ttl="1h")
        timer.join()
        assert (message["state"], message["text"]) == (state, "Hello")
        assert time.monotonic() - began < 3
        assert patient.requests[0].items() >= {"op": "send", "to": TO, "ttl": "1h"}.items()

    def test_one_that_still_waits_is_in_the_queue(self, make: Any, patient: FakeDaemon) -> None:
        assert make().send_now(TO, "Hello", wait="0.05s")["state"] == "pending"
        assert make().send_now(TO, "Hello", wait="0s")["state"] == "pending"

    def test_the_time_of_a_call_does_not_count_the_wait(self, make: Any, patient: FakeDaemon) -> None:
        assert make(timeout=0.3).send_now(TO, "Hello", wait="0.5s")["state"] == "pending"

    @pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
    def test_it_is_repeated_only_with_a_key(self, make: Any, patient: FakeDaemon, do: Do) -> None:
        client = make()
        patient.script.append(do)
        with pytest.raises(QueueUnavailable) as caught:
            client.send_now(TO, "without", wait="0.05s")
        assert caught.value.maybe_taken
        patient.script.append(do)
        assert client.send_now(TO, "with", wait="0.05s", idempotency_key="k")["state"] == "pending"
        texts = [message["text"] for message in patient.messages.values()]
        assert texts.count("with") == 1

    def test_a_daemon_that_goes_after_it_took_the_message(self, make_socket: Any, patient: FakeDaemon) -> None:
        patient.script.extend([Do.PROPERLY, Do.HANG_UP, Do.HANG_UP])
        with pytest.raises(QueueUnavailable, match=r"was accepted as 0192.* and goes on") as caught:
            make_socket().send_now(TO, "Hello")
        assert caught.value.maybe_taken
        assert len(patient.messages) == 1

    @pytest.mark.parametrize("wait", ["", "5", "soon", "-1s", "61s", "1m1s", "0.00001s", "1h", "5S", " 5s"])
    def test_a_wait_that_is_none_is_refused_before_anything_is_sent(
        self, make: Any, fake: FakeDaemon, wait: str
    ) -> None:
        client = make()
        for method, arguments in (("send_now", (TO, "Hello")), ("get", ("x",))):
            with pytest.raises(SubmissionInvalid) as caught:
                getattr(client, method)(*arguments, wait=wait)
            assert caught.value.field == "wait"
        assert fake.requests == []

    @pytest.mark.parametrize(
        "wait", ["500ms", "5s", "1m", "0.5m", "1.5s", "0s", "59s999ms", "60s", "60000ms", "0.0001m"]
    )
    def test_what_it_takes_for_a_wait_the_daemon_takes(self, wait: str) -> None:
        assert wait_s(wait) * 1_000 == pytest.approx(duration_ms(wait))
        assert WAIT_MOST * 1_000 == WAIT_MAX_MS


class TestOthersGoOn:
    def test_threads_of_a_client(self, make_plain: Client, patient: FakeDaemon) -> None:
        id = patient.add()["id"]
        found: list[Any] = []
        waiting = threading.Thread(target=lambda: found.append(make_plain.get(id, wait="5s")))
        waiting.start()
        wait_for(lambda: patient.requests)
        assert make_plain.ping()["pong"]
        assert make_plain.send(TO, "meanwhile")["state"] == "pending"
        assert not found
        patient.messages[id]["state"] = "sent"
        waiting.join()
        assert found[0]["state"] == "sent"

    def test_close_ends_a_wait(self, make_plain: Client, patient: FakeDaemon) -> None:
        id = patient.add()["id"]
        told: list[Any] = []

        def wait() -> None:
            with pytest.raises(QueueUnavailable) as caught:
                make_plain.get(id, wait="30s")
            told.append(caught.value.code)

        waiting = threading.Thread(target=wait)
        waiting.start()
        wait_for(lambda: patient.requests)
        make_plain.close()
        waiting.join(2)
        assert told == ["unreachable"]
        assert make_plain.ping()["pong"], "the next call starts anew"

    async def test_tasks_of_a_client(self, any_async: AsyncClient, patient: FakeDaemon) -> None:
        ids = [patient.add()["id"] for _ in range(6)]
        waits = [asyncio.create_task(any_async.get(id, wait="5s")) for id in ids]
        while len(patient.requests) < 6:
            await asyncio.sleep(0.01)
        pongs = await asyncio.gather(*(any_async.ping() for _ in range(50)))
        assert all(each["pong"] for each in pongs)
        assert not any(task.done() for task in waits)
        for message in patient.messages.values():
            message["state"] = "sent"
        assert {each["state"] for each in await asyncio.gather(*waits)} == {"sent"}

    async def test_a_cancelled_wait_leaves_its_place_to_others(
        self, any_async: AsyncClient, patient: FakeDaemon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(aio_socket, "WAITING", 8)
        ids = [patient.add()["id"] for _ in range(9)]
        waits = [asyncio.create_task(any_async.get(id, wait="30s")) for id in ids]
        while len(patient.requests) < 8:
            await asyncio.sleep(0.01)
        assert len(patient.requests) == 8, "the ninth waits for its turn"
        began = time.monotonic()
        for task in waits[:8]:
            task.cancel()
        patient.messages[ids[8]]["state"] = "sent"
        assert (await waits[8])["state"] == "sent"
        assert time.monotonic() - began < 2
        await asyncio.gather(*waits, return_exceptions=True)
        assert all(task.cancelled() for task in waits[:8])

    async def test_close_ends_waits_and_what_queues_for_a_thread(self, front: HttpFront, patient: FakeDaemon) -> None:
        client = AsyncClient(url=front.url)
        ids = [patient.add()["id"] for _ in range(12)]
        waits = [asyncio.create_task(client.get(id, wait="30s")) for id in ids]
        while len(patient.requests) < 8:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await client.close()
        ends = await asyncio.gather(*waits, return_exceptions=True)
        assert time.monotonic() - began < 2
        assert {type(end) for end in ends} == {QueueUnavailable}
        assert (await client.ping())["pong"], "the next call starts anew"
        await client.close()
        patient.ended.set()
        for thread in threading.enumerate():
            if thread.name.startswith("smsd-"):
                thread.join(2)
                assert not thread.is_alive()


@pytest.fixture(params=["socket", "http"])
def make_plain(request: pytest.FixtureRequest, fake: FakeDaemon) -> Any:
    where = {"url": request.getfixturevalue("front").url} if request.param == "http" else {"socket": fake.path}
    with Client(**where, timeout=5) as client:
        yield client


@pytest.fixture(params=["socket", "http"])
async def any_async(request: pytest.FixtureRequest, fake: FakeDaemon) -> Any:
    where = {"url": request.getfixturevalue("front").url} if request.param == "http" else {"socket": fake.path}
    async with AsyncClient(**where, timeout=5) as client:
        yield client
