"""What may a line hold?

Fields go by their names: texts and secrets never pass, phone numbers are masked, times are made readable. What has no
name (an exception's words, a library's) is searched for what looks like a credential or a whole number. It refuses to
know who speaks and in what form the line is written.

The finished line is searched once more, because a number can hide in any field, and a mask that comes too often costs
less than one that is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from smsd.core import address, units

_NUMBERS: Final = frozenset({"recipient", "sender", "to", "from", "from_", "number"})
_SECRETS: Final = frozenset(
    {"text", "body", "headers", "auth_token", "token", "secret", "password", "authorization", "key", "api_key"}
)
"""Fields that no line may hold, whatever put them there."""
_INSTANTS: Final = frozenset({"until", "due", "expires_at", "send_at"})

_LEAK: Final = re.compile(rb"\+[1-9]\d{6,14}")
_ENCODED_NUMBER: Final = re.compile(r"%2B([1-9]\d{6,14})(?!\d)", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(
    r"(?i)\b((?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{6,}"
    r"|(://)[^/\s@]+(?=@)"
    r"|\b((?:auth_?token|token|secret|password|api_?key)['\"]?\s*[=:]\s*)['\"]?[^\s'\",;&]+"
)

Fields = Mapping[str, object]

# Two events tell of each message, and senders hardly change.
_mask = lru_cache(maxsize=8_192)(address.mask)
stamp = lru_cache(maxsize=64)(units.rfc3339)
"""Milliseconds since 1970 as RFC 3339; lines come many a millisecond."""


def without_credentials(text: str) -> str:
    """Free text of unknown origin: credentials replaced by ***, numbers in URLs written so that they can be masked."""
    text = _CREDENTIALS.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)
    return _ENCODED_NUMBER.sub(lambda match: f"+{match[1]}", text)


class Redaction:
    """Makes lines safe: fields by their names, and in the finished line whatever looks like a whole number."""

    def __init__(self, numbers: bool) -> None:
        self._numbers = numbers
        self._plans: dict[tuple[str, ...], Plan] = {}

    def fields(self, fields: Fields) -> dict[str, object]:
        """A copy without texts, secrets and absent values, with masked numbers and readable times."""
        safe = dict(fields)
        for key, care in self._plan(tuple(fields)):
            safe[key] = care(safe[key])
        if None in safe.values():
            return {key: value for key, value in safe.items() if value is not None}
        return safe

    def line(self, line: bytes) -> bytes:
        """The line without whole numbers. A mask is as long as its number, so lengths inside a datagram stay right."""
        if self._numbers and _LEAK.search(line) is not None:
            return _LEAK.sub(lambda match: address.mask(match[0].decode()).encode(), line)
        return line

    def _plan(self, keys: tuple[str, ...]) -> Plan:
        """Which of these keys need care; remembered, because the same few sets of keys come thousands of times."""
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= 256:
                self._plans.clear()
            plan = self._plans[keys] = tuple((key, care) for key in keys if (care := self._care(key)) is not None)
        return plan

    def _care(self, key: str) -> Callable[[object], object] | None:
        if key in _SECRETS:
            return _hide
        if key in _INSTANTS:
            return _readable
        return _masked if key in _NUMBERS and self._numbers else None


Plan = tuple[tuple[str, Callable[[object], object]], ...]


def _hide(value: object) -> None:
    """An absent field."""


def _masked(value: object) -> object:
    return _mask(value) if isinstance(value, str) else value


def _readable(value: object) -> object:
    return stamp(value) if isinstance(value, int) else value
