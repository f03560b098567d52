"""What follows from an attempt, written down as one value?

A Settlement is what the outbox is to write about one attempt, and what the rest of the daemon is to learn from it: a
provider that rests or is halted, a pair of sender and recipient that waits, a recipient who wants no more texts. It
refuses to know why: `policy` (answers) and `doubt` (look-ups) make it.
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.lifecycle import Event, step
from smsd.core.message import Error, Instant, Message, State
from smsd.core.suppression import Suppression
from smsd.core.verdict import Category


@dataclass(frozen=True, slots=True)
class Cooldown:
    """The provider said "too fast": nobody calls it before `until`."""

    until: Instant
    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The provider refuses us: nobody calls it until an operator or changed credentials resume it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Rest:
    """The provider said "too fast" of a sender, or of a sender and one recipient: only they wait."""

    sender: str
    recipient: str | None
    """None: whoever the sender texts."""
    until: Instant


Effect = Cooldown | Halt | Rest


@dataclass(slots=True)
class Settlement:
    """What the outbox is to write about one attempt, and what the provider's health is to learn from it."""

    seq: int
    attempt: int
    event: Event
    """TAKEN, RETRY, FAIL or DOUBT."""
    state: State
    due: Instant
    """RETRY: the next attempt (of a released one: its due time as it was). DOUBT: the next look-up. Else: now."""
    charged: int
    """The message's count of charged attempts after this one."""
    at: Instant
    error: Error | None = None
    provider_message_id: str | None = None
    price: str | None = None
    lookups: int = 0
    """DOUBT: look-ups in a row that answered and did not find it."""
    effect: Effect | None = None
    released: bool = False
    """The call never began: nothing happened that is worth telling."""
    route: str | None = None
    """RETRY: the route by which it goes from now on; None: as before."""
    flow: int | None = None
    """The flow of `route`, found or made by the outbox, which writes it here; None without a route."""
    suppress: Suppression | None = None
    """Kept by the same transaction."""
    segments: int | None = None
    """TAKEN: how many the provider counted, where that is not what was counted here; for the event alone."""

    @property
    def attempt_after(self) -> int:
        """The number the next claim finds: a released attempt was no call, and its number is used again."""
        return self.attempt - 1 if self.released else self.attempt


def settled(
    message: Message,
    event: Event,
    now: Instant,
    *,
    due: Instant | None = None,
    charged: int | None = None,
    error: Error | None = None,
    provider_message_id: str | None = None,
    price: str | None = None,
    lookups: int = 0,
    effect: Effect | None = None,
    released: bool = False,
    route: str | None = None,
    suppress: Suppression | None = None,
) -> Settlement:
    """The settlement of the message's open attempt. What is not said stays as it is: due now, charged as before."""
    return Settlement(
        seq=message.seq,
        attempt=message.attempt,
        event=event,
        state=step(message.state, event),
        due=now if due is None else due,
        charged=message.charged if charged is None else charged,
        at=now,
        error=error,
        provider_message_id=provider_message_id,
        price=price,
        lookups=lookups,
        effect=effect,
        released=released,
        route=route,
        suppress=suppress,
    )


def again(
    message: Message,
    error: Error,
    now: Instant,
    *,
    due: Instant,
    charged: int,
    most: int | None = None,
    route: str | None = None,
) -> Settlement:
    """Tried again at `due`, unless the attempts are used up: those of the message, or `most` if that is fewer."""
    limit = message.max_attempts if most is None else min(most, message.max_attempts)
    if charged < limit:
        return settled(message, Event.RETRY, now, due=due, charged=charged, error=error, route=route)
    return settled(message, Event.FAIL, now, charged=charged, error=_exhausted(limit, error))


def _exhausted(limit: int, last: Error) -> Error:
    text = f"All {limit} attempts are used up; the last one: {last}"
    return Error(Category.EXHAUSTED, text, last.at, last.code, last.provider, cause=last.category)
