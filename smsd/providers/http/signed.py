"""How does a configuration say by which signature a gateway's requests prove themselves?

`signature` names one of the schemes that `providers.signatures` knows and what varies in it; the key is a secret of its
own, `signing_key`. How a signature is made is known there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from smsd.core.message import Instant
from smsd.core.units import DAY, SECOND, duration_ms, duration_text
from smsd.providers import signatures
from smsd.providers.base import Hook, check_secret
from smsd.providers.forms import instant_of
from smsd.providers.http.answers import choice, table
from smsd.providers.http.faults import gathered
from smsd.providers.http.urls import header_name

_WINDOW: Final = frozenset({"window"})

SCHEMES: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "hmac": frozenset({"header", "algorithm", "encoding", "prefix", "timestamp_header", "separator"}) | _WINDOW,
        "plivo-v3": frozenset(),
        "standard-webhooks": _WINDOW,
        "telnyx": _WINDOW,
        "twilio": frozenset(),
        "vonage": frozenset({"algorithm"}) | _WINDOW,
    }
)
"""Scheme -> the keys it takes."""

BY_URL: Final = frozenset({"plivo-v3", "twilio"})
"""Schemes whose signature is made over our URL, so that it must be known."""

_WINDOWS: Final = (1 * SECOND, 1 * DAY)


@dataclass(frozen=True, slots=True)
class Signature:
    """`signature`, read once."""

    scheme: str
    window_ms: int
    """How far the signed time may be from ours; what is older is a repeat by somebody else."""
    algorithm: str
    encoding: str
    header: str
    prefix: str
    timestamp_header: str
    separator: str

    def verify(self, hook: Hook, key: str) -> None:
        """Raises HookRefusedError unless the signature is right and fresh."""
        match self.scheme:
            case "hmac":
                self._verify_hmac(hook, key)
            case "plivo-v3":
                signatures.plivo_v3(hook, key)
            case "standard-webhooks":
                signatures.standard_webhooks(hook, (key,), self.window_ms)
            case "telnyx":
                signatures.telnyx_ed25519(hook, key, self.window_ms)
            case "twilio":
                signatures.twilio(hook, (key,))
            case _:
                signatures.vonage_sig(hook, key, self.algorithm, self.window_ms)

    def _verify_hmac(self, hook: Hook, key: str) -> None:
        signatures.hmac_of(
            hook,
            key,
            self.header,
            self.algorithm,
            self.encoding,
            self.prefix,
            self.timestamp_header,
            self.separator,
            self.window_ms,
        )

    def signed_at(self, hook: Hook) -> Instant | None:
        """The time that was signed, of a request that `verify` let pass; None: the scheme signs none."""
        match self.scheme:
            case "hmac":
                return instant_of(hook.headers.get(self.timestamp_header.lower())) if self.timestamp_header else None
            case "standard-webhooks":
                return instant_of(hook.headers.get("webhook-timestamp"))
            case "telnyx":
                return instant_of(hook.headers.get("telnyx-timestamp"))
            case "vonage":
                return signatures.vonage_signed_at(hook)
        return None

    def signed_id(self, hook: Hook) -> str | None:
        """What is signed to tell this request from all others, likewise: of Standard Webhooks the event's id, which is
        the same however often it is sent; of Plivo a random number."""
        match self.scheme:
            case "standard-webhooks":
                return hook.headers.get("webhook-id")
            case "plivo-v3":
                return hook.headers.get("x-plivo-signature-v3-nonce")
        return None

    def check_key(self, name: str, key: str) -> None:
        """Raises ValueError, naming `name` and nothing of the key, for what cannot be one."""
        check_secret(name, key, "your gateway's settings")
        try:
            if self.scheme == "telnyx":
                signatures.check_public_key(key)
            elif self.scheme == "standard-webhooks":
                signatures.check_standard_secret(key)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None


def signature_of(key: str, value: object) -> Signature:
    """Raises SettingsError, naming keys, for what proves nothing."""
    if not isinstance(value, Mapping):
        raise ValueError(f'{key}: must be a table such as {{scheme = "hmac", header = "X-Signature"}}')
    scheme = choice(f"{key}.scheme", value.get("scheme"), set(SCHEMES))
    given = table(key, value, SCHEMES[scheme] | {"scheme"})
    readers = (_window, _algorithm, _encoding, _header, _prefix, _timestamp_header, _separator)
    gathered(*(partial(reader, key, given) for reader in readers), partial(_agrees, key, given))
    return Signature(
        scheme,
        _window(key, given),
        _algorithm(key, given),
        _encoding(key, given),
        _header(key, given),
        _prefix(key, given),
        _timestamp_header(key, given),
        _separator(key, given),
    )


def _agrees(key: str, given: Mapping[str, object]) -> None:
    if given["scheme"] != "hmac":
        return
    for name in ("separator", "window"):
        if name in given and "timestamp_header" not in given:
            raise ValueError(f"{key}.{name}: goes with timestamp_header, without which no time is signed; remove it")


def _window(key: str, given: Mapping[str, object]) -> int:
    if "window" not in given:
        return signatures.WINDOW_MS
    low, high = _WINDOWS
    value = given["window"]
    try:
        found = duration_ms(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{key}.window: {error}") from None
    if not low <= found <= high:
        raise ValueError(f"{key}.window: must be between {duration_text(low)} and {duration_text(high)}")
    return found


def _algorithm(key: str, given: Mapping[str, object]) -> str:
    return choice(f"{key}.algorithm", given.get("algorithm", "sha256"), set(signatures.ALGORITHMS))


def _encoding(key: str, given: Mapping[str, object]) -> str:
    return choice(f"{key}.encoding", given.get("encoding", "hex"), set(signatures.ENCODINGS))


def _header(key: str, given: Mapping[str, object]) -> str:
    if given["scheme"] == "hmac" and "header" not in given:
        raise ValueError(f'{key}.header: missing; say which header has the signature, such as "X-Signature"')
    return header_name(f"{key}.header", _text(f"{key}.header", given["header"])) if "header" in given else ""


def _timestamp_header(key: str, given: Mapping[str, object]) -> str:
    name = f"{key}.timestamp_header"
    return header_name(name, _text(name, given["timestamp_header"])) if "timestamp_header" in given else ""


def _prefix(key: str, given: Mapping[str, object]) -> str:
    return _text(f"{key}.prefix", given.get("prefix", ""))


def _separator(key: str, given: Mapping[str, object]) -> str:
    return _text(f"{key}.separator", given.get("separator", "."))


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or (value and not value.isprintable()):
        raise ValueError(f"{key}: must be a text of visible ASCII characters")
    return value
