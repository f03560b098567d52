"""Where do answers wait while their client does not read?

Many clients send all of their batch before they read the first answer. To hold the answers back until they read would
be a deadlock: they write until their write blocks, and it blocks for ever. So the answers are kept, in order, and what
has waited a while is compressed: answers to accepted lines shrink to a tenth (measured). Nothing is compressed for a
client that keeps up. How much may be kept is the batch's affair; who the client is, nobody here knows.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable

PIECE = 65_536
"""Bytes that are compressed together: twice what zlib looks back, and a fraction of a millisecond of work."""

LEVEL = 1
"""The fastest; higher ones save a few percent of such text at several times the cost."""


class Unread:
    """A queue of bytes. `holds` is told of every change of `size`."""

    def __init__(self, holds: Callable[[int], None]) -> None:
        self._holds = holds
        self._packed: deque[bytes] = deque()
        self._tail: list[bytes] = []
        """The newest, not compressed."""
        self._tail_size = 0
        self.size = 0
        """Bytes of memory, about."""

    def put(self, block: bytes) -> None:
        """Add at the end. What was there is compressed if it is a piece and nobody took it since."""
        if self._tail_size >= PIECE:
            self._pack()
        self._tail.append(block)
        self._tail_size += len(block)
        self._changed(len(block))

    def _pack(self) -> None:
        packed = zlib.compress(b"".join(self._tail), LEVEL)
        self._packed.append(packed)
        self._changed(len(packed) - self._tail_size)
        self._tail.clear()
        self._tail_size = 0

    def take(self) -> bytes:
        """The oldest bytes, a piece or so of them; b"" if there are none."""
        if self._packed:
            packed = self._packed.popleft()
            self._changed(-len(packed))
            return zlib.decompress(packed)
        block = b"".join(self._tail)
        self._changed(-self._tail_size)
        self._tail.clear()
        self._tail_size = 0
        return block

    def clear(self) -> None:
        """Forget all of it."""
        self._packed.clear()
        self._tail.clear()
        self._tail_size = 0
        self._changed(-self.size)

    def _changed(self, change: int) -> None:
        if change:
            self.size += change
            self._holds(change)
