"""When is a message to go now that somebody has chosen another time for it, and how long does it live?

A message lives from the first moment at which it may be sent; put off, it lives as long from the later one, unless a
new end is said with the new time. The same bounds and quiet hours hold as at its acceptance. Whether it still waits,
and so can be put off or brought forward at all, is known to the outbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from smsd.core.acceptance import end_of_life, first_moment
from smsd.core.message import Instant, Message
from smsd.core.quiet import QuietBook, Start, start
from smsd.core.submission import Fault


@dataclass(frozen=True, slots=True)
class Times:
    """The new times of a message."""

    send_at: Instant
    """The first moment at which it may be sent; never past, so that a life can be measured from it."""
    expires_at: Instant
    start: Start
    """When it is due, and what holds it up until then."""


def new_times(
    message: Message, send_at: str, ttl: str | None, expires_at: str | None, quiet: QuietBook | None, now: Instant
) -> Times | tuple[Fault, ...]:
    """The times of a message that is to be sent at `send_at`, or what is wrong with what was asked for."""
    asked = first_moment(send_at, now)
    first = now if isinstance(asked, Fault) else max(now, asked)
    end = end_of_life(ttl, expires_at, first, now, _life(message, now))
    if isinstance(asked, Fault) or isinstance(end, Fault):
        return tuple(each for each in (asked, end) if isinstance(each, Fault))
    return Times(first, end, start(quiet, message.tenant, message.recipient, message.priority, first))


def _life(message: Message, now: Instant) -> int:
    """Milliseconds for which the message lives from its first moment on. When an operator retried one is not written
    down: such a message has what it has left."""
    if message.round:
        return max(0, message.expires_at - max(now, message.send_at or 0))
    return message.expires_at - max(message.created_at, message.send_at or 0)
