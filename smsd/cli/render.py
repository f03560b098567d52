"""How does a person like to read it?

Tables, times and counts as text, gathered on a Page that is printed once or shown again and again (live.py). On a
terminal times are local with a hint ("in 2 min") and tables keep to its width (tables.py); in a pipe they are plain
columns and local times with their offset, so that grep and awk work. It knows no command and no daemon.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from smsd.cli.frame import on_terminal, printable
from smsd.cli.tables import ABSENT, Table

if TYPE_CHECKING:
    from rich.text import Text

_HINTS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def when(text: str | None, now: datetime) -> str:
    """An RFC 3339 time of the daemon in local time; `now` is aware. On a terminal short and with a hint."""
    if text is None:
        return ABSENT
    at = datetime.fromisoformat(text).astimezone()
    if not on_terminal():
        return at.isoformat(sep=" ", timespec="seconds")
    local = now.astimezone(at.tzinfo)
    shown = at.strftime("%H:%M:%S") if at.date() == local.date() else at.strftime("%Y-%m-%d %H:%M:%S")
    return f"{shown} ({hint((at - now).total_seconds())})"


def about(text: str | None, now: datetime) -> str:
    """A time that was foretold: on a terminal `about 14:32, in 6 min`; the seconds only when it is near."""
    if text is None or not on_terminal():
        return when(text, now)
    at = datetime.fromisoformat(text).astimezone()
    left = (at - now).total_seconds()
    clock = "%H:%M:%S" if left < 120 else "%H:%M"
    day = "" if at.date() == now.astimezone(at.tzinfo).date() else "%Y-%m-%d "
    return f"about {at.strftime(day + clock)}, {hint(left)}"


def hint(seconds: float) -> str:
    """How far off: `in 2 min`, `3 d ago`, `now`. Rounded down."""
    far = span(abs(seconds))
    if far == "0 s":
        return "now"
    return f"in {far}" if seconds > 0 else f"{far} ago"


def span(seconds: float) -> str:
    """A length of time in its largest unit, rounded down."""
    for size, unit in _HINTS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return "0 s"


def size(count: float) -> str:
    """A number of bytes in its largest unit: `512 B`, `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1_024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1_024
    return f"{count:.1f} TiB"


def coloured(text: str, colour: str | None) -> str:
    """The text in a colour of click's, where a person sees it and did not ask for none (https://no-color.org)."""
    return click.style(text, fg=colour) if colour and on_terminal() and not os.environ.get("NO_COLOR") else text


def cell(value: object) -> str:
    """Any value as one line."""
    return ABSENT if value is None else printable(str(value))


class Page:
    """What a command says to a person: lines and tables in order."""

    def __init__(self) -> None:
        self._blocks: list[str | Table] = []

    def line(self, text: str) -> None:
        """One line; what a terminal would obey must have been taken out (printable)."""
        self._blocks.append(text)

    def facts(self, pairs: Sequence[tuple[str, object]]) -> None:
        """`name  value` lines; what is None is left out."""
        shown = [(name, value) for name, value in pairs if value is not None]
        width = max((len(name) for name, _ in shown), default=0)
        for name, value in shown:
            self.line(f"  {name.ljust(width)}  {cell(value)}")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[object]], optional: Sequence[str] = ()) -> None:
        """Rows under their heads; the last column holds sentences. `optional`: what a narrow terminal does without, the
        most important first."""
        self._blocks.append(Table(heads, [[cell(value) for value in row] for row in rows], optional))

    def print(self) -> None:
        """On standard output, as fits what reads it."""
        lines = self._lines()
        if lines:
            click.echo("\n".join(lines))

    def drawn(self) -> Text:
        """For rich."""
        from rich.text import Text

        return Text.from_ansi("\n".join(self._lines()))

    def _lines(self) -> list[str]:
        columns = shutil.get_terminal_size().columns if on_terminal() else None
        lines = []
        for block in self._blocks:
            if isinstance(block, str):
                lines.append(block)
            else:
                head, body = block.laid(columns)
                lines += [*(head if columns is None else (click.style(line, bold=True) for line in head)), *body]
        return lines


def table(heads: Sequence[str], rows: Sequence[Sequence[object]], optional: Sequence[str] = ()) -> None:
    """Print one table."""
    page = Page()
    page.table(heads, rows, optional)
    page.print()


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines; what is None is left out."""
    page = Page()
    page.facts(pairs)
    page.print()
