"""What does the outbox promise?

Two protocols and the values they speak in. Outbox: the transitions, each durable (committed and synced) before it
reports success; the meaning is executable in tests/store/contract.py. Records: the read side. They speak in the words
of `core`, never in queries, so that another database is another binding of the same contract.

This is the store's front door: whoever stands outside imports all of it from here, and from `operators` the parts for
operators. Inside, each imports the room it means.
"""

from __future__ import annotations

from smsd.store.answers import (
    NEVER,
    AcceptResult,
    Blocked,
    CampaignClosed,
    KeyConflict,
    Limited,
    Replay,
    Stored,
    Suppressed,
    WrongState,
)
from smsd.store.errors import DiskFullError, OutcomeUnknownError, StoreBrokenError, StoreError
from smsd.store.incoming import Arrival, Arrived, Inbound, Received, Tracking
from smsd.store.opening import Recovery, Start, Step
from smsd.store.outbox import Outbox
from smsd.store.pending import Claim, Due, FlowRow, Slice
from smsd.store.records import Records
from smsd.store.views import CallbackCounts, MinuteRow, Page, Person, PersonCounts, Query, Totals

__all__ = [
    "NEVER",
    "AcceptResult",
    "Arrival",
    "Arrived",
    "Blocked",
    "CallbackCounts",
    "CampaignClosed",
    "Claim",
    "DiskFullError",
    "Due",
    "FlowRow",
    "Inbound",
    "KeyConflict",
    "Limited",
    "MinuteRow",
    "Outbox",
    "OutcomeUnknownError",
    "Page",
    "Person",
    "PersonCounts",
    "Query",
    "Received",
    "Records",
    "Recovery",
    "Replay",
    "Slice",
    "Start",
    "Step",
    "StoreBrokenError",
    "StoreError",
    "Stored",
    "Suppressed",
    "Totals",
    "Tracking",
    "WrongState",
]
