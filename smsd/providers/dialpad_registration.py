"""How is Dialpad told where to send its SMS events?

Two things of the Admin API: a webhook (where to, and the secret that signs) and a subscription to SMS events that names
it. Each step looks at the answers so far and says the next call, so it can be stopped anywhere and begun again: what is
there already is used, what is there and differs is changed, and only what is missing is made. Nothing is ever removed,
and a webhook with another URL is somebody else's.

Facts are from Dialpad's API description (dialpad_api_spec.json of its SDK for Python: webhooks, subscriptions/sms) and
its page "Event subscriptions". What matters most: lists come in pages with a cursor; the key must be a company
administrator's; there are at most 10 subscriptions for a whole company. A subscription to a part of it (`target_id`) is
a person's own arrangement, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

import msgspec

from smsd.providers.base import HookUnreadableError, Request, Response
from smsd.providers.readings import json_object, plain, text_of

MAX_PAGES: Final = 50
"""Pages of a list that are asked for; a company has at most 100 subscriptions of a kind."""

MAX_ANSWER: Final = 1_048_576
"""Bytes of an answer."""

_Item = Mapping[str, object]
_WANTED: Final[Mapping[str, object]] = {"direction": "all", "status": True, "enabled": True}


class _AskError(Exception):
    """This request must be answered first."""

    def __init__(self, request: Request) -> None:
        super().__init__()
        self.request = request


class _Api:
    """Dialpad's API as far as it has answered."""

    def __init__(self, base_url: str, headers: Mapping[str, str], secret: str, known: Mapping[str, Response]) -> None:
        self._url = f"{base_url.rstrip('/')}/api/v2"
        self._headers = headers
        self._secret = secret
        self._known = known

    def call(self, method: str, path: str, body: Mapping[str, object] | None = None) -> _Item:
        """The answer, a JSON object. Raises _AskError where there is none yet, HookUnreadableError for a bad one."""
        url = f"{self._url}{path}"
        answer = self._known.get(f"{method} {url}")
        if answer is None:
            content = b"" if body is None else msgspec.json.encode(body)
            raise _AskError(Request(method, url, self._headers, content, (self._secret,), MAX_ANSWER))
        said = json_object(answer.body)
        if not 200 <= answer.status < 300 or said is None:
            raise HookUnreadableError(_refusal(method, path, answer, said))
        return said

    def listed(self, path: str) -> list[_Item]:
        """All items of a list, page by page."""
        items: list[_Item] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            page = self.call("GET", path if cursor is None else f"{path}?cursor={quote(cursor, safe='')}")
            found = page.get("items")
            items += [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
            cursor = text_of(page, "cursor")
            if cursor is None or not found:
                return items
        raise HookUnreadableError(f"Dialpad's list {path.partition('?')[0]} has more than {MAX_PAGES} pages")


def _refusal(method: str, path: str, answer: Response, said: _Item | None) -> str:
    error = None if said is None else said.get("error")
    words = text_of(error if isinstance(error, dict) else said, "message")
    remedy = "; the API key must be a company administrator's" if answer.status in {401, 403} else ""
    said_so = f": {plain(words)}" if words else ""
    return f"Dialpad answered {method} {path.partition('?')[0]} with HTTP {answer.status}{said_so}{remedy}"


def next_step(
    base_url: str, headers: Mapping[str, str], secret: str | None, url: str, known: Mapping[str, Response]
) -> Request | str:
    """The next call, given the answers to those before it by method and URL; or, in words, how it ended."""
    if secret is None:
        raise HookUnreadableError("webhook_secret: is not set, so Dialpad's events could not be verified; set it")
    api = _Api(base_url, headers, secret, known)
    try:
        webhook, how = _webhook(api, url, secret)
        subscription, done = _subscription(api, webhook)
    except _AskError as next_call:
        return next_call.request
    return f"Dialpad sends its SMS events here: webhook {webhook} ({how}), subscription {subscription} ({done})."


def _webhook(api: _Api, url: str, secret: str) -> tuple[int, str]:
    """The webhook's id, and what was done about it."""
    for each in api.listed("/webhooks"):
        if text_of(each, "hook_url") == url:
            id, signature = _id(each), each.get("signature")
            if isinstance(signature, dict) and signature.get("secret") == secret:
                return id, "was there"
            api.call("PATCH", f"/webhooks/{id}", {"hook_url": url, "secret": secret})
            return id, "was there, has the secret now"
    return _id(api.call("POST", "/webhooks", {"hook_url": url, "secret": secret})), "made"


def _subscription(api: _Api, webhook: int) -> tuple[int, str]:
    """The subscription's id, and what was done about it."""
    for each in api.listed("/subscriptions/sms"):
        endpoint = each.get("webhook")
        if not isinstance(endpoint, dict) or text_of(endpoint, "id") != str(webhook) or each.get("target_id"):
            continue
        id = _id(each)
        if all(each.get(name) == value for name, value in _WANTED.items()):
            return id, "was there"
        api.call("PATCH", f"/subscriptions/sms/{id}", _WANTED)
        return id, "was there, is for both directions and all statuses now"
    return _id(api.call("POST", "/subscriptions/sms", {**_WANTED, "endpoint_id": webhook})), "made"


def _id(item: _Item) -> int:
    id = text_of(item, "id") or ""
    if not (id.isascii() and id.isdigit() and len(id) < 21):
        raise HookUnreadableError("Dialpad answered with an item that has no id")
    return int(id)
