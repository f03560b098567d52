"""What do the providers of the simulation say, and how is it read?

One wire: a JSON object with one word in it. The dialects differ only in what clears an uncertain attempt up: nothing, a
list that shows texts, one that shows our ids, or a key that is known again (then the same attempt is the same bytes).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from smsd.core.receipt import ReceiptReading, Status
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
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
)

DEFER, REFUSE = Fate.DEFER, Fate.REFUSE

READINGS: dict[str, Callable[[], Verdict]] = {
    "refused": lambda: Verdict(REFUSE, Category.INVALID_RECIPIENT, Scope.RECIPIENT, "No such number", "R1"),
    "opted out": lambda: Verdict(REFUSE, Category.OPTED_OUT, Scope.RECIPIENT, "Wants no more texts", "O1"),
    "unowned": lambda: Verdict(REFUSE, Category.CONFIG_ERROR, Scope.SENDER, "Not your sender", "S1"),
    "unauthorized": lambda: Verdict(DEFER, Category.AUTH_FAILED, Scope.PROVIDER, "Credentials refused", "A1"),
    "suspect": lambda: Verdict(DEFER, Category.RATE_LIMITED, Scope.PROVIDER, "Forbidden", "F1", suspect=True),
    "deferred": lambda: Verdict(DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, "Later", "E1"),
}
"""Word -> what it means."""

RECEIPTS: dict[str, ReceiptReading] = {
    "D1": ReceiptReading(Category.INVALID_RECIPIENT, "final"),
    "D2": ReceiptReading(Category.RATE_LIMITED, "resend", (2_000, 40_000), 3),
    "D3": ReceiptReading(Category.OPTED_OUT, "suppress"),
    "D4": ReceiptReading(Category.AUTH_FAILED, "halt"),
}
"""Code of a receipt -> what it means."""


@dataclass(frozen=True)
class Scripted:
    """It cannot be asked."""

    name: str
    credentials: str = "first"
    back: str = ""
    """How its receipts name a message: "marked" (our id and attempt), "id" (its own id); empty: there are none."""

    type: ClassVar[str] = "scripted"
    lookup: ClassVar[str] = "none"
    signs: ClassVar[bool] = True
    answers_words: ClassVar[bool] = True
    hook_answer: ClassVar[HookAnswer] = HookAnswer()

    def prepare(self, call: Call) -> Request:
        said = [call.id, call.recipient, call.text, call.sender, call.segments]
        if self.lookup != "key":
            said += [call.attempt, call.expires_at, call.now]
        return self._request("POST", "send", call, said)

    def _request(self, method: str, what: str, call: Call, said: list[object]) -> Request:
        # The attempt is told beside the bytes: the simulation wants to know it, the provider does not.
        headers, private = {"x-attempt": str(call.attempt)}, (call.text, call.recipient)
        return Request(method, f"sim://{self.name}/{what}", headers, json.dumps(said).encode(), private=private)

    def classify(self, response: Response) -> Verdict:
        said = json.loads(response.body)
        match said["word"]:
            case "accepted":
                return accepted(said["id"])
            case "throttled":
                scope = Scope(said["scope"])
                return Verdict(DEFER, Category.RATE_LIMITED, scope, "Too fast", "T1", retry_after_ms=said["wait"])
            case word if word in READINGS:
                return READINGS[word]()
            case word:
                return Verdict(Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, f"It said {word}", "X1")

    def ask(self, call: Call) -> Request:
        return self._request("GET", "find", call, [call.id, call.recipient, call.text])

    def find(self, response: Response, call: Call) -> Finding:
        if response.status != 200:
            return Unanswered("the list is not to be had")
        ids = tuple(json.loads(response.body))
        return Found(ids) if ids else Absent()

    def fingerprint(self) -> str:
        return f"{self.name}:{self.credentials}"

    @property
    def hooks(self) -> frozenset[HookKind]:
        return frozenset([HookKind.STATUS] if self.back else ())

    @property
    def reports_by_id(self) -> bool:
        return self.back == "id"

    def verify(self, hook: Hook) -> None:
        """Nobody forges anything here."""

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        word, pmid, id, attempt, code = json.loads(hook.body)
        if self.back == "id":
            return (Report(Status(word), pmid, code=code),)
        return (Report(Status(word), pmid, id, attempt, code),)

    def receipt_reading(self, code: str) -> ReceiptReading | None:
        return RECEIPTS.get(code)


@dataclass(frozen=True)
class Fuzzy(Scripted):
    """Its list shows number and text."""

    type: ClassVar[str] = "scripted-fuzzy"
    lookup: ClassVar[str] = "fuzzy"


@dataclass(frozen=True)
class Exact(Scripted):
    """Its list shows our id."""

    type: ClassVar[str] = "scripted-exact"
    lookup: ClassVar[str] = "exact"


@dataclass(frozen=True)
class Keyed(Scripted):
    """It takes one id once."""

    type: ClassVar[str] = "scripted-key"
    lookup: ClassVar[str] = "key"


DIALECTS: dict[str, type[Scripted]] = {"none": Scripted, "fuzzy": Fuzzy, "exact": Exact, "key": Keyed}
