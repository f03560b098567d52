"""What may go wrong with the outbox, and what does each failure promise?

Whoever catches one knows from its class whether something was written and whether to try again. It refuses to know how
a failure of SQLite or of the disk is recognised (`faults`).
"""

from __future__ import annotations


class StoreError(Exception):
    """The outbox could not do it. The message says what happened and what to do."""


class DiskFullError(StoreError):
    """There is no room. Nothing was written; nothing was promised; it may work again once space is freed."""


class OutcomeUnknownError(StoreError):
    """The commit or its sync failed: it may or may not be on disk. The outbox is broken after this; restart smsd."""


class StoreBrokenError(StoreError):
    """The outbox stopped for good (corrupt, replaced, read-only, I/O error). Nothing was promised."""
