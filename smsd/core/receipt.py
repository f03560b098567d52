"""What does a delivery receipt change?

A receipt is the provider's later word on a call: it still waits there, it went out, it arrived, it did not. Receipts
come in any order, more than once, before the call's own answer and after everybody has stopped waiting for it. So each
is compared with what is known: a greater word counts, a lesser one never undoes it, the same one changes nothing.

Every receipt proves that the call was taken. `delivered` is final, whichever attempt it is about. That a message did
not arrive counts only from its latest attempt, for a later one may yet arrive; then the code decides what follows
(ReceiptReading; the operator's code lines come before the dialect's table: `reading_of`). It refuses to know whose
dialect a receipt was written in, and where messages are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, Literal

from smsd.core.codes import CodeBook, CodeRule
from smsd.core.lifecycle import Event, may, step
from smsd.core.message import Error, Instant, Message, State
from smsd.core.suppression import Suppression
from smsd.core.verdict import Category

RESEND_DELAYS_MS: Final = (120_000,)
"""Where an operator's line says "retry" and neither it nor the dialect's table says when."""

RESEND_CALLS: Final = 2
"""Calls in all, where neither says how many."""

SCATTER_MS: Final = 1_000
"""Added at random to what is sent again: receipts come in crowds."""

SOURCE: Final = "receipt"
"""Where a suppression comes from that a receipt brought."""


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


@dataclass(frozen=True, slots=True)
class Tried:
    """What is known of the attempt that a receipt is about."""

    n: int
    since: Instant
    """When it began."""
    taken: bool
    """It is known that the provider took the call."""
    word: int | None = None
    """The greatest word of its receipts so far."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a receipt does to its message."""

    state: State
    """As it is afterwards."""
    news: bool = False
    """It says more of its attempt than was known."""
    events: tuple[Event, ...] = ()
    """What the message meets, in order; none: it stays as it is."""
    proved: bool = False
    """It is among the events that the call was taken, which nobody knew."""
    at: Instant = 0
    """When it happened: by the provider's clock, as far as that can be."""
    due: Instant | None = None
    """RESEND: when it is called again."""
    error: Error | None = None
    """Why it did not arrive; with MISS."""
    suppress: Suppression | None = None


def judge(receipt: Receipt, message: Message, tried: Tried, now: Instant, spread: float) -> Judgement:
    """What the receipt of attempt `tried` does to the message. `spread`: a draw from [0, 1).

    A word that is not greater than the attempt's last one does nothing. QUEUED and SENT only prove a call that nobody
    knew was taken. UNDELIVERED of a call that is not the latest is kept with that call and changes nothing else; but
    that the recipient wants no more texts counts in any case.
    """
    if tried.word is not None and receipt.status <= tried.word:
        return Judgement(message.state)
    at = _happened(receipt, message, tried, now)
    missed = receipt.status is Status.UNDELIVERED
    reading = (receipt.reading or NO_CODE) if missed else None
    error = _error(receipt, reading, now) if reading is not None else None
    due = None if reading is None else _again(message, reading, now, spread)
    events = _events(receipt.status, message, tried, resend=due is not None)
    state = message.state
    for event in events:
        state = step(state, event)
    return Judgement(
        state=state,
        news=True,
        events=events,
        proved=bool(events) and may(message.state, Event.TAKEN) and not tried.taken,
        at=at,
        due=due if Event.RESEND in events else None,
        error=error if Event.MISS in events else None,
        suppress=_suppression(receipt, reading, message, now),
    )


def halts(receipt: Receipt, message: Message, n: int | None) -> str | None:
    """Why the provider halts after news about attempt `n`: the code says that every message would end so. None: it does
    not. Of an older call than the latest it says nothing that the latest does not know better."""
    reading = receipt.reading
    if receipt.status is not Status.UNDELIVERED or reading is None or reading.action != "halt" or n != message.attempt:
        return None
    said = f"a delivery receipt: {receipt.words}" if receipt.words else "a delivery receipt"
    return said if receipt.code is None else f"{said} (code {receipt.code})"


def halting_nothing(receipt: Receipt) -> Receipt:
    """The same news of a provider that is not called."""
    reading = receipt.reading
    if reading is None or reading.action != "halt":
        return receipt
    return replace(receipt, reading=replace(reading, action="final"))


def in_call(message: Message) -> bool:
    """Whether its last call has not ended, as far as is known."""
    return message.state is State.PROCESSING and not message.uncertain


