"""Which of two forms of an answer does a client prefer?

`Accept` names media ranges, each with a quality (RFC 9110, section 12.5.1). The range that names a type most exactly
counts for it. Of two types that are wanted alike the one that is named more exactly is preferred: `application/json,
*/*` comes from a program that reads JSON. It knows no type by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_QUALITY = re.compile(r"[qQ][ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


class Rank(NamedTuple):
    """How much a type is wanted; a greater one is wanted more."""

    quality: float
    """0 to 1; 0: nothing was said about it; -1: it is refused."""
    exactness: int
    """0: named by */*, or not at all; 1: by its first half; 2: by its name."""


def rank(accept: Iterable[str], media: str) -> Rank:
    """How much `media` ("text/plain") is wanted by the values of `Accept`; without any, everything is."""
    ranges = list(_ranges(accept))
    if not ranges:
        return Rank(1.0, 0)
    names = ("*/*", f"{media.partition('/')[0]}/*", media)
    found = [(names.index(name), quality) for name, quality in ranges if name in names]
    if not found:
        return Rank(0.0, 0)
    exactness, quality = max(found)
    return Rank(quality, exactness) if quality else Rank(-1.0, 0)


def _ranges(accept: Iterable[str]) -> Iterator[tuple[str, float]]:
    for value in accept:
        for each in _QUOTED.sub("", value).split(","):
            name, *parameters = (part.strip() for part in each.split(";"))
            if name:
                yield name.lower(), _quality(parameters)


def _quality(parameters: list[str]) -> float:
    """1 unless a parameter says otherwise; one that is none says nothing."""
    return next((float(match[1]) for each in parameters if (match := _QUALITY.fullmatch(each))), 1.0)
