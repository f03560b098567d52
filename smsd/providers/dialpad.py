"""How does one speak with Dialpad's SMS API (Admin API v2)?

A dialect: a Call becomes the JSON POST that Dialpad documents and its answer becomes a Verdict. Dialpad takes no
callback address, no reference of ours, no end of life and no idempotency key, and shows no message that was sent, so an
uncertain attempt cannot be looked up. It opens no socket and keeps nothing between calls.

Facts are from Dialpad's API description (dialpad_api_spec.json of its SDK for Python) and its pages "HTTP status codes"
and "Rate limits" (https://developers.dialpad.com/docs). The shape of an error's body is not documented; what is read
here is what its users see. What matters most: a 200 may say that the message already failed, any 5xx may have been
sent, and a 403 means "not allowed" or, as users report, "too fast". Where its words do not tell which, the verdict is
only `suspect`, and what is known of the provider decides; a customer's message never fails by it.

An error has no code of its own beside the status: its words are searched, and only where it is said in words. What it
quotes is taken out before, and a mere STOP is no opt-out: a body that repeats a text of ours would else suppress its
recipient. Any pattern is searched in MAX_WORDS characters at most and takes time in proportion to them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType
from typing import ClassVar

import msgspec

from smsd.core.receipt import ReceiptReading
from smsd.core.units import MINUTE
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.providers import dialpad_hooks, dialpad_registration, tokens
from smsd.providers.base import (
    Call,
    Finding,
    Hook,
    HookAnswer,
    HookKind,
    InboundText,
    Report,
    Request,
    Response,
    SettingsError,
    check_each,
    check_secret,
    check_url,
)
from smsd.providers.dialpad_hooks import MAX_ID, RECEIPTS
from smsd.providers.keys import by_any, keys_of, named
from smsd.providers.readings import (
    AUTH,
    CONTENT,
    INVALID,
    LATER,
    OPTED_OUT,
    SENDER,
    SETUP,
    UNCERTAIN,
    Reading,
    as_id,
    by_status,
    json_object,
    retry_after_ms,
    text_of,
)

__all__ = ("CODES", "RECEIPTS", "STATUSES", "Dialpad")

MAX_PAGE = 4_096
"""Bytes of an answer that is no JSON which are searched."""

MAX_WORDS = 2_000
"""Characters of an error's words that are searched."""

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,128}")
_MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)

GROUPS = ("callcenter", "department", "office")

THROTTLED = Reading(Category.RATE_LIMITED, Scope.PROVIDER, Fate.DEFER, 1 * MINUTE)
"""Dialpad's limits are per minute."""
SUSPECT = Reading(Category.RATE_LIMITED, Scope.PROVIDER, Fate.DEFER)

CODES: Mapping[str, Reading] = MappingProxyType(
    {
        "internal_error": LATER,
        "time_out": UNCERTAIN,
        "invalid_destination": INVALID,
        "no_route": INVALID,
        "not_supported": INVALID,
        "invalid_source": SENDER,
        "rejected": CONTENT,
        "rejected_spam": CONTENT,
        "failed": UNCERTAIN,
    }
)
"""`message_delivery_result` of a 200, all values but "accepted"; "failed" is a `message_status` without a result.

What timed out may have been delivered. What failed without a reason, or with a new one, may have been too.
"""

STATUSES: Mapping[int, Reading] = MappingProxyType(
    {
        401: AUTH,
        404: SETUP,
        409: LATER,
        413: CONTENT,
        429: THROTTLED,
        **dict.fromkeys((500, 502, 503, 504), UNCERTAIN),
    }
)
"""HTTP statuses whose words decide nothing. 503 is uncertain here: Dialpad promises nothing about it."""

_RATE_EXCEEDED = re.compile(r"rate[ _-]?limit[ _-]?exceeded|too many requests", re.IGNORECASE)
"""Said under any status. Less than this may be about the request: "too many characters"."""

_NAMED = re.compile(r"""(?<!\w)(['"`])(\w{1,40})\1(?!\w)""")
_QUOTED = re.compile(
    r"""(?<!\w)(?:'(?:.*'(?!\w)|.*)|"(?:.*"|.*)|`(?:.*`|.*)|\u201c(?:.*\u201d|.*)|\u2018(?:.*\u2019|.*))""", re.DOTALL
)
"""From the first mark to the last, for what is quoted may hold such marks; to the end where none closes it."""

_FROM = r"\bfrom_?number\b|\bfrom number\b|\buser_id\b|\bsender"
_TO = r"\bto_?numbers?\b|\bto number\b|\brecipients?\b|\bdestination"
_OPTED = r"(?<![a-z])opted[ _-]?out(?![a-z])|\b(?:has|have|is|was|been|recipient|contact|number) unsubscribed\b"
_OPT_OUT = r"(?<![a-z])opt[_-]out(?![a-z])"
_TELLS_HOW = r"\A(?!.*\b(?:stop|reply|txt|to opt-out)\b)"
"""Words that do not tell how to opt out, as texts do: "reply STOP to opt-out"."""

