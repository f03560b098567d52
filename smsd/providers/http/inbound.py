"""How does a configuration say where an inbound text stands in a request?

`inbound` names the places of sender, recipient and text, and of the gateway's id and time where it has them. All is
judged at the start. A text that comes in parts is one inbound text for each part. What a text asks for and whose it is
is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from smsd.providers.base import HookUnreadableError, InboundText
from smsd.providers.forms import address_of, instant_of
from smsd.providers.http.answers import Path, an_id, path, table
from smsd.providers.http.faults import gathered
from smsd.providers.http.places import Entry, Place, conditions, place

_NEEDED: Final = ("from", "to", "text")
_PLACES: Final = (*_NEEDED, "id", "at")
_KEYS: Final = frozenset({"items", "when", *_PLACES})


@dataclass(frozen=True, slots=True)
class Inbound:
    """`inbound`, read once."""

    items: Path
    when: Mapping[Place, frozenset[str]]
    places: Mapping[str, Place]

    def read(self, entry: Entry) -> InboundText:
        """What it says. An empty text is one, no text at all is none. Raises HookUnreadableError."""
        if not entry.mentions(self.places["text"]):
            raise HookUnreadableError("nothing stands where inbound.text says")
        return InboundText(
            sender=address_of(entry.text(self.places["from"]), "from whom it comes (inbound.from)"),
            recipient=address_of(entry.text(self.places["to"]), "to which number it was sent (inbound.to)"),
            text=entry.text(self.places["text"]) or "",
            provider_message_id=an_id(entry.text(self.places.get("id"))),
            at=instant_of(entry.text(self.places.get("at"))),
        )


def inbound_of(key: str, value: object) -> Inbound:
    """Raises SettingsError, naming keys, for what could not be read."""
    given = table(key, value, _KEYS)
    gathered(
        *(partial(_one, key, name, given) for name in _PLACES if name in _NEEDED or name in given),
        partial(path, f"{key}.items", given.get("items", "")),
        partial(_when, key, given),
    )
    places = {name: _one(key, name, given) for name in _PLACES if name in given}
    return Inbound(path(f"{key}.items", given.get("items", "")), _when(key, given), MappingProxyType(places))


def _one(key: str, name: str, given: Mapping[str, object]) -> Place:
    if name not in given:
        raise ValueError(f'{key}.{name}: missing; say where it stands, such as "data.{name}"')
    return place(f"{key}.{name}", given[name])


def _when(key: str, given: Mapping[str, object]) -> Mapping[Place, frozenset[str]]:
    return conditions(f"{key}.when", given["when"]) if "when" in given else {}
