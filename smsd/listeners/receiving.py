"""Which texts came in?

The operation on inbound texts: (service, caller, request) -> answer. A caller sees those of its tenant. A number is
looked for as it is kept (E.164); anything else, a short code or a name, as it was written.
"""

from __future__ import annotations

from smsd import wire
from smsd.core import address
from smsd.engine.service import Service
from smsd.listeners import showing
from smsd.listeners.callers import Caller, ProblemError
from smsd.store import Inbound


async def inbound(service: Service, caller: Caller, request: wire.Inbound) -> wire.InboundList:
    """Texts received, newest first."""
    cursors = wire.Cursors(service.cursor_key)
    found, following = await service.inbound(
        caller.bound(request.tenant),
        sender=_party(request.from_, "from"),
        recipient=_party(request.to, "to"),
        since=showing.instant(request.since, "since"),
        before=showing.cursor(request.cursor, cursors),
        limit=showing.limit(request.limit),
    )
    cursor = None if following is None else cursors.encode(following)
    return wire.InboundList([_view(each) for each in found], cursor)


def _party(text: str | None, field: str) -> str | None:
    """Whom a text is from or to, as it is kept; None: anybody."""
    if text is None:
        return None
    number = address.recipient(text, "")
    if isinstance(number, str):
        return number
    found = address.sender(text)
    if isinstance(found, address.Problem):
        raise ProblemError.of("invalid_value", f"`{field}` {found.message}", field)
    return found


def _view(each: Inbound) -> wire.InboundView:
    return wire.inbound_view(
        id=each.id,
        sender=each.sender,
        recipient=each.recipient,
        text=each.text,
        tenant=each.tenant,
        provider=each.provider,
        provider_message_id=each.provider_message_id,
        message=each.message,
        word=None if each.word is None else each.word.value,
        sent_at=each.sent_at,
        received_at=each.received_at,
        redacted=each.redacted,
    )
