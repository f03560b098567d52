"""What can a forged request cost? Anybody may send one, and what it costs is the loop's time.

Counted are the calls made while it is refused, of Python and of C: a decoder that goes octet by octet makes one or more
for each. The times are printed (`pytest -s`) and not judged.
"""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import FrameType

import pytest

from smsd.listeners.http.webhooks import HookLimits
from smsd.providers import forms, signatures, tokens
from smsd.providers.base import Hook, HookRefusedError
from tests.providers.hooks import FORM, NOW, posted

Check = Callable[[Hook], None]

MOST_CALLS = 4_000
"""A form of MAX_FIELDS parameters needs some 15 for each; 64 KiB, octet by octet, would need more than 20,000."""

URL = "https://sms.example.com/webhooks/main/status"
KEY = "k" * 20
SECONDS = str(NOW // 1_000)
HEADERS = {
    "x-twilio-signature": "A" * 28,
    "x-plivo-signature-v3": ",".join("A" * 2_000),
    "x-plivo-signature-v3-nonce": "1",
    "telnyx-signature-ed25519": base64.b64encode(b"a" * 64).decode(),
    "telnyx-timestamp": SECONDS,
    "webhook-id": "1",
    "webhook-timestamp": SECONDS,
    "webhook-signature": " ".join(["v1,AAAA"] * 1_000),
    "x-sig": "a" * 64,
}
PUBLIC = base64.b64encode(bytes(range(32))).decode()


def filled(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def token(header: bytes, claims: bytes) -> bytes:
    return b".".join((encoded(header), encoded(claims), encoded(b"0" * 32)))


DOOR = HookLimits().body
ROOM = forms.MAX_ENCODED - 2
FIELDS = forms.MAX_FIELDS
EACH = ROOM // FIELDS - 7

PARAMETERS: Mapping[str, Check] = {
    "twilio": lambda hook: signatures.twilio(hook, ("1" * 32, "2" * 32)),
    "plivo": lambda hook: signatures.plivo_v3(hook, KEY),
    "vonage": lambda hook: signatures.vonage_sig(hook, KEY),
}
BYTES: Mapping[str, Check] = {
    "hmac": lambda hook: signatures.hmac_of(hook, KEY, "X-Sig"),
    "standard": lambda hook: signatures.standard_webhooks(hook, ("whsec_" + "A" * 32,)),
    "telnyx": lambda hook: signatures.telnyx_ed25519(hook, PUBLIC),
}
BODIES: Mapping[str, bytes] = {
    "one long value": b"a=" + filled(b"%41", ROOM),
    "no text": b"a=" + filled(b"%e2", ROOM),
    "percent signs": b"a=" + b"%" * ROOM,
    "a last percent sign": b"a=" + filled(b"%41", ROOM - 1) + b"%",
    "backslashes": b"a=%41" + b"\\" * (ROOM - 3),
    "many parameters": b"&".join(b"p%03d=%s" % (n, filled(b"%41", EACH)) for n in range(FIELDS)),
    "many percent signs": b"&".join(b"p%03d=%s%%" % (n, filled(b"%41", EACH)) for n in range(FIELDS)),
}
TOO_LONG: Mapping[str, bytes] = {
    "as long as the door allows": b"a=" + filled(b"%41", DOOR - 2),
    "one octet too long": b"a=" + b"b" * (forms.MAX_ENCODED - 1),
    "one parameter too many": b"&" * forms.MAX_FIELDS,
}
JSON = signatures.MAX_FLAT_JSON
OBJECTS: Mapping[str, bytes] = {
    "halves": b'{"a":"%s"}' % filled(b"\\ud800", JSON - 8),
    "depth": b"[" * (JSON - 8) + b"\\ud800",
    "members": b"{" + b",".join(b'"%d":"\\ud800"' % n for n in range(JSON // 16)) + b"}",
    "numbers": b"{" + b",".join(b'"%d":%s' % (n, b"9" * 4_000) for n in range(4)) + b"}",
    "too long": b'{"a":"%s"}' % (b"b" * JSON),
}
TOKENS: Mapping[str, bytes] = {
    "claims": token(b'{"alg":"HS256"}', b'{"a":"%s"}' % (b"x" * 48_000)),
    "header": token(b'{"alg":"HS256","x":%s%s}' % (b"[" * 20_000, b"]" * 20_000), b"{}"),
    "dots": b"." * tokens.MAX_TOKEN,
    "too long": token(b'{"alg":"HS256"}', b"x" * 48_000 * 4),
}


def refusal(check: Check, hook: Hook) -> str:
    with pytest.raises(HookRefusedError) as caught:
        check(hook)
    return str(caught.value)


def cost(name: str, check: Check, hook: Hook) -> int:
    """How many calls it takes to refuse it."""
    refusal(check, hook)  # what is imported or compiled once is not counted
    start = time.perf_counter()
    refusal(check, hook)
    spent = time.perf_counter() - start
    calls = 0

    def counted(_frame: FrameType, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event.endswith("call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        refusal(check, hook)
    finally:
        sys.setprofile(before)
    print(f"{name}: {len(hook.body)} bytes, {calls} calls, {spent * 1e6:.0f} us")
    return calls


@pytest.mark.parametrize("scheme", PARAMETERS)
@pytest.mark.parametrize("body", BODIES)
def test_a_forged_form_is_decoded_in_few_steps(scheme: str, body: str) -> None:
    assert len(BODIES[body]) <= forms.MAX_ENCODED
    assert cost(f"{scheme}, {body}", PARAMETERS[scheme], posted(URL, BODIES[body], HEADERS)) < MOST_CALLS


@pytest.mark.parametrize("scheme", PARAMETERS)
@pytest.mark.parametrize("body", TOO_LONG)
def test_a_form_beyond_the_bounds_is_not_decoded(scheme: str, body: str) -> None:
    hook = posted(URL, TOO_LONG[body], HEADERS)
    assert "more than" in refusal(PARAMETERS[scheme], hook)
    assert cost(f"{scheme}, {body}", PARAMETERS[scheme], hook) < 100


def test_the_bounds_themselves_are_within() -> None:
    assert len(forms.pairs_of(b"a=" + b"b" * ROOM)[0][1]) == ROOM
    assert len(forms.pairs_of(b"&".join([b"a=1"] * FIELDS))) == FIELDS
    for beyond in (b"a=" + b"b" * (ROOM + 1), b"&".join([b"a=1"] * (FIELDS + 1))):
        with pytest.raises(ValueError, match="too long"):
            forms.pairs_of(beyond)


def test_the_longest_text_of_a_provider_is_far_within() -> None:
    """1,600 characters of three octets each, ten media, and as many other parameters as anybody sends."""
    text = "Body=" + "%E2%82%AC" * 1_600
    media = "&".join(f"MediaUrl{n}={'u' * 400}&MediaContentType{n}=image%2Fjpeg" for n in range(10))
    others = "&".join(f"Name{n}={'x' * 60}" for n in range(60))
    assert len(forms.pairs_of(f"{text}&{media}&{others}".encode())) == 81
    assert len(f"{text}&{media}&{others}") * 2 < forms.MAX_ENCODED


@pytest.mark.parametrize("body", OBJECTS)
def test_forged_json_whose_parameters_are_signed(body: str) -> None:
    hook = posted(URL, OBJECTS[body], {"content-type": "application/json"})
    assert cost(f"vonage, {body}", PARAMETERS["vonage"], hook) < MOST_CALLS
    assert ("bytes" in refusal(PARAMETERS["vonage"], hook)) == (body == "too long")


@pytest.mark.parametrize("body", TOKENS)
def test_nothing_of_a_forged_token_is_decoded(body: str) -> None:
    hook = posted(URL, TOKENS[body])
    assert cost(f"dialpad, {body}", lambda hook: tokens.dialpad_jwt(hook, KEY), hook) < 100
    given = replace(hook, headers={"messagebird-signature-jwt": TOKENS[body].decode()})
    assert cost(f"messagebird, {body}", lambda hook: tokens.messagebird_jwt(hook, KEY), given) < 100


@pytest.mark.parametrize("scheme", BYTES)
def test_a_scheme_over_bytes_decodes_nothing(scheme: str) -> None:
    hook = posted(URL, b"x" * DOOR, HEADERS | {"content-type": "application/json"})
    assert cost(scheme, BYTES[scheme], hook) < 500


def test_headers_with_long_lists_are_looked_at_in_part() -> None:
    settings = ",".join(["a=b"] * 2_000)
    hook = posted(URL, b"a=1", HEADERS | {"x-twilio-webhooks-signature-settings": settings, "content-type": FORM})
    for scheme, check in PARAMETERS.items():
        assert cost(f"{scheme}, long headers", check, hook) < 500
