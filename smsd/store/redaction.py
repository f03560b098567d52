"""What stands in the place of a number that is not to be kept?

A keyed hash of it (HMAC-SHA-256, RFC 2104, over the number in E.164), so that whoever knows the number and the outbox's
key still finds its messages, and whoever has only the file cannot try all numbers there are: an unkeyed hash of a phone
number is found in minutes. The key lies in a file of its own beside the outbox and in no backup of it. It is made when
redaction is first asked for, and is durable before the first hash is written: a hash whose key is lost finds nothing.
The hash of a message's content that stands beside its idempotency key would give the number away as well (the text is
known to all who got it): it is put through the same key, and so is what it is compared with. What is written with a key
leaves a print of it in the outbox, so that another one is noticed. It refuses to know what is redacted, and when.
"""

from __future__ import annotations

import hmac
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from smsd.store.connection import Handle
from smsd.store.errors import StoreError
from smsd.store.statements.meta import GET_META, SET_META

KEY_FILE: Final = "redaction.key"
KEY_BYTES: Final = 32

MARK: Final = "#"
"""What a redacted number begins with; no number and no sender's name does."""

HASH_CHARS: Final = 32
"""Hexadecimal digits of a hash: 128 bits, so that no two numbers ever meet."""

CONTENT_MARK: Final = MARK.encode()
CONTENT_BYTES: Final = 1 + 32
"""What a redacted hash of a content begins with, and how long it is: no other is so long."""

PRINT: Final = "redaction_print"
"""The name in `meta` of the print of the key that was last redacted with."""

log = structlog.get_logger("smsd.store")


class Redaction:
    """The key of one outbox, and the hashes it makes."""

    def __init__(self, path: Path) -> None:
        """`path`: where the key lies, or will."""
        self.path = path
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
                self._key = written(self.path, secrets.token_bytes(KEY_BYTES))
            except OSError as error:
                raise StoreError(
                    f"{self.path} cannot be written ({error.strerror}): check [daemon] state_dir and its owner"
                ) from error

    def hidden(self, number: str) -> str:
        """What stands in the number's place. Raises StoreError before there is a key."""
        return MARK + self._of(number.encode()).hex()[:HASH_CHARS]

    def hidden_content(self, content: bytes) -> bytes:
        """What stands in the place of a content's hash. Raises StoreError before there is a key."""
        return CONTENT_MARK + self._of(b"content:" + content)

    def same(self, kept: bytes, content: bytes) -> bool:
        """Whether the hash that was kept, hidden or not, is that of this content. If its key is lost it is nobody's."""
        if not is_hidden(kept) or self._key is None:
            return kept == content
        return hmac.compare_digest(kept, self.hidden_content(content))

    def note(self, db: Handle) -> None:
        """Something is redacted with this key, in the open transaction."""
        db.execute(SET_META, (PRINT, self._of(b"print")))

    def is_other(self, db: Handle) -> bool:
        """Whether something is redacted already, and the last of it with another key."""
        known = db.execute(GET_META, (PRINT,)).fetchone()
        return known is not None and known[0] != self._of(b"print")

    def _of(self, what: bytes) -> bytes:
        if self._key is None:
            raise StoreError(f"there is no key to redact with: see that {self.path} can be made")
        return hmac.new(self._key, what, sha256).digest()

    def names(self, number: str) -> tuple[str, str]:
        """Under what a number's messages may lie: itself, and its hash if there is a key, else itself again."""
        return number, number if self._key is None or number.startswith(MARK) else self.hidden(number)

    def _read(self) -> bytes | None:
        try:
            key = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read ({error.strerror}): check its owner and mode") from error
        if len(key) != KEY_BYTES:
            raise StoreError(
                f"{self.path} is damaged: put a copy of it back, or remove it, and smsd makes another (what was "
                "redacted before is then no longer found by its number)"
            )
        return key


def is_hidden(content: bytes) -> bool:
    """Whether this stands in the place of a content's hash."""
    return len(content) == CONTENT_BYTES and content.startswith(CONTENT_MARK)


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
