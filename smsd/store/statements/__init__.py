"""How is the outbox's SQL written, and how is it run over many rows at once?

The text of every statement that takes part in the daily flow stands in the rooms of this package, one for each subject,
so that one test can ask SQLite for the plan of each (tests/store/test_query_plans.py). What they are used for is said
where they are used. Here are the tools that they are written and run with, and the words that begin and end a
transaction.

Set-wise statements take their rows as VALUES of bound parameters. SQLite wants the number of rows in the text, so a set
is cut into sizes of SIZES: few texts, each prepared once. A partial index is used only by a query that repeats its
condition literally (`state = 0`), hence the numbers in the texts. CROSS JOIN fixes the order: the small set drives, the
table is searched (https://www.sqlite.org/optoverview.html#crossjoin).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Any

from smsd.store.connection import Handle

SIZES = (256, 64, 16, 4, 1)
"""Rows of one statement. 256 rows of 27 columns stay far below SQLite's 32,766 parameters."""

BEGIN = "BEGIN IMMEDIATE"
COMMIT = "COMMIT"
ROLLBACK = "ROLLBACK"
CHECKPOINT = "PRAGMA wal_checkpoint(PASSIVE)"
CHECKPOINT_LAST = "PRAGMA wal_checkpoint(TRUNCATE)"


def prefixed(alias: str, columns: str) -> str:
    """The names of a list of columns, each with a table's alias."""
    return ", ".join(f"{alias}.{name.strip()}" for name in columns.split(","))


@cache
def with_rows(template: str, columns: int, rows: int) -> str:
    """The template with its {rows} replaced by `rows` tuples of `columns` parameters."""
    one = f"({', '.join('?' * columns)})"
    return template.replace("{rows}", ", ".join([one] * rows))


def pieces(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    """The rows in order, in pieces of SIZES."""
    start = 0
    for size in SIZES:
        while len(rows) - start >= size:
            yield rows[start : start + size]
            start += size


def listed(columns: str) -> str:
    """The {rows} of a change as a table v with these columns.

    Not a WITH clause: sqlite3 knows the number of changed rows only of statements that begin with INSERT or UPDATE.
    """
    named = ", ".join(f"column{n} AS {name.strip()}" for n, name in enumerate(columns.split(","), 1))
    return f"(SELECT {named} FROM (VALUES {{rows}})) AS v"


def change(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> int:
    """Run a set-wise change over the rows; the number of rows changed."""
    changed = 0
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        changed += db.execute(sql, tuple(chain.from_iterable(piece))).rowcount
    return changed


def expect(changed: int, wanted: int) -> None:
    """A set-wise change must have met every row that was looked up in the same transaction."""
    if changed != wanted:
        raise RuntimeError(f"{changed} rows changed where {wanted} were found in the same transaction")


def look_up(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Run a set-wise query over the rows; its arrays. The template selects one json_group_array."""
    found: list[Any] = []
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        found += arrays(db, sql, tuple(chain.from_iterable(piece)))
    return found


def look_up_plain(db: Handle, template: str, rows: Sequence[Sequence[object]]) -> list[Any]:
    """Run a set-wise query over the rows; its rows."""
    found: list[Any] = []
    for piece in pieces(rows):
        sql = with_rows(template, len(piece[0]), len(piece))
        found += db.execute(sql, tuple(chain.from_iterable(piece))).fetchall()
    return found


def arrays(db: Handle, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
    """The rows of a query made by grouped()."""
    result: list[Any] = json.loads(db.execute(sql, parameters).fetchone()[0])
    return result


def grouped(columns: str, source: str) -> str:
    """A query whose one row is the JSON array of all its rows, in the order of `source`."""
    return f"SELECT json_group_array(json_array({columns})) FROM {source}"
