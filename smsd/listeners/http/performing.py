"""How is an operation performed that was asked for over HTTP?

`plain` performs nearly all alike: path, query and body become the operation's request, its answer becomes JSON. The
others are what HTTP has beside or instead of that: a submission with its header and its `wait`, a batch, events that
stream, figures that are text, and the routes that need no caller. Which path means what is the affair of `routes`;
connections and their bounds are the door's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import msgspec
from aiohttp import web

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.core.message import State
from smsd.engine.explaining import Seen
from smsd.engine.service import Service
from smsd.engine.stream import UnknownKindError, Wanted, wanted
from smsd.listeners import handlers, showing
from smsd.listeners.callers import Caller, ProblemError
from smsd.listeners.http import reading
from smsd.listeners.http.accepting import rank
from smsd.listeners.http.batch import BatchLimits, batch
from smsd.listeners.http.bodies import Bodies, check_json, check_plain, invite
from smsd.listeners.http.problems import JSON, reply
from smsd.listeners.http.sse import EventStreams
from smsd.listeners.http.turns import Turns
from smsd.listeners.http.visits import Visits
from smsd.listeners.metrics import CONTENT_TYPE
from smsd.listeners.operations import Operation

READS = frozenset({"GET", "HEAD"})
EVENT_STREAM = "text/event-stream"
CSV = "text/csv"
QUEUED = frozenset({State.PENDING.label, State.PROCESSING.label})


class Desk(Protocol):
    """The door, as a performer sees it."""

    service: Service
    bodies: Bodies
    streams: EventStreams
    batch_limits: BatchLimits
    visits: Visits
    listings: Turns

    def reasons(self) -> tuple[str, ...]:
        """What stands in the way of readiness."""
        ...

    def description(self) -> bytes:
        """The OpenAPI document."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a caller who may ask for this operation. `path`: the parameters in the path, by field."""

    request: web.Request
    operation: Operation
    path: Mapping[str, str]
    caller: Caller


Performer = Callable[[Desk, Call], Awaitable[web.StreamResponse]]
OpenPerformer = Callable[[Desk, web.Request], Awaitable[web.StreamResponse]]


# -- most of them -----------------------------------------------------------------------------------------------------


async def plain(desk: Desk, call: Call) -> web.StreamResponse:
    """Query or body in, JSON out."""
    return reply(wire.encode(await _result(desk, call)))


async def put(desk: Desk, call: Call) -> web.StreamResponse:
    """The same for what is there afterwards, whether it was before or not: 201 when it is new."""
    kept = cast(wire.KeptSuppression, await _result(desk, call))
    return reply(wire.encode(kept), 201 if kept.added else 200)


async def delete(desk: Desk, call: Call) -> web.StreamResponse:
    """The same with everything in path and query. A body has no meaning there (RFC 9110, section 9.3.5): one that says
    what to delete must not be passed over."""
    if call.request.body_exists:
        text = "A DELETE takes no body: say it in the query, such as ?scope=NAME."
        raise ProblemError.of("malformed", text)
    return reply(wire.encode(await _performed(desk, call, query_request(call))))


async def figures(desk: Desk, call: Call) -> web.StreamResponse:
    """The same, but the answer is a text."""
    found = cast(wire.Exposition, await _result(desk, call))
    return reply(found.text.encode(), content_type=CONTENT_TYPE)


async def _result(desk: Desk, call: Call) -> msgspec.Struct:
    if call.request.method in READS:
        request = query_request(call)
    else:
        check_json(call.request)
        request = body_request(call, await desk.bodies.read(call.request))
    return await _performed(desk, call, request)


async def _performed(desk: Desk, call: Call, request: msgspec.Struct) -> msgspec.Struct:
    """The answer. Who wants to wait for it needs a place."""
    if isinstance(request, wire.Get | wire.Events) and request.wait is not None:
        with desk.visits.waiting(call.caller, call.operation.name):
            return await call.operation.handler(desk.service, call.caller, request)
    return await call.operation.handler(desk.service, call.caller, request)


async def listing(desk: Desk, call: Call) -> web.StreamResponse:
    """The same in a turn: pages are large, and nobody else is served while one is made."""
    request = query_request(call)
    async with desk.listings.turn(call.caller.name):
        body = wire.encode(await call.operation.handler(desk.service, call.caller, request))
    return reply(body)


async def report(desk: Desk, call: Call) -> web.StreamResponse:
    """The same as JSON or as a table: `format` says it, or else `Accept`."""
    request = cast(wire.Reported | wire.ReportRate, query_request(call))
    accept = call.request.headers.getall("Accept", ())
    if request.format is None and rank(accept, CSV) > rank(accept, JSON):
        request.format = "csv"
    found = cast(wire.Report, await call.operation.handler(desk.service, call.caller, request))
    if found.csv is msgspec.UNSET:
        return reply(wire.encode(found), headers={"Vary": "Accept"})
    return reply(found.csv.encode(), content_type=f"{CSV}; charset=utf-8; header=present", headers={"Vary": "Accept"})


