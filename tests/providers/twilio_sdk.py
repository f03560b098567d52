"""What would Twilio's own SDK send?

A test-only oracle: the SDK's client with an HTTP client that keeps the request and opens no socket.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from twilio.http.response import Response
from twilio.rest import Client

from smsd.providers.base import Call


@dataclass
class Sent:
    """One request of the SDK, before it is put in bytes."""

    method: str
    url: str
    user: tuple[str, str]
    fields: Mapping[str, str]


@dataclass
class Capture:
    """Stands in for the SDK's HTTP client."""

    answer: Mapping[str, object]
    sent: list[Sent] = field(default_factory=list)
    is_async: bool = False

    def request(self, method: str, uri: str, **rest: Any) -> Response:
        """Keeps the request; the answer is always 2xx."""
        fields = {**(rest.get("params") or {}), **(rest.get("data") or {})}
        self.sent.append(Sent(method, uri, rest["auth"], {name: str(value) for name, value in fields.items()}))
        return Response(201 if method == "POST" else 200, json.dumps(self.answer))


def sdk_sends(settings: Mapping[str, str], call: Call, callback: str | None, left_s: int) -> Sent:
    """The SDK's request for this call."""
    account_sid, token, service = settings["account_sid"], settings["auth_token"], settings.get("messaging_service_sid")
    http = Capture({"sid": "SM1"})
    fields: dict[str, object] = {"to": call.recipient, "body": call.text}
    fields |= {"from_": call.sender} if service is None or call.asked else {}
    fields |= {} if service is None else {"messaging_service_sid": service}
    fields |= {} if callback is None else {"status_callback": callback}
    fields |= {"validity_period": left_s} if left_s < 36_000 else {}
    client = Client(settings.get("api_key_sid", account_sid), token, account_sid, http_client=http)
    client.messages.create(**fields)
    return http.sent[0]


def sdk_lists(account_sid: str, token: str, call: Call, page_size: int) -> Sent:
    """The SDK's request for a page of the messages between the two numbers."""
    http = Capture({"messages": [], "next_page_uri": None})
    client = Client(account_sid, token, http_client=http)
    client.messages.page(to=call.recipient, from_=call.sender, page_size=page_size)
    return http.sent[0]


@contextmanager
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever would open a connection fails."""

    def refuse(*_: object) -> None:
        raise AssertionError("a test of a dialect opened a connection")

    with monkeypatch.context() as patched:
        patched.setattr("socket.socket.connect", refuse)
        patched.setattr("socket.getaddrinfo", refuse)
        yield


def path_of(url: str) -> str:
    """The URL without its query."""
    return urlsplit(url)._replace(query="").geturl()
