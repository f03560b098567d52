"""Does one Client serve threads, a fork and an interrupted call without mixing up answers?"""

from __future__ import annotations

import signal
import sys
import threading
from subprocess import run

import pytest

from smsd.client import (
    Client,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import Do, FakeDaemon


def test_threads_share_a_client(fake: FakeDaemon) -> None:
    with Client(fake.path) as client:
        seen: list[bool] = []

        def work(n: int) -> None:
            for _ in range(20):
                id = client.send(TO, f"from {n}")["id"]
                seen.append(client.get(id)["text"] == f"from {n}")

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen == [True] * 80


def test_a_forked_process_has_a_connection_of_its_own(fake: FakeDaemon) -> None:
    code = (
        "import os, sys\n"
        "from smsd.client import Client\n"
        "client = Client(sys.argv[1], timeout=10)\n"
        "client.ping()\n"
        "if (child := os.fork()) == 0:\n"
        "    ok = client.ping()['pong']\n"
        "    os._exit(0 if ok else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert client.ping()['pong']\n"
        "client.close()\n"
    )
    run([sys.executable, "-c", code, str(fake.path)], check=True, timeout=20)
    assert len(fake.connections) == 2


def test_an_interrupted_call_does_not_shift_answers(fake: FakeDaemon) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    fake.script.append(Do.STALL)
    with Client(fake.path, timeout=5) as client:
        try:
            with pytest.raises(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                client.ping()
        finally:
            signal.signal(signal.SIGALRM, before)
        assert client.stats()["uptime_s"] == 3725
    assert len(fake.connections) == 2
