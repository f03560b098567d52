"""Why did this text not go, and what can be done?

What `show` adds to the daemon's words about one message: what a call's outcome and its receipt mean, and, for one that
ended without being sent, which command helps; and how smsd knows that a recipient opted out. The daemon's error says
what happened; nothing here guesses at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from smsd.client import Document

_OUTCOMES: Final[Mapping[str, str]] = {
    "accepted": "the provider took it",
    "defer": "surely not taken, may pass later",
    "refuse": "surely not taken, and never will be",
    "unknown": "it may have been taken",
    "crashed": "smsd ended during the call, it may have been taken",
    "open": "the call is under way",
}

_RECEIPTS: Final[Mapping[str, str]] = {
    "queued": "queued (the provider has it)",
    "sent": "sent (it left the provider)",
    "undelivered": "undelivered (it did not arrive)",
    "delivered": "delivered (it arrived)",
}

_MEND: Final = "Mend the cause, then: smsd retry {id}"

_ADVICE: Final[Mapping[str, str]] = {
    "UNCERTAIN": "It may have arrived. To send it again all the same: smsd retry {id} --force",
    "OPTED_OUT": "Do not text this number. Where it opted out: smsd recipient {to}",
    "INVALID_RECIPIENT": "Submit it anew to a number that takes texts.",
    "REJECTED": "Submit it anew with another text, or see what the provider's code means: smsd help codes",
    "CONFIG_ERROR": f"See what the provider's code means: smsd help codes. {_MEND}",
    "LIMIT_EXCEEDED": "It goes past limits on its recipient and user, and waits for others: smsd retry {id}",
    "EXPIRED": "If it is still wanted: smsd retry {id} --ttl 1h",
}
"""By the category of the error; for the others the cause is to be mended."""

_SOURCES: Final[Mapping[str, str]] = {
    "provider": "told by its answer",
    "operator": "told by an operator",
    "inbound": "told by the recipient's text",
}

_RETRYABLE: Final = frozenset({"failed", "undelivered", "expired"})


def outcome_of(attempt: Document) -> str:
    """The outcome, and in words what it means."""
    outcome = str(attempt["outcome"])
    meaning = _OUTCOMES.get(outcome)
    return outcome if meaning is None else f"{outcome} ({meaning})"


def receipt_of(attempt: Document) -> str | None:
    """What its delivery receipts say, in the greatest word that came; None: none came."""
    receipt = attempt.get("receipt")
    return receipt and f"{_RECEIPTS.get(receipt, receipt)}{code_of({'code': attempt['receipt_code']})}"


def code_of(error: Document) -> str:
    """The provider's code behind its words, if there is one."""
    return f" (code {error['code']})" if error.get("code") else ""


def known_by(suppression: Document) -> str:
    """How smsd knows that a recipient opted out."""
    source = str(suppression["source"])
    return _SOURCES.get(source, f"source: {source}") + code_of(suppression)


def is_retryable(message: Document) -> bool:
    """Whether it ended without being sent, and not as its owner wanted."""
    return message["state"] in _RETRYABLE


def advice(message: Document, *, withdrawn: bool = False) -> str | None:
    """What helps a message that ended without being sent; None: it waits, was sent, or is as its owner wanted.
    `withdrawn`: its campaign is cancelled, so that no retry is taken."""
    if not is_retryable(message):
        return None
    if withdrawn:
        return "Its campaign is cancelled. If it is still wanted, submit it anew, in another campaign or in none."
    category = (message["error"] or {}).get("category", "EXPIRED" if message["state"] == "expired" else "")
    return _ADVICE.get(category, _MEND).format(id=message["id"], to=message["to"])
