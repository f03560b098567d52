"""Whose is a provider's id, and who texted whom last?

Two small tables that let what comes back find its message: ids of messages at providers whose receipts name nothing
else, and the last message between two numbers, for texts that answer it. Both cost a write for each message sent, so
they are kept only for the providers that were named (`store.Tracking`). It refuses to know what comes back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from smsd.core.message import Instant
from smsd.store.connection import Handle
from smsd.store.incoming import Tracking
from smsd.store.statements import change, listed


class Known(NamedTuple):
    """An attempt's id at its provider became known."""

    provider: str
    provider_message_id: str
    seq: int
    n: int


ADD_IDS = "INSERT OR REPLACE INTO provider_ids (provider, provider_message_id, seq, n) VALUES {rows}"
"""An id that a provider uses again means its newest message."""

OWNER = "SELECT seq, n FROM provider_ids WHERE provider = ? AND provider_message_id = ?"

FOUND_OWNER = (
    "SELECT seq, n FROM attempts WHERE outcome IN ('unknown', 'crashed') AND provider_message_id = ? "
    "AND +provider = ? AND seq > 0 ORDER BY nr DESC LIMIT 1"
)
"""Whoever got the id by a look-up: those are indexed at every provider. Numbers below 0 are calls that a restore
carried over."""

ADD_THREADS = (
    "INSERT INTO threads (recipient, sender, provider, tenant, message, at) "
    "SELECT m.recipient, coalesce(m.sender, ''), m.provider, m.tenant, m.id, v.at "
    f"FROM {listed('seq, at')} CROSS JOIN messages AS m ON m.seq = v.seq WHERE m.provider IS NOT NULL "
    "ON CONFLICT (recipient, sender) DO UPDATE SET provider = excluded.provider, tenant = excluded.tenant, "
    "message = excluded.message, at = excluded.at"
)


class Tracks:
    """Writes them down, as far as they are asked for."""

    __slots__ = ("tracking",)

    def __init__(self) -> None:
        self.tracking = Tracking()

    def ids(self, db: Handle, known: Sequence[Known]) -> None:
        """These ids became known."""
        change(db, ADD_IDS, [one for one in known if one.provider in self.tracking.ids])

    def sent(self, db: Handle, sent: Sequence[tuple[str, int, Instant]]) -> None:
        """These messages were taken: by whom, their numbers, and when. Their rows say so already."""
        change(db, ADD_THREADS, [(seq, at) for provider, seq, at in sent if provider in self.tracking.threads])

    def owner(self, db: Handle, provider: str, provider_message_id: str) -> tuple[int, int] | None:
        """The message and the attempt that have the id; None: nobody, as far as is written down."""
        found = db.execute(OWNER, (provider, provider_message_id)).fetchone()
        if found is None:
            found = db.execute(FOUND_OWNER, (provider_message_id, provider)).fetchone()
        return None if found is None else (found[0], found[1])
