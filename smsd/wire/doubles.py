"""Does a name stand twice in an object?

JSON lets it (RFC 8259, section 4) and decoders take the last one silently: the message would go to another number than
the one a reviewer of the request saw first. The decoders here cannot be asked, so the document is looked at beside
them: mostly its colons are counted, which costs less than a microsecond and proves it; where that proves nothing, its
names are read. Only documents that were decoded come here, so what is no JSON is not thought of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

_PART = re.compile(rb'"([^"\\]*(?:\\.[^"\\]*)*)"[ \t\r\n]*(:)?|\{[ \t\r\n]*\}|[{}]', re.DOTALL)
"""A string, with the colon behind it if it is a name; an empty object, or where another begins or ends."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(str)


class Double(NamedTuple):
    """`field`: the name of the outermost object in or under which a name stands twice; `inner`: under it."""

    field: str
    inner: bool


def proven(body: bytes, found: object) -> bool:
    """Whether it is certain that none does. `found`: what was read, as plain values, or of a type that omits its
    defaults when written.

    Each name has a colon. If what was read, written again, has as many as the document, no name was lost. False: nobody
    knows (the type omits a null that was sent; an escape may be a colon's).
    """
    try:
        return b"\\u003" not in body and _encoder.encode(found).count(b":") == body.count(b":")
    except RecursionError:
        return False


def doubles(body: bytes) -> Iterator[Double]:
    """What stands twice, each field named once for itself and once for what is under it."""
    found: set[Double] = set()
    objects: list[set[bytes]] = []
    outermost = b""
    for part in _PART.finditer(body):
        raw, colon = part.groups()
        if raw is None:
            if part[0] == b"{":
                objects.append(set())
            elif part[0] == b"}":
                objects.pop()
        elif colon is not None:
            name = _text(raw) if b"\\" in raw else raw
            inner = len(objects) > 1
            if not inner:
                outermost = name
            if name in objects[-1]:
                double = Double(outermost.decode(), inner)
                if double not in found:
                    found.add(double)
                    yield double
            objects[-1].add(name)


def _text(raw: bytes) -> bytes:
    """A name without its escapes."""
    return _decoder.decode(b'"%b"' % raw).encode()
