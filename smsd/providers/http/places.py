"""Where does a value stand in a request that comes in?

A place is a dotted path into what the request says, "query:NAME" (a parameter of its URL) or "header:NAME". What it
says is JSON, the parameters of a form or, of a GET and of a POST without a body, those of its URL. A form's parameter
has one name, so there a path with dots is that name. Several entries in one request are read one by one. What an entry
means is not known here, nor whether the request proves itself.

Nothing that a request brings raises anything but HookUnreadableError, whose words name keys of the configuration and
nothing of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from smsd.providers.base import Hook, HookUnreadableError
from smsd.providers.forms import Form, body_of, query_of
from smsd.providers.http.answers import Path, at, holds_at, path, price_at, price_of, text_at, texts
from smsd.providers.http.urls import header_name
from smsd.providers.readings import json_value

MAX_ENTRIES: Final = 1_000
"""Of one request; one with more is no honest one."""

_FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Place:
    """Exactly one of the three is set."""

    key: str
    """The configuration's, for what is said of it."""
    path: Path = ()
    parameter: str = ""
    header: str = ""
    """In lower case."""


def place(key: str, value: object) -> Place:
    """Raises ValueError, naming the key, for what is no place."""
    if not isinstance(value, str) or not value:
        raise ValueError(f'{key}: must say where it stands, such as "data.id", "query:id" or "header:x-id"')
    kind, colon, name = value.partition(":")
    if colon and kind == "query" and name.isprintable() and name.strip():
        return Place(key, parameter=name)
    if colon and kind == "header":
        return Place(key, header=header_name(key, name).lower())
    if colon:
        raise ValueError(f'{key}: before a colon stands "query" or "header"; write "query:id", or a path without one')
    return Place(key, path(key, value))


def conditions(key: str, value: object) -> Mapping[Place, frozenset[str]]:
    """{place = "value", place = ["one", "another"]}. Raises ValueError, naming the key."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f'{key}: must be a table of places and values such as {{"data.event" = "message.received"}}')
    return {place(f"{key}.{where}", where): texts(f"{key}.{where}", wanted) for where, wanted in value.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a request says, and the request."""

    value: object = field(repr=False)
    """A Form, or what JSON holds."""
    hook: Hook = field(repr=False)
    alone: bool = True
    """Whether the request says nothing else."""

    def text(self, where: Place | None) -> str | None:
        """What stands there; None: nothing, an empty text, a list or a table."""
        if where is None:
            return None
        if where.header:
            return self.hook.headers.get(where.header) or None
        if where.parameter:
            return query_of(self.hook).get(where.parameter)
        if isinstance(self.value, Form):
            return self.value.get(".".join(where.path))
        return text_at(self.value, where.path)

    def price(self, where: Place | None) -> str | None:
        """The price that stands there; None: nothing, or what is none."""
        if where is not None and where.path and not isinstance(self.value, Form):
            return price_at(self.value, where.path)
        return price_of(self.text(where))

    def needed(self, where: Place) -> str:
        """What stands there. Raises HookUnreadableError when nothing does."""
        found = self.text(where)
        if found is None:
            raise HookUnreadableError(f"nothing stands where {where.key} says")
        return found

    def mentions(self, where: Place) -> bool:
        """Whether a plain value stands there, be it empty or null."""
        if where.header:
            return where.header in self.hook.headers
        if where.parameter:
            return _has(query_of(self.hook), where.parameter)
        if isinstance(self.value, Form):
            return _has(self.value, ".".join(where.path))
        return holds_at(self.value, where.path)

    def fulfils(self, wanted: Mapping[Place, frozenset[str]]) -> bool:
        """Whether each of these places has one of its values."""
        return all(self.text(where) in values for where, values in wanted.items())


def entries_of(content: object, items: Path, hook: Hook) -> list[Entry] | None:
    """What stands at `items`, one by one; without it the whole, or each of the list that the whole is.

    None: neither a list nor a table stands there. Raises HookUnreadableError for more than MAX_ENTRIES.
    """
    found = at(content, items) if items else content
    if not isinstance(found, list | dict | Form):
        return None
    listed = found if isinstance(found, list) else [found]
    if len(listed) > MAX_ENTRIES:
        raise HookUnreadableError(f"it says more than {MAX_ENTRIES} things")
    return [Entry(each, hook, len(listed) == 1) for each in listed]


def content_of(hook: Hook) -> object:
    """A Form, or what its JSON holds (a list or a table). Raises HookUnreadableError for what is neither."""
    if hook.method != "POST" or not hook.body:
        return query_of(hook)
    if hook.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM:
        return body_of(hook)
    content = json_value(hook.body)
    if not isinstance(content, dict | list):
        raise HookUnreadableError("its body is neither a form nor JSON that is a list or a table")
    return content


def _has(form: Form, name: str) -> bool:
    return any(each == name for each, _ in form.pairs)
