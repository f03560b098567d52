"""How do programs work with the failed queue that know it as `/api/admin/retry-failed-sms`?

Three fixed shapes on one path, for programs that were written against it before there was smsd. What is done, and to
whose messages, is the operations'; here is what only this path has: a retry waits up to 15 s for what becomes of the
message, and whatever is refused, down to a missing token, has the same shape (`success`, `error`) and the content type
application/json instead of a problem document. Where smsd says 422, these programs know 400.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, cast

import msgspec
from aiohttp import web

from smsd import wire
from smsd.core.message import State
from smsd.listeners import failing
from smsd.listeners.auditing import audited
from smsd.listeners.callers import Reach, Scope
from smsd.listeners.http import performing
from smsd.listeners.http.bodies import check_json
from smsd.listeners.http.performing import Call, Desk
from smsd.listeners.http.problems import JSON, PROBLEM_JSON, ProblemView, reply
from smsd.listeners.operations import Operation

PATH: Final = "/api/admin/retry-failed-sms"

WAIT_MS: Final = 15_000
"""How long an answer to a retry is held back at most."""

ELSEWHERE: Final = '</v1/failed>; rel="next"'
"""RFC 8288."""

SENT: Final = frozenset({State.SENT, State.DELIVERED})
QUEUED: Final = frozenset({State.PENDING, State.PROCESSING})


def _operation(operation: Operation) -> Operation:
    return replace(operation, handler=audited(operation.name, operation.scope, operation.handler))


_ADMIN, _OWN = Scope.ADMIN, Reach.OWN

RECORDS: Final = _operation(Operation("failed", wire.Records, wire.RecordList, _ADMIN, _OWN, failing.records))
RETRY: Final = _operation(
    Operation("failed_retry", wire.RetryRecord, wire.RecordRetried, _ADMIN, _OWN, failing.retry_record)
)
DELETE: Final = _operation(
    Operation("failed_delete", wire.DeleteRecord, wire.RecordDeleted, _ADMIN, _OWN, failing.delete_record)
)


async def page(desk: Desk, call: Call) -> web.StreamResponse:
    """A page of records. Behind the last one that can be asked for, a header says where the others are."""
    request = performing.query_request(call)
    found = cast(wire.RecordList, await call.operation.handler(desk.service, call.caller, request))
    place = found.pagination
    is_cut = not place.has_more and len(found.data) < place.total - place.offset
    return reply(wire.encode(found), headers={"Link": ELSEWHERE} if is_cut else None)


async def retry(desk: Desk, call: Call) -> web.StreamResponse:
    """Try one again and wait: 200 when it was sent, 502 when it failed again, 202 when it is still in the queue."""
    check_json(call.request)
    request = performing.body_request(call, await desk.bodies.read(call.request))
    done = cast(wire.RecordRetried, await call.operation.handler(desk.service, call.caller, request))
    seen = await performing.seen_within(desk, call, cast(wire.RetryRecord, request).id, WAIT_MS)
    if seen is None:
        return reply(wire.encode(done), 202)
    message = seen.message
    if message.state in QUEUED:
        done.state = message.state.label
        return reply(wire.encode(done), 202)
    if message.state in SENT:
        return reply(wire.encode(wire.RecordRetried(True, "SMS retry successful", message.provider_message_id)))
    why = f"The message is {message.state.label}." if message.error is None else str(message.error)
    return reply(wire.encode(wire.RecordRefused(False, why, message.state.label)), 502)


def in_shape(request: web.Request, answer: web.StreamResponse, error: Exception) -> web.StreamResponse:
    """The answer to what `error` refused, in the shape of this path if it was asked there."""
    if request.path != PATH or not isinstance(answer, web.Response) or answer.content_type != PROBLEM_JSON:
        return answer
    told = msgspec.json.decode(cast(bytes, answer.body), type=ProblemView)
    state = error.state.label if isinstance(error, failing.StateError) else msgspec.UNSET
    text = " ".join(each.message for each in told.errors)
    answer.body = wire.encode(wire.RecordRefused(False, text, state))
    answer.headers["Content-Type"] = JSON
    answer.set_status(400 if told.status == 422 else told.status)
    return answer
