"""Does the outbox say which alerts are raised, and which are over?

One task writes, a row at a time; a look waits for it until a time it names, and once that ran out no look waits for
that task again. The task stays with the row it has in hand; when the outbox answers, it writes what is then still to be
said, so a hang leaves no queue of rows behind. Whose row is waited for comes first. It refuses to know why an alert is
raised, and who is told.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import structlog

from smsd.store import StoreError, operators
from smsd.store.operators import MOST_OVER, Over, Raised

log = structlog.get_logger("smsd.alerts")

LATE: Final = "no answer yet"


class Rows:
    """The rows of alerts, as they are and as they should be. `close` at the end."""

    def __init__(
        self, kept: operators.Alerts, wanted: Callable[[], Mapping[str, Raised]], settled: Callable[[], None]
    ) -> None:
        """`wanted`: what the outbox is to say, by name. `settled` is called when a write ends that nobody waits for any
        more."""
        self._kept = kept
        self._wanted = wanted
        self._settled = settled
        self._unwritten: deque[Over] = deque(maxlen=MOST_OVER)
        """Those that are over, which the outbox does not have yet."""
        self._written: dict[str, Raised | None] = {}
        """What the outbox says of those that are raised; None: a row may be there, and nobody knows what it says."""
        self._writing: asyncio.Task[str] | None = None
        """Brings the outbox up to date; its result is what hindered it, "" if nothing did."""
        self._late = False
        """It has been waited for long enough."""

    @property
    def late(self) -> bool:
        """Whether a write goes on that no look waits for. Its end is an event of its own."""
        return self._late

    def found(self, raised: Raised) -> None:
        """The outbox has this row from before, unless it was written since."""
        self._written.setdefault(raised.name, raised)

    def say(self, raised: Raised) -> bool:
        """Whether the outbox says this."""
        return self._written.get(raised.name) == raised

    def ended(self, over: Over) -> None:
        """It is over; to be written."""
        self._unwritten.append(over)

    async def write(self, until: float) -> str:
        """Have the outbox say what is wanted, and wait for that until then (s of the loop), unless it is late already.
        What hinders it; "": it says so."""
        loop = asyncio.get_running_loop()
        if self._writing is None or self._writing.done():
            if self._writing is not None:
                self._writing.result()  # a fault in it that nobody waited for
            self._writing, self._late = loop.create_task(self._bring(), name="alerts: rows"), False
        writing = self._writing
        if not self._late:
            await asyncio.wait({writing}, timeout=max(0.0, until - loop.time()))
            self._late = not writing.done()
            if self._late:
                log.error("which alerts are raised is not written down yet; not waiting for it any more")
                writing.add_done_callback(lambda _: self._settled())
        return LATE if self._late else writing.result()

    async def close(self, until: float) -> None:
        """Write what is left, until then (s of the loop). Idempotent."""
        self._late = False
        await self.write(until)
        if self._late and self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None

    async def _bring(self) -> str:
        """Write until nothing is left to be written. What hindered it; "": nothing."""
        try:
            while await self._write_one():
                pass
        except StoreError as error:
            log.error("which alerts are raised could not be written down; trying again", error=str(error))
            return str(error)
        return ""

    async def _write_one(self) -> bool:
        """The next of what the outbox does not say yet; False: nothing. Whose row is waited for comes first."""
        rows = self._wanted()
        other = [raised for raised in rows.values() if not self.say(raised)]
        new = [raised for raised in other if not raised.announced]
        gone = [name for name in self._written if name not in rows]
        if new:
            await self._keep(new[0])
        elif self._unwritten:
            over = self._unwritten[0]
            await self._kept.end(over)
            # Meanwhile a later one may have pushed it out.
            if self._unwritten[0] is over:
                self._unwritten.popleft()
        elif gone:
            self._written[gone[0]] = None
            await self._kept.clear(gone[0])
            del self._written[gone[0]]
        elif other:
            await self._keep(other[0])
        else:
            return False
        return True

    async def _keep(self, raised: Raised) -> None:
        self._written[raised.name] = None
        await self._kept.keep(raised)
        self._written[raised.name] = raised
