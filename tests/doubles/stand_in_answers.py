"""Which bytes does the stand-in put on the wire?

Whole HTTP answers: the right one, and those of the faults that are answers. Who asked, and what is kept, is not known
here.
"""

from __future__ import annotations

import time
from email.utils import formatdate

from tests.doubles.stand_in_dialects import Dialect
from tests.doubles.stand_in_rules import Rule

_REASONS = {200: "OK", 201: "Created", 307: "Temporary Redirect", 429: "Too Many Requests", 502: "Bad Gateway"}


def answer(
    status: int, body: bytes, *, headers: dict[str, str] | None = None, content_type: str = "application/json"
) -> bytes:
    """One HTTP answer."""
    fields = {"Content-Type": content_type} | (headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def scripted(rule: Rule, dialect: Dialect, right: bytes, status: int, shift_s: int) -> bytes:
    """The bytes of a fault that is an answer."""
    match rule.kind:
        case "ok":
            return answer(status, right)
        case "answer":
            return answer(rule.status, bytes.fromhex(rule.hex) or rule.body.encode(), headers=rule.headers)
        case "code":
            return answer(rule.status, dialect.error(rule.code, rule.message, rule.status), headers=rule.headers)
        case "throttle":
            now = time.time() + shift_s
            wait = formatdate(now + 30, usegmt=True) if rule.retry_after == "date" else rule.retry_after
            headers = {"Date": formatdate(now, usegmt=True)} | ({"Retry-After": wait} if wait else {})
            return answer(429, dialect.error(dialect.throttled, "Too many requests", 429), headers=headers)
        case "html":
            page = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"
            return answer(502, page, content_type="text/html")
        case "malformed":
            return answer(status, right[:-40])
        case "redirect":
            return answer(307, b"", headers={"Location": "/elsewhere?secret=1"})
        case "oversized":
            return answer(status, right[:-1] + b',"padding":"' + b"x" * (1 << 20) + b'"}')
    raise AssertionError(rule.kind)
