"""What would a carrier answer, if there were one?

A simulated carrier inside this process: no credentials, no network, no bill. It knows nothing of delivery: it answers
the send and no receipt follows. It cannot be asked afterwards (lookup "none"), because it remembers nothing: every
answer is a function of the recipient, the attempt's number and one draw, so that a run can be repeated exactly.

Its answers go the way of every provider's: a Response (small JSON) that `classify` reads, no connection, or no answer.
Recipients in NUMBERS behave as written there, whatever the draw; every other recipient is accepted, except for the
shares that `failures` gives to chance. Those up to ...0009 follow Twilio's test numbers where those exist
(https://www.twilio.com/docs/iam/test-credentials).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.providers.base import Call, Finding, NoAnswer, NoConnection, Outcome, Performance, Request, Response
from smsd.providers.readings import Reading, by_status, json_object, retry_after_ms, text_of


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the carrier does. `error` is a key of ERRORS, or "" for acceptance."""

    says: str
    """One line for a person."""
    error: str = ""
    first: int | None = None
    """Only for this many first attempts of a message; later ones are accepted. None: always."""
    slow_ms: int = 0
    """Added to the configured latency."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How one of the carrier's error words is meant, and what it travels with."""

    status: int
    reading: Reading
    headers: Mapping[str, str] = field(default_factory=dict)


ERRORS: Mapping[str, Refusal] = MappingProxyType(
    {
        "invalid_number": Refusal(400, Reading(Category.INVALID_RECIPIENT, Scope.RECIPIENT, Fate.REFUSE)),
        "no_route": Refusal(400, Reading(Category.INVALID_RECIPIENT, Scope.RECIPIENT, Fate.REFUSE)),
        "region_off": Refusal(400, Reading(Category.CONFIG_ERROR, Scope.MESSAGE, Fate.REFUSE)),
        "opted_out": Refusal(400, Reading(Category.OPTED_OUT, Scope.RECIPIENT, Fate.REFUSE)),
        "landline": Refusal(400, Reading(Category.INVALID_RECIPIENT, Scope.RECIPIENT, Fate.REFUSE)),
        "content": Refusal(400, Reading(Category.REJECTED, Scope.MESSAGE, Fate.REFUSE)),
        "throttle": Refusal(429, Reading(Category.RATE_LIMITED, Scope.PROVIDER, Fate.DEFER)),
        "throttle_2s": Refusal(429, Reading(Category.RATE_LIMITED, Scope.PROVIDER, Fate.DEFER), {"retry-after": "2"}),
        "recipient_throttle": Refusal(429, Reading(Category.RATE_LIMITED, Scope.RECIPIENT, Fate.DEFER)),
        "sender_throttle": Refusal(429, Reading(Category.RATE_LIMITED, Scope.SENDER, Fate.DEFER)),
        "auth": Refusal(401, Reading(Category.AUTH_FAILED, Scope.PROVIDER, Fate.DEFER)),
        "account": Refusal(404, Reading(Category.CONFIG_ERROR, Scope.PROVIDER, Fate.DEFER)),
        "busy": Refusal(503, Reading(Category.PROVIDER_ERROR, Scope.MESSAGE, Fate.DEFER)),
    }
)
"""The carrier's error words. Three more are not answers: "network", "timeout" and "garbled"."""

NUMBERS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "+15005550001": Behaviour("invalid number: INVALID_RECIPIENT", "invalid_number"),
        "+15005550002": Behaviour("no route to it: INVALID_RECIPIENT", "no_route"),
        "+15005550003": Behaviour("region not enabled: CONFIG_ERROR, this message fails", "region_off"),
        "+15005550004": Behaviour("opted out: OPTED_OUT", "opted_out"),
        "+15005550006": Behaviour("accepted, whatever `failures` says"),
        "+15005550009": Behaviour("a landline: INVALID_RECIPIENT", "landline"),
        "+15005550010": Behaviour("throttled, wait not stated: RATE_LIMITED, the provider cools down", "throttle"),
        "+15005550011": Behaviour("throttled, Retry-After 2 s: RATE_LIMITED", "throttle_2s"),
        "+15005550012": Behaviour("throttled once with Retry-After 2 s, then accepted", "throttle_2s", first=1),
        "+15005550013": Behaviour("too much for this recipient: RATE_LIMITED, scope recipient", "recipient_throttle"),
        "+15005550014": Behaviour("too much from this sender: RATE_LIMITED, scope sender", "sender_throttle"),
        "+15005550020": Behaviour("credentials refused: AUTH_FAILED, the provider is halted", "auth"),
        "+15005550021": Behaviour("unknown account: CONFIG_ERROR, the provider is halted", "account"),
        "+15005550030": Behaviour("no connection: NETWORK", "network"),
        "+15005550031": Behaviour("no connection once, then accepted", "network", first=1),
        "+15005550040": Behaviour("no answer: TIMEOUT, uncertain", "timeout"),
        "+15005550041": Behaviour("no answer once: TIMEOUT, uncertain; then accepted", "timeout", first=1),
        "+15005550042": Behaviour("an unreadable answer: TIMEOUT, uncertain", "garbled"),
        "+15005550050": Behaviour("temporary trouble: PROVIDER_ERROR", "busy"),
        "+15005550051": Behaviour("temporary trouble once, then accepted", "busy", first=1),
        "+15005550052": Behaviour("temporary trouble twice, then accepted", "busy", first=2),
        "+15005550060": Behaviour("content refused: REJECTED", "content"),
        "+15005550070": Behaviour("accepted, 3 s slower than configured", slow_ms=3_000),
    }
)
"""Recipients with a fixed behaviour. All are possible numbers of the North American plan, none is assigned."""

