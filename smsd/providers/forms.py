"""Which parameters does a webhook's request bring?

Query, form and flat JSON become one thing: pairs of names and values, in the order they came. What may be anything on
the wire is judged here, so that a dialect meets only texts: text is UTF-8, there are at most MAX_FIELDS parameters, and
a parameter that is asked for and stands twice with different values cannot be read, for whoever guessed which of the
two counts would be wrong half of the time. It refuses to know what a parameter means and whether the request proves
itself; that is the dialect's matter. All of it raises HookUnreadableError and nothing else, `pairs_of` ValueError.

Several providers sign parameters, not bytes, so a form is decoded before anybody knows who sent it. It is therefore
bounded here, in bytes and in parameters, and decoded by a few passes over the whole of a text, never octet by octet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from smsd.core.message import Instant
from smsd.core.units import SECOND
from smsd.providers.base import Hook, HookUnreadableError
from smsd.providers.readings import as_id, json_object, text_of

MAX_FIELDS: Final = 200
"""Parameters of one request; the largest known ones, Twilio's with ten media, have about 50."""

MAX_ENCODED: Final = 65_536
"""Bytes of what `pairs_of` decodes. A form is about one message: the longest text there is, 1,600 characters, takes
14,400 bytes percent-encoded, ten media URLs and what else Twilio adds a few thousand more."""

MAX_MARK: Final = 64
"""Characters of our message id in a callback URL; ours have 36."""

MAX_ADDRESS: Final = 64
"""Characters of a number or name; the longest known ones ("whatsapp:" and a number) have 25."""

UNDECODED: Final = f"not UTF-8 or not percent-encoded, or has more than {MAX_FIELDS} parameters or {MAX_ENCODED} bytes"
"""What may be wrong with a text that `pairs_of` refuses."""

_NUMBER = re.compile(r"\+?([0-9]{7,15})")
_ATTEMPT = re.compile(r"[0-9]{1,6}")
_DIGITS = re.compile(r"[0-9]{1,14}")
_STRAY = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LOST_PLUS = re.compile(r" (?=[0-9]{2}:?[0-9]{2}$)")
_MILLISECONDS_FROM = 10**11
"""As seconds it is the year 5138, as milliseconds 1973: a number from here on counts milliseconds."""


@dataclass(frozen=True, slots=True)
class Form:
    """Parameters, in the order they came."""

    pairs: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def get(self, name: str) -> str | None:
        """Its value; None: it is not there, or empty. HookUnreadableError: it stands there twice and differs."""
        values = {value for each, value in self.pairs if each == name}
        if len(values) > 1:
            raise HookUnreadableError(f"{name} stands in it more than once, with different values")
        return next(iter(values), None) or None

    def last(self, name: str) -> str | None:
        """The value that stands last; None: it is not there, or empty. For a provider that is known to repeat names."""
        return next((value for each, value in reversed(self.pairs) if each == name), None) or None

    def first_of(self, *names: str) -> str | None:
        """The value, the last one, of the first of these names that has one."""
        return next((value for name in names if (value := self.last(name)) is not None), None)


def pairs_of(encoded: str | bytes) -> tuple[tuple[str, str], ...]:
    """What an application/x-www-form-urlencoded text holds, empty values too (WHATWG URL, "urlencoded parsing").

    Raises ValueError: it is not UTF-8, has a percent sign that begins no octet, or more than MAX_ENCODED bytes or
    MAX_FIELDS parameters.
    """
    octets = encoded if isinstance(encoded, bytes) else encoded.encode()
    if len(octets) > MAX_ENCODED or octets.count(b"&") >= MAX_FIELDS:
        raise ValueError("it is too long")
    parts = (part.partition(b"=") for part in octets.replace(b"+", b" ").split(b"&") if part)
    return tuple((_unquoted(name), _unquoted(value)) for name, _, value in parts)


def _unquoted(part: bytes) -> str:
    if b"%" not in part:
        return part.decode()
    # Python's own escapes name an octet as percent-encoding does, with two hexadecimal digits; a call for each octet,
    # as `urllib.parse.unquote` makes, would take ten times as long.
    escaped = part.replace(b"\\", rb"\\").replace(b"%", rb"\x")
    return escaped.decode("unicode_escape").encode("latin-1").decode()


def _form(encoded: str | bytes, what: str) -> Form:
    """A percent sign that begins no octet stands for itself: a gateway that encodes carelessly loses no text by it. One
    that signs parameters encodes as it signs, so that this is no matter before a request has proved itself."""
    try:
        octets = encoded if isinstance(encoded, bytes) else encoded.encode()
        return Form(pairs_of(_STRAY.sub(b"%25", octets) if b"%" in octets else octets))
    except ValueError:
        fault = f"its {what} is {UNDECODED}"
    raise HookUnreadableError(fault)


def query_of(hook: Hook) -> Form:
    """The parameters of its URL."""
    return _form(hook.query, "query")


def body_of(hook: Hook) -> Form:
    """The parameters of its body, which is a form; or JSON with texts and numbers, where its Content-Type says so."""
    if "json" not in hook.headers.get("content-type", "").lower():
        return _form(hook.body, "body")
    answer = json_object(hook.body)
    if answer is None:
        raise HookUnreadableError("its body is no JSON object")
    said = ((name, text_of(answer, name)) for name in answer)
    return Form(tuple((name, value) for name, value in said if value is not None))


def said_in(hook: Hook) -> Form:
    """What it says: a POST in its body, a GET (and a POST without a body) in its query."""
    return body_of(hook) if hook.method == "POST" and hook.body else query_of(hook)


def mark_of(hook: Hook) -> tuple[str | None, int | None]:
    """Our message id and the attempt, as `marked_callback` wrote them in the URL; None: not there, or none of ours."""
    query = query_of(hook)
    id, attempt = as_id(query.get("m"), MAX_MARK), query.get("a") or ""
    return id, int(attempt) if id is not None and _ATTEMPT.fullmatch(attempt) else None


def address_of(text: str | None, what: str) -> str:
    """A number as E.164 (providers leave the plus out), a short code or name as it is. Raises HookUnreadableError."""
    text = (text or "").strip()
    if not text or len(text) > MAX_ADDRESS or not text.isprintable():
        raise HookUnreadableError(f"it does not say {what}")
    number = _NUMBER.fullmatch(text)
    return f"+{number[1]}" if number else text


def instant_of(text: str | None) -> Instant | None:
    """RFC 3339, seconds or milliseconds since 1970, or 14 digits (YYYYMMDDhhmmss) in UTC; None: none of them.

    Without a zone it is UTC. A plus sign that a form made a blank is one again.
    """
    text = (text or "").strip()
    if _DIGITS.fullmatch(text) and not (len(text) == 14 and text.startswith("20")):
        number = int(text)
        return number if number >= _MILLISECONDS_FROM else number * SECOND
    try:
        if len(text) == 14:
            at = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        else:
            at = datetime.fromisoformat(_LOST_PLUS.sub("+", text))
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0, round(at.timestamp() * SECOND))
    except (ValueError, OverflowError):
        return None
