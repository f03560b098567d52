"""Which reads are under way, and what ends one before it is answered?

A read may wait for a minute and a stream for ever, and each has a place that others want. So a read ends at once when
its client is gone, and when a reload takes its caller's rights away. Only reads are here, and the waiting for what
becomes of a message that is accepted already: a write is never cut off, whoever has gone. Places to wait are counted by
caller, well below what the engine has, so that nobody takes them all. What is read, nobody here knows.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Protocol, cast

import structlog
from aiohttp import web

from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.http.access import Headers

log = structlog.get_logger("smsd.http")

PLACES: Mapping[str, int] = MappingProxyType({"events": 100, "get": 1_000})
"""What one caller may have waiting at once, by operation: a tenth of what `Stream` and `Watchers` have for all."""


class Visit:
    """One read under way, made by the task that performs it."""

    __slots__ = ("_task", "_why", "caller", "headers")

    def __init__(self, caller: Caller, headers: Headers) -> None:
        self.caller = caller
        self.headers = headers
        self._task = asyncio.current_task()
        self._why: Exception | None = None

    def end(self, why: Exception) -> None:
        """Raise `why` where it waits. Only the first reason counts."""
        if self._why is None and self._task is not None:
            self._why = why
            self._task.cancel()

    def reason(self) -> Exception | None:
        """Why it was ended; None: the task was cancelled by somebody else, too, and must end."""
        if self._why is None or self._task is None or self._task.uncancel() > 0:
            return None
        return self._why


class Visited(Protocol):
    """The connection of a read: when it is lost, it ends the visit."""

    visit: Visit | None


class Visits:
    """The reads of one door."""

    def __init__(self, places: Mapping[str, int] = PLACES) -> None:
        self._places = places
        self._open: set[Visit] = set()
        self._waiting: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def reading(self, request: web.Request, caller: Caller) -> Iterator[None]:
        """What is done within may be cut off: then ConnectionError is raised, or ProblemError unauthenticated or
        not_allowed when `caller` is nobody any more."""
        if request.transport is None:
            raise ConnectionResetError("the client is gone")
        connection = cast(Visited, request.protocol)
        visit = connection.visit = Visit(caller, request.headers)
        self._open.add(visit)
        try:
            yield
        except asyncio.CancelledError:
            why = visit.reason()
            if why is None:
                raise
            raise why from None
        finally:
            self._open.discard(visit)
            connection.visit = None

    @contextmanager
    def waiting(self, caller: Caller, operation: str) -> Iterator[None]:
        """A place to wait. Raises ProblemError limit_exceeded when the caller has all of its own."""
        key, most = (caller.name, operation), self._places[operation]
        if self._waiting[key] >= most:
            text = f"{caller.name} has {most} such requests waiting: let one end, or ask without `wait`."
            raise ProblemError.of("limit_exceeded", text)
        self._waiting[key] += 1
        try:
            yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]

    def judge(self, caller_of: Callable[[Headers], Caller]) -> None:
        """End those whose request would come from another caller now, or from nobody. `caller_of`: see Access.caller;
        it is asked about the very request, so that a token with another secret is another token."""
        ended = 0
        for visit in list(self._open):
            try:
                if caller_of(visit.headers) == visit.caller:
                    continue
                visit.end(ProblemError.of("not_allowed", "The caller's rights were changed meanwhile. Ask again."))
            except ProblemError as error:
                visit.end(error)
            ended += 1
        if ended:
            log.info("reads under way are ended: their callers' rights were changed", count=ended)

    def __len__(self) -> int:
        return len(self._open)
