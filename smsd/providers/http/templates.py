"""How does a request that a configuration describes take in what one message says?

Texts with placeholders ("{to}") are read once, at the start, so that an unknown one is found there and not at the first
message. A filled value is data and nothing else: JSON is built as values and encoded at the end, a form, a query or a
path is percent-encoded (RFC 3986), and what goes into a header is percent-encoded too, so no text can end a field, a
line or a quotation. Whose request it is and what answers it get is not known here.

Placeholders: {to} (+14155550123), {to_digits} (14155550123), {from}, {from_digits} (without a plus sign), {text}, {id}
(the message's id, ours), {attempt}, {segments}, {encoding} (gsm7, ucs2, or as `encodings` names them), {callback_url},
{validity_s} (seconds left to live, at least 1), {username}, {token}; in a look-up also {since} (RFC 3339, ten minutes
before the attempt). A brace that is meant as one is doubled: "{{". In JSON a value that is only {attempt}, {segments}
or {validity_s} is a number. A field whose placeholder has no value (no callback URL is known) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

from smsd.core.units import MINUTE, SECOND, rfc3339
from smsd.providers.base import Call, marked_callback

NUMBERS = frozenset({"attempt", "segments", "validity_s"})
ADDRESSES = frozenset({"to", "to_digits", "from", "from_digits", "id"})
"""What may stand in a URL's path or query: letters, digits, spaces and a plus sign by their making."""
FIELDS = ADDRESSES | NUMBERS | {"text", "encoding", "callback_url", "username", "token"}
HEADERS = ADDRESSES | NUMBERS | {"encoding"}
LOOK_UP = ADDRESSES | {"text", "since"}

SKEW_MS = 10 * MINUTE
"""How far the provider's clock may be behind ours before a look-up misses a message."""

HIDDEN = "***"
"""What stands in place of what is not shown."""

_PLACE = re.compile(r"\{\{|\}\}|\{([a-z_]+)\}|[{}]")

Values: TypeAlias = Mapping[str, str | int | None]
Node: TypeAlias = "Template | bool | int | float | dict[str, Node] | list[Node]"


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders. A part is (is a placeholder, text or its name)."""

    parts: tuple[tuple[bool, str], ...]

    @property
    def names(self) -> frozenset[str]:
        """The placeholders in it."""
        return frozenset(text for place, text in self.parts if place)

    def fill(self, values: Values, escape: Callable[[str], str] = str) -> str | None:
        """The text; each value is escaped. None when one has no value."""
        filled = []
        for place, text in self.parts:
            value = values[text] if place else text
            if value is None:
                return None
            filled.append(escape(str(value)) if place else text)
        return "".join(filled)

    def value(self, values: Values) -> str | int | None:
        """As JSON has it: a number where the text is nothing but a placeholder for one."""
        if len(self.parts) == 1 and self.parts[0][0] and self.parts[0][1] in NUMBERS:
            return values[self.parts[0][1]]
        return self.fill(values)


def template(key: str, text: str, allowed: frozenset[str]) -> Template:
    """Raises ValueError, naming the key, for a placeholder that is not allowed there and for a lone brace."""
    parts: list[tuple[bool, str]] = []
    at = 0
    for found in _PLACE.finditer(text):
        parts.append((False, text[at : found.start()]))
        at = found.end()
        if found[1] is not None:
            if found[1] not in allowed:
                known = ", ".join(f"{{{name}}}" for name in sorted(allowed))
                raise ValueError(
                    f"{key}: {{{found[1]}}} is no placeholder here; use {known}, or write {{{{ for a brace"
                )
            parts.append((True, found[1]))
        elif len(found[0]) == 2:
            parts.append((False, found[0][0]))
        else:
            raise ValueError(f'{key}: has a brace that belongs to no placeholder; write "{{{{" or "}}}}" for one')
    parts.append((False, text[at:]))
    return Template(tuple(part for part in parts if part[1]))


def tree(key: str, value: object, allowed: frozenset[str]) -> Node:
    """Tables, lists, texts, numbers and truth values as they are to be filled. Raises ValueError, naming the key."""
    match value:
        case str():
            return template(key, value, allowed)
        case bool() | int() | float():
            return value
        case Mapping():
            return {str(name): tree(f"{key}.{name}", each, allowed) for name, each in value.items()}
        case list() | tuple():
            return [tree(f"{key}.{n}", each, allowed) for n, each in enumerate(value)]
        case _:
            raise ValueError(f"{key}: must be a text, a number, true, false, a list or a table")


def names_in(node: Node) -> frozenset[str]:
    """All placeholders in it."""
    match node:
        case Template():
            return node.names
        case dict():
            return frozenset().union(*map(names_in, node.values()))
        case list():
            return frozenset().union(*map(names_in, node))
        case _:
            return frozenset()


def masked(value: object) -> object:
    """What `tree` reads, as it may be shown: with "***" for what is constant in it, because keys travel so too."""
    match value:
        case str():
            return masked_text(value)
        case Mapping():
            return {name: masked(each) for name, each in value.items()}
        case list() | tuple():
            return [masked(each) for each in value]
        case bool():
            return value
        case _:
            return HIDDEN


def masked_text(text: str) -> str:
    """A text with placeholders as it may be shown; what stands between them stays if it is punctuation alone."""
    shown, at = [], 0
    places = [found for found in _PLACE.finditer(text) if found[1] is not None]
    for found in places:
        shown += [_masked(text[at : found.start()]), found[0]]
        at = found.end()
    return "".join((*shown, _masked(text[at:]))) if places else HIDDEN if text else ""


def _masked(between: str) -> str:
    return HIDDEN if any(map(str.isalnum, between)) else between


def json_of(node: Node, values: Values) -> object:
    """As JSON has it; entries without a value are left out. None: it is itself without a value."""
    match node:
        case Template():
            return node.value(values)
        case dict():
            filled = ((name, json_of(each, values)) for name, each in node.items())
            return {name: each for name, each in filled if each is not None}
        case list():
            return [each for each in (json_of(one, values) for one in node) if each is not None]
        case _:
            return node


def pairs_of(node: Mapping[str, Node], values: Values) -> Iterator[tuple[str, str]]:
    """As a form has it: a list repeats its name."""
    for name, each in node.items():
        for one in each if isinstance(each, list) else [each]:
            text = one.fill(values) if isinstance(one, Template) else _scalar(one)
            if text is not None:
                yield name, text


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def in_path(value: str) -> str:
    """A value for a URL's path or query: everything but letters, digits and -._~ is percent-encoded."""
    return quote(value, safe="")


def in_header(value: str) -> str:
    """A value for a header: what is no visible ASCII character is percent-encoded, a line break too."""
    return quote(value, safe="!#$&'()*+,/:;=?@[]")


def values_of(call: Call, encodings: Mapping[str, str], *, once: bool, username: str, token: str) -> Values:
    """The placeholders' values. `once`: the same for every attempt, so the callback URL does not name it."""
    callback = call.callback_url
    if callback is not None:
        callback = marked_callback(callback, call.id, None if once else call.attempt)
    return {
        "to": call.recipient,
        "to_digits": call.recipient.lstrip("+"),
        "from": call.sender,
        "from_digits": call.sender.lstrip("+"),
        "text": call.text,
        "id": call.id,
        "attempt": call.attempt,
        "segments": call.segments,
        "encoding": encodings.get(call.encoding.label, call.encoding.label),
        "callback_url": callback,
        "validity_s": max(1, (call.expires_at - call.now) // SECOND),
        "since": rfc3339(call.now - SKEW_MS),
        "username": username,
        "token": token,
    }
