"""Signatures: what the providers' own SDKs sign is accepted, and whatever differs from it is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from plivo.utils.signature_v3 import construct_get_url, construct_post_url, get_signature_v3
from standardwebhooks.webhooks import Webhook
from twilio.request_validator import RequestValidator
from vonage_http_client.auth import Auth

from smsd.providers import signatures
from smsd.providers.base import Hook, HookRefusedError
from tests.providers.hooks import NOW, at_url, got, posted, with_header

Check = Callable[[Hook], None]

SECONDS = str(NOW // 1_000)
LATE = NOW + signatures.WINDOW_MS


def refuses(check: Check, hook: Hook) -> None:
    with pytest.raises(HookRefusedError):
        check(hook)


def refuses_another_signature(check: Check, hook: Hook, header: str) -> None:
    """None, empty, cut, longer, in other letters, twice."""
    signature = hook.headers[header]
    others = (None, "", signature[:-1], signature[1:], signature + "A", signature.swapcase(), "é" * len(signature))
    for other in (*others, f"{signature}, {signature[::-1]}"):
        refuses(check, with_header(hook, header, other))


# -- Twilio -----------------------------------------------------------------------------------------------------------

TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_FORM = {
    "CallSid": "CA1234567890ABCDE",
    "Caller": "+14158675309",
    "Digits": "1234",
    "From": "+14158675309",
    "To": "+18005551212",
}
SHARED = "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"


def twilio(hook: Hook) -> None:
    signatures.twilio(hook, ("old", "12345"))


def by_twilio(url: str, form: dict[str, str], algorithm: str | None = None) -> str:
    return str(RequestValidator("12345").compute_signature(url, form, algorithm))


def test_twilios_vectors() -> None:
    hook = posted(TWILIO_URL, TWILIO_FORM, {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8="})
    twilio(hook)
    newer = with_header(hook, "x-twilio-webhooks-signature-settings", SHARED)
    twilio(with_header(newer, "x-twilio-signature", "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s="))
    refuses(twilio, newer)
    unknown = "key=1,algorithm=HMAC_SHA512"
    refuses(twilio, with_header(hook, "x-twilio-webhooks-signature-settings", unknown))
    refuses_another_signature(twilio, hook, "x-twilio-signature")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(names, names | st.just(""), max_size=6), st.sampled_from([None, "HMAC_SHA1", "HMAC_SHA256"]))
def test_what_twilios_sdk_signs_is_accepted_and_nothing_else(form: dict[str, str], algorithm: str | None) -> None:
    url = "https://sms.example.org/webhooks/main/status?m=1&a=2"
    hook = posted(url, form, {"x-twilio-signature": by_twilio(url, form, algorithm)})
    if algorithm is not None:
        hook = with_header(hook, "x-twilio-webhooks-signature-settings", f"algorithm={algorithm}")
    twilio(hook)
    refuses(twilio, replace(hook, body=hook.body + b"&Extra=1"))
    refuses(twilio, at_url(hook, url.replace("a=2", "a=3")))
    refuses(twilio, at_url(hook, url.replace("m=1&a=2", "a=2&m=1")))
    refuses(lambda hook: signatures.twilio(hook, ("12346",)), hook)
    refuses(lambda hook: signatures.twilio(hook, ()), hook)


@pytest.mark.parametrize("scheme, port", [("https", 443), ("http", 80), ("https", 8443)])
@pytest.mark.parametrize("ours", ["with", "without"])
@pytest.mark.parametrize("theirs", ["with", "without"])
def test_twilio_may_sign_the_url_with_or_without_its_port(scheme: str, port: int, ours: str, theirs: str) -> None:
    urls = {"with": f"{scheme}://example.org:{port}/hook?x=%2B1", "without": f"{scheme}://example.org/hook?x=%2B1"}
    hook = posted(urls[ours], {"A": "1"}, {"x-twilio-signature": by_twilio(urls[theirs], {"A": "1"})})
    if port == 8443 and (ours, theirs) == ("without", "with"):
        refuses(twilio, hook)  # nobody knows that port
    else:
        twilio(hook)


def test_a_value_that_twilio_sends_twice_is_signed_once() -> None:
    class Both(dict[str, str]):
        def getlist(self, name: str) -> list[str]:
            return ["b", "a", "b"] if name == "M" else [self[name]]

    url = "https://example.org/hook"
    hook = posted(url, b"M=b&M=a&N=1&M=b", {"x-twilio-signature": by_twilio(url, Both(M="", N="1"))})
    twilio(hook)
    refuses(twilio, replace(hook, body=b"M=b&N=1"))


def test_json_of_twilio_counts_by_its_digest() -> None:
    body = b'{"MessageSid": "SM1"}'
    url = f"https://example.org/hook?bodySHA256={hashlib.sha256(body).hexdigest()}"
    hook = posted(url, body, {"content-type": "application/json", "x-twilio-signature": by_twilio(url, {})})
    twilio(hook)
    refuses(twilio, replace(hook, body=body + b" "))
    bare = "https://example.org/hook"
    refuses(twilio, with_header(at_url(hook, bare), "x-twilio-signature", by_twilio(bare, {})))
    twice = f"{url}&bodySHA256={hashlib.sha256(b'{}').hexdigest()}"
    refuses(twilio, with_header(at_url(hook, twice), "x-twilio-signature", by_twilio(twice, {})))


def test_another_method_of_twilio_is_refused() -> None:
    url = "https://example.org/hook?MessageSid=SM1"
    twilio(got(url, {"x-twilio-signature": by_twilio(url, {})}))
    refuses(twilio, posted(url, {"A": "1"}, {"x-twilio-signature": by_twilio(url, {})}))
    refuses(twilio, got(url, {"x-twilio-signature": by_twilio(url, {"A": "1"})}))


# -- Vonage -----------------------------------------------------------------------------------------------------------

VONAGE = {
    "messageId": "abc",
    "msisdn": "447700900000",
    "status": "delivered",
    "text": "a&b=c",
    "timestamp": "1700000000",
}


def by_vonage(parameters: dict[str, str], method: str = "sha256") -> str:
    auth = Auth(api_key="key", signature_secret="secret", signature_method=method)
    return str(auth.sign_params(dict(parameters)))


@pytest.mark.parametrize(
    "method, signature",
    [
        ("sha256", "9ddc6661dc520a98612674e52d23ef7899d16e15b6279ffb03d99214df54994d"),
        ("md5", "627e16e128fcd9cec8f4df1c12c4f80e"),
    ],
)
def test_vonages_vectors(method: str, signature: str) -> None:
    hook = replace(posted("https://example.org/hook", {**VONAGE, "sig": signature.upper()}), now=1_700_000_100_000)
    signatures.vonage_sig(hook, "secret", method)
    refuses(lambda hook: signatures.vonage_sig(hook, "secret", "sha1"), hook)
    refuses(lambda hook: signatures.vonage_sig(hook, "Secret", method), hook)
    late = replace(hook, now=1_700_000_000_000 + signatures.WINDOW_MS)
    signatures.vonage_sig(late, "secret", method)
    refuses(lambda hook: signatures.vonage_sig(hook, "secret", method), replace(late, now=late.now + 1))
    with pytest.raises(ValueError, match="algorithm"):
        signatures.vonage_sig(hook, "secret", "sha3")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, names | st.just(""), max_size=5), st.sampled_from(["md5", "sha1", "sha256", "sha512"]))
def test_what_vonages_sdk_signs_is_accepted_as_form_query_and_json(said: dict[str, str], method: str) -> None:
    def check(hook: Hook) -> None:
        signatures.vonage_sig(hook, "secret", method)

    said = {name: value for name, value in said.items() if name != "sig"} | {"timestamp": SECONDS}
    signed = {**said, "sig": by_vonage(said, method)}
    form = posted("https://example.org/hook?m=1", signed)
    check(form)
    check(got(f"https://example.org/hook?{urlencode(signed)}"))
    refuses(check, replace(form, body=form.body + b"&extra=1"))
    refuses(check, replace(form, body=form.body + b"&timestamp=" + SECONDS.encode()))
    refuses(check, posted("https://example.org/hook", said))


def test_vonage_may_send_json() -> None:
    signed = {**VONAGE, "sig": by_vonage(VONAGE)}
    body = str({**signed, "timestamp": 1_700_000_000}).replace("'", '"').encode()
    hook = replace(
        posted("https://example.org/hook", body, {"content-type": "application/json"}), now=1_700_000_000_000
    )
    signatures.vonage_sig(hook, "secret")
    for other in (body.replace(b"abc", b"abd"), b"[]", b'{"a": {}}', b"\xff", b"[" * 100_000):
        refuses(lambda hook: signatures.vonage_sig(hook, "secret"), replace(hook, body=other))


# -- Plivo ------------------------------------------------------------------------------------------------------------

PLIVO = {"To": "14155550123", "From": "14155550100", "Status": "delivered"}


def plivo(hook: Hook) -> None:
    signatures.plivo_v3(hook, "token")


def plivo_headers(signature: str) -> dict[str, str]:
    return {"x-plivo-signature-v3": signature, "x-plivo-signature-v3-nonce": "12345"}


def by_plivo(url: str, form: dict[str, list[str]] | None) -> str:
    base = construct_get_url(url, {}) if form is None else construct_post_url(url, form)
    return bytes(get_signature_v3("token", base.decode(), "12345")).decode()


def test_plivos_vectors() -> None:
    bare, marked = "https://example.com/cb", "https://example.com/cb?m=42&a=1"
    plivo(posted(bare, PLIVO, plivo_headers("rIPIAoQsq7OTwreRs9aJParQXKEms2hUuagRINsLF88=")))
    hook = posted(marked, PLIVO, plivo_headers("yHxbMULJip9OcN1DSC23QCSyOcBig5o1R+p/zKOV0S0="))
    plivo(hook)
    plivo(got("https://example.com/cb?m=42&To=1", plivo_headers("wqjMirjKXrrYeU+4eITOC6Ti1t+OIRiI/I3L7GMukaI=")))
    signature = hook.headers["x-plivo-signature-v3"]
    plivo(with_header(hook, "x-plivo-signature-v3", f"b3RoZXI=, {signature}"))
    refuses(plivo, with_header(hook, "x-plivo-signature-v3", ",".join(["b3RoZXI="] * 16 + [signature])))
    for nonce in (None, "12346", "12345, 12345"):
        refuses(plivo, with_header(hook, "x-plivo-signature-v3-nonce", nonce))
    for other in ("", signature[:-1], signature.swapcase()):
        refuses(plivo, with_header(hook, "x-plivo-signature-v3", other))
    refuses(plivo, at_url(hook, bare))
    refuses(plivo, at_url(hook, "https://example.com/cb?m=43&a=1"))
    refuses(plivo, replace(hook, method="GET"))
    refuses(plivo, replace(hook, body=hook.body.replace(b"delivered", b"failed")))


ascii_names = st.text(st.characters(codec="ascii"), min_size=1, max_size=12)  # the SDK cannot read others in a query
asked = st.dictionaries(ascii_names, ascii_names, max_size=4).map(urlencode)


@settings(max_examples=80, deadline=None)
@given(asked, st.none() | st.dictionaries(names, st.lists(names, min_size=1, max_size=3), max_size=4))
def test_what_plivos_sdk_signs_is_accepted(query: str, form: dict[str, list[str]] | None) -> None:
    url = "https://example.com/cb" + (f"?{query}" if query else "")
    signature = by_plivo(url, form)
    if form is None:
        plivo(got(url, plivo_headers(signature)))
    else:
        hook = posted(url, urlencode(form, doseq=True).encode(), plivo_headers(signature))
        plivo(hook)
        reordered = urlencode(sorted(parse_qsl(hook.body.decode(), keep_blank_values=True), reverse=True)).encode()
        plivo(replace(hook, body=reordered))  # order is not signed
        refuses(plivo, replace(hook, body=hook.body + b"&extra=1"))


# -- Telnyx -----------------------------------------------------------------------------------------------------------

TELNYX_KEY = SigningKey(b"k" * 32)
TELNYX_PUBLIC = base64.b64encode(bytes(TELNYX_KEY.verify_key)).decode()


def telnyx(hook: Hook) -> None:
    signatures.telnyx_ed25519(hook, TELNYX_PUBLIC)


def by_telnyx(body: bytes, stamp: str = SECONDS) -> Hook:
    signature = base64.b64encode(TELNYX_KEY.sign(f"{stamp}|".encode() + body).signature).decode()
    return posted("https://example.org/hook", body, {"telnyx-signature-ed25519": signature, "telnyx-timestamp": stamp})


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_what_telnyx_signs_is_accepted(body: bytes) -> None:
    telnyx(by_telnyx(body))
    refuses(telnyx, replace(by_telnyx(body), body=body + b" "))


def test_what_telnyx_did_not_sign_now_is_refused() -> None:
    hook = by_telnyx(b"{}")
    refuses_another_signature(telnyx, hook, "telnyx-signature-ed25519")
    for now in (NOW - signatures.WINDOW_MS, LATE):
        telnyx(replace(hook, now=now))
    for now in (NOW - signatures.WINDOW_MS - 1, LATE + 1):
        refuses(telnyx, replace(hook, now=now))
    for stamp in (None, "", "now", str(int(SECONDS) + 1), "9" * 400, "-1", "1e9", "٣"):
        refuses(telnyx, with_header(hook, "telnyx-timestamp", stamp))
    for stamp in ("now", "9" * 12, "9" * 40, "-5"):
        refuses(telnyx, by_telnyx(b"{}", stamp))
    other = base64.b64encode(bytes(SigningKey(b"x" * 32).verify_key)).decode()
    refuses(lambda hook: signatures.telnyx_ed25519(hook, other), hook)


def test_a_public_key_is_judged_at_the_start() -> None:
    signatures.check_public_key(TELNYX_PUBLIC)
    for wrong in ("", "secret", TELNYX_PUBLIC[:-4], TELNYX_PUBLIC + "AAAA", "é"):
        with pytest.raises(ValueError, match="44 characters"):
            signatures.check_public_key(wrong)


# -- schemes that many have -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", sorted(signatures.ENCODINGS))
@pytest.mark.parametrize("algorithm", sorted(signatures.ALGORITHMS))
@pytest.mark.parametrize("prefix", ["", "v1="])
def test_an_hmac_of_the_body(encoding: str, algorithm: str, prefix: str) -> None:
    def check(hook: Hook) -> None:
        signatures.hmac_of(hook, "key", "X-Sig", algorithm, encoding, prefix)

    digest = hmac.new(b"key", b"body", algorithm)
    text = digest.hexdigest() if encoding == "hex" else base64.b64encode(digest.digest()).decode()
    hook = posted("https://example.org/hook", b"body", {"x-sig": prefix + text})
    check(hook)
    refuses(check, replace(hook, body=b"bodY"))
    refuses(check, with_header(hook, "x-sig", "v2=" + text))
    if prefix:
        refuses(check, with_header(hook, "x-sig", text))
    refuses(check, with_header(hook, "x-sig", f"{prefix}{text}, {prefix}{text}"))
    refuses(check, with_header(hook, "x-sig", None))


def test_an_hmac_of_time_and_body() -> None:
    def check(hook: Hook) -> None:
        signatures.hmac_of(hook, "key", "X-Sig", timestamp_header="X-Time", separator=":", window_ms=1_000)

    def signed(stamp: str) -> Hook:
        text = hmac.new(b"key", f"{stamp}:body".encode(), "sha256").hexdigest()
        return posted("https://example.org/hook", b"body", {"x-sig": text, "x-time": stamp})

    check(signed(SECONDS))
    check(signed(str(NOW)))
    check(replace(signed(SECONDS), now=NOW + 1_000))
    refuses(check, replace(signed(SECONDS), now=NOW + 1_001))
    refuses(check, with_header(signed(SECONDS), "x-time", str(NOW)))
    refuses(check, with_header(signed(SECONDS), "x-time", None))
    refuses(check, signed("soon"))
    with pytest.raises(ValueError, match="not one of those"):
        signatures.hmac_of(signed(SECONDS), "key", "X-Sig", encoding="base85")


WHSEC = "whsec_" + base64.b64encode(b"s" * 24).decode()
OLDER = "whsec_" + base64.b64encode(b"o" * 24).decode()


def standard(hook: Hook) -> None:
    signatures.standard_webhooks(hook, (OLDER, WHSEC))


def by_standard(body: str, secret: str = WHSEC) -> Hook:
    signature = Webhook(secret).sign("msg_1", datetime.fromtimestamp(NOW / 1_000, UTC), body)
    headers = {"webhook-id": "msg_1", "webhook-timestamp": SECONDS, "webhook-signature": signature}
    return posted("https://example.org/hook", body.encode(), headers)


def test_standard_webhooks() -> None:
    hook = by_standard('{"a": "ü"}')
    standard(hook)
    standard(by_standard("{}", OLDER))
    signature = hook.headers["webhook-signature"]
    standard(with_header(hook, "webhook-signature", f"v1,AAAA v2,x {signature}"))
    for now in (NOW - signatures.WINDOW_MS - 1, LATE + 1):
        refuses(standard, replace(hook, now=now))
    refuses(standard, replace(hook, body=b'{"a": "u"}'))
    refuses(standard, replace(hook, body=b"\xff"))
    refuses(standard, with_header(hook, "webhook-id", "msg_2"))
    refuses(standard, with_header(hook, "webhook-timestamp", str(int(SECONDS) - 1)))
    refuses(standard, with_header(hook, "webhook-timestamp", "9" * 300))
    refuses(lambda hook: signatures.standard_webhooks(hook, (OLDER,)), hook)
    refuses_another_signature(standard, hook, "webhook-signature")
    for malformed in ("v1", "v1,a,b", "v1,!!!", ",", " ", "v2" + signature[2:]):
        refuses(standard, with_header(hook, "webhook-signature", malformed))
    signatures.check_standard_secret(WHSEC)
    with pytest.raises(ValueError, match="whsec_"):
        signatures.check_standard_secret("whsec_")


# -- malformed --------------------------------------------------------------------------------------------------------

CHECKS: list[Check] = [
    twilio,
    plivo,
    telnyx,
    standard,
    lambda hook: signatures.vonage_sig(hook, "secret"),
    lambda hook: signatures.hmac_of(hook, "key", "X-Plivo-Signature-V3"),
]
HEADERS = (
    "x-twilio-signature",
    "x-twilio-webhooks-signature-settings",
    "x-plivo-signature-v3",
    "x-plivo-signature-v3-nonce",
    "telnyx-signature-ed25519",
    "telnyx-timestamp",
    "webhook-id",
    "webhook-signature",
    "content-type",
)


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(HEADERS), st.text(max_size=30), max_size=9),
    st.text(max_size=60),
    st.binary(max_size=60),
    st.sampled_from(["GET", "POST"]),
)
def test_what_nobody_signed_is_refused_whatever_it_is(
    headers: dict[str, str], query: str, body: bytes, method: str
) -> None:
    hook = replace(posted("https://example.org/hook?" + query, body), method=method, headers=headers)
    for check in CHECKS:
        refuses(check, hook)
