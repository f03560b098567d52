"""When does a message that was in a call at a crash stop being tried?

One that smsd ended over again and again may be what ends it: a text that a library cannot bear, a provider's answer
that takes all memory. After so many it is held for an operator instead of being looked up and sent again, so that one
message cannot keep the daemon from running. It refuses to know why smsd ended, and how ends are counted: the outbox
counts the starts that found the attempt open, without those after an orderly stop.
"""

from __future__ import annotations

from smsd.core.message import Error, Instant, Message
from smsd.core.verdict import Category

CRASHES_ALLOWED = 3
"""The crash of this number, with the message in a call each time, is the last one."""


def parked(message: Message, now: Instant) -> Error:
    """Why it failed. UNCERTAIN: its last call may have reached the provider, so only force sends it again."""
    text = (
        f"smsd ended {CRASHES_ALLOWED} times while this message was in a call, so it may be the cause, and it may have "
        "been sent; held for an operator, whose forced retry sends it again"
    )
    return Error(Category.UNCERTAIN, text, now, None, message.provider)
