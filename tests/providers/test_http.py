"""A described gateway: message -> request; answer -> verdict; look-up -> finding; mistake -> the key that is named."""

from __future__ import annotations

import json
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.config.show import describe
from smsd.core.message import Encoding
from smsd.core.verdict import Fate
from smsd.providers import http
from smsd.providers.base import Absent, Found, SettingsError, Unanswered
from smsd.providers.http import Http
from smsd.providers.http.patterns import MAX_PATTERN, SEARCHED, pattern
from smsd.providers.http.templates import in_header
from tests.config.files import load
from tests.providers import tables
from tests.providers.calls import CALL, answer, call

BASE: Mapping[str, Any] = tomllib.loads((tables.CASES / "http.toml").read_text())["base"]


def gateway(**changes: Any) -> Http:
    """The gateway of [base] with some keys changed."""
    return Http("main", **{**BASE, **changes})


# Requests


@pytest.mark.parametrize("case", tables.requests("http"), ids=lambda case: case.name)
def test_requests_are_as_documented_to_the_byte(case: tables.RequestCase) -> None:
    said = replace(case.call, encoding=Encoding(case.call.encoding))
    request = gateway(**case.settings).prepare(said)
    assert (request.method, request.url) == (case.settings.get("method", "POST"), case.url)
    assert dict(request.headers) == case.headers
    assert request.body == case.body
    assert request.private[:2] == (said.text, said.recipient)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.from_regex(r"\A\+[1-9][0-9]{6,14}\Z")
PAIR = {"to": "{to}", "text": "{text}"}


@given(TEXTS, NUMBERS)
@settings(max_examples=100, deadline=None)
def test_json_comes_out_as_it_went_in(text: str, number: str) -> None:
    tried = gateway(fields={**PAIR, "deep": [{"x": "<{text}> {to_digits}"}]})
    found = json.loads(tried.prepare(call(text=text, recipient=number)).body)
    assert found == {"to": number, "text": text, "deep": [{"x": f"<{text}> {number[1:]}"}]}


@given(TEXTS, NUMBERS)
@settings(max_examples=100, deadline=None)
def test_a_form_comes_out_as_it_went_in(text: str, number: str) -> None:
    body = gateway(body="form", fields={**PAIR, "and": "{text}{to}"}).prepare(call(text=text, recipient=number)).body
    found = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=True)
    assert found == [("to", number), ("text", text), ("and", text + number)]


@given(TEXTS, NUMBERS)
@settings(max_examples=100, deadline=None)
def test_a_query_comes_out_as_it_went_in_and_leads_nowhere_else(text: str, number: str) -> None:
    tried = gateway(method="GET", body="query", fields=PAIR, url="https://sms.example/{to}/send?v=2")
    parts = urlsplit(tried.prepare(call(text=text, recipient=number)).url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "sms.example", "")
    assert unquote(parts.path) == f"/{number}/send"
    found = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    assert found == [("v", "2"), ("to", number), ("text", text)]


@given(TEXTS)
@settings(max_examples=100, deadline=None)
def test_nothing_ends_a_header(value: str) -> None:
    written = in_header(value)
    assert written.isascii() and (written.isprintable() or not written)
    assert unquote(written) == value


def test_a_line_break_in_what_a_header_takes_is_encoded() -> None:
    tried = gateway(headers={"X-From": "by {from}"})
    assert tried.prepare(call(sender="a\r\nHost: x")).headers["X-From"] == "by a%0D%0AHost:%20x"


def test_no_repr_shows_what_is_secret() -> None:
    tried = gateway(auth="query", auth_name="key", token="hush-hush", headers={"X-Key": "also-hush"})
    shown = repr(tried) + repr(tried.prepare(CALL))
    for secret in ("hush", CALL.text, "4711", CALL.recipient[1:]):
        assert secret not in shown
    assert tried.prepare(CALL).private == (CALL.text, CALL.recipient, CALL.recipient[1:], "hush-hush")


