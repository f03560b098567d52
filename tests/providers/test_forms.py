"""Whatever comes in at a webhook, a dialect reads it or says that it cannot."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.receipt import Status
from smsd.providers.base import HookKind, HookUnreadableError, InboundText, Report, Webhooks
from smsd.providers.dialpad import Dialpad
from smsd.providers.forms import instant_of, pairs_of, query_of
from smsd.providers.messagebird import MessageBird
from smsd.providers.twilio import Twilio
from tests.providers.hooks import NOW, got, posted

DIALECTS: list[Webhooks] = [
    Twilio("main", "AC1", "token"),
    MessageBird("main", "access"),
    Dialpad("main", "api-key"),
]

NAMES = (
    *("MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "ErrorCode", "From", "To", "Body", "OptOutType", "m", "a"),
    *("id", "reference", "status", "statusErrorCode", "statusDatetime", "originator", "recipient", "body"),
    *("shortcode", "createdDatetime", "direction", "message_status", "message_delivery_result", "to_number", "target"),
    *("from_number", "event_timestamp", "created_date", "text", "price[amount]", "price[currency]"),
)
VALUES = ("sent", "received", "delivered", "expired", "failed", "inbound", "outbound", "9" * 400, "1e999", "-1", "\0")
texts = st.sampled_from(VALUES) | st.text(max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda each: st.lists(each, max_size=3),
    max_leaves=4,
)
forms = st.lists(st.tuples(st.sampled_from(NAMES), texts), max_size=12).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode("utf-8", "replace")
)
objects = st.dictionaries(st.sampled_from(NAMES), values, max_size=12).map(json.dumps).map(str.encode)
tokens = (objects | st.binary(max_size=40)).map(lambda claims: b"e30." + base64.urlsafe_b64encode(claims) + b".e30")


@settings(max_examples=200, deadline=None)
@given(
    forms | objects | tokens | st.binary(max_size=80),
    forms.map(lambda query: query.decode()) | st.text(max_size=40),
    st.sampled_from(["application/x-www-form-urlencoded", "application/json; charset=latin-1", "text/plain", ""]),
    st.sampled_from(HookKind),
    st.sampled_from(["GET", "POST"]),
)
def test_whatever_comes_is_read_or_cannot_be_read(
    body: bytes, query: str, content_type: str, kind: HookKind, method: str
) -> None:
    hook = posted(f"https://example.org/hook?{query}", body, {"content-type": content_type}, kind)
    for dialect in DIALECTS:
        try:
            items = dialect.read(replace(hook, method=method))
        except HookUnreadableError as error:
            assert len(str(error)) < 400
            continue
        for item in items:
            json.dumps(repr(item)).encode()
            if isinstance(item, Report):
                assert item.id or item.provider_message_id
                assert item.attempt is None or 0 <= item.attempt < 1_000_000
                assert item.code is None or (len(item.code) <= 64 and item.code.isprintable())
                assert len(item.words) <= 200
                assert item.status in Status
                assert item.at is None or 0 <= item.at < 2**63
            else:
                assert isinstance(item, InboundText)
                assert 0 < len(item.sender) <= 64
                item.text.encode()


encoded = st.text(st.sampled_from("abF01%%&=+;é\\\n\0x"), max_size=40) | st.lists(
    st.sampled_from(
        ["%F0%9F%98%80", "%c3%a9", "%5C", "%00", "%26", "%25", "%3D", "%", "%4", "%zz", "\\x41", "&", "=", "a"]
    )
).map("".join)


@settings(max_examples=200, deadline=None)
@given(encoded)
def test_forms_are_decoded_as_the_standard_library_does(text: str) -> None:
    """Which is too slow for what anybody may send."""
    try:
        expected = parse_qsl(text, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        with pytest.raises(ValueError, match="codec"):
            pairs_of(text)
        with pytest.raises(HookUnreadableError, match="UTF-8"):
            query_of(got(f"https://example.org/hook?{text}"))
        return
    assert list(query_of(got(f"https://example.org/hook?{text}")).pairs) == expected
    if re.search("%(?![0-9A-Fa-f]{2})", text):
        with pytest.raises(ValueError, match="truncated"):
            pairs_of(text)
        return
    assert list(pairs_of(text)) == expected
    assert list(pairs_of(text.encode())) == expected


def test_a_percent_sign_of_its_own_costs_no_text() -> None:
    found = query_of(got("https://example.org/hook?text=STOP+100%&b=%E2%82%AC%"))
    assert found.pairs == (("text", "STOP 100%"), ("b", "€%"))


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-21T14:13:20+00:00",
        "2026-09-21T14:13:20Z",
        "2026-09-21T14:13:20",
        "2026-09-21 14:13:20",
        "2026-09-21T16:13:20 02:00",
        "20260921141320",
        "1790000000",
        "1790000000000",
        " 1790000000 ",
    ],
)
def test_instants(text: str) -> None:
    assert instant_of(text) == NOW


@pytest.mark.parametrize("text", [None, "", "soon", "1.5", "-1", "2026-13-01", "20269921141320", "9" * 15, "٣"])
def test_what_is_no_instant(text: str | None) -> None:
    assert instant_of(text) is None
