"""Which receipts wait for their message to be known?

A receipt may name only its provider's id, and come before smsd knows whose that is: before the call's own answer, or
before a look-up found it. Such a one is kept, of each id the greatest word, until the id becomes known or a day is
over. There may be at most MOST; then the oldest go, for they are the least likely to be asked for. As long as there is
none, which is one kept fact, no statement is spent on the question. It refuses to know what a receipt does.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from smsd.core.message import Instant
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.units import DAY
from smsd.core.verdict import Category
from smsd.store.connection import Handle
from smsd.store.statements import look_up_plain

MOST = 100_000
"""Receipts kept: some 20 MiB."""

KEPT_MS = DAY

SWEPT_AT_ONCE = 500
"""Rows that one sweep looks at: about a millisecond."""

PLACE = "SELECT nr, status FROM receipts WHERE provider = ? AND provider_message_id = ?"

COUNT = "SELECT count(*) FROM receipts"

ADD = (
    "INSERT INTO receipts (status, code, words, at, price, reading, provider, provider_message_id, received_at) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

OUTDO = "UPDATE receipts SET status = ?, code = ?, words = ?, at = ?, price = ?, reading = ? WHERE nr = ?"
"""When the first came stays: rows are in that order."""

OF_IDS = (
    "WITH v (provider, id) AS (VALUES {rows}) "
    "SELECT r.nr, r.provider, r.provider_message_id, r.status, r.code, r.words, r.at, r.price, r.reading "
    "FROM v CROSS JOIN receipts AS r ON r.provider = v.provider AND r.provider_message_id = v.id"
)

FORGET = "DELETE FROM receipts WHERE nr = ?"

FORGET_OLDEST = "DELETE FROM receipts WHERE nr = (SELECT nr FROM receipts ORDER BY nr LIMIT 1)"

SWEEP = (
    "DELETE FROM receipts WHERE nr IN (SELECT nr FROM receipts ORDER BY nr LIMIT ?) AND received_at NOT BETWEEN ? AND ?"
)
"""Also what came far in the future: the clock was set back since, and nothing that is kept may be kept for ever."""


class Kept:
    """The receipts that wait. undone() ends a transaction that was rolled back."""

    __slots__ = ("_count", "_most")

    def __init__(self, most: int = MOST) -> None:
        """`most`: receipts kept."""
        self._most = most
        self._count: int | None = None
        """How many there are; None: the database must be asked."""

    def undone(self) -> None:
        """What was written is not there, and what was deleted is."""
        self._count = None

    def count(self, db: Handle) -> int:
        """How many wait."""
        if self._count is None:
            self._count = db.execute(COUNT).fetchone()[0]
        return self._count

    def keep(self, db: Handle, receipt: Receipt, now: Instant) -> None:
        """Keep one that names its provider's id, unless a greater word of that is kept, or the same."""
        values = (
            int(receipt.status),
            receipt.code,
            receipt.words,
            receipt.at,
            receipt.price,
            None if receipt.reading is None else written(receipt.reading),
        )
        count = self.count(db)
        place = db.execute(PLACE, (receipt.provider, receipt.provider_message_id)).fetchone()
        if place is not None:
            if receipt.status > place[1]:
                db.execute(OUTDO, (*values, place[0]))
            return
        db.execute(ADD, (*values, receipt.provider, receipt.provider_message_id, now))
        if count >= self._most:
            db.execute(FORGET_OLDEST)
        else:
            self._count = count + 1

    def take(self, db: Handle, ids: Collection[tuple[str, str]]) -> list[Receipt]:
        """Those of these (provider, its id), in the order in which they came; they are kept no more."""
        if not self.count(db):
            return []
        found = sorted(look_up_plain(db, OF_IDS, list(ids)))
        for row in found:
            db.execute(FORGET, (row[0],))
        self._count = self.count(db) - len(found)
        return [receipt(row) for row in found]

    def sweep(self, db: Handle, now: Instant) -> None:
        """Some of those that waited too long go."""
        if self.count(db):
            gone = db.execute(SWEEP, (SWEPT_AT_ONCE, now - KEPT_MS, now + KEPT_MS)).rowcount
            self._count = self.count(db) - gone


def receipt(row: tuple[Any, ...]) -> Receipt:
    """A row of OF_IDS."""
    _, provider, id_, status, code, words, at, price, reading = row
    return Receipt(
        provider,
        Status(status),
        id_,
        code=code,
        words=words,
        at=at,
        price=price,
        reading=None if reading is None else read(reading),
    )


def written(reading: ReceiptReading) -> str:
    """As it is stored."""
    return json.dumps([reading.category.value, reading.action, reading.delays_ms, reading.max_attempts])


def read(text: str) -> ReceiptReading:
    """What was written()."""
    category, action, delays_ms, max_attempts = json.loads(text)
    return ReceiptReading(Category(category), action, tuple(delays_ms), max_attempts)