def test_one_key_goes_with_the_same_bytes() -> None:
    tried = gateway(
        idempotency_header="Idempotency-Key",
        fields={**PAIR, "ref": "{id}", "dlr": "{callback_url}"},
        headers={"X-Id": "{id}"},
    )
    assert tried.lookup == "key"
    first = tried.prepare(call(callback_url="https://smsd.example/w"))
    again = tried.prepare(call(callback_url="https://smsd.example/w", attempt=2, now=CALL.now + 99_000))
    assert (first.url, dict(first.headers), first.body) == (again.url, dict(again.headers), again.body)


def test_a_sender_is_needed_where_one_is_sent() -> None:
    assert gateway().picks_sender
    for changes in ({"fields": {**PAIR, "from": "{from}"}}, {"headers": {"X-From": "{from_digits}"}}):
        assert not gateway(**changes).picks_sender


def test_a_fingerprint_follows_what_a_request_is_made_of() -> None:
    tried: list[dict[str, Any]] = [
        {}, {"url": "https://other.example"}, {"auth": "bearer", "token": "a1"}, {"auth": "bearer", "token": "b1"},
        {"fields": {**PAIR, "x": 1}}, {"headers": {"X": "y"}}, {"method": "PUT"}, {"body": "form"},
        {"auth": "basic", "username": "u", "token": "a1"},
    ]  # fmt: skip
    prints = {gateway(**changes).fingerprint() for changes in tried}
    assert len(prints) == len(tried) and all(re.fullmatch("[0-9a-f]{64}", each) for each in prints)
    assert (
        gateway().fingerprint()
        == Http("renamed", **BASE, errors=[{"status": 429, "category": "RATE_LIMITED"}]).fingerprint()
    )


# Answers


@pytest.mark.parametrize("case", tables.answers("http"), ids=lambda case: case.name)
def test_answers_are_read_as_described(case: tables.AnswerCase) -> None:
    assert gateway(**case.settings).classify(case.response) == case.verdict


def test_only_the_beginning_of_a_long_body_is_searched() -> None:
    tried = gateway(errors=[{"match": "needle", "category": "AUTH_FAILED"}])
    near = tried.classify(answer(400, b"x" * (SEARCHED - 6) + b"needle"))
    far = tried.classify(answer(400, b"x" * (SEARCHED - 5) + b"needle"))
    assert (near.category, far.category) == ("AUTH_FAILED", "REJECTED")


KEYS = ("id", "code", "m", "data", "status", "0", "reference", "price", "parts")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)
RULED = gateway(
    fields={**PAIR, "ref": "{id}"}, id_path="data.0.id", price_path="price", segments_path="parts",
    error_code_path="code", error_message_path="m", success={"path": "status", "equals": "ok"},
    errors=[{"code": "x", "category": "REJECTED"}, {"match": "no", "category": "AUTH_FAILED"}],
    look_up={
        "url": "https://sms.example/{id}", "id_path": "id", "items": "data", "where": {"reference": "{id}"},
        "page_size": 2, "match": "a?", "absent_status": 204,
    },
)  # fmt: skip


@given(st.integers(100, 599), JSON | st.binary(max_size=30))
@settings(max_examples=150, deadline=None)
def test_no_answer_whatever_raises(status: int, body: object) -> None:
    found = RULED.classify(answer(status, body))
    assert (found.category is None) == (found.fate is Fate.ACCEPTED)
    assert isinstance(RULED.find(answer(status, body), CALL), Found | Absent | Unanswered)


# Look-ups

ONE = {"url": "https://sms.example/by-ref/{id}", "id_path": "data.id", "where": {"data.ref": "{id}"}}
SAID = {**ONE, "where": {}, "match": '"data"|"unknown reference"', "absent_status": 404}
LIST = {
    "url": "https://sms.example/list?ref={id}&since={since}",
    "items": "data",
    "where": {"meta.ref": "{id}"},
    "id_path": "id",
    "page_size": 3,
}
FUZZY = {
    "url": "https://sms.example/list?to={to}",
    "items": "data",
    "where": {"to": "{to_digits}", "text": "{text}"},
    "id_path": "id",
    "page_size": 2,
    "quality": "fuzzy",
}


