"""What follows when delivery receipts come in?

The outbox applies them (`core.receipt` says how) and this module lets that take effect: what is not pending any more
leaves the schedule, what is sent again enters it, a provider whose code says that every message would end so is halted,
and the bus is told. A receipt outranks whatever was decided meanwhile: a message that waits for its retry is not sent
again, one that was held as UNCERTAIN was sent after all. It refuses to know how receipts came in and in which dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from smsd.clock import Clock
from smsd.core.events import Kind, about
from smsd.core.message import Instant, Message, State
from smsd.core.receipt import SOURCE, Receipt, halting_nothing, halts
from smsd.core.schedule import Schedule
from smsd.core.suppression import shown
from smsd.engine.bus import Bus
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.store import Outbox, Received

PIECE: Final = 100
"""Receipts written in one transaction: each takes the outbox 0.15 to 0.3 ms, and nothing else is written meanwhile."""


class Receipts:
    """Lets receipts count."""

    def __init__(
        self,
        outbox: Outbox,
        schedule: Schedule,
        feeder: Feeder,
        lanes: Mapping[str, Lane],
        bus: Bus,
        clock: Clock,
        dice: Callable[[], float],
        withdraw: Callable[[str], None],
        notice_expiry: Callable[[Instant], None],
        counted: Callable[[str, str, str], None],
    ) -> None:
        """`withdraw`: keeps a message's call from beginning. `counted`: provider, status and what became of it."""
        self._outbox = outbox
        self._schedule = schedule
        self._feeder = feeder
        self._lanes = lanes
        self._bus = bus
        self._clock = clock
        self._dice = dice
        self._withdraw = withdraw
        self._notice_expiry = notice_expiry
        self._counted = counted

    async def take(self, receipts: Sequence[Receipt]) -> list[Received]:
        """Durable when it comes back; one result each, in order.

        Written PIECE by PIECE, so that claims and acceptances come between. Raises StoreError: then those of earlier
        pieces count, and have taken effect, and the others do not. Whoever repeats all of them tells no news twice.
        """
        received: list[Received] = []
        for start in range(0, len(receipts), PIECE):
            received += await self._take(receipts[start : start + PIECE])
        return received

    async def _take(self, receipts: Sequence[Receipt]) -> list[Received]:
        for receipt in receipts:
            if receipt.id is not None:
                # An attempt that waits at the gate does not begin while this is written; should nothing come of it, it
                # waits for its turn again.
                self._withdraw(receipt.id)
        received = await self._outbox.receive(self._harmless(receipts), self._clock.wall(), self._dice())
        await self.applied(received)
        return received

    def _harmless(self, receipts: Sequence[Receipt]) -> list[Receipt]:
        """Those about providers that are not called have nothing to halt: when one is enabled again, that is a person's
        word on it."""
        return [each if each.provider in self._lanes else halting_nothing(each) for each in receipts]

    async def applied(self, received: Sequence[Received]) -> None:
        """Let what the outbox has written take effect, in memory and in providers' health, and tell."""
        for each in received:
            self._count(each)
            if each.message is None:
                self._tell_unmatched(each.receipt)
            elif each.news or each.proved:
                self._apply(each, each.message)
        for each in received:
            await self._halt(each)

    def _count(self, each: Received) -> None:
        result = "unmatched" if each.message is None else "applied" if each.news or each.proved else "known"
        self._counted(each.receipt.provider, each.receipt.status.name.lower(), result)

    def _tell_unmatched(self, receipt: Receipt) -> None:
        self._bus.publish(
            Kind.RECEIPT_UNMATCHED,
            self._clock.wall(),
            provider=receipt.provider,
            status=receipt.status.name.lower(),
            provider_message_id=receipt.provider_message_id,
            code=receipt.code,
            id=receipt.id,
        )

    def _apply(self, each: Received, message: Message) -> None:
        now = self._clock.wall()
        if each.suppressed:
            self._tell_suppressed(each, message, now)
        if each.before is message.state and not each.resent:
            return
        self._withdraw(message.id)
        if each.before is State.PENDING:
            self._schedule.drop(message.seq)
        fields: dict[str, object] = {
            **about(message),
            "provider": each.receipt.provider,
            "priority": message.priority.label,
            "attempt": each.n,
            "provider_message_id": each.receipt.provider_message_id,
        }
        if not each.proved and each.before is not None:
            fields["was"] = each.before.label
        if each.proved and each.before is not None:
            since = now - message.created_at
            self._bus.publish(Kind.MESSAGE_RECONCILED, now, **fields, since_accepted_ms=since, was=each.before.label)
        if message.state is State.DELIVERED:
            sent_at = message.sent_at if message.sent_at is not None else now
            self._bus.publish(Kind.MESSAGE_DELIVERED, now, **fields, since_sent_ms=max(0, now - sent_at))
        elif each.resent or message.state is State.UNDELIVERED:
            self._tell_missed(each, message, fields, now)

    def _tell_missed(self, each: Received, message: Message, fields: dict[str, object], now: Instant) -> None:
        error = message.error
        if error is not None:
            fields |= {"category": error.category.value, "code": error.code, "error": error.message}
        if not each.resent:
            self._bus.publish(Kind.MESSAGE_UNDELIVERED, now, **fields)
            return
        delay = max(0, message.due - now)
        most = message.max_attempts
        self._bus.publish(
            Kind.MESSAGE_RETRY_SCHEDULED, now, **fields, max_attempts=most, delay_ms=delay, undelivered=True
        )
        self._feeder.offer(message)
        self._feeder.wake()
        self._notice_expiry(message.expires_at)

    def _tell_suppressed(self, each: Received, message: Message, now: Instant) -> None:
        self._bus.publish(
            Kind.SUPPRESSION_ADDED,
            now,
            **about(message),
            provider=shown(each.receipt.provider),
            source=SOURCE,
            code=each.receipt.code,
        )

    async def _halt(self, each: Received) -> None:
        """The outbox has it already (Outbox.receive); so will the lane."""
        lane, message = self._lanes.get(each.receipt.provider), each.message
        if lane is None or message is None or not each.news:
            return
        reason = halts(each.receipt, message, each.n)
        if reason is not None:
            await lane.halt(reason, message.claimed_at or 0)