_Rule = tuple[tuple[re.Pattern[str], ...], Reading]


def _rule(reading: Reading, *patterns: str) -> _Rule:
    return tuple(re.compile(pattern, re.IGNORECASE | re.DOTALL) for pattern in patterns), reading


_OPT_OUTS = (_rule(OPTED_OUT, _OPTED), _rule(OPTED_OUT, _OPT_OUT, _TELLS_HOW))

WORDS: Mapping[int, tuple[_Rule, ...]] = MappingProxyType(
    {
        400: (
            *_OPT_OUTS,
            _rule(CONTENT, _FROM, _TO),
            _rule(SENDER, _FROM),
            _rule(INVALID, _TO),
            _rule(CONTENT, r"\bspam|\bcontent\b|\btext\b|\bmedia\b|too long"),
        ),
        403: (
            _rule(THROTTLED, r"rate[ _-]?limit|too many|too fast|slow down|quota|throttl"),
            *_OPT_OUTS,
            _rule(SETUP, r"a2p|regist"),
            _rule(AUTH, r"permission|scope|admin|not allowed"),
        ),
        404: (_rule(SENDER, _FROM),),
    }
)
"""What an error's words mean under its status; the first whose patterns are all found counts."""


@dataclass(frozen=True)
class Dialpad:
    """A company at Dialpad. Raises SettingsError (naming fields and remedies) for settings that cannot work."""

    name: str
    api_key: str = field(repr=False, metadata={"secret": True})
    base_url: str = "https://dialpad.com"
    user_id: str | None = None
    """Dialpad sends from this user's number, or its group's; from_number is sent only where the caller named one."""
    sender_group_id: str | None = None
    sender_group_type: str | None = None
    """callcenter | department | office"""
    webhook_secret: str | tuple[str, ...] | None = field(default=None, repr=False, metadata={"secret": True})
    """What Dialpad signs its events with: made by us, told to Dialpad by `smsd provider register` (of several the
    first), in no URL."""

    type: ClassVar[str] = "dialpad"
    lookup: ClassVar[str] = "none"
    hooks: ClassVar[frozenset[HookKind]] = frozenset(HookKind)
    hook_answer: ClassVar[HookAnswer] = dialpad_hooks.ANSWER
    reports_by_id: ClassVar[bool] = True
    answers_words: ClassVar[bool] = True
    """Dialpad answers STOP, UNSTOP and HELP (help.dialpad.com, "Opt in and out of SMS messages"); toll-free numbers'
    STOP is answered by their network."""

    def __post_init__(self) -> None:
        check_each(
            lambda: check_secret("api_key", self.api_key, "Dialpad's admin portal (API keys)", spaces=False),
            lambda: check_url("base_url", self.base_url, "https://dialpad.com"),
            lambda: _check_id("user_id", self.user_id),
            lambda: _check_id("sender_group_id", self.sender_group_id),
            self._check_group,
            self._check_webhook_secret,
        )

    def _check_webhook_secret(self) -> None:
        fault = "is not 16 to 128 letters, digits, - and _; make one with `openssl rand -hex 32`"
        secrets = named("webhook_secret", self.webhook_secret)
        if wrong := [(key, fault) for key, secret in secrets if not _SECRET.fullmatch(secret)]:
            raise SettingsError(*wrong)

    def _check_group(self) -> None:
        if self.sender_group_type not in {None, *GROUPS}:
            raise SettingsError(("sender_group_type", f"not a kind of group; use one of {', '.join(GROUPS)}"))
        if (self.sender_group_id is None) != (self.sender_group_type is None):
            fault = "a group needs both sender_group_id and sender_group_type; set both"
            raise SettingsError(("sender_group_id", fault))
        if self.sender_group_id is not None and self.user_id is None:
            raise SettingsError(("user_id", "missing; Dialpad sends for a group only on behalf of one of its users"))

    @property
    def picks_sender(self) -> bool:
        """It does where a user is named."""
        return self.user_id is not None

    @cached_property
    def _webhook_secrets(self) -> tuple[str, ...]:
        return keys_of(self.webhook_secret)

    @cached_property
    def _url(self) -> str:
        return f"{self.base_url.rstrip('/')}/api/v2/sms"

    @cached_property
    def _headers(self) -> Mapping[str, str]:
        return MappingProxyType({"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"})

    @cached_property
    def _origin(self) -> Mapping[str, object]:
        origin: dict[str, object] = {}
        if self.user_id is not None:
            origin["user_id"] = int(self.user_id)
        if self.sender_group_id is not None:
            origin |= {"sender_group_id": int(self.sender_group_id), "sender_group_type": self.sender_group_type}
        return origin

    def prepare(self, call: Call) -> Request:
        """The POST that sends it, to one number: several in one call would share one id.

        A sender that the caller named stands alone: Dialpad takes the number that is said over user and group.
        """
        origin = self._origin if self._origin and not call.asked else {"from_number": call.sender}
        fields = {
            "text": call.text,
            "to_numbers": [call.recipient],
            **origin,
            "infer_country_code": False,
        }
        return Request("POST", self._url, self._headers, msgspec.json.encode(fields), (call.text, call.recipient))

    def classify(self, response: Response) -> Verdict:
        """What the answer means: a 2xx by what it says became of the message; else the words; else the status."""
        answer = json_object(response.body)
        if 200 <= response.status < 300:
            return _taken(response, answer)
        words, reason = _said(response, answer)
        reading = _by_words(response.status, words) or STATUSES.get(response.status)
        if reading is not None:
            return reading.verdict(words or _silent(response.status), reason, retry_after_ms(response))
        if response.status == 403:
            verdict = SUSPECT.verdict(words or _silent(response.status), reason, retry_after_ms(response))
            verdict.suspect = True
            return verdict
        return by_status(response, {"message": words} if words else None, reason)

    def ask(self, call: Call) -> Request:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("Dialpad shows no message that was sent and cannot be asked")

    def find(self, response: Response, call: Call) -> Finding:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("Dialpad shows no message that was sent and cannot be asked")

    @property
    def signs(self) -> bool:
        """With a `webhook_secret`."""
        return bool(self._webhook_secrets)

    def verify(self, hook: Hook) -> None:
        """Raises HookRefusedError unless Dialpad signed it."""
        by_any(self._webhook_secrets, partial(tokens.dialpad_jwt, hook))

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        """An SMS event. Raises HookUnreadableError."""
        return dialpad_hooks.read(hook)

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        """What a message_delivery_result means; None: it is not documented."""
        return RECEIPTS.get(code)

    def registration(self, url: str, known: Mapping[str, Response]) -> Request | str:
        """The next call that has events sent to `url`, or how it ended. Raises HookUnreadableError."""
        secret = next(iter(self._webhook_secrets), None)
        return dialpad_registration.next_step(self.base_url, self._headers, secret, url, known)

    def fingerprint(self) -> str:
        """SHA-256 over key, user, group and URL."""
        parts = (self.api_key, self.user_id, self.sender_group_id, self.sender_group_type, self.base_url)
        return hashlib.sha256("\0".join(part or "" for part in parts).encode()).hexdigest()


