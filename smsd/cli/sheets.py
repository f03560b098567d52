"""What does a CSV file ask for, row by row?

A Sheet reads the file as it goes, never whole: UTF-8 with or without a byte order mark, columns parted by commas,
semicolons or tabs as the header says, quotes by RFC 4180. Columns named like the fields of a message are those fields,
whatever their case; the others fill the blanks of a template. Which values are valid the daemon decides.

The delimiter is the one that parts the header into the most columns: a body's commas say nothing about it, and guessing
from many lines (csv.Sniffer) guesses wrong where texts hold commas.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from smsd.client import Document

RECIPIENT: Final = ("to", "phone", "number", "mobile", "recipient", "phone_number", "msisdn")
"""Names of the column with the number; the first is the field."""

FIELDS: Final = frozenset(
    {
        *("text", "template", "lang", "from", "priority", "send_at", "ttl", "expires_at", "idempotency_key", "user"),
        *("type", "tenant", "provider", "callback_url", "max_attempts", "retry", "overflow"),
    }
)
OUR_OWN: Final = ("error_line", "error_row", "error_code", "error_message")
"""Columns that a file of refused rows has in front; passed over when that is mended and read again."""

DELIMITERS: Final = (",", ";", "\t")
CELL: Final = 65_536
"""Characters of a cell, at most: a quote that is never closed must not swallow the file."""

_CAMPAIGN: Final = re.compile(r"[^A-Za-z0-9._-]+")


class SheetError(Exception):
    """The file, or the way it is to be read, will not do. `remedy`: what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class Row:
    """One message that is asked for. `number`: among the rows with anything in them, from 1; `line`: where it ends in
    the file, the header being line 1. `fault`: why it cannot be read; then it has no `fields`."""

    __slots__ = ("cells", "fault", "fields", "line", "number", "tries")

    def __init__(self, line: int, number: int, cells: list[str]) -> None:
        self.line = line
        self.number = number
        self.cells = cells
        self.fields: Document = {}
        self.fault = ""
        self.tries = 0


class _Column(NamedTuple):
    place: int
    group: str
    """`vars`, `metadata`, or empty: the field itself."""
    name: str


def campaign_of(path: Path) -> str:
    """A campaign's id made of a file's name; empty when nothing of it can be in one."""
    return _CAMPAIGN.sub("-", path.stem).strip("-")[:64]


