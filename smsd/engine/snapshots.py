"""How is a copy of the outbox handed out, piece by piece?

The outbox makes a consistent copy while it works; here the copy is kept, without a name in the file system, until
nobody has asked for it for two minutes or another one is wanted. One at a time: copies are large. What a crash leaves
of one that was being made is removed at the next start.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PIECE_BYTES = 128 * 1024
PREFIX = ".copy-"
IDLE_S = 120.0
"""A copy that nobody asked for in so long is given up."""


class GoneError(LookupError):
    """There is no such copy any more."""

    def __init__(self) -> None:
        super().__init__("`snapshot` is given up: another was made, or nobody asked for long. Begin again without it.")


class OffsetError(ValueError):
    """The offset is not one of this copy; the text names the remedy."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a copy from `offset` on. `done`: they are the last ones."""

    id: str
    size: int
    offset: int
    data: bytes
    done: bool


class Copier(Protocol):
    """Who can make a copy."""

    async def snapshot(self, path: Path) -> int:
        """Write a consistent copy to `path`; its bytes. Raises StoreError."""
        ...


@dataclass(slots=True)
class _Copy:
    id: str
    size: int
    fd: int


class Snapshots:
    """The one copy that is being fetched."""

    def __init__(self, copier: Copier, directory: Path) -> None:
        self._copier = copier
        self._directory = directory
        self._turn = asyncio.Lock()
        self._copy: _Copy | None = None
        self._idle: asyncio.TimerHandle | None = None
        for left in directory.glob(f"{PREFIX}*.db*"):
            left.unlink(missing_ok=True)

    async def read(self, id: str | None, offset: int) -> Piece:
        """The piece at `offset`; without an id of a new copy. Raises GoneError, OffsetError, StoreError."""
        if offset < 0:
            raise OffsetError("`offset` is a number of bytes, 0 or more.")
        if id is None and offset:
            raise OffsetError("`offset` is a place in a copy: give its `snapshot` too, or begin a new one at 0.")
        async with self._turn:
            copy = await self._make() if id is None else self._copy
            if copy is None or id not in {None, copy.id}:
                raise GoneError
            if offset > copy.size:
                raise OffsetError(f"`offset` is behind the end of the copy: it has {copy.size} bytes.")
            self._stay()
            data = await asyncio.to_thread(os.pread, copy.fd, PIECE_BYTES, offset)
            return Piece(copy.id, copy.size, offset, data, offset + len(data) >= copy.size)

    async def _make(self) -> _Copy:
        self.close()
        id = secrets.token_hex(8)
        path = self._directory / f"{PREFIX}{id}.db"
        try:
            await self._copier.snapshot(path)
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        finally:
            path.unlink(missing_ok=True)
        self._copy = _Copy(id, os.fstat(fd).st_size, fd)
        return self._copy

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def close(self) -> None:
        """Give the copy up. Idempotent."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        copy, self._copy = self._copy, None
        if copy is not None:
            os.close(copy.fd)
