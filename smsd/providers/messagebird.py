"""How does one speak with MessageBird's SMS API (rest.messagebird.com, now of Bird)?

A dialect: a Call becomes the JSON POST that MessageBird documents and its answer becomes a Verdict. Our id travels as
`reference`, which the list of messages shows, so an uncertain attempt is looked up exactly. There is no idempotency
key. It opens no socket and keeps nothing between calls. Bird's newer platform (api.bird.com) speaks otherwise and is
not known here.

Facts are from MessageBird's API description (https://developers.messagebird.com/api/sms-messaging), its SDK for Python
(messagebird 2.2.0) and Bird's "SMS platform extended error codes" (https://docs.bird.com). What matters most:
`datacoding` is "plain" unless said, which loses what GSM 03.38 lacks; one code is used for every bad value, and
`parameter` says which value it was; a 201 may show that its recipient has already failed.

Of several errors in one answer the gravest decides: one that leaves open whether the message was taken, then one about
the account or our set-up, then the sender, then the recipient. So no message fails by its number while every message
would meet the other error too.

How the look-up reads: a listed message is ours when its `reference` is our id, whenever it was created: our clock may
be wrong by up to SKEW_MS, and the ids of earlier attempts (an operator's retry sends the same reference again) are
known to the engine, which leaves them out. One that has failed and was created before the attempt is an earlier
attempt's too, refused in its answer and so not known to the engine; sending again doubles nothing then. A message with
our reference and no usable id, or without a reference at all, says "unanswered". The order of the list is not
documented. So, when no listed message is ours, a page that does not hold the whole list says "unanswered" too, unless
it is sorted newest first and reaches back before the attempt; never "absent".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote

import msgspec

from smsd.core.message import Encoding, Instant
from smsd.core.receipt import ReceiptReading
from smsd.core.units import DAY, HOUR, MINUTE, SECOND
from smsd.core.verdict import Fate, Scope, Verdict, accepted
from smsd.providers import messagebird_hooks, tokens
from smsd.providers.base import (
    Absent,
    Call,
    Finding,
    Found,
    Hook,
    HookAnswer,
    HookKind,
    InboundText,
    Report,
    Request,
    Response,
    Unanswered,
    check_each,
    check_secret,
    check_url,
    marked_callback,
)
from smsd.providers.forms import instant_of
from smsd.providers.keys import by_any, keys_of, named
from smsd.providers.messagebird_hooks import MAX_ID, RECEIPTS
from smsd.providers.readings import (
    AUTH,
    CONTENT,
    INVALID,
    LATER,
    OPTED_OUT,
    SENDER,
    SETUP,
    THROTTLED,
    UNCERTAIN,
    VALUE,
    Reading,
    as_id,
    by_status,
    json_object,
    retry_after_ms,
    text_of,
)

__all__ = ("ABOUT_A_VALUE", "BY_PARAMETER", "CODES", "FAILED", "PAGE_SIZE", "RECEIPTS", "SKEW_MS", "MessageBird")

MAX_VALIDITY_S = 7 * DAY // SECOND
"""MessageBird's own default, a week. A longer end of life is cut to it, a passed one is 1 s, the least it takes."""

SKEW_MS = HOUR
"""How far MessageBird's clock may be off ours, either way, before a look-up misses a message."""

EARLIER_MS = MINUTE
"""How long before the claim one that has failed was created, so that it is taken for an earlier attempt's."""

AHEAD_MS = SKEW_MS + 15 * MINUTE
"""How long after the claim the message may have been created: skew and more than the longest timeout of a call."""

PAGE_SIZE = 20
"""The documented default. In these hours few messages go to one number, and a larger page has no documented bound."""

MAX_PAGE = 524_288
"""Bytes of a list's answer: 20 messages of 1,377 characters, each escaped to six, are 0.2 MiB."""


CODES: Mapping[str, Reading] = MappingProxyType(
    {
        "2": AUTH,
        "9": VALUE,
        "10": VALUE,
        "20": SETUP,
        "21": SETUP,
        "25": AUTH,
        "98": SETUP,
        "99": UNCERTAIN,
        "429": THROTTLED,
    }
)
"""Codes of an error whose `parameter` says nothing more. 20 and above are not in the API's description."""

BY_PARAMETER: Mapping[str, Reading] = MappingProxyType(
    {
        "recipient": INVALID,
        "recipients": INVALID,
        "originator": SENDER,
        "body": CONTENT,
        "access_key": AUTH,
    }
)
"""What the codes in ABOUT_A_VALUE mean by the parameter they name; every other one is a parameter that smsd adds."""

ABOUT_A_VALUE = frozenset({"9", "10", "21"})

FAILED: Mapping[str, Reading] = MappingProxyType(
    {
        **dict.fromkeys(("1", "2", "3", "5", "9", "11", "13"), INVALID),
        **dict.fromkeys(("27", "31", "32", "33", "34", "35", "36"), LATER),
        "103": OPTED_OUT,
        "104": SENDER,
        **dict.fromkeys(("105", "106", "110"), CONTENT),
    }
)
"""`statusErrorCode` of a recipient that has failed already in the answer to the send: nothing went out."""

