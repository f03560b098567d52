"""How is an application called that somebody named by a URL, and how is it kept from being anything else?

The one place that performs callbacks: a session of its own beside the providers', so that neither waits for the other.
Who writes the URL need not be trusted, so the connection goes only to addresses that may be called (`core.callee`):
every address of the name is checked each time a connection is made, one that may not be called spoils them all, and the
connection is made to what was checked, not to the name a second time. Nothing else is tried: no redirect is followed,
no proxy, no cookie. TLS is checked against the name. Of an answer only the status and Retry-After count; its body is
read, so that the connection can be used again, up to MAX_ANSWER.

Names are looked up on threads of their own: the loop's own few are the providers', and a name server that does not
answer holds one up for half a minute. They are shared by tenants, so that who names hosts without an answer holds up
itself. It refuses to know what a callback says, how it is signed and when it is tried again (`callbacks`).
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from smsd import __version__
from smsd.core.callee import Network, callee_of, may_call
from smsd.core.calling import may_take

MAX_ANSWER: Final = 4_096
"""Bytes of an answer's body that are read; with a longer one the connection is closed."""

KEEPALIVE_S: Final = 4.0
"""Idle connections are closed after this, before most servers close them."""

LOOK_UPS: Final = 64
"""Names that are looked up at the same time, shared by tenants."""

MOST_WAIT_S: Final = 86_400
"""A longer Retry-After is cut to a day; how much of it is honoured others decide."""

REMEDY: Final = "allow it under [callbacks] allow_private, or have the URL changed"

Look = Callable[[str], Awaitable[Sequence[str]]]
"""A name's addresses. Raises OSError."""


_FOR: ContextVar[str] = ContextVar("the tenant whose callback is called")
"""aiohttp asks for a name's addresses with no word of the call; but in its context."""


class NotAllowedError(Exception):
    """The host stands for an address that may not be called."""


class NoLookUpError(Exception):
    """Too many names are being looked up: this one was not."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call came to."""

    status: int | None = None
    """The answer's; None: there was none."""
    error: str | None = None
    """Why there was none, in one clause without the URL."""
    refused: bool = False
    """No call was made, because none may be made to that host."""
    postponed: bool = False
    """No call was made, for want of means: nothing is known of the host."""
    wait_ms: int = 0
    """The wait that the answer asks for (Retry-After); 0: none."""


class Callout:
    """One session for all callbacks, under one rule of which private addresses may be called. `close` ends it."""

    def __init__(
        self, allowed: Sequence[Network] = (), look: Look | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """`look`: how names are looked up (the system's way). `tls`: which certificates are trusted (the system's)."""
        self._allowed = tuple(allowed)
        self._look = look or _Names()
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self.calls = 0
        """In flight."""

    async def call(self, url: str, headers: Mapping[str, str], body: bytes, timeout_ms: int, tenant: str = "") -> Reply:
        """POST the body, for the tenant. Whatever goes wrong is in the Reply."""
        callee = callee_of(url)
        if isinstance(callee, str):
            return Reply(error="the URL is none that can be called", refused=True)
        if callee.address is not None and not may_call(callee.address, self._allowed):
            return Reply(error=f"{callee.host} is not a public address: {REMEDY}", refused=True)
        self.calls += 1
        caller = _FOR.set(tenant)
        try:
            return await self._post(url, headers, body, timeout_ms)
        except NotAllowedError as error:
            return Reply(error=str(error), refused=True)
        except NoLookUpError as error:
            return Reply(error=str(error), postponed=True)
        except aiohttp.ConnectionTimeoutError:
            return Reply(error=f"no connection within {timeout_ms} ms")
        except TimeoutError:
            return Reply(error=f"no answer within {timeout_ms} ms")
        except (aiohttp.ClientError, OSError) as error:
            return Reply(error=_why(error))
        finally:
            _FOR.reset(caller)
            self.calls -= 1

    async def close(self) -> None:
        """Close all connections. Idempotent; a later call would open a new session."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes, timeout_ms: int) -> Reply:
        session = self._opened()
        timeout = aiohttp.ClientTimeout(total=timeout_ms / 1e3, ceil_threshold=float("inf"))
        target = URL(url, encoded=True)
        response = await session.post(target, data=body, headers=headers, timeout=timeout, allow_redirects=False)
        try:
            await _read_some(response)
        finally:
            response.release()  # for reuse when it was read to its end, else aiohttp closes it
        return Reply(response.status, wait_ms=_asked_ms(response.headers))

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=KEEPALIVE_S,
                use_dns_cache=False,
                resolver=_Resolver(self._look, self._allowed),
                ssl=self._tls or True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"smsd/{__version__}", "Content-Type": "application/json"},
                skip_auto_headers=("Accept-Encoding",),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class _Resolver(AbstractResolver):
    """Gives aiohttp the addresses to connect to: those of the name, if each of them may be called."""

    def __init__(self, look: Look, allowed: Sequence[Network]) -> None:
        self._look = look
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises NotAllowedError, NoLookUpError, OSError."""
        found = await self._look(host)
        if not found:
            raise OSError(None, "the name has no address")
        for each in found:
            if not may_call(ip_address(each), self._allowed):
                raise NotAllowedError(f"{host} stands for {each}, which is not a public address: {REMEDY}")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host,
                host=each,
                port=port,
                family=socket.AF_INET6 if ":" in each else socket.AF_INET,
                proto=0,
                flags=flags,
            )
            for each in found
        ]

    async def close(self) -> None:
        """Nothing is held."""


