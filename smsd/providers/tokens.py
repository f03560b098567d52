"""Is this token (JWT) from the provider, and still valid?

MessageBird signs a token beside the request, which holds digests of URL and body; Dialpad's request is itself a token.
The algorithms are pinned, so whoever sends it cannot choose one. The library verifies the signature alone: its own
checks of times read the clock, so they are made here, with the time of the request. Every function raises
HookRefusedError and nothing else; its text repeats nothing of the request.

Whoever sends a token need not be able to sign it, so its HMAC is compared over the raw text before anything in it is
decoded; the library, which decodes first, sees only what was signed with our key, and checks it once more.

Facts are from MessageBird's SDK (messagebird 2.2, request_validator), Dialpad's page "SMS events", RFC 7519 (tokens)
and RFC 8725 (what goes wrong with them). It refuses to know what requests mean.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from smsd.core.message import Instant
from smsd.core.units import DAY, MINUTE, SECOND
from smsd.providers.base import Hook, HookRefusedError
from smsd.providers.forms import instant_of
from smsd.providers.signatures import fresh, header_of, octets, same, wrong

if TYPE_CHECKING:
    from jwt.types import Options

LEEWAY_MS: Final = 1 * MINUTE
"""How far our clock may be off that of who signs a token's lifetime."""

EVENT_MS: Final = 3 * DAY
"""How old an event of Dialpad may be. It signs no time of sending, and how long it repeats an event is not documented,
so this is longer than a weekend's outage, and shorter than what came in is remembered, by which a repeat is known."""


MAX_TOKEN: Final = 65_536
"""Bytes of a token. An event of Dialpad is about one message and has some 2 KB; the longest text, every character
escaped in JSON and all of it in Base64, adds 13 KB."""

_DIGESTS: Final[Mapping[int, str]] = MappingProxyType({43: "sha256", 64: "sha384", 86: "sha512"})
"""The hash of HS256, HS384 and HS512, by the characters of a signature."""

_SIGNATURE: Final = re.compile(rb"[A-Za-z0-9_-]{43,86}")

_KEY_BYTES: Final = 64
"""The longest key that the library asks for (HS512), and no longer than what any of the algorithms fills up."""


def _check_raw(token: bytes, key: bytes) -> None:
    """Raises HookRefusedError unless it ends with an HMAC, by this key, of all before its last dot."""
    if len(token) > MAX_TOKEN:
        raise HookRefusedError(f"its token has more than {MAX_TOKEN} bytes")
    signed, _, signature = token.rpartition(b".")
    digest = _DIGESTS.get(len(signature)) if _SIGNATURE.fullmatch(signature) else None
    if digest is None:
        raise HookRefusedError("it is no token with a signature")
    made = base64.urlsafe_b64encode(hmac.digest(key, signed, digest)).rstrip(b"=")
    if not hmac.compare_digest(signature, made):
        raise wrong("it is no token that was signed with this key")


def _claims(token: bytes, key: str, algorithms: Sequence[str]) -> Mapping[str, object]:
    """What a JWT with this key says; its times are not looked at."""
    # HMAC itself fills a key up with zeros (RFC 2104, section 2). A short one, which is the provider's choice, would
    # else make the library warn, whoever sent the token.
    padded = octets(key).ljust(_KEY_BYTES, b"\0")
    _check_raw(token, padded)
    import jwt

    unchecked: Options = {
        "verify_signature": True,
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
        "verify_aud": False,
        "verify_iss": False,
        "verify_sub": False,
        "verify_jti": False,
    }
    try:
        claims: dict[str, object] = jwt.decode(token, padded, list(algorithms), options=unchecked)
        return claims
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise wrong("it is no token that was signed with this key") from None


def _claimed_ms(claims: Mapping[str, object], name: str) -> float | None:
    """A time of a token (RFC 7519, NumericDate: seconds) in ms; None: it is not there."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 10**12:
        raise HookRefusedError(f"its token's {name} is no time")
    return value * SECOND


def _alive(claims: Mapping[str, object], now: Instant) -> None:
    since, until = _claimed_ms(claims, "nbf"), _claimed_ms(claims, "exp")
    if since is not None and now < since - LEEWAY_MS:
        raise HookRefusedError("its token is not valid yet: one of the clocks is wrong")
    if until is not None and now >= until + LEEWAY_MS:
        raise HookRefusedError("its token is not valid any more: a repeat, or one of the clocks is wrong")


def messagebird_jwt(hook: Hook, key: str) -> None:
    """MessageBird-Signature-JWT: a token (HS256, HS384 or HS512) with the digests of URL and body, and its lifetime."""
    claims = _claims(octets(header_of(hook, "MessageBird-Signature-JWT")), key, ("HS256", "HS384", "HS512"))
    if claims.get("iss") != "MessageBird" or claims.get("nbf") is None or claims.get("exp") is None:
        raise HookRefusedError("its token is not MessageBird's, or does not say how long it is valid")
    _alive(claims, hook.now)
    url, payload = claims.get("url_hash"), claims.get("payload_hash")
    if not isinstance(url, str) or not same(url, hashlib.sha256(octets(hook.url)).hexdigest().encode()):
        raise wrong("it is about another URL, or public_url is not the URL that MessageBird was given")
    if not hook.body and not payload:
        return
    if not isinstance(payload, str) or not same(payload, hashlib.sha256(hook.body).hexdigest().encode()):
        raise wrong("it is about another body")


def dialpad_token(body: bytes) -> bytes:
    """The token that a body of Dialpad is; some are written as a JSON string."""
    return body.strip().strip(b'"')


def dialpad_jwt(hook: Hook, key: str) -> None:
    """The body is a token (HS256 alone: who signs must not choose the algorithm), and the event is its claims.

    The event's own time (event_timestamp, else created_date) must be within EVENT_MS of now; nbf, exp and iat, which
    Dialpad does not document, count where they are there. The URL is not signed.
    """
    claims = _claims(dialpad_token(hook.body), key, ("HS256",))
    _alive(claims, hook.now)
    issued = _claimed_ms(claims, "iat")
    if issued is not None and not abs(hook.now - issued) <= EVENT_MS:
        raise HookRefusedError("its token is older than three days, or from the time to come")
    said = claims.get("event_timestamp") or claims.get("created_date")
    at = instant_of(str(said)) if isinstance(said, int | str) and len(str(said)) < 40 else None
    if at is None:
        raise HookRefusedError("its token says no time: neither event_timestamp nor created_date")
    fresh(at, hook.now, EVENT_MS)
