"""Which complete lines has a client sent?

Bytes in, lines out, one at a time. However the bytes were cut up on their way, none is looked at twice for a newline,
and what was taken goes away in one piece (`forget`): many short lines cost no copy each. It refuses to know what a line
says, and when the next may be taken.
"""

from __future__ import annotations

BLANK = b" \t\r"
"""What a line may hold and still be empty."""


class TooLongError(Exception):
    """The next line is longer than may be."""


class Lines:
    """What one client sent and nobody took. `most`: bytes of a line without its newline."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        self._start = 0
        """So much of the buffer was taken."""
        self._scanned = 0
        """So much of the buffer holds no newline, but for what was taken."""

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """The client sent this."""
        self._buffer += data

    def count(self) -> int:
        """Newlines that are held."""
        return self._buffer.count(b"\n")

    def take(self) -> bytes | None:
        """The next line; None: it is not complete. Raises TooLongError."""
        end = self._buffer.find(b"\n", max(self._start, self._scanned))
        if end < 0:
            self._scanned = len(self._buffer)
            return None
        self._scanned = 0
        if end - self._start > self._most:
            raise TooLongError
        line = bytes(self._buffer[self._start : end])
        self._start = end + 1
        return line

    def forget(self) -> None:
        """What was taken is held no longer."""
        if self._start:
            del self._buffer[: self._start]
            self._scanned = max(0, self._scanned - self._start)
            self._start = 0

    @property
    def is_too_long(self) -> bool:
        """Whether the line that is not complete is longer than may be already, as far as `take` has looked."""
        return self._scanned > self._most

    def clear(self) -> None:
        """Nothing of it is wanted."""
        self._buffer.clear()
        self._start = self._scanned = 0
