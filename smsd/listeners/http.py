"""How do monitors ask over HTTP whether the daemon is well?

`/healthz` says that the process answers; `/readyz` says whether it accepts and can send, and why not. Both answer
without a token and name no provider. Everything else is a 404 as application/problem+json (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec
from aiohttp import web

MAX_BODY = 65_536
HEADERS = {"Cache-Control": "no-store"}


class HttpDoor:
    """The health endpoints. `reasons` gives what stands in the way of readiness, in short words."""

    def __init__(self, reasons: Callable[[], tuple[str, ...]]) -> None:
        self._reasons = reasons
        self._app = web.Application(client_max_size=MAX_BODY, middlewares=[_problems])
        self._app.router.add_get("/healthz", self._health)
        self._app.router.add_get("/readyz", self._ready)
        self._runner = web.AppRunner(self._app, access_log=None, keepalive_timeout=15)

    async def listen(self, addresses: Iterable[tuple[str, int]]) -> None:
        """Serve on these (host, port) pairs. Raises OSError when one cannot be had."""
        await self._runner.setup()
        for host, port in addresses:
            await web.TCPSite(self._runner, host, port).start()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where it listens; the ports that were chosen for port 0."""
        return [(str(each[0]), int(each[1])) for each in self._runner.addresses]

    async def close(self) -> None:
        """Stop. Idempotent."""
        await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return _json({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        reasons = self._reasons()
        status = "unready" if reasons else "ready"
        return _json({"status": status, "reasons": list(reasons)}, status=503 if reasons else 200)


@web.middleware
async def _problems(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[misc, no-any-return]  # aiohttp types a middleware's handler loosely
    except web.HTTPException as error:
        body = {"type": "about:blank", "title": error.reason, "status": error.status}
        headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return _json(body, status=error.status, content_type="application/problem+json", headers=headers)


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
