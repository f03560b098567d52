"""Which deliberate bugs make the invariants of receipts and callbacks red? See test_bugs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from smsd.core.message import Attempt, Instant, Message, State
from smsd.core.receipt import Receipt, Status
from smsd.core.settlement import Settlement
from smsd.store import Received, Recovery
from smsd.store.sqlite import SqliteOutbox


class LetsWordsFall(SqliteOutbox):
    """A later receipt undoes what an earlier one said."""

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        await self._change(lambda db, _: db.execute("UPDATE attempts SET receipt = NULL").rowcount)
        return await super().receive(receipts, now, spread)


class Deaf(SqliteOutbox):
    """Some receipts are answered and not written down."""

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        found = []
        for each in receipts:
            message = None if each.id is None else await self.get(each.id, None)
            if message is not None and self.ignores(message, each):
                found.append(Received(each, message, message.state, each.attempt))
            else:
                found += await super().receive([each], now, spread)
        return found

    def ignores(self, message: Message, receipt: Receipt) -> bool:
        raise NotImplementedError


class IgnoresLateDeliveries(Deaf):
    """What did not arrive stays so, whatever comes later."""

    def ignores(self, message: Message, receipt: Receipt) -> bool:
        return receipt.status is Status.DELIVERED and message.state is State.UNDELIVERED


class SendsAgainAnyway(Deaf):
    """What waits to be sent again is sent, though it has arrived meanwhile."""

    def ignores(self, message: Message, receipt: Receipt) -> bool:
        return receipt.status is Status.DELIVERED and message.state is State.PENDING


class ForgetsEarlyOnes(SqliteOutbox):
    """A receipt that nobody waits for yet is not kept."""

    async def settle(self, settlement: Settlement, attempt: Attempt | None) -> bool:
        await self._change(lambda db, _: db.execute("DELETE FROM receipts").rowcount)
        return await super().settle(settlement, attempt)


class KeepsQuiet(SqliteOutbox):
    """That a message did not arrive is told to nobody."""

    async def receive(self, receipts: Sequence[Receipt], now: Instant, spread: float = 0.0) -> list[Received]:
        found = await super().receive(receipts, now, spread)
        silence = "DELETE FROM callbacks WHERE event = 'message.undelivered'"
        await self._change(lambda db, _: db.execute(silence).rowcount)
        return found


class MakesNewIds(SqliteOutbox):
    """After a restart what waits to be told has another id."""

    async def open(self, now: Instant, by_segments: Collection[str] = ()) -> Recovery:
        found = await super().open(now, by_segments)
        await self._change(lambda db, _: db.execute("UPDATE callbacks SET id = id || '-again'").rowcount)
        return found
