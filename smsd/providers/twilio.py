"""How does one speak with Twilio's Programmable Messaging (API 2010-04-01)?

A dialect: a Call becomes the form-encoded POST that Twilio documents, its answer becomes a Verdict, and because Twilio
has neither an idempotency key nor a field for our reference, an uncertain attempt is looked up by what it said (list of
messages to that number, compared by text and time). It opens no socket and keeps nothing between calls.

Facts are from Twilio's OpenAPI document (twilio_api_v2010.json), its error dictionary
(https://www.twilio.com/docs/api/errors) and its SDK for Python. What matters most: a 429 was never processed; a 500 on
a send may have been sent; a body's code decides before the HTTP status does.

How the look-up reads: a listed message is ours when recipient and text agree, it has not failed, and it was created no
earlier than SKEW_MS before the attempt was claimed. The skew is generous, because finding an older equal text costs
little (ids that belong to another message are never bound again, and of several the nearest in time is the first)
while missing ours, where our clock is ahead of Twilio's, would double it. One page of 50 is asked for, newest first;
when nothing on a full page matches and the page does not reach back to the attempt, the answer is "unanswered", never
"absent". The same holds when Twilio withholds texts (ContentRetention=discard) or lists what cannot be read.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar
from urllib.parse import quote, quote_plus

from smsd.core.receipt import ReceiptReading
from smsd.core.units import HOUR, MINUTE, SECOND
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.providers import signatures, twilio_hooks
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
    SettingsError,
    Unanswered,
    check_each,
    check_secret,
    check_url,
    marked_callback,
)
from smsd.providers.readings import (
    AUTH,
    CONTENT,
    INVALID,
    LATER,
    OPTED_OUT,
    SENDER,
    SETUP,
    UNCERTAIN,
    VALUE,
    Reading,
    as_id,
    as_price,
    by_status,
    http_date,
    json_object,
    retry_after_ms,
    text_of,
)
from smsd.providers.twilio_hooks import MAX_SID, RECEIPTS

__all__ = ("CODES", "PAGE_SIZE", "RECEIPTS", "SKEW_MS", "Twilio")

SKEW_MS = 10 * MINUTE
"""How far Twilio's clock may be behind ours before a look-up misses a message."""

PAGE_SIZE = 50

MAX_PAGE = 1_048_576
"""Bytes of a list's answer: 50 messages of 1,600 characters, each escaped to six, are 0.5 MiB."""

VALIDITY_S = 36_000
"""Seconds that Twilio keeps a message in its queue at most, and unless ValidityPeriod says less."""

TRIAL = "Sent from your Twilio trial account - "
"""What Twilio puts before every text of a trial account; the list shows it."""

_PAGE = re.compile(r"/errors/([0-9]{5})$")


def _throttled(scope: Scope, wait_ms: int | None = None) -> Reading:
    return Reading(Category.RATE_LIMITED, scope, Fate.DEFER, wait_ms)


def _each(reading: Reading, codes: Iterable[int]) -> Iterator[tuple[str, Reading]]:
    return ((str(code), reading) for code in codes)


CODES: Mapping[str, Reading] = MappingProxyType(
    dict(
        (
            # credentials, funds, suspension, actions that are switched off
            *_each(AUTH, (*range(20002, 20008), 20009, 20010, 20403, 10001, 30002)),
            *_each(AUTH, (*range(20101, 20108), *range(20151, 20161))),
            # too fast: the account's concurrent requests; its scheduled messages (they go out by the hour), and its
            # daily cap, which ends by itself at an hour that Twilio does not say
            *_each(_throttled(Scope.PROVIDER), (20429,)),
            *_each(_throttled(Scope.PROVIDER, HOUR), (35125, 63038)),
            # a sender's queue holds ten hours of segments; its campaign's rate
            *_each(_throttled(Scope.SENDER, 5 * MINUTE), (21611,)),
            *_each(_throttled(Scope.SENDER), (30022,)),
            # more than 15 messages of a pair in 30 s look like a loop; fraud protection blocks for 15 to 30 minutes
            *_each(_throttled(Scope.RECIPIENT, 30 * SECOND), (14107,)),
            *_each(_throttled(Scope.RECIPIENT, 15 * MINUTE), (30450,)),
            # not processed, may pass later; 20500 may have been sent
            *_each(LATER, (20503, 21730, 20409, 20162)),
            *_each(UNCERTAIN, (20500,)),
            # the recipient can never get it, or opted out
            *_each(INVALID, (21211, 21214, 21217, 21265, 21268, 21612, 21614, 21635)),
            *_each(OPTED_OUT, (21610,)),
            # text or media refused
            *_each(CONTENT, (21605, 21617, 21618, 21620, 21623, 21654, 21655, 21656, 21658, 30007)),
            # From: not valid, not ours, cannot send SMS, ambiguous, a name that is not allowed, not registered
            *_each(SENDER, (21212, 21267, 21407, 21601, 21603, 21606, 21607, 21616)),
            *_each(SENDER, (21657, 21659, 21660, 21661, 21708, 21709, 30032, 30034)),
            # To and Body: one of them is missing, To is From, not verified by a trial account, or in a region that is
            # not enabled; no sender of the service reaches it
            *_each(VALUE, (21219, 21266, 21408, 21602, 21604, 21608, 21619, 21703)),
            # account or resource unknown, test credentials, callback URL, media set-up, messaging service
            *_each(SETUP, (20404, 20008, 21609, 21621, 21622, 21626, 21653)),
            *_each(SETUP, (21701, 21702, 21704, 21705, 21711)),
            # parameters that smsd or its configuration adds: validity, price, retention, rate, schedule
            *_each(SETUP, (21624, 21627, 30010, 30012, 30013, 30029, 30030, 30031, *range(35111, 35119))),
        )
    )
)
"""Every code that Twilio documents for the answer to a send."""


