"""What do the machine's clocks say in virtual time?

Both clocks run with the loop; the wall clock may be stepped, and a reboot starts boot time anew. True time (the loop's)
is not shown to the engine: the invariants are measured with it.
"""

from __future__ import annotations

from tests.simulation.loop import VirtualLoop

EPOCH_MS = 1_790_000_000_000


class SimulatedClock:
    """A Clock that survives the daemon, as the machine's do."""

    def __init__(self, loop: VirtualLoop, boot_us: int) -> None:
        self._loop = loop
        self._wall_ms = EPOCH_MS
        self._boot_us = boot_us
        self.boots = 0
        self.peaks: list[tuple[int, int]] = []
        """Steps back: (true time, what the wall clock had reached)."""

    def wall(self) -> int:
        return self._wall_ms + self._loop.now_us // 1_000

    def boot(self) -> int:
        return self._boot_us + self._loop.now_us

    @property
    def boot_token(self) -> str:
        return f"boot-{self.boots}"

    def step(self, ms: int) -> None:
        """Somebody sets the wall clock."""
        if ms < 0:
            self.peaks.append((self._loop.now_us, self.wall()))
        self._wall_ms += ms

    def suspend(self, ms: int) -> None:
        """The machine sleeps: both clocks run on, and the timers of the loop stand still."""
        self._wall_ms += ms
        self._boot_us += ms * 1_000

    def reboot(self, boot_us: int) -> None:
        """The machine starts: boot time is `boot_us`, and nothing of the last boot's times can be compared with it."""
        self.boots += 1
        self._boot_us = boot_us - self._loop.now_us

    def latest(self, since_us: int) -> int:
        """The latest the wall clock has shown since that true time: what was due by it was due."""
        return max([self.wall(), *(wall for at, wall in self.peaks if at >= since_us)])