def asked(look_up: Mapping[str, object], **changes: object) -> Http:
    return gateway(fields={**PAIR, "ref": "{id}"}, look_up={**look_up, **changes})


def entry(id: object = "m1", ref: object = CALL.id) -> dict[str, object]:
    return {"id": id, "meta": {"ref": ref}}


def test_without_a_way_to_ask_there_is_no_question() -> None:
    assert gateway().lookup == "none"
    with pytest.raises(LookupError):
        gateway().ask(CALL)
    with pytest.raises(LookupError):
        gateway().find(answer(200, {}), CALL)


def test_the_look_up_asks_with_the_same_credentials() -> None:
    tried = gateway(
        fields={**PAIR, "ref": "{id}"}, look_up=LIST, auth="query", auth_name="key", token="t&t",
        headers={"Content-Type": "application/x", "X-Y": "z"},
    )  # fmt: skip
    request = tried.ask(CALL)
    assert (tried.lookup, request.method, request.body, dict(request.headers)) == ("exact", "GET", b"", {"X-Y": "z"})
    assert request.url == (f"https://sms.example/list?ref={CALL.id}&since=2026-09-21T14%3A03%3A20.000Z&key=t%26t")
    assert asked(FUZZY).lookup == "fuzzy"
    assert asked(FUZZY).ask(CALL).url == "https://sms.example/list?to=%2B14155550123"


FUZZY_ITEM = {"id": "m1", "to": 14155550123, "text": CALL.text + "\r\n"}


@pytest.mark.parametrize(
    ("look_up", "status", "body", "finding"),
    [
        (ONE, 200, {"data": {"id": "m1", "ref": CALL.id}}, Found(("m1",))),
        ({**ONE, "absent_status": [204]}, 204, b"", Absent()),
        ({**SAID, "absent_status": [204, 404]}, 204, b"", Absent()),
        (SAID, 200, {"data": {"id": "m1"}}, Found(("m1",))),
        (SAID, 404, {"error": "unknown reference"}, Absent()),
        (LIST, 200, {"data": []}, Absent()),
        (LIST, 200, {"data": [entry(ref="x"), entry(ref=None)]}, Absent()),
        (LIST, 200, {"data": [entry("m1"), entry("m2"), entry("m3", "x")]}, Found(("m1", "m2"))),
        (LIST, 200, {"data": [entry("m1"), {"id": "m2"}]}, Found(("m1",))),
        ({**LIST, "absent_status": 404, "match": "no such"}, 404, b"no such message", Absent()),
        (FUZZY, 200, {"data": [FUZZY_ITEM]}, Found(("m1",))),
        (FUZZY, 200, {"data": [{**FUZZY_ITEM, "to": 14155550124}]}, Absent()),
        (FUZZY, 200, {"data": [{**FUZZY_ITEM, "text": "other"}]}, Absent()),
    ],
)
def test_a_look_up_says_whether_it_was_taken(
    look_up: Mapping[str, object], status: int, body: object, finding: object
) -> None:
    assert asked(look_up).find(answer(status, body), CALL) == finding


