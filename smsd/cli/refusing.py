"""Where are the rows kept that were refused, so that somebody can mend them and import them again?

A file of refusals has the file's own columns and, in front, why each row was refused and which it was; these columns
mark it for `sheets`. Nothing in it makes a spreadsheet calculate, and nothing of it is sent otherwise than was meant.

It is written beside its place and put there in the end, and only if there are such rows: in its place may stand the
rows of the run before, mended by hand. Those are set aside, never overwritten. It refuses to know what the faults are.
"""

from __future__ import annotations

import csv
import os
import stat
import tempfile
from itertools import count
from pathlib import Path
from typing import Final, Self

from smsd.cli.sheets import OUR_OWN, Row, Sheet, harmless

KEY: Final = "idempotency_key"


class Refusals:
    """One such file; a context manager. What is no plain file (a pipe, /dev/stderr) is written to at once."""

    def __init__(self, path: Path, sheet: Sheet) -> None:
        """Raises OSError when it cannot be written."""
        self.path = path
        """Where it will stand."""
        self._place = Path(os.path.realpath(path))
        self._beside: Path | None = None
        if not path.exists() or stat.S_ISREG(path.stat().st_mode):
            descriptor, name = tempfile.mkstemp(prefix=f".{self._place.name}.", dir=self._place.parent)
            self._beside = Path(name)
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self._file = os.fdopen(descriptor, "w", encoding="utf-8-sig", errors="surrogateescape", newline="")
        self._writer = csv.writer(self._file)
        self._kept = [place for place, name in enumerate(sheet.plain) if not (sheet.marked and name in OUR_OWN)]
        self._keyed = sheet.plain.index(KEY) if KEY in sheet.plain else None
        self._columns = len(sheet.header)
        self._any = False
        header = [harmless(sheet.header[place]) for place in self._kept]
        self._writer.writerow([*OUR_OWN, *([KEY] if self._keyed is None else []), *header])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._beside is not None:
            self._beside.unlink(missing_ok=True)

    def add(self, row: Row, code: str, message: str) -> None:
        """One more."""
        self._any = True
        cells = [*row.cells]
        if self._keyed is not None and row.key:
            cells += [""] * (self._keyed + 1 - len(cells))
            cells[self._keyed] = row.key
        cells = [*(cells[place] for place in self._kept if place < len(cells)), *cells[self._columns :]]
        key = [row.key] if self._keyed is None else []
        self._writer.writerow([str(row.line), str(row.number), code, *map(harmless, [message, *key, *cells])])

    def keep(self) -> Path | None:
        """Put it in its place, if there is any row. Where to what stood there was moved, unless it was the same. Raises
        OSError."""
        self._file.flush()
        if self._beside is None or not self._any:
            return None
        aside = _set_aside(self._place, self._beside)
        self._beside.rename(self._place)
        self._beside = None
        return aside


def _set_aside(place: Path, new: Path) -> Path | None:
    if not place.exists() or place.read_bytes() == new.read_bytes():
        return None
    aside = next(other for n in count(1) if not os.path.lexists(other := Path(f"{place}.{n}")))
    place.rename(aside)
    return aside
