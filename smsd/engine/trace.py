"""How can an exchange be shown later without showing what is private?

A trace is what an operator reads when a message went wrong: status, the headers that matter, the first KiB of the body.
It never holds a credential (request headers are not in it), a phone number, or the message's text, also when the
provider's answer repeats them in another spelling. It knows JSON and HTML only as spellings; it parses neither, because
the answers one wants to see most are the malformed ones.

A verdict's words, which reach logs and views, are held to the same: an adapter sees the answer and never the message,
so it cannot tell what of the provider's words is private. Here both are known.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote, quote_plus, urlsplit

from smsd.core.verdict import Verdict
from smsd.providers.base import NoAnswer, NoConnection, Outcome, Request, Response, hide_numbers

MAX_BODY = 1_024
"""Bytes of the body that are shown."""

HEADERS = (
    "content-type",
    "content-length",
    "retry-after",
    "date",
    "location",
    "twilio-request-id",
    "x-request-id",
    "x-twilio-error-code",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
)
"""Headers that are shown; all others (cookies among them) are not."""

_TEXT = re.compile(
    r'"(body|Body|text|Text|content|Content|message_body|messageText)"\s*:\s*"(?:[^"\\]|\\.)*(?:"|\\?$)', re.DOTALL
)
_ERROR = re.compile(r'"errors?"\s*:\s*(?=[\[{])')
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)|[\[\]{}]', re.DOTALL)
_MARGIN = 16_384
_NUMBER = re.compile(r"\+[0-9]+")
_CUT = re.compile(r"\.\.\.|\u2026")
_TELLING = 3
"""Characters that give something away; fewer do not, and are in every answer."""


def trace_of(request: Request, outcome: Outcome) -> str:
    """The trace: a line for status and headers, then the body's beginning."""
    brief = brief_of(outcome)
    return f"{brief}\n{_body(request, outcome.body)}" if isinstance(outcome, Response) else brief


def brief_of(outcome: Outcome) -> str:
    """The trace's first line."""
    match outcome:
        case NoConnection(detail):
            return f"no connection: {detail}"
        case NoAnswer(detail):
            return f"no answer: {detail}"
        case Response(status, headers, _):
            shown = [f"; {name}: {_header(name, headers[name])}" for name in HEADERS if name in headers]
            return f"HTTP {status}{''.join(shown)}"


def _header(name: str, value: str) -> str:
    """A redirect's query may hold anything, so only its host and path are shown."""
    if name != "location":
        return value[:200]
    try:
        parts = urlsplit(value)
    except ValueError:
        return "[unreadable]"
    return hide_numbers(f"{parts.scheme}://{parts.hostname}{parts.path}" if parts.hostname else parts.path)[:200]


def _body(request: Request, body: bytes) -> str:
    """The first KiB, redacted before it is cut, so that a cut never leaves half a secret."""
    text = body[:_MARGIN].decode("utf-8", "replace")
    text = _without_texts(text)
    for private in request.private:
        text = _without(text, _spellings(private, text))
    return hide_numbers(text)[:MAX_BODY]


def _without_texts(text: str) -> str:
    """What stands where a message's text would stand is hidden, but not in an error: there it is the reason.

    An error that repeats our text is caught all the same, because that text is known.
    """
    shown, at = [], 0
    for error in _ERROR.finditer(text):
        if error.start() >= at:
            shown.append(_TEXT.sub(r'"\1":"[text]"', text[at : error.end()]))
            at = _end_of(text, error.end())
            shown.append(text[error.end() : at])
    shown.append(_TEXT.sub(r'"\1":"[text]"', text[at:]))
    return "".join(shown)


def _end_of(text: str, start: int) -> int:
    """Where the list or object ends that begins at `start`; the end of the text if nothing closes it."""
    depth = 0
    for token in _TOKEN.finditer(text, start):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth == 0:
            return token.end()
    return len(text)


def hiding(request: Request, secrets: tuple[str, ...]) -> Request:
    """The request, with these private to it too: a callback URL may hold one, and an error may repeat the URL (also
    one that an earlier request brought)."""
    if secrets:
        request.private = (*request.private, *secrets)
    return request


def without_private(verdict: Verdict, request: Request) -> Verdict:
    """The verdict on an answer to `request`, its message and code without what is private to that request.

    They are compared as adapters leave them (one line, numbers hidden, cut). Of a text that was cut, by us or by the
    provider, the beginning is hidden too. "[private]" makes them three times as long at most.
    """
    if not verdict.message and verdict.code is None:
        return verdict
    code = None if verdict.code is None else _words(verdict.code, request)
    return replace(verdict, message=_words(verdict.message, request), code=code)


def _words(text: str, request: Request) -> str:
    spellings = [spelling for private in request.private for spelling in _spellings(private, text)]
    forms = {form for spelling in spellings for form in _forms_in_words(spelling)}
    spelled = sorted(forms, key=lambda form: (-len(form), form))
    text = _without(text, spelled)
    for end in reversed([mark.start() for mark in _CUT.finditer(text)]):
        start = _beginning(text, end, spelled)
        text = text if start == end else f"{text[:start]}[private]{text[end:]}"
    return text


def _forms_in_words(spelling: str) -> set[str]:
    """What an adapter makes of it. A hidden number alone gives nothing away and may be another's."""
    line = " ".join(spelling.split())
    forms = {spelling, line, hide_numbers(line)} - {"[number]"}
    return {form for form in forms if len(form) >= _TELLING}


def _beginning(text: str, end: int, spelled: list[str]) -> int:
    """Where, before `end`, the longest beginning of a spelling starts that ends there; `end` when there is none."""
    longest = max(map(len, spelled), default=0)
    for start in range(max(0, end - longest), end - _TELLING + 1):
        if any(each.startswith(text[start:end]) for each in spelled):
            return start
    return end


def _without(text: str, spelled: Iterable[str]) -> str:
    for each in spelled:
        text = text.replace(each, "[private]")
    return text


def _spellings(private: str, text: str) -> list[str]:
    """The ways `text` may write it, longest first; a spelling whose mark is not in `text` is not worked out, because
    this runs for each call."""
    if len(private) < _TELLING:
        return []
    if _NUMBER.fullmatch(private):
        return [private, private[1:]]
    spelled = [private, private.replace(" ", "+")]
    if "%" in text:
        spelled += [quote(private, safe=""), quote_plus(private)]
    if "&" in text:
        spelled += [html.escape(private)]
    if "\\" in text:
        ascii_only, kept = json.dumps(private)[1:-1], json.dumps(private, ensure_ascii=False)[1:-1]
        spelled += [ascii_only, kept, ascii_only.replace("/", "\\/"), kept.replace("/", "\\/")]
    return sorted(spelled, key=len, reverse=True)