@pytest.mark.parametrize(
    ("look_up", "status", "body"),
    [
        (ONE, 200, b"<html>"),
        (ONE, 200, b"{}"),
        (ONE, 200, {"data": {"id": "i" * 129, "ref": CALL.id}}),
        (ONE, 200, {"data": {"id": "a b", "ref": CALL.id}}),
        (ONE, 200, {"data": {"id": "m1"}}),
        (ONE, 200, {"data": {"id": "m1", "ref": "other"}}),
        (ONE, 404, b""),
        (ONE, 404, {"error": "Not Found"}),
        (ONE, 410, b""),
        (ONE, 401, {"data": {"id": "m1", "ref": CALL.id}}),
        (ONE, 503, b""),
        (SAID, 404, b""),
        (SAID, 404, b"<html>404 Not Found"),
        (SAID, 404, {"error": "no route"}),
        (SAID, 410, {"error": "unknown reference"}),
        (SAID, 200, {"message": {"id": "m1"}}),
        (LIST, 404, b""),
        (LIST, 200, {"data": [{"id": "m1"}]}),
        (LIST, 200, {"data": [entry(ref="x"), {"id": "m1", "meta": {}}]}),
        (LIST, 200, {"data": [entry(ref=[CALL.id])]}),
        (LIST, 200, {"data": [entry(id=None)]}),
        (LIST, 200, {"data": [entry(id="i" * 129), entry(ref="x")]}),
        (LIST, 200, {"data": [entry(id=["m1"])]}),
        (FUZZY, 200, {"data": [{"id": "m1", "to": 14155550124}]}),
        (LIST, 200, {"data": None}),
        (LIST, 200, {"data": ["?"]}),
        (LIST, 200, {"data": [entry(ref="x")] * 3}),
    ],
)
def test_a_look_up_that_proves_nothing_is_no_absence(look_up: Mapping[str, object], status: int, body: object) -> None:
    assert isinstance(asked(look_up).find(answer(status, body), CALL), Unanswered)


# Mistakes


