"""What can be asked for at a door, by whom, and about whose messages?

Every operation stands here once: name, request type, scope, tenant rule, handler. The socket is made from this table,
and so are the HTTP routes. Doors know bytes and peers; handlers know neither.

Scopes: `send` (submit, cancel), `read`, `admin`. Tenant rules: an OWN operation sees only the caller's tenant unless
the caller has them all; an ALL operation is about the daemon as a whole and needs a caller who has them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec

from smsd import __version__, wire
from smsd.core import address, units
from smsd.core.acceptance import Fault, Origin, Refusal
from smsd.core.message import FINAL, Message, State
from smsd.engine.intake import Answer, Receipt
from smsd.engine.service import ProviderView, Seen, Service, Stats, UnknownProviderError
from smsd.store import DiskFullError, OutcomeUnknownError, Query, StoreBrokenError, StoreError, WrongState

LIST_LIMIT = 1_000


class Scope(StrEnum):
    """What a caller may do."""

    SEND = "send"
    READ = "read"
    ADMIN = "admin"


class Reach(StrEnum):
    """Whose messages an operation is about."""

    OWN = "own"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `tenant` is whose messages it submits; `everyone`: it sees and touches all tenants' messages."""

    name: str
    tenant: str
    scopes: frozenset[Scope]
    everyone: bool = False

    @property
    def origin(self) -> Origin:
        """The caller as intake sees it."""
        return Origin(self.tenant, may_set_tenant=self.everyone)

    @property
    def sees(self) -> str | None:
        """The tenant its reads are bound to; None: all."""
        return None if self.everyone else self.tenant


class ProblemError(Exception):
    """The operation cannot be done; the door says so. `faults` has at least one."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__(faults[0].message)
        self.faults = faults

    @classmethod
    def of(cls, code: str, message: str, field: str = "") -> ProblemError:
        """One fault."""
        return cls(Fault(field, code, message))


def store_fault(error: StoreError) -> Fault:
    """What a fault of the outbox means to who asked for an operation (what it means to a submission, intake says)."""
    match error:
        case DiskFullError():
            return Fault("", "disk_full", "The outbox has no room; nothing was changed. Free disk space and repeat.")
        case OutcomeUnknownError():
            text = "The commit failed: whether it was done is not known. Look again after the restart of smsd."
            return Fault("", "outcome_unknown", text)
        case StoreBrokenError():
            return Fault("", "shutting_down", "The outbox stopped; nothing was changed. Repeat after the restart.")
        case _:
            return Fault("", "internal", f"The outbox could not do it: {error}. Nothing was changed; repeat it.")


Handler = Callable[[Service, Caller, Any], Awaitable[dict[str, object]]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row of the table."""

    name: str
    request: type[msgspec.Struct]
    scope: Scope
    reach: Reach
    handler: Handler

    def admit(self, caller: Caller) -> None:
        """Raises ProblemError not_allowed unless the caller has the scope and the reach."""
        if self.scope not in caller.scopes:
            raise ProblemError.of("not_allowed", f"`{self.name}` needs the scope {self.scope}; {caller.name} lacks it.")
        if self.reach is Reach.ALL and not caller.everyone:
            text = f"`{self.name}` is about the whole daemon; {caller.name} may only see and touch its own messages."
            raise ProblemError.of("not_allowed", text)


# -- handlers ---------------------------------------------------------------------------------------------------------


async def _send(service: Service, caller: Caller, request: wire.Submission) -> dict[str, object]:
    answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    content_hash = wire.content_hash(request) if request.idempotency_key is not None else None
    service.intake.submit(request, caller.origin, content_hash, answered.set_result)
    answer = await answered
    if isinstance(answer, Refusal):
        raise ProblemError(*answer.faults)
    return acceptance(answer)


def acceptance(receipt: Receipt) -> dict[str, object]:
    """The answer to an accepted submission."""
    return {
        "id": receipt.id,
        "state": receipt.state.label,
        "segments": receipt.segments,
        "encoding": receipt.encoding.label,
        "replayed": receipt.replayed,
    }


