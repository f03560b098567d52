"""How does an answer look over HTTP, and above all one that says no?

Every error is one JSON document (RFC 9457, `application/problem+json`) with the same codes as on the socket; the
status is read from the code of its first fault. It knows neither who asked nor what for, and nothing of a fault of the
daemon gets in: its story is in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from smsd import wire
from smsd.core.acceptance import Fault
from smsd.listeners.callers import ProblemError

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"
NDJSON = "application/x-ndjson"

HEADERS: Mapping[str, str] = MappingProxyType(
    {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Server": "smsd"}
)
"""What every answer carries: it may hold texts and numbers, so nobody keeps it."""

STATUS: Mapping[str, int] = {
    "malformed": 400,
    "unauthenticated": 401,
    "not_allowed": 403,
    "unknown_op": 404,
    "not_found": 404,
    "key_conflict": 409,
    "wrong_state": 409,
    "too_long": 413,
    "unsupported_media_type": 415,
    "unknown_field": 422,
    "missing_field": 422,
    "invalid_value": 422,
    "invalid_recipient": 422,
    "invalid_sender": 422,
    "text_too_long": 422,
    "recipient_suppressed": 422,
    "no_route": 422,
    "not_available": 422,
    "limit_exceeded": 429,
    "internal": 500,
    "backlog_full": 503,
    "shutting_down": 503,
    "outcome_unknown": 503,
    "disk_full": 507,
}
"""The closed list of codes, each with its status."""

RETRY_AFTER: Mapping[str, str] = {"limit_exceeded": "5", "backlog_full": "5", "shutting_down": "5"}
"""Seconds, where the fault does not know better (a limit's window opens at a time). A restart takes a few, a backlog
shrinks by hundreds a second, what a caller has too much of under way ends in moments."""


class HttpProblemError(ProblemError):
    """A problem for which HTTP has a status of its own; `last`: nothing more is read from the connection."""

    def __init__(self, fault: Fault, status: int, *, last: bool = False) -> None:
        super().__init__(fault)
        self.status = status
        self.last = last


def too_large_head(most: int) -> Fault:
    """What is wrong with a head of more than `most` bytes, or a line of it that aiohttp finds too long."""
    return Fault("", "too_long", f"a request's head is at most {most} bytes and a line of it 8190: send less")


class FaultView(msgspec.Struct):
    """One thing that is wrong, and with which field; a null field: with the request as a whole."""

    field: str | None
    code: str
    message: str


class ProblemView(msgspec.Struct):
    """A problem (RFC 9457) with all its faults; `code` and `detail` are those of the first."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FaultView]


def document(faults: tuple[Fault, ...], status: int | None = None) -> ProblemView:
    """The problem these faults (one at least) are; `status`: where HTTP has a word of its own (405, 431 ...)."""
    first = faults[0]
    number = STATUS[first.code] if status is None else status
    return ProblemView(
        type=f"urn:smsd:problem:{first.code}",
        title=HTTPStatus(number).phrase,
        status=number,
        detail=first.message,
        code=first.code,
        errors=[FaultView(fault.field or None, fault.code, fault.message) for fault in faults],
    )


def problem(*faults: Fault, status: int | None = None, headers: Mapping[str, str] | None = None) -> web.Response:
    """The answer that says so."""
    found = document(faults, status)
    extra = dict(headers or {})
    if faults[0].retry_after_s is not None:
        extra["Retry-After"] = str(faults[0].retry_after_s)
    elif found.code in RETRY_AFTER:
        extra["Retry-After"] = RETRY_AFTER[found.code]
    if found.code == "unauthenticated":
        extra["WWW-Authenticate"] = 'Bearer realm="smsd"'
    return reply(wire.encode(found), found.status, PROBLEM_JSON, extra)


def raw_problem(fault: Fault, status: int) -> bytes:
    """The same as the bytes of an HTTP/1.1 answer, for a request of which not even the head could be read."""
    body = wire.encode(document((fault,), status))
    fields = {**HEADERS, "Content-Type": PROBLEM_JSON, "Content-Length": str(len(body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{head}\r\n".encode() + body


_USUAL = CIMultiDict({**HEADERS, "Content-Type": JSON})


def reply(
    body: bytes, status: int = 200, content_type: str = JSON, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer with these bytes."""
    fields = CIMultiDict(_USUAL)
    if content_type is not JSON:
        fields["Content-Type"] = content_type
    if headers:
        fields.update(headers)
    return web.Response(body=body, status=status, headers=fields)