@dataclass(frozen=True)
class Twilio:
    """An account at Twilio. Raises SettingsError (naming fields and remedies) for settings that cannot work."""

    name: str
    account_sid: str
    auth_token: str = field(repr=False, metadata={"secret": True})
    base_url: str = "https://api.twilio.com"
    messaging_service_sid: str | None = None
    """MG...: Twilio chooses the sender from this service's pool; From is sent only where the caller named one."""
    api_key_sid: str | None = None
    """SK...: an API key, whose secret is then `auth_token`. It authorises; the URL names the account all the same."""
    webhook_auth_token: str | None = field(default=None, repr=False, metadata={"secret": True})
    """What Twilio signs its webhooks with beside `auth_token`: needed with an API key (the account's token), with a
    shared key for webhooks (its secret), and while a token is changed. Several stand with commas between them."""

    type: ClassVar[str] = "twilio"
    lookup: ClassVar[str] = "fuzzy"
    hooks: ClassVar[frozenset[HookKind]] = frozenset(HookKind)
    hook_answer: ClassVar[HookAnswer] = twilio_hooks.ANSWER
    reports_by_id: ClassVar[bool] = False
    answers_words: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_each(
            lambda: _check_sid("account_sid", self.account_sid, "AC"),
            lambda: check_secret("auth_token", self.auth_token, "the Twilio console", spaces=False),
            lambda: check_url("base_url", self.base_url, "https://api.twilio.com"),
            lambda: _check_sid("messaging_service_sid", self.messaging_service_sid, "MG"),
            lambda: _check_sid("api_key_sid", self.api_key_sid, "SK"),
            self._check_webhook_tokens,
        )

    def _check_webhook_tokens(self) -> None:
        for token in [] if self.webhook_auth_token is None else self.webhook_auth_token.split(","):
            check_secret("webhook_auth_token", token.strip(), "the Twilio console", spaces=False)

    @property
    def picks_sender(self) -> bool:
        """A messaging service does."""
        return bool(self.messaging_service_sid)

    @cached_property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/2010-04-01/Accounts/{self.account_sid}/Messages.json"

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        return MappingProxyType({**self._authorization, "Content-Type": "application/x-www-form-urlencoded"})

    @cached_property
    def _authorization(self) -> Mapping[str, str]:
        user = self.api_key_sid or self.account_sid
        credentials = base64.b64encode(f"{user}:{self.auth_token}".encode()).decode()
        return MappingProxyType({"Authorization": f"Basic {credentials}"})

    def prepare(self, call: Call) -> Request:
        """The POST that creates the message; the callback URL gets message id (`m`) and attempt (`a`) as its query.

        What has less than ten hours to live says so, lest Twilio's queue delivers it after its end.
        """
        origin = f"&From={quote_plus(call.sender)}" if self._names_sender(call) else ""
        if self.messaging_service_sid:
            origin += f"&MessagingServiceSid={quote_plus(self.messaging_service_sid)}"
        form = f"To={quote_plus(call.recipient)}{origin}&Body={quote_plus(call.text)}"
        if call.callback_url:
            form += f"&StatusCallback={quote_plus(marked_callback(call.callback_url, call.id, call.attempt))}"
        left_s = (call.expires_at - call.now) // SECOND
        if left_s < VALIDITY_S:
            form += f"&ValidityPeriod={max(1, left_s)}"
        return Request("POST", self._url, self._headers, form.encode("ascii"), (call.text, call.recipient))

    def _names_sender(self, call: Call) -> bool:
        """From and MessagingServiceSid may stand together: the service then sends from that one of its senders."""
        return call.asked or not self.messaging_service_sid

    def classify(self, response: Response) -> Verdict:
        """What the answer to a send means: an sid in a 2xx; else the body's code; else the HTTP status."""
        answer = json_object(response.body)
        if answer is not None and 200 <= response.status < 300:
            sid = _sid(answer)
            return by_status(response) if sid is None else _accepted(sid, answer)
        code = _code(answer)
        reading = None if code is None else CODES.get(code)
        if reading is None:
            return by_status(response, answer, code)
        said = (text_of(answer, key) for key in ("message", "detail", "title"))
        words = next(filter(None, said), f"Twilio refused it with code {code}")
        return reading.verdict(words, code, retry_after_ms(response))

    def ask(self, call: Call) -> Request:
        """The list of messages to the recipient (and from the sender, unless a service chose it), newest first.

        No date filter: it works on the sent date, which a message just accepted does not have.
        """
        query = f"To={quote(call.recipient, safe='')}"
        if self._names_sender(call):
            query += f"&From={quote(call.sender, safe='')}"
        return Request(
            "GET",
            f"{self._url}?{query}&PageSize={PAGE_SIZE}",
            self._authorization,
            private=(call.text, call.recipient),
            max_answer=MAX_PAGE,
        )

    def find(self, response: Response, call: Call) -> Finding:
        """Whether the list holds the call's message (`call.now`: when the attempt was claimed)."""
        answer = json_object(response.body)
        listed = None if answer is None else answer.get("messages")
        if response.status != 200 or answer is None or not isinstance(listed, list):
            return Unanswered(f"the list of messages could not be read (HTTP {response.status})")
        items = [item for item in listed if isinstance(item, dict)]
        since = call.now - SKEW_MS
        near = [item for item in items if (created := _created_ms(item)) is None or created >= since]
        ours = [item for item in near if _is_ours(item, call)]
        ours.sort(key=lambda item: abs((_created_ms(item) or call.now) - call.now))
        sids = tuple(filter(None, map(_sid, ours)))
        if sids:
            return Found(sids)
        if ours or len(items) < len(listed):
            return Unanswered("the list holds messages that cannot be read")
        if not all(text_of(item, "body") for item in near):
            return Unanswered("Twilio withholds the texts of this account, so messages cannot be compared")
        if (len(items) >= PAGE_SIZE or answer.get("next_page_uri")) and len(near) == len(items):
            return Unanswered(f"the newest {PAGE_SIZE} messages do not reach back to the attempt")
        return Absent()

    @cached_property
    def _webhook_tokens(self) -> tuple[str, ...]:
        """Twilio signs with the account's token. The secret of an API key signs nothing."""
        own = () if self.api_key_sid else (self.auth_token,)
        return (*own, *(token.strip() for token in (self.webhook_auth_token or "").split(",") if token.strip()))

    @property
    def signs(self) -> bool:
        """Not where there is an API key's secret alone."""
        return bool(self._webhook_tokens)

    def verify(self, hook: Hook) -> None:
        """Raises HookRefusedError unless Twilio signed it."""
        signatures.twilio(hook, self._webhook_tokens)

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        """A status callback or an inbound message. Raises HookUnreadableError."""
        return twilio_hooks.read(hook)

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        """What an ErrorCode means; None: it is not documented."""
        return RECEIPTS.get(code)

    def fingerprint(self) -> str:
        """SHA-256 over account, key, token, service and URL."""
        parts = [self.account_sid, self.auth_token, self.messaging_service_sid or "", self.base_url]
        parts += [self.api_key_sid] if self.api_key_sid else []
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _check_sid(key: str, sid: str | None, prefix: str) -> None:
    """Raises SettingsError for what is no sid of that kind. None is no fault: the key is not set."""
    if sid is not None and not (sid.startswith(prefix) and sid.isascii() and sid.isalnum()):
        raise SettingsError((key, f"is no sid that begins with {prefix}; copy it from the Twilio console"))


