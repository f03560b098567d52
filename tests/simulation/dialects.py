"""What do the providers of the simulation say, and how is it read?

One wire: a JSON object with one word in it. The dialects differ only in what clears an uncertain attempt up: nothing, a
list that shows texts, one that shows our ids, or a key that is known again (then the same attempt is the same bytes).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted
from smsd.providers.base import Absent, Call, Finding, Found, Request, Response, Unanswered

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


@dataclass(frozen=True)
class Scripted:
    """It cannot be asked."""

    name: str
    credentials: str = "first"

    type: ClassVar[str] = "scripted"
    lookup: ClassVar[str] = "none"

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
