"""How much HTTP/1.1 do the benchmark's own processes need?

What well-formed peers send each other (RFC 9112): a head that ends with an empty line, a body with a length, a body in
chunks. It checks nothing, because a parser that did would be measured with the daemon.
"""

from __future__ import annotations

from typing import Final

HEAD_END: Final = b"\r\n\r\n"

_LENGTH: Final = b"content-length: "


def content_length(head: bytes) -> int:
    """Bytes of the body that follows this head; 0 when it does not say."""
    lower = head.lower()
    at = lower.find(_LENGTH)
    if at < 0:
        return 0
    at += len(_LENGTH)
    return int(lower[at : lower.find(b"\r", at)])


class Chunks:
    """Takes the framing off a chunked body (RFC 9112, section 7.1) that is cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""
        """The beginning of a line whose end has not come."""
        self._left = 0
        """Bytes that are missing of the chunk we are in."""

    def feed(self, data: bytes) -> bytes:
        """The content in these bytes. Raises ValueError when a chunk does not begin with its size."""
        data = self._rest + data
        content: list[bytes] = []
        at = 0
        while at < len(data):
            if self._left:
                content.append(data[at : at + self._left])
                self._left -= len(content[-1])
                at += len(content[-1])
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            if end > at:  # else it is the line break behind a chunk
                self._left = int(data[at:end], 16)
            at = end + 2
        self._rest = data[at:]
        return b"".join(content)
