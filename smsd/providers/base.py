"""What must a provider's dialect be able to say?

A provider is a dialect, not a client: it turns a Call into a Request and a Response into a Verdict, and performs
neither; `engine.exchange` owns sockets, timeouts and traces for all of them. An adapter IS its settings: a frozen
dataclass whose fields are the keys its `[providers.NAME]` section takes beside the common ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable
from urllib.parse import quote, urlsplit

from smsd.core.consent import Word
from smsd.core.message import Encoding, Instant
from smsd.core.receipt import ReceiptReading, Status
from smsd.core.verdict import Category, Fate, Scope, Verdict

_DIGITS = r"[0-9](?:[ ().-]{0,2}[0-9])"
_NUMBER = re.compile(
    rf"(?:\+|%2B|\\u002B)[ ().-]{{0,2}}{_DIGITS}{{6,14}}(?![0-9])|(?<!\w){_DIGITS}{{9,15}}(?!\w)", re.IGNORECASE
)


def hide_numbers(text: str) -> str:
    """The text with everything that may be a phone number replaced by "[number]".

    A phone number is taken to be 7 to 15 digits after a plus sign (also as a URL or JSON may write it), wherever it
    stands, or 10 to 16 digits without one that are no part of a word; separated or not. So ids, dates and short codes
    stay readable. E.164 allows 15 digits.
    """
    return _NUMBER.sub("[number]", text)


class SettingsError(ValueError):
    """Settings that cannot work, all faults of them at once; its text is "key: fault and remedy", joined."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {message}" for key, message in faults))
        self.faults = faults
        """(key, what is wrong and the remedy), in the order of the checks."""


def check_each(*checks: Callable[[], None]) -> None:
    """Makes all checks and raises one SettingsError with the faults of all that raised one."""
    faults: list[tuple[str, str]] = []
    for check in checks:
        try:
            check()
        except SettingsError as error:
            faults += error.faults
    if faults:
        raise SettingsError(*faults)


def check_url(key: str, url: str, example: str) -> None:
    """Raises SettingsError for what is not a plain http(s) URL without credentials, query and fragment."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or parts.username or parts.query or parts.fragment or not url.isascii() or " " in url:
        raise SettingsError((key, f'is not a plain http(s) URL; write it like "{example}"'))


def check_secret(key: str, value: str, source: str, *, spaces: bool = True) -> None:
    """Raises SettingsError, which shows nothing of it, for what can be no token. `source`: where it is found.

    `spaces`: a space may be part of it, as in a password; the keys that providers issue have none.
    """
    if not value.strip():
        raise SettingsError((key, f"is empty; copy it from {source}"))
    if not value.isascii() or not value.isprintable():
        raise SettingsError((key, f"holds characters that no token has; copy it again from {source}"))
    if " " in value and not spaces:
        raise SettingsError((key, f"holds a space; copy it again from {source}, without what stands around it"))


def marked_callback(url: str, id: str, attempt: int | None) -> str:
    """The callback URL with the message's id (`m`) and the attempt (`a`, unless None) as its query.

    So a report proves which attempt was taken, also when the answer that named the provider's id was lost.
    """
    mark = "&" if "?" in url else "?"
    return f"{url}{mark}m={quote(id)}" + ("" if attempt is None else f"&a={attempt}")


@dataclass(slots=True)
class Call:
    """What an adapter is told about one attempt."""

    id: str
    """The message's id; it travels as our reference where the provider has a field for one."""
    attempt: int
    recipient: str
    sender: str
    text: str
    encoding: Encoding
    segments: int
    expires_at: Instant
    now: Instant
    """When the request is prepared. For a look-up of an uncertain attempt: when that attempt was claimed."""
    callback_url: str | None = None
    asked: bool = False
    """Whether the caller named the sender; else it was chosen from what is configured."""


@dataclass(slots=True)
class Request:
    """One HTTP request, complete. Its repr shows no header and no body: they hold credentials and texts."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(default=b"", repr=False)
    private: tuple[str, ...] = field(default=(), repr=False)
    """What a trace must not show should the answer repeat it: the text, the recipient."""
    max_answer: int = 65_536
    """Bytes of the answer's body to read at most; the rest is cut off."""


@dataclass(slots=True)
class Response:
    """A complete HTTP answer. Header names are lower case; the body is cut at `Request.max_answer`."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoConnection:
    """No connection was obtained (refused, DNS, TLS, connect timeout): nothing was taken."""

    detail: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """A connection was had and no readable answer came (timeout, reset): it may have been taken."""

    detail: str


Outcome = Response | NoConnection | NoAnswer


@dataclass(frozen=True, slots=True)
class Found:
    """The look-up found it: the provider's ids of candidates, best first (several: equal texts to one number)."""

    provider_message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """The look-up answered and the message is not there."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The look-up itself failed; ask again later."""

    detail: str


Finding = Found | Absent | Unanswered


class Provider(Protocol):
    """A dialect."""

    type: ClassVar[str]
    """The name used in `type = "..."`."""

    @property
    def lookup(self) -> str:
        """How an uncertain attempt is cleared up; for most dialects a constant of the class.

        "none": it cannot be asked. "fuzzy": a look-up finds it by content. "exact": a look-up finds it by our id.
        "key": the provider takes one key once, so the attempt is sent again, byte for byte, and `classify` reads the
        answer; `prepare` must then yield the same bytes for the same `call.id`, whatever `call.attempt` and `call.now`
        are.
        """
        ...

    def prepare(self, call: Call) -> Request:
        """The request that sends it."""
        ...

    def classify(self, response: Response) -> Verdict:
        """What the answer means."""
        ...

    def ask(self, call: Call) -> Request:
        """The request that looks an uncertain attempt up. Only called when lookup is "fuzzy" or "exact"."""
        ...

    def find(self, response: Response, call: Call) -> Finding:
        """What the look-up's answer says about the call."""
        ...

    def fingerprint(self) -> str:
        """A digest that changes when credentials or URL change; reveals nothing. A halt ends when it changes."""
        ...


