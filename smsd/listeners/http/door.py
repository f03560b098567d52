"""How do other programs reach the daemon over HTTP?

A request is looked up in `routes`, its caller is judged by `access` and the operations table, and `performing` does the
rest. Whatever goes wrong, down to bytes that are no HTTP, is answered with a problem document (RFC 9457); a fault of
the daemon is a 500 that tells nothing, its story is in the log.

Anybody who reaches the port may connect, so connections are bounded in number and age (`crowd`, `connection`), bodies
in size and time (`bodies`), answers that nobody reads in size (`owing`), what is costly or waits in number (`turns`,
`visits`). A connection without a request under way gives way to a newcomer; one with a request does not. The door
drains: answers under way are finished, and each says that it is the last of its connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import resource
import socket
from collections.abc import Callable, Iterable
from typing import cast

import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from smsd import wire
from smsd.engine.service import Service
from smsd.listeners.callers import INTERNAL, ProblemError, store_fault
from smsd.listeners.http import framing, openapi, retrying
from smsd.listeners.http.access import Access
from smsd.listeners.http.batch import BatchLimits
from smsd.listeners.http.bodies import Bodies
from smsd.listeners.http.connection import Connection, HttpLimits
from smsd.listeners.http.crowd import Crowd
from smsd.listeners.http.owing import Owing
from smsd.listeners.http.performing import READS, Call
from smsd.listeners.http.problems import HttpProblemError, problem
from smsd.listeners.http.routes import HookRoute, Map, OpenRoute, WrongMethodError
from smsd.listeners.http.sse import EventStreams
from smsd.listeners.http.turns import Turns
from smsd.listeners.http.visits import Visits
from smsd.listeners.http.webhooks import Webhooks, shown_path
from smsd.store import StoreError

__all__ = ["HttpDoor", "HttpLimits"]

log = structlog.get_logger("smsd.http")

BACKLOG = 1_024
MOST_CONNECTIONS = 60_000


class HttpDoor:
    """The listening sockets and what is answered there."""

    def __init__(
        self,
        service: Service,
        reasons: Callable[[], tuple[str, ...]],
        access: Access,
        *,
        max_body: int,
        limits: HttpLimits | None = None,
    ) -> None:
        """`reasons` gives what stands in the way of readiness, in short words. `max_body`: bytes, but of batches."""
        self.limits = limits or HttpLimits()
        self.service = service
        self.reasons = reasons
        self.access = access
        self.bodies = Bodies(max_body, self.limits.bodies, self.limits.body_s)
        self.streams = EventStreams(service.stream)
        self.batch_limits = BatchLimits()
        self.webhooks = Webhooks(self.limits.hooks, max_body, self.limits.body_s)
        self.visits = Visits()
        self.listings = Turns()
        self.description = openapi.document
        self._map = Map()
        self._servers: list[asyncio.Server] = []
        self._crowd: Crowd | None = None
        self._owing = Owing(self.limits.unread, self.limits.unread_of_one)
        self._ending = False
        self._empty = asyncio.Event()
        self._crowded = False
        """The log was told that there are too many."""

    def change(self, access: Access, *, max_body: int) -> None:
        """Other rules from the next request on (a reload). Who follows events, or waits, without being let in any more
        is cut off."""
        self.access = access
        self.bodies.most = max_body
        self.webhooks.change(max_body)
        self.visits.judge(access.caller)

    async def listen(self, addresses: Iterable[tuple[str, int]], sockets: Iterable[socket.socket] = ()) -> None:
        """Serve on these (host, port) pairs, and on sockets that are bound already. Raises OSError when an address
        cannot be had."""
        loop = asyncio.get_running_loop()
        limits = self.limits
        most = _most_connections(limits) if limits.connections is None else limits.connections
        self._crowd = Crowd(most, limits.idle_s, limits.head_s, self._empty.set)
        server = web.Server(self._handle, request_factory=self._request)  # type: ignore[arg-type]
        factory = functools.partial(self._connection, server, self._crowd, loop)
        for host, port in addresses:
            self._servers.append(await loop.create_server(factory, host, port, reuse_address=True, backlog=BACKLOG))
        for each in sockets:
            self._servers.append(await loop.create_server(factory, sock=each, backlog=BACKLOG))

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; the ports that were chosen for port 0."""
        names = [socket.getsockname() for server in self._servers for socket in server.sockets]
        return [(str(name[0]), int(name[1])) for name in names]

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return 0 if self._crowd is None else len(self._crowd)

    # -- connections --------------------------------------------------------------------------------------------------

    def _connection(self, server: web.Server, crowd: Crowd, loop: asyncio.AbstractEventLoop) -> asyncio.BaseProtocol:
        if len(crowd) >= crowd.most and not self._crowded:
            self._crowded = True
            log.warning("too many HTTP connections; the longest idle ones are closed", most=crowd.most)
        elif len(crowd) <= crowd.most // 2:
            self._crowded = False
        if self._ending or not crowd.has_room():
            return _Refused()
        return Connection(server, crowd, self._owing, self.limits, loop)

    def _request(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
    ) -> web.Request:
        return web.Request(message, payload, protocol, writer, task, asyncio.get_running_loop())

    # -- requests -----------------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            answer = await self._answer(request)
        except Exception as error:
            answer = retrying.in_shape(request, self._refusal(request, error), error)
        if self._ending:
            answer.force_close()
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        connection.caller = ""
        framing.check(request, self.limits.head)
        route, path = self._map.find(request.method, request.rel_url.raw_path)
        if isinstance(route, OpenRoute):
            return await route.perform(self, request)
        if isinstance(route, HookRoute):
            return await self.webhooks.answer(self.service.hooks, request, path)
        caller = self.access.caller(request.headers)
        route.operation.admit(caller)
        connection.caller = caller.name
        call = Call(request, route.operation, path, caller)
        if request.method not in READS:
            return await route.perform(self, call)
        with self.visits.reading(request, caller):
            return await route.perform(self, call)

    def _refusal(self, request: web.Request, error: Exception) -> web.StreamResponse:
        """The problem that an exception is. Raises ConnectionError when an answer has begun already."""
        if request.writer.output_size > 0:
            if not isinstance(error, ConnectionError | ProblemError):
                log.error("an answer broke off: a fault of the daemon", path=shown_path(request.path), exc_info=error)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionError("the answer broke off") from error
        match error:
            case HttpProblemError():
                answer = problem(*error.faults, status=error.status)
                if error.last:
                    answer.force_close()
                return answer
            case ProblemError() | wire.WireError():
                return problem(*error.faults)
            case WrongMethodError():
                return problem(error.fault, status=405, headers={"Allow": error.allow})
            case StoreError():
                log.error("a request met a fault of the outbox", path=shown_path(request.path), error=str(error))
                return problem(store_fault(error))
            case RecursionError():
                return problem(wire.TOO_DEEP)
            case ConnectionError():
                raise error
        log.error("a request met a fault of the daemon", path=shown_path(request.path), exc_info=error)
        return problem(INTERNAL)

    # -- the end ------------------------------------------------------------------------------------------------------

    def stop_listening(self) -> None:
        """Connect no one any more. Those connected are still answered, each once; batches are told where they end."""
        self._ending = True
        self.batch_limits.together.end()
        for server in self._servers:
            server.close()

    async def close(self, timeout_s: float = 2.0) -> None:
        """Let the answers under way out, end the streams, then close all connections. Idempotent."""
        self.stop_listening()
        self.service.stream.close()
        crowd = self._crowd
        if crowd is None:
            return
        crowd.end_idle()
        if len(crowd):
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), timeout_s)
        for member in crowd.everyone:
            member.give_way()
        crowd.close()


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _most_connections(limits: HttpLimits) -> int:
    """What the limit on open files leaves."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(1, min(soft - limits.reserve, MOST_CONNECTIONS))
