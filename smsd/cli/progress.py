"""How far is it? Told while a command works through a file, on standard error.

A bar on a terminal; elsewhere (cron, a log) a line now and then. rich is imported only for the bar.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol, Self

import click

from smsd.cli.frame import complain, printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

EVERY_S: Final = 10.0
"""Between two lines."""
ROWS: Final = 256
"""Between two looks at the clock: a look at each row would cost as much as the row."""


class Measured(Protocol):
    """What is worked through."""

    @property
    def size(self) -> int:
        """In bytes; 0 when nobody knows."""
        ...

    def position(self) -> int:
        """How many of them are behind."""
        ...


class Progress(Protocol):
    """A context manager for the time of the work."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def step(self, counts: Mapping[str, int]) -> None:
        """One row more; these so far."""
        ...

    def say(self, text: str) -> None:
        """A sentence in between."""
        ...


def progress(of: Measured) -> Progress:
    """As it suits standard error."""
    return Bar(of) if sys.stderr.isatty() else Lines(of)


class Lines:
    """A line each 10 seconds. The same sentence is not said again sooner."""

    def __init__(self, of: Measured, now: Callable[[], float] = time.monotonic) -> None:
        self._of = of
        self._now = now
        self._began = self._told = now()
        self._said: dict[str, float] = {}
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def step(self, counts: Mapping[str, int]) -> None:
        self._rows += 1
        if self._rows % ROWS == 0 and self._now() - self._told >= EVERY_S:
            self._told = self._now()
            click.echo(f"smsd: {words(counts)}; {share(self._of)}{self._speed()} rows/s", err=True)

    def _speed(self) -> str:
        return f"{self._rows / max(0.001, self._now() - self._began):,.0f}"

    def say(self, text: str) -> None:
        now, topic = self._now(), text.partition("Trying again")[0]
        if now - self._said.get(topic, now - EVERY_S) >= EVERY_S:
            self._said = {topic: now}
            complain([text], "")


class Bar:
    """A bar of bytes, counts beside it."""

    def __init__(self, of: Measured) -> None:
        self._of = of
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None
        self._rows = 0
        self._note = ""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Rich

        told = TextColumn("{task.description}", markup=False)
        self._rich = Rich(BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), told, console=Console(stderr=True))
        self._task = self._rich.add_task("", total=self._of.size or None)
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._rich is not None:
            self._rich.stop()

    def step(self, counts: Mapping[str, int]) -> None:
        self._rows += 1
        if self._rows % ROWS == 1:
            self._note = ""
            self._show(words(counts))

    def say(self, text: str) -> None:
        if self._rich is None:
            complain([text], "")
        else:
            self._show(printable(text))

    def _show(self, text: str) -> None:
        if self._rich is not None and self._task is not None:
            self._rich.update(self._task, completed=self._of.position(), description=text)


def words(counts: Mapping[str, int]) -> str:
    """Counts that are not zero."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing yet"


def share(of: Measured) -> str:
    """Of the file; empty when nobody knows."""
    return f"{100 * of.position() // of.size} %, " if of.size else ""