def query_request(call: Call) -> msgspec.Struct:
    """The request in path and query. Raises ProblemError or wire.WireError with all that is wrong."""
    kind, faults = call.operation.request, list[Fault]()
    query = call.request.rel_url.raw_query_string
    texts = reading.parameters(query, wire.fields_of(kind).keys() - call.path.keys(), faults)
    for name in ("to", "from", "number"):
        reading.mend_number(texts, name)
    return wire.build(kind, {**reading.typed(kind, texts), **call.path}, faults)


def body_request(call: Call, body: bytes) -> msgspec.Struct:
    """The request in path and body. Raises ProblemError or wire.WireError with all that is wrong."""
    faults: list[Fault] = []
    reading.parameters(call.request.rel_url.raw_query_string, (), faults)
    fields = wire.decode_object(body) if body else {}
    faults += (
        Fault(name, "unknown_field", f"`{name}` is a part of the path: remove it from the body")
        for name in call.path
        if name in fields
    )
    return wire.build(call.operation.request, {**fields, **call.path}, faults)


# -- submissions ------------------------------------------------------------------------------------------------------


async def submit(desk: Desk, call: Call) -> web.StreamResponse:
    """Accept one message; if asked, wait until it has left the queue."""
    check_json(call.request)
    body = await desk.bodies.read(call.request)
    submission, wait_ms = _submission(desk, call, body)
    accepted = await handlers.send(desk.service, call.caller, submission)
    if wait_ms:
        seen = await seen_within(desk, call, accepted.id, wait_ms)
        if seen is not None:
            view = showing.message(seen)
            return reply(wire.encode(view), 202 if view.state in QUEUED else 200)
    return reply(wire.encode(accepted), 200 if accepted.replayed else 202)


async def seen_within(desk: Desk, call: Call, id: str, wait_ms: int) -> Seen | None:
    """The message, once it has left the queue or time is up. None: it may not be waited for any longer. That changes
    nothing for the message, which is accepted, so it is no problem."""
    try:
        with desk.visits.reading(call.request, call.caller), desk.visits.waiting(call.caller, "get"):
            return await desk.service.wait(id, call.caller.sees, wait_ms)
    except ProblemError:
        return None


def _submission(desk: Desk, call: Call, body: bytes) -> tuple[wire.Submission, int]:
    """The submission, and how long to wait for its fate (ms). Raises ProblemError with all that is wrong."""
    faults: list[Fault] = []
    wait_ms = _wait_ms(call.request.rel_url.raw_query_string, faults)
    examine = desk.service.intake.examine
    try:
        submission = reading.submission_of(body)
    except wire.WireError as error:
        found = error.faults
        if isinstance(error.partial, wire.Submission):
            found = error.joined(examine(error.partial, call.caller.origin))
        raise ProblemError(*faults, *found) from None
    keys = call.request.headers.getall("Idempotency-Key", ())
    if keys:
        reading.add_key(submission, keys, faults)
    if faults:
        raise ProblemError(*faults, *examine(submission, call.caller.origin))
    return submission, wait_ms


def _wait_ms(query: str, faults: list[Fault]) -> int:
    if not query:
        return 0
    texts = reading.parameters(query, ("wait",), faults)
    try:
        return showing.wait_ms(texts.get("wait"))
    except ProblemError as error:
        faults += error.faults
        return 0


async def submit_batch(desk: Desk, call: Call) -> web.StreamResponse:
    """Accept very many."""
    faults: list[Fault] = []
    reading.parameters(call.request.rel_url.raw_query_string, (), faults)
    if faults:
        raise ProblemError(*faults)
    check_plain(call.request)
    await invite(call.request)
    return await batch(call.request, call.caller, desk.service, desk.batch_limits)


# -- events -----------------------------------------------------------------------------------------------------------


async def events(desk: Desk, call: Call) -> web.StreamResponse:
    """A stream that does not end; for who accepts only JSON, one answer with what there is."""
    request = cast(wire.Events, query_request(call))
    if not _wants_stream(call.request):
        return reply(wire.encode(await _performed(desk, call, request)))
    showing.limit(request.limit)
    showing.wait_ms(request.wait)
    chosen = _chosen(request.kinds, call.caller)
    return await desk.streams.stream_events(call.request, call.caller.name, chosen, request.after)


def _wants_stream(request: web.Request) -> bool:
    accept = request.headers.getall("Accept", ())
    return request.method == "GET" and rank(accept, EVENT_STREAM) >= rank(accept, JSON)


def _chosen(kinds: str | None, caller: Caller) -> Wanted:
    try:
        return wanted(kinds, caller.sees)
    except UnknownKindError as error:
        raise ProblemError.of("invalid_value", f"`kinds`: {error}", "kinds") from error


# -- without a caller -------------------------------------------------------------------------------------------------


class Health(msgspec.Struct):
    """The process answers."""

    status: str


class Readiness(msgspec.Struct):
    """Whether it accepts and can send; `reasons`: why not, in short words that name no provider."""

    status: str
    reasons: list[str]


async def health(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Is the process alive?"""
    return reply(wire.encode(Health("ok")))


async def readiness(desk: Desk, request: web.Request) -> web.StreamResponse:
    """Does it accept, and can it send?"""
    reasons = desk.reasons()
    return reply(
        wire.encode(Readiness("unready" if reasons else "ready", list(reasons))), status=503 if reasons else 200
    )


async def description(desk: Desk, request: web.Request) -> web.StreamResponse:
    """What can be asked for?"""
    return reply(desk.description())
