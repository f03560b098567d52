"""Where does one submission end and the next begin in a body that is still arriving?

Two forms: lines (NDJSON) and the elements of one JSON array. Both are cut as the bytes come, so that never more than
one piece is held. Whether a piece is JSON at all is not judged here: brackets, strings and escapes are followed only as
far as needed to find an element's end, and a bad element therefore fails alone. Brackets of both kinds count alike; an
element that leaves one open swallows what follows, up to the bound or the end.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from enum import Enum, auto
from typing import Protocol

from smsd.core.acceptance import Fault

Piece = bytes | Fault
"""A submission as bytes, or what is wrong in its place."""

BLANK = b" \t\r\n"
"""JSON's white space (RFC 8259, section 2)."""


class Splitter(Protocol):
    """Bytes in, pieces out. A call's pieces must all be taken before the next call."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What these bytes complete."""
        ...

    def end(self) -> Iterator[Piece]:
        """What the end of the body completes."""
        ...


def _too_long(what: str, most: int) -> Fault:
    return Fault("", "too_long", f"{what} is at most {most} bytes; this one was skipped: send less in it")


class Lines:
    """Pieces that end with a newline; the last one may lack it. Empty lines are none."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._skipping = False
        """The line is too long already; its newline is awaited."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What these bytes complete."""
        first, *whole = data.split(b"\n")
        self._grow(first)
        if not whole:
            return
        yield from self.end()
        last = whole.pop()
        for line in whole:
            if len(line) > self._most:
                yield _too_long("a line", self._most)
            elif line.strip(BLANK):
                yield line
        self._grow(last)

    def end(self) -> Iterator[Piece]:
        """The line that was begun."""
        line = bytes(self._rest)
        skipped, self._skipping = self._skipping, False
        self._rest.clear()
        if skipped:
            yield _too_long("a line", self._most)
        elif line.strip(BLANK):
            yield line

    def _grow(self, part: bytes) -> None:
        if len(self._rest) + len(part) > self._most:
            self._skipping = True
            self._rest.clear()
        elif not self._skipping:
            self._rest += part


class _Phase(Enum):
    BEFORE = auto()
    INSIDE = auto()
    AFTER = auto()
    BROKEN = auto()
    """A fault was given; nothing more is read."""


_NO_ARRAY = Fault(
    "", "malformed", "no JSON array: begin with `[`, or send one object on each line as application/x-ndjson"
)
_MISSING = Fault("", "malformed", "nothing stands between two commas, or after the last: remove the comma")
_CUT_SHORT = Fault("", "malformed", "the array ends without its `]`: this element was not taken; send it again")
_BEYOND = Fault("", "malformed", "something stands behind the end of the array; it was not read")

_OUTER = re.compile(rb'[^"\[\]{,]*')
"""Up to what means something between elements."""
_INNER = re.compile(rb'[^"\[\]{}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"\[\]{}]*)*', re.DOTALL)
"""Up to what means something within an element, past all whole strings."""
_STRING = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
"""Up to the end of a string, as far as it is there."""

_QUOTE, _COMMA, _CLOSE = b'",]'
_OPENERS = b"{["


class Elements:
    """The elements of one array."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._phase = _Phase.BEFORE
        self._rest = b""
        """The element that was begun."""
        self._seen = 0
        """So much of it was looked at."""
        self._depth = 0
        self._in_string = False
        self._skipping = False
        """The element is too long already; its end is awaited."""
        self._any = False

    def feed(self, data: bytes) -> Iterator[Piece]:
        """What these bytes complete."""
        if self._phase is _Phase.BEFORE:
            data = data.lstrip(BLANK)
            if not data:
                return
            if not data.startswith(b"["):
                self._phase = _Phase.BROKEN
                yield _NO_ARRAY
                return
            self._phase = _Phase.INSIDE
            data = data[1:]
        if self._phase is _Phase.INSIDE:
            data = self._rest + data
            start = yield from self._elements(data)
            data = data[start:]
            if self._phase is _Phase.INSIDE:
                self._keep(data)
        if self._phase is _Phase.AFTER and data.strip(BLANK):
            self._phase = _Phase.BROKEN
            yield _BEYOND

    def end(self) -> Iterator[Piece]:
        """A fault unless the array was ended."""
        if self._phase is _Phase.BEFORE:
            yield _NO_ARRAY
        elif self._phase is _Phase.INSIDE:
            yield _CUT_SHORT

    def _elements(self, data: bytes) -> Generator[Piece, None, int]:
        """Those that end in `data`. Returns where the one begins that does not."""
        start, at = 0, self._seen
        while at < len(data):
            if self._in_string or self._depth:
                ahead = self._within(data, at)
                if ahead == at:
                    break
                at = ahead
                continue
            at = _past(_OUTER, data, at)
            if at == len(data):
                break
            mark = data[at]
            at += 1
            if mark == _QUOTE:
                self._in_string = True
            elif mark in _OPENERS:
                self._depth = 1
            else:
                yield from self._ended(data[start : at - 1], last=mark == _CLOSE)
                start = at
                if mark == _CLOSE:
                    self._phase = _Phase.AFTER
                    break
        self._seen = at - start
        return start

    def _within(self, data: bytes, at: int) -> int:
        """Past one bracket or the rest of a string; the same place when more bytes are needed to go on."""
        if self._in_string:
            at = _past(_STRING, data, at)
            if data[at : at + 1] == b'"':
                self._in_string = False
                at += 1
            return at
        at = _past(_INNER, data, at)
        if at < len(data):
            mark = data[at]
            at += 1
            if mark == _QUOTE:
                self._in_string = True
            elif mark in _OPENERS:
                self._depth += 1
            else:
                self._depth -= 1
        return at

    def _ended(self, element: bytes, *, last: bool) -> Iterator[Piece]:
        skipped, self._skipping = self._skipping, False
        if skipped or len(element) > self._most:
            yield _too_long("an element", self._most)
        elif element.strip(BLANK):
            yield element
        elif not last or self._any:
            yield _MISSING
        self._any = True

    def _keep(self, rest: bytes) -> None:
        if self._skipping or len(rest) > self._most:
            self._skipping = True
            rest = rest[self._seen :]
            self._seen = 0
        self._rest = rest


def _past(pattern: re.Pattern[bytes], data: bytes, at: int) -> int:
    """Where the pattern, which matches anywhere, ends."""
    found = pattern.match(data, at)
    assert found is not None, "all of these patterns match nothing, too"
    return found.end()
