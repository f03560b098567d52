"""Ready-made values for tests; every field can be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smsd.core.message import Draft, Encoding, Message, MessageId, Priority, State

NOW = 1_790_000_000_000

_DRAFT = Draft(
    id=MessageId("01a2049a-0000-7000-8000-000000000001"),
    recipient="+14155550123",
    text="Your code is 123456",
    tenant="shop",
    route="main",
    priority=Priority.NORMAL,
    created_at=NOW,
    due=NOW,
    expires_at=NOW + 3_600_000,
    segments=1,
    encoding=Encoding.GSM7,
    length=19,
    max_attempts=5,
)

_MESSAGE = Message(
    seq=1,
    id=_DRAFT.id,
    state=State.PENDING,
    recipient=_DRAFT.recipient,
    text=_DRAFT.text,
    tenant=_DRAFT.tenant,
    route=_DRAFT.route,
    flow=1,
    priority=_DRAFT.priority,
    created_at=NOW,
    due=NOW,
    expires_at=_DRAFT.expires_at,
    segments=1,
    encoding=Encoding.GSM7,
    length=19,
    max_attempts=5,
)


def draft(number: int = 1, **fields: Any) -> Draft:
    """A draft with the id of this number."""
    return replace(_DRAFT, **{"id": MessageId(f"01a2049a-0000-7000-8000-{number:012d}"), **fields})


def message(**fields: Any) -> Message:
    """A pending message; say what differs."""
    return replace(_MESSAGE, **fields)
