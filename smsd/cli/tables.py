"""How does a table fit into the width there is?

Columns of text become lines. A cell is never cut and never folded: on a terminal that is too narrow for all columns the
less important ones are left out, and the last column, the sentences, goes below each row, on indented lines of its own.
Without a width (in a pipe) every column stands in its place, so that grep and awk work. What the columns mean is the
caller's to know.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

ABSENT: Final = "-"

GAP: Final = "  "
INDENT: Final = "    "

READABLE: Final = 40
"""Columns in which a sentence can be read as a column; with fewer it stands below its row."""

LEAST: Final = 20
"""Columns a sentence below its row is given, however narrow the terminal says it is."""


class Laid(NamedTuple):
    """A table as lines. The head takes two when the sentences stand below their rows."""

    head: list[str]
    body: list[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under their heads; the last column holds the sentences.

    `optional`: heads of columns that a narrow terminal may do without, the most important first. All others, the last
    one aside, are shown whole whatever the width.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    optional: Sequence[str] = ()

    def laid(self, columns: int | None) -> Laid:
        """`columns`: of the terminal; None: no limit."""
        widths = [max(map(cells, column)) for column in zip(self.heads, *self.rows, strict=True)]
        last = widths.pop()
        if columns is None:
            return self._beside(widths, None)
        room = columns - sum(widths) - len(GAP) * len(widths)
        if room >= min(last, READABLE):
            return self._beside(widths, room)
        return self._below(widths, columns)

    def _beside(self, widths: Sequence[int], room: int | None) -> Laid:
        """The sentences in the last column, folded where there is not room enough for a long one."""
        margin = " " * (sum(widths) + len(GAP) * len(widths))
        lines = [_joined(self.heads, [*widths, 0])]
        for row in self.rows:
            first, *more = [row[-1]] if room is None else _folded(row[-1], room)
            lines += [_joined([*row[:-1], first], [*widths, 0]), *(margin + line for line in more)]
        return Laid(lines[:1], lines[1:])

    def _below(self, widths: Sequence[int], columns: int) -> Laid:
        """The sentences below their rows, and of the other columns as many as fit."""
        shown = self._shown(widths, columns)
        kept = [widths[n] for n in shown]
        heads = [_joined([self.heads[n] for n in shown], kept), INDENT + self.heads[-1]]
        lines = []
        for row in self.rows:
            lines.append(_joined([row[n] for n in shown], kept))
            if row[-1] != ABSENT:
                lines += [INDENT + line for line in _folded(row[-1], max(LEAST, columns - len(INDENT)))]
        return Laid(heads, lines)

    def _shown(self, widths: Sequence[int], columns: int) -> list[int]:
        """Which columns, the last aside: all that must be, and the optional ones that fit beside them."""
        shown = {n for n, head in enumerate(self.heads[:-1]) if head not in self.optional}
        for head in self.optional:
            more = shown | {self.heads.index(head)}
            if sum(widths[n] for n in more) + len(GAP) * (len(more) - 1) <= columns:
                shown = more
        return sorted(shown)


def cells(text: str) -> int:
    """How many columns of a terminal it takes: ideographs take two, combining marks none (UAX 11)."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def _joined(texts: Sequence[str], widths: Sequence[int]) -> str:
    padded = (text + " " * (width - cells(text)) for text, width in zip(texts, widths, strict=True))
    return GAP.join(padded).rstrip()


def _folded(text: str, width: int) -> list[str]:
    """At least one line. A word that is longer than a line is broken, nothing else."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [text]
