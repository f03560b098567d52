"""What stands in the place of a number that is not to be kept?

A keyed hash of it (HMAC-SHA-256, RFC 2104, over the number in E.164), so that whoever knows the number and the outbox's
key still finds its messages, and whoever has only the file cannot try all numbers there are: an unkeyed hash of a phone
number is found in minutes. The key lies in a file of its own beside the outbox and in no backup of it. It is made when
redaction is first asked for, and is durable before the first hash is written: a hash whose key is lost finds nothing.
It refuses to know what is redacted, and when.
"""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from smsd.store import StoreError

KEY_FILE: Final = "redaction.key"
KEY_BYTES: Final = 32

MARK: Final = "#"
"""What a redacted number begins with; no number and no sender's name does."""

HASH_CHARS: Final = 32
"""Hexadecimal digits of a hash: 128 bits, so that no two numbers ever meet."""

log = structlog.get_logger("smsd.store")


class Redaction:
    """The key of one outbox, and the hashes it makes."""

    def __init__(self, path: Path) -> None:
        """`path`: where the key lies, or will."""
        self._path = path
        self._key: bytes | None = None

    def load(self) -> None:
        """Read the key if there is one. One that cannot be read is logged: sending goes on without it, and nothing is
        redacted. Blocks for a file's reading."""
        try:
            self._key = self._read()
        except StoreError as error:
            log.error("redacted messages are not found by their numbers", error=str(error))

    def make(self) -> None:
        """See that there is a key. Blocks for two syncs when it is made. Raises StoreError."""
        if self._key is not None:
            return
        self._key = self._read()
        if self._key is None:
            try:
                self._key = written(self._path, secrets.token_bytes(KEY_BYTES))
            except OSError as error:
                raise StoreError(
                    f"{self._path} cannot be written ({error.strerror}): check [daemon] state_dir and its owner"
                ) from error

    def hidden(self, number: str) -> str:
        """What stands in the number's place. Raises StoreError before there is a key."""
        if self._key is None:
            raise StoreError(f"there is no key to redact with: see that {self._path} can be made")
        return MARK + hmac.new(self._key, number.encode(), sha256).hexdigest()[:HASH_CHARS]

    def names(self, number: str) -> tuple[str, str]:
        """Under what a number's messages may lie: itself, and its hash if there is a key, else itself again."""
        return number, number if self._key is None or number.startswith(MARK) else self.hidden(number)

    def _read(self) -> bytes | None:
        try:
            key = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self._path} cannot be read ({error.strerror}): check its owner and mode") from error
        if len(key) != KEY_BYTES:
            raise StoreError(
                f"{self._path} is damaged: put a copy of it back, or remove it, and smsd makes another (what was "
                "redacted before is then no longer found by its number)"
            )
        return key


def written(path: Path, key: bytes) -> bytes:
    """The key, durable under its name. Raises OSError."""
    making = path.with_name(path.name + ".making")
    making.unlink(missing_ok=True)
    fd = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, key)
        os.fsync(fd)
    finally:
        os.close(fd)
    making.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return key