async def _get(service: Service, caller: Caller, request: wire.Get) -> dict[str, object]:
    seen = await service.get(request.id, caller.sees)
    return {"message": _view(_found(seen, request.id))}


async def _list(service: Service, caller: Caller, request: wire.List) -> dict[str, object]:
    tenant = request.tenant if caller.everyone else caller.tenant
    if request.tenant not in {None, tenant}:
        raise ProblemError.of("not_allowed", f"{caller.name} sees only its own messages.", "tenant")
    query = Query(
        tenant=tenant,
        states=_states(request.state),
        recipient=_recipient(request.to),
        user=request.user,
        campaign=request.campaign,
        category=request.category,
        since=_instant(request.since, "since"),
        before=_cursor(request.cursor),
        limit=_limit(request.limit),
    )
    items, following = await service.page(query)
    cursor = None if following is None else wire.encode_cursor(following)
    return {"items": [_view(seen) for seen in items], "next_cursor": cursor}


async def _attempts(service: Service, caller: Caller, request: wire.Attempts) -> dict[str, object]:
    attempts = await service.attempts(request.id, caller.sees)
    if attempts is None:
        raise _not_found(request.id)
    return {"attempts": [wire.attempt_view(attempt) for attempt in attempts]}


async def _cancel(service: Service, caller: Caller, request: wire.Cancel) -> dict[str, object]:
    found = await service.cancel(request.id, caller.sees)
    if isinstance(found, WrongState):
        text = f"The message is {found.message.state.label}; only a pending one can be cancelled."
        raise ProblemError.of("wrong_state", text, "id")
    return {"message": _view(_found(found, request.id))}


async def _retry(service: Service, caller: Caller, request: wire.Retry) -> dict[str, object]:
    found = await service.retry(
        request.id, caller.sees, ttl=request.ttl, expires_at=request.expires_at, force=request.force
    )
    if isinstance(found, Fault):
        raise ProblemError(found)
    if isinstance(found, WrongState):
        raise ProblemError.of("wrong_state", _why_not_retried(found.message), "id")
    return {"message": _view(_found(found, request.id))}


def _why_not_retried(message: Message) -> str:
    if message.state is State.FAILED:
        return "It failed UNCERTAIN: the provider may have taken it. Retry with `force` if a second copy is acceptable."
    return f"The message is {message.state.label}; only failed, undelivered and expired ones can be retried."


async def _stats(service: Service, caller: Caller, request: wire.Stats) -> dict[str, object]:
    return _stats_view(await service.stats())


async def _providers(service: Service, caller: Caller, request: wire.Providers) -> dict[str, object]:
    return {"providers": [_provider_view(view) for view in service.providers()]}


async def _pause(service: Service, caller: Caller, request: wire.Pause) -> dict[str, object]:
    try:
        return {"provider": _provider_view(await service.pause(request.provider, f"paused by {caller.name}"))}
    except UnknownProviderError as error:
        raise ProblemError.of("not_found", f"There is {error}.", "provider") from error


async def _resume(service: Service, caller: Caller, request: wire.Resume) -> dict[str, object]:
    try:
        return {"provider": _provider_view(await service.resume(request.provider))}
    except UnknownProviderError as error:
        raise ProblemError.of("not_found", f"There is {error}.", "provider") from error


async def _ping(service: Service, caller: Caller, request: wire.Ping) -> dict[str, object]:
    return {"pong": True, "version": __version__}


# -- from and to the wire ---------------------------------------------------------------------------------------------


def _found(seen: Seen | None, id: str) -> Seen:
    if seen is None:
        raise _not_found(id)
    return seen


def _not_found(id: str) -> ProblemError:
    return ProblemError.of("not_found", f"There is no message {id[:64]}.", "id")


def _view(seen: Seen) -> object:
    return wire.message_view(seen.message, seen.waiting)


