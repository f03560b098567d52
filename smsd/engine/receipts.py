"""What does a proof from outside change?

A receipt that carries our message id proves that an attempt was taken, whether its answer was lost, is still on its way
or said that nobody knows. It outranks whatever was decided meanwhile: a message that waits for its retry is not sent
again, one that was held as UNCERTAIN is sent after all. What a receipt says beyond that (delivered or not) and how it
comes in is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from smsd.clock import Clock
from smsd.core.events import Kind, about
from smsd.core.message import State
from smsd.core.schedule import Schedule
from smsd.engine.bus import Bus
from smsd.store import Outbox, Records


@dataclass(frozen=True, slots=True)
class Proof:
    """A provider said of its own accord that it took this attempt."""

    id: str
    attempt: int
    provider: str
    provider_message_id: str


class Receipts:
    """Lets proofs count."""

    def __init__(
        self,
        outbox: Outbox,
        records: Records,
        schedule: Schedule,
        bus: Bus,
        clock: Clock,
        withdraw: Callable[[int], None],
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._withdraw = withdraw
        self._schedule = schedule
        self._bus = bus
        self._clock = clock

    async def prove(self, proof: Proof) -> bool:
        """True: the message is sent by it, which was not known before. Raises StoreError."""
        now = self._clock.wall()
        message = await self._records.get(proof.id, None)
        if message is None:
            return False
        # An attempt that waits at the gate does not begin while this is written; should nothing come of it, it waits
        # for its turn again.
        self._withdraw(message.seq)
        proved = await self._outbox.prove(proof.id, proof.attempt, proof.provider, proof.provider_message_id, now)
        if proved is None or proved.message.state is proved.before:
            return False
        message = proved.message
        if proved.before is State.PENDING:
            self._schedule.drop(message.seq)
        self._bus.publish(
            Kind.MESSAGE_RECONCILED,
            now,
            **about(message),
            provider=proof.provider,
            priority=message.priority.label,
            attempt=proof.attempt,
            provider_message_id=proof.provider_message_id,
            since_accepted_ms=now - message.created_at,
            was=proved.before.label,
        )
        return True
