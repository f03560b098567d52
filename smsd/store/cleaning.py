"""When is what was redacted or removed gone from the files, too?

It is overwritten where it stood (secure_delete), but two places still hold it. The -wal, whose frames stay until it
begins anew and others come to lie over them: it is emptied. And the gaps in pages from which SQLite moved rows to other
pages, between their cell pointers and their cells: a small database is written anew, once an hour at most. A large one
keeps its gaps, for to write it anew would hold up sending; backups have theirs filled (`snapshot`). It refuses to know
when the writer is idle, and what is to be clean.
"""

from __future__ import annotations

from typing import Final

from smsd.store import statements as sql
from smsd.store.connection import Handle

EMPTY_AGAIN_S: Final = 5.0
"""Between two tries to empty the -wal, while a reader stands in the way."""

REWRITE_BYTES: Final = 3 * 1024 * 1024
REWRITE_AGAIN_S: Final = 3_600.0
"""A database no larger than this is written anew (VACUUM), which takes some 15 ms a MiB; not before so long is over."""


class Cleaning:
    """What is to be cleaned, and when. Times: the event loop's, in seconds."""

    def __init__(self) -> None:
        self._unclean = False
        self._empty_at = 0.0
        self._gaps = False
        self._rewrite_at = 0.0

    def ask(self) -> None:
        """Something was overwritten that is not to stay readable."""
        self._unclean = self._gaps = True

    def due(self) -> float | None:
        """From when on something is to be done; None: nothing is."""
        times = [at for at, wanted in ((self._empty_at, self._unclean), (self._rewrite_at, self._gaps)) if wanted]
        return min(times, default=None)

    def is_due(self, now: float) -> bool:
        """Whether something is to be done now."""
        due = self.due()
        return due is not None and now >= due

    def begin(self, now: float, *, rewrite: bool) -> bool:
        """It is done now; whether to write the database anew, if `rewrite` permits. Who asks meanwhile asks anew."""
        rewrite = rewrite and self._gaps and now >= self._rewrite_at
        self._unclean = False
        if rewrite:
            self._gaps, self._rewrite_at = False, now + REWRITE_AGAIN_S
        return rewrite

    def again(self, now: float, *, rewrite: bool) -> None:
        """It was not done. `rewrite`: as it was begun."""
        self._unclean, self._empty_at = True, now + EMPTY_AGAIN_S
        self._gaps = self._gaps or rewrite


def clean(db: Handle, *, rewrite: bool) -> bool:
    """Write the database anew if that is wanted and it is small; then copy the -wal into it and cut that to nothing.
    False: a reader stands in the way of the latter. It waits for nobody, for commits would wait behind it."""
    pages, size, waits = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size", "busy_timeout")
    )
    db.execute("PRAGMA busy_timeout = 0")
    try:
        if rewrite and pages * size <= REWRITE_BYTES:
            db.execute("VACUUM").fetchall()
        busy: int = db.execute(sql.CHECKPOINT_LAST).fetchone()[0]
    finally:
        db.execute(f"PRAGMA busy_timeout = {waits}")
    return not busy
