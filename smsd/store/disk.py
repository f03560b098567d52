"""Is there room for one more message?

Two reserves. The floor: below so much free space new messages are refused while those accepted go on being sent, so
smsd says "full" before the disk is. The ballast: a preallocated file that is given back when the disk did fill up, so
that outcomes of calls already made can still be written. Who refuses what is the writer's business. Other errors than
"no space" are not read here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from smsd.store.errors import StoreError

LOOK_EVERY_S = 1.0
"""At most one statvfs call a second."""

HYSTERESIS = 8
"""Room is back when a floor and an eighth are free, so that a disk at its edge does not flap."""


def free_bytes(directory: Path) -> int:
    """Bytes an unprivileged process may still write on the directory's file system (statvfs f_bavail)."""
    numbers = os.statvfs(directory)
    return numbers.f_bavail * numbers.f_frsize


class Disk:
    """Free space and ballast beside the database."""

    def __init__(
        self,
        directory: Path,
        *,
        floor_bytes: int,
        ballast_bytes: int,
        free: Callable[[Path], int] = free_bytes,
    ) -> None:
        self._directory = directory
        self._floor = floor_bytes
        self._ballast_bytes = ballast_bytes
        self._ballast = directory / "outbox.ballast"
        self._free = free
        self._looked_at: float | None = None
        self._low = False

    def low(self, now_s: float) -> bool:
        """Whether free space is below the floor, as of at most a second ago. `now_s`: seconds of a monotonic clock."""
        if self._floor and (self._looked_at is None or now_s - self._looked_at >= LOOK_EVERY_S):
            self._looked_at = now_s
            self._low = self._free(self._directory) < self._floor
        return self._low

    def roomy(self) -> bool:
        """Whether there is room again: for the floor with its hysteresis, and for the ballast if it is gone."""
        missing = 0 if self._whole() else self._ballast_bytes
        room = self._free(self._directory) >= self._floor + self._floor // HYSTERESIS + missing
        if room:
            self._low = False
        return room

    def fill(self) -> bool:
        """Make the ballast if it is missing. False: no room for it. Blocks; raises StoreError on other failures."""
        if self._whole():
            return True
        self.release()
        if not self._ballast_bytes:
            return True
        # Asked first: an allocation that fails half-way would have filled the disk for everybody meanwhile.
        if self._free(self._directory) < self._ballast_bytes:
            return False
        try:
            fd = os.open(self._ballast, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, self._ballast_bytes)
            finally:
                os.close(fd)
        except OSError as error:
            self.release()
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                return False
            raise StoreError(
                f"the reserve file {self._ballast} cannot be made ({error.strerror}): check the directory, "
                "or set [outbox] ballast = 0"
            ) from error
        return True

    def _whole(self) -> bool:
        """Whether the ballast has its full size: a crash while it was made leaves less, a new setting differs."""
        try:
            return self._ballast.stat().st_size == self._ballast_bytes
        except FileNotFoundError:
            return self._ballast_bytes == 0

    def release(self) -> bool:
        """Give the ballast back to the file system. False: there was none. Blocks."""
        try:
            self._ballast.unlink()
        except FileNotFoundError:
            return False
        return True
