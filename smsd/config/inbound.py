"""Who gets texts that come in, and how are STOP, START and HELP answered, as the file says it: `[inbound]`?

The section becomes the rules of `core.inbound`. A reply that could not be sent is found here, because whoever wrote it
would otherwise learn of it from somebody who was never told that he is unsubscribed. What the rules mean for a text is
not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from smsd.config.tables import Table
from smsd.config.tenants import KEPT, TENANT_NAME, TENANT_REMEDY
from smsd.core.consent import Word
from smsd.core.inbound import DEFAULT_OWNER, REPLIES, InboundRules
from smsd.core.segments import measure

MOST_SEGMENTS: Final = 3
"""Of a reply: it is sent to everybody who writes the word."""


def inbound(table: Table) -> InboundRules:
    """`[inbound]`; its defaults without the section."""
    owner = table.text("tenant", DEFAULT_OWNER)
    if KEPT.fullmatch(owner):
        table.fault("tenant", "is kept for callers that are given no tenant; name another")
    elif not TENANT_NAME.fullmatch(owner):
        table.fault("tenant", TENANT_REMEDY)
    replies = {word: _reply(table, key_of(word), default) for word, default in REPLIES.items()}
    table.done()
    return InboundRules(owner, MappingProxyType(replies))


def key_of(word: Word) -> str:
    """The key under which the answer to the word stands."""
    return f"{word.value}_reply"


def _reply(table: Table, key: str, default: str) -> str:
    """The empty text: there is none."""
    text = table.text(key, default)
    if not text:
        return ""
    if text.isspace():
        table.fault(key, 'is only blanks; write a text, or "" for no reply')
    elif (segments := measure(text).segments) > MOST_SEGMENTS:
        table.fault(key, f"needs {segments} segments; shorten it to at most {MOST_SEGMENTS}")
    return text


def shown_inbound(rules: InboundRules) -> Mapping[str, object]:
    """The section as the file would say it."""
    replies = {key_of(word): rules.replies.get(word, "") for word in REPLIES}
    return {"tenant": rules.owner, **replies}
