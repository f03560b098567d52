"""Which version of the schema does the file have, and how does it become ours?

Migrations are numbered files beside this one (sql/sqlite/NNNN_name.sql), each applied in one transaction together with
its number (PRAGMA user_version, which is transactional), so that a crash leaves the file at one version or the next. A
file of a newer smsd is refused: an older one would not know what its columns mean. The file carries smsd's application
id, so that somebody else's database is never migrated.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from smsd.store.connection import Handle
from smsd.store.errors import StoreError

APPLICATION_ID = 0x736D7364
"""The letters "smsd"; https://www.sqlite.org/pragma.html#pragma_application_id."""

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file, as single statements."""

    number: int
    statements: tuple[str, ...]


def migrations() -> tuple[Migration, ...]:
    """All of them, in order. Raises StoreError when a number is missing or doubled: the installation is damaged."""
    found = []
    for file in resources.files("smsd.store").joinpath("sql", "sqlite").iterdir():
        match = _NAME.fullmatch(file.name)
        if match:
            found.append(Migration(int(match[1]), tuple(split(file.read_text("utf-8")))))
    found.sort(key=lambda migration: migration.number)
    if [m.number for m in found] != list(range(1, len(found) + 1)):
        raise StoreError("the schema files of this smsd are incomplete: install it again")
    return tuple(found)


def split(script: str) -> Iterator[str]:
    """The statements of a script. Statements end at a line's end, so sqlite3 can tell a whole one."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement.strip()
            statement = ""


def version(db: Handle) -> int:
    """The number of the last migration applied; 0: an empty file. Raises StoreError for a file that is not ours."""
    number: int = db.execute("PRAGMA user_version").fetchone()[0]
    owner: int = db.execute("PRAGMA application_id").fetchone()[0]
    empty = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0
    if owner != APPLICATION_ID and not (empty and number == 0):
        raise StoreError("the database belongs to another program: set [daemon] state_dir to smsd's own directory")
    return number


def migrate(db: Handle, to: tuple[Migration, ...] | None = None) -> int:
    """Bring the file to the newest version; the number of migrations applied. Raises StoreError for a newer file."""
    known = migrations() if to is None else to
    before = version(db)
    if before > len(known):
        raise StoreError(
            f"the outbox was written by a newer smsd (schema {before}, this one knows {len(known)}): "
            "install that version again, or restore a backup made before the upgrade"
        )
    for migration in known[before:]:
        _apply(db, migration)
    return len(known) - before


def _apply(db: Handle, migration: Migration) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in migration.statements:
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {migration.number}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
