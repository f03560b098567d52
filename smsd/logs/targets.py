"""Where do lines end up?

A file descriptor (standard error) or the systemd journal. Both take many lines at once, wait for a slow reader no
longer than they are told, and say how many lines could not be written. They refuse to know what a line means, and they
never raise: whoever logs must not fail because of the log.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from time import monotonic
from typing import Final, Protocol

CHUNK_BYTES: Final = 1 << 16
"""One write takes this much at most (and one line at least)."""
PATIENCE_S: Final = 0.2
"""How long the writer waits for a reader that takes nothing before it looks whether the log is being closed."""
JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"


class Target(Protocol):
    """Where lines end up; used by the writer's thread only."""

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """Write the lines; the number of those that could not be. Waits for a slow reader while `deadline()` (a
        monotonic time) is None or not reached. Never raises."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Stream:
    """A file descriptor that is not ours to close: standard error."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._torn = False
        """The last write ended inside a line; the next begins on a new one."""

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """One write for as many lines as fit a chunk."""
        first = 0
        while first < len(lines):
            last, size = first, 0
            while last < len(lines) and (size == 0 or size + len(lines[last]) <= CHUNK_BYTES):
                size += len(lines[last])
                last += 1
            chunk = lines[first:last]
            left = self._write([b"\n", *chunk] if self._torn else chunk, deadline)
            if left:
                return len(lines) - last + left
            first = last
        return 0

    def _write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """Write them at once; how many were not written whole."""
        data = b"".join(lines)
        view = memoryview(data)
        with contextlib.suppress(OSError):
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    if not _wait_writable(self._fd, deadline):
                        break
        self._torn = bool(view) and (self._torn or len(view) < len(data))
        left, size = 0, len(view)
        while size > 0:
            left += 1
            size -= len(lines[-left])
        return left

    def close(self) -> None:
        """Nothing is held."""


class Journal:
    """The journal's datagram socket. A stalled journal refuses after about a dozen datagrams; they are waited for."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """One datagram for each."""
        return sum(not self._send(line, deadline) for line in lines)

    def _send(self, datagram: bytes, deadline: Callable[[], float | None]) -> bool:
        again = True
        while True:
            try:
                if self._socket is None:
                    self._socket = _connected(self._path)
                self._socket.send(datagram)
            except BlockingIOError:
                if not _wait_writable(self._socket, deadline):
                    return False
            except OSError:
                # A journal that was restarted without its socket unit left us connected to nobody: once more, anew.
                self.close()
                if not again:
                    return False
                again = False
            else:
                return True

    def close(self) -> None:
        """Release the socket; a later write connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _wait_writable(file: int | socket.socket | None, deadline: Callable[[], float | None]) -> bool:
    """Wait until a write can go on; False when the deadline, which may be set meanwhile, is reached first."""
    poll = select.poll()
    assert file is not None
    poll.register(file, select.POLLOUT)
    while True:
        end = deadline()
        patience_s = PATIENCE_S if end is None else min(PATIENCE_S, end - monotonic())
        if poll.poll(max(0.0, patience_s) * 1_000):
            return True
        if patience_s <= 0:
            return False
