"""How are the messages of a campaign handed in, one after the other, and what became of each?

In their order, a bounded number at once. What is wrong with one recipient is told of that one; what would be wrong with
all that follow ends it, and the first that was not taken is known. How recipients arrive, and what is done with the
numbers in the end, is not known here. A plan may be in the place of the intake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from smsd import wire
from smsd.core.acceptance import Fault, Origin, Refusal
from smsd.core.message import State
from smsd.engine.intake import Answer, Intake

AT_ONCE: Final = 256
"""Submissions of one request that are not answered."""

SLICE: Final = 32
"""Recipients in one go, two or three milliseconds of work."""

ERRORS: Final = 100
"""Refused recipients that are named."""

ENDING: Final = frozenset({"backlog_full", "disk_full", "shutting_down", "outcome_unknown", "internal", "wrong_state"})
"""Refusals that are not about the recipient."""


class Unreadable:
    """In the place of a recipient: why it could not be read."""

    __slots__ = ("faults",)

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = faults


class BrokenOffError(Exception):
    """No more recipients can be read, though there may be some."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


Recipients = AsyncGenerator[object, None]
"""Decoded recipients, and Unreadable ones. Raises BrokenOffError."""


class Taker(Protocol):
    """Who takes submissions: the intake, or a plan."""

    async def add(self, index: int, submission: wire.Submission, content_hash: bytes | None = None) -> None: ...

    def refuse(self, index: int, faults: Sequence[Fault]) -> None: ...


class EndedError(Exception):
    """No more is taken."""


class Handing:
    """Hands submissions to the intake. `room`: of all who do so at once."""

    def __init__(self, intake: Intake, room: asyncio.Semaphore, origin: Origin) -> None:
        self._intake = intake
        self._room = room
        self._origin = origin
        self._in_flight = 0
        self._news = asyncio.Event()
        self.taken = 0
        """Recipients that were looked at."""
        self.accepted = self.replayed = self.failed = self.refused = 0
        self.errors: list[wire.CampaignFault] = []
        self.ended: tuple[int, Fault] | None = None
        """The first recipient that was not taken, and why nothing is any more."""

    async def add(self, index: int, submission: wire.Submission, content_hash: bytes | None = None) -> None:
        """One more. Raises EndedError."""
        while self._in_flight >= AT_ONCE and self.ended is None:
            await self._change()
        await self._room.acquire()
        if self.ended is not None:
            self._room.release()
            raise EndedError
        self._in_flight += 1
        self.taken = index + 1
        done = partial(self._answered, index)
        self._intake.submit(submission, self._origin, content_hash, done, flood=self)

    def refuse(self, index: int, faults: Sequence[Fault]) -> None:
        """One that is none, or that the intake refuses."""
        self.taken = max(self.taken, index + 1)
        self.refused += 1
        if len(self.errors) < ERRORS:
            fault = faults[0]
            self.errors.append(wire.CampaignFault(index, fault.code, fault.field or None, fault.message))

    def break_off(self, index: int, fault: Fault) -> None:
        """Nothing is taken from there on."""
        if self.ended is None or index < self.ended[0]:
            self.ended = index, fault

    async def end(self) -> None:
        """All that was handed in is answered."""
        while self._in_flight:
            await self._change()
        self.errors.sort(key=lambda error: error.index)

    async def _change(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _answered(self, index: int, answer: Answer) -> None:
        self._in_flight -= 1
        self._room.release()
        self._news.set()
        if isinstance(answer, Refusal):
            if answer.faults[0].code in ENDING:
                self.break_off(index, answer.faults[0])
            else:
                self.refuse(index, answer.faults)
        elif answer.replayed:
            self.replayed += 1
        elif answer.state is State.FAILED:
            self.failed += 1
        else:
            self.accepted += 1


async def first_taken(
    recipients: Recipients, common: Mapping[str, Any], intake: Intake, origin: Origin, handing: Handing
) -> object | None:
    """The first recipient that would be taken; those before it are refused. None: there is none. Raises
    BrokenOffError."""
    index = 0
    async for own in recipients:
        faults = judged(own, common, index, intake, origin)
        if not faults:
            return own
        handing.refuse(index, faults)
        index += 1
        if index % SLICE == 0:
            await asyncio.sleep(0)
    return None


def judged(own: object, common: Mapping[str, Any], index: int, intake: Intake, origin: Origin) -> Sequence[Fault]:
    """All that is wrong with one recipient; nothing is handed in."""
    try:
        if isinstance(own, Unreadable):
            return own.faults
        return intake.examine(wire.campaign_member(common, own, index), origin)
    except wire.WireError as error:
        return error.faults
    except RecursionError:
        return (wire.TOO_DEEP,)


async def behind(first: object, rest: Recipients) -> Recipients:
    """All of them."""
    yield first
    async for each in rest:
        yield each


async def hand_in(recipients: Recipients, common: Mapping[str, Any], taker: Taker, index: int = 0) -> None:
    """All of them, unless it ends before. `index`: of the first of them."""
    async for own in recipients:
        try:
            if isinstance(own, Unreadable):
                taker.refuse(index, own.faults)
            else:
                submission = wire.campaign_member(common, own, index)
                await taker.add(index, submission, wire.content_hash(submission))
        except wire.WireError as error:
            taker.refuse(index, error.faults)
        except RecursionError:
            taker.refuse(index, (wire.TOO_DEEP,))
        except EndedError:
            return
        index += 1
        if index % SLICE == 0:
            await asyncio.sleep(0)
