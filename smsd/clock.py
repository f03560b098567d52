"""What time is it? The one place that asks the machine.

Two clocks, never mixed. Wall time (`wall`, ms since the Unix epoch, UTC) is what is stored and shown, and it may be
stepped by an operator or by NTP. Boot time (`boot`, microseconds since the machine started, counting suspend) never
steps: pacing and timeouts are measured with it. Decisions in `core` are told the time; only the shell holds a Clock.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Source of both times; tests pass a ManualClock."""

    def wall(self) -> int:
        """Milliseconds since the Unix epoch, UTC. May step in either direction."""
        ...

    def boot(self) -> int:
        """Microseconds since boot, including suspend (CLOCK_BOOTTIME). Never steps, never runs backward."""
        ...


class SystemClock:
    """The machine's clocks."""

    __slots__ = ()

    def wall(self) -> int:
        return time.time_ns() // 1_000_000

    def boot(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000
