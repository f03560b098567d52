"""Does the client say what happened to a request when the connection is lost, and never guess?"""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from smsd.client import (
    QueueUnavailable,
    SmsdError,
)
from tests.client.conftest import TO
from tests.doubles.fake_daemon import Do, FakeDaemon


class TestALostConnection:
    def test_a_restart_between_two_calls_is_not_noticed(self, make_socket: Any, tmp_path: Path) -> None:
        client = make_socket()
        with FakeDaemon(tmp_path / "s") as first:
            client.send(TO, "one")
            assert len(first.requests) == 1
        (tmp_path / "s").unlink()
        with FakeDaemon(tmp_path / "s") as second:
            client.send(TO, "two")
            assert [request["text"] for request in second.requests] == ["two"]

    @pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
    def test_a_send_without_a_key_is_never_repeated(self, make: Any, fake: FakeDaemon, do: Do) -> None:
        fake.script.append(do)
        with pytest.raises(QueueUnavailable) as caught:
            make().send(TO, "Hello")
        assert caught.value.maybe_taken
        assert "same idempotency key" in str(caught.value)
        assert len(fake.requests) == 1

    @pytest.mark.parametrize("do", [Do.HANG_UP, Do.ACT_AND_HANG_UP])
    def test_a_send_with_a_key_is_repeated_once(self, make: Any, fake: FakeDaemon, do: Do) -> None:
        fake.script.append(do)
        accepted = make().send(TO, "Hello", idempotency_key="k")
        assert accepted["replayed"] is (do is Do.ACT_AND_HANG_UP)
        assert len(fake.requests) == 2
        assert len(fake.messages) == 1

    def test_a_second_loss_is_told(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.extend([Do.HANG_UP, Do.HANG_UP])
        with pytest.raises(QueueUnavailable) as caught:
            make().send(TO, "Hello", idempotency_key="k")
        assert caught.value.maybe_taken
        assert len(fake.requests) == 2

    def test_a_daemon_that_goes_for_good_leaves_doubt(self, make_socket: Any, tmp_path: Path) -> None:
        """The first connection took the line, the second is refused: what became of the first is not known."""
        path = tmp_path / "s"
        client = make_socket()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            ending = threading.Thread(target=_take_one_line_and_end, args=(listener,))
            ending.start()
            with pytest.raises(QueueUnavailable) as caught:
                client.send(TO, "Hello", idempotency_key="k")
            ending.join()
        assert caught.value.maybe_taken

    def test_reads_are_repeated_and_never_in_doubt(self, make: Any, fake: FakeDaemon) -> None:
        client = make()
        fake.script.append(Do.HANG_UP)
        assert client.ping()["pong"]
        fake.script.extend([Do.HANG_UP, Do.HANG_UP])
        with pytest.raises(QueueUnavailable) as caught:
            client.stats()
        assert (caught.value.code, caught.value.maybe_taken) == ("unreachable", False)

    def test_a_cancel_is_not_repeated(self, make: Any, fake: FakeDaemon) -> None:
        message = fake.add()
        fake.script.append(Do.ACT_AND_HANG_UP)
        with pytest.raises(QueueUnavailable) as caught:
            make().cancel(message["id"])
        assert caught.value.maybe_taken
        assert message["state"] == "cancelled"

    def test_another_protocol_is_named(self, make: Any, fake: FakeDaemon) -> None:
        fake.script.append(Do.BABBLE)
        client = make()
        with pytest.raises(SmsdError, match="is not smsd"):
            client.ping()
        assert client.ping()["pong"], "the next call starts on a new connection"


def _take_one_line_and_end(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65_536)
        listener.close()
