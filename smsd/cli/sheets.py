"""What does a CSV file ask for, row by row?

A Sheet reads the file as it goes, never whole: UTF-8 with or without a byte order mark, columns parted by commas,
semicolons, tabs or `|` as the header says, quotes by RFC 4180. Columns named like the fields of a message are those
fields, whatever their case; the others fill the blanks of a template. Which values are valid the daemon decides.

The delimiter is the one that parts the header into the most columns: a body's commas say nothing about it, and guessing
from many lines (csv.Sniffer) guesses wrong where texts hold commas.

A row's number is in its key, so it may be passed over only where it is known to be one row, mended or not. A byte that
is no UTF-8 and a cell that is too long within its line are faults of their row. A quote that stands wrong ends the
file: nobody knows how many rows the author meant behind it, and another count would send some of them twice.
"""

from __future__ import annotations

import csv
import io
import os
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
"""Columns that a file of refused rows has in front (see refusing.py). They mark it: what `harmless` did is undone, and
rows keep the numbers they had."""

DELIMITERS: Final = (",", ";", "\t", "|")
CELL: Final = 65_536
"""Characters of a cell, at most: a quote that is never closed must not swallow the file."""
LONGEST: Final = 1_048_576
"""Characters of a line and of what is read in search of a closing quote, at most."""
STDIN: Final = Path("-")

VERBATIM: Final = frozenset({"text", "idempotency_key"})
"""Fields whose blanks in front and behind are meant; so are those of `vars` and `metadata`."""

