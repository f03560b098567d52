"""What a trace shows, and what it never shows."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.events import Kind
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.engine.trace import MAX_BODY, brief_of, trace_of, without_private
from smsd.providers.base import NoAnswer, NoConnection, Request, Response
from smsd.providers.readings import MAX_CODE, MAX_MESSAGE, by_status
from tests.engine.rig import Rig, answer

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


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ({"error": {"code": 7, "text": "no funds"}}, '{"error": {"code": 7, "text": "no funds"}}'),
        ({"errors": [{"content": "no ]} funds"}], "n": 1}, '{"errors": [{"content": "no ]} funds"}], "n": 1}'),
        (
            {"text": "hi", "error": {"text": "no", "in": {"errors": [{"body": "x"}]}}, "body": "hi"},
            '{"text":"[text]", "error": {"text": "no", "in": {"errors": [{"body": "x"}]}}, "body":"[text]"}',
        ),
        ({"error": {"text": "refused: Your code is 4711"}}, '{"error": {"text": "refused: [private]"}}'),
        ({"error": "x", "text": "hi"}, '{"error": "x", "text":"[text]"}'),
        ({"body": '"error": {', "text": "hi"}, '{"body":"[text]", "text":"[text]"}'),
    ],
)
def test_the_reason_in_an_error_is_shown_under_whatever_name(body: object, shown: str) -> None:
    assert trace_of(request(), Response(400, {}, json.dumps(body).encode())) == f"HTTP 400\n{shown}"


@pytest.mark.parametrize("piece", ['"error":{', '"error": [', '"error":{}', '"error"', '"', "\\", '"text":"', "{", " "])
def test_a_trace_is_made_in_no_time(piece: str) -> None:
    raw = (piece * 65_536)[:65_536].encode()
    before = time.process_time()
    trace_of(request(), Response(400, {}, raw))
    assert time.process_time() - before < 0.5


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


@pytest.mark.parametrize("text", ["+ Ihr Code für Müller: 4711", "+49 und 4711 für Müller", '+1 ist 4711 "für" Müller'])
def test_a_text_that_begins_with_a_plus_is_no_number(text: str) -> None:
    raw = json.dumps({"error": f"refused: {text}"})
    assert "4711" in raw
    trace = trace_of(request(text), Response(400, {}, raw.encode()))
    assert trace == 'HTTP 400\n{"error": "refused: [private]"}'


def words(said: str, code: str = "30007", text: str = "Your code is 4711") -> tuple[str, str | None]:
    """Message and code that are left of what a provider said about `text`."""
    answer = {"message": said, "code": code}
    read = by_status(Response(400, {}, json.dumps(answer).encode()), answer, code)
    verdict = without_private(read, request(text))
    assert (verdict.fate, verdict.category, verdict.scope) == (read.fate, read.category, read.scope)
    return verdict.message, verdict.code


def test_the_words_of_a_verdict_hold_neither_text_nor_number() -> None:
    assert words(f"'Your code is 4711' to {TO} was filtered") == (
        "'[private]' to [number] was filtered (HTTP 400, code 30007)",
        "30007",
    )
    assert words("filtered", f"no {TO}: Your+code+is+4711") == (
        "filtered (HTTP 400, code no [number]: [private])",
        "no [number]: [private]",
    )


@pytest.mark.parametrize(
    "text",
    [
        "Your code\nis  4711 ",
        "Call +1 415 555 0123, code 4711",
        '+ 4711 für "Müller" & Söhne',
        "Well... your code is 4711",
    ],
)
@pytest.mark.parametrize("spelled", SPELLINGS)
def test_the_text_is_known_however_an_adapter_leaves_it(text: str, spelled: Callable[[str], str]) -> None:
    """Adapters join lines and hide numbers in what they quote."""
    said, _ = words(f"the body ({spelled(text)}) was filtered", text=text)
    assert "4711" not in said
    assert "[private]" in said


def test_what_a_cut_left_of_a_text_is_hidden() -> None:
    text = "s3cret " * 60
    for pad in range(0, MAX_MESSAGE, 3):
        said, code = words("x" * pad + text, "y" * (pad % MAX_CODE) + text, text)
        assert "s3c" not in said
        assert code is not None
        assert "s3c" not in code
    assert words("'s3cret s3cr...' or 's3cret\u2026' was filtered", text=text)[0].startswith(
        "'[private]...' or '[private]"
    )


def test_a_verdict_that_says_nothing_private_stays_as_it_is() -> None:
    fine = accepted("SM1", price="0.01 USD", segments=2)
    assert without_private(fine, request()) == fine
    resting = Verdict(Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER, "Too many...", "20429", retry_after_ms=7)
    assert without_private(resting, request()) == resting


def test_a_provider_that_quotes_the_text_brings_it_neither_into_the_log_nor_into_the_outbox(rig: Rig) -> None:
    async def story() -> None:
        text = "Your code is 4711"
        rig.carrier.script = [answer(400, code=f"no: {text}", message=f"'{text}' was filtered")]
        await rig.start()
        id = await rig.accepted(text=text)
        await rig.seconds(1)
        message = await rig.message(id)
        attempts = await rig.store.attempts(message.seq)
        told = [dict(event.fields) for event in rig.events if event.kind is Kind.MESSAGE_FAILED]
        assert [fields["code"] for fields in told] == ["no: [private]"]
        assert message.error is not None
        assert message.error.message.startswith("'[private]' was filtered")
        assert "4711" not in f"{told} {message.error} {attempts}"
        await rig.stop()

    rig.run(story)
