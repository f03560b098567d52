"""How do lines travel over one connection, for a thread that waits?

The socket of the synchronous client: connect, write lines, read the next answer, each until a deadline. It knows that
answers come in the order of requests, and refuses to know what either says or whether a request may be repeated.
"""

from __future__ import annotations

import os
import socket
import time

from smsd.client.loss import LateError, LostError, StrangerError
from smsd.client.place import no_connection
from smsd.client.words import ANSWER_BYTES, Document, Line, decode


class Link:
    """One connection; `deadline` is a time.monotonic() value everywhere."""

    def __init__(self, path: str, deadline: float) -> None:
        """Raises SmsdError when nobody answers there, LateError."""
        try:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        except OSError as error:  # no file descriptor left
            raise no_connection(path, error) from None
        self._received = bytearray()
        self._pid = os.getpid()
        try:
            self._connect(path, deadline)
        except BaseException:
            self._socket.close()
            raise

    def _connect(self, path: str, deadline: float) -> None:
        while True:
            self._socket.settimeout(left(deadline))
            try:
                return self._socket.connect(path)
            except BlockingIOError:
                # unix(7): a full queue of connections answers EAGAIN at once instead of waiting.
                time.sleep(min(0.01, left(deadline)))
            except TimeoutError:
                raise LateError(written=False) from None
            except OSError as error:
                raise no_connection(path, error) from None

    def ask(self, line: Line, deadline: float) -> Document:
        """Write a request and read its answer. Raises LostError, LateError, StrangerError."""
        self.write(line.data, deadline)
        return self.read(line.ref, deadline)

    def write(self, data: bytes, deadline: float) -> None:
        """Send whole lines. Raises LostError, LateError (written=False); then a single line has not left whole."""
        self._socket.settimeout(left(deadline))
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise LateError(written=False) from None
        except OSError:
            raise LostError(written=False) from None

    def read(self, ref: int, deadline: float) -> Document:
        """The next answer, which is the one to `ref`. Raises LostError, LateError, StrangerError."""
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            if searched > ANSWER_BYTES:
                raise StrangerError
            self._socket.settimeout(left(deadline, written=True))
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                raise LateError(written=True) from None
            except OSError:
                raise LostError(written=True) from None
            if not data:
                raise LostError(written=True)
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return decode(line, ref)

    def idle(self) -> bool:
        """Whether it can take the next request: this process's own, open, and nothing unread in it."""
        if self._pid != os.getpid():
            return False  # after a fork two processes would read each other's answers
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def abort(self) -> None:
        """End it from another thread; a call under way on it raises LostError at once."""
        end(self._socket)

    def close(self) -> None:
        self._socket.close()


def end(connection: socket.socket) -> None:
    """Shut a connection down in both directions, so that a thread that reads it wakes."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # that of TLS would tear its state from under the reader
    except OSError:
        return  # it is not connected any more, and nobody can be waiting for it


def left(deadline: float, written: bool = False) -> float:
    """Seconds until `deadline`; raises LateError when there are none."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise LateError(written)
    return seconds
