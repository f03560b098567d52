"""What does a text that came in look like as JSON?

The answer of the listing of inbound texts. Unlike in a callback, `sent_at` and the provider's id are there too.
"""

from __future__ import annotations

import msgspec

from smsd.core.message import Instant
from smsd.core.units import rfc3339


class InboundView(msgspec.Struct, rename={"from_": "from"}):
    """A text received. `from` wrote it, `to` is our number; `message`: the id of the last message between the two,
    which it seems to answer; `word`: stop, start or help where that is all it says; `sent_at`: by the provider's clock,
    null where it does not say. `redacted`: the text is gone, and `from` is a hash that begins with #."""

    id: str
    from_: str
    to: str
    text: str | None
    tenant: str
    provider: str
    provider_message_id: str
    message: str | None
    word: str | None
    sent_at: str | None
    received_at: str
    redacted: bool = False


class InboundList(msgspec.Struct):
    """A page of them, newest first; the end is a null cursor."""

    items: list[InboundView]
    next_cursor: str | None


def inbound_view(
    *,
    id: str,
    sender: str,
    recipient: str,
    text: str,
    tenant: str,
    provider: str,
    provider_message_id: str,
    message: str | None,
    word: str | None,
    sent_at: Instant | None,
    received_at: Instant,
    redacted: bool = False,
) -> InboundView:
    """The view of a text received."""
    return InboundView(
        id=id,
        from_=sender,
        to=recipient,
        text=None if redacted else text,
        tenant=tenant,
        provider=provider,
        provider_message_id=provider_message_id,
        message=message,
        word=word,
        sent_at=None if sent_at is None else rfc3339(sent_at),
        received_at=rfc3339(received_at),
        redacted=redacted,
    )