class Sheet:
    """One file and the way it is read. Raises SheetError at once for a header that will not do; a context manager."""

    def __init__(self, path: Path, campaign: str, usual: Mapping[str, Any], skipped: Iterable[str] = ()) -> None:
        """`usual`: fields of every message whose row does not say otherwise; `skipped`: columns to pass over. Raises
        OSError too."""
        self.path = path
        self._campaign = campaign
        self._usual = {**usual, "campaign": campaign}
        self._raw = path.open("rb", buffering=0)
        try:
            self.size = path.stat().st_size
            self._text = io.TextIOWrapper(io.BufferedReader(self._raw, 65_536), "utf-8-sig", newline="")
            self._before = 0
            self._rows = self._begin()
            self._columns = self._sorted({_plain(name) for name in skipped})
            self._check()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def position(self) -> int:
        """Bytes of the file that were read."""
        return min(self._raw.tell(), self.size)

    # -- the header ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Any:
        """The csv.reader, behind the header."""
        csv.field_size_limit(CELL)
        line = self._first()
        said = re.fullmatch(r"sep=(.)\s*", line)  # Excel's own first line
        if said:
            line, self._before = self._text.readline(), 1
        delimiter = said[1] if said else max(DELIMITERS, key=lambda each: len(_cells(line, each)))
        self.header = [name.strip() for name in _cells(line, delimiter)]
        if not any(self.header):
            raise SheetError("The file has no header.", "Its first line names the columns, such as: to,text")
        self._before += 1
        return csv.reader(self._text, delimiter=delimiter, strict=True)

    def _first(self) -> str:
        try:
            return self._text.readline(CELL)
        except UnicodeDecodeError as error:
            if error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise SheetError("The file is UTF-16.", "Save it as CSV UTF-8.") from None
            raise _not_utf8(1) from None

    def _sorted(self, skipped: set[str]) -> list[_Column]:
        """What each column is for. `unused` gets those that are for nothing."""
        self.unused: list[str] = []
        columns: list[_Column] = []
        for place, name in enumerate(self.header):
            plain = _plain(name)
            if plain in skipped or plain in OUR_OWN or not name:
                continue
            group, dot, rest = name.partition(".")
            if plain in RECIPIENT:
                columns.append(_Column(place, "", "to"))
            elif plain in FIELDS:
                columns.append(_Column(place, "", plain))
            elif dot and group.lower() in {"metadata", "vars"}:
                columns.append(_Column(place, group.lower(), rest.strip()))
            else:
                columns.append(_Column(place, "vars", name))
        return columns

    def _check(self) -> None:
        names = [(column.group, column.name) for column in self._columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        fields = {name for group, name in names if not group}
        if "campaign" in {_plain(name) for name in self.header}:
            raise SheetError("One import is one campaign.", "Leave the column `campaign` out; --campaign names it.")
        if twice:
            raise SheetError(f"Two columns are for {twice[0][1]!r}.", "Take one out, or pass over it: --skip COLUMN.")
        if "to" not in fields:
            told = ", ".join(self.header[:8])
            raise SheetError(
                f"No column has the numbers; there are: {told}.", f"Name one {' or '.join(RECIPIENT[:5])}."
            )
        self._check_text(fields)

    def _check_text(self, fields: set[str]) -> None:
        sources = [name for name in ("text", "template") if name in fields or name in self._usual]
        if len(sources) != 1:
            what = "has a text and a template" if sources else "says what to send"
            remedy = "Give one of: a column `text`, --text TEXT, --template NAME (its blanks are columns)."
            raise SheetError(f"{'It' if sources else 'Nothing'} {what}.", remedy)
        if sources[0] in fields and sources[0] in self._usual:
            raise SheetError(
                f"The file has a column `{sources[0]}`.", f"Leave --{sources[0]} out, or: --skip {sources[0]}"
            )
        if sources == ["text"]:
            self.unused = [column.name for column in self._columns if column.group == "vars"]
            self._columns = [column for column in self._columns if column.group != "vars"]

    # -- the rows -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Row]:
        """The rows, once. Raises SheetError where the file ends to be readable."""
        number = 0
        while (cells := self._next()) is not None:
            if any(cells):
                number += 1
                yield self._row(Row(self._rows.line_num + self._before, number, cells))

    def _next(self) -> list[str] | None:
        try:
            found: list[str] | None = next(self._rows, None)
        except UnicodeDecodeError:
            raise _not_utf8(self._rows.line_num + self._before + 1) from None
        except csv.Error as error:
            message = f"Line {self._rows.line_num + self._before} is no CSV ({error})."
            raise SheetError(message, "A quote inside a quoted cell is written twice.") from None
        return found

    def _row(self, row: Row) -> Row:
        if len(row.cells) > len(self.header):
            row.fault = (
                f"The row has {len(row.cells)} columns, the header {len(self.header)}: quote what holds a delimiter."
            )
            return row
        fields: Document = {**self._usual, "idempotency_key": f"campaign:{self._campaign}:{row.number}"}
        for place, group, name in self._columns:
            value = row.cells[place] if place < len(row.cells) else ""
            if group:
                fields.setdefault(group, {})[name] = value
            elif value:
                fields[name] = value
        calls = fields.get("max_attempts")
        if calls is not None:
            if not str(calls).isdecimal():
                row.fault = "`max_attempts` is a number."
                return row
            fields["max_attempts"] = int(calls)
        row.fields = fields
        return row


def _plain(name: str) -> str:
    """As it is compared: `Send At` is `send_at`."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _not_utf8(line: int) -> SheetError:
    return SheetError(
        f"The file is not UTF-8, at line {line} or soon after.", "Convert it: iconv -f WINDOWS-1252 -t UTF-8"
    )
