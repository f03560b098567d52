"""What a trace shows, and what it never shows."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.engine.trace import MAX_BODY, brief_of, trace_of
from smsd.providers.base import NoAnswer, NoConnection, Request, Response

TO = "+14155550123"


def request(text: str = "Your code is 4711") -> Request:
    return Request("POST", "http://x/", {"Authorization": "Basic c2VjcmV0"}, b"Body=secret", private=(text, TO))


def test_it_is_a_line_of_status_and_headers_and_then_the_body() -> None:
    headers = {"content-type": "application/json", "set-cookie": "session=1", "retry-after": "3", "server": "x"}
    trace = trace_of(request(), Response(429, headers, b'{"code": 20429}'))
    assert trace == 'HTTP 429; content-type: application/json; retry-after: 3\n{"code": 20429}'
    assert brief_of(Response(429, headers, b"{}")) == "HTTP 429; content-type: application/json; retry-after: 3"


def test_without_an_answer_it_says_why() -> None:
    assert trace_of(request(), NoConnection("refused")) == "no connection: refused"
    assert trace_of(request(), NoAnswer("reset")) == "no answer: reset"


def test_a_redirect_shows_where_to_but_not_its_query() -> None:
    assert "/a" in trace_of(request(), Response(307, {"location": "/a?token=1"}, b""))
    trace = trace_of(request(), Response(307, {"location": "https://u:pw@h.example/p?token=1"}, b""))
    assert "https://h.example/p" in trace
    assert "token" not in trace and "pw" not in trace
    assert "[unreadable]" in trace_of(request(), Response(307, {"location": "http://[bad"}, b""))


@pytest.mark.parametrize(
    "body",
    [
        {"to": TO, "body": "Your code is 4711"},
        {"to": TO[1:], "text": "another text, 4711"},
        {"message": "refused: Your code is 4711 to (415) 555-0123, +1 415 555 0123"},
        {"content": 'a "quoted" 4711 \\'},
    ],
)
def test_neither_number_nor_text_is_shown(body: dict[str, str]) -> None:
    for raw in (json.dumps(body), json.dumps(body)[:-2], json.dumps(body, indent=2)):
        trace = trace_of(request(), Response(400, {}, raw.encode()))
        assert "4711" not in trace
        assert "555" not in trace and "0123" not in trace


def test_a_cut_never_leaves_half_a_text() -> None:
    text = "s3cret " * 40
    for pad in range(MAX_BODY - 300, MAX_BODY, 7):
        raw = json.dumps({"pad": "x" * pad, "echo": text}).encode()
        trace = trace_of(request(text), Response(400, {}, raw))
        assert "s3cret" not in trace
        assert len(trace) <= MAX_BODY + 20


SPELLINGS: list[Callable[[str], str]] = [
    lambda text: text,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(text).replace("/", "\\/"),
    html.escape,
    quote_plus,
    lambda text: quote(text, safe=""),
]


@given(st.text(alphabet="aé😀 &<>\"'/\\\n%+", min_size=6, max_size=40), st.integers(0, len(SPELLINGS) - 1))
@settings(max_examples=200, deadline=None)
def test_no_spelling_of_the_text_is_shown(text: str, n: int) -> None:
    secret = f"<{text}>"
    raw = f"error: {SPELLINGS[n](secret)} refused".encode()
    trace = trace_of(request(secret), Response(400, {}, raw))
    assert "[private]" in trace
    assert SPELLINGS[n](secret).strip('"') not in trace


def test_what_is_not_text_can_be_shown_too() -> None:
    assert trace_of(request(), Response(200, {}, b"\xff\x00")) == "HTTP 200\n\ufffd\x00"
