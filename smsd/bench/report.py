"""What did the benchmark find, for a person and for a program?

A Reading is a row with its value or the reason why there is none. It prints; it judges only by what the row says.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from smsd.bench.bars import Row

BUSY_LOAD: Final = 0.5

_HEADS: Final = ("MEASURE", "VALUE", "UNIT", "BAR", "GOAL", "VALUE/BAR", "VERDICT")
_SAID: Final = {"goal": "goal reached", "bar": "bar held", "missed": "BAR MISSED", "below goal": "below the goal"}


@dataclass(frozen=True, slots=True)
class Reading:
    """One line of the table."""

    row: Row
    value: float | None
    failure: str = ""
    """Why there is no value."""

    @property
    def verdict(self) -> str:
        """As Row.verdict, or `failed`."""
        return "failed" if self.value is None else self.row.verdict(self.value)

    @property
    def ratio(self) -> float | None:
        """Value by bar."""
        return None if self.value is None or self.row.bar is None else self.value / self.row.bar


@dataclass(frozen=True, slots=True)
class Report:
    """All of a run."""

    readings: Sequence[Reading]
    machine: str
    load: float
    """Processes that wanted a core in the minute before it began: what else the machine was doing."""
    pending: int
    quick: bool
    seconds: float

    def document(self) -> dict[str, object]:
        """For programs. `bar` and `goal` are upper bounds where `less_is_better`."""
        return {
            "machine": self.machine,
            "load_before": round(self.load, 2),
            "quick": self.quick,
            "pending": self.pending,
            "seconds": round(self.seconds, 1),
            "measures": [_item(reading, self._title(reading.row)) for reading in self.readings],
        }

    def text(self) -> str:
        """For people."""
        cells = [_HEADS, *(self._cells(reading) for reading in self.readings)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(_HEADS))]
        table = [_laid_out(row, widths) for row in cells]
        failed = [f"{reading.row.name} failed: {reading.failure}" for reading in self.readings if reading.failure]
        short = [
            f"Quick: {self.pending:,} messages lie pending instead of a million, and loads are short; "
            "measure without --quick before you compare."
        ]
        busy = [f"Something else was using the machine (load {self.load:.1f} at the start): it can do more than this."]
        notes = [*failed, *(busy if self.load > BUSY_LOAD else []), *(short if self.quick else [])]
        return "\n".join([self.machine, "", *table, "", *notes]).rstrip()

    def _title(self, row: Row) -> str:
        return row.title.format(pending=self.pending)

    def _cells(self, reading: Reading) -> tuple[str, ...]:
        row = reading.row
        sign = "<= " if row.less_is_better else ">= "
        return (
            self._title(row),
            _number(reading.value, row.digits),
            row.unit,
            _number(row.bar, None, sign),
            _number(row.goal, None, sign),
            _number(reading.ratio, 2),
            _SAID.get(reading.verdict, reading.verdict),
        )


def _item(reading: Reading, title: str) -> dict[str, object]:
    row = reading.row
    return {
        "name": row.name,
        "measure": title.strip(),
        "value": None if reading.value is None else round(reading.value, 4),
        "unit": row.unit,
        "bar": row.bar,
        "goal": row.goal,
        "less_is_better": row.less_is_better,
        "ratio": None if reading.ratio is None else round(reading.ratio, 4),
        "verdict": reading.verdict or None,
        "failure": reading.failure or None,
    }


def _number(value: float | None, digits: int | None, sign: str = "") -> str:
    """Nothing for what is not there. digits=None: as few as it needs."""
    if value is None:
        return ""
    return sign + (f"{value:,g}" if digits is None and value < 1_000 else f"{value:,.{digits or 0}f}")


def _laid_out(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, words to the left."""
    right = {1, 3, 4, 5}
    return "  ".join(
        cell.rjust(width) if n in right else cell.ljust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def machine(directory: Path) -> str:
    """On what it was measured, in one line."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {file_system(directory)} at {directory}"
    )


def file_system(directory: Path) -> str:
    """The type of the file system a directory lies on (proc_pid_mounts(5))."""
    best, kind = "", "unknown file system"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if directory.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind
