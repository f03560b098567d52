"""What must a provider's dialect be able to say?

A provider is a dialect, not a client: it turns a Call into a Request and a Response into a Verdict, and performs
neither; `engine.exchange` owns sockets, timeouts and traces for all of them. An adapter IS its settings: a frozen
dataclass whose fields are the keys its `[providers.NAME]` section takes beside the common ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable
from urllib.parse import quote, urlsplit

from smsd.core.message import Encoding, Instant
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


Action = Literal["final", "resend", "halt", "suppress"]


@dataclass(frozen=True, slots=True)
class ReceiptReading:
    """What a code in a delivery receipt means. The provider had taken the message; the receipt tells how it ended.

    Actions: "final" (it ended and nothing follows), "resend" (it is sent again after `delays_ms`), "halt" (the provider
    halts: every message would end so), "suppress" (the number takes nothing more from this sender).
    """

    category: Category
    action: Action
    delays_ms: tuple[int, ...] = ()
    """How long after the receipt the second, third, ... call may go; the last one holds for all beyond it."""
    max_attempts: int = 1
    """Calls in all, the first included."""

    def __post_init__(self) -> None:
        if (self.action == "resend") != bool(self.delays_ms) or (self.action == "resend") != (self.max_attempts > 1):
            raise ValueError("action: resend needs delays_ms and max_attempts above 1, and no other action takes them")


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
