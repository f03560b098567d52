"""A clock that moves only when told to."""

from __future__ import annotations


class ManualClock:
    """Wall and boot time under the test's hand. `step` moves the wall clock alone, as an operator would."""

    def __init__(self, wall: int = 1_790_000_000_000, boot: int = 3_600_000_000) -> None:
        self._wall = wall
        self._boot = boot

    def wall(self) -> int:
        return self._wall

    def boot(self) -> int:
        return self._boot

    def advance(self, ms: int) -> None:
        """Let both clocks run on by `ms` milliseconds."""
        self._wall += ms
        self._boot += ms * 1_000

    def step(self, ms: int) -> None:
        """Set the wall clock forward or back by `ms` milliseconds; boot time does not notice."""
        self._wall += ms