MISTAKES: list[tuple[str, dict[str, Any]]] = [
    ("url", {"url": "sms.example/send"}),
    ("url", {"url": "ftp://sms.example/send"}),
    ("url", {"url": "http://sms.example/send"}),
    ("url", {"url": "https://u:pw@sms.example/send"}),
    ("url", {"url": "https://{to_digits}.example/send"}),
    ("url", {"url": "https://sms.example:0/"}),
    ("url", {"url": "https://sms.example/a b"}),
    ("url", {"url": "https://sms.example/#x"}),
    ("url", {"url": "https://sms.example/{text}"}),
    ("url", {"url": "https://[::1/"}),
    ("method", {"method": "DELETE"}),
    ("body", {"body": "xml"}),
    ("body", {"method": "GET"}),
    ("auth", {"auth": "digest"}),
    ("fields", {"fields": {}}),
    ("fields", {"fields": "to={to}"}),
    ("fields", {"fields": {"to": "{to}"}}),
    ("fields", {"fields": {"text": "{text}"}}),
    ("fields.txt", {"fields": {**PAIR, "txt": "{message}"}}),
    ("fields.a.b.0", {"fields": {**PAIR, "a": {"b": ["{x}"]}}}),
    ("fields.x", {"fields": {**PAIR, "x": "{ to }"}}),
    ("fields.x", {"fields": {**PAIR, "x": None}}),
    ("fields.x", {"fields": {**PAIR, "x": {"y": 1}}, "body": "form"}),
    ("fields.x", {"fields": {**PAIR, "x": [[1]]}, "body": "form"}),
    ("fields.password", {"fields": {**PAIR, "password": "pw"}}),
    ("fields.api_key", {"fields": {**PAIR, "api_key": "pw"}}),
    ("username", {"fields": {**PAIR, "u": "{username}"}}),
    ("username", {"auth": "basic", "token": "t"}),
    ("username", {"auth": "basic", "token": "t", "username": "a:b"}),
    ("token", {"auth": "bearer"}),
    ("token", {"auth": "bearer", "token": "pw\n"}),
    ("token", {"fields": {**PAIR, "u": "{token}"}}),
    ("token", {"token": "pw"}),
    ("auth_name", {"auth": "header", "token": "t"}),
    ("auth_name", {"auth": "bearer", "token": "t", "auth_name": "X"}),
    ("auth_name", {"auth": "header", "token": "t", "auth_name": "X: y"}),
    ("headers.X y", {"headers": {"X y": "1"}}),
    ("headers.Host", {"headers": {"Host": "x"}}),
    ("headers.X", {"headers": {"X": "pw\r\nY: z"}}),
    ("headers.X", {"headers": {"X": "{text}"}}),
    ("headers.x", {"headers": {"X": "1", "x": "2"}}),
    ("headers.authorization", {"headers": {"authorization": "pw"}, "auth": "bearer", "token": "t"}),
    ("id_path", {"id_path": ""}),
    ("id_path", {"ids": False}),
    ("id_path", {"id_path": "a..b"}),
    ("id_match", {"id_match": "(a)"}),
    ("id_match", {"id_path": "", "id_match": "a"}),
    ("id_match", {"id_path": "", "id_match": "(a"}),
    ("id_match", {"id_path": "", "id_match": "a" * (MAX_PATTERN + 1)}),
    ("success", {"ids": False, "id_path": ""}),
    ("success", {"success": 200}),
    ("success.code", {"success": {"code": 1}}),
    ("success.status", {"success": {"status": 302}}),
    ("success.status", {"success": {"status": []}}),
    ("success.status", {"success": {"status": "2x"}}),
    ("success.status", {"success": {"status": True}}),
    ("success.path", {"success": {"path": "a"}}),
    ("success.equals", {"success": {"path": "a", "equals": []}}),
    ("success.match", {"success": {"match": "(a+)+"}}),
    ("success.match", {"success": {"match": "(?:x|a*)*b"}}),
    ("errors", {"errors": "429"}),
    ("errors.0", {"errors": [429]}),
    ("errors.0", {"errors": [{"category": "REJECTED"}]}),
    ("errors.0.category", {"errors": [{"status": 400}]}),
    ("errors.0.category", {"errors": [{"status": 400, "category": "NETWORK"}]}),
    ("errors.0.category", {"errors": [{"status": 400, "category": "rejected"}]}),
    ("errors.0.fate", {"errors": [{"status": 401, "category": "REJECTED", "fate": "defer"}]}),
    ("errors.1.status", {"errors": [{"status": 400, "category": "REJECTED"}, {"status": 200, "category": "REJECTED"}]}),
    ("errors.0.scope", {"errors": [{"status": 400, "category": "OPTED_OUT", "scope": "provider"}]}),
    ("errors.0.scope", {"errors": [{"status": 400, "category": "CONFIG_ERROR", "scope": "sender"}]}),
    ("errors.0.wait", {"errors": [{"status": 400, "category": "REJECTED", "wait": "1s"}]}),
    ("errors.0.wait", {"errors": [{"status": 429, "category": "RATE_LIMITED", "wait": 5}]}),
    ("errors.0.status", {"errors": [{"status": "2xx", "category": "REJECTED"}]}),
    ("errors.0.retry", {"errors": [{"status": 400, "category": "REJECTED", "retry": 1}]}),
    ("error_code_path", {"errors": [{"code": 1, "category": "REJECTED"}]}),
    ("encodings.latin1", {"encodings": {"latin1": "x"}}),
    ("idempotency_header", {"idempotency_header": "X Y"}),
    ("idempotency_header", {"idempotency_header": "x-key", "headers": {"X-Key": "1"}}),
    ("fields", {"idempotency_header": "Key", "fields": {**PAIR, "n": "{attempt}"}}),
    ("fields", {"idempotency_header": "Key", "fields": {**PAIR, "n": "{validity_s}"}}),
    ("fields", {"idempotency_header": "Key", "headers": {"X": "{attempt}"}}),
    ("ids", {"idempotency_header": "Key", "ids": False, "id_path": "", "success": {"match": "x"}}),
    ("look_up", {"idempotency_header": "Key", "fields": {**PAIR, "r": "{id}"}, "look_up": ONE}),
    ("look_up", {"look_up": ONE}),
    ("look_up", {"look_up": "https://sms.example"}),
    ("look_up.url", {"look_up": {"id_path": "id"}}),
    ("look_up.url", {"look_up": {**ONE, "url": "http://sms.example/{id}"}}),
    ("look_up.url", {"look_up": {**SAID, "url": "https://sms.example/{to}"}}),
    ("look_up.id_path", {"look_up": {"url": "https://sms.example/{id}"}}),
    ("look_up.quality", {"look_up": {**ONE, "quality": "sure"}}),
    ("look_up.where", {"look_up": {**LIST, "where": {}}}),
    ("look_up.where", {"look_up": {**LIST, "where": {"ref": 1}}}),
    ("look_up.page_size", {"look_up": {**LIST, "page_size": 0}}),
    ("look_up.page_size", {"look_up": {**ONE, "page_size": 10}}),
    ("look_up.absent_status", {"look_up": {**ONE, "absent_status": [200]}}),
    ("look_up.absent_status", {"look_up": {**ONE, "absent_status": 404}}),
    ("look_up.absent_status", {"look_up": {**ONE, "absent_status": 404, "match": "x?"}}),
    ("look_up.where", {"look_up": {**ONE, "where": {}}}),
    ("look_up.where", {"look_up": {**LIST, "where": {"type": "sms"}}}),
    ("look_up.where", {"look_up": {**FUZZY, "where": {"to": "{to}"}}}),
    ("look_up.where", {"look_up": {**FUZZY, "url": "https://sms.example/", "where": {"t": "{text}"}}}),
    ("look_up.where", {"look_up": {"url": "https://sms.example/get", "id_path": "id", "quality": "fuzzy"}}),
    ("look_up.where.a b", {"look_up": {**ONE, "where": {"a b": "{id}"}}}),
    ("look_up.where", {"look_up": {**ONE, "where": {"": "{id}"}}}),
    ("look_up.url", {"look_up": {**ONE, "url": "https://sms.example/{id}?api_key=pw"}}),
    *(("id_path", {"id_path": each}) for each in ("message[0].id", "$.id", "data . id", "a/b", "*.id", "id ")),
    ("price_path", {"price_path": "$.price"}),
    ("look_up.id_path", {"look_up": {**ONE, "id_path": "data[0].id"}}),
    ("look_up.items", {"look_up": {**LIST, "items": "$.data"}}),
    ("url", {"url": "https://sms.example/send?apikey=pw"}),
    ("url", {"url": "https://sms.example/send?v=2&PWD=pw"}),
    *((f"fields.{each}", {"fields": {**PAIR, each: "pw"}})
      for each in ("pwd", "key", "pin", "auth", "sig", "credential", "userPass", "accessKey", "API-Key", "pin2")),
    ("fields.pin", {"fields": {**PAIR, "pin": 4711}}),
    ("fields.account.apikey", {"fields": {**PAIR, "account": {"apikey": "pw"}}}),
    ("fields.all.0.secret.0", {"fields": {**PAIR, "all": [{"secret": ["pw"]}]}}),
    ("token", {"auth": "bearer", "token": "Bearer pw"}),
    ("token", {"auth": "bearer", "token": "a pw"}),
    ("auth_name", {"auth": "header", "auth_name": "content-type", "token": "t"}),
    ("look_up.found", {"look_up": {**ONE, "found": 1}}),
]  # fmt: skip


