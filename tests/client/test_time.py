"""Does a call end when its time is up, and say whether the request may have been taken?"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from smsd.client import (
    AsyncClient,
    Client,
    QueueUnavailable,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import Do, FakeDaemon, wait_for


class TestTime:
    def test_no_answer_in_time_may_have_been_taken(self, make: Any, fake: FakeDaemon) -> None:
        client = make(timeout=0.1)
        fake.script.append(Do.STALL)
        with pytest.raises(QueueUnavailable, match=r"within 0\.1 s") as caught:
            client.send(TO, "Hello", idempotency_key="k")
        assert caught.value.maybe_taken
        fake.script.append(Do.STALL)
        fresh = make(timeout=0.1)
        with pytest.raises(QueueUnavailable) as caught:
            fresh.ping()
        assert not caught.value.maybe_taken

    def test_an_offer_neither_raises_nor_blocks(self, make_socket: Any, fake: FakeDaemon, tmp_path: Path) -> None:
        client = make_socket()
        assert client.offer(TO, "Hello")["ok"] is True
        assert client.offer("nonsense", "Hello")["error"]["code"] == "invalid_recipient"
        assert client.offer(TO, "Hello", metadata={"at": object()})["error"]["code"] == "invalid_value"
        assert make_socket(tmp_path / "none").offer(TO, "Hello")["error"]["code"] == "unreachable"
        fake.script.append(Do.STALL)
        began = time.monotonic()
        assert client.offer(TO, "Hello", timeout=0.1)["error"]["code"] == "outcome_unknown"
        assert time.monotonic() - began < 0.5

    def test_a_full_queue_of_connections_is_waited_for(self, make_socket: Any, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "s"))
            listener.listen(0)
            with socket.socket(socket.AF_UNIX) as first:
                first.connect(str(tmp_path / "s"))
                with pytest.raises(QueueUnavailable, match=r"within 0\.1 s") as caught:
                    make_socket(timeout=0.1).send(TO, "Hello")
        assert not caught.value.maybe_taken

    def test_a_burst_of_connections_is_not_lost_in_a_full_queue(self, fake: FakeDaemon) -> None:
        """Each waiting call connects by itself; the fake's queue holds five."""
        ids = [fake.add()["id"] for _ in range(60)]

        async def burst() -> list[str]:
            async with AsyncClient(fake.path, timeout=5) as client:
                return [each["id"] for each in await asyncio.gather(*(client.get(id, wait="1s") for id in ids))]

        assert asyncio.run(burst()) == ids
        assert len(fake.requests) == 60, "and nothing had to be said twice"

    def test_a_thread_that_waits_for_its_turn_gives_up_in_time(self, fake: FakeDaemon) -> None:
        fake.script.append(Do.STALL)
        with Client(fake.path, timeout=1.0) as client:
            slow = threading.Thread(target=client.offer, args=(TO, "slow"), kwargs={"timeout": 1.0})
            slow.start()
            wait_for(lambda: fake.requests)
            began = time.monotonic()
            assert client.offer(TO, "quick", timeout=0.05)["error"]["code"] == "unreachable"
            assert time.monotonic() - began < 0.5
            slow.join()
