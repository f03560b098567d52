"""Is this process the only smsd on the outbox, and are the files still the ones it opened?

A FileLock keeps a second daemon out: flock on a file of its own, beside the database, held for life. A FileGuard tells
after each commit, before its acknowledgements, whether the database and its -wal are still the files that SQLite
opened. Neither ever opens the database: closing any descriptor of it would drop SQLite's POSIX locks in this process,
and the next outside reader would then delete the -wal; the daemon would go on "committing" into an unlinked file
(https://www.sqlite.org/howtocorrupt.html, section 2.2; reproduced with SQLite 3.40: rows acknowledged after that are
gone after a crash and integrity_check says ok).
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from smsd.store.errors import StoreError


class LockHeldError(StoreError):
    """Another process holds the lock."""


class FileLock:
    """An exclusive flock, held from acquire() to release()."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Take the lock or raise StoreError at once. The file stays behind after release: removing it would race."""
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreError(
                f"the lock file {self.path} cannot be opened ({error.strerror}): check the directory and its owner"
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise LockHeldError(
                f"another smsd holds {self.path}: stop it first, or set another [daemon] state_dir"
            ) from error
        self._fd = fd

    def release(self) -> None:
        """Give the lock up. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class FileGuard:
    """The identity of the database file and its -wal. One look costs two stat calls, about 4 microseconds."""

    __slots__ = ("_database", "_identity", "_wal")

    def __init__(self, database: Path) -> None:
        self._database = database
        self._wal = database.with_name(database.name + "-wal")
        self._identity: tuple[int, int, int, int] | None = None

    def remember(self) -> None:
        """Take the files as they are now for the right ones. Raises StoreError when one of them is missing."""
        self._identity = self._look()
        if self._identity is None:
            raise StoreError(f"{self._database} or its -wal is missing right after opening: check the file system")

    def intact(self) -> bool:
        """Whether both are still the files that were remembered."""
        return self._look() == self._identity

    def _look(self) -> tuple[int, int, int, int] | None:
        try:
            database, wal = self._database.stat(), self._wal.stat()
        except FileNotFoundError:
            return None
        return database.st_dev, database.st_ino, wal.st_dev, wal.st_ino
