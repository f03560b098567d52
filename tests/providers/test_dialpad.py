"""Dialpad: message -> expected request; answer -> expected verdict. It cannot be asked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.verdict import Category, Fate, Scope
from smsd.providers.base import SettingsError
from smsd.providers.dialpad import CODES, RECEIPTS, STATUSES, Dialpad
from tests.providers import tables
from tests.providers.calls import CALL, answer, call
from tests.providers.twilio_sdk import no_network

DIALPAD = Dialpad("main", "hush-hush")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with no_network(monkeypatch):
        yield


# Requests


@pytest.mark.parametrize("case", tables.requests("dialpad"), ids=lambda case: case.name)
def test_requests_are_as_documented_to_the_byte(case: tables.RequestCase) -> None:
    request = Dialpad("main", **case.settings).prepare(case.call)
    assert (request.method, request.url, dict(request.headers)) == ("POST", case.url, case.headers)
    assert request.body == case.body
    assert request.private == (case.call.text, case.call.recipient)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
@settings(max_examples=100, deadline=None)
def test_every_text_arrives_as_it_is(text: str) -> None:
    assert json.loads(DIALPAD.prepare(call(text=text)).body)["text"] == text


def test_a_user_chooses_the_sender() -> None:
    assert (Dialpad("main", "k", user_id="7").picks_sender, DIALPAD.picks_sender) == (True, False)


def test_no_repr_shows_what_is_secret() -> None:
    shown = repr(DIALPAD) + repr(DIALPAD.prepare(CALL))
    for secret in ("hush-hush", "Bearer", CALL.text, "4711", CALL.recipient[1:]):
        assert secret not in shown


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"api_key": ""}, "api_key"),
        ({"api_key": "kéy"}, "api_key"),
        ({"api_key": "a\nb"}, "api_key"),
        ({"api_key": "a b"}, "api_key"),
        ({"base_url": "dialpad.com"}, "base_url"),
        ({"user_id": "Ann"}, "user_id"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "9" * 20}, "user_id"),
        ({"user_id": "7", "sender_group_id": "x", "sender_group_type": "office"}, "sender_group_id"),
        ({"user_id": "7", "sender_group_id": "8"}, "sender_group_id"),
        ({"user_id": "7", "sender_group_type": "office"}, "sender_group_id"),
        ({"user_id": "7", "sender_group_id": "8", "sender_group_type": "team"}, "sender_group_type"),
        ({"sender_group_id": "8", "sender_group_type": "office"}, "user_id"),
    ],
)
def test_settings_that_cannot_work_name_their_key_and_no_secret(changes: dict[str, str], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: ") as caught:
        Dialpad(**{"name": "main", "api_key": "k"} | changes)
    assert "kéy" not in str(caught.value)


def test_all_faults_of_the_settings_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Dialpad("main", "", base_url="x", user_id="Ann", sender_group_id="8", sender_group_type="team")
    assert [key for key, _ in caught.value.faults] == ["api_key", "base_url", "user_id", "sender_group_type"]


def test_a_fingerprint_follows_credentials_and_url_and_reveals_neither() -> None:
    group = {"user_id": "7", "sender_group_id": "8"}
    prints = {
        DIALPAD.fingerprint(),
        Dialpad("main", "other").fingerprint(),
        Dialpad("main", "hush-hush", base_url="https://sandbox.dialpad.com").fingerprint(),
        Dialpad("main", "hush-hush", user_id="7").fingerprint(),
        Dialpad("main", "hush-hush", sender_group_type="office", **group).fingerprint(),
        Dialpad("main", "hush-hush", sender_group_type="department", **group).fingerprint(),
    }
    assert len(prints) == 6
    assert DIALPAD.fingerprint() == Dialpad("renamed", "hush-hush").fingerprint()
    assert not any("hush" in each for each in prints)


# Answers


def test_the_tables_and_the_case_file_hold_the_same_words_and_meanings() -> None:
    assert tables.readings("dialpad", "codes") == dict(CODES)
    assert tables.receipts("dialpad") == dict(RECEIPTS)
    statuses = tables.readings("dialpad", "statuses")
    assert {int(status): reading for status, reading in statuses.items()} == dict(STATUSES)


def test_each_result_is_read_from_a_200_whatever_its_status_word_says() -> None:
    for word in ("failed", "pending", None):
        for code, reading in tables.readings("dialpad", "codes").items():
            found = DIALPAD.classify(answer(200, {"id": 1, "message_status": word, "message_delivery_result": code}))
            assert (found.category, found.scope, found.fate) == (reading.category, reading.scope, reading.fate), code
            assert (found.code, found.unlisted, found.suspect) == (code, False, False)


def test_each_status_without_a_word_means_what_the_table_says() -> None:
    for status, reading in tables.readings("dialpad", "statuses").items():
        found = DIALPAD.classify(answer(int(status), b""))
        assert (found.category, found.scope, found.fate) == (reading.category, reading.scope, reading.fate), status
        assert (found.code, found.retry_after_ms) == (None, reading.wait_ms)


@pytest.mark.parametrize("case", tables.answers("dialpad"), ids=lambda case: case.name)
def test_answers_mean_what_the_case_file_says(case: tables.AnswerCase) -> None:
    assert Dialpad("main", "k", **case.settings).classify(case.response) == case.verdict


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"id": 1', {}, {"id": None}, {"id": ""}, [], {"id": [1]}, {"id": "9" * 65}, b"\xff",
     {"id": "1 2"}, {"id": "\n\x00+14155550123"}],
)  # fmt: skip
def test_a_2xx_that_cannot_be_read_is_uncertain(body: object) -> None:
    found = DIALPAD.classify(answer(200, body))
    assert (found.fate, found.category) == (Fate.UNKNOWN, Category.TIMEOUT)


@pytest.mark.parametrize(
    ("status", "category", "scope", "fate"),
    [
        (307, Category.CONFIG_ERROR, Scope.PROVIDER, Fate.DEFER),
        (402, Category.AUTH_FAILED, Scope.PROVIDER, Fate.DEFER),
        (405, Category.CONFIG_ERROR, Scope.PROVIDER, Fate.DEFER),
        (408, Category.PROVIDER_ERROR, Scope.MESSAGE, Fate.DEFER),
        (400, Category.REJECTED, Scope.MESSAGE, Fate.REFUSE),
        (422, Category.REJECTED, Scope.MESSAGE, Fate.REFUSE),
        (599, Category.TIMEOUT, Scope.MESSAGE, Fate.UNKNOWN),
    ],
)
def test_other_statuses_are_read_as_everywhere(status: int, category: Category, scope: Scope, fate: Fate) -> None:
    found = DIALPAD.classify(answer(status, b""))
    assert (found.category, found.scope, found.fate) == (category, scope, fate)


@pytest.mark.parametrize(
    "words", ["rate limit", "rate_limit", "rate-limit", "TOO MANY", "quota", "throttled", "too fast"]
)
def test_a_403_that_speaks_of_the_rate_is_a_throttle_and_no_suspicion(words: str) -> None:
    found = DIALPAD.classify(answer(403, {"error": {"code": 403, "message": words}}))
    assert (found.category, found.suspect, found.retry_after_ms) == (Category.RATE_LIMITED, False, 60_000)


@pytest.mark.parametrize("status", [403, 404])
def test_no_words_whatever_make_an_unexplained_403_a_refusal(status: int) -> None:
    for words in ("", "Forbidden", "no", "blocked", "limited", "stopped"):
        assert DIALPAD.classify(answer(status, {"message": words})).fate is Fate.DEFER


@pytest.mark.parametrize(
    "words",
    [
        "recipient opted out",
        "recipient_opted_out",
        "The contact has unsubscribed from you",
        "Recipient unsubscribed",
        "The number is on the opt-out list",
        "opt_out",
        "'to_numbers' has opted out of 'Sale! Bye'",
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_an_opt_out_is_known_by_its_words(status: int, words: str) -> None:
    assert DIALPAD.classify(answer(status, {"message": words})).category is Category.OPTED_OUT


@pytest.mark.parametrize(
    "words",
    [
        "Sale! Reply STOP to unsubscribe",
        "text 'You opted out' is too long",
        'text "You\'ve opted out", he said "too" long',
        "text \u201cYou opted out\u201d is too long",
        "text `You opted out` is too long",
        "text: 'You opted out of this and th...",
        "Text STOP to opt-out is not allowed",
        "adopted outside",
        "unsubscribed",
        "stop",
    ],
)
@pytest.mark.parametrize("status", [400, 403])
def test_words_of_a_text_suppress_nobody(status: int, words: str) -> None:
    assert DIALPAD.classify(answer(status, {"message": words})).category is not Category.OPTED_OUT


PIECES = (
    "from_number", "from_number ", "to_numbers ", "from", "'", " '", "'a", '"', " \"a", "`", "\u201c", "\u2018",
    "opt", "opted out", "opted ", "has ", "unsubscribed ", "rate ", "rate limit ", "a", " ", "1", "1 ", "+1", "%2B",
    "<", "<style", "<style>", "\\", "too ", "stop ", "\n", "; ",
)  # fmt: skip


@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_the_longest_answers_are_read_in_no_time(status: int) -> None:
    for piece in PIECES:
        words = (piece * 65_536)[:65_000]
        for body in ({"message": words}, words.encode()):
            before = time.process_time()
            DIALPAD.classify(answer(status, body))
            assert time.process_time() - before < 0.3, piece


def test_a_number_in_an_error_is_hidden_and_its_words_are_short() -> None:
    found = DIALPAD.classify(answer(403, {"message": "no " * 200 + CALL.recipient, "detail": CALL.recipient}))
    assert CALL.recipient not in found.message and len(found.message) <= 200


KEYS = ("id", "error", "errors", "message", "reason", "code", "status", "message_status", "message_delivery_result")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["failed"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=12,
)


@given(st.integers(100, 599), JSON | st.binary(max_size=60), st.text(max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_answer_whatever_raises(status: int, body: object, wait: str) -> None:
    found = DIALPAD.classify(answer(status, body, retry_after=wait))
    assert (found.category is None) == (found.fate is Fate.ACCEPTED)
    assert not found.suspect or (status == 403 and found.fate is Fate.DEFER)


def test_a_page_of_nothing_but_tags_is_read_in_no_time() -> None:
    found = DIALPAD.classify(answer(403, b"<style" * 10_000))
    assert found.suspect


def test_it_cannot_be_asked() -> None:
    assert DIALPAD.lookup == "none"
    with pytest.raises(LookupError):
        DIALPAD.ask(CALL)
    with pytest.raises(LookupError):
        DIALPAD.find(answer(200), CALL)
