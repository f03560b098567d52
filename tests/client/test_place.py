"""Is the socket found, and is it said why nobody answers there?"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from smsd.client import (
    QueueUnavailable,
    place,
    socket_path,
)
from tests.doubles.fake_daemon import FakeDaemon


def test_where_the_socket_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SMSD_SOCKET", raising=False)
    monkeypatch.setattr(place, "SYSTEM_SOCKET", str(tmp_path / "system"))
    assert socket_path() == str(tmp_path / "system")
    (tmp_path / "smsd-dev").mkdir()
    (tmp_path / "smsd-dev/smsd.sock").touch()
    assert socket_path() == "smsd-dev/smsd.sock"
    (tmp_path / "system").touch()
    assert socket_path() == str(tmp_path / "system")
    monkeypatch.setenv("SMSD_SOCKET", "/elsewhere")
    assert socket_path() == "/elsewhere"
    assert socket_path(tmp_path / "given") == str(tmp_path / "given")


class TestNobodyThere:
    def test_no_socket(self, make_socket: Any, tmp_path: Path) -> None:
        with pytest.raises(
            QueueUnavailable, match=r"does not run here: there is no .*none.*systemctl start smsd"
        ) as caught:
            make_socket(tmp_path / "none").ping()
        assert (caught.value.code, caught.value.maybe_taken) == ("unreachable", False)

    def test_a_stopped_daemon_left_its_socket(self, make_socket: Any, tmp_path: Path) -> None:
        with FakeDaemon(tmp_path / "s"):
            assert make_socket().ping()["pong"]
        with pytest.raises(QueueUnavailable, match=r"Nothing listens on .*stopped or has died"):
            make_socket().ping()

    def test_not_a_socket(self, make_socket: Any, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(QueueUnavailable, match="is not a socket"):
            make_socket(tmp_path / "file").ping()

    def test_a_datagram_socket(self, make_socket: Any, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.bind(str(tmp_path / "log"))
            with pytest.raises(QueueUnavailable, match=r"Cannot connect to .*rotocol wrong type"):
                make_socket(tmp_path / "log").ping()

    def test_a_path_too_long(self, make_socket: Any, tmp_path: Path) -> None:
        with pytest.raises(QueueUnavailable, match="too long for a socket's path"):
            make_socket(tmp_path / ("x" * 120)).ping()

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not connect")
    def test_not_permitted(self) -> None:
        # After the change of user, Python's own directories may be closed to it: everything is imported before.
        code = (
            "import grp, os, sys\n"
            "from smsd.client import Client, NotAllowed\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try: Client(sys.argv[1]).ping()\n"
            "except NotAllowed as error: print(error)\n"
        )
        with tempfile.TemporaryDirectory() as directory, FakeDaemon(Path(directory) / "s") as fake:
            Path(directory).chmod(0o755)
            fake.path.chmod(0o600)
            command = [sys.executable, "-c", code, str(fake.path)]
            done = run(command, capture_output=True, text=True, check=True, timeout=20)
        assert "You may not connect to" in done.stdout
        assert "(group root, mode 0600)" in done.stdout
        assert "usermod -aG" in done.stdout