def _sid(item: Mapping[str, object]) -> str | None:
    return as_id(text_of(item, "sid"), MAX_SID)


def _code(answer: Mapping[str, object] | None) -> str | None:
    """The error's code: `code`; where that is missing, the end of the address that explains it.

    The addresses are `more_info` of the older errors and `type` of problem details (RFC 9457, section 3.1.1).
    """
    code = text_of(answer, "code")
    if code is not None:
        return code
    pages = (_PAGE.search(text_of(answer, key) or "") for key in ("more_info", "type"))
    return next((found[1] for found in pages if found), None)


def _accepted(sid: str, answer: Mapping[str, object]) -> Verdict:
    """A price is usually null at first and billed later; Twilio writes costs as negative amounts."""
    price = as_price(text_of(answer, "price"), text_of(answer, "price_unit"))
    return accepted(sid, price=price, segments=_number(text_of(answer, "num_segments")) or None)


def _number(text: str | None) -> int:
    """Twilio writes some numbers as strings. 0 for what is none; no code is 0, and a service counts 0 at first."""
    return int(text) if text is not None and len(text) < 10 and text.isascii() and text.isdigit() else 0


def _created_ms(item: Mapping[str, object]) -> int | None:
    date = http_date(text_of(item, "date_created") or "")
    return None if date is None else round(date.timestamp() * 1_000)


def _is_ours(item: Mapping[str, object], call: Call) -> bool:
    """Recipient and text agree and it has not failed. A message that failed at Twilio was not sent on."""
    if text_of(item, "status") in {"failed", "canceled"} or text_of(item, "direction") == "inbound":
        return False
    if text_of(item, "to") not in {None, call.recipient}:
        return False
    text = text_of(item, "body") or ""
    return _same(text, call.text) or _same(text, TRIAL + call.text)


def _same(one: str, other: str) -> bool:
    """Equal but for line ends and space around, which providers trim."""
    return one == other or one.replace("\r\n", "\n").strip() == other.replace("\r\n", "\n").strip()
