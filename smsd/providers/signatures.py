"""Does this request come from the provider?

One function a scheme. Each takes the request as it came and the secret, returns when the signature is right (and fresh,
where a time is signed), and raises HookRefusedError otherwise; its text says what is wrong and repeats nothing of the
request, which may be anybody's. None of them keeps anything between requests, so a repeat within a window is not known
here: what comes twice changes nothing further on.

The URL that is signed is the one the provider was given, `[http] public_url` and what follows, never one made of a Host
header, which whoever sends the request writes. A header that came twice is one text with a comma in it (RFC 9110,
section 5.3), which no signature holds that may stand once. Signatures are compared in constant time, and signed times
with the time of the request and no other clock, so that every refusal can be tested to the second.

Anybody may send a request, so a forged one must be cheap. A scheme over the body's bytes is an HMAC or a digest of at
most what the door lets in. A scheme over parameters has to decode them first; `forms` bounds that, and a request beyond
its bounds is refused as forged. Of a header with a list, MAX_SIGNATURES entries are looked at.

Facts are from the providers' own SDKs (twilio 9.13, vonage-http-client 1.5, plivo 4.63, telnyx 4.189) and the Standard
Webhooks specification (https://www.standardwebhooks.com). It refuses to know what requests mean. Schemes that sign
tokens (JWT) are in `tokens`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from smsd.core.message import Instant
from smsd.core.units import MINUTE, SECOND
from smsd.providers.base import Hook, HookRefusedError
from smsd.providers.forms import MAX_FIELDS, UNDECODED, instant_of, pairs_of
from smsd.providers.readings import json_as

if TYPE_CHECKING:
    from standardwebhooks.webhooks import Webhook

WINDOW_MS: Final = 5 * MINUTE
"""How far a signed time may be from ours, either way: what Telnyx and Standard Webhooks prescribe."""

MAX_SIGNATURES: Final = 16
"""Signatures of one request that are looked at: of a key and the one before it, there are two."""

MAX_FLAT_JSON: Final = 16_384
"""Bytes of a JSON body whose parameters are signed. Vonage brings a text part by part; 1,600 characters, every one of
them escaped, would take 9,600."""

ALGORITHMS: Final = frozenset({"md5", "sha1", "sha256", "sha512"})
ENCODINGS: Final = frozenset({"hex", "base64"})

_SECONDS = re.compile(r"[0-9]{1,12}")
_PORT = re.compile(r":[0-9]{1,5}\Z")
_ED25519_KEY_BYTES = 32
_ED25519_SIGNATURE_BYTES = 64


def header_of(hook: Hook, name: str) -> str:
    """The header's value; HookRefusedError: there is none."""
    value = hook.headers.get(name.lower(), "").strip()
    if not value:
        raise HookRefusedError(f"it has no {name} header")
    return value


def same(given: str, *expected: bytes) -> bool:
    """Whether it is one of them; each is compared in constant time."""
    return any(hmac.compare_digest(octets(given), each) for each in expected)


def octets(text: str) -> bytes:
    """UTF-8, also of what no sound text holds: it is only compared and digested."""
    return text.encode("utf-8", "surrogatepass")


def wrong(hint: str) -> HookRefusedError:
    """The refusal of a signature that is another one."""
    return HookRefusedError(f"its signature is wrong: {hint}")


def fresh(at: Instant, now: Instant, window_ms: int) -> None:
    """Raises HookRefusedError for a signed time outside of the window."""
    if abs(now - at) > window_ms:
        raise HookRefusedError("the time in it is too long ago, or to come: a repeat, or one of the clocks is wrong")


def _time(text: str, what: str) -> Instant:
    if not _SECONDS.fullmatch(text) and not (text.isascii() and text.isdigit() and len(text) == 13):
        raise HookRefusedError(f"its {what} is no time")
    at = instant_of(text)
    assert at is not None
    return at


def _pairs(encoded: str | bytes, what: str) -> tuple[tuple[str, str], ...]:
    try:
        return pairs_of(encoded)
    except ValueError:
        raise HookRefusedError(f"its {what} is {UNDECODED}") from None


# -- Twilio -----------------------------------------------------------------------------------------------------------

