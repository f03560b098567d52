"""What does a provider send when it calls back?

Requests as Twilio and Dialpad make them, signed by somebody else's code: Twilio's by its own SDK, Dialpad's tokens by
PyJWT. Nothing here knows smsd's adapters, so that both cannot share a mistake.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

import jwt
from twilio.request_validator import RequestValidator


@dataclass(frozen=True, slots=True)
class Posted:
    """A request to one of our webhooks."""

    target: str
    """Path and query."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


def target_of(url: str) -> str:
    """The URL without scheme and host."""
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def by_twilio(url: str, token: str, **fields: str) -> Posted:
    """A form, signed over the URL as Twilio was told it."""
    signature = RequestValidator(token).compute_signature(url, fields)
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}
    return Posted(target_of(url), headers, urlencode(fields).encode())


def by_dialpad(url: str, secret: str, **claims: object) -> Posted:
    """A token that is the whole body."""
    return Posted(target_of(url), {"content-type": "application/jwt"}, jwt.encode(claims, secret, "HS256").encode())
