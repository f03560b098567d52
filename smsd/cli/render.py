"""How does a person like to read it?

Tables, times and counts as text. On a terminal times are local with a hint ("in 2 min") and rich draws the tables; in a
pipe they are plain columns and local times with their offset, so that grep and awk work. It knows no command and no
daemon. rich is imported when a table is drawn on a terminal, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import click

from smsd.cli.frame import on_terminal, printable

ABSENT: Final = "-"

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


def cell(value: object) -> str:
    """Any value as one line."""
    return ABSENT if value is None else printable(str(value))


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their heads; the last column takes what room is left."""
    cells = [[cell(value) for value in row] for row in rows]
    if on_terminal():
        _drawn(heads, cells)
        return
    widths = [max(len(row[n]) for row in [heads, *cells]) for n in range(len(heads) - 1)]
    for row in [heads, *cells]:
        click.echo(
            "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]).rstrip()
        )


def _drawn(heads: Sequence[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for n, head in enumerate(heads):
        drawn.add_column(head, no_wrap=n < len(heads) - 1, overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(text) for text in row))
    Console().print(drawn)


def facts(pairs: Sequence[tuple[str, object]]) -> None:
    """Print `name  value` lines; what is None is left out."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        if value is not None:
            click.echo(f"  {name.ljust(width)}  {cell(value)}")
