"""What may one HTTP connection cost, and how is it told that it said something unreadable?

aiohttp parses the requests and writes the answers. This adds what it leaves open: a bound on the size and the age of a
request's head, on how long answers stay unread, and on how long a refused client is listened to so that it can read
why; and problem documents where aiohttp would answer with a page of text. Which connections there are and who gives way
is known by `crowd`; what is asked, by the door.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_request import BaseRequest

from smsd.core.acceptance import Fault
from smsd.listeners.callers import INTERNAL
from smsd.listeners.http.crowd import Crowd
from smsd.listeners.http.owing import Owing
from smsd.listeners.http.problems import problem, raw_problem, too_large_head
from smsd.listeners.http.visits import Visit
from smsd.listeners.http.webhooks import HookLimits

log = structlog.get_logger("smsd.http")

NEVER_S = 86_400.0
"""aiohttp's own limit on idle connections: `crowd` has a better one."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """The bounds of the HTTP door; bytes, seconds, counts."""

    connections: int | None = None
    """Open at once; above it the longest idle one is closed. None: what the limit on open files allows, less
    `reserve`, at most 60,000."""
    reserve: int = 256
    """Open files left for the outbox, providers and the socket."""
    head: int = 16_384
    """Bytes of a request's head; of them a line is at most 8,190 (aiohttp's bound)."""
    head_s: float = 10.0
    """From its first byte to its last."""
    idle_s: float = 60.0
    """A connection without a request under way."""
    body_s: float = 15.0
    """From the end of the head to the end of a body; a batch has its own rule."""
    bodies: int = 67_108_864
    """Bytes of bodies that are arriving, of all connections; above it a request is answered 503."""
    unread_s: float = 30.0
    """A client that takes nothing of its answer for so long is dropped."""
    unread: int = 67_108_864
    unread_of_one: int = 16_777_216
    """Bytes of answers written and not read, of all and of one caller; above it who holds most is dropped."""
    linger_s: float = 2.0
    """How long a refused client may go on sending what nobody reads, so that it gets to read its answer."""
    hooks: HookLimits = field(default_factory=HookLimits)


class Connection(web.RequestHandler):
    """One client."""

    __slots__ = ("_behind", "_crowd", "_deaf", "_gone", "_head", "_limits", "_owing", "caller", "visit")

    def __init__(
        self, manager: web.Server, crowd: Crowd, owing: Owing, limits: HttpLimits, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(
            manager,
            loop=loop,
            keepalive_timeout=NEVER_S,
            access_log=None,  # type: ignore[arg-type]  # documented: no access log
            lingering_time=limits.linger_s,
            auto_decompress=False,
            read_bufsize=32_768,
        )
        self._crowd = crowd
        self._owing = owing
        self._limits = limits
        self.caller = ""
        """The name of who sent the request that is answered; "" if nobody knows."""
        self.visit: Visit | None = None
        """The read under way."""
        self._head = 0
        """Bytes that came since the last request ended, while none is under way."""
        self._behind: asyncio.TimerHandle | None = None
        """Set while the client leaves an answer unread."""
        self._deaf = False
        """What comes is not looked at: it follows something unreadable."""
        self._gone: asyncio.Event | None = None
        """Set when the connection is; made when somebody waits for it."""

    # -- the transport's calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None, "aiohttp has just set it"
        # No byte may wait unseen: an answer counts as out when the system has all of it.
        self.transport.set_write_buffer_limits(high=0)
        self._crowd.joined(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._crowd.left(self)
        self._owing.settled(self)
        if self.visit is not None:
            self.visit.end(ConnectionResetError("the client is gone"))
        if self._gone is not None:
            self._gone.set()
        if self._behind is not None:
            self._behind.cancel()

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        super().data_received(data)
        if self._messages:
            self._crowd.busy(self)
        elif data and self._crowd.waits(self):
            if not self._head:
                self._crowd.beginning(self)
            self._head += len(data)
            if self._head > self._limits.head:
                self._refuse(too_large_head(self._limits.head), 431)

    # -- unread answers -----------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()
        self._owing.owes(self, self.caller)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._owing.settled(self)
        if self._behind is not None:
            self._behind.cancel()
            self._behind = None

    async def _drain_helper(self) -> None:
        """aiohttp's writers wait here when they wrote more to a client that is behind."""
        self._owing.owes(self, self.caller)
        await super()._drain_helper()

    def _watch(self) -> None:
        self._behind = self._loop.call_later(self._limits.unread_s, self._look, self.unread())

    def unread(self) -> int:
        """See owing.Debtor."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def _look(self, before: int) -> None:
        """The client took something meanwhile, or it still sends (which may be why it does not read), or it goes."""
        request = self._current_request
        if self.unread() < before or (request is not None and not request.content.is_eof()):
            self._watch()
            return
        log.warning("a client is dropped: it does not read its answer")
        self.abort()

    # -- requests -----------------------------------------------------------------------------------------------------

    async def finish_response(
        self, request: BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Write the answer, then wait for the next request; after an answer given before the whole request was read,
        for none."""
        partly_read = not request.content.is_eof()
        if partly_read:
            resp.force_close()
        done = await super().finish_response(request, resp, start_time)
        if self._deaf:
            await self._linger()
        elif not partly_read and not self._messages:
            self._head = 0
            self._crowd.idle(self)
        return done

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is not HTTP, or to a fault that the door did not catch. The connection ends with it."""
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun; no other can be given")
        self._deaf = True
        if isinstance(exc, HttpProcessingError):
            fault, status = self._unreadable(exc)
            answer = problem(fault, status=status, headers=_LAST)
        else:
            log.error("a request met a fault of the daemon", exc_info=exc)
            answer = problem(INTERNAL, headers=_LAST)
        answer.force_close()
        return answer

    def _unreadable(self, error: HttpProcessingError) -> tuple[Fault, int]:
        if isinstance(error, LineTooLong) or _TOO_MANY.match(error.message):
            return too_large_head(self._limits.head), 431
        what = error.message.split("\n", 1)[0].rstrip(":")[:100]
        shown = f" ({what})" if what.isprintable() and what.isascii() else ""
        return Fault("", "malformed", f"this is no HTTP request{shown}: send HTTP/1.1"), 400

    # -- the end ------------------------------------------------------------------------------------------------------

    def give_way(self) -> None:
        """See crowd.Member. Nothing is owed to it."""
        self.abort()

    def drop(self) -> None:
        """See owing.Debtor."""
        self._loop.call_soon(self.abort)

    def abort(self) -> None:
        """Close now, whatever is owed."""
        if self.transport is not None:
            self.transport.abort()

    def _refuse(self, fault: Fault, status: int) -> None:
        """Answer a head that is not whole, of which aiohttp knows nothing yet."""
        self._deaf = True
        self._crowd.busy(self)
        if self.transport is not None:
            self.transport.write(raw_problem(fault, status))
            self._loop.call_later(self._limits.linger_s, self.abort)

    async def _linger(self) -> None:
        """Closed with bytes unread, TCP resets the connection, and the client may lose its answer."""
        if self.transport is not None:
            self._gone = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), self._limits.linger_s)


_LAST = {"Connection": "close"}
_TOO_MANY = re.compile("Too many headers")
