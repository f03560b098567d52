"""Is a file UTF-8 to its end, and if not, where does it begin to be something else?

It is read once beside whoever reads it for its rows, whose place in it is not moved: some 20 ms for 17 MiB. What cannot
be read twice (a pipe) cannot be looked through. It refuses to guess which encoding a file has.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

CHUNK: Final = 1_048_576


class Stray(NamedTuple):
    """The first byte that no UTF-8 has at its place. `line`: from 1; lines end as Python's universal newlines do."""

    line: int
    byte: int


def stray(descriptor: int) -> Stray | None:
    """The first one of an open file; None: there is none, or it is no plain file. Raises OSError."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    for data in _chunks(descriptor, os.fstat(descriptor).st_size):
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(data)
        except UnicodeDecodeError as error:
            place = at - held + error.start
            return Stray(_line(descriptor, place), os.pread(descriptor, 1, place)[0])
        at += len(data)
    left = len(decoder.getstate()[0])
    return Stray(_line(descriptor, at - left), os.pread(descriptor, 1, at - left)[0]) if left else None


def _chunks(descriptor: int, end: int) -> Iterator[bytes]:
    at = 0
    while at < end and (data := os.pread(descriptor, min(CHUNK, end - at), at)):
        yield data
        at += len(data)


def _line(descriptor: int, place: int) -> int:
    lines, last = 1, b""
    for data in _chunks(descriptor, place):
        lines += data.count(b"\n") + data.count(b"\r") - (last + data).count(b"\r\n")
        last = data[-1:]
    return lines
