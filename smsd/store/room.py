"""Are acceptances refused for lack of room, and since when may there be room again?

The writer's view of the disk: `full` from when room runs out until floor and ballast have their room again, which is
looked for now and then, on the writing connection's thread. How much is free is known by `disk`, and what else follows
from a full disk by the writer.
"""

from __future__ import annotations

from collections.abc import Callable

from smsd.store.connection import Connection, Handle
from smsd.store.disk import Disk

LOOK_AGAIN_S = 1.0
"""Between two looks for room."""


class Room:
    """`on_full` is told each change of `full`. Times: `time`, the event loop's, in seconds."""

    def __init__(
        self, connection: Connection, disk: Disk, time: Callable[[], float], on_full: Callable[[bool], None]
    ) -> None:
        self._connection = connection
        self._disk = disk
        self._time = time
        self._on_full = on_full
        self._look_at = 0.0
        self.full = False
        """Whether acceptances are refused for lack of room."""

    def set_full(self, full: bool) -> None:
        """There is none, or again some."""
        if full is not self.full:
            self.full = full
            self._look_at = self._time() + LOOK_AGAIN_S
            self._on_full(full)

    def refuses(self) -> bool:
        """Whether an acceptance that comes now is refused."""
        if not self.full and self._disk.low(self._time()):
            self.set_full(True)
        return self.full

    def is_looked_for(self) -> bool:
        """Whether `look` is due."""
        return self.full and self._time() >= self._look_at

    async def look(self) -> None:
        """Is there room again?"""
        self._look_at = self._time() + LOOK_AGAIN_S
        disk = self._disk

        def look(_: Handle) -> bool:
            return disk.roomy() and disk.fill()

        if await self._connection.run(look):
            self.set_full(False)

    async def make(self) -> bool:
        """The disk did fill up: give the ballast back. False: there was none."""
        disk = self._disk

        def release(_: Handle) -> bool:
            return disk.release()

        released = await self._connection.run(release)
        self.set_full(True)
        return released
