"""MessageBird's webhooks: what comes in -> reports and texts; tokens -> accepted or refused."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

import jwt
import pytest
from messagebird.request_validator import RequestValidator

from smsd.core.receipt import Status
from smsd.providers.base import (
    Hook,
    HookKind,
    HookRefusedError,
    HookUnreadableError,
    InboundText,
    Report,
    SettingsError,
    Webhooks,
)
from smsd.providers.messagebird import RECEIPTS, MessageBird
from smsd.providers.messagebird_hooks import STATUSES
from smsd.providers.tokens import LEEWAY_MS
from tests.providers.calls import CALL
from tests.providers.hooks import NOW, at_url, got, posted, with_header

KEY = "0123456789abcdef0123456789abcdef" * 2
BIRD = MessageBird("main", "access", signing_key=KEY)
URL = f"https://sms.example.org/webhooks/main/status?m={CALL.id}&a=1"
INBOUND_URL = "https://sms.example.org/webhooks/main/inbound"
HEADER = "messagebird-signature-jwt"

REPORT = {
    "datacoding": "plain",
    "id": "b6aae1b5dfb2427a8f7ea6a717ba31a9",
    "mccmnc": "310010",
    "messageLength": "4",
    "messagePartCount": "1",
    "ported": "0",
    "price[amount]": "0.005",
    "price[currency]": "USD",
    "recipient": "14155550123",
    "reference": CALL.id,
    "status": "delivered",
    "statusDatetime": "2026-09-21T14:13:20+00:00",
}


def reports(form: Mapping[str, str], url: str = URL) -> Report:
    [report] = BIRD.read(got(f"{url}&{urlencode(form)}"))
    assert isinstance(report, Report)
    return report


def text(body: bytes) -> InboundText:
    [text] = BIRD.read(posted(INBOUND_URL, body, kind=HookKind.INBOUND))
    assert isinstance(text, InboundText)
    return text


def test_it_is_a_dialect_with_webhooks() -> None:
    assert isinstance(BIRD, Webhooks)
    assert BIRD.hooks == {HookKind.STATUS, HookKind.INBOUND}
    assert (BIRD.answers_words, BIRD.reports_by_id, BIRD.hook_answer.body) == (False, False, b"OK")


def test_a_report_is_a_get_and_may_be_a_post() -> None:
    expected = Report(
        Status.DELIVERED,
        REPORT["id"],
        CALL.id,
        1,
        words="MessageBird says of the message: delivered",
        at=NOW,
        price="0.005 USD",
    )
    assert reports(REPORT) == expected
    assert BIRD.read(posted(URL, REPORT)) == (expected,)
    json = str(REPORT | {"recipient": 14155550123}).replace("'", '"').encode()
    assert BIRD.read(posted(URL, json, {"content-type": "application/json"})) == (expected,)


def test_a_report_names_our_reference() -> None:
    bare = URL.partition("?")[0] + "?"
    assert (reports(REPORT, bare).id, reports(REPORT, bare).attempt) == (CALL.id, None)
    nameless = {"status": "sent"}
    with pytest.raises(HookUnreadableError, match="names no message"):
        reports(nameless, bare)
    assert reports(nameless | {"id": "x"}, bare).provider_message_id == "x"


@pytest.mark.parametrize(
    "word, code, status, kept",
    [
        ("scheduled", "", Status.QUEUED, None),
        ("sent", "0", Status.SENT, None),
        ("buffered", "", Status.SENT, None),
        ("delivered", "0", Status.DELIVERED, None),
        ("expired", "", Status.UNDELIVERED, "expired"),
        ("expired", "27", Status.UNDELIVERED, "27"),
        ("delivery_failed", "103", Status.UNDELIVERED, "103"),
        ("delivery_failed", "0", Status.UNDELIVERED, None),
    ],
)
def test_every_status(word: str, code: str, status: Status, kept: str | None) -> None:
    report = reports(REPORT | {"status": word, "statusErrorCode": code, "statusReason": "to 14155550123"})
    assert (report.status, report.code) == (status, kept)
    assert report.words == f"MessageBird says of the message: {word} (to [number])"
    assert kept is None or BIRD.receipt_reading(kept) is RECEIPTS[kept]
    assert len(STATUSES) == 6


def test_a_text_to_a_virtual_number() -> None:
    form = {
        "id": "1",
        "recipient": "15005550006",
        "originator": "14155550123",
        "body": "stop 👍",
        "createdDatetime": "2026-09-21T14:13:20+00:00",
    }
    expected = InboundText("+14155550123", "+15005550006", "stop 👍", "1", NOW)
    assert text(urlencode(form).encode()) == expected
    assert text(urlencode(form).encode().replace(b"%2B00", b"+00")) == expected  # a plus that became a blank
    assert BIRD.read(got(f"{INBOUND_URL}?{urlencode(form)}", kind=HookKind.INBOUND)) == (expected,)


def test_a_post_that_repeats_names_is_about_the_last() -> None:
    body = (
        b"receiver=15005550006&sender=14155550123&message=a&body=a&id=old&reference=1&id=new"
        b"&recipient=15005550006&originator=14155550123&body=b&receive_datetime=2026-09-21T14%3A13%3A20%2B00%3A00"
    )
    assert text(body) == InboundText("+14155550123", "+15005550006", "b", "new", NOW)


def test_a_text_to_a_short_code() -> None:
    body = b"shortcode=51515&sender=14155550123&message=hi&mid=2&id=3&originator=14155550123&body=x"
    assert text(body + b"&receive_datetime=20260921141320") == InboundText("+14155550123", "51515", "hi", "2", NOW)


@pytest.mark.parametrize(
    "query, said",
    [
        ("", "no status"),
        ("status=lost", "lost"),
        ("status=sent&status=delivered", "more than once"),
        ("status=%ff", "UTF-8"),
    ],
)
def test_what_cannot_be_read_says_why(query: str, said: str) -> None:
    with pytest.raises(HookUnreadableError, match=said):
        BIRD.read(got(f"{URL}&{query}"))
    with pytest.raises(HookUnreadableError, match="JSON"):
        BIRD.read(posted(URL, b"[]", {"content-type": "application/json"}))
    with pytest.raises(HookUnreadableError, match="who sent it"):
        text(b"body=x")


# -- tokens -----------------------------------------------------------------------------------------------------------


def token(hook: Hook, *, key: str = KEY, algorithm: str = "HS256", **claims: object) -> str:
    return token_of(hook, claims, key, algorithm)


def token_of(hook: Hook, claims: Mapping[str, object], key: str = KEY, algorithm: str = "HS256") -> str:
    said: dict[str, object] = {
        "iss": "MessageBird",
        "nbf": hook.now // 1_000,
        "exp": hook.now // 1_000 + 60,
        "jti": "1",
        "url_hash": hashlib.sha256(hook.url.encode()).hexdigest(),
    }
    if hook.body:
        said["payload_hash"] = hashlib.sha256(hook.body).hexdigest()
    said |= claims
    return jwt.encode({name: value for name, value in said.items() if value is not None}, key, algorithm)


def verify(hook: Hook, signature: str | None) -> None:
    BIRD.verify(with_header(hook, HEADER, signature))


GET, POST = got(f"{URL}&{urlencode(REPORT)}"), posted(INBOUND_URL, {"id": "1"}, kind=HookKind.INBOUND)


@pytest.mark.parametrize("hook", [GET, POST], ids=["GET", "POST"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_what_the_sdk_accepts_is_accepted_and_what_it_refuses_is_refused(hook: Hook, algorithm: str) -> None:
    hook = replace(hook, now=int(time.time()) * 1_000)  # the SDK reads the clock
    good = token(hook, algorithm=algorithm)
    RequestValidator(KEY).validate_signature(good, hook.url, hook.body)
    verify(hook, good)
    for bad in (
        token(hook, key=KEY[::-1]),
        token(hook, iss="Bird"),
        token(hook, nbf=None),
        token(hook, exp=None),
        token(hook, exp=hook.now // 1_000 - 61),
        token(hook, nbf=hook.now // 1_000 + 61),
        token(hook, url_hash=hashlib.sha256(b"https://sms.example.org/").hexdigest()),
        token(hook, payload_hash=hashlib.sha256(b"other").hexdigest()),
        token(hook, payload_hash=None) if hook.body else "",
        "" if algorithm == "HS256" else token(hook, exp="soon"),
    ):
        with pytest.raises(Exception):  # noqa: B017  which of its errors the SDK raises is its own matter
            RequestValidator(KEY).validate_signature(bad, hook.url, hook.body)
        with pytest.raises(HookRefusedError):
            verify(hook, bad)


def test_a_token_is_refused_once_its_time_is_over() -> None:
    signature, end = token(GET), NOW + 60_000 + LEEWAY_MS
    verify(replace(GET, now=end - 1), signature)
    verify(replace(GET, now=NOW - LEEWAY_MS), signature)
    for now in (end, NOW - LEEWAY_MS - 1):
        with pytest.raises(HookRefusedError):
            verify(replace(GET, now=now), signature)


@pytest.mark.parametrize(
    "claims",
    [
        {"url_hash": None},
        {"url_hash": 1},
        {"payload_hash": 1},
        {"exp": True},
        {"exp": "9999999999"},
        {"exp": 10**300},
        {"exp": float("nan")},
        {"nbf": float("-inf")},
        {"nbf": []},
        {"nbf": True},
    ],
)
def test_claims_of_other_kinds_are_refused(claims: dict[str, object]) -> None:
    with pytest.raises(HookRefusedError):
        verify(POST, token_of(POST, claims))


def test_forged_cut_and_doubled_tokens_are_refused() -> None:
    good = token(POST)
    header, claims, signature = good.split(".")
    none = jwt.encode({"iss": "MessageBird"}, "", "none")
    forged = (None, "", good[:-2], f"{header}.{claims}.", f"{claims}.{claims}.{signature}", none, f"{good}, {good}")
    deep = base64.urlsafe_b64encode(b'{"alg":' * 50_000).decode().rstrip("=")
    for each in (*forged, f"{deep}.{claims}.{signature}", "a.b.c", "é.é.é", "." * 10, "e30." * 3, "W" * 100_000):
        with pytest.raises(HookRefusedError):
            verify(POST, each)
    for other in (at_url(POST, INBOUND_URL + "?x=1"), replace(POST, body=POST.body + b"&b=1"), replace(POST, body=b"")):
        with pytest.raises(HookRefusedError):
            verify(other, good)
    with pytest.raises(HookRefusedError):
        verify(replace(got(INBOUND_URL), body=b"unsigned"), token(got(INBOUND_URL)))


def test_without_its_key_nothing_is_signed() -> None:
    assert BIRD.signs
    assert not MessageBird("main", "access").signs
    assert KEY not in repr(BIRD)
    assert BIRD.fingerprint() == MessageBird("main", "access").fingerprint()
    with pytest.raises(SettingsError, match="signing_key"):
        replace(BIRD, signing_key="")