def _check_id(key: str, id: str | None) -> None:
    if id is not None and not (id.isascii() and id.isdigit() and len(id) < 20):
        raise SettingsError((key, 'is not an id of Dialpad; it is a number, written like "5780678246121472"'))


def _taken(response: Response, answer: Mapping[str, object] | None) -> Verdict:
    """The verdict on a 2xx."""
    result = text_of(answer, "message_delivery_result") or ""
    failed = text_of(answer, "message_status") == "failed"
    code = result or ("failed" if failed else "")
    reading = CODES.get(code)
    if reading is not None or failed:
        said = f"Dialpad says of the message: {code}"
        verdict = (reading or CODES["failed"]).verdict(said, code, retry_after_ms(response))
        verdict.unlisted = reading is None
        return verdict
    id = as_id(text_of(answer, "id"), MAX_ID)
    return by_status(response) if id is None else accepted(id)


def _by_words(status: int, words: str) -> Reading | None:
    searched = _QUOTED.sub(" ", _NAMED.sub(r" \2 ", words[:MAX_WORDS]))
    if _RATE_EXCEEDED.search(searched):
        return THROTTLED
    for patterns, reading in WORDS.get(status, ()):
        if all(pattern.search(searched) for pattern in patterns):
            return reading
    return None


def _silent(status: int) -> str:
    wrong = ": base_url, or the user or group of the configuration, is probably wrong" if status == 404 else ""
    return f"Dialpad answered HTTP {status}{wrong}"


def _said(response: Response, answer: Mapping[str, object] | None) -> tuple[str, str | None]:
    """The words of an error ("" when there are none) and the reason it names.

    A page of a proxy (a 5xx that is not JSON) and JSON that was cut off say nothing about the message.
    """
    if answer is None:
        page = response.status >= 500 or response.body.lstrip()[:1] in {b"{", b"["}
        return "" if page else _MARKUP.sub(" ", response.body[:MAX_PAGE].decode(errors="replace")).strip(), None
    error = answer.get("error")
    top = error if isinstance(error, dict) else answer
    listed = top.get("errors")
    details = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    reason = next(filter(None, (text_of(each, "reason") for each in details)), None)
    said = [text_of(each, key) for each in (top, answer, *details) for key in ("message", "error", "detail", "reason")]
    said += [text_of(each, key) for each in (top, answer) for key in ("status", "code")]
    return "; ".join(dict.fromkeys(each for each in said if each and not each.isdigit())), reason
