"""Requests of providers for the tests of webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

from smsd.providers.base import Hook, HookKind

NOW = 1_790_000_000_000
FORM = "application/x-www-form-urlencoded; charset=UTF-8"


def posted(
    url: str,
    body: bytes | Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    kind: HookKind = HookKind.STATUS,
) -> Hook:
    """A POST of a form, or of bytes."""
    raw = body if isinstance(body, bytes) else urlencode(body).encode()
    return Hook(kind, "POST", url, url.partition("?")[2], {"content-type": FORM, **(headers or {})}, raw, NOW)


def got(url: str, headers: Mapping[str, str] | None = None, kind: HookKind = HookKind.STATUS) -> Hook:
    """A GET."""
    return replace(posted(url, b"", headers, kind), method="GET")


def at_url(hook: Hook, url: str) -> Hook:
    """The same request at another URL."""
    return replace(hook, url=url, query=url.partition("?")[2])


def with_header(hook: Hook, name: str, value: str | None) -> Hook:
    """The same request with another header; None: without it."""
    headers = {each: said for each, said in hook.headers.items() if each != name}
    return replace(hook, headers=headers if value is None else {**headers, name: value})
