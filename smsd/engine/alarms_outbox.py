"""How is the outbox asked what alerts need of it, though it may fail or not answer?

A Question is one read, of which one at most is under way: an outbox that hangs leaves no queue of reads behind. A look
asks all its questions at once and waits for them together, READ_S at most; once that ran out no look waits for that
read again, its end is an event of its own. An answer that comes late still counts if it was asked for less than FRESH_S
ago, so that an outbox which is merely slow is watched all the same; an older one is dropped, and the next look asks
anew: nobody knows of what moment it speaks. A read that failed is asked again after TRY_AGAIN_S. The log is told when
a question begins to be without answer and when it has one again, not of what lies between.

It refuses to know what is asked, and what follows from the answer or the want of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Final, Generic, Protocol, TypeVar

import structlog

from smsd.clock import Clock
from smsd.store import StoreError

log = structlog.get_logger("smsd.alerts")

READ_S: Final = 2.0
"""For so long a look waits for its questions."""

TRY_AGAIN_S: Final = 5.0
"""When the outbox could not be read, or written."""

FRESH_S: Final = 15.0
"""An answer that took longer is not believed."""

T = TypeVar("T")


class Asked(Protocol):
    """A Question, whatever its answer is."""

    def begin(self) -> asyncio.Task[bool] | None:
        """Ask, unless it is too early or the last read is still under way: what to wait for, if there is something. An
        answer that came since the last look will do."""
        ...

    def pass_over(self) -> None:
        """It was waited for long enough."""
        ...

    def at(self, wanted: int) -> int | None:
        """When to ask if an answer is wanted then (ms of boot time). None: a read is under way, its end is an event."""
        ...


async def ask(questions: Collection[Asked], until: float) -> list[bool]:
    """Ask them, and wait for that until then (s of the loop). Whether each was answered."""
    begun = [each.begin() for each in questions]
    waited = [task for task in begun if task is not None]
    if waited:
        await asyncio.wait(waited, timeout=max(0.0, until - asyncio.get_running_loop().time()))
    answered: list[bool] = []
    for question, task in zip(questions, begun, strict=True):
        if task is not None and not task.done():
            question.pass_over()
        answered.append(task is not None and task.done() and task.result())
    return answered


class Question(Generic[T]):
    """One read of the outbox."""

    def __init__(
        self,
        what: str,
        read: Callable[[], Awaitable[T]],
        learn: Callable[[T], None],
        clock: Clock,
        settled: Callable[[], None],
    ) -> None:
        """`what`: for the log. `read` may raise StoreError. `learn` takes the answer as soon as it is there. `settled`
        is called when a read ends that nobody waits for any more."""
        self._what = what
        self._read = read
        self._learn = learn
        self._clock = clock
        self._settled = settled
        self._task: asyncio.Task[bool] | None = None
        self._again_at = 0
        self._good_until = 0
        """When the answer under way is too old."""
        self._late = False
        """Nobody waits for the read under way any more; its answer is the next look's."""
        self._wanting = False
        """The log was told that there is no answer."""
        self._closed = False

    def at(self, wanted: int) -> int | None:
        """See Asked."""
        if self._task is not None and not self._task.done():
            return None
        return max(wanted, self._again_at)

    def forget(self) -> None:
        """Something else is asked from now on: the answer under way does not count, and the next look asks."""
        self._again_at = self._good_until = 0

    def begin(self) -> asyncio.Task[bool] | None:
        """See Asked."""
        task, now = self._task, self._now()
        if self._closed or (task is not None and not task.done()):
            return None
        late, self._late = self._late, False
        # The result may be a fault, too.
        if task is not None and task.result() and late and now <= self._good_until:
            return task
        if now < self._again_at:
            return None
        self._good_until = now + int(FRESH_S * 1e3)
        self._task = asyncio.get_running_loop().create_task(self._answer(), name=f"alerts: {self._what}")
        return self._task

    def pass_over(self) -> None:
        """See Asked."""
        assert self._task is not None
        self._late = True
        self._task.add_done_callback(lambda _: self._settled())
        self._want("what alerts need of the outbox is not read yet; not waiting for it any more", "no answer")

    async def close(self) -> None:
        """End the read under way; nothing is asked any more. Idempotent."""
        self._closed = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    async def _answer(self) -> bool:
        """Whether there is one that counts."""
        try:
            answer = await self._read()
        except StoreError as error:
            self._again_at = self._now() + int(TRY_AGAIN_S * 1e3)
            self._want("what alerts need of the outbox could not be read; trying again", str(error))
            return False
        if self._now() > self._good_until:
            return False
        self._again_at = 0
        self._learn(answer)
        if self._wanting:
            self._wanting = False
            log.info("what alerts need of the outbox is read again", what=self._what)
        return True

    def _want(self, event: str, error: str) -> None:
        if not self._wanting:
            self._wanting = True
            log.error(event, what=self._what, error=error)
