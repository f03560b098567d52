"""Calls and answers for adapter cases."""

from __future__ import annotations

import json
from dataclasses import replace

from smsd.core.message import Encoding
from smsd.providers.base import Call, Response

CALL = Call(
    id="0190a000-0000-7000-8000-000000000001",
    attempt=1,
    recipient="+14155550123",
    sender="+15005550006",
    text="Your code is 4711",
    encoding=Encoding.GSM7,
    segments=1,
    expires_at=1_790_000_600_000,
    now=1_790_000_000_000,
)


def call(**changes: object) -> Call:
    """CALL with some fields changed."""
    return replace(CALL, **changes)  # type: ignore[arg-type]  # the fields' types differ


def answer(status: int, body: object = None, **headers: str) -> Response:
    """An answer; a body that is not bytes is written as JSON. Header names: underscores become hyphens."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return Response(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)
