"""What waits for the next commit, and how does its caller learn what became of it?

One class for each kind of wish: an acceptance, claims, the end of an attempt, any other change. They carry what is
wanted and the result; what is written for them is known in `transitions`, when in `writer`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from smsd.core.message import Attempt, Draft, Instant, Message
from smsd.core.settlement import Settlement
from smsd.store.answers import AcceptResult, Blocked
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.errors import StoreError
from smsd.store.pending import Claim

T = TypeVar("T")


class Operation(ABC):
    """One caller's wish. `size`: rows it writes, for the batch's bound."""

    __slots__ = ()
    size = 1
    keeps_trying = False
    """Whether it waits for room when the disk is full instead of failing: its outcome is a fact already."""

    @abstractmethod
    def resolve(self) -> None:
        """It is durable: tell the caller. On the event loop."""

    @abstractmethod
    def fail(self, error: StoreError) -> None:
        """It is not, or nobody knows: tell the caller. On the event loop."""


class Accept(Operation):
    """A draft wants to become a message. The caller is told by a plain call: a future costs too much at 40,000/s."""

    __slots__ = ("done", "draft", "result")

    def __init__(self, draft: Draft, done: Callable[[AcceptResult], None]) -> None:
        self.draft = draft
        self.done = done
        self.result: AcceptResult | None = None

    def resolve(self) -> None:
        assert self.result is not None
        self.done(self.result)

    def fail(self, error: StoreError) -> None:
        self.done(error)


class Awaited(Operation, Generic[T]):
    """An operation whose caller awaits `future`. A caller that gave up waiting changes nothing: it is committed."""

    __slots__ = ("future", "result")

    def __init__(self) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.result: T | None = None

    def resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(cast("T", self.result))

    def fail(self, error: StoreError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Begin(Awaited[list[Message | Blocked | None]]):
    """Claims that want to become open attempts. `now` and `boot_us` are the same moment by wall and boot clock (None:
    there is no boot clock)."""

    __slots__ = ("boot_us", "claims", "now", "size")

    def __init__(self, claims: Sequence[Claim], now: Instant, boot_us: int | None) -> None:
        super().__init__()
        self.claims = claims
        self.now = now
        self.boot_us = boot_us
        self.size = len(claims)


class Settle(Awaited[bool]):
    """The end of an attempt. It keeps trying: the call was made, and only the outbox does not know yet."""

    __slots__ = ("attempt", "settlement")
    size = 2
    keeps_trying = True

    def __init__(self, settlement: Settlement, attempt: Attempt | None) -> None:
        super().__init__()
        self.settlement = settlement
        self.attempt = attempt


class Change(Awaited[T]):
    """Any other transition: a function of the open transaction."""

    __slots__ = ("run", "size")

    def __init__(self, run: Callable[[Handle, Deltas], T], size: int = 1) -> None:
        super().__init__()
        self.run = run
        self.size = size
