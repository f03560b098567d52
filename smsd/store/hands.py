"""What is a part for operators given to work with?

Hands: one to change something inside a transaction of the writer, one to read, and the ledger whose caches its changes
must keep true. Apart from `desk`, which puts the parts together, so that they need not know it. It refuses to know when
a transaction is committed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from smsd.store.connection import ConnectionFactory, Handle
from smsd.store.deltas import Deltas
from smsd.store.redaction import Redaction
from smsd.store.transitions import Ledger

T = TypeVar("T")


class Changing(Protocol):
    """Runs a function inside a transaction of the writer; its result once that is durable. `size`: rows it writes."""

    async def __call__(self, run: Callable[[Handle, Deltas], T], size: int = 1) -> T: ...


class Reading(Protocol):
    """Runs a function on the reading connection."""

    async def __call__(self, fn: Callable[[Handle], T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Hands:
    """What a part works with."""

    change: Changing
    read: Reading
    ledger: Ledger
    path: Path
    """The outbox's file, for a part that reads on a connection of its own."""
    connect: ConnectionFactory
    redaction: Redaction
    clean: Callable[[], None]
    """Says that something was overwritten which is not to stay readable in the -wal. Returns at once."""
