"""Is this a request that smsd reads as every other server and proxy does?

aiohttp's parser takes some that others read in another way or refuse: other versions, transfer codings that nobody
undoes, a head of any size if it comes in few packets. What two programs read differently lets one client speak in
another's name, so it is refused here, before anything else is looked at. What is asked for, nobody here knows.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import HttpVersion10, HttpVersion11, web

from smsd.core.acceptance import Fault
from smsd.listeners.callers import ProblemError
from smsd.listeners.http.problems import HttpProblemError, too_large_head

CONTINUE = "100-continue"

_VERSIONS = frozenset({HttpVersion10, HttpVersion11})
_LINE = len("  HTTP/1.1\r\n\r\n")
_FIELD = len(": \r\n")


def check(request: web.Request, most: int) -> None:
    """Raises HttpProblemError (505, 431, 501, 417) or ProblemError malformed. `most`: bytes of a head."""
    if request.version not in _VERSIONS:
        raise _refusal(505, "smsd speaks HTTP/1.1 and HTTP/1.0: send one of these.")
    size = len(request.method) + len(request.raw_path) + _LINE
    for name, value in request.raw_headers:
        size += len(name) + len(value) + _FIELD
    if size > most:
        raise HttpProblemError(too_large_head(most), 431, last=True)
    headers = request.headers
    if "Transfer-Encoding" in headers:
        _check_codings(request)
    if "Expect" in headers and any(each.lower() != CONTINUE for each in headers.getall("Expect")):
        raise _refusal(417, "`Expect` can only be `100-continue`.")
    if request.raw_path[:1] != "/":
        _check_target(request)


def _check_codings(request: web.Request) -> None:
    """RFC 9112, section 6.1: a coding that is not understood is answered 501; HTTP/1.0 has none."""
    if request.version == HttpVersion10:
        raise _refusal(400, "HTTP/1.0 has no `Transfer-Encoding`: send `Content-Length`, or HTTP/1.1.")
    codings = request.headers.getall("Transfer-Encoding")
    if len(codings) > 1 or codings[0].strip().lower() != "chunked":
        raise _refusal(501, "`Transfer-Encoding` can only be `chunked`.")


def _check_target(request: web.Request) -> None:
    """A target may name its server, as a proxy is asked (RFC 9112, section 3.2.2); smsd is asked for its own only."""
    target = request.raw_path
    if target == "*":
        return
    try:
        parts = urlsplit(target)
    except ValueError:
        raise ProblemError.of("malformed", "The request's target is no URL: send a path.") from None
    if parts.scheme not in {"http", "https"}:
        raise ProblemError.of("malformed", "The request's target is neither a path nor an http URL: send a path.")
    if parts.netloc != request.headers.get("Host"):
        raise ProblemError.of("malformed", "The request's target and its `Host` differ; smsd is no proxy.")


def _refusal(status: int, text: str) -> HttpProblemError:
    return HttpProblemError(Fault("", "malformed", text), status, last=True)
