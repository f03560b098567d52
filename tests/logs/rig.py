"""What do the tests of the log read with? A pipe's end, a journal's end, and patience."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smsd import logs

NOW = 1_790_000_000_123
STAMP = "2026-09-21T14:13:20.123Z"
FIELDS: dict[str, object] = {"id": "0199", "recipient": "+15551234567", "provider": "main", "attempt": 1, "user": None}


class Reader:
    """The other end of the log: a pipe's."""

    def __init__(self) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._data = b""

    def read(self) -> bytes:
        """All that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.fd, 1 << 20):
                self._data += chunk
        return self._data

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]

    def close(self) -> None:
        for fd in (self.fd, self.write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


Start = Callable[..., logs.Logs]


class FakeJournal:
    """journald's end: a real datagram socket, and a reader of its native protocol."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)

    def read(self) -> dict[str, str]:
        data, found = self.socket.recv(1 << 20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[8 + size :]
                assert data[:1] == b"\n"
                data = data[1:]
            assert name.decode() not in found
            found[name.decode()] = value.decode()
        return found


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's work; half a minute is a failure, however busy the machine is."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)
