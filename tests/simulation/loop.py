"""How can hours pass in milliseconds, and the same way each time?

An asyncio loop whose selector never waits: when nothing is ready it moves virtual time to the next timer. It refuses
to do real I/O, threads and executors, because they would bring real time back. A loop with nothing to do and no timer
can never go on: that is a deadlock and raises. So does one that turns and turns while no time passes.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Mapping

SPINS = 50_000
"""Turns of the loop at one instant before it counts as a livelock; a burst of 100 submissions takes some hundreds."""

EARLY_US = 500
"""Timers may fire this much early, as uvloop's do (they are whole milliseconds): the engine must look again."""


class DeadlockError(RuntimeError):
    """Nothing is ready, and no timer will ever make it so."""


class LivelockError(RuntimeError):
    """The loop works without end and no time passes."""


class _Selector(selectors.BaseSelector):
    """Passes time instead of waiting. Keeps what asyncio registers (its wake-up pipe) and never looks at it."""

    def __init__(self, rest: Callable[[float | None], None]) -> None:
        self._rest = rest
        self._keys: dict[int, selectors.SelectorKey] = {}

    def register(self, fileobj: object, events: int, data: object = None) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()  # type: ignore[attr-defined]  # a FileDescriptorLike
        key = self._keys[fd] = selectors.SelectorKey(fd, fd, events, data)
        return key

    def unregister(self, fileobj: object) -> selectors.SelectorKey:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()  # type: ignore[attr-defined]  # a FileDescriptorLike
        return self._keys.pop(fd)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._rest(timeout)
        return []

    def get_map(self) -> Mapping[object, selectors.SelectorKey]:  # type: ignore[override]  # typeshed wants file objects
        return {fd: key for fd, key in self._keys.items()}  # noqa: C416  dict() would keep the narrower key type


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time, which starts at 0. `lateness` draws how late (us) it wakes from a rest; less
    than 0: that much early, at most EARLY_US."""

    def __init__(self, lateness: Callable[[], int] | None = None) -> None:
        self.now_us = 0
        """Virtual time in microseconds. Never steps, never runs backward: the simulation's truth."""
        self.turns = 0
        """How often it woke from a rest: what polling would show in."""
        self._spins = 0
        self._lateness = lateness
        super().__init__(_Selector(self._rest))
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self.now_us / 1e6

    def refresh(self) -> None:
        """After a livelock: what is left may be cleaned up."""
        self._spins = 0

    def _rest(self, timeout: float | None) -> None:
        self._clock_resolution = 1e-9
        if timeout is None:
            raise DeadlockError(f"nothing to do and no timer at {self.now_us} us")
        if timeout <= 0:
            self._spins += 1
            if self._spins == SPINS:
                raise LivelockError(f"{SPINS} turns of the loop at {self.now_us} us")
            return
        self._spins = 0
        self.turns += 1
        wait_us = max(1, round(timeout * 1e6))
        late_us = 0 if self._lateness is None else self._lateness()
        if late_us < 0 and wait_us > 4 * EARLY_US:
            self._clock_resolution = EARLY_US / 1e6
        self.now_us += max(wait_us + late_us, wait_us - EARLY_US + 1) if wait_us > 4 * EARLY_US else wait_us
