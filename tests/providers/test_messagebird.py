"""MessageBird: message -> expected request; answer -> expected verdict; list -> expected finding."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from messagebird.client import Client

from smsd.core.message import Encoding
from smsd.core.verdict import Fate, Verdict
from smsd.providers.base import Absent, Found, SettingsError, Unanswered
from smsd.providers.messagebird import (
    ABOUT_A_VALUE,
    BY_PARAMETER,
    CODES,
    FAILED,
    PAGE_SIZE,
    RECEIPTS,
    SKEW_MS,
    MessageBird,
)
from smsd.providers.readings import Reading
from tests.providers import tables
from tests.providers.calls import CALL, answer, call
from tests.providers.twilio_sdk import no_network

BIRD = MessageBird("main", "hush-hush")
REQUESTS = [
    replace(case, call=replace(case.call, encoding=Encoding(case.call.encoding)))
    for case in tables.requests("messagebird")
]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with no_network(monkeypatch):
        yield


# Requests


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_requests_are_as_documented_to_the_byte(case: tables.RequestCase) -> None:
    request = MessageBird("main", **case.settings).prepare(case.call)
    assert (request.method, request.url, dict(request.headers)) == ("POST", case.url, case.headers)
    assert request.body == case.body
    assert request.private[:2] == (case.call.text, case.call.recipient)


def sdk_request(monkeypatch: pytest.MonkeyPatch, *said: object) -> requests.PreparedRequest:
    """What the SDK hands to the network for this `message_create`."""
    sent: list[requests.PreparedRequest] = []

    def keep(_: object, request: requests.PreparedRequest, **__: object) -> requests.Response:
        sent.append(request)
        response = requests.Response()
        response.status_code, response._content = 201, b'{"id": "m1"}'
        return response

    with monkeypatch.context() as patched:
        patched.setattr(requests.Session, "send", keep)
        Client("hush").message_create(*said)
    return sent[0]


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_the_official_sdk_would_send_the_same(case: tables.RequestCase, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = MessageBird("main", **case.settings).prepare(case.call)
    fields = json.loads(ours.body)
    more = {name: fields[name] for name in fields if name not in {"originator", "body", "recipients"}}
    digits = case.call.recipient.removeprefix("+")
    theirs = sdk_request(monkeypatch, case.call.sender.removeprefix("+"), [digits], case.call.text, more)
    assert isinstance(theirs.body, str | bytes)
    assert (theirs.method, json.loads(theirs.body)) == (ours.method, fields)
    assert urlsplit(str(theirs.url)).path == urlsplit(ours.url).path.removeprefix("/proxy")
    for name in ("Authorization", "Accept"):
        assert theirs.headers[name] == ours.headers[name]
    assert str(theirs.headers["Content-Type"]).partition(";")[0] == ours.headers["Content-Type"]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
@settings(max_examples=100, deadline=None)
def test_every_text_arrives_as_it_is(text: str) -> None:
    assert json.loads(BIRD.prepare(call(text=text)).body)["body"] == text


def test_no_repr_shows_what_is_secret() -> None:
    shown = repr(BIRD) + repr(BIRD.prepare(CALL)) + repr(BIRD.ask(CALL))
    for secret in ("hush-hush", "AccessKey", CALL.text, "4711", CALL.recipient[1:]):
        assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"access_key": ""}, "access_key"),
        ({"access_key": "kéy"}, "access_key"),
        ({"access_key": "a\nb"}, "access_key"),
        ({"base_url": "rest.messagebird.com"}, "base_url"),
        ({"base_url": "https://user:pw@rest.messagebird.com"}, "base_url"),
    ],
)
def test_settings_that_cannot_work_name_their_key_and_no_secret(changes: dict[str, str], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: ") as caught:
        MessageBird(**{"name": "main", "access_key": "k"} | changes)
    assert "pw" not in str(caught.value) and "kéy" not in str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        MessageBird("main", "a b", "rest.messagebird.com")
    assert [key for key, _ in caught.value.faults] == ["access_key", "base_url"]


def test_a_fingerprint_follows_key_and_url_and_reveals_neither() -> None:
    prints = {
        each.fingerprint()
        for each in (BIRD, MessageBird("main", "other"), MessageBird("main", "hush-hush", "https://other.example"))
    }
    assert len(prints) == 3 and not any("hush" in each for each in prints)
    assert BIRD.fingerprint() == MessageBird("renamed", "hush-hush").fingerprint()


# Answers


def test_the_tables_hold_what_is_documented_and_nothing_else() -> None:
    assert tables.readings("messagebird", "codes") == dict(CODES)
    assert tables.readings("messagebird", "parameters") == dict(BY_PARAMETER)
    assert tables.readings("messagebird", "failed") == dict(FAILED)
    assert tables.receipts("messagebird") == dict(RECEIPTS)


@pytest.mark.parametrize("code", sorted(tables.readings("messagebird", "codes")))
@pytest.mark.parametrize("status", [400, 422, 500])
def test_each_code_means_the_same_under_any_status(code: str, status: int) -> None:
    body = {"errors": [{"code": int(code), "description": "said", "parameter": None}]}
    found = BIRD.classify(answer(status, body))
    assert read_as(found) == tables.readings("messagebird", "codes")[code]
    assert (found.code, found.message, found.unlisted) == (code, "said", False)


@pytest.mark.parametrize("parameter", sorted(tables.readings("messagebird", "parameters")))
@pytest.mark.parametrize("code", ["9", "10", "21"])
def test_a_code_about_a_value_means_what_its_parameter_says(code: str, parameter: str) -> None:
    found = BIRD.classify(answer(422, {"errors": [{"code": int(code), "description": "", "parameter": parameter}]}))
    expected = tables.readings("messagebird", "parameters")[parameter]
    assert read_as(found) == expected
    assert code in ABOUT_A_VALUE and found.message == f"MessageBird refused it with code {code}"


@pytest.mark.parametrize("code", sorted(tables.readings("messagebird", "failed")))
def test_a_recipient_that_has_failed_is_read_by_its_own_code(code: str) -> None:
    item = {"status": "delivery_failed", "statusErrorCode": int(code)}
    found = BIRD.classify(answer(201, {"id": "m1", "recipients": {"items": [item]}}))
    assert read_as(found) == tables.readings("messagebird", "failed")[code]
    assert (found.code, found.unlisted, found.provider_message_id) == (code, False, None)


def read_as(verdict: Verdict) -> Reading:
    assert verdict.category is not None
    return Reading(verdict.category, verdict.scope, verdict.fate)


@pytest.mark.parametrize("case", tables.answers("messagebird"), ids=lambda case: case.name)
def test_answers_are_read_as_documented(case: tables.AnswerCase) -> None:
    assert BIRD.classify(case.response) == case.verdict


KEYS = (
    "id", "errors", "code", "description", "parameter", "recipients", "items", "status", "statusErrorCode", "price",
    "amount", "currency", "messagePartCount", "reference", "createdDatetime", "totalCount",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from([200, 201, 400, 422, 429, 500, 503]), JSON)
@settings(max_examples=150, deadline=None)
def test_no_answer_whatever_raises(status: int, body: object) -> None:
    raw = answer(status, body)
    found = BIRD.classify(raw)
    assert (found.category is None) == (found.fate is Fate.ACCEPTED)
    assert isinstance(BIRD.find(raw, CALL), Found | Absent | Unanswered)


@given(JSON, JSON, JSON, JSON)
@settings(max_examples=150, deadline=None)
def test_no_wrong_type_inside_a_sound_answer_raises(one: object, two: object, three: object, four: object) -> None:
    recipient = {"status": one, "statusErrorCode": two, "price": {"amount": three, "currency": four}}
    sound = item() | {"recipients": {"items": [recipient]}}
    for body in (sound, {"errors": [{"code": one, "description": two, "parameter": three}, four]}):
        for status in (201, 422):
            assert isinstance(BIRD.classify(answer(status, body)), Verdict)
    odd = item() | {"id": one, "reference": two, "createdDatetime": three}
    for body in (listed(sound, odd), listed(odd), listed(sound) | {"totalCount": four}):
        assert isinstance(BIRD.find(answer(200, body), CALL), Found | Absent | Unanswered)


# Look-ups


def item(id: str = "m1", seconds: float = 1, **fields: object) -> dict[str, object]:
    """A listed message of ours, created `seconds` after the attempt was claimed."""
    created = datetime.fromtimestamp(CALL.now / 1_000 + seconds, UTC).isoformat()
    return {"id": id, "reference": CALL.id, "createdDatetime": created, "body": CALL.text} | fields


def other(seconds: float = 1) -> dict[str, object]:
    return item("x", seconds, reference="another")


def listed(*items: object, total: int | None = None) -> dict[str, object]:
    return {"offset": 0, "limit": PAGE_SIZE, "count": len(items), "items": list(items)} | (
        {} if total is None else {"totalCount": total}
    )


def failed(id: str, seconds: float) -> dict[str, object]:
    return item(id, seconds, recipients={"items": [{"status": "delivery_failed"}]})


def test_the_look_up_asks_for_the_recipient_around_the_attempt() -> None:
    request = BIRD.ask(CALL)
    assert (request.method, request.headers["Authorization"]) == ("GET", "AccessKey hush-hush")
    assert request.url == (
        "https://rest.messagebird.com/messages?recipient=14155550123"
        "&from=2026-09-21T13%3A13%3A20%2B00%3A00&until=2026-09-21T15%3A28%3A20%2B00%3A00&limit=20"
    )
    since = datetime.fromisoformat(dict(parse_qsl(urlsplit(request.url).query))["from"])
    assert since.timestamp() * 1_000 == CALL.now - SKEW_MS


PAGE = [other(300 - n) for n in range(PAGE_SIZE - 1)]


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        (listed(), Absent()),
        (listed(total=0), Absent()),
        (listed(item()), Found(("m1",))),
        (listed(other()), Absent()),
        (listed(item(reference=None)), Absent()),
        (listed(item(seconds=-3_600)), Found(("m1",))),
        (listed(item(seconds=3_600)), Found(("m1",))),
        (listed(failed("m1", -60)), Found(("m1",))),
        (listed(failed("m1", -61)), Absent()),
        (listed(failed("m1", -61), item("m2")), Found(("m2",))),
        (listed(item(id=""), item("m2")), Found(("m2",))),
        (listed(item(createdDatetime=None)), Found(("m1",))),
        (listed(item(createdDatetime="2026-09-21T14:13:21")), Found(("m1",))),
        (listed(item("m9", 40), item("m3", 3)), Found(("m3", "m9"))),
        (listed(failed("m1", 1), item("m2", 9)), Found(("m2", "m1"))),
        (listed(failed("m1", 1)), Found(("m1",))),
        (listed(*PAGE, item("m7")), Found(("m7",))),
        (listed(*PAGE, other(-3_601)), Absent()),
        (listed(*PAGE, other(1), total=PAGE_SIZE), Absent()),
        (listed(item(), total=900), Found(("m1",))),
    ],
)
def test_the_list_says_whether_it_was_taken(body: object, finding: object) -> None:
    assert BIRD.find(answer(200, body), CALL) == finding


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, {}),
        (200, {"items": None}),
        (401, {"errors": [{"code": 2}]}),
        (404, listed()),
        (429, b""),
        (503, b""),
        (200, listed(*PAGE, other(1))),
        (200, listed(*PAGE, other(1), total=PAGE_SIZE + 1)),
        (200, listed(*PAGE, other(-3_600))),
        (200, listed(other(-3_601), *PAGE)),
        (200, listed(*reversed(PAGE), other(-3_601))),
        (200, listed(*PAGE, item("x", reference="y", createdDatetime=None))),
        (200, listed(other(), total=2)),
        (200, listed("what is this")),
        (200, listed(item() | {"id": None})),
        (200, listed(item("i" * 65))),
        (200, listed(item("m 1"))),
        (200, listed({"id": "m1"})),
        (200, listed(item(reference=[CALL.id]))),
    ],
)
def test_a_list_that_proves_nothing_is_no_absence(status: int, body: object) -> None:
    assert isinstance(BIRD.find(answer(status, body), CALL), Unanswered)


def test_the_answer_of_a_full_page_of_the_longest_texts_is_read_whole() -> None:
    page = listed(*(item(f"m{n}", body="ж" * 1_377) for n in range(PAGE_SIZE)))
    assert len(json.dumps(page)) < BIRD.ask(CALL).max_answer
