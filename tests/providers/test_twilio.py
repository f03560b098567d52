"""Twilio: message -> expected request; answer -> expected verdict; list -> expected finding."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from email.utils import formatdate
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.message import Encoding
from smsd.core.verdict import Category, Fate, Verdict
from smsd.providers.base import Absent, Found, SettingsError, Unanswered
from smsd.providers.twilio import CODES, RECEIPTS, SKEW_MS, Twilio
from tests.providers import tables
from tests.providers.calls import CALL, answer, call
from tests.providers.twilio_sdk import no_network, path_of, sdk_lists, sdk_sends

TWILIO = Twilio("main", "AC00000000000000000000000000000001", "hush-hush")
URL = "https://api.twilio.com/2010-04-01/Accounts/AC00000000000000000000000000000001/Messages.json"


# Requests


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with no_network(monkeypatch):
        yield


@pytest.mark.parametrize("case", tables.requests("twilio"), ids=lambda case: case.name)
def test_requests_are_as_documented_to_the_byte(case: tables.RequestCase) -> None:
    request = Twilio("main", **case.settings).prepare(case.call)
    assert (request.method, request.url, dict(request.headers)) == ("POST", case.url, case.headers)
    assert request.body == case.body
    assert request.private == (case.call.text, case.call.recipient)


@pytest.mark.parametrize("case", tables.requests("twilio"), ids=lambda case: case.name)
def test_the_official_sdk_would_send_the_same(case: tables.RequestCase) -> None:
    settings_, said = case.settings, case.call
    base = settings_.get("base_url", "https://api.twilio.com").rstrip("/")
    request = Twilio("main", **settings_).prepare(said)
    form = dict(parse_qsl(request.body.decode(), strict_parsing=True, keep_blank_values=True))
    left_s = (said.expires_at - said.now) // 1_000
    sent = sdk_sends(settings_, said, form.get("StatusCallback"), left_s)
    assert (sent.method, sent.url.replace("https://api.twilio.com", base)) == (request.method, request.url)
    assert dict(sent.fields) == form
    assert request.headers["Authorization"] == _basic(*sent.user)


def test_the_official_sdk_would_list_the_same() -> None:
    request = TWILIO.ask(CALL)
    sent = sdk_lists(TWILIO.account_sid, TWILIO.auth_token, CALL, 50)
    assert (sent.method, sent.url) == ("GET", path_of(request.url))
    assert dict(sent.fields) == dict(parse_qsl(urlsplit(request.url).query))
    assert request.headers["Authorization"] == _basic(*sent.user)


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


@pytest.mark.parametrize(
    "text",
    ["a&b=c+d%20e", "100% é€", "Привет 😀", "two\r\nlines", "a;b/c?d#e", "\u2028 \u00a0", "~*-_.!'()"],
)
def test_every_text_arrives_as_it_is(text: str) -> None:
    form = dict(parse_qsl(TWILIO.prepare(call(text=text, encoding=Encoding.UCS2)).body.decode(), strict_parsing=True))
    assert form == {"To": CALL.recipient, "From": CALL.sender, "Body": text, "ValidityPeriod": "600"}


def test_a_messaging_service_chooses_the_sender() -> None:
    service = Twilio("main", "AC1", "t", messaging_service_sid="MG1")
    assert "From=" not in service.ask(CALL).url
    assert "From=%2B15005550006&" in service.ask(call(asked=True)).url
    assert (service.picks_sender, TWILIO.picks_sender) == (True, False)


@pytest.mark.parametrize(
    ("left_ms", "validity"),
    [(36_000_000, None), (35_999_999, "35999"), (1_999, "1"), (999, "1"), (0, "1"), (-5_000, "1"), (10**12, None)],
)
def test_twilio_keeps_no_message_beyond_its_end_of_life(left_ms: int, validity: str | None) -> None:
    form = dict(parse_qsl(TWILIO.prepare(call(expires_at=CALL.now + left_ms)).body.decode()))
    assert form.get("ValidityPeriod") == validity


def test_a_look_up_does_not_depend_on_the_end_of_life() -> None:
    assert TWILIO.ask(call(expires_at=CALL.now + 1)).url == TWILIO.ask(CALL).url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://smsd.example/w/main", f"https://smsd.example/w/main?m={CALL.id}&a=1"),
        ("https://smsd.example/w?k=v", f"https://smsd.example/w?k=v&m={CALL.id}&a=1"),
    ],
)
def test_the_callback_carries_message_and_attempt(url: str, expected: str) -> None:
    form = dict(parse_qsl(TWILIO.prepare(call(callback_url=url)).body.decode()))
    assert form["StatusCallback"] == expected


def test_no_repr_shows_what_is_secret() -> None:
    request = TWILIO.prepare(CALL)
    shown = repr(TWILIO) + repr(request) + repr(TWILIO.ask(CALL))
    for secret in ("hush-hush", "Basic", CALL.text, "4711", CALL.recipient[1:]):
        assert secret not in shown


@pytest.mark.parametrize(
    ("settings_", "key"),
    [
        ({"account_sid": ""}, "account_sid"),
        ({"account_sid": "AC1/../AC2"}, "account_sid"),
        ({"account_sid": "SK1"}, "account_sid"),
        ({"account_sid": "ACé"}, "account_sid"),
        ({"messaging_service_sid": "SM1"}, "messaging_service_sid"),
        ({"messaging_service_sid": ""}, "messaging_service_sid"),
        ({"api_key_sid": "AC1"}, "api_key_sid"),
        ({"auth_token": " "}, "auth_token"),
        ({"auth_token": "tok en"}, "auth_token"),
        ({"auth_token": "tök"}, "auth_token"),
        ({"auth_token": "a\nb"}, "auth_token"),
        ({"base_url": "api.twilio.com"}, "base_url"),
        ({"base_url": "ftp://api.twilio.com"}, "base_url"),
        ({"base_url": "https://user:pw@api.twilio.com"}, "base_url"),
        ({"base_url": "https://api.twilio.com?x=1"}, "base_url"),
        ({"base_url": "https://api.twilio.com:99999"}, "base_url"),
    ],
)
def test_settings_that_cannot_work_name_their_key_and_no_secret(settings_: dict[str, str], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: ") as caught:
        Twilio(**{"name": "main", "account_sid": "AC1", "auth_token": "t"} | settings_)
    assert "pw" not in str(caught.value) and "tök" not in str(caught.value)


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Twilio("main", "SK1", "", base_url="x", messaging_service_sid="1", api_key_sid="2")
    keys = ["account_sid", "auth_token", "base_url", "messaging_service_sid", "api_key_sid"]
    assert [key for key, _ in caught.value.faults] == keys
    assert str(caught.value) == "; ".join(f"{key}: {message}" for key, message in caught.value.faults)


def test_a_fingerprint_follows_credentials_and_url_and_reveals_neither() -> None:
    prints = {
        TWILIO.fingerprint(),
        Twilio("main", TWILIO.account_sid, "other").fingerprint(),
        Twilio("main", "AC2", TWILIO.auth_token).fingerprint(),
        Twilio("main", TWILIO.account_sid, TWILIO.auth_token, base_url="https://other.example").fingerprint(),
        Twilio("main", TWILIO.account_sid, TWILIO.auth_token, messaging_service_sid="MG1").fingerprint(),
        Twilio("main", TWILIO.account_sid, TWILIO.auth_token, api_key_sid="SK1").fingerprint(),
    }
    assert len(prints) == 6
    assert TWILIO.fingerprint() == Twilio("renamed", TWILIO.account_sid, TWILIO.auth_token).fingerprint()
    assert not any("hush" in each for each in prints)


# Answers


def created(**fields: object) -> dict[str, object]:
    """A message resource as Twilio answers a send."""
    return {
        "sid": "SM1",
        "status": "queued",
        "to": CALL.recipient,
        "from": CALL.sender,
        "body": CALL.text,
        "num_segments": "1",
        "price": None,
        "price_unit": "USD",
        "error_code": None,
        "direction": "outbound-api",
        "date_created": formatdate(CALL.now / 1_000),
    } | fields


@pytest.mark.parametrize("status", [200, 201])
def test_an_sid_is_acceptance(status: int) -> None:
    assert TWILIO.classify(answer(status, created())) == Verdict(
        Fate.ACCEPTED, provider_message_id="SM1", segments=1, price=None
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b'{"sid": "SM', {}, {"sid": None}, {"sid": ""}, [], {"sid": ["SM1"]}, {"sid": "S" * 65}, b"\xff",
     {"sid": "SM 1"}, {"sid": "\n\x00+14155550123"}, {"sid": "SMé"}],
)  # fmt: skip
def test_a_2xx_that_cannot_be_read_is_uncertain(body: object) -> None:
    found = TWILIO.classify(answer(201, body))
    assert (found.fate, found.category) == (Fate.UNKNOWN, Category.TIMEOUT)


def test_the_tables_and_the_case_file_hold_the_same_codes_and_meanings() -> None:
    assert tables.readings("twilio", "codes") == dict(CODES)
    assert tables.receipts("twilio") == dict(RECEIPTS)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_each_code_means_the_same_under_any_status(status: int) -> None:
    for code, reading in tables.readings("twilio", "codes").items():
        found = TWILIO.classify(answer(status, {"code": int(code), "message": "said", "status": status}))
        assert (found.category, found.scope, found.fate) == (reading.category, reading.scope, reading.fate), code
        assert (found.code, found.message, found.retry_after_ms) == (code, "said", reading.wait_ms)
        assert not found.unlisted and not found.suspect


@pytest.mark.parametrize("case", tables.answers("twilio"), ids=lambda case: case.name)
def test_answers_mean_what_the_case_file_says(case: tables.AnswerCase) -> None:
    assert TWILIO.classify(case.response) == case.verdict


@pytest.mark.parametrize(
    ("status", "body", "category", "fate", "code"),
    [
        (400, {"message": "no code"}, Category.REJECTED, Fate.REFUSE, None),
        (503, b"<html>", Category.PROVIDER_ERROR, Fate.DEFER, None),
        (404, b"<html>", Category.CONFIG_ERROR, Fate.DEFER, None),
        (307, b"", Category.CONFIG_ERROR, Fate.DEFER, None),
        (403, {"code": 20003, "message": "too many"}, Category.AUTH_FAILED, Fate.DEFER, "20003"),
        (400, {"code": "21610", "message": "as text"}, Category.OPTED_OUT, Fate.REFUSE, "21610"),
        (400, {"title": "T", "detail": "D", "code": 21211}, Category.INVALID_RECIPIENT, Fate.REFUSE, "21211"),
        (400, {"code": "9" * 5_000}, Category.REJECTED, Fate.REFUSE, "9" * 61 + "..."),
        (400, b'{"code": %s}' % (b"9" * 5_000), Category.REJECTED, Fate.REFUSE, None),
        (400, {"type": "about:blank", "title": "T"}, Category.REJECTED, Fate.REFUSE, None),
    ],
)
def test_without_a_known_code_the_status_decides(
    status: int, body: object, category: Category, fate: Fate, code: str | None
) -> None:
    found = TWILIO.classify(answer(status, body))
    assert (found.category, found.fate, found.code) == (category, fate, code)


def test_a_wait_is_kept_and_numbers_in_words_are_not() -> None:
    body = {"code": 20429, "message": "Too many requests to +14155550123"}
    found = TWILIO.classify(answer(429, body, retry_after="3"))
    assert (found.retry_after_ms, found.message) == (3_000, "Too many requests to [number]")


KEYS = (
    "sid", "code", "message", "detail", "type", "more_info",
    "price", "price_unit", "num_segments", "messages", "body", "date_created", "to",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.integers(100, 599), JSON, st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_answer_whatever_raises(status: int, body: object, wait: str) -> None:
    raw = answer(status, body, retry_after=wait)
    found = TWILIO.classify(raw)
    assert (found.category is None) == (found.fate is Fate.ACCEPTED)
    assert isinstance(TWILIO.find(raw, CALL), Found | Absent | Unanswered)


@given(st.integers(200, 201), st.sampled_from(sorted(created())), JSON)
@settings(max_examples=200, deadline=None)
def test_no_field_of_another_kind_raises(status: int, key: str, value: object) -> None:
    odd = created(**{key: value})
    found = TWILIO.classify(answer(status, odd))
    assert found.price is None or len(found.price) < 32
    assert isinstance(TWILIO.find(answer(200, listed(odd)), CALL), Found | Absent | Unanswered)


# Look-ups


def listed(*items: dict[str, object], more: bool = False) -> object:
    return {"messages": list(items), "next_page_uri": "/next" if more else None}


def item(sid: str = "SM1", seconds: float = 1, **fields: object) -> dict[str, object]:
    """A listed message created `seconds` after the attempt was claimed."""
    return created(sid=sid, date_created=formatdate(CALL.now / 1_000 + seconds)) | fields


def test_the_look_up_asks_for_the_pair_newest_first_without_a_date() -> None:
    request = TWILIO.ask(CALL)
    assert request.method == "GET"
    assert request.url == f"{URL}?To=%2B14155550123&From=%2B15005550006&PageSize=50"
    assert dict(parse_qsl(urlsplit(request.url).query)) == {"To": CALL.recipient, "From": CALL.sender, "PageSize": "50"}
    assert request.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("body", "finding"),
    [
        (listed(), Absent()),
        (listed(item()), Found(("SM1",))),
        (listed(item(body="another text")), Absent()),
        (listed(item(body="Sent from your Twilio trial account - " + CALL.text)), Found(("SM1",))),
        (listed(item(body=CALL.text + " ")), Found(("SM1",))),
        (listed(item(to="+14155559999")), Absent()),
        (listed(item(status="failed")), Absent()),
        (listed(item(status="canceled")), Absent()),
        (listed(item(status="undelivered")), Found(("SM1",))),
        (listed(item(direction="inbound")), Absent()),
        (listed(item(seconds=-SKEW_MS / 1_000)), Found(("SM1",))),
        (listed(item(seconds=-SKEW_MS / 1_000 - 1)), Absent()),
        (listed(item(date_created=None)), Found(("SM1",))),
        (listed(item("SM9", 40), item("SM3", 3), item("SM5", -5)), Found(("SM3", "SM5", "SM9"))),
        (listed(*(item(f"SM{n}", 300 - n, body="x") for n in range(49)), item("SM9")), Found(("SM9",))),
        (listed(*(item(f"SM{n}", 300 - n, body="x") for n in range(49)), item("SM9", -700)), Absent()),
        (listed(item(seconds=-300)), Found(("SM1",))),
        (listed(item(sid="\n"), item()), Found(("SM1",))),
    ],
)
def test_the_list_says_whether_it_was_taken(body: object, finding: object) -> None:
    assert TWILIO.find(answer(200, body), CALL) == finding


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, {}),
        (200, {"messages": None}),
        (200, b'{"messages": ['),
        (401, {"code": 20003}),
        (429, {"code": 20429}),
        (503, b""),
        (200, listed(*(item(f"SM{n}", 300 - n, body="x") for n in range(50)))),
        (200, listed(item(body="x"), more=True)),
        (200, listed(item(body=""))),
        (200, listed(item(body=["x"]))),
        (200, listed(item() | {"sid": None})),
        (200, listed(item(sid="S M"))),
        (200, {"messages": ["x"]}),
    ],
)
def test_a_list_that_proves_nothing_is_no_absence(status: int, body: object) -> None:
    assert isinstance(TWILIO.find(answer(status, body), CALL), Unanswered)


def test_withheld_texts_before_the_attempt_prove_nothing_either_way() -> None:
    assert TWILIO.find(answer(200, listed(item(seconds=-3_600, body=""))), CALL) == Absent()


def test_the_answer_of_a_full_page_of_the_longest_texts_is_read_whole() -> None:
    page = listed(*(item(f"SM{n}", body="ж" * 1_600) for n in range(50)))
    assert len(json.dumps(page)) < TWILIO.ask(CALL).max_answer
