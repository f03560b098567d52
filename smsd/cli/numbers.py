"""Which numbers stand in a file?

One a line, or in the first column of CSV, whichever of comma, semicolon and tabulator parts the columns. Whether a text
is a number, the daemon decides; what is no text at all is handed on as far as it can be shown, so that it is refused
there with its line. Of a line only so much is held as a number and a name can take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import IO, Final, NamedTuple

HEAD: Final = "number,scope"
"""A first line that says what the columns are; `number` alone is one, too."""

LONGEST: Final = 4_096
"""Bytes of a line that are looked at."""

_APART: Final = re.compile(r"[,;\t]")


class Line(NamedTuple):
    """A line that is to hold a number. `nr` counts from 1; `scope` is empty where the file names none."""

    nr: int
    number: str
    scope: str


def lines(file: IO[bytes]) -> Iterator[Line]:
    """The lines that are neither blank nor a comment (#) nor the head."""
    scoped, first = False, True
    for nr, text in _texts(file):
        if not text or text.startswith("#"):
            continue
        cells = [cell.strip().strip('"').strip() for cell in _APART.split(text)]
        if first and cells[0].lower() == "number":
            scoped = [cell.lower() for cell in cells[:2]] == HEAD.split(",")
        else:
            yield Line(nr, cells[0], cells[1] if scoped and len(cells) > 1 else "")
        first = False


def _texts(file: IO[bytes]) -> Iterator[tuple[int, str]]:
    """Each line's number and its beginning, without blanks around it. What is not UTF-8 shows as replaced."""
    nr, begins = 0, True
    while data := file.readline(LONGEST):
        if begins:
            nr += 1
            yield nr, data.decode("utf-8-sig" if nr == 1 else "utf-8", "replace").strip()
        begins = data.endswith(b"\n")
