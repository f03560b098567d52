"""Which keys does a dialect take beside the common ones, and what do they say?

A dialect's own keys are the fields of its class, read by their kinds, so that a new dialect needs no line here. What a
field may hold beyond its kind the class itself judges when it is made. What a key means to a carrier is not known.

Kinds: str, str | None, bool, int, tuple[str, ...] (a text or a list of texts), str | tuple[str, ...] | None (a secret
or a list of secrets, all of which count), Mapping[str, str] (a table of texts; in
it, as in every text, a value may stand elsewhere: {env = ...}), Mapping[str, float] (shares). Metadata say more:
{"secret": True} is never shown, {"unit": "duration"} is a span in ms, {"raw": True} is the TOML value as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Final, cast

from smsd.config.several import any_secret, secrets_in, shown_secrets
from smsd.config.sources import Secret
from smsd.config.tables import Fault, Table
from smsd.config.urls import plain_url
from smsd.core import units
from smsd.core.units import DAY
from smsd.providers.base import Provider, SettingsError

MAX_INT: Final = 1 << 53
"""Whole numbers beyond it are slips of the pen; what a field allows its class judges."""


def own_fields(adapter: type[Any]) -> Iterator[Field[Any]]:
    """The keys a dialect takes beside the common ones, as the fields of its class."""
    return (own for own in fields(adapter) if own.init and own.name != "name")


def adapter_of(table: Table, name: str, adapter: type[Any]) -> Provider | None:
    """The dialect with its own keys, which are the fields of its class; None after a fault."""
    faults = table.report.faults
    before = len(faults)
    settings: dict[str, object] = {}
    readable = True
    for own in own_fields(adapter):
        known = len(faults)
        value = _value(table, own)
        if value is not None:
            settings[own.name] = value
        elif own.default is MISSING and own.default_factory is MISSING and not table.has(own.name):
            table.fault(own.name, f"missing; write its value{_elsewhere(own)}")
        # A text that is refused here can still be judged beside the others; what could not be read cannot.
        readable = readable and (len(faults) == known or isinstance(value, str))
    made = _made(table, name, adapter, settings) if readable else None
    return made if len(faults) == before else None


def _made(table: Table, name: str, adapter: type[Any], settings: Mapping[str, object]) -> Provider | None:
    """The dialect; None when its own checks find faults, which are noted where none was."""
    noted = {fault.path for fault in table.report.faults}
    try:
        return cast(Provider, adapter(name=name, **settings))
    except ValueError as error:
        table.report.faults += [fault for fault in _judged(table, adapter, error) if fault.path not in noted]
        return None


def shown(adapter: Provider, own: Field[Any]) -> object:
    """The value of one of a dialect's keys as the file would say it; what must not be shown is a Secret."""
    value = getattr(adapter, own.name)
    if own.metadata.get("secret") and value:
        if isinstance(value, str):
            return Secret(value)
        if _kind(own) == _SECRETS:
            return shown_secrets(value)
        if not own.metadata.get("raw") and _kind(own) == "Mapping[str, str]":
            return {key: Secret(each) for key, each in value.items()}
        return Secret(repr(value))
    return units.duration_text(value) if own.metadata.get("unit") == "duration" else value


def _kind(own: Field[Any]) -> str:
    return str(own.type)


def _elsewhere(own: Field[Any]) -> str:
    return " or a reference such as {env = ...}" if _kind(own) in {*_TEXT, _SECRETS} else ""


def _judged(table: Table, adapter: type[Any], error: ValueError) -> list[Fault]:
    """The faults that an adapter's own checks found, each under its key."""
    if isinstance(error, SettingsError):
        return [_under(table, adapter, key, message) for key, message in error.faults]
    key, colon, message = str(error).partition(": ")
    return [_under(table, adapter, key if colon else "", message if colon else str(error))]


def _under(table: Table, adapter: type[Any], key: str, message: str) -> Fault:
    """The fault under `key` (which may go on within the key's value: "errors.0.code") if the dialect has that key."""
    if key.partition(".")[0] in {own.name for own in own_fields(adapter)}:
        return Fault(f"{table.path}.{key}", message)
    return Fault(table.path, f"{key}: {message}" if key else message)


def _value(table: Table, own: Field[Any]) -> object | None:
    """The value of one of an adapter's keys, by the field's metadata and kind; None: not set, or faulty."""
    key = own.name
    if not table.has(key):
        table.ask(key)
        return None
    if own.metadata.get("raw"):
        return _raw(table, own)
    if own.metadata.get("unit") == "duration":
        return table.duration(key, 0, 0, DAY)
    if _kind(own) in _TEXT:
        return _text(table, own)
    read = _READERS.get(_kind(own))
    if read is None:
        raise TypeError(f"the adapter's field {key} is of a kind that no configuration can state: {_kind(own)}")
    return read(table, own)


def _text(table: Table, own: Field[Any]) -> str | None:
    if own.metadata.get("secret"):
        secret = table.secret(own.name)
        return None if secret is None else secret.reveal()
    if own.default == "" and table.raw(own.name) == "":
        return ""  # as it would be if the key were not there
    text = table.referred(own.name)
    if text is None or own.name != "base_url":
        return text
    plain_url(table, own.name, text, "credentials and texts travel", path=True)
    return text


def _several(table: Table, own: Field[Any]) -> str | tuple[str, ...] | None:
    """One secret as itself; several in their order."""
    if not own.metadata.get("secret"):
        raise TypeError(f"the adapter's field {own.name} holds a secret or several, and must say that it is secret")
    found = secrets_in(table, own.name, any_secret)
    return found if len(found) > 1 else next(iter(found), None)


def _texts(table: Table, own: Field[Any]) -> Mapping[str, str]:
    """A table of texts, each in the file or elsewhere; those with a fault are left out."""
    found: dict[str, str] = {}
    entries = table.table(own.name)
    for key in entries.names():
        if own.metadata.get("secret"):
            secret = entries.secret(key)
            value = None if secret is None else secret.reveal()
        else:
            value = entries.referred(key)
        if value is not None:
            found[key] = value
    return found


def _raw(table: Table, own: Field[Any]) -> object | None:
    value = table.raw(own.name)
    if not _is_plain(value):
        table.fault(own.name, "holds a date, a time or a number that is none; write tables, lists, texts and numbers")
        return None
    if own.metadata.get("secret"):
        table.report.literal_secrets.append(table.path_of(own.name))
    return value


def _is_plain(value: object) -> bool:
    match value:
        case dict():
            return all(map(_is_plain, value.values()))
        case list():
            return all(map(_is_plain, value))
        case float():
            return math.isfinite(value)
        case _:
            return isinstance(value, str | int)


_TEXT: Final = {"str", "str | None"}
_SECRETS: Final = "str | tuple[str, ...] | None"
_READERS: Final[Mapping[str, Callable[[Table, Field[Any]], object]]] = {
    "bool": lambda table, own: table.boolean(own.name, False),
    "int": lambda table, own: table.integer(own.name, 0, -MAX_INT, MAX_INT),
    "tuple[str, ...]": lambda table, own: table.texts(own.name),
    _SECRETS: _several,
    "Mapping[str, str]": _texts,
    "Mapping[str, float]": lambda table, own: table.shares(own.name),
}
