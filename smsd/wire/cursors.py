"""How is a place in a listing shown, without showing how many messages there are?

A place is a number that counts the messages of all tenants; two of them would tell any tenant what the others send. So
a cursor is the number and a check under a keyed permutation (Luby and Rackoff, 1988: four rounds of a Feistel network
with a pseudorandom function, here BLAKE2s). Who does not have the key learns nothing from it but whether two are the
same, and can make none. Where the key is kept, nobody here knows.

A listing that only those may ask for who may see all of it has nothing to hide: there a place is its texts, only
written so that nobody takes them for something to be made by hand (`encode_place`).
"""

from __future__ import annotations

import base64
import hashlib

_HALF = 6
_PLACE = 8
"""Bytes; the place and four zero bytes, by which a cursor that was not made here is known, are two halves."""

_ROUNDS = (b"\x00", b"\x01", b"\x02", b"\x03")


def encode_place(*texts: str) -> str:
    """The opaque text of a place in a listing in the order of texts, fit for a query. No text holds a line break."""
    return base64.urlsafe_b64encode("\n".join(texts).encode()).decode()


def decode_place(text: str, count: int) -> tuple[str, ...]:
    """The `count` texts of a place. Raises ValueError for what `encode_place` did not make."""
    try:
        texts = tuple(base64.b64decode(text, altchars=b"-_", validate=True).decode().split("\n"))
    except ValueError:
        texts = ()
    if len(texts) != count or encode_place(*texts) != text:
        raise ValueError("not a cursor that a listing gave: start again without one")
    return texts


class Cursors:
    """Cursors of one outbox. `key`: 16 bytes or more; never shown."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, seq: int) -> str:
        """The opaque text of a place, 0 to 2**63 - 1: 16 characters, all of them fit for a query."""
        block = seq.to_bytes(_PLACE, "big").ljust(2 * _HALF, b"\x00")
        left, right = block[:_HALF], block[_HALF:]
        for number in _ROUNDS:
            left, right = right, self._mixed(left, right, number)
        return base64.urlsafe_b64encode(left + right).decode()

    def decode(self, text: str) -> int:
        """The place a cursor names. Raises ValueError for what `encode` did not make."""
        try:
            block = base64.b64decode(text, altchars=b"-_", validate=True)
        except ValueError:
            block = b""
        left, right = block[:_HALF], block[_HALF:]
        for number in reversed(_ROUNDS):
            left, right = self._mixed(right, left, number), left
        place = left + right
        seq = int.from_bytes(place[:_PLACE], "big")
        if len(block) != 2 * _HALF or any(place[_PLACE:]) or seq >= 2**63 or self.encode(seq) != text:
            raise ValueError("not a cursor that a listing gave: start again without one")
        return seq

    def _mixed(self, half: bytes, other: bytes, number: bytes) -> bytes:
        noise = hashlib.blake2s(other, digest_size=_HALF, key=self._key, person=number).digest()
        return (int.from_bytes(half, "big") ^ int.from_bytes(noise, "big")).to_bytes(_HALF, "big")