class _Names:
    """The system's way to look a name up (getaddrinfo), on a thread for each name. Threads cannot be ended: they are
    daemons, so that they hold up no exit, and whoever asks for a name that is being looked up waits for that. Each
    counts for the tenant that asked first, until it ends, which may be long after the call has."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Future[Sequence[str] | OSError]] = {}
        self._by_tenant: Counter[str] = Counter()

    async def __call__(self, host: str) -> Sequence[str]:
        running = self._running.get(host)
        if running is None:
            tenant = _FOR.get("")
            if not may_take(self._by_tenant[tenant], len(self._running), LOOK_UPS):
                raise NoLookUpError("too many names are being looked up")
            running = self._begin(host, tenant)
        found = await asyncio.shield(running)
        if isinstance(found, OSError):
            raise found
        return found

    def _begin(self, host: str, tenant: str) -> asyncio.Future[Sequence[str] | OSError]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[str] | OSError] = loop.create_future()

        def end(found: Sequence[str] | OSError) -> None:
            del self._running[host]
            self._by_tenant -= Counter((tenant,))
            if not future.done():
                future.set_result(found)

        def look() -> None:
            found = _addresses(host)
            try:
                loop.call_soon_threadsafe(end, found)
            except RuntimeError:
                return  # the loop was closed meanwhile, and nobody waits

        try:
            threading.Thread(target=look, name="smsd callback name", daemon=True).start()
        except RuntimeError as error:
            raise NoLookUpError("no thread could be begun to look the name up") from error
        self._running[host] = future
        self._by_tenant[tenant] += 1
        return future


def _addresses(host: str) -> Sequence[str] | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except OSError as error:
        return error
    except UnicodeError:
        return OSError(None, "not a name that can be looked up")
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


async def _read_some(response: aiohttp.ClientResponse) -> None:
    """Up to MAX_ANSWER bytes of the body. It counts for nothing, so neither does that it breaks off or never ends."""
    size = 0
    try:
        while size <= MAX_ANSWER and not response.content.at_eof():
            size += len(await response.content.readany())
    except (TimeoutError, aiohttp.ClientError, OSError):
        response.close()


def _asked_ms(headers: Mapping[str, str]) -> int:
    """Milliseconds of a Retry-After (RFC 9110, 10.2.3): seconds, or a date, which is compared with the answer's own so
    that our clock plays no part; 0 when it cannot be read."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(int(value[:9]), MOST_WAIT_S) * 1_000
    until, now = _date(value), _date(headers.get("Date", ""))
    if until is None or now is None:
        return 0
    return round(min(max(0.0, until - now), MOST_WAIT_S)) * 1_000


def _date(value: str) -> float | None:
    """Seconds since the epoch of an HTTP-date; None: it is none."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _why(error: Exception) -> str:
    """One clause on a call that had no answer. aiohttp's own texts may hold the URL or what was received."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name {error.host} cannot be resolved ({_words(error.os_error)})"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the TLS certificate of {error.host} is not accepted ({error.certificate_error})"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port} ({_words(error.os_error)})"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the receiver closed the connection"
    if isinstance(error, OSError) and error.errno is not None:
        return f"the connection broke ({_words(error)})"
    return f"not understood as HTTP ({type(error).__name__})"


def _words(error: OSError) -> str:
    """Those of the system; a look-up's error numbers are its own (below 0), and it has words for them."""
    if error.errno is not None and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)
