"""How do monitors ask over HTTP whether the daemon is well?

`/healthz` says that the process answers; `/readyz` says whether it accepts and can send, and why not. Both answer
without a token and name no provider. Everything else is a 404 as application/problem+json (RFC 9457); a fault of the
daemon is a 500 of the same form, its story only in the log.

Anybody who reaches the port may connect, so connections are bounded in number and in age: a client that sends its
request byte by byte takes one place for 20 s at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec
import structlog
from aiohttp import web

log = structlog.get_logger("smsd.http")

CONNECTIONS = 256
"""Above it new connections are closed at once."""

AGE_S = 10.0
"""A connection older than this is closed at the next look, which comes every AGE_S: none lives longer than twice it."""

HEADERS = {"Cache-Control": "no-store"}
PROBLEM = "application/problem+json"


class HttpDoor:
    """The health endpoints. `reasons` gives what stands in the way of readiness, in short words."""

    def __init__(
        self, reasons: Callable[[], tuple[str, ...]], *, connections: int = CONNECTIONS, age_s: float = AGE_S
    ) -> None:
        self._reasons = reasons
        self._most = connections
        self._age_s = age_s
        self._app = web.Application(middlewares=[_problems])
        self._app.router.add_get("/healthz", self._health)
        self._app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(self._app, access_log=None, keepalive_timeout=age_s, lingering_time=0)
        self._servers: list[asyncio.Server] = []
        self._sweeping: asyncio.Task[None] | None = None

    async def listen(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Serve on these (host, port) pairs. Raises OSError when one cannot be had."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for host, port in addresses:
            self._servers.append(await loop.create_server(self._connection, host, port, reuse_address=True))
        self._sweeping = loop.create_task(self._sweep(self._server()), name="smsd http sweep")

    def _server(self) -> web.Server:
        server = self._runner.server
        assert server is not None, "listen() has set it up"
        return server

    def _connection(self) -> asyncio.BaseProtocol:
        server = self._server()
        return _Refused() if len(server.connections) >= self._most else server()

    async def _sweep(self, server: web.Server) -> None:
        """Close what was there at the last look already."""
        seen: set[object] = set()
        while True:
            await asyncio.sleep(self._age_s)
            for connection in server.connections:
                if connection in seen:
                    connection.force_close()
            seen = set(server.connections)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; the ports that were chosen for port 0."""
        names = [socket.getsockname() for server in self._servers for socket in server.sockets]
        return [(str(name[0]), int(name[1])) for name in names]

    async def close(self) -> None:
        """Stop. Idempotent."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for server in self._servers:
            server.close()
        self._servers.clear()
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        reasons = self._reasons()
        status = "unready" if reasons else "ready"
        return _json({"status": status, "reasons": list(reasons)}, status=503 if reasons else 200)


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


@web.middleware
async def _problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _problem(error.status, error.reason, headers)
    except Exception:
        log.exception("a request met a fault of the daemon", path=request.path[:64])
        return _problem(500, "Internal Server Error", {})


def _problem(status: int, title: str, headers: dict[str, str]) -> web.Response:
    body: dict[str, object] = {"type": "about:blank", "title": title, "status": status}
    return _json(body, status=status, content_type=PROBLEM, headers=headers)


def _json(
    body: dict[str, object],
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: dict[str, str] | None = None,
) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type=content_type, headers={**HEADERS, **(headers or {})}
    )
