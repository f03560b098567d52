"""May the next call to this provider start now, and if not, when?

HELPER: see contract.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` units in any `span_us` microseconds."""

    limit: int
    span_us: int


@dataclass(frozen=True, slots=True)
class Pace:
    """A provider's ceilings as configured. No windows: unlimited."""

    windows: tuple[Window, ...] = ()
    burst: int = 1
    min_gap_us: int = 0
    unit: str = "messages"
    """messages | segments"""