_FORMULA: Final = frozenset("=+-@\t\r")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")
_NO_UTF8: Final = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` (PEP 383) makes of such bytes."""
_WHOLE: Final = re.compile(r"[0-9]{1,9}")
_EMPTY: Final = re.compile(r'[\s,;|"]+')
_CAMPAIGN: Final = re.compile(r"[^A-Za-z0-9._-]+")


class SheetError(Exception):
    """The file, or the way it is to be read, will not do. `remedy`: what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def harmless(cell: str) -> str:
    """As text to a spreadsheet: what begins like a formula gets an apostrophe in front, unless it is a plain number.
    What has apostrophes before that gets one more, so that `meant` finds every cell again."""
    return f"'{cell}" if cell.lstrip("'")[:1] in _FORMULA and not _NUMBER.fullmatch(cell) else cell


def meant(cell: str) -> str:
    """The cell that `harmless` was given."""
    return cell[1:] if cell[:1] == "'" and cell.lstrip("'")[:1] in _FORMULA else cell


class Row:
    """One message that is asked for. `number`: among the rows with anything in them, from 1, or the one it had when it
    was refused; `line`: where it ends in the file, the header being line 1. `fault`: why it cannot be read; then it has
    no `fields`. `key`: its idempotency key; empty when it has one of its own that cannot be read."""

    __slots__ = ("cells", "fault", "fields", "key", "line", "number", "tries")

    def __init__(self, line: int, number: int, cells: list[str]) -> None:
        self.line = line
        self.number = number
        self.cells = cells
        self.fields: Document = {}
        self.fault = ""
        self.key = ""
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
        """`path`: STDIN for standard input; `usual`: fields of every message whose row does not say otherwise;
        `skipped`: columns to pass over. Raises OSError too."""
        self.path = path
        self._campaign = campaign
        self._usual = {**usual, "campaign": campaign}
        self._raw = io.FileIO(0, closefd=False) if path == STDIN else io.FileIO(path)
        try:
            self.size = os.fstat(self._raw.fileno()).st_size  # 0 of a pipe
            buffered = io.BufferedReader(self._raw, 65_536)
            self._text = io.TextIOWrapper(buffered, "utf-8-sig", "surrogateescape", newline="")
            self._before = 0
            self._fault = ""
            """What is wrong with a line of the row that is read."""
            self._rows = self._begin()
            self._columns = self._sorted({plain(name) for name in skipped})
            self._check()
        except BaseException:
            self._raw.close()
            raise

    def __enter__(self) -> Sheet:
        return self

    def __exit__(self, *_: object) -> None:
        self._raw.close()

    def fileno(self) -> int:
        """Of the open file."""
        return self._raw.fileno()

    def position(self) -> int:
        """Bytes of the file that were read; 0 when nobody knows how many there are."""
        return min(self._raw.tell(), self.size) if self.size else 0

    def is_at(self, path: Path) -> bool:
        """Whether this path leads to the very file."""
        try:
            return os.path.samestat(path.stat(), os.fstat(self._raw.fileno()))
        except FileNotFoundError:
            return False

    # -- the header ---------------------------------------------------------------------------------------------------

    def _begin(self) -> Any:
        """The csv.reader, behind the header."""
        csv.field_size_limit(LONGEST)
        line = self._first()
        said = re.fullmatch(r"sep=([^\w\s\"]|\t)\s*", line)  # Excel's own first line
        if said:
            line = self._first()
        delimiter = said[1] if said else max(DELIMITERS, key=lambda each: _likely(line, each))
        header = [name.strip() for name in _cells(line, delimiter)]
        if not any(header):
            raise SheetError("The file has no header.", "Its first line names the columns, such as: to,text")
        self.marked = _is_marked(header)
        """Whether it is a file of refused rows."""
        self.header = [meant(name) for name in header] if self.marked else header
        self.plain = [plain(name) for name in self.header]
        """The header as names are compared."""
        return csv.reader(self._lines(), delimiter=delimiter, strict=True)

    def _first(self) -> str:
        """The next line with anything in it; the header has one line."""
        self._before += 1
        line = self._read(self._before)
        while _EMPTY.fullmatch(line):
            self._before += 1
            line = self._read(self._before)
        if line.startswith(("\udcff\udcfe", "\udcfe\udcff")):  # its byte order marks
            raise SheetError("The file is UTF-16.", "Save it as CSV UTF-8.")
        if _NO_UTF8.search(line):
            raise SheetError(f"Line {self._before} is not UTF-8.", CONVERT)
        return line

    def _read(self, number: int) -> str:
        line = self._text.readline(LONGEST)
        if len(line) == LONGEST:
            raise SheetError(f"Line {number} has more than {LONGEST:,} characters.", "A line is a message.")
        return line

    def _sorted(self, skipped: set[str]) -> list[_Column]:
        """What each column is for. `unused` gets those that are for nothing."""
        self.unused: list[str] = []
        columns: list[_Column] = []
        if self.marked:
            skipped = skipped - {"idempotency_key"}
        is_keyed = "idempotency_key" in self.plain and "idempotency_key" not in skipped
        self.key_place = self.plain.index("idempotency_key") if is_keyed else None
        """Of the column with keys of the rows' own."""
        for place, name in enumerate(self.header):
            named = self.plain[place]
            if named in skipped or named in OUR_OWN or not name:
                continue
            group, dot, rest = name.partition(".")
            if named in RECIPIENT:
                columns.append(_Column(place, "", "to"))
            elif named in FIELDS:
                columns.append(_Column(place, "", named))
            elif dot and group.lower() in {"metadata", "vars"}:
                columns.append(_Column(place, group.lower(), rest.strip()))
            else:
                columns.append(_Column(place, "vars", name))
        return columns

    def _check(self) -> None:
        names = [(column.group, column.name) for column in self._columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        fields = {name for group, name in names if not group}
        if "campaign" in self.plain:
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
            self.unused = [self.header[column.place] for column in self._columns if column.group == "vars"]
            self._columns = [column for column in self._columns if column.group != "vars"]

    # -- the rows -----------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Row]:
        """The rows, once. Raises SheetError where the file ends to be readable."""
        number = 0
        while (cells := self._next()) is not None:
            if any(cells):
                number += 1
                yield self._row(Row(self._line(), number, cells))

    def _line(self) -> int:
        """The last one that was read."""
        return int(self._rows.line_num) + self._before

    def _lines(self) -> Iterator[str]:
        while line := self._read(self._line() + 1):
            if not line.isascii() and (found := _NO_UTF8.search(line)):
                self._fault = f"The byte 0x{ord(found[0]) - 0xDC00:X} is not UTF-8. {CONVERT}"
            yield line

    def _next(self) -> list[str] | None:
        begins = self._line() + 1
        self._fault = ""
        try:
            found: list[str] | None = next(self._rows, None)
        except csv.Error as error:
            raise SheetError(f"The row that begins in line {begins} is no CSV ({error}).", CLOSE) from None
        if found is None:
            return None
        for cell in found:
            if len(cell) > CELL:
                if "\n" in cell or "\r" in cell:
                    raise SheetError(f"The row that begins in line {begins} has a cell {TOO_LONG}.", CLOSE)
                self._fault = f"A cell is {TOO_LONG}."
        return [meant(cell) for cell in found] if self.marked else found

    def _row(self, row: Row) -> Row:
        row.fault = self._fault
        is_wide = len(row.cells) > len(self.header)
        if is_wide and not row.fault:
            row.fault = (
                f"The row has {len(row.cells)} columns, the header {len(self.header)}: quote what holds a delimiter."
            )
        own = _cell(row, self.key_place)
        if self.marked:
            self._renumber(row, own)
        row.key = "" if is_wide and self.key_place is not None else own or f"campaign:{self._campaign}:{row.number}"
        if not row.fault:
            self._fill(row)
        return row

    def _renumber(self, row: Row, own: str) -> None:
        """As it was when it was refused: the number it has here belongs to another row of the first file."""
        said = _cell(row, self.plain.index("error_row")).strip()
        if _WHOLE.fullmatch(said):
            row.number = int(said)
        elif not own and not row.fault:
            row.fault = "`error_row` is not its number: a row that was added needs an `idempotency_key` of its own."

    def _fill(self, row: Row) -> None:
        """Its fields, or its fault."""
        fields: Document = {**self._usual, "idempotency_key": row.key}
        for place, group, name in self._columns:
            value = row.cells[place] if place < len(row.cells) else ""
            if group:
                fields.setdefault(group, {})[name] = value
            elif value := value if name in VERBATIM else value.strip():
                fields[name] = value
        calls = fields.get("max_attempts")
        if calls is not None:
            if not _WHOLE.fullmatch(calls):
                row.fault = "`max_attempts` is a number."
                return
            fields["max_attempts"] = int(calls)
        row.fields = fields


def plain(name: str) -> str:
    """As it is compared: `Send At` is `send_at`."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _cell(row: Row, place: int | None) -> str:
    return row.cells[place] if place is not None and place < len(row.cells) else ""


def _cells(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _is_marked(header: list[str]) -> bool:
    return {plain(name) for name in header}.issuperset(OUR_OWN)


def _likely(line: str, delimiter: str) -> tuple[bool, int]:
    """How much it looks like the delimiter of this header."""
    header = _cells(line, delimiter)
    return _is_marked(header), len(header)


CONVERT: Final = "Convert the file: iconv -f WINDOWS-1252 -t UTF-8"
TOO_LONG: Final = f"of more than {CELL:,} characters"
CLOSE: Final = "A quote that opens a cell is closed, and one inside such a cell is written twice."
