"""What does one check say?

A level, what was looked at, what was seen, and what to do about it. How findings are shown is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should look at it by day."""
    FAIL = "fail"
    """It does not work, or will not much longer."""
    SKIP = "skip"
    """It could not be looked at; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` is empty exactly when nothing is to be done."""

    level: Level
    check: str
    text: str
    remedy: str = ""


Findings = Iterator[Finding]


def ok(check: str, text: str) -> Finding:
    return Finding(Level.OK, check, text)


def warn(check: str, text: str, remedy: str) -> Finding:
    return Finding(Level.WARN, check, text, remedy)


def fail(check: str, text: str, remedy: str) -> Finding:
    return Finding(Level.FAIL, check, text, remedy)


def skip(check: str, text: str) -> Finding:
    return Finding(Level.SKIP, check, text)
