"""How does Client.send_many keep many submissions on the way at once, and account for each?

They are written while answers to earlier ones are still out, at most a window of them, and every item taken gets
exactly one result, in order. What a lost connection leaves unanswered is written once more when it has a key, and
is told as in doubt when it has none. On the socket they are pipelined; over HTTP a window is one batch, which is read
to its end before the next one leaves.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Protocol

from smsd.client.errors import SmsdError
from smsd.client.loss import LateError, LostError, StrangerError, connection_lost, not_smsd, time_is_up
from smsd.client.words import Document, line_of_result, repeatable, result_of, submission_of


class TurnedDownError(Exception):
    """The daemon refused everything that was written as a whole: nothing of it was taken. `reason`: why."""

    def __init__(self, reason: SmsdError) -> None:
        super().__init__(reason)
        self.reason = reason


class Pipe(Protocol):
    """A connection for submissions. `deadline` is a time.monotonic() value; failures are those of `loss`."""

    def write(self, data: bytes, deadline: float) -> None:
        """Whole lines. Raises TurnedDownError too."""
        ...

    def read(self, ref: int, deadline: float) -> Document:
        """The next answer, in the socket's form; it is the one to the item with the index `ref`."""
        ...

    def close(self) -> None: ...


class ManyDoor(Protocol):
    """What send_many needs of a door."""

    @property
    def name(self) -> str: ...
    @property
    def window(self) -> int:
        """Submissions under way, at most."""
        ...

    @property
    def refill(self) -> int:
        """How many may still be unanswered when more are written."""
        ...

    def item(self, item: Mapping[str, Any], index: int) -> bytes:
        """The line for one item. Raises SubmissionInvalid."""
        ...

    def pipe(self, deadline: float) -> Pipe: ...


class _Flight:
    """One submission of a stream: not yet written, written and unanswered, or decided."""

    __slots__ = ("index", "line", "outcome", "repeatable", "repeated", "written")

    def __init__(self, door: ManyDoor, index: int, item: Mapping[str, Any]) -> None:
        self.index = index
        self.line = b""
        self.repeatable = repeatable(submission_of(item))
        self.repeated = False
        self.written = False
        self.outcome: Document | SmsdError | None = None
        try:
            self.line = door.item(item, index)
        except SmsdError as error:
            self.outcome = error


class Stream:
    """send_many's connection and the submissions on it, at most a window of them."""

    def __init__(self, door: ManyDoor, seconds: float) -> None:
        self._door = door
        self._seconds = seconds
        self._pipe: Pipe | None = None
        self._flights: deque[_Flight] = deque()
        self._gone: SmsdError | None = None

    def run(self, items: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
        """The results, as Client.send_many promises them."""
        feed = enumerate(items)
        try:
            while self._load(feed):
                flight = self._flights[0]
                while flight.outcome is None:
                    self._advance(flight)
                self._flights.popleft()
                yield line_of_result(flight.index, flight.outcome)
        finally:
            self._drop()

    def _load(self, feed: Iterator[tuple[int, Mapping[str, Any]]]) -> bool:
        """Take items when enough of the window is free; whether anything is left to report."""
        if self._gone is None and len(self._flights) <= self._door.refill:
            taken = islice(feed, self._door.window - len(self._flights))
            self._flights.extend(_Flight(self._door, index, item) for index, item in taken)
        if self._flights or self._gone is None:
            return bool(self._flights)
        if (following := next(feed, None)) is not None:
            gone, message = self._gone, f"{self._gone.message} Nothing was sent from index {following[0]} on."
            raise type(gone)(gone.code, message, remedy=gone.remedy, retry_after=gone.retry_after)
        return False

    def _advance(self, flight: _Flight) -> None:
        """Write what is not written, or read the answer to `flight`, which is the oldest undecided one."""
        name, deadline = self._door.name, time.monotonic() + self._seconds
        try:
            if self._pipe is None:
                self._pipe = self._door.pipe(deadline)
            if flight.written:
                flight.outcome = _outcome(self._pipe.read(flight.index, deadline))
            else:
                self._write(self._pipe, deadline)
        except LostError:
            self._mend()
        except LateError:
            of_written = time_is_up(name, self._seconds, doubtful=True)
            self._give_up(time_is_up(name, self._seconds, doubtful=False), of_written)
        except StrangerError as stranger:
            self._give_up(not_smsd(name, stranger), connection_lost(name, doubtful=True))
        except TurnedDownError as refused:
            for each in self._flights:
                each.written = False
            self._give_up(refused.reason, connection_lost(name, doubtful=True))
        except SmsdError as error:
            self._give_up(error, connection_lost(name, doubtful=True))

    def _write(self, pipe: Pipe, deadline: float) -> None:
        waiting = [each for each in self._flights if not each.written and each.outcome is None]
        for each in waiting:
            each.written = True  # before the write: of one that fails half-way nobody knows which lines left
        pipe.write(b"".join(each.line for each in waiting), deadline)

    def _mend(self) -> None:
        """The connection ended: what may be repeated is written again, once; the rest may have been taken."""
        self._drop()
        for each in self._flights:
            if each.written and each.outcome is None:
                if each.repeated or not each.repeatable:
                    each.outcome = connection_lost(self._door.name, doubtful=True)
                each.written, each.repeated = False, True

    def _give_up(self, error: SmsdError, of_written: SmsdError) -> None:
        """Nobody to talk to: every submission taken gets its result, and run() raises `error` for the rest."""
        self._drop()
        self._gone = error
        for each in self._flights:
            if each.outcome is None:
                each.outcome = of_written if each.written or each.repeated else error

    def _drop(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            pipe.close()


def _outcome(answer: Document) -> Document | SmsdError:
    try:
        return result_of(answer)
    except SmsdError as error:
        return error