SHARES: Mapping[str, str] = MappingProxyType(
    {
        "RATE_LIMITED": "throttle",
        "AUTH_FAILED": "auth",
        "CONFIG_ERROR": "account",
        "NETWORK": "network",
        "TIMEOUT": "timeout",
        "PROVIDER_ERROR": "busy",
        "INVALID_RECIPIENT": "invalid_number",
        "OPTED_OUT": "opted_out",
        "REJECTED": "content",
    }
)
"""Categories that `failures` may name, and the error that stands for each."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The simulated carrier. Raises ValueError (naming field and remedy) for settings that make no sense."""

    name: str
    latency: int = field(default=0, metadata={"unit": "duration"})
    """Milliseconds each answer takes. As a setting: "50ms"."""
    failures: Mapping[str, float] = field(default_factory=dict)
    """Category -> share of calls (0 to 1) that end so, for recipients that are not in NUMBERS."""

    type: ClassVar[str] = "sandbox"
    lookup: ClassVar[str] = "none"

    def __post_init__(self) -> None:
        if self.latency < 0:
            raise ValueError(f"latency: {self.latency} ms is negative; use 0 or more")
        for category, share in self.failures.items():
            if category not in SHARES:
                raise ValueError(f"failures.{category}: not a category to simulate; use one of {', '.join(SHARES)}")
            if not 0 <= share <= 1:
                raise ValueError(f"failures.{category}: {share} is not a share; use a number from 0 to 1")
        if sum(self.failures.values()) > 1 + 1e-9:
            raise ValueError("failures: the shares add up to more than 1; lower some of them")

    def prepare(self, call: Call) -> Request:
        """JSON that `perform` reads: to, from, text, id, attempt."""
        fields = {"to": call.recipient, "from": call.sender, "text": call.text, "id": call.id, "attempt": call.attempt}
        return Request("POST", "sandbox:send", {}, json.dumps(fields).encode(), private=(call.text, call.recipient))

    def perform(self, request: Request, draw: float) -> Performance:
        """The carrier's behaviour for one request; `draw` from [0, 1) decides among `failures`."""
        sent = json.loads(request.body)
        behaviour = NUMBERS.get(sent["to"]) or self._chance(draw)
        error = behaviour.error
        if behaviour.first is not None and sent["attempt"] > behaviour.first:
            error = ""
        return Performance(_outcome(error, sent), self.latency + behaviour.slow_ms)

    def _chance(self, draw: float) -> Behaviour:
        """Shares are laid end to end in order of their names, so that the order in a file changes nothing."""
        edge = 0.0
        for category, share in sorted(self.failures.items()):
            edge += share
            if draw < edge:
                return Behaviour("by chance", SHARES[category])
        return Behaviour("accepted")

    def classify(self, response: Response) -> Verdict:
        """Reads what `perform` answers."""
        answer = json_object(response.body)
        if answer is None or response.status < 300:
            sid = text_of(answer, "id")
            return by_status(response) if sid is None else accepted(sid)
        error = text_of(answer, "error")
        refusal = ERRORS.get(error or "")
        if refusal is None:
            return by_status(response, answer, error)
        return refusal.reading.verdict(text_of(answer, "message") or "", error, retry_after_ms(response))

    def ask(self, call: Call) -> Request:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("the sandbox remembers nothing and cannot be asked")

    def find(self, response: Response, call: Call) -> Finding:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("the sandbox remembers nothing and cannot be asked")

    def fingerprint(self) -> str:
        """It has no credentials: only its behaviour can change."""
        settings = f"sandbox\0{self.latency}\0{sorted(self.failures.items())}"
        return hashlib.sha256(settings.encode()).hexdigest()


def _outcome(error: str, sent: Mapping[str, object]) -> Outcome:
    if error == "":
        digest = hashlib.sha256(f"{sent['id']}/{sent['attempt']}".encode()).hexdigest()
        return Response(201, {"content-type": "application/json"}, b'{"id":"SB%s"}' % digest[:32].encode())
    if error == "network":
        return NoConnection("simulated: connection refused")
    if error == "timeout":
        return NoAnswer("simulated: the carrier did not answer")
    if error == "garbled":
        return Response(200, {"content-type": "application/json"}, b'{"id": "SB')
    refusal = ERRORS[error]
    body = json.dumps({"error": error, "message": f"The simulated carrier says: {error}"})
    return Response(refusal.status, {"content-type": "application/json", **refusal.headers}, body.encode())
