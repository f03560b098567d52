"""Whom may nobody text any more?

A suppression is a scope and a number: the scope is a provider's name (the recipient opted out of its senders) or EVERY
(of all). It refuses to know how one comes about: the settlement of an opted-out answer, an operator, an inbound STOP.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from smsd.core.message import Instant

EVERY: Final = ""
"""The scope of one that holds at every provider."""

EVERYWHERE: Final = "*"
"""How people and programs outside write EVERY; no provider can be called so."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """This number gets nothing more."""

    scope: str
    number: str
    """E.164."""
    at: Instant
    source: str
    """Where it comes from, in a word: "provider" (its answer), "operator", "inbound" (a STOP)."""
    code: str | None = None
    """The provider's code, if it was an answer or a receipt."""


def left_over(route: Sequence[str], scopes: Collection[str]) -> tuple[str, ...]:
    """The providers of the route that may still carry it, given the scopes in which its number is suppressed."""
    if EVERY in scopes:
        return ()
    return tuple(name for name in route if name not in scopes)


def shown(scope: str) -> str:
    """The scope as it is written outside."""
    return EVERYWHERE if scope == EVERY else scope
