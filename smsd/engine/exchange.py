"""What came back from the provider, and can it have taken the message?

The one place that performs a Request: one aiohttp session for all providers, with its sockets, timeouts and traces. It
knows HTTP and nothing of what an answer means: that is the dialect's word (`provider.classify`).

What it must get right is the line between "nothing was taken" and "nobody knows". Whether a request was partly written
cannot be observed: an SMS request is one send() into a kernel buffer. So the line is the connection. None was obtained
(refused, name, TLS, connect timeout): NoConnection, and the message may be sent again. A connection was had and no
complete answer came: NoAnswer, and it must not. A kept connection that the provider closes at the same moment falls on
the uncertain side too, so connections are kept for 4 s only; for the same reason nothing is ever re-sent here: no
redirect is followed, and aiohttp's own retry of GET requests is kept from happening.

An answer that is too long is cut at `Request.max_answer` and still is an answer: its status counts. The connection is
closed then. There is no cookie jar and no proxy from the environment. There is no limit of connections either: how many
calls are in flight is the dispatcher's decision (`max_in_flight`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TextIO, TypeGuard

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection
from yarl import URL

from smsd import __version__
from smsd.engine.trace import brief_of, trace_of
from smsd.providers.base import Local, NoAnswer, NoConnection, Outcome, Performance, Provider, Request, Response

KEEPALIVE_S = 4.0
"""Idle connections are closed after this; longer than the gaps under load, shorter than servers' usual 5 s and more."""

CONNECT_SHARE = 0.5
"""Share of the timeout that may pass before a connection is had. Less than 1, so that an unreachable provider is known
as such (NoConnection) and not mistaken for one that does not answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one exchange came to."""

    outcome: Outcome
    latency_ms: int
    request: Request = field(repr=False)
    left_after_us: int = 0
    """How long after `send` was called the request left this machine; 0: at once, or not known."""

    @property
    def trace(self) -> str:
        """Redacted: status, headers that matter, the first KiB of the body without phone numbers and without the text.

        Worked out when asked for, because it costs a third of a call.
        """
        return trace_of(self.request, self.outcome)

    @property
    def brief(self) -> str:
        """The trace without the body: enough for an attempt that went well, and a tenth of the room."""
        return brief_of(self.outcome)


class _Departure:
    """When a request left: loop.time(), or None."""

    __slots__ = ("at",)

    def __init__(self) -> None:
        self.at: float | None = None


_departure: ContextVar[_Departure] = ContextVar("departure")
"""Of the exchange that runs in this context; aiohttp offers no other way from a request to its caller that costs less
than tracing."""