@pytest.mark.parametrize(("key", "changes"), MISTAKES, ids=[f"{n}-{key}" for n, (key, _) in enumerate(MISTAKES)])
def test_what_cannot_work_is_told_at_the_start_by_its_key(key: str, changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        gateway(**changes)
    assert caught.value.faults[0][0] == key
    assert "pw" not in re.sub("(?i)fields.pwd|parameter pwd", "", str(caught.value))


def test_all_mistakes_are_told_at_once_and_each_once() -> None:
    with pytest.raises(SettingsError) as caught:
        gateway(
            url="ftp://x", method="DELETE", fields={"a": "{x}", "b": "{y}"}, auth="bearer", id_path="$.id",
            price_path="a b", success={"status": 302}, headers={"Host": "x", "A b": "y"},
            errors=[{"category": "REJECTED"}, {"status": 400, "category": "x"}],
            look_up={"url": "ftp://y", "id_path": "id", "page_size": 3, "match": "(a+)+"},
        )  # fmt: skip
    assert [key for key, _ in caught.value.faults] == [
        "method", "url", "fields.a", "fields.b", "headers.Host", "headers.A b", "id_path", "price_path",
        "success.status", "errors.0", "errors.1.category", "look_up.url", "look_up.page_size", "look_up.match", "token",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        r"^(\w+\s?)*$", "^([a-z]+ ?)+:", "^(a+){1,30}$", "(a|ab)*c", "(?:a?){20}", "((ab?)c)+", "(?P<x>a*)+",
        "(a{2,})+", "(?i:x|y)+?", "(?:a[)]+)+", r"(\(a*)+", ".*a.*b", ".+a.{2,}b", "(?x)a", "((a*)?)+",
        "a{99999999999}",
    ],
)  # fmt: skip
def test_a_pattern_that_can_take_for_ever_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^key: "):
        pattern("key", text)