def charged_after(message: Message) -> int:
    """Charged calls of this round once a proof has ended the open one, if there is one."""
    return message.charged + in_call(message)


def _events(status: Status, message: Message, tried: Tried, *, resend: bool) -> tuple[Event, ...]:
    before = message.state
    if status is Status.DELIVERED:
        return (Event.DELIVER,) if may(before, Event.DELIVER) else ()
    taken = (Event.TAKEN,) if may(before, Event.TAKEN) else ()
    if status is not Status.UNDELIVERED:
        return () if tried.taken else taken
    if tried.n != message.attempt or not (taken or may(before, Event.MISS)):
        return ()
    return (*taken, Event.MISS, Event.RESEND) if resend else (*taken, Event.MISS)


def _happened(receipt: Receipt, message: Message, tried: Tried, now: Instant) -> Instant:
    """Never before it was sent and never in the future: the provider's clock is not ours."""
    at = now if receipt.at is None else min(receipt.at, now)
    return max(at, tried.since, message.sent_at or 0)


def _error(receipt: Receipt, reading: ReceiptReading, now: Instant) -> Error:
    text = receipt.words or "The provider reports that it did not arrive"
    return Error(reading.category, text, now, receipt.code, receipt.provider)


def _again(message: Message, reading: ReceiptReading, now: Instant, spread: float) -> Instant | None:
    """When it is sent again; None: it is not, by its code, for want of calls, because its life ends before, or because
    its text is redacted."""
    calls = charged_after(message)
    if message.redacted or reading.action != "resend" or calls >= min(reading.max_attempts, message.max_attempts):
        return None
    wait = reading.delays_ms[min(max(calls, 1), len(reading.delays_ms)) - 1]
    due = now + wait + int(spread * SCATTER_MS)
    return due if due < message.expires_at else None


def _suppression(
    receipt: Receipt, reading: ReceiptReading | None, message: Message, now: Instant
) -> Suppression | None:
    if reading is None or reading.action != "suppress" or message.redacted:  # nobody knows the number any more
        return None
    return Suppression(receipt.provider, message.recipient, now, SOURCE, receipt.code)


# -- what a code means ------------------------------------------------------------------------------------------------


def reading_of(code: str | None, known: ReceiptReading | None, book: CodeBook) -> ReceiptReading:
    """What a receipt's code means: the operator's line for it, over `known`, what the dialect's table says.

    Of the operator's lines counts the one for the code, else that for its category, else `default`; but `default` is no
    word on a throttle or on refusals of our own account (see `codes`). Raises ValueError for a fate that is none of
    CodeRule's.
    """
    reading = known or NO_CODE
    rule = book.codes.get(code) if code is not None else None
    if rule is None:
        rule = book.categories.get(reading.category)
    if rule is None and reading.category not in _NOT_BY_DEFAULT:
        rule = book.default
    return reading if rule is None else _overruled(reading, rule)


_OURS: Final = frozenset({Category.AUTH_FAILED, Category.CONFIG_ERROR})

_NOT_BY_DEFAULT: Final = _OURS | {Category.RATE_LIMITED}


def _overruled(reading: ReceiptReading, rule: CodeRule) -> ReceiptReading:
    match rule.fate:
        case "":
            return _resend(reading.category, reading, rule) if reading.action == "resend" else reading
        case "retry":
            return _resend(reading.category, reading, rule)
        case "throttle":
            return _resend(Category.RATE_LIMITED, reading, rule)
        case "fail":
            return ReceiptReading(reading.category, "final")
        case "halt":
            return ReceiptReading(reading.category if reading.category in _OURS else Category.AUTH_FAILED, "halt")
        case "suppress":
            return ReceiptReading(Category.OPTED_OUT, "suppress")
        case other:
            raise ValueError(f"a code's fate is retry, fail, throttle, halt or suppress, not {other!r}")


def _resend(category: Category, reading: ReceiptReading, rule: CodeRule) -> ReceiptReading:
    """Sent again, as the line says, else as the table does. One call in all is none again."""
    known = reading.action == "resend"
    calls = rule.max_attempts or (reading.max_attempts if known else RESEND_CALLS)
    if calls == 1:
        return ReceiptReading(category, "final")
    return ReceiptReading(category, "resend", rule.delays_ms or reading.delays_ms or RESEND_DELAYS_MS, calls)