_ENDED = frozenset({"delivery_failed", "expired"})
_PARAMETER = re.compile(r"[a-z_]+")
_PRICE = re.compile(r"-?[0-9]{1,9}(?:\.[0-9]{1,9})? [A-Za-z]{3}")
_SCOPES = (Scope.PROVIDER, Scope.SENDER, Scope.RECIPIENT, Scope.MESSAGE)


@dataclass(frozen=True)
class MessageBird:
    """An account at MessageBird. Raises SettingsError with all settings that cannot work."""

    name: str
    access_key: str = field(repr=False, metadata={"secret": True})
    base_url: str = "https://rest.messagebird.com"
    signing_key: str | tuple[str, ...] | None = field(default=None, repr=False, metadata={"secret": True})
    """What MessageBird signs its webhooks with, or several while it is changed. It is not the access key."""

    type: ClassVar[str] = "messagebird"
    lookup: ClassVar[str] = "exact"
    hooks: ClassVar[frozenset[HookKind]] = frozenset(HookKind)
    hook_answer: ClassVar[HookAnswer] = messagebird_hooks.ANSWER
    reports_by_id: ClassVar[bool] = False
    answers_words: ClassVar[bool] = False
    """Bird answers STOP for some countries and numbers only; where it does, it refuses a second answer (code 103)."""

    def __post_init__(self) -> None:
        source, signing = (f"MessageBird's dashboard (Developers, {page})" for page in ("API access", "API settings"))
        check_each(
            lambda: check_secret("access_key", self.access_key, source, spaces=False),
            lambda: check_url("base_url", self.base_url, "https://rest.messagebird.com"),
            *(partial(check_secret, key, each, signing) for key, each in named("signing_key", self.signing_key)),
        )

    @cached_property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/messages"

    @cached_property
    def _authorization(self) -> Mapping[str, str]:
        return MappingProxyType({"Authorization": f"AccessKey {self.access_key}", "Accept": "application/json"})

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        return MappingProxyType({**self._authorization, "Content-Type": "application/json"})

    def prepare(self, call: Call) -> Request:
        """The POST that creates the message. Without a reference MessageBird would send no reports."""
        fields: dict[str, object] = {
            "originator": call.sender.lstrip("+"),
            "body": call.text,
            "recipients": call.recipient.lstrip("+"),
            "datacoding": "plain" if call.encoding is Encoding.GSM7 else "unicode",
            "reference": call.id,
            "validity": max(1, min((call.expires_at - call.now) // SECOND, MAX_VALIDITY_S)),
        }
        if call.callback_url:
            fields["reportUrl"] = marked_callback(call.callback_url, call.id, call.attempt)
        return Request("POST", self._url, self._headers, msgspec.json.encode(fields), _private(call))

    def classify(self, response: Response) -> Verdict:
        """What the answer means: a 2xx by id and recipient; else the gravest of its errors; else the HTTP status."""
        answer = json_object(response.body)
        if 200 <= response.status < 300 and answer is not None and not answer.get("errors"):
            return _created(answer, response)
        wait = retry_after_ms(response)
        errors = [] if answer is None else _dicts(answer.get("errors"))
        known = [(error, reading) for error in errors if (reading := _reading(error)) is not None]
        if known:
            error, reading = min(known, key=lambda pair: _gravity(pair[1]))
            code = text_of(error, "code")
            return reading.verdict(
                text_of(error, "description") or f"MessageBird refused it with code {code}", code, wait
            )
        first = next(iter(errors), {})
        words = text_of(first, "description")
        return by_status(response, {"message": words} if words else answer, text_of(first, "code"))

    def ask(self, call: Call) -> Request:
        """The list of messages to the recipient around the attempt (`call.now`: when it was claimed)."""
        since, until = _rfc3339(call.now - SKEW_MS), _rfc3339(call.now + AHEAD_MS)
        query = f"recipient={call.recipient.lstrip('+')}&from={quote(since)}&until={quote(until)}&limit={PAGE_SIZE}"
        return Request("GET", f"{self._url}?{query}", self._authorization, private=_private(call), max_answer=MAX_PAGE)

    def find(self, response: Response, call: Call) -> Finding:
        """Whether the list holds the call's message. One that failed at MessageBird was taken; a report says so."""
        answer = json_object(response.body)
        listed = None if answer is None else answer.get("items")
        if response.status != 200 or answer is None or not isinstance(listed, list):
            return Unanswered(f"the list of messages could not be read (HTTP {response.status})")
        items = _dicts(listed)
        ours = [item for item in items if text_of(item, "reference") == call.id and not _is_earlier(item, call.now)]
        usable = [item for item in ours if _id(item) is not None]
        if usable:
            usable.sort(key=lambda item: (_has_failed(item), abs((_created_ms(item) or call.now) - call.now)))
            return Found(tuple(id for item in usable if (id := _id(item)) is not None))
        if ours:
            return Unanswered("the list shows it without a usable id")
        if len(items) != len(listed) or not all(_has_reference(item) for item in items):
            return Unanswered("the list holds what is no message with a reference")
        total = answer.get("totalCount")
        whole = len(items) >= total if isinstance(total, int) else len(items) < PAGE_SIZE
        if not whole and not _reaches_back(items, call.now - SKEW_MS):
            return Unanswered(f"a page of {len(items)} messages does not hold all since the attempt")
        return Absent()

    @property
    def signs(self) -> bool:
        """With a `signing_key`."""
        return self.signing_key is not None

    def verify(self, hook: Hook) -> None:
        """Raises HookRefusedError unless MessageBird signed it."""
        by_any(keys_of(self.signing_key), partial(tokens.messagebird_jwt, hook))

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        """A status report or an inbound text. Raises HookUnreadableError."""
        return messagebird_hooks.read(hook)

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        """What a statusErrorCode means; None: it is in no table."""
        return RECEIPTS.get(code)

    def fingerprint(self) -> str:
        """SHA-256 over access key and URL."""
        return hashlib.sha256("\0".join((self.access_key, self.base_url)).encode()).hexdigest()


def _private(call: Call) -> tuple[str, ...]:
    """MessageBird writes the recipient without a plus sign."""
    return (call.text, call.recipient, call.recipient.lstrip("+"))


def _dicts(value: object) -> list[dict[str, object]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _reading(error: Mapping[str, object]) -> Reading | None:
    """By the parameter that a code about a value names ("recipients[0]" is recipients), else by the code."""
    code = text_of(error, "code") or ""
    named = _PARAMETER.match((text_of(error, "parameter") or "").lower())
    if code in ABOUT_A_VALUE and named:
        return BY_PARAMETER.get(named[0], SETUP)
    return CODES.get(code)


def _gravity(reading: Reading) -> tuple[bool, int]:
    return reading.fate is not Fate.UNKNOWN, _SCOPES.index(reading.scope)


def _created(answer: Mapping[str, object], response: Response) -> Verdict:
    id = _id(answer)
    if id is None:
        return by_status(response)
    recipient = _recipient(answer)
    if not _has_failed(answer):
        return accepted(id, price=_price(recipient), segments=_count(recipient))
    code, status = text_of(recipient, "statusErrorCode"), text_of(recipient, "status")
    reason = text_of(recipient, "statusReason")
    words = f"MessageBird says of the message: {status}{f' ({reason})' if reason else ''}"
    verdict = FAILED.get(code or "", CONTENT).verdict(words, code or status, None)
    verdict.unlisted = code is not None and code not in FAILED
    return verdict


def _recipient(message: Mapping[str, object]) -> Mapping[str, object]:
    """The message's only recipient; empty when it names none or several."""
    recipients = message.get("recipients")
    items = _dicts(recipients.get("items")) if isinstance(recipients, dict) else []
    return items[0] if len(items) == 1 else {}


def _has_failed(message: Mapping[str, object]) -> bool:
    return text_of(_recipient(message), "status") in _ENDED


def _id(message: Mapping[str, object]) -> str | None:
    """Its id; None for what can be none."""
    return as_id(text_of(message, "id"), MAX_ID)


def _has_reference(item: Mapping[str, object]) -> bool:
    """Whether it says what its reference is; null says that it has none."""
    return "reference" in item and not isinstance(item["reference"], dict | list)


def _count(recipient: Mapping[str, object]) -> int | None:
    parts = recipient.get("messagePartCount")
    return parts if isinstance(parts, int) and not isinstance(parts, bool) and 0 < parts < 1_000 else None


def _price(recipient: Mapping[str, object]) -> str | None:
    """Where there is one it is {"amount": 0.05, "currency": "EUR"}."""
    price = recipient.get("price")
    if not isinstance(price, dict):
        return None
    amount, currency = price.get("amount"), text_of(price, "currency")
    text = text_of(price, "amount")
    if isinstance(amount, float) and 0 <= amount < 10**6:
        text = f"{amount:.6f}".rstrip("0").rstrip(".")
    return f"{text} {currency}" if text and currency and _PRICE.fullmatch(f"{text} {currency}") else None


def _rfc3339(at: Instant) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).isoformat()


def _created_ms(item: Mapping[str, object]) -> Instant | None:
    return instant_of(text_of(item, "createdDatetime"))


def _is_earlier(item: Mapping[str, object], claimed: Instant) -> bool:
    created = _created_ms(item)
    return _has_failed(item) and created is not None and created < claimed - EARLIER_MS


def _reaches_back(items: Sequence[Mapping[str, object]], since: Instant) -> bool:
    """Sorted newest first, with the last one created before `since`."""
    dates = [created for item in items if (created := _created_ms(item)) is not None]
    return len(dates) == len(items) > 0 and dates == sorted(dates, reverse=True) and dates[-1] < since
