"""Do many receipts of one request hold up nothing else, and do those that were written take effect?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from smsd.core.events import Kind
from smsd.core.message import Instant
from smsd.core.receipt import Receipt, Status
from smsd.engine.receipts import PIECE
from smsd.store import Received, StoreError
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import Rig
from tests.engine.way_back import of


async def receipts_of(rig: Rig) -> list[Receipt]:
    """That a first message was delivered, of many that nobody knows, and that a last one was."""
    ids = [await rig.accepted(text=f"number {n}") for n in range(2)]
    await rig.seconds(5)
    sids = [(await rig.message(id)).provider_message_id for id in ids]
    first, last = [Receipt("main", Status.DELIVERED, sid, id, 1) for sid, id in zip(sids, ids, strict=True)]
    return [first, *(Receipt("main", Status.SENT, f"D{n}") for n in range(2 * PIECE)), last]


def told(rig: Rig) -> list[object]:
    """Which messages are known to have been delivered."""
    return [event.fields["id"] for event in of(rig, Kind.MESSAGE_DELIVERED)]


def test_other_news_come_between(rig: Rig) -> None:
    """What is wanted while the first piece is written is answered before the second one."""
    order: list[object] = []
    wanted: list[asyncio.Task[None]] = []

    async def want(box: SqliteOutbox, now: Instant) -> None:
        await box.beat(now)
        order.append("something else")

    class Busy(SqliteOutbox):
        async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
            if not wanted:
                wanted.append(asyncio.create_task(want(self, now)))
            received = await super().receive(receipts, now, spread)
            order.append(len(receipts))
            return received

    rig.outbox = Busy

    async def story() -> None:
        await rig.start()
        receipts = await receipts_of(rig)
        received = await rig.engine.service.receipts.take(receipts)
        assert [each.receipt for each in received] == receipts
        assert order == [PIECE, "something else", PIECE, 2]
        assert told(rig) == [receipts[0].id, receipts[-1].id]
        await rig.stop()

    rig.run(story)


def test_what_was_written_before_a_failure_takes_effect(rig: Rig) -> None:
    """The provider repeats all of it, and only the rest is news."""
    room: list[bool] = []

    class Full(SqliteOutbox):
        async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
            if len(receipts) < PIECE and not room:
                raise StoreError("the disk is full")
            return await super().receive(receipts, now, spread)

    rig.outbox = Full

    async def story() -> None:
        await rig.start()
        receipts = await receipts_of(rig)
        with pytest.raises(StoreError, match="full"):
            await rig.engine.service.receipts.take(receipts)
        assert told(rig) == [receipts[0].id]
        room.append(True)
        received = await rig.engine.service.receipts.take(receipts)
        assert [each.news for each in received if each.message is not None] == [False, True]
        assert told(rig) == [receipts[0].id, receipts[-1].id]
        await rig.stop()

    rig.run(story)
