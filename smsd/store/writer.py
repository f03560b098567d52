"""When is what waits committed, and who is told what when it fails?

Group commit: one task takes everything that waits (bounded), hands it as one function to the writing connection, and
tells every caller what became of it once the commit is synced. While one commit syncs, the next batch gathers, so the
batch grows with the load and a lone message waits for nobody. No SQL of the transitions is known here (`transitions`),
nor what a failure's code is called (`faults`), how a transaction ends (`transaction`), when there is room again
(`room`) and when the -wal is emptied (`upkeep`).

What a failure means, and what follows:

- no room (SQLITE_FULL): nothing was written. Acceptances, claims and operators' changes fail with DiskFullError; the
  ballast is given back; settlements are tried again until they succeed, for their calls were made. New acceptances are
  refused until there is room for ballast and floor again.
- another process holds the write lock (SQLITE_BUSY) longer than the connection waits: the same, without the refusals.
- one row cannot be stored: the batch is undone and tried in halves, so that only that row's caller sees an error.
- anything else before COMMIT: nothing was written; the outbox is broken.
- anything else during COMMIT: it may be on disk or not (an fsync that failed must never be repeated: the kernel may
  have dropped the pages: https://lwn.net/Articles/752063/). The callers get
  OutcomeUnknownError; the outbox is broken.
- the -wal is no longer the file that SQLite opened: the commit may be in a deleted file. As above.

A broken outbox writes nothing more; everything fails with StoreBrokenError and `on_fatal` is called once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from smsd.store import DiskFullError, OutcomeUnknownError, StoreBrokenError, StoreError
from smsd.store.callers import ANSWERS, answer_all, answer_in_slices, chained
from smsd.store.connection import Connection, Handle
from smsd.store.disk import Disk
from smsd.store.faults import Fault, describe
from smsd.store.guard import FileGuard
from smsd.store.operations import Accept, Operation
from smsd.store.room import LOOK_AGAIN_S, Room
from smsd.store.transaction import Result, Stage, transact
from smsd.store.transitions import Ledger
from smsd.store.upkeep import CHECKPOINT_ROWS, IDLE_ROWS, IDLE_S, Upkeep

__all__ = ["ANSWERS", "CHECKPOINT_ROWS", "IDLE_ROWS", "IDLE_S", "MAX_ROWS", "TRY_AGAIN_S", "Writer"]

MAX_ROWS = 2_000
"""Rows of one commit: about 15 ms of work, so a claim never waits longer behind a flood of acceptances."""

UNKNOWN = "the commit failed ({}), so this may or may not be recorded: repeat it with the same idempotency key"

TRY_AGAIN_S = 1.0
"""Between two tries of what keeps trying."""


class Writer:
    """Owns the writing connection from start() to close(). All methods belong to the event loop."""

    def __init__(
        self,
        connection: Connection,
        ledger: Ledger,
        guard: FileGuard,
        disk: Disk,
        *,
        on_fatal: Callable[[StoreError], None],
        on_full: Callable[[bool], None],
        on_commit: Callable[[float, int], None],
    ) -> None:
        self._connection = connection
        self._ledger = ledger
        self._guard = guard
        self._on_fatal = on_fatal
        self._on_commit = on_commit
        self._accepts: deque[Accept] = deque()
        self._others: deque[Operation] = deque()
        self._in_hand: list[list[Operation]] = []
        """Parts of the batch that is being written and not answered, the next one last."""
        self._kept: list[Operation] = []
        self._kept_until = 0.0
        self._late: list[Operation] = []
        self._idle = False
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._room = Room(connection, disk, self._loop.time, on_full)
        self._upkeep = Upkeep(connection, self._loop.time)
        self.broken: StoreError | None = None
        """Why nothing is written any more."""

    @property
    def full(self) -> bool:
        """Whether acceptances are refused for lack of room."""
        return self._room.full

    @property
    def waiting(self) -> int:
        """Operations handed in and not yet answered, without those being committed now."""
        return len(self._accepts) + len(self._others) + len(self._kept)

    def start(self, *, full: bool) -> None:
        """Begin to commit. `full`: there was no room for the ballast."""
        self._room.set_full(full)
        self._task = self._loop.create_task(self._run(), name="smsd outbox writer")

    def put(self, operation: Operation) -> None:
        """Queue an operation. It is answered on the event loop, acceptances in the order of their calls. The queue has
        no bound of its own: the doors bound submissions in flight, the dispatcher its attempts."""
        if self._closing:
            self._put_late(operation)
        elif isinstance(operation, Accept):
            self._accepts.append(operation)
        else:
            self._others.append(operation)
        self._wake.set()

    def _put_late(self, operation: Operation) -> None:
        """Refuse it, but not before those that were there first are answered."""
        self._late.append(operation)
        if self._task is None or self._task.done():
            self._refuse_late()

    def _refuse_late(self) -> None:
        while self._late:  # whoever is refused may hand in the next
            late, self._late = self._late, []
            answer_all(late, StoreBrokenError("the outbox is closed: smsd is stopping"))

    def clean(self) -> None:
        """Something was overwritten that is not to stay readable: see that it is not, once nothing has come for IDLE_S
        or with the checkpoint that comes before that."""
        self._upkeep.clean()
        self._wake.set()

    async def close(self) -> None:
        """Commit what waits, then stop. What cannot be committed now fails. Idempotent."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await asyncio.shield(self._task)

    # --- the loop ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._commit_for_ever()
        except Exception as error:
            # A fault of this program. Nothing may wait for ever behind it, and nothing may be promised after it.
            self._closing = True  # first: whoever is answered may hand in the next
            self._break(StoreBrokenError(f"the outbox's writer failed ({describe(error)})"), error)
            self._give_up(describe(error))
        self._refuse_late()

    def _give_up(self, why: str) -> None:
        """Answer all that waits. What was in hand may have been committed or not."""
        in_hand, self._in_hand = self._in_hand, []
        for part in reversed(in_hand):
            answer_all(part, OutcomeUnknownError(UNKNOWN.format(why)))
        answer_all([*self._accepts, *self._others], self._refusal())
        self._accepts.clear()
        self._others.clear()

    async def _commit_for_ever(self) -> None:
        while True:
            if self.broken is None and self._room.is_looked_for():
                await self._room.look()
            batch = self._take()
            if batch:
                await self._write(batch)
            elif self._closing:
                return
            else:
                await self._rest()

    def _take(self) -> list[Operation]:
        """Everything that waits: what was kept first, then acceptances and the rest, each to the bound."""
        batch: list[Operation] = []
        if self._kept and (self._loop.time() >= self._kept_until or self._closing):
            batch, self._kept = self._kept, []
        for queue in (self._accepts, self._others):
            room = MAX_ROWS
            while queue and room > 0:
                operation = queue.popleft()
                room -= operation.size
                batch.append(operation)
        return batch

    async def _rest(self) -> None:
        """Wait for work; meanwhile checkpoint when idle, and look for room while there is none."""
        self._wake.clear()
        limit = self._patience()
        # A timer of its own: asyncio.timeout costs a lone message more than all else it meets here.
        self._idle = False
        timer = None if limit is None else self._loop.call_later(limit, self._doze)
        try:
            await self._wake.wait()
        finally:
            if timer is not None:
                timer.cancel()
        if self._idle and self._upkeep.is_due() and self.broken is None:
            await self._checkpoint(idle=True)

    def _doze(self) -> None:
        """Nothing came for as long as `_rest` waits. Not read off a clock: uvloop's timers may fire early by it."""
        self._idle = True
        self._wake.set()

    def _patience(self) -> float | None:
        """How long to wait for work; None: as long as it takes."""
        if self._kept:
            return max(0.0, self._kept_until - self._loop.time())
        if self.full and self.broken is None:
            return LOOK_AGAIN_S
        return None if self.broken is not None else self._upkeep.patience()

    # --- one batch ---------------------------------------------------------------------------------------------------

    async def _write(self, batch: list[Operation]) -> None:
        self._in_hand = [batch]
        await self._refuse(batch)
        while self._in_hand:
            part = self._in_hand[-1]
            if self.broken is not None:
                self._in_hand.pop()
                answer_all(part, self._refusal())
                continue
            began = self._loop.time()
            result = await self._transact(part)
            if result.stage is Stage.DONE:
                rows = sum(operation.size for operation in part)
                self._upkeep.wrote(rows)
                took = self._loop.time() - began
                self._in_hand.pop()
                await answer_in_slices(part)
                self._on_commit(took, rows)  # behind the answers: what it tells of may follow from them
            elif result.fault is Fault.ROW and len(part) > 1:
                middle = len(part) // 2
                self._in_hand[-1:] = [part[middle:], part[:middle]]
            else:
                await self._failed(part, result)
                self._in_hand.pop()
        if self._upkeep.is_overdue and self.broken is None:
            await self._checkpoint()

    async def _refuse(self, batch: list[Operation]) -> None:
        """Take from the batch in hand the acceptances for which there is no room; they are answered, in order."""
        accepts = [o for o in batch if isinstance(o, Accept)]
        if not accepts or self.broken is not None or not self._room.refuses():
            return
        others = [o for o in batch if not isinstance(o, Accept)]
        self._in_hand = [others] if others else []
        answer_all(accepts, DiskFullError("the disk is almost full: free space on [daemon] state_dir"))
        await asyncio.sleep(0)  # each may be followed by another at once

    async def _transact(self, batch: list[Operation]) -> Result:
        ledger, guard = self._ledger, self._guard

        def work(db: Handle) -> Result:
            result = transact(db, lambda: ledger.apply(db, batch))
            if result.stage is not Stage.DONE:
                ledger.undone()
                return result
            ledger.committed()
            if not guard.intact():
                replaced = StoreError("the outbox's files were deleted or replaced while smsd was using them")
                return Result(Stage.UNKNOWN, Fault.FATAL, replaced)
            return result

        try:
            return await self._connection.run(work)
        except Exception as error:
            # Not from the database, whose failures are values: the thread itself failed, at a stage nobody knows.
            return Result(Stage.UNKNOWN, Fault.FATAL, error)

    async def _failed(self, part: list[Operation], result: Result) -> None:
        assert result.fault is not None
        assert result.cause is not None
        what = str(result.cause) if isinstance(result.cause, StoreError) else describe(result.cause)
        if result.stage is Stage.UNKNOWN:
            unknown = OutcomeUnknownError(UNKNOWN.format(what))
            self._break(unknown, result.cause)
            answer_all(part, unknown)
        elif result.fault is Fault.FULL:
            await self._make_room(part, result.cause)
        elif result.fault is Fault.BUSY:
            error = StoreError(f"another process holds the outbox's write lock ({what}): close it and try again")
            self._keep(part, error, result.cause)
        elif result.fault is Fault.ROW:
            answer_all(part, chained(StoreError(f"this cannot be recorded ({what})"), result.cause))
        else:
            broken = StoreBrokenError(f"the outbox cannot be written ({what})")
            self._break(broken, result.cause)
            answer_all(part, self._refusal())

    async def _make_room(self, part: Sequence[Operation], cause: Exception) -> None:
        released = await self._room.make()
        self._keep(part, DiskFullError("the disk is full: free space on [daemon] state_dir"), cause)
        if released:
            self._kept_until = 0.0

    def _keep(self, part: Sequence[Operation], error: StoreError, cause: Exception) -> None:
        """Fail what can be refused, keep what cannot for another try."""
        self._kept += [o for o in part if o.keeps_trying]
        self._kept_until = self._loop.time() + TRY_AGAIN_S
        answer_all([o for o in part if not o.keeps_trying], chained(error, cause))
        if self._closing:
            answer_all(self._kept, chained(error, cause))
            self._kept = []

    def _break(self, error: StoreError, cause: Exception) -> None:
        error.__cause__ = cause
        self.broken = error
        answer_all(self._kept, self._refusal())
        self._kept = []
        self._on_fatal(error)

    def _refusal(self) -> StoreBrokenError:
        refusal = StoreBrokenError(f"the outbox is broken and smsd must be restarted: {self.broken}")
        refusal.__cause__ = self.broken
        return refusal

    async def _checkpoint(self, *, idle: bool = False) -> None:
        result = await self._upkeep.checkpoint(rewrite=idle and not self.full)
        if result.stage is not Stage.DONE and result.fault is not Fault.BUSY:
            await self._failed([], result)