@pytest.mark.parametrize(
    "text",
    [
        "^OK ([0-9a-f]+)", "(?i)no credit|login", r"(?:[a-z]{2} )+", "(a|b)c?", "(?:ab)*", "[(a*)]+", r"\(a+\)+",
        "id=(.+)", "[]|a]+", "(a+)?", "a{,3}b{2}", "x{y}", "(?P<id>[0-9]+)-(?P=id)", r"id\s*=\s*(\w+)",
    ],
)  # fmt: skip
def test_an_ordinary_pattern_is_taken(text: str) -> None:
    assert pattern("key", text).pattern == text


@pytest.mark.parametrize("text", ["^OK ([0-9a-f]+)", "a+b", ".*x", r"id\s*=\s*(\w+)", "(?:ab)*c"])
def test_a_pattern_that_is_taken_ends_soon(text: str) -> None:
    tried = gateway(errors=[{"match": text, "category": "REJECTED"}])
    for filling in (b"a", b"ab", b"0", b" ", b"id=", b"OK "):
        began = time.thread_time()
        tried.classify(answer(400, filling * 65_536))
        assert time.thread_time() - began < 1


def test_a_token_with_its_scheme_is_told_what_to_leave_out() -> None:
    with pytest.raises(SettingsError, match=r'^token: begins with "Bearer"'):
        gateway(auth="bearer", token="Bearer t")
    assert gateway(auth="header", auth_name="X-Key", token="Key t").prepare(CALL).headers["X-Key"] == "Key t"


def test_http_is_for_this_machine() -> None:
    for host in ("localhost", "127.0.0.1:8080", "[::1]:8080"):
        assert gateway(url=f"http://{host}/send").prepare(CALL).url == f"http://{host}/send"


def examples() -> dict[str, str]:
    """The two gateways at the top of the module."""
    text = "\n".join(line[4:] for line in (http.__doc__ or "").splitlines() if line.startswith("    "))
    first, second = text.split("[providers.box]")
    return {"acme": first, "box": "[providers.box]" + second.replace('{credential = "box-password"}', '{env = "BOX"}')}


def test_the_examples_load_as_they_stand(tmp_path: Path) -> None:
    texts = examples()
    loaded = load(
        tmp_path,
        texts["acme"] + texts["box"],
        {"ACME_TOKEN": "hush-hush", "ACME_SIGNING_KEY": "s3cret", "BOX": "hush-hush"},
    )
    acme, box = (each.adapter for each in loaded.providers)
    assert "hush" not in describe(loaded)
    assert isinstance(acme, Http) and isinstance(box, Http)
    assert (acme.lookup, box.lookup, acme.picks_sender, box.picks_sender) == ("exact", "none", False, True)
    sent = json.loads(acme.prepare(CALL).body)
    assert sent["options"] == {"ttl": 600} and sent["reference"] == CALL.id
    assert acme.classify(answer(201, {"data": [{"id": "m1", "parts": 2}]})).segments == 2
    assert acme.classify(answer(400, {"error": {"code": "landline"}})).category == "INVALID_RECIPIENT"
    assert acme.find(answer(200, {"data": [{"reference": CALL.id, "id": "m1"}]}), CALL) == Found(("m1",))
    assert box.prepare(CALL).body == b"user=smsd&pass=hush-hush&to=14155550123&text=Your+code+is+4711&charset=default"
    assert box.classify(answer(200, b"OK 12af")).provider_message_id == "12af"
    assert box.classify(answer(200, b"ERR no credit")).category == "AUTH_FAILED"
