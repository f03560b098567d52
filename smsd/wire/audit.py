"""How is it asked what operators did, and how is it told?

Names and types only. Whatever stands in a line was made safe before it was written: no texts, no secrets, numbers
masked.
"""

from __future__ import annotations

import msgspec

from smsd.wire.requests import Request


class Audit(Request):
    """What operators did, newest first; every filter narrows."""

    operation: str | None = None
    who: str | None = None
    """As the lines show it: "uid 0", or a token's name."""
    since: str | None = None
    tenant: str | None = None
    """What was done by those who may touch only this tenant's."""
    limit: int | None = None
    cursor: str | None = None


class AuditEntry(msgspec.Struct):
    """One thing that was asked for. `tenant`: whose messages the caller may touch (empty: everybody's); `subject`: a
    message's id, a provider, a campaign, a masked number (empty: the daemon); `outcome`: `done`, the code of an error,
    or `under_way`; null: smsd ended, or could not write, before it was known."""

    at: str
    who: str
    tenant: str
    operation: str
    subject: str
    detail: str
    outcome: str | None


class AuditList(msgspec.Struct):
    """A page of them; the end is a null cursor, and a page before it may be short or empty."""

    items: list[AuditEntry]
    next_cursor: str | None