@runtime_checkable
class SenderPicker(Protocol):
    """A dialect whose provider can choose the sender itself."""

    @property
    def picks_sender(self) -> bool:
        """Whether it does with these settings, so that a message may name no sender."""
        ...


@dataclass(frozen=True, slots=True)
class Performance:
    """What a provider inside this process does: wait `latency_ms`, then answer; `line`, if any, goes to stdout."""

    outcome: Outcome
    latency_ms: int = 0
    line: str | None = None


@runtime_checkable
class Local(Protocol):
    """A provider that answers inside this process (sandbox, console); the exchange opens no socket for it."""

    def perform(self, request: Request, draw: float) -> Performance:
        """Answer the request. `draw` is a random draw from [0, 1)."""
        ...


def read(provider: Provider, outcome: Outcome) -> Verdict:
    """The verdict on any outcome: what never reached the provider is read alike for all dialects."""
    match outcome:
        case Response():
            return provider.classify(outcome)
        case NoConnection(detail):
            return Verdict(Fate.DEFER, Category.NETWORK, Scope.MESSAGE, f"No connection to the provider: {detail}")
        case NoAnswer(detail):
            return Verdict(Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, f"No readable answer: {detail}")


# -- the way back -----------------------------------------------------------------------------------------------------


class HookKind(StrEnum):
    """The last word of a webhook's path; which items come by it depends on the provider."""

    STATUS = "status"
    INBOUND = "inbound"


@dataclass(frozen=True, slots=True)
class Hook:
    """A request that came in at one of our webhooks, as it came: what a signature is made over."""

    kind: HookKind
    method: str
    """GET or POST."""
    url: str = field(repr=False)
    """The whole URL that was called, query included, as the provider knows it: it begins with `[http] public_url`."""
    query: str = field(repr=False)
    """What follows the question mark, still encoded; empty: nothing."""
    headers: Mapping[str, str] = field(repr=False)
    """Names are lower case."""
    body: bytes = field(repr=False)
    now: Instant


class HookRefusedError(Exception):
    """The request does not prove that it comes from the provider. The text says why, for the log; it shows nothing of
    the request."""


class HookUnreadableError(Exception):
    """The request comes from the provider and cannot be read. The text says why, without numbers and texts."""

    def __init__(self, text: str, items: tuple[Report | InboundText, ...] = ()) -> None:
        super().__init__(text)
        self.items = items
        """What of it could be read; that is kept all the same, and the provider may bring the whole again."""


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery receipt as a dialect reads it. At least one of the two ids is there."""

    status: Status
    provider_message_id: str | None
    id: str | None = None
    """Our message id, where it came back."""
    attempt: int | None = None
    code: str | None = None
    words: str = ""
    """What the provider says of it: one line, numbers hidden, at most 200 characters."""
    at: Instant | None = None
    price: str | None = None


@dataclass(frozen=True, slots=True)
class InboundText:
    """A text that somebody sent to one of our numbers."""

    sender: str = field(repr=False)
    """Who wrote it: E.164 where it is a number."""
    recipient: str
    """Our number that it was sent to."""
    text: str = field(repr=False)
    provider_message_id: str | None
    """None: the provider names none; then one is made of its content, so that a repeat is known."""
    at: Instant | None = None
    """When it was sent, by the provider's clock; where it does not say, when it signed the request."""
    word: Word | None = None
    """What the provider itself took it for; None: it does not say."""


@dataclass(frozen=True, slots=True)
class HookAnswer:
    """What the provider wants to hear once all is kept."""

    content_type: str = "text/plain"
    body: bytes = b""


@runtime_checkable
class Webhooks(Protocol):
    """A dialect whose provider calls back."""

    @property
    def hook_answer(self) -> HookAnswer: ...

    @property
    def hooks(self) -> frozenset[HookKind]:
        """The webhooks that there are with these settings; of none of the others anything is read."""
        ...

    @property
    def signs(self) -> bool:
        """Whether, with these settings, its requests prove themselves by a signature. Without one they must come by a
        secret path."""
        ...

    @property
    def reports_by_id(self) -> bool:
        """Whether a report may name only the provider's id of a message, not ours."""
        ...

    @property
    def answers_words(self) -> bool:
        """Whether the provider itself answers STOP, START and HELP, so that smsd must not."""
        ...

    def verify(self, hook: Hook) -> None:
        """Raises HookRefusedError unless the signature is right and fresh. Only called when `signs`."""
        ...

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        """What it says; nothing: it is about nothing of ours. Raises HookUnreadableError."""
        ...

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        """What a report's code means where it says that the message did not arrive; None: it is in no table."""
        ...


@runtime_checkable
class Registrar(Protocol):
    """A dialect whose webhooks are set up by calls to its API."""

    def registration(self, url: str, known: Mapping[str, Response]) -> Request | str:
        """The next call that sets up `url`, given the answers to those before it (by method and URL, one blank
        between), or the text of how it ended. Raises HookUnreadableError when an answer says that it cannot be."""
        ...
