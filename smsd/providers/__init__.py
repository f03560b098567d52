"""Which provider types are there?

The registry, written out: type name (`type = "..."` in a `[providers.NAME]` section) -> the adapter's class. An adapter
is a frozen dataclass; its fields besides `name` are the section's keys. A field's metadata say how a value is written:
{"unit": "duration"} (a field in ms, written "50ms"), {"secret": True}, and {"raw": True} (any TOML value, which the
adapter judges itself).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from smsd.providers.console import Console
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from smsd.providers.messagebird import MessageBird
from smsd.providers.sandbox import Sandbox
from smsd.providers.twilio import Twilio

_ADAPTERS: tuple[type[Any], ...] = (
    Twilio,
    Dialpad,
    MessageBird,
    Http,
    Sandbox,
    Console,
)

TYPES: Mapping[str, type[Any]] = MappingProxyType({adapter.type: adapter for adapter in _ADAPTERS})