def _states(text: str | None) -> tuple[State, ...]:
    if text is None:
        return ()
    known = {state.label: state for state in State}
    chosen: list[State] = []
    for name in text.split(","):
        if name == "queued":
            chosen += [state for state in State if state not in FINAL]
        elif name in known:
            chosen.append(known[name])
        else:
            raise ProblemError.of("invalid_value", f"`state` is one or more of {', '.join(known)}, queued.", "state")
    return tuple(chosen)


def _recipient(text: str | None) -> str | None:
    """As it is kept. A national number is refused: without the region it was submitted in, it names nobody."""
    found = None if text is None else address.recipient(text, "")
    if isinstance(found, address.Problem):
        raise ProblemError.of("invalid_recipient", f"`to` {found.message}", "to")
    return found


def _instant(text: str | None, field: str) -> int | None:
    try:
        return None if text is None else units.instant(text)
    except ValueError as error:
        raise ProblemError.of("invalid_value", f"`{field}`: {error}", field) from error


def _cursor(text: str | None) -> int | None:
    try:
        return None if text is None else wire.decode_cursor(text)
    except ValueError as error:
        text = "`cursor` is not one that a listing gave. Start again without it."
        raise ProblemError.of("invalid_value", text, "cursor") from error


def _limit(limit: int | None) -> int:
    if limit is None:
        return 50
    if not 1 <= limit <= LIST_LIMIT:
        raise ProblemError.of("invalid_value", f"`limit` is 1 to {LIST_LIMIT}.", "limit")
    return limit


def _time(at: int | None) -> str | None:
    return None if at is None else units.rfc3339(at)


def _provider_view(view: ProviderView) -> dict[str, object]:
    return {
        "name": view.name,
        "type": view.type,
        "state": view.state.value,
        "until": _time(view.until),
        "reason": view.reason or None,
        "rate": view.rate,
        "rate_now": view.rate,
        "recommended_rate": None,
        "in_flight": view.in_flight,
        "sent_last_minute": view.sent_last_minute,
        "throttles_last_hour": view.throttles_last_hour,
    }


def _stats_view(stats: Stats) -> dict[str, object]:
    states = {state.label: 0 for state in State}
    priorities: dict[str, int] = {"high": 0, "normal": 0, "bulk": 0}
    for (state, priority), count in stats.totals.states.items():
        states[state.label] += count
        if state is State.PENDING:
            priorities[priority.label] += count
    sent = states["sent"] + states["delivered"]
    failed = states["failed"] + states["undelivered"] + states["expired"] + states["cancelled"]
    return {
        "states": states,
        "categories": stats.totals.categories,
        "providers": {view.name: _provider_view(view) for view in stats.providers},
        "priorities": priorities,
        "sent_last_minute": stats.sent_last_minute,
        "sent_last_hour": stats.sent_last_hour,
        "sent_today": stats.sent_today,
        "failed_today": stats.failed_today,
        "processed": sent + failed,
        "oldest_pending_at": _time(stats.totals.oldest_pending_at),
        "eta": _time(stats.eta),
        "uptime_s": stats.uptime_s,
        "version": __version__,
    }


SEND = Operation("send", wire.SendLine, Scope.SEND, Reach.OWN, _send)

OPERATIONS: Mapping[str, Operation] = {
    operation.name: operation
    for operation in (
        SEND,
        Operation("get", wire.Get, Scope.READ, Reach.OWN, _get),
        Operation("list", wire.List, Scope.READ, Reach.OWN, _list),
        Operation("attempts", wire.Attempts, Scope.READ, Reach.OWN, _attempts),
        Operation("cancel", wire.Cancel, Scope.SEND, Reach.OWN, _cancel),
        Operation("retry", wire.Retry, Scope.ADMIN, Reach.OWN, _retry),
        Operation("stats", wire.Stats, Scope.READ, Reach.ALL, _stats),
        Operation("providers", wire.Providers, Scope.READ, Reach.OWN, _providers),
        Operation("pause", wire.Pause, Scope.ADMIN, Reach.ALL, _pause),
        Operation("resume", wire.Resume, Scope.ADMIN, Reach.ALL, _resume),
        Operation("ping", wire.Ping, Scope.READ, Reach.OWN, _ping),
    )
}
