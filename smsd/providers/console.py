"""What would have been sent?

A provider for development: it prints each message as one line on standard output and calls that accepted. It is the
one place where recipient and text are shown in full, because showing them is what it is for; do not configure it where
standard output is kept. A line that cannot be written (closed pipe, full disk) reads as no connection: it was not sent.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import ClassVar

from smsd.core.verdict import Verdict, accepted
from smsd.providers.base import Call, Finding, Performance, Request, Response
from smsd.providers.readings import by_status, json_object, text_of


@dataclass(frozen=True, slots=True)
class Console:
    """Prints instead of sending."""

    name: str

    type: ClassVar[str] = "console"
    lookup: ClassVar[str] = "none"

    def prepare(self, call: Call) -> Request:
        """JSON that `perform` prints."""
        fields = {"to": call.recipient, "from": call.sender, "text": call.text, "id": call.id, "attempt": call.attempt}
        return Request("POST", "console:print", {}, json.dumps(fields).encode(), private=(call.text, call.recipient))

    def perform(self, request: Request, draw: float) -> Performance:
        """Accept it; the line is `to <- from: text`, the text as a JSON string so that it stays on one line."""
        sent = json.loads(request.body)
        line = f"{sent['to']} <- {sent['from']}: {json.dumps(sent['text'], ensure_ascii=False)}"
        answer = json.dumps({"id": f"{sent['id']}/{sent['attempt']}"})
        return Performance(Response(201, {"content-type": "application/json"}, answer.encode()), line=line)

    def classify(self, response: Response) -> Verdict:
        """What `perform` answered: accepted."""
        printed = text_of(json_object(response.body), "id")
        return by_status(response) if printed is None else accepted(printed)

    def ask(self, call: Call) -> Request:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("what was printed cannot be asked for")

    def find(self, response: Response, call: Call) -> Finding:
        """Never called: lookup is "none". Raises LookupError."""
        raise LookupError("what was printed cannot be asked for")

    def fingerprint(self) -> str:
        """It has neither credentials nor a URL: always the same."""
        return hashlib.sha256(b"console").hexdigest()