_TWILIO = {"HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}


def twilio(hook: Hook, tokens: Sequence[str]) -> None:
    """X-Twilio-Signature, made with any of these tokens.

    Base64 of an HMAC over the URL and, for a form, over every parameter by name, each distinct value of it once. SHA-1,
    unless X-Twilio-Webhooks-Signature-Settings names another algorithm. The URL is tried with and without its port,
    because Twilio does either. A body that is no form counts only by its digest, in the URL's bodySHA256. No time is
    signed.
    """
    signature = header_of(hook, "X-Twilio-Signature")
    algorithm = _TWILIO.get(_twilio_algorithm(hook.headers.get("x-twilio-webhooks-signature-settings", "")))
    if algorithm is None:
        raise HookRefusedError("it is signed with an algorithm that is not known here")
    parameters = _twilio_parameters(hook)
    expected = [
        base64.b64encode(hmac.digest(octets(token), octets(url + parameters), algorithm))
        for token in tokens
        for url in _with_and_without_port(hook.url)
    ]
    if not same(signature, *expected):
        raise wrong("another token, or public_url is not the URL that Twilio was given")


def _twilio_algorithm(settings: str) -> str:
    for part in settings.split(",", MAX_SIGNATURES)[:MAX_SIGNATURES]:
        name, _, value = part.partition("=")
        if name.strip() == "algorithm" and value.strip():
            return value.strip().upper()
    return "HMAC_SHA1"


def _twilio_parameters(hook: Hook) -> str:
    """What is signed behind the URL."""
    if hook.method != "POST" or not hook.body:
        return ""
    if hook.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return "".join(name + value for name, value in sorted(set(_pairs(hook.body, "body"))))
    digests = [value for name, value in _pairs(hook.query, "query") if name == "bodySHA256"]
    if len(digests) != 1 or not same(digests[0].lower(), hashlib.sha256(hook.body).hexdigest().encode()):
        raise HookRefusedError("its body is no form, and its URL does not hold the body's digest")
    return ""


def _with_and_without_port(url: str) -> tuple[str, str]:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    bare = _PORT.sub("", authority)
    ported = authority if bare != authority else f"{authority}:{443 if scheme == 'https' else 80}"
    return f"{scheme}://{bare}{slash}{path}", f"{scheme}://{ported}{slash}{path}"


# -- Vonage, Plivo, Telnyx --------------------------------------------------------------------------------------------


def vonage_sig(hook: Hook, secret: str, algorithm: str = "sha256", window_ms: int = WINDOW_MS) -> None:
    """The parameter `sig` of Vonage's SMS API: hex of an HMAC over all other parameters, sorted, and `timestamp`.

    They come as a query, a form or flat JSON. Neither URL nor method is signed, so whoever reads it must take the
    message's id from a parameter (client-ref, messageId) where they come in a body. Raises ValueError for an algorithm
    that is not in ALGORITHMS.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm: is not one of {', '.join(sorted(ALGORITHMS))}")
    parameters = _vonage_parameters(hook)
    signature = parameters.pop("sig", "")
    said = "".join(f"&{key}={_underscored(value)}" for key, value in sorted(parameters.items()))
    if not same(signature.lower(), hmac.digest(octets(secret), octets(said), algorithm).hex().encode()):
        raise wrong("another secret or algorithm")
    fresh(_time(parameters.get("timestamp", ""), "timestamp"), hook.now, window_ms)


def vonage_signed_at(hook: Hook) -> Instant | None:
    """The signed time of a request that `vonage_sig` let pass."""
    return instant_of(_vonage_parameters(hook).get("timestamp"))


def _underscored(value: str) -> str:
    return value.replace("&", "_").replace("=", "_")


def _vonage_parameters(hook: Hook) -> dict[str, str]:
    if hook.method == "POST" and "json" in hook.headers.get("content-type", "").lower():
        return _vonage_json(hook.body)
    posted = hook.method == "POST" and hook.body
    pairs = _pairs(hook.body, "body") if posted else _pairs(hook.query, "query")
    if len(dict(pairs)) != len(pairs):
        raise HookRefusedError("a parameter stands in it more than once")
    return dict(pairs)


def _vonage_json(body: bytes) -> dict[str, str]:
    if len(body) > MAX_FLAT_JSON:
        raise HookRefusedError(f"its body has more than {MAX_FLAT_JSON} bytes")
    try:
        said = json_as(body, dict[str, str | int])
    except ValueError:
        raise HookRefusedError("its body is no JSON object of texts and whole numbers") from None
    if len(said) > MAX_FIELDS:
        raise HookRefusedError(f"it has more than {MAX_FIELDS} parameters")
    return {name: str(value) for name, value in said.items()}


def plivo_v3(hook: Hook, token: str) -> None:
    """X-Plivo-Signature-V3 (one or several, by commas) with its nonce: an HMAC-SHA-256 over URL, parameters and nonce.

    GET: the query, sorted. POST: the query, sorted, a dot, and the form's parameters by name. No time is signed.
    """
    signatures = header_of(hook, "X-Plivo-Signature-V3").split(",", MAX_SIGNATURES)[:MAX_SIGNATURES]
    nonce = header_of(hook, "X-Plivo-Signature-V3-Nonce")
    made = base64.b64encode(hmac.digest(octets(token), octets(f"{_plivo_base(hook)}.{nonce}"), "sha256"))
    if not any(same(each.strip(), made) for each in signatures):
        raise wrong("another token, or public_url is not the URL that Plivo was given")


def _plivo_base(hook: Hook) -> str:
    asked = _pairs(hook.query, "query")
    url = hook.url.partition("?")[0]
    query = "&".join(f"{name}={value}" for name, value in sorted(asked))
    posted = sorted(_pairs(hook.body, "body")) if hook.method == "POST" else []
    if not posted:
        return f"{url}?{query}" if query else url
    return f"{url}?{query}{'.' if query else ''}{''.join(name + value for name, value in posted)}"


def telnyx_ed25519(hook: Hook, public_key: str, window_ms: int = WINDOW_MS) -> None:
    """telnyx-signature-ed25519 over telnyx-timestamp, a bar and the body; `public_key`: Base64. The URL is not signed.

    Raises ValueError for what is no such key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    signature = _decoded(header_of(hook, "telnyx-signature-ed25519"))
    stamp = header_of(hook, "telnyx-timestamp")
    at = _time(stamp, "telnyx-timestamp")
    key = Ed25519PublicKey.from_public_bytes(_public_key(public_key))
    try:
        if len(signature) != _ED25519_SIGNATURE_BYTES:
            raise InvalidSignature
        key.verify(signature, octets(f"{stamp}|") + hook.body)
    except InvalidSignature:
        raise wrong("another public key") from None
    fresh(at, hook.now, window_ms)


def _decoded(text: str) -> bytes:
    """Base64, strictly; what is none is empty."""
    try:
        return base64.b64decode(octets(text), validate=True)
    except binascii.Error:
        return b""


def _public_key(text: str) -> bytes:
    key = _decoded(text)
    if len(key) != _ED25519_KEY_BYTES:
        raise ValueError("is no Ed25519 public key in Base64 (44 characters); copy it from the provider's portal")
    return key


def check_public_key(text: str) -> None:
    """Raises ValueError, with the remedy, for what is no Base64 Ed25519 public key."""
    _public_key(text)


# -- schemes that many have -------------------------------------------------------------------------------------------


def hmac_of(
    hook: Hook,
    secret: str,
    header: str,
    algorithm: str = "sha256",
    encoding: str = "hex",
    prefix: str = "",
    timestamp_header: str = "",
    separator: str = ".",
    window_ms: int = WINDOW_MS,
) -> None:
    """A header that holds `prefix` and the HMAC of the body, or of time, separator and body where a header has a time.

    The time is in seconds or milliseconds since 1970. Raises ValueError for an algorithm or encoding that is not known.
    """
    if algorithm not in ALGORITHMS or encoding not in ENCODINGS:
        raise ValueError("algorithm or encoding: is not one of those that are known here")
    given = header_of(hook, header)
    stamp = header_of(hook, timestamp_header) if timestamp_header else ""
    signed = octets(stamp + separator) + hook.body if timestamp_header else hook.body
    digest = hmac.digest(octets(secret), signed, algorithm)
    expected = digest.hex().encode() if encoding == "hex" else base64.b64encode(digest)
    signature = given.removeprefix(prefix)
    if not given.startswith(prefix) or not same(signature.lower() if encoding == "hex" else signature, expected):
        raise wrong("another secret, or the settings of the signature differ")
    if timestamp_header:
        fresh(_time(stamp, timestamp_header), hook.now, window_ms)


def standard_webhooks(hook: Hook, secrets: Sequence[str], window_ms: int = WINDOW_MS) -> None:
    """webhook-signature over webhook-id, webhook-timestamp and the body, with any of these secrets ("whsec_...").

    The library signs and the comparison is made here: its own verification reads the clock and raises ValueError for
    some malformed headers. Raises ValueError for what is no such secret.
    """
    id, stamp = header_of(hook, "webhook-id"), header_of(hook, "webhook-timestamp")
    if not _SECONDS.fullmatch(stamp):
        raise HookRefusedError("its webhook-timestamp is no time")
    fresh(int(stamp) * SECOND, hook.now, window_ms)
    try:
        text = hook.body.decode()
    except UnicodeDecodeError:
        raise HookRefusedError("its body is not UTF-8") from None
    at = datetime.fromtimestamp(int(stamp), UTC)
    made = [octets(_signer(secret).sign(id, at, text)) for secret in secrets]
    given = header_of(hook, "webhook-signature").split(" ", MAX_SIGNATURES)[:MAX_SIGNATURES]
    if not any(same(each, *made) for each in given):
        raise wrong("another secret")


def _signer(secret: str) -> Webhook:
    from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook

    try:
        return Webhook(secret)
    except (ValueError, EmptyWebhookSecretError):
        fault = 'is no secret of Standard Webhooks; it is "whsec_" and Base64, copy it from where the webhook was made'
    raise ValueError(fault)


def check_standard_secret(text: str) -> None:
    """Raises ValueError, with the remedy, for what is no secret of Standard Webhooks."""
    _signer(text)
