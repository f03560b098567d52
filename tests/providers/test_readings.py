"""What an answer means when the dialect has no word for it."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.receipt import Action, ReceiptReading
from smsd.core.verdict import Category, Fate, Scope
from smsd.providers.base import (
    NoAnswer,
    NoConnection,
    SettingsError,
    check_each,
    check_secret,
    check_url,
    hide_numbers,
    read,
)
from smsd.providers.readings import (
    MAX_MESSAGE,
    MAX_WAIT_MS,
    Reading,
    as_id,
    as_price,
    by_status,
    json_object,
    plain,
    retry_after_ms,
    text_of,
)
from smsd.providers.sandbox import Sandbox
from tests.providers.calls import answer

UNCERTAIN = (Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE)
REFUSED = (Fate.REFUSE, Category.REJECTED, Scope.MESSAGE)
LATER = (Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE)
WRONG_URL = (Fate.DEFER, Category.CONFIG_ERROR, Scope.PROVIDER)
AUTH = (Fate.DEFER, Category.AUTH_FAILED, Scope.PROVIDER)
THROTTLED = (Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER)


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        (200, UNCERTAIN),
        (201, UNCERTAIN),
        (301, WRONG_URL),
        (307, WRONG_URL),
        (400, REFUSED),
        (401, AUTH),
        (402, AUTH),
        (403, AUTH),
        (404, WRONG_URL),
        (405, WRONG_URL),
        (407, WRONG_URL),
        (408, LATER),
        (413, REFUSED),
        (422, REFUSED),
        (425, LATER),
        (429, THROTTLED),
        (500, UNCERTAIN),
        (502, UNCERTAIN),
        (503, LATER),
        (504, UNCERTAIN),
        (599, UNCERTAIN),
    ],
)
def test_a_status_alone_has_one_meaning(status: int, meaning: tuple[Fate, Category, Scope]) -> None:
    verdict = by_status(answer(status, b"<html>"))
    assert (verdict.fate, verdict.category, verdict.scope) == meaning
    assert str(status) in verdict.message


@pytest.mark.parametrize("words", ["Rate limit reached", "rate_limit_exceeded", "too many calls", "Quota", "throttled"])
def test_a_403_that_says_rate_is_a_throttle(words: str) -> None:
    verdict = by_status(answer(403, {"message": words}, retry_after="7"))
    assert (verdict.fate, verdict.category, verdict.scope) == THROTTLED
    assert verdict.retry_after_ms == 7_000


@pytest.mark.parametrize("status", [400, 401, 500])
def test_only_a_403_is_searched_for_such_words(status: int) -> None:
    assert by_status(answer(status, {"message": "rate limit"})).category is not Category.RATE_LIMITED


def test_no_connection_and_no_answer_are_read_alike_for_all_dialects() -> None:
    refused = read(Sandbox("s"), NoConnection("refused"))
    assert (refused.fate, refused.category) == (Fate.DEFER, Category.NETWORK)
    silent = read(Sandbox("s"), NoAnswer("timeout"))
    assert (silent.fate, silent.category) == (Fate.UNKNOWN, Category.TIMEOUT)


@pytest.mark.parametrize(
    ("headers", "wait_ms"),
    [
        ({}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "0"}, 0),
        ({"retry_after": " 30 "}, 30_000),
        ({"retry_after": "9" * 400}, MAX_WAIT_MS),
        ({"retry_after": "-5"}, None),
        ({"retry_after": "1.5"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "\u0663"}, None),
        ({"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 30_000),
        ({"retry_after": "Sun, 22 Nov 2026 09:00:00 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, 0),
        ({"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT"}, None),
        ({"retry_after": "Sun, 22 Nov 2026 10:00:30 GMT", "date": "today"}, None),
        ({"retry_after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": "Sun, 22 Nov 2026 10:00:00 GMT"}, MAX_WAIT_MS),
    ],
)
def test_a_wait_is_read_from_seconds_or_from_two_dates(headers: dict[str, str], wait_ms: int | None) -> None:
    assert retry_after_ms(answer(429, **headers)) == wait_ms


def test_a_wait_is_no_part_of_a_refusal() -> None:
    assert by_status(answer(400, retry_after="30")).retry_after_ms is None


def test_a_code_that_got_here_is_in_no_table_and_the_verdict_says_so() -> None:
    assert by_status(answer(400), None, "77").unlisted
    assert not by_status(answer(400)).unlisted
    assert not by_status(answer(400), {"message": "words"}).suspect


@pytest.mark.parametrize(
    ("fate", "documented", "said", "wait"),
    [
        (Fate.DEFER, 30_000, None, 30_000),
        (Fate.DEFER, 30_000, 0, 0),
        (Fate.DEFER, 30_000, 7_000, 7_000),
        (Fate.DEFER, None, None, None),
        (Fate.DEFER, None, 7_000, 7_000),
        (Fate.REFUSE, 30_000, 7_000, None),
        (Fate.UNKNOWN, 30_000, 7_000, None),
    ],
)
def test_the_answers_wait_counts_before_the_documented_one(
    fate: Fate, documented: int | None, said: int | None, wait: int | None
) -> None:
    reading = Reading(Category.RATE_LIMITED, Scope.SENDER, fate, documented)
    assert reading.verdict("m", "1", said).retry_after_ms == wait


@pytest.mark.parametrize(
    ("action", "delays_ms", "max_attempts"),
    [("resend", (), 2), ("resend", (1,), 1), ("final", (1,), 1), ("halt", (), 2)],
)
def test_only_a_resend_has_waits_and_calls(action: Action, delays_ms: tuple[int, ...], max_attempts: int) -> None:
    with pytest.raises(ValueError, match=r"^action: "):
        ReceiptReading(Category.UNDELIVERED, action, delays_ms, max_attempts)


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a", "http://", "http://u:p@a", "http://a?b", "http://a#b", "http://a b"]
)
def test_a_url_that_cannot_work_names_its_key(url: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url: .*https://right\.example") as caught:
        check_url("base_url", url, "https://right.example")
    assert "u:p" not in str(caught.value)
    check_url("base_url", "http://127.0.0.1:8080/path", "x")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"1", b"null", b'{"a":', b"\xff\xfe", b'{"a": "\xff"}', b"[" * 60_000]
)
def test_what_is_not_a_json_object_is_none(body: bytes) -> None:
    assert json_object(body) is None


@pytest.mark.parametrize(
    "written, read",
    [
        (rb"Stop \ud83d", "Stop \ufffd"),
        (rb"\uDC4D Stop", "\ufffd Stop"),
        (rb"\ud83d\ud83d\udc4d\udc4d", "\ufffd👍\ufffd"),
        (rb"\udc4d\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d\u0041\\ud83d \\\ud83d", "\ufffdA\\ud83d \\\ufffd"),
        ("é\\ud800 \\u00e9\\n\\u0000".encode(), "é\ufffd é\n\0"),
    ],
)
def test_half_of_a_surrogate_pair_costs_no_text(written: bytes, read: str) -> None:
    """A gateway that cuts a text inside an emoji writes it."""
    body = b'{"a": ["%s"], "%s": 12345678901234567890, "n": 0.1}' % (written, written)
    assert json_object(body) == {"a": [read], read: 12345678901234567890, "n": 0.1}


@pytest.mark.parametrize(
    "body",
    [b'{"a": "%s"', b'["%s"]', b'{"a": "%s\xff"}', b'{"a": "%s", "b": NaN}', b'{"a": "%s", "b": 1e999}', b"[" * 60_000],
)
def test_half_of_a_surrogate_pair_makes_nothing_else_readable(body: bytes) -> None:
    assert json_object(body.replace(b"%s", rb"\ud800") + (rb"\ud800" if body[:2] == b"[[" else b"")) is None


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_can_be_asked_for_json(body: bytes) -> None:
    found = json_object(body)
    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        ("", None),
        (21211, "21211"),
        (0, "0"),
        (True, None),
        (1.5, None),
        (None, None),
        ([], None),
        (2**64 - 1, "18446744073709551615"),
        (10**20, None),
    ],
)
def test_a_value_is_text_or_nothing(value: object, text: str | None) -> None:
    assert text_of({"key": value}, "key") == text
    assert text_of({}, "key") is None
    assert text_of(None, "key") is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The 'To' number +14155550123 is not valid", "The 'To' number [number] is not valid"),
        ("(415) 555-0123 x", "(415) 555-0123 x"[0] + "[number] x"),
        ("+44 7700 900000", "[number]"),
        ("447700900000.", "[number]."),
        ("code 21211, HTTP 429, short code 12345", "code 21211, HTTP 429, short code 12345"),
        ("SM00000000000000000000000000000001", "SM00000000000000000000000000000001"),
        ("2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z"),
        ("12345678901234567890", "12345678901234567890"),
        ("+1234567", "[number]"),
        ("+123456", "+123456"),
        ("To=%2B14155550123&x", "To=[number]&x"),
        ("to%2b1415555 and", "to[number] and"),
        ("x+14155550123y", "x[number]y"),
        ('"\\u002b14155550123"', '"[number]"'),
        ("+12345678901234567890", "+12345678901234567890"),
        ("2026-11-22T10:00:00+00:00", "2026-11-22T10:00:00+00:00"),
    ],
)
def test_phone_numbers_are_hidden_and_nothing_else(said: str, shown: str) -> None:
    assert hide_numbers(said) == shown


def test_a_providers_words_become_one_short_line() -> None:
    assert plain("a\n  b\tc") == "a b c"
    assert len(plain("x" * 10_000)) == MAX_MESSAGE
    verdict = by_status(answer(400), json_object(json.dumps({"detail": "no\n+14155550123"}).encode()), "77")
    assert verdict.message == "no [number] (HTTP 400, code 77)"


def test_a_code_is_one_line_without_numbers() -> None:
    assert by_status(answer(400), None, "no\n+14155550123").code == "no [number]"
    assert by_status(answer(400), None, " \n").code is None


@pytest.mark.parametrize("status", [404, 405])
def test_a_url_that_leads_nowhere_is_named(status: int) -> None:
    assert "base_url" in by_status(answer(status, b"<html>")).message
    assert "base_url" not in by_status(answer(status, b"<html>"), None, "77").message


@pytest.mark.parametrize(
    ("value", "id"),
    [
        ("SM1", "SM1"),
        ("a" * 128, "a" * 128),
        ("a" * 129, None),
        ("", None),
        (None, None),
        ("a b", None),
        ("a\n", None),
        ("\x00", None),
        ("é", None),
    ],
)
def test_an_id_is_short_plain_ascii(value: str | None, id: str | None) -> None:
    assert as_id(value) == id


@pytest.mark.parametrize(
    ("amount", "currency", "price"),
    [
        ("-0.0075", "USD", "0.0075 USD"),
        ("1", "eur", "1 eur"),
        ("1" * 39_000, "USD", None),
        ("+14155550123", "USD", None),
        ("1", "+14155550123", None),
        ("1\n", "USD", None),
        ("\u0661", "USD", None),
        (None, "USD", None),
        ("1", None, None),
    ],
)
def test_a_price_is_a_number_and_a_currency(amount: str | None, currency: str | None, price: str | None) -> None:
    assert as_price(amount, currency) == price


def test_all_checks_are_made() -> None:
    check_each(lambda: None)
    with pytest.raises(SettingsError, match=r"^a: .*; b: ") as caught:
        check_each(
            lambda: check_url("a", "", "x"), lambda: None, lambda: check_secret("b", "k k", "there", spaces=False)
        )
    assert [key for key, _ in caught.value.faults] == ["a", "b"]
    check_secret("b", "k k", "there")


@pytest.mark.parametrize("piece", ["1", "1 ", "+1", "+", "%2B", "(1", "1)-", "\\u002b", "a", " "])
def test_numbers_are_sought_in_no_time(piece: str) -> None:
    before = time.process_time()
    plain((piece * 65_536)[:65_536])
    assert time.process_time() - before < 0.5
