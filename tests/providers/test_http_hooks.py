"""A described gateway that calls back: request -> reports and texts; mistake -> the key that is named."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from plivo.utils.signature_v3 import construct_post_url, get_signature_v3
from standardwebhooks import Webhook
from twilio.request_validator import RequestValidator

from smsd.core.receipt import ReceiptReading, Status
from smsd.core.verdict import Category
from smsd.providers.base import (
    Hook,
    HookAnswer,
    HookKind,
    HookRefusedError,
    HookUnreadableError,
    InboundText,
    Report,
    SettingsError,
    Webhooks,
    marked_callback,
)
from smsd.providers.http import Http
from smsd.providers.http.places import MAX_ENTRIES
from tests.config.files import EXAMPLE, without_comment
from tests.providers import tables

BASE: Mapping[str, Any] = tomllib.loads((tables.CASES / "http.toml").read_text())["base"]
NOW = 1_700_000_000_000
URL = "https://sms.example.com/webhooks/main/status"
ID = "0199b1f2-7c3a-7000-8000-00000000cafe"
PAIR = {"to": "{to}", "text": "{text}"}
MARKED = {**PAIR, "dlr": "{callback_url}"}
STATUSES = {"delivered": ["DELIVERED"], "undelivered": ["LOST"], "sent": "OUT", "queued": 1, "ignored": ["READ"]}
REPORTS: Mapping[str, Any] = {"id": "id", "status": "status", "statuses": STATUSES}
INBOUND: Mapping[str, Any] = {"from": "from", "to": "to", "text": "text"}


def gateway(**changes: Any) -> Http:
    """The gateway of [base] with some keys changed."""
    return Http("main", **{**BASE, **changes})


def reporting(**changes: Any) -> Http:
    """One whose reports have these keys too."""
    return gateway(fields=MARKED, reports={**REPORTS, **changes})


def receiving(**changes: Any) -> Http:
    return gateway(inbound={**INBOUND, **changes})


def hook(
    body: bytes = b"",
    kind: HookKind = HookKind.STATUS,
    *,
    query: str = "",
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    method: str | None = None,
) -> Hook:
    url = f"{URL.replace('status', kind.value)}{'?' if query else ''}{query}"
    said = {"content-type": content_type, **(headers or {})} if body else dict(headers or {})
    return Hook(kind, method or ("POST" if body else "GET"), url, query, said, body, NOW)


def of_json(value: object, kind: HookKind = HookKind.STATUS, **more: Any) -> Hook:
    return hook(json.dumps(value).encode(), kind, **more)


def of_form(fields: Mapping[str, str], kind: HookKind = HookKind.STATUS, query: str = "") -> Hook:
    return hook(urlencode(fields).encode(), kind, query=query, content_type="application/x-www-form-urlencoded")


def of_query(fields: Mapping[str, str], kind: HookKind = HookKind.STATUS) -> Hook:
    return hook(kind=kind, query=urlencode(fields))


def unreadable(dialect: Http, said: Hook) -> HookUnreadableError:
    with pytest.raises(HookUnreadableError) as caught:
        dialect.read(said)
    return caught.value


# Reports


def test_it_speaks_the_protocol() -> None:
    assert isinstance(gateway(), Webhooks)
    assert isinstance(reporting(), Webhooks)


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("DELIVERED", Status.DELIVERED),
        ("delivered ", Status.DELIVERED),
        ("LOST", Status.UNDELIVERED),
        ("OUT", Status.SENT),
        (1, Status.QUEUED),
        ("1", Status.QUEUED),
    ],
)
def test_each_word_is_a_status(word: object, status: Status) -> None:
    said = {"id": "g-1", "status": word}
    assert reporting().read(of_json(said)) == (Report(status, "g-1"),)


@pytest.mark.parametrize("make", [of_form, of_query])
def test_forms_and_queries_are_read_alike(make: Callable[..., Hook]) -> None:
    dialect = reporting(code="err.code", words="why")
    found = dialect.read(make({"id": "g-1", "status": "LOST", "why": "No\nroute", "err.code": "27"}))
    assert found == (Report(Status.UNDELIVERED, "g-1", code="27", words="No route"),)


def test_a_post_without_a_body_speaks_by_its_query() -> None:
    assert reporting().read(hook(query="id=g-1&status=OUT", method="POST")) == (Report(Status.SENT, "g-1"),)


def test_a_report_in_full() -> None:
    dialect = gateway(
        fields={**PAIR, "ref": "{id}"},
        reports={
            "items": "results",
            "id": "messageId",
            "reference": "callbackData",
            "attempt": "header:X-Attempt",
            "status": "status.groupName",
            "statuses": STATUSES,
            "code": "error.id",
            "words": "error.description",
            "price": "price.amount",
            "currency": "price.currency",
            "at": "doneAt",
        },
    )
    said = {
        "results": [
            {
                "messageId": "g-1",
                "callbackData": ID,
                "status": {"groupName": "LOST"},
                "error": {"id": 27, "description": "Absent: +4915112345678"},
                "price": {"amount": 0.00001, "currency": "eur"},
                "doneAt": "2023-11-14T22:13:20.000+0000",
            },
            {"messageId": "g-2", "status": {"groupName": "DELIVERED"}, "error": {"id": 0}, "price": None},
        ]
    }
    assert dialect.read(of_json(said, headers={"x-attempt": "2"})) == (
        Report(Status.UNDELIVERED, "g-1", ID, 2, "27", "Absent: [number]", NOW, "0.00001 EUR"),
        Report(Status.DELIVERED, "g-2"),
    )
    assert dialect.reports_by_id, "the second one names no message of ours"


def test_a_list_as_a_whole_is_read_one_by_one() -> None:
    said = [{"id": "g-1", "status": "OUT"}, {"id": "g-2", "status": "READ"}, {"id": "g-3", "status": "LOST"}]
    assert reporting().read(of_json(said)) == (Report(Status.SENT, "g-1"), Report(Status.UNDELIVERED, "g-3"))
    assert reporting().read(of_json([])) == ()


def test_the_callback_url_says_whose_report_it_is() -> None:
    query = marked_callback(URL, ID, 3).partition("?")[2]
    dialect = gateway(fields=MARKED, reports={"status": "status", "statuses": STATUSES})
    assert dialect.read(of_json({"status": "OUT"}, query=query)) == (Report(Status.SENT, None, ID, 3),)
    assert dialect.read(of_form({"status": "OUT"}, query=query)) == (Report(Status.SENT, None, ID, 3),)
    assert dialect.read(of_query({"m": ID, "status": "OUT"})) == (Report(Status.SENT, None, ID, None),)
    assert not dialect.reports_by_id


def test_what_the_report_says_goes_before_its_url() -> None:
    dialect = gateway(fields={**MARKED, "ref": "{id}"}, reports={**REPORTS, "reference": "ref"})
    query = marked_callback(URL, ID, 3).partition("?")[2]
    same, other = (of_json({"status": "OUT", "ref": ref}, query=query) for ref in (ID, "another"))
    assert dialect.read(same) == (Report(Status.SENT, None, ID, 3),)
    assert dialect.read(other) == (Report(Status.SENT, None, "another", None),)


def test_one_url_does_not_speak_for_several_messages() -> None:
    query = marked_callback(URL, ID, 3).partition("?")[2]
    said = [{"id": "g-1", "status": "OUT"}, {"id": "g-2", "status": "OUT"}]
    assert [each.id for each in reporting().read(of_json(said, query=query)) if isinstance(each, Report)] == [
        None,
        None,
    ]


def test_reports_by_its_own_id_alone() -> None:
    assert gateway(reports=REPORTS).reports_by_id
    assert reporting().reports_by_id, "a URL's mark does not count for several reports at once"
    referring = gateway(fields={**PAIR, "ref": "{id}"}, reports={**REPORTS, "reference": "ref"})
    assert referring.reports_by_id, "some of its reports may leave the reference out"
    assert referring.read(of_json({"id": "g-1", "status": "OUT"})) == (Report(Status.SENT, "g-1"),)
    assert not gateway(fields=MARKED, reports={"status": "status", "statuses": STATUSES}).reports_by_id
    no_ids: dict[str, Any] = {"id_path": "", "ids": False, "success": {"status": [200], "match": "OK"}}
    assert not gateway(fields=MARKED, reports=REPORTS, **no_ids).reports_by_id, "no answer has an id to compare it with"
    assert not gateway().reports_by_id


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"id": "g-1", "status": "Weird"}, 'a status "Weird" stands in no list of reports.statuses'),
        ({"id": "g-1", "status": 7}, 'a status "7" stands'),
        ({"id": "g-1", "status": "Hello +4915112345678"}, "a status that is not shown stands"),
        ({"id": "g-1", "status": "491511234567"}, "a status that is not shown stands"),
        ({"id": "g-1", "status": None}, "nothing stands where reports.status says"),
        ({"id": "g-1", "status": {"a": 1}}, "nothing stands where reports.status says"),
        ({"status": "OUT"}, "no id stands where reports.id, reports.reference or the callback URL has one"),
        ({"id": "with space", "status": "OUT"}, "no id stands"),
    ],
)
def test_what_cannot_be_read_is_named_and_not_shown(said: object, fault: str) -> None:
    assert str(unreadable(reporting(), of_json(said))).startswith(fault)


def test_what_else_it_brings_is_kept() -> None:
    said = [{"id": "g-1", "status": "OUT"}, {"id": "g-2", "status": "odd"}, {"id": "g-3", "status": "odd"}, 3]
    error = unreadable(reporting(), of_json(said))
    assert error.items == (Report(Status.SENT, "g-1"),)
    assert str(error) == (
        'a status "odd" stands in no list of reports.statuses; add it to one; nothing stands where reports.status says'
    )


def test_a_star_takes_every_other_word() -> None:
    dialect = reporting(statuses={**STATUSES, "sent": "*"})
    assert dialect.read(of_json({"id": "g-1", "status": "odd"})) == (Report(Status.SENT, "g-1"),)
    assert dialect.read(of_json({"id": "g-1", "status": "LOST"})) == (Report(Status.UNDELIVERED, "g-1"),)


@pytest.mark.parametrize("code", ["0", "000", 0, "", None, "x" * 65])
def test_no_error_is_no_code(code: object) -> None:
    (found,) = reporting(code="code").read(of_json({"id": "g-1", "status": "LOST", "code": code}))
    assert isinstance(found, Report)
    assert found.code is None


def test_codes_mean_what_the_table_says() -> None:
    codes = [
        {"code": [1, "9"], "category": "INVALID_RECIPIENT"},
        {"code": "gone", "category": "OPTED_OUT"},
        {"code": "barred", "category": "OPTED_OUT", "action": "final"},
        {"code": "funds", "category": "AUTH_FAILED"},
        {"code": "busy", "category": "RATE_LIMITED", "action": "resend"},
        {"code": "off", "category": "UNDELIVERED", "action": "resend", "delays": ["1m", "5m"], "max_attempts": 4},
    ]
    dialect = reporting(code="code", codes=codes)
    assert {code: dialect.receipt_reading(code) for code in ("1", "9", "gone", "barred", "funds", "busy", "off")} == {
        "1": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
        "9": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
        "gone": ReceiptReading(Category.OPTED_OUT, "suppress"),
        "barred": ReceiptReading(Category.OPTED_OUT, "final"),
        "funds": ReceiptReading(Category.AUTH_FAILED, "halt"),
        "busy": ReceiptReading(Category.RATE_LIMITED, "resend", (120_000,), 2),
        "off": ReceiptReading(Category.UNDELIVERED, "resend", (60_000, 300_000), 4),
    }
    assert dialect.receipt_reading("2") is None
    assert gateway().receipt_reading("1") is None


# Inbound texts


def test_an_inbound_text_in_full() -> None:
    dialect = receiving(items="results", id="messageId", at="receivedAt")
    said = {
        "from": "4915112345678",
        "to": "447700900000",
        "text": "Stop ✋",
        "messageId": "i-1",
        "receivedAt": 1700000000,
    }
    assert dialect.read(of_json({"results": [said]}, HookKind.INBOUND)) == (
        InboundText("+4915112345678", "+447700900000", "Stop ✋", "i-1", NOW),
    )


@pytest.mark.parametrize("make", [of_form, of_query])
def test_an_inbound_text_of_a_form(make: Callable[..., Hook]) -> None:
    found = receiving().read(make({"from": "+4915112345678", "to": "12345", "text": "a&b=c é"}, HookKind.INBOUND))
    assert found == (InboundText("+4915112345678", "12345", "a&b=c é", None),)


@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_text_is_one(empty: str | None) -> None:
    (found,) = receiving().read(of_json({"from": "+4915112345678", "to": "12345", "text": empty}, HookKind.INBOUND))
    assert isinstance(found, InboundText)
    assert found.text == ""


def test_an_empty_text_of_a_form_is_one() -> None:
    said = of_form({"from": "+4915112345678", "to": "12345", "text": ""}, HookKind.INBOUND)
    assert [each.text for each in receiving().read(said) if isinstance(each, InboundText)] == [""]


@pytest.mark.parametrize("scheme", [None, "vonage"])
def test_half_an_emoji_costs_no_text(scheme: str | None) -> None:
    said = {"from": "+4915112345678", "to": "12345", "text": "Stop \ud83d", "timestamp": str(NOW // 1_000)}
    dialect = receiving()
    if scheme is not None:
        dialect = signing_texts(signature={"scheme": scheme}, signing_key="s3cret")
        base = "".join(f"&{name}={said[name]}" for name in sorted(said)).replace("\ud83d", "\ufffd")
        said["sig"] = made_hmac(base.encode()).hex()
    brought = of_json(said, HookKind.INBOUND)
    assert rb"\ud83d" in brought.body
    dialect.verify(brought)
    (found,) = dialect.read(brought)
    assert isinstance(found, InboundText)
    assert found.text == "Stop \ufffd"


@pytest.mark.parametrize("lost", INBOUND)
def test_no_text_at_all_is_none(lost: str) -> None:
    said = {"from": "+4915112345678", "to": "12345", "text": "Hi"}
    del said[lost]
    error = unreadable(receiving(), of_json(said, HookKind.INBOUND))
    assert f"inbound.{lost}" in str(error)
    assert "4915112345678" not in str(error)


def test_when_says_what_is_meant() -> None:
    """One URL for everything, as some gateways have: told apart by what they say of it."""
    dialect = gateway(
        fields=MARKED,
        reports={**REPORTS, "items": "data", "when": {"event": ["sent", "ended"]}},
        inbound={**INBOUND, "items": "data", "when": {"event": "received"}},
    )
    said = [
        {"event": "ended", "id": "g-1", "status": "LOST"},
        {"event": "received", "from": "12345", "to": "54321", "text": "Hi"},
        {"event": "clicked"},
    ]
    for kind in HookKind:
        assert dialect.read(of_json({"data": said}, kind)) == (
            Report(Status.UNDELIVERED, "g-1"),
            InboundText("12345", "54321", "Hi", None),
        )


def test_without_when_a_table_is_for_its_own_webhook_alone() -> None:
    dialect = gateway(fields=MARKED, reports=REPORTS, inbound={**INBOUND, "when": {"event": "received"}})
    text = {"event": "received", "from": "12345", "to": "54321", "text": "Hi"}
    report = {"id": "g-1", "status": "LOST"}
    assert dialect.read(of_json(report)) == (Report(Status.UNDELIVERED, "g-1"),)
    assert dialect.read(of_json(text, HookKind.INBOUND)) == (InboundText("12345", "54321", "Hi", None),)
    assert dialect.read(of_json(report, HookKind.INBOUND)) == ()


# What is no request


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (hook(b"<xml/>"), "its body is neither a form nor JSON"),
        (hook(b'"OUT"'), "its body is neither a form nor JSON"),
        (hook(b"\xff", content_type="application/x-www-form-urlencoded"), "not UTF-8"),
        (hook(b'{"data": 3}'), "neither a list nor a table stands where reports.items says"),
        (hook(b"[" * 50_000), "its body is neither a form nor JSON"),
        (of_json({"data": [{}] * (MAX_ENTRIES + 1)}), f"more than {MAX_ENTRIES}"),
        (hook(query="data=1&status=OUT"), "neither a list nor a table stands where reports.items says"),
    ],
)
def test_what_is_no_report_at_all(said: Hook, fault: str) -> None:
    assert fault in str(unreadable(reporting(items="data"), said))


def test_a_parameter_that_stands_twice_is_no_guess() -> None:
    assert "more than once" in str(unreadable(reporting(), hook(query="id=g-1&status=OUT&status=LOST")))


FULL = {
    **REPORTS,
    **{"reference": "ref", "attempt": "n", "code": "code", "words": "why", "price": "p", "currency": "c", "at": "at"},
}
DIALECTS = (
    gateway(fields={**MARKED, "r": "{id}"}, reports=FULL, inbound={**INBOUND, "id": "id", "at": "at"}),
    gateway(
        fields={**MARKED, "r": "{id}"},
        reports={**FULL, "items": "data", "status": "header:x-status", "when": {"query:kind": "r"}},
        inbound={**INBOUND, "items": "data", "text": "query:text", "when": {"kind": "i"}},
    ),
)
NUMBER = "+4915112345678"
TEXT = "Dear Sir or Madam"
WORDS = st.sampled_from([*REPORTS, *INBOUND, "data", "ref", "code", "at", "p", "c", "n", "kind"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from([NUMBER, TEXT, "OUT", "LOST", "r", "i", ID, "4" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=6),
    max_leaves=12,
)
BODIES = st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode())
TYPES = st.sampled_from(["application/json", "application/x-www-form-urlencoded", "text/plain", "", "multipart/x"])
QUERIES = st.text(max_size=40) | st.lists(st.tuples(WORDS | st.just("m"), st.text(max_size=9))).map(urlencode)


@given(st.sampled_from(DIALECTS), st.sampled_from(HookKind), BODIES, TYPES, QUERIES, st.text(max_size=5))
@settings(max_examples=200, deadline=None)
def test_no_request_raises_anything_else_or_shows_what_it_says(
    dialect: Http, kind: HookKind, body: bytes, content_type: str, query: str, status: str
) -> None:
    said = hook(body, kind, query=query, content_type=content_type, headers={"x-status": status})
    try:
        found = dialect.read(said)
    except HookUnreadableError as error:
        assert NUMBER[1:] not in str(error) and TEXT not in str(error)
        assert str(error).isprintable() and len(str(error)) < 1_000
        found = error.items
    for each in found:
        assert not isinstance(each, Report) or each.provider_message_id or each.id
        assert not isinstance(each, InboundText) or (each.sender and each.recipient)


# Signatures


def signed(scheme: Mapping[str, Any], key: str = "s3cret", **more: Any) -> Http:
    return gateway(fields=MARKED, reports=REPORTS, signature=scheme, signing_key=key, **more)


BODY = b'{"id": "g-1", "status": "OUT"}'


def made_hmac(said: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(b"s3cret", said, algorithm).digest()


def holds(dialect: Http, said: Hook) -> bool:
    try:
        dialect.verify(said)
    except HookRefusedError:
        return False
    return True


def hmac_cases() -> list[tuple[Mapping[str, Any], Mapping[str, str]]]:
    stamp = str(NOW // 1_000)
    return [
        ({"scheme": "hmac", "header": "X-Sig"}, {"x-sig": made_hmac(BODY).hex()}),
        (
            {"scheme": "hmac", "header": "X-Sig", "prefix": "sha512=", "algorithm": "sha512", "encoding": "base64"},
            {"x-sig": "sha512=" + base64.b64encode(made_hmac(BODY, "sha512")).decode()},
        ),
        (
            {"scheme": "hmac", "header": "X-Sig", "timestamp_header": "X-At", "separator": ":", "window": "1m"},
            {"x-sig": made_hmac(f"{stamp}:".encode() + BODY).hex(), "x-at": stamp},
        ),
    ]


@pytest.mark.parametrize(("scheme", "headers"), hmac_cases())
def test_an_hmac_is_made_as_the_settings_say(scheme: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    dialect = signed(scheme)
    assert dialect.signs
    assert holds(dialect, hook(BODY, headers=headers))
    assert not holds(dialect, hook(BODY + b" ", headers=headers))
    assert not holds(dialect, hook(BODY))
    assert not holds(signed(scheme, "another"), hook(BODY, headers=headers))


def test_an_old_hmac_is_a_repeat() -> None:
    stamp = str(NOW // 1_000 - 61)
    headers = {"x-sig": made_hmac(f"{stamp}.".encode() + BODY).hex(), "x-at": stamp}
    scheme = {"scheme": "hmac", "header": "X-Sig", "timestamp_header": "X-At"}
    assert holds(signed(scheme), hook(BODY, headers=headers))
    assert not holds(signed({**scheme, "window": "1m"}), hook(BODY, headers=headers))


def test_vonage_signs_parameters() -> None:
    """With its secret "secret"; the digests are those of its documentation's procedure."""
    said = {"messageId": "abc", "msisdn": "447700900000", "status": "delivered", "text": "a&b=c"}
    said["timestamp"] = str(NOW // 1_000)
    sig = "9ddc6661dc520a98612674e52d23ef7899d16e15b6279ffb03d99214df54994d"
    dialect = signed({"scheme": "vonage"}, "secret")
    assert holds(dialect, of_query({**said, "sig": sig}))
    assert not holds(dialect, of_query({**said, "status": "failed", "sig": sig}))
    by_md5 = signed({"scheme": "vonage", "algorithm": "md5"}, "secret")
    assert holds(by_md5, of_query({**said, "sig": "627e16e128fcd9cec8f4df1c12c4f80e"}))


def test_plivo_signs_url_and_form() -> None:
    fields = {"Status": "delivered", "To": "14155550123"}
    said = of_form(fields, query="m=42&a=1")
    sig = get_signature_v3("s3cret", construct_post_url(said.url, fields), "12345").decode()
    dialect = signed({"scheme": "plivo-v3"})
    headers = {**said.headers, "x-plivo-signature-v3": sig, "x-plivo-signature-v3-nonce": "12345"}
    assert holds(dialect, Hook(said.kind, "POST", said.url, said.query, headers, said.body, NOW))
    assert not holds(dialect, Hook(said.kind, "POST", said.url + "2", said.query + "2", headers, said.body, NOW))


def test_twilio_signs_url_and_form() -> None:
    said = of_form({"Status": "delivered"}, query="m=42")
    sig = RequestValidator("s3cret").compute_signature(said.url, {"Status": "delivered"})
    dialect = signed({"scheme": "twilio"})
    headers = {**said.headers, "x-twilio-signature": sig}
    assert holds(dialect, Hook(said.kind, "POST", said.url, said.query, headers, said.body, NOW))
    assert not holds(dialect, said)


def test_standard_webhooks_by_its_library() -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    at = datetime.fromtimestamp(NOW / 1_000, UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW // 1_000),
        "webhook-signature": Webhook(secret).sign("msg_1", at, BODY.decode()),
    }
    dialect = signed({"scheme": "standard-webhooks"}, secret)
    assert holds(dialect, hook(BODY, headers=headers))
    assert not holds(dialect, hook(BODY, headers={**headers, "webhook-id": "msg_2"}))


def test_telnyx_by_its_public_key() -> None:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key").digest())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    stamp = str(NOW // 1_000)
    headers = {
        "telnyx-timestamp": stamp,
        "telnyx-signature-ed25519": base64.b64encode(key.sign(f"{stamp}|".encode() + BODY)).decode(),
    }
    dialect = signed({"scheme": "telnyx"}, public)
    assert holds(dialect, hook(BODY, headers=headers))
    assert not holds(dialect, hook(BODY[:-1], headers=headers))


# Texts without an id


def text_of(dialect: Http, said: Hook) -> InboundText:
    dialect.verify(said)
    (found,) = dialect.read(said)
    assert isinstance(found, InboundText)
    return found


def signing_texts(signature: Mapping[str, Any], signing_key: str, **places: str) -> Http:
    return gateway(inbound={**INBOUND, **places}, signature=signature, signing_key=signing_key)


BROUGHT = {"from": "+4915112345678", "to": "12345", "text": "Hi"}
AT = {"scheme": "hmac", "header": "X-Sig", "timestamp_header": "X-At"}


def by_hmac(second: int, **more: object) -> Hook:
    body = json.dumps(BROUGHT | more).encode()
    sig = made_hmac(f"{second}.".encode() + body).hex()
    return hook(body, HookKind.INBOUND, headers={"x-sig": sig, "x-at": str(second)})


def test_a_text_without_an_id_or_time_has_the_time_that_was_signed() -> None:
    """Whoever gives the request again, while that time is fresh, brings no second text."""
    dialect = signing_texts(id="id", at="at", signature=AT, signing_key="s3cret")
    second = NOW // 1_000 - 7
    found = text_of(dialect, by_hmac(second))
    assert (found.provider_message_id, found.at) == (None, second * 1_000)
    assert text_of(dialect, by_hmac(second, at=second - 90)).at == (second - 90) * 1_000
    known = text_of(dialect, by_hmac(second, id="t-1"))
    assert (known.provider_message_id, known.at) == ("t-1", None)
    untimed = signing_texts(signature={"scheme": "hmac", "header": "X-Sig"}, signing_key="s3cret")
    body = json.dumps(BROUGHT).encode()
    assert text_of(untimed, hook(body, HookKind.INBOUND, headers={"x-sig": made_hmac(body).hex()})).at is None


@pytest.mark.parametrize("make", [of_form, of_query, of_json])
def test_vonage_signs_a_time_too(make: Callable[..., Hook]) -> None:
    said = {**BROUGHT, "timestamp": str(NOW // 1_000 - 7)}
    base = "".join(f"&{name}={said[name]}" for name in sorted(said))
    signed_so = {**said, "sig": made_hmac(base.encode()).hex()}
    dialect = signing_texts(signature={"scheme": "vonage"}, signing_key="s3cret")
    assert text_of(dialect, make(signed_so, HookKind.INBOUND)).at == NOW - 7_000


def test_telnyx_signs_a_time_too() -> None:
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"key").digest())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    stamp, body = str(NOW // 1_000 - 7), json.dumps(BROUGHT).encode()
    signature = base64.b64encode(key.sign(f"{stamp}|".encode() + body)).decode()
    headers = {"telnyx-timestamp": stamp, "telnyx-signature-ed25519": signature}
    dialect = signing_texts(signature={"scheme": "telnyx"}, signing_key=public)
    assert text_of(dialect, hook(body, HookKind.INBOUND, headers=headers)).at == NOW - 7_000


def by_standard(secret: str, id: str, seconds: int, *texts: str) -> Hook:
    body = json.dumps([{**BROUGHT, "text": text} for text in texts])
    signature = Webhook(secret).sign(id, datetime.fromtimestamp(seconds, UTC), body)
    headers = {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": signature}
    return hook(body.encode(), HookKind.INBOUND, headers=headers)


def test_standard_webhooks_sign_an_id_which_a_repeat_has_too() -> None:
    secret = "whsec_" + base64.b64encode(bytes(range(24))).decode()
    dialect = signing_texts(signature={"scheme": "standard-webhooks"}, signing_key=secret)
    seconds = NOW // 1_000
    first = text_of(dialect, by_standard(secret, "msg_1", seconds - 60, "Hi"))
    later = text_of(dialect, by_standard(secret, "msg_1", seconds, "Hi"))
    other = text_of(dialect, by_standard(secret, "msg_2", seconds, "Hi"))
    assert first.provider_message_id == later.provider_message_id != other.provider_message_id
    both = by_standard(secret, "msg_3", seconds, "Hi", "Ho")
    assert len({each.provider_message_id for each in dialect.read(both) if isinstance(each, InboundText)}) == 2


def test_plivo_signs_a_random_number() -> None:
    dialect = signing_texts(signature={"scheme": "plivo-v3"}, signing_key="s3cret")

    def brought(nonce: str) -> InboundText:
        said = of_form(BROUGHT, HookKind.INBOUND)
        sig = get_signature_v3("s3cret", construct_post_url(said.url, BROUGHT), nonce).decode()
        headers = {**said.headers, "x-plivo-signature-v3": sig, "x-plivo-signature-v3-nonce": nonce}
        return text_of(dialect, Hook(said.kind, "POST", said.url, said.query, headers, said.body, NOW))

    assert brought("12345") == brought("12345")
    assert brought("12345").provider_message_id not in {None, brought("12346").provider_message_id}


# The examples


def example(name: str) -> Http:
    text = without_comment(EXAMPLE.read_text(), f"providers.{name}")
    section = tomllib.loads(text)["providers"][name]
    common = ("type", "from", "rate", "webhook_secret")
    own = {key: value for key, value in section.items() if key not in common}
    for key in ("token", "signing_key"):
        own |= {key: "s3cret"} if key in own else {}
    return Http(name, **own)


def test_infobip_as_the_example_describes_it() -> None:
    dialect = example("infobip")
    report = {
        "messageId": "i-1",
        "callbackData": ID,
        "to": "4915112345678",
        "status": {"groupId": 2, "groupName": "UNDELIVERABLE", "id": 9, "name": "UNDELIVERABLE_NOT_DELIVERED"},
        "error": {"groupId": 1, "id": 1, "name": "EC_UNKNOWN_SUBSCRIBER", "description": "Unknown subscriber"},
        "price": {"pricePerMessage": 0.01, "currency": "EUR"},
        "doneAt": "2023-11-14T22:13:20.000+0000",
    }
    (found,) = dialect.read(of_json({"results": [report]}))
    assert found == Report(Status.UNDELIVERED, "i-1", ID, None, "1", "Unknown subscriber", NOW, "0.01 EUR")
    assert dialect.receipt_reading("1") == ReceiptReading(Category.INVALID_RECIPIENT, "final")
    assert dialect.receipt_reading("2050") == ReceiptReading(Category.OPTED_OUT, "suppress")
    text = {"messageId": "t-1", "from": "4915112345678", "to": "447700900000", "text": "STOP", "keyword": "STOP"}
    (inbound,) = dialect.read(of_json({"results": [text], "messageCount": 1}, HookKind.INBOUND))
    assert inbound == InboundText("+4915112345678", "+447700900000", "STOP", "t-1")


def test_vonage_as_the_example_describes_it() -> None:
    dialect = example("vonage")
    report = {"msisdn": "4915112345678", "to": "Shop", "messageId": "v-1", "status": "delivered", "err-code": "0"}
    report |= {"price": "0.0333", "scts": "2311142213", "client-ref": ID, "message-timestamp": "2023-11-14 22:13:20"}
    expected = Report(Status.DELIVERED, "v-1", ID, None, None, "", NOW, "0.0333")
    for said in (of_query(report), of_form(report), of_json(report)):
        assert dialect.read(said) == (expected,)


def test_plivo_as_the_example_describes_it() -> None:
    dialect = example("plivo")
    report = {"From": "14155550100", "To": "14155550123", "MessageUUID": "p-2", "ParentMessageUUID": "p-1"}
    report |= {"Status": "undelivered", "ErrorCode": "200", "TotalAmount": "0.005"}
    query = marked_callback(URL, ID, 2).partition("?")[2]
    assert dialect.read(of_form(report, query=query)) == (
        Report(Status.UNDELIVERED, "p-1", ID, 2, "200", price="0.005"),
    )
    assert dialect.receipt_reading("200") == ReceiptReading(Category.OPTED_OUT, "suppress")


# Settings


def test_nothing_is_described_unless_it_is() -> None:
    tried = gateway()
    assert (tried.hooks, tried.signs, tried.answers_words) == (frozenset(), False, False)
    assert tried.hook_answer == HookAnswer()
    assert reporting().hooks == {HookKind.STATUS}
    assert receiving().hooks == {HookKind.INBOUND}


def test_what_it_wants_to_hear() -> None:
    tried = gateway(fields=MARKED, reports=REPORTS, answer={"content_type": "application/json", "body": '{"ok": "ä"}'})
    assert tried.hook_answer == HookAnswer("application/json", '{"ok": "ä"}'.encode())


def test_no_repr_shows_the_key() -> None:
    assert "hush" not in repr(signed({"scheme": "twilio"}, "hush-hush"))


HMAC = {"scheme": "hmac", "header": "X-Sig"}
OK = {"delivered": "ok"}
WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"reports": 3}, "reports", "must be a table"),
    ({"reports": {**REPORTS, "state": "x"}}, "reports.state", "unknown; the keys are"),
    ({"reports": {"id": "id", "statuses": OK}}, "reports.status", "missing; say where the status stands"),
    ({"reports": {**REPORTS, "id": "$.id"}}, "reports.id", "dots alone lead"),
    ({"reports": {**REPORTS, "id": "body:x"}}, "reports.id", 'before a colon stands "query" or "header"'),
    ({"reports": {**REPORTS, "id": "header:a b"}}, "reports.id", "is not a header's name"),
    ({"reports": {**REPORTS, "items": 3}}, "reports.items", "must be a path"),
    ({"reports": {**REPORTS, "statuses": {}}}, "reports.statuses", "names no word for the end"),
    ({"reports": {**REPORTS, "statuses": {"sent": "x"}}}, "reports.statuses", "names no word for the end"),
    ({"reports": {**REPORTS, "statuses": {"done": "x"}}}, "reports.statuses.done", "unknown"),
    ({"reports": {**REPORTS, "statuses": {**OK, "sent": []}}}, "reports.statuses.sent", "is empty"),
    ({"reports": {**REPORTS, "statuses": {**OK, "sent": "OK"}}}, "reports.statuses.sent", "stands in another list too"),
    ({"reports": {**REPORTS, "when": {}}}, "reports.when", "must be a table of places"),
    ({"reports": {**REPORTS, "when": {"a b": "x"}}}, "reports.when.a b", "dots alone lead"),
    ({"reports": {**REPORTS, "attempt": "n"}}, "reports.attempt", "goes with reference"),
    ({"reports": {**REPORTS, "currency": "c"}}, "reports.currency", "goes with price"),
    ({"reports": {**REPORTS, "codes": [{"code": 1, "category": "REJECTED"}]}}, "reports.code", "missing; codes need"),
    ({"reports": {**REPORTS, "reference": "ref"}}, "reports.reference", "no field sends it"),
    ({"reports": {"status": "s", "statuses": OK}}, "reports.id", "whose report is it?"),
    (
        {"reports": REPORTS, "ids": False, "id_path": None, "success": {"match": "OK"}},
        "reports.id",
        "no answer has an id to compare it with",
    ),
    ({"inbound": {"to": "t", "text": "x"}}, "inbound.from", "missing; say where it stands"),
    ({"inbound": {**INBOUND, "word": "w"}}, "inbound.word", "unknown"),
    ({"inbound": {**INBOUND, "at": ""}}, "inbound.at", "must say where it stands"),
    ({"inbound": INBOUND, "answer": {"kind": "x"}}, "answer.kind", "unknown"),
    ({"inbound": INBOUND, "answer": {"content_type": "text\r\nx/y"}}, "answer.content_type", "a media type"),
    ({"inbound": INBOUND, "answer": {"body": "x" * 1_025}}, "answer.body", "at most 1024 characters"),
    ({"inbound": INBOUND, "signing_key": "k"}, "signing_key", "goes with signature"),
    ({"inbound": INBOUND, "signature": HMAC}, "signing_key", "set both or neither"),
    ({"signature": HMAC, "signing_key": "k"}, "signature", "no webhook is described"),
    ({"answer": {"body": "OK"}}, "answer", "no webhook is described"),
    ({"reports": REPORTS, "answers_words": True}, "answers_words", "none are described"),
]
SIGNATURES: list[tuple[object, str, str]] = [
    ("hmac", "signature", "must be a table"),
    ({"header": "X-Sig"}, "signature.scheme", "missing; write one of hmac"),
    ({"scheme": "hmac"}, "signature.header", "missing; say which header"),
    ({**HMAC, "header": "X Sig"}, "signature.header", "is not a header's name"),
    ({**HMAC, "algorithm": "crc32"}, "signature.algorithm", "does not go here"),
    ({**HMAC, "encoding": "base32"}, "signature.encoding", "does not go here"),
    ({**HMAC, "prefix": 3}, "signature.prefix", "visible ASCII"),
    ({**HMAC, "window": "1m"}, "signature.window", "goes with timestamp_header"),
    ({**HMAC, "timestamp_header": "X-At", "window": "0s"}, "signature.window", "between 1s and 1d"),
    ({**HMAC, "timestamp_header": "X-At", "window": 60}, "signature.window", "span of time"),
    ({"scheme": "plivo-v3", "window": "1m"}, "signature.window", "unknown"),
    ({"scheme": "telnyx"}, "signing_key", ""),
    ({"scheme": "standard-webhooks"}, "signing_key", ""),
]
CODES: list[tuple[object, str, str]] = [
    ({"1": "REJECTED"}, "reports.codes", "must be a list"),
    ([{"category": "REJECTED"}], "reports.codes.0.code", "missing"),
    ([{"code": 1}], "reports.codes.0.category", "missing; write one of"),
    ([{"code": 1, "category": "UNCERTAIN"}], "reports.codes.0.category", "does not go here"),
    (
        [{"code": 1, "category": "REJECTED", "action": "retry"}],
        "reports.codes.0.action",
        "must be one of final, resend",
    ),
    ([{"code": 1, "category": "REJECTED", "delays": ["1m"]}], "reports.codes.0.delays", 'action = "resend" alone'),
    ([{"code": 1, "category": "REJECTED", "max_attempts": 2}], "reports.codes.0.max_attempts", '"resend" alone'),
    ([{"code": 0, "category": "REJECTED"}], "reports.codes.0.code", "never read as a code"),
    ([{"code": 1, "category": "REJECTED"}, {"code": [2, 1], "category": "REJECTED"}], "reports.codes.1.code", "too"),
]
RESEND = {"code": 1, "category": "REJECTED", "action": "resend"}
CODES += [
    ([{**RESEND, "delays": "1m"}], "reports.codes.0.delays", "must be a list of durations"),
    ([{**RESEND, "delays": ["0s"]}], "reports.codes.0.delays", "more than zero"),
    ([{**RESEND, "delays": [60]}], "reports.codes.0.delays", "span of time"),
    ([{**RESEND, "max_attempts": 1}], "reports.codes.0.max_attempts", "from 2 to 20"),
]
WRONG += [({"inbound": INBOUND, "signature": each, "signing_key": "k"}, key, why) for each, key, why in SIGNATURES]
WRONG += [({"reports": {**REPORTS, "code": "c", "codes": each}}, key, why) for each, key, why in CODES]


@pytest.mark.parametrize(("changes", "key", "message"), WRONG)
def test_each_mistake_is_found_at_the_start(changes: dict[str, Any], key: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        gateway(**changes)
    assert [each for each, _ in caught.value.faults] == [key]
    assert message in caught.value.faults[0][1]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        gateway(
            url="nowhere",
            reports={"status": "$", "statuses": {"done": 1}},
            inbound={"from": "f", "at": 3},
            signature={"scheme": "hmac", "algorithm": "x"},
            answer={"body": 3},
        )
    assert {key for key, _ in caught.value.faults} == {
        "url",
        "reports.status",
        "reports.statuses.done",
        "inbound.to",
        "inbound.text",
        "inbound.at",
        "signature.header",
        "signature.algorithm",
        "signing_key",
        "answer.body",
    }


def test_the_first_gateway_of_the_example_calls_back() -> None:
    assert example("gateway").read(of_json({"data": [{"reference": ID, "state": "lost"}]})) == (
        Report(Status.UNDELIVERED, None, ID),
    )
