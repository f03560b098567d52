"""What does an answer over HTTP say, in the words of the socket?

Status, head and body become the document that the socket would have sent: `ok` with the result, or `ok` false with the
error. Anything that smsd would not have answered is a stranger's (another server, a proxy, a page for logging in). No
connection is known here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from smsd.client.loss import StrangerError
from smsd.client.routes import Route
from smsd.client.words import Document

if TYPE_CHECKING:
    from http.client import HTTPMessage

PROBLEM: Final = "application/problem+json"


def answer(route: Route, status: int, headers: HTTPMessage, body: bytes) -> Document:
    """The answer to a request for `route`. Raises StrangerError."""
    if not 200 <= status < 300:
        return {"ok": False, "error": problem(status, headers, body)}
    if not route.proof:
        return {"ok": True, route.envelope: _text(status, headers, body)}
    document = _object(status, headers, body)
    if route.proof not in document:
        raise StrangerError(status)
    return {"ok": True, route.envelope: document} if route.envelope else {**document, "ok": True}


def problem(status: int, headers: HTTPMessage, body: bytes) -> Document:
    """The error of a refusal, as on the socket, with `retry_after` (seconds) beside. Raises StrangerError."""
    retry_after = _seconds(headers.get("Retry-After"))
    if kind(headers) != PROBLEM:
        raise StrangerError(status, _place(headers.get("Location", "")), retry_after)
    document = _object(status, headers, body)
    errors = document.get("errors")
    if not isinstance(document.get("code"), str) or not isinstance(errors, list):
        raise StrangerError(status, retry_after=retry_after)
    field = errors[0].get("field") if errors and isinstance(errors[0], dict) else None
    code, message = document["code"], document.get("detail")
    return {"code": code, "message": message, "field": field, "errors": errors, "retry_after": retry_after}


def kind(headers: HTTPMessage) -> str:
    """The media type, without its parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _object(status: int, headers: HTTPMessage, body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise StrangerError(status) from None
    if not isinstance(document, dict):
        raise StrangerError(status)
    return document


def _text(status: int, headers: HTTPMessage, body: bytes) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise StrangerError(status) from None
    if kind(headers) not in {"text/plain", "text/csv"}:
        raise StrangerError(status)
    return text


def _place(location: str) -> str:
    """A place to be shown: what stands behind `?` may be secret."""
    shown = location.partition("?")[0].partition("#")[0]
    return "".join(letter for letter in shown if letter.isprintable())[:200]


def _seconds(text: str | None) -> float | None:
    """A Retry-After in seconds; as a date (RFC 9110, 10.2.3) only others give it, and it is left out."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None
