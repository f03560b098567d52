"""How do providers call back?

`/webhooks/{provider}/{kind}[/{secret}]`, GET and POST. A provider has no token and sends what its own manual says, so
nothing is asked of its request but that its body is whole and small; whether it comes from the provider, and what it
means, is known by `engine.hooks`. Neither the path, which may end with a secret, nor the query is ever logged.

Anybody may send one. A body that is on its way holds only its own bytes, of which there is a bound apart from that of
the operations. What has come whole takes its turn: so many are taken at once, of all providers and of one, a bounded
number waits, provider by provider, and beyond that the answer is 503 with Retry-After. However many come, a flood thus
adds what `together` requests bring to a commit. A forged request waits for nothing and ends within its turn; what it
costs is the loop's time, which submissions share with it, so the dialects bound what they decode before they know who
sent it (`providers.signatures`): the worst of them takes one or two thousandths of a second.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, Protocol

import structlog
from aiohttp import web

from smsd.core.acceptance import Fault
from smsd.engine.hooks import Taken
from smsd.engine.registering import HookKind
from smsd.listeners.callers import ProblemError
from smsd.listeners.http.bodies import Bodies, check_plain
from smsd.listeners.http.problems import problem, reply
from smsd.listeners.http.turns import Turns
from smsd.store import StoreError

log = structlog.get_logger("smsd.http")

PREFIX: Final = "/webhooks/"


@dataclass(frozen=True, slots=True)
class HookLimits:
    """The bounds of webhooks; bytes, counts."""

    body: int = 262_144
    """Of one body, where `[http] max_body` allows as much. A receipt takes one KiB; a gateway that sends JSON may send
    hundreds at once, and proves itself by an HMAC of the bytes or by its path, which costs little at any size. Forms
    and tokens have a bound of their own (`providers.forms`, `providers.tokens`)."""
    arriving: int = 8_388_608
    """Of all bodies together that are on their way."""
    held: int = 16_777_216
    """Of all bodies together that have come and are not answered yet."""
    together: int = 64
    of_one: int = 48
    """Requests taken at once, of all providers and of one."""
    waiting: int = 1_024
    waiting_of_one: int = 768
    """Requests waiting for their turn, likewise."""


NOWHERE: Final = Fault("", "unknown_op", "There is nothing at this path; /openapi.json lists what there is.")
"""As of any path that leads nowhere, so that nobody learns which webhooks there are."""

FORGED: Final = Fault("", "not_allowed", "The request does not prove that it comes from the provider.")
UNREADABLE: Final = Fault("", "malformed", "The request is not one that the provider is known to send.")
BUSY: Final = Fault("", "backlog_full", "Too many requests to webhooks are waiting. Repeat it later.", retry_after_s=5)
NOT_KEPT: Final = Fault("", "backlog_full", "It could not be kept. Repeat it later.", retry_after_s=5)


class Taker(Protocol):
    """`engine.hooks.Hooks`, as the door sees it."""

    async def take(
        self,
        name: str,
        kind: HookKind,
        secret: str | None,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Taken:
        """See there."""
        ...


class Webhooks:
    """The webhooks of one door. `max_body`: bytes; `span_s`: how long a body may take to come."""

    def __init__(self, limits: HookLimits, max_body: int, span_s: float) -> None:
        self._limits = limits
        most = min(max_body, limits.body)
        self._bodies = Bodies(most, limits.arriving, span_s, "The bodies of webhooks are small.")
        self._turns = Turns(
            limits.together, limits.of_one, waiting=limits.waiting, waiting_of_one=limits.waiting_of_one
        )
        self._held = 0

    def change(self, max_body: int) -> None:
        """Another bound from the next request on (a reload)."""
        self._bodies.most = min(max_body, self._limits.body)

    async def answer(self, taker: Taker, request: web.Request, path: Mapping[str, str]) -> web.StreamResponse:
        """Take what the provider says. Raises ProblemError, ConnectionError."""
        try:
            kind = HookKind(path["kind"])
        except ValueError:
            return problem(NOWHERE)
        check_plain(request)
        target = request.raw_path
        if not target.isascii():
            return problem(UNREADABLE)
        body = await self._bodies.read(request)
        if self._held + len(body) > self._limits.held:
            raise ProblemError(BUSY)
        self._held += len(body)
        try:
            name, secret = path["provider"], path.get("secret")
            async with AsyncExitStack() as turn:
                await self._turn(turn, name)
                taken = await taker.take(name, kind, secret, request.method, target, _headers(request), body)
        except StoreError as error:
            log.error("a webhook's request could not be kept; the provider is to repeat it", error=str(error))
            return problem(NOT_KEPT)
        finally:
            self._held -= len(body)
        return _answer(taken)

    async def _turn(self, stack: AsyncExitStack, name: str) -> None:
        try:
            await stack.enter_async_context(self._turns.turn(name))
        except ProblemError:
            raise ProblemError(BUSY) from None


def _headers(request: web.Request) -> dict[str, str]:
    """By lower-case name. One that is given twice is joined, so that nobody reads half of it; one that is not ASCII is
    left out: it signs nothing."""
    found: dict[str, str] = {}
    for name, value in request.headers.items():
        if value.isascii():
            lower = name.lower()
            found[lower] = f"{found[lower]}, {value}" if lower in found else value
    return found


def _answer(taken: Taken) -> web.Response:
    match taken.status:
        case 200:
            return reply(taken.body, content_type=taken.content_type or "text/plain")
        case 403:
            return problem(FORGED)
        case 400:
            return problem(UNREADABLE)
    return problem(NOWHERE)


def shown_path(path: str) -> str:
    """A request's path as it may be logged: what a webhook's path ends with is a secret."""
    return f"{PREFIX}..." if path.startswith(PREFIX) else path[:64]
