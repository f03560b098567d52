"""How does a thread that waits get an answer, over connections that come and go?

A Channel has one connection at most, made at the first request and again after a loss; its requests take turns. Spares
are channels beside a client's first one, for calls that take long: an answer that is waited for must not hold up the
others. Both are the same over the socket and over HTTP: what differs is behind Door.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from smsd.client.errors import SmsdError
from smsd.client.loss import LateError, LostError, StrangerError, time_is_up
from smsd.client.tries import Tries
from smsd.client.words import Document, result_of

KEPT: Final = 4
"""Idle connections kept beside the first."""


class AnyLink(Protocol):
    """One connection. `deadline` is a time.monotonic() value; failures are those of `loss`."""

    def ask(self, said: Any, deadline: float) -> Document:
        """The answer to what the door prepared, in the socket's form (`ok` and a result or an `error`)."""
        ...

    def idle(self) -> bool:
        """Whether it can take another request."""
        ...

    def abort(self) -> None:
        """Wake the thread that waits for an answer on it."""
        ...

    def close(self) -> None: ...


class Door(Protocol):
    """Where the daemon is, and in which form it is spoken to there."""

    @property
    def name(self) -> str:
        """The path or the URL, for people."""
        ...

    @property
    def sends_and_waits(self) -> bool:
        """Whether one request can submit a message and wait for its fate (`send_now`)."""
        ...

    def prepare(self, request: Document, ref: int) -> Any:
        """The request as this door's links take it. Raises SubmissionInvalid."""
        ...

    def connect(self, deadline: float) -> AnyLink:
        """A new connection. Raises SmsdError, LateError."""
        ...


class Channel:
    """Asks, one request at a time."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lock = threading.Lock()
        self._link: AnyLink | None = None
        self._refs = 0
        self._ended = threading.Event()

    def ended(self) -> bool:
        """Whether it was aborted; then it asks nothing more."""
        return self._ended.is_set()

    def ask(self, request: Document, seconds: float, deadline: float | None = None) -> Document:
        """The result. Raises SmsdError. `deadline`: when the call began before it came here."""
        deadline = time.monotonic() + seconds if deadline is None else deadline
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise time_is_up(self._door.name, seconds, doubtful=False)
        try:
            self._refs += 1
            return result_of(self._answer(request, seconds, deadline), request["op"])
        finally:
            self._lock.release()
            if self.ended():
                self._sweep()

    def _answer(self, request: Document, seconds: float, deadline: float) -> Document:
        """One exchange, repeated once on a new connection where that is safe."""
        said = self._door.prepare(request, self._refs)
        tries = Tries(request, self._door.name, seconds)
        while True:
            try:
                return self._connected(deadline).ask(said, deadline)
            except (LostError, LateError, StrangerError, SmsdError) as error:
                self._drop()
                tries.failed(error, final=self.ended())
            except BaseException:
                self._drop()  # an interrupt between question and answer: the answer must not meet the next question
                raise

    def _connected(self, deadline: float) -> AnyLink:
        if self._link is not None and not self._link.idle():
            self._drop()
        if self._link is None:
            self._link = self._door.connect(deadline)
        if self.ended():
            raise LostError(written=False)
        return self._link

    def rest(self, seconds: float) -> None:
        """Wait so long, or until it is aborted."""
        self._ended.wait(seconds)

    def abort(self) -> None:
        """End it for good, from any thread, without waiting: the call under way raises QueueUnavailable soon."""
        self._ended.set()
        link = self._link
        if link is not None:
            link.abort()
        self._sweep()

    def _sweep(self) -> None:
        """Close the connection of one that ended, unless a call has it, which sweeps when it is over."""
        if self._lock.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close the connection, after the call under way if there is one; the next call opens a new one."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.close()


class Spares:
    """Channels that are used by one call each, and kept afterwards if there are not many."""

    def __init__(self, door: Door, kept: int = KEPT) -> None:
        self._door = door
        self._kept = kept
        self._idle: deque[Channel] = deque()
        self._busy: set[Channel] = set()

    @contextmanager
    def one(self) -> Iterator[Channel]:
        """A channel of one's own."""
        try:
            channel = self._idle.pop()
        except IndexError:
            channel = Channel(self._door)
        self._busy.add(channel)
        try:
            yield channel
        finally:
            self._busy.discard(channel)
            if len(self._idle) >= self._kept:
                channel.abort()
            elif not channel.ended():
                self._idle.append(channel)

    def ask(self, request: Document, seconds: float, deadline: float | None = None) -> Document:
        """As Channel.ask, on a channel of its own; calls of several threads do not wait for each other."""
        with self.one() as channel:
            return channel.ask(request, seconds, deadline)

    def close(self) -> None:
        """End the calls under way and close all connections, now and for good: none is kept any more."""
        self._kept = 0
        for channel in tuple(self._busy):
            channel.abort()
        while self._idle:
            self._idle.pop().abort()
