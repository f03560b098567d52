"""How does Client.send_many keep many submissions on the way at once, and account for each?

They are pipelined: written while answers to earlier ones are still out, at most WINDOW at a time, and every item taken
gets exactly one result, in order. What a lost connection leaves unanswered is written once more when it has a key, and
is told as in doubt when it has none.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from smsd.client.errors import SmsdError
from smsd.client.link import Link
from smsd.client.loss import LostError, StrangerError, connection_lost, not_smsd, time_is_up
from smsd.client.words import WINDOW, Document, encode, line_of_result, repeatable, result_of, submission_of


class _Flight:
    """One submission of a stream: not yet written, written and unanswered, or decided."""

    __slots__ = ("index", "line", "outcome", "repeatable", "repeated", "written")

    def __init__(self, index: int, item: Mapping[str, Any]) -> None:
        request = submission_of(item)
        self.index = index
        self.line = b""
        self.repeatable = repeatable(request)
        self.repeated = False
        self.written = False
        self.outcome: Document | SmsdError | None = None
        try:
            self.line = encode({**request, "ref": index})
        except SmsdError as error:
            self.outcome = error


class Stream:
    """send_many's connection and the submissions on it, at most WINDOW."""

    def __init__(self, path: str, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._link: Link | None = None
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
        """Take items when half the window is free; whether anything is left to report."""
        if self._gone is None and len(self._flights) <= WINDOW // 2:
            self._flights.extend(_Flight(index, item) for index, item in islice(feed, WINDOW - len(self._flights)))
        if self._flights or self._gone is None:
            return bool(self._flights)
        if (following := next(feed, None)) is not None:
            gone, message = self._gone, f"{self._gone.message} Nothing was sent from index {following[0]} on."
            raise type(gone)(gone.code, message, remedy=gone.remedy)
        return False

    def _advance(self, flight: _Flight) -> None:
        """Write what is not written, or read the answer to `flight`, which is the oldest undecided one."""
        deadline = time.monotonic() + self._seconds
        try:
            if self._link is None:
                self._link = Link(self._path, deadline)
            if flight.written:
                flight.outcome = _outcome(self._link.read(flight.index, deadline))
            else:
                self._write(self._link, deadline)
        except LostError:
            self._mend()
        except TimeoutError:
            of_written = time_is_up(self._path, self._seconds, doubtful=True)
            self._give_up(time_is_up(self._path, self._seconds, doubtful=False), of_written)
        except StrangerError:
            self._give_up(not_smsd(self._path), connection_lost(self._path, doubtful=True))
        except SmsdError as error:
            self._give_up(error, connection_lost(self._path, doubtful=True))

    def _write(self, link: Link, deadline: float) -> None:
        waiting = [each for each in self._flights if not each.written and each.outcome is None]
        for each in waiting:
            each.written = True  # before the write: of one that fails half-way nobody knows which lines left
        link.write(b"".join(each.line for each in waiting), deadline)

    def _mend(self) -> None:
        """The connection ended: what may be repeated is written again, once; the rest may have been taken."""
        self._drop()
        for each in self._flights:
            if each.written and each.outcome is None:
                if each.repeated or not each.repeatable:
                    each.outcome = connection_lost(self._path, doubtful=True)
                each.written, each.repeated = False, True

    def _give_up(self, error: SmsdError, of_written: SmsdError) -> None:
        """Nobody to talk to: every submission taken gets its result, and run() raises `error` for the rest."""
        self._drop()
        self._gone = error
        for each in self._flights:
            if each.outcome is None:
                each.outcome = of_written if each.written or each.repeated else error

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _outcome(answer: Document) -> Document | SmsdError:
    try:
        return result_of(answer)
    except SmsdError as error:
        return error
