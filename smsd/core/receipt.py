"""What does a delivery receipt change?

A receipt is the provider's later word on a call: it still waits there, it went out, it arrived, it did not. Receipts
come in any order, more than once, before the call's own answer and after everybody has stopped waiting for it. So each
is compared with what is known: a greater word counts, a lesser one never undoes it, the same one changes nothing.

Every receipt proves that the call was taken. `delivered` is final, whichever attempt it is about. That a message did
not arrive counts only from its latest attempt, for a later one may yet arrive; then the code decides what follows
(ReceiptReading). It refuses to know whose dialect a receipt was written in, and where messages are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from smsd.core.message import Instant
from smsd.core.verdict import Category


class Status(IntEnum):
    """What a receipt says, a lesser word first. The numbers are stored; they never change meaning."""

    QUEUED = 0
    """The provider has it."""
    SENT = 1
    """It left the provider for a carrier."""
    UNDELIVERED = 2
    """It did not arrive, and the provider tries no more."""
    DELIVERED = 3


Action = Literal["final", "resend", "halt", "suppress"]


@dataclass(frozen=True, slots=True)
class ReceiptReading:
    """What a code in a delivery receipt means. The provider had taken the message; the receipt tells how it ended.

    Actions: "final" (it ended and nothing follows), "resend" (it is sent again after `delays_ms`), "halt" (the provider
    halts: every message would end so), "suppress" (the number takes nothing more from this sender).
    """

    category: Category
    action: Action
    delays_ms: tuple[int, ...] = ()
    """How long after the receipt the second, third, ... call may go; the last one holds for all beyond it."""
    max_attempts: int = 1
    """Calls in all, the first included."""

    def __post_init__(self) -> None:
        if (self.action == "resend") != bool(self.delays_ms) or (self.action == "resend") != (self.max_attempts > 1):
            raise ValueError("action: resend needs delays_ms and max_attempts above 1, and no other action takes them")


NO_CODE = ReceiptReading(Category.UNDELIVERED, "final")
"""Of a receipt that gives no reason, or one that nobody knows."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt, ready to be applied. It is about message `id` (ours), or about whichever has the provider's id.

    At least one of the two ids is there. `reading` is set exactly when the status is UNDELIVERED.
    """

    provider: str
    """The provider's name in the configuration."""
    status: Status
    provider_message_id: str | None
    id: str | None = None
    attempt: int | None = None
    """Which call of message `id` it is about; None: the latest, or the one that has the provider's id."""
    code: str | None = None
    words: str = ""
    """What the provider says of it, without numbers and texts."""
    at: Instant | None = None
    """When it happened, by the provider's clock; None: it does not say."""
    price: str | None = None
    reading: ReceiptReading | None = None
