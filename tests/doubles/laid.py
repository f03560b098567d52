"""How does a test get an empty outbox without migrating one?

The migrations take more than all else of a first start, and thousands of tests are about what comes after it. So once
a process the real ones make a file, by the real connection with the real settings, and each outbox begins as a copy of
it. It is what a first start finds between its migrations and its own transaction: nothing in it is any outbox's own
(its key for cursors, its boot, its times), all that is written by the start that follows. tests/store/test_laid.py
proves that the two ways end in the same file. Tests of opening, migrating, restoring, of permissions, power cuts and
the daemon do not use it.
"""

from __future__ import annotations

import functools
import os
import tempfile
from contextlib import closing
from pathlib import Path

from smsd.store.connection import open_private
from smsd.store.migrate import migrate
from smsd.store.recovery import prepare_writer


@functools.cache
def migrated() -> bytes:
    """The file of an outbox that was migrated and not yet started. Its -wal is emptied into it."""
    with tempfile.TemporaryDirectory(prefix="smsd-laid-") as directory:
        path = Path(directory) / "outbox.db"
        with closing(open_private(path)) as db:
            prepare_writer(db, "normal")
            migrate(db)
        assert [each.name for each in Path(directory).iterdir()] == [path.name]
        return path.read_bytes()


def lay(path: Path) -> None:
    """Put one there, private as smsd makes it, with the directory it lies in; what is there already stays."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(migrated())
