"""How does an event look to whoever may see it?

Events leave the process here, so here numbers are masked, also inside sentences; there are no texts in them to begin
with. The socket's `events`, the long poll and the server-sent stream all show the same document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Final

from smsd import wire
from smsd.core.address import mask
from smsd.core.events import Event
from smsd.core.units import rfc3339

_TIMES: Final = frozenset({"until", "due", "expires_at", "send_at"})
_NUMBERS: Final = frozenset({"to", "from", "recipient", "sender", "number"})
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{6,14}")


def event_view(id: str, event: Event) -> wire.EventView:
    """The event as every door shows it: times RFC 3339, numbers masked, also inside sentences; no values but JSON's."""
    return wire.EventView(id, event.kind.value, rfc3339(event.at), _shown(event.fields))


def _shown(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: _value(name, value) for name, value in fields.items()}


def _value(name: str, value: object) -> object:
    if type(value) is str:  # most are; a member of an enum is another type
        if name in _NUMBERS:
            return mask(value)
        return _NUMBER.sub(lambda found: mask(found[0]), value) if "+" in value else value
    match value:
        case Enum():
            return value.value if isinstance(value.value, str) else value.name.lower()
        case bool() | float() | None:
            return value
        case int():
            return rfc3339(value) if name in _TIMES else value
        case list() | tuple() | set() | frozenset():
            return [_value(name, each) for each in value]
        case _:
            return _value(name, str(value))
