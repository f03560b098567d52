"""What may one batch hold, and what may all of them together?

Clients decide how much they send and when they read, so whatever that makes the daemon hold has a bound here. At a
bound a batch is read no further; nothing is refused and nothing is forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field


class Together:
    """What all batches of a door hold. A batch above a bound of its own waits; so does each while these are reached."""

    def __init__(self, *, in_flight: int = 16_384, unread: int = 64 << 20) -> None:
        self.most_in_flight = in_flight
        """Submissions that are not answered; at the bound each batch has one at a time."""
        self.most_unread = unread
        """Bytes of answers not read; at the bound only batches go on that have few of them."""
        self.in_flight = 0
        self.unread = 0
        self.waiting: set[asyncio.Event] = set()
        """Set when one of the two falls below its bound."""
        self.ended = False
        """The daemon takes nothing any more."""
        self.on_end: set[Callable[[], None]] = set()
        """Called when that becomes so."""

    def change_in_flight(self, change: int) -> None:
        """So many more, or less."""
        before, self.in_flight = self.in_flight, self.in_flight + change
        if before >= self.most_in_flight > self.in_flight:
            self._wake()

    def change_unread(self, change: int) -> None:
        """So many bytes more, or less."""
        before, self.unread = self.unread, self.unread + change
        if before >= self.most_unread > self.unread:
            self._wake()

    def end(self) -> None:
        """Take nothing any more. Idempotent."""
        if not self.ended:
            self.ended = True
            for tell in [*self.on_end]:
                tell()

    def _wake(self) -> None:
        for event in self.waiting:
            event.set()


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The bounds of one batch; bytes, seconds, counts. One value for all batches of a door: they share `together`."""

    line: int = 65_536
    """Bytes of a line or element; a longer one is answered `too_long` and skipped."""
    in_flight: int = 1_000
    """Submissions that are not answered; at the bound nothing more is read."""
    waiting: int = 524_288
    """Bytes of answers that wait for an earlier one; likewise."""
    unread: int = 32 << 20
    """Bytes (compressed) of answers that the client has not read; likewise. Two million accepted lines."""
    unread_least: int = 262_144
    """So much is always granted, however much the other clients leave unread."""
    idle_s: float = 30.0
    least: int = 1_024
    """A body that brings neither a submission nor so many bytes in `idle_s` has stopped; it is answered and closed."""
    stuck_s: float = 60.0
    """A client that leaves answers unread and has moved no byte in either direction for so long is dropped."""
    together: Together = field(default_factory=Together)
