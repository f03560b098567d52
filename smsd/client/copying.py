"""How is the daemon's outbox copied piece by piece, and is the copy whole?

The state of one `backup()`, for both clients: requests out, pieces in, each checked to follow the one before. What the
bytes are, and where they are kept, is not known here.
"""

from __future__ import annotations

import base64
import binascii
from typing import BinaryIO

from smsd.client.errors import SmsdError
from smsd.client.words import Document, given


class Copying:
    """One copy. `size`: bytes taken so far; at the end all of them."""

    def __init__(self) -> None:
        self.size = 0
        self.done = False
        self._snapshot: str | None = None

    @property
    def begun(self) -> bool:
        """Whether the daemon has made the copy; before, it may take its time."""
        return self._snapshot is not None

    def request(self) -> Document:
        """The one for the next piece."""
        return given("backup", snapshot=self._snapshot, offset=self.size or None)

    def take(self, piece: Document) -> bytes:
        """The bytes of the answer. Raises SmsdError when it does not follow what was taken before."""
        try:
            data = base64.b64decode(piece["data"], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _broken("holds no base64") from None
        if piece["offset"] != self.size or self._snapshot not in {None, piece["snapshot"]}:
            raise _broken("is not the one asked for")
        self._snapshot = piece["snapshot"]
        self.size += len(data)
        self.done = piece["done"]
        if self.done is not (self.size == piece["size"]) or not (data or self.done):
            raise _broken("is not of the length it says")
        return data


def put(file: BinaryIO, data: bytes) -> None:
    """Write all of it: a raw file may take less in one go. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or len(rest) :]


def _broken(what: str) -> SmsdError:
    return SmsdError("internal", f"A piece of the copy {what}; the copy is not whole.", remedy="Make it again.")