class _Departing(aiohttp.ClientRequest):
    """A request that notes when its last byte was written.

    uvloop writes at the end of the loop's turn, so the time is taken in the next one. With a body, write_bytes comes
    after send has returned, in a task of its own.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        response = await super().send(conn)
        self._note()
        return response

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        await super().write_bytes(writer, conn, content_length)
        self._note()

    def _note(self) -> None:
        departure = _departure.get(None)
        if departure is not None:
            self.loop.call_soon(_leave, departure, self.loop)


def _leave(departure: _Departure, loop: asyncio.AbstractEventLoop) -> None:
    departure.at = loop.time()


class Exchange:
    """One HTTP session for all providers. `start` before the first `send`; `close` drops what is still open."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the session; connections are made when needed."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": f"smsd/{__version__}", "Accept": "application/json"},
            skip_auto_headers=("Accept-Encoding",),
            trust_env=False,
            request_class=_Departing,
        )

    async def close(self) -> None:
        """Close the session and its connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        """Perform `request` for `provider` within `timeout_ms`; `draw`, from [0, 1), is for simulated providers.

        Raises RuntimeError when the exchange is not started; CancelledError passes through.
        """
        loop = asyncio.get_running_loop()
        begun = loop.time()
        departure = _Departure()
        if _is_local(provider):
            outcome = await self._perform(provider.perform(request, draw), timeout_ms)
        else:
            _departure.set(departure)
            outcome = await self._exchange(request, timeout_ms)
        left_after_us = 0 if departure.at is None else round((departure.at - begun) * 1e6)
        return Answer(outcome, round((loop.time() - begun) * 1_000), request, left_after_us)

    async def _exchange(self, request: Request, timeout_ms: int) -> Outcome:
        if self._session is None:
            raise RuntimeError("the exchange is not started, or is closed")
        try:
            response = await self._session.request(
                request.method,
                _url(request),
                data=request.body or None,
                headers=request.headers,
                timeout=_timeout(timeout_ms),
                allow_redirects=False,
                middlewares=() if request.method == "POST" else (_never_again,),
            )
        except aiohttp.ConnectionTimeoutError:
            return NoConnection(f"no connection within {round(timeout_ms * CONNECT_SHARE)} ms")
        except aiohttp.ClientConnectorError as error:
            return NoConnection(_why_not(error))
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            return NoConnection("the URL is none that can be called")
        except TimeoutError:
            return NoAnswer(f"no answer within {timeout_ms} ms")
        except (aiohttp.ClientError, OSError) as error:
            return NoAnswer(_how_broken(error))
        return await _read(response, request.max_answer, timeout_ms)

    async def _perform(self, performance: Performance, timeout_ms: int) -> Outcome:
        """What a provider inside this process does, at the speed it says."""
        if performance.latency_ms > timeout_ms:
            await asyncio.sleep(timeout_ms / 1_000)
            return NoAnswer(f"no answer within {timeout_ms} ms")
        await asyncio.sleep(performance.latency_ms / 1_000)
        if performance.line is not None:
            out = self._out or sys.stdout
            try:
                out.write(performance.line + "\n")
                out.flush()
            except OSError as error:
                return NoConnection(f"standard output: {os.strerror(error.errno or errno.EIO)}")
        return performance.outcome


_local: dict[type, bool] = {}


def _is_local(provider: Provider) -> TypeGuard[Local]:
    """isinstance with a runtime protocol costs a tenth of a whole call, so each class is asked once."""
    kind = type(provider)
    if kind not in _local:
        _local[kind] = isinstance(provider, Local)
    return _local[kind]


async def _read(response: aiohttp.ClientResponse, limit: int, timeout_ms: int) -> Outcome:
    """The whole answer, or its first `limit` bytes."""
    chunks: list[bytes] = []
    size = 0
    try:
        content = response.content
        while size <= limit and not content.at_eof():
            chunk = await content.readany()
            chunks.append(chunk)
            size += len(chunk)
    except TimeoutError:
        return NoAnswer(f"HTTP {response.status}, but the rest of the answer did not come within {timeout_ms} ms")
    except (aiohttp.ClientError, OSError) as error:
        return NoAnswer(f"HTTP {response.status}, but the rest of the answer did not come: {_how_broken(error)}")
    finally:
        response.release()  # for reuse when it was read to its end, else aiohttp closes it
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    return Response(response.status, _headers(response.headers), body[:limit])


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _url(request: Request) -> URL:
    """The URL exactly as the dialect wrote it. Only those without a query recur (and hold no phone number)."""
    return URL(request.url, encoded=True) if "?" in request.url else _fixed_url(request.url)


@lru_cache(maxsize=64)
def _fixed_url(url: str) -> URL:
    return URL(url, encoded=True)


@lru_cache(maxsize=64)
def _timeout(timeout_ms: int) -> aiohttp.ClientTimeout:
    """ceil_threshold: aiohttp would round long timeouts up to whole seconds."""
    total = timeout_ms / 1_000
    return aiohttp.ClientTimeout(total=total, connect=total * CONNECT_SHARE, ceil_threshold=float("inf"))


class _BrokenError(aiohttp.ClientError):
    """A connection broke under a request."""


async def _never_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """aiohttp repeats a GET, PUT or DELETE whose connection broke. Some dialects send by GET; a repeat would double
    the message, and it would do so unseen."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
        raise _BrokenError(_how_broken(error)) from error


def _why_not(error: aiohttp.ClientConnectorError) -> str:
    """One clause on a connection that did not come about; names host and port, never the URL."""
    where = f"{error.host}:{error.port}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} cannot be resolved ({error.os_error})"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the TLS certificate of {where} is not accepted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"TLS with {where} failed ({error.os_error})"
    why = error.os_error.strerror or str(error.os_error) or "the connection was closed before it was made"
    return f"{where}: {why}"


def _how_broken(error: Exception) -> str:
    """One clause on an answer that did not come; aiohttp's own text may hold what was received, so it is not used."""
    if isinstance(error, _BrokenError):
        return str(error)
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the provider closed the connection"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the connection broke ({os.strerror(error.errno)})"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection ended early"
    return f"not understood as HTTP ({type(error).__name__})"
