"""What does an answer mean when the dialect has no word for it?

The readings that all dialects share: the verdict by HTTP status, the wait a provider asks for, JSON that may be
anything. It knows HTTP (RFC 9110) and no provider. A body's own code is read before any of this, because providers
reuse statuses: 429 may be a daily cap, 403 may be a throttle.

The line it draws is whether the message may have been taken. A refusal (4xx) and "unavailable" (503) prove that it
was not; a 2xx that cannot be read and every other 5xx prove nothing, so they are uncertain. What says that our URL or
credentials are wrong concerns the whole provider and never fails a message, so that a typo never fails a backlog.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import msgspec

from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.providers.base import Response, hide_numbers

T = TypeVar("T")

MAX_MESSAGE = 200
"""Characters of a provider's own words that are kept."""

MAX_CODE = 64
"""Characters of a code that are kept."""

MAX_ID = 128
"""Characters of a provider's id at most; what is longer is none."""

MAX_WAIT_MS = 366 * 86_400_000
"""A provider's wait beyond a year is read as a year: the number stays an ordinary one."""

_AMOUNT = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,12})?")
_CURRENCY = re.compile(r"[A-Za-z]{3}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
_RATE = re.compile(rb"rate[ _-]?limit|too many|quota|throttl", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one code means."""

    category: Category
    scope: Scope
    fate: Fate
    wait_ms: int | None = None
    """How long it lasts as the provider documents it; counts when the answer itself names no wait."""

    def verdict(self, message: str, code: str | None, wait_ms: int | None) -> Verdict:
        """The verdict, in the provider's words; a wait (`wait_ms`: the answer's) is kept only where one makes sense."""
        wait = None
        if self.fate is Fate.DEFER:
            wait = self.wait_ms if wait_ms is None else wait_ms
        code = None if code is None else _cut(_line(code), MAX_CODE) or None
        return Verdict(self.fate, self.category, self.scope, plain(message), code, retry_after_ms=wait)


AUTH = Reading(Category.AUTH_FAILED, Scope.PROVIDER, Fate.DEFER)
SETUP = Reading(Category.CONFIG_ERROR, Scope.PROVIDER, Fate.DEFER)
"""Account, URL or another setting of ours is wrong: every message would meet it, none may fail by it."""
SENDER = Reading(Category.CONFIG_ERROR, Scope.SENDER, Fate.REFUSE)
"""This sender is not ours, cannot send texts (there) or is not registered."""
VALUE = Reading(Category.CONFIG_ERROR, Scope.MESSAGE, Fate.REFUSE)
"""The number, the text or their combination with the sender is what the provider refuses: this message fails."""
THROTTLED = Reading(Category.RATE_LIMITED, Scope.PROVIDER, Fate.DEFER)
LATER = Reading(Category.PROVIDER_ERROR, Scope.MESSAGE, Fate.DEFER)
UNCERTAIN = Reading(Category.TIMEOUT, Scope.MESSAGE, Fate.UNKNOWN)
INVALID = Reading(Category.INVALID_RECIPIENT, Scope.RECIPIENT, Fate.REFUSE)
OPTED_OUT = Reading(Category.OPTED_OUT, Scope.RECIPIENT, Fate.REFUSE)
CONTENT = Reading(Category.REJECTED, Scope.MESSAGE, Fate.REFUSE)

BY_STATUS: Mapping[int, Reading] = {
    401: AUTH,
    402: AUTH,
    403: AUTH,
    404: SETUP,
    405: SETUP,
    407: SETUP,
    408: LATER,
    425: LATER,
    429: THROTTLED,
    503: LATER,
}
"""Statuses that mean something of their own. 402 is "no funds"; 407 comes from a proxy that our set-up put there."""


def by_status(response: Response, answer: Mapping[str, object] | None = None, code: str | None = None) -> Verdict:
    """The verdict when no code of the provider decides. `answer`: the body as JSON; `code`: what it calls the error.

    A code that is given here is one the dialect has no word for, so the verdict is marked `unlisted`.
    """
    status = response.status
    reading = BY_STATUS.get(status)
    if reading is None:
        reading = SETUP if 300 <= status < 400 else CONTENT if 400 <= status < 500 else UNCERTAIN
    if status == 403 and _RATE.search(response.body):
        reading = THROTTLED
    verdict = reading.verdict(_sentence(status, answer, code), code, retry_after_ms(response))
    verdict.guessed, verdict.unlisted = True, code is not None
    return verdict


def _sentence(status: int, answer: Mapping[str, object] | None, code: str | None) -> str:
    words = next((said for key in ("message", "detail", "title") if (said := text_of(answer, key))), None)
    if words is not None:
        return f"{words} (HTTP {status}{f', code {code}' if code else ''})"
    if 200 <= status < 300:
        return f"The provider answered HTTP {status}, but the answer cannot be read"
    if 300 <= status < 400:
        return f"The provider answered HTTP {status}, a redirect: base_url is probably wrong"
    silent = f"The provider answered HTTP {status}{f' with code {code}' if code else ''} and no explanation"
    return f"{silent}: its URL (base_url) is probably wrong" if status in {404, 405} and code is None else silent


def plain(message: str) -> str:
    """A provider's words made fit for logs and views: one line, no phone number, at most MAX_MESSAGE characters.

    A message's text that they repeat is still in them; the engine, which knows the text, hides it.
    """
    return _cut(_line(message), MAX_MESSAGE)


def _line(text: str) -> str:
    return hide_numbers(" ".join(text.split()))


def _cut(text: str, limit: int) -> str:
    """Marked where it was cut, so that half of a message's text can still be known for what it is and be hidden."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def json_as(body: bytes, type: type[T]) -> T:
    """The body as JSON of this type. Raises ValueError: it is none (also cut, not UTF-8, or nested without end).

    Half of a surrogate pair, which no text can hold (RFC 8259, section 8.2) and which a gateway that cuts a text inside
    an emoji writes, is read as U+FFFD: the other characters, perhaps a STOP, are not lost by it.
    """
    try:
        return msgspec.json.decode(body, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if not _SURROGATE.search(body):
            raise ValueError("is no such JSON") from None
    try:
        lenient = json.dumps(json.loads(body.decode()), ensure_ascii=False)
        return msgspec.json.decode(_HALF.sub("\ufffd", lenient), type=type)
    except (ValueError, RecursionError):
        raise ValueError("is no such JSON") from None


def json_value(body: bytes) -> object:
    """The body as JSON; None when it is none."""
    try:
        return json_as(body, object)
    except ValueError:
        return None


def json_object(body: bytes) -> dict[str, object] | None:
    """The body as a JSON object; None when it is anything else."""
    decoded = json_value(body)
    return decoded if isinstance(decoded, dict) else None


def text_of(answer: Mapping[str, object] | None, key: str) -> str | None:
    """The value of `key` as text if it is a non-empty string or an integer of at most 64 bits, else None."""
    value = None if answer is None else answer.get(key)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
        return str(value)
    return value or None if isinstance(value, str) else None


def as_id(value: str | None, limit: int = MAX_ID) -> str | None:
    """The value if it can be a provider's id: printable ASCII without spaces, at most `limit` characters; else None."""
    sound = value is not None and 0 < len(value) <= limit and value.isascii() and value.isprintable()
    return value if sound and value is not None and " " not in value else None


def as_price(amount: str | None, currency: str | None) -> str | None:
    """ "0.0075 USD"; None unless it is a plain number (a sign, which tells who pays, is dropped) and three letters."""
    if amount is None or currency is None or not _AMOUNT.fullmatch(amount) or not _CURRENCY.fullmatch(currency):
        return None
    return f"{amount.removeprefix('-')} {currency}"


def retry_after_ms(response: Response) -> int | None:
    """The wait in milliseconds that a Retry-After header asks for; None when there is none or it cannot be read.

    Seconds or an HTTP-date (RFC 9110, section 10.2.3). A date is compared with the answer's own Date header, so that
    our clock plays no part; without that header a date says nothing. A date that has passed is a wait of 0.
    """
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(int(value[:12]) * 1_000, MAX_WAIT_MS)
    until, now = http_date(value), http_date(response.headers.get("date", ""))
    if until is None or now is None:
        return None
    return min(max(0, round((until - now).total_seconds() * 1_000)), MAX_WAIT_MS)


def http_date(value: str) -> datetime | None:
    """An HTTP-date or RFC 2822 date; a date without a zone is UTC. None when it is neither."""
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
