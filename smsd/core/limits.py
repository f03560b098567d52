"""How often may a recipient, user, tenant, campaign or sender be texted, and what becomes of what is too much?

`[[limits]]` as values: rules, and what a message is to them. The loop guard (one text again and again to one recipient)
and the window of repeats (the same submission twice) are rules of the same kind with names of their own. What was
charged in a window is counted by `windows`; what a provider takes is another matter (`pacing`), and never asked here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from smsd.core.units import duration_text, rate_text

MAX_COUNT = 100_000
"""The most messages a rule may count in its window: every one of them is remembered."""

LEDGER_MS = 32 * 86_400_000
"""How long a charge is remembered at most; no window is longer."""


class Per(StrEnum):
    """What is counted. Values are public (`per`), except the last two, which have settings of their own."""

    RECIPIENT = "recipient"
    USER = "user"
    TENANT = "tenant"
    CAMPAIGN = "campaign"
    SENDER = "sender"
    TEXT = "text"
    """One text to one recipient: the loop guard."""
    REPEAT = "repeat"
    """One submission of a tenant, repeated without an idempotency key: the duplicate window."""


class Action(StrEnum):
    """What becomes of a message for which there is no room. Values are public (`action`), except the last."""

    DEFER = "defer"
    """It waits for its turn; no attempt is charged."""
    RETRY = "retry"
    """Each refusal costs an attempt and waits by the retry rules; after the last one it fails."""
    FAIL = "fail"
    """It fails, LIMIT_EXCEEDED, and is listed."""
    REJECT = "reject"
    """It is not accepted."""
    REPLAY = "replay"
    """Its submission is answered with the first message of its kind."""


AT_ACCEPTANCE = frozenset({Action.REJECT, Action.REPLAY})
"""Actions of rules that count what is accepted; the others count what is claimed."""

OF_FLOWS = frozenset({Per.TENANT, Per.CAMPAIGN})
"""What all messages of a flow share: where such a rule defers, the flow waits and none of its messages is touched."""


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `count` messages in any `span_ms` for each of what `per` names. A rolling window, never paced."""

    per: Per
    count: int
    span_ms: int
    action: Action = Action.DEFER
    max_wait_ms: int | None = None
    """With DEFER: who would wait longer fails; None: as long as the message lives."""
    tenant: str | None = None
    """Only the messages of this tenant are counted and bound; None: of all."""

    @property
    def words(self) -> str:
        """As errors and views name it: `5/hour per recipient`."""
        match self.per:
            case Per.TEXT:
                return f"loop guard, {rate_text(self.count, self.span_ms)} of one text to one recipient"
            case Per.REPEAT:
                return f"duplicate window, {duration_text(self.span_ms)}"
        whose = "" if self.tenant is None else f" of {self.tenant}"
        return f"{rate_text(self.count, self.span_ms)} per {self.per}{whose}"


class Subject(NamedTuple):
    """What a message is to the rules; None or empty: it has none, and rules on it do not bind it."""

    recipient: str
    tenant: str
    user: str | None
    campaign: str | None
    sender: str | None
    text: str


def key_of(per: Per, subject: Subject) -> str | None:
    """Under which key the subject is counted; None: it is not."""
    match per:
        case Per.RECIPIENT:
            return subject.recipient
        case Per.USER:
            return None if subject.user is None else f"{subject.tenant}\n{subject.user}"
        case Per.TENANT:
            return subject.tenant
        case Per.CAMPAIGN:
            return None if subject.campaign is None else f"{subject.tenant}\n{subject.campaign}"
        case Per.SENDER:
            return subject.sender or None
        case Per.TEXT:
            return _digest(subject.recipient, subject.text)
        case Per.REPEAT:
            return _digest(subject.tenant, subject.recipient, subject.sender or "", subject.text)


def _digest(*parts: str) -> str:
    """Neither numbers nor texts lie in the ledger twice."""
    joined = "\0".join(parts).encode("utf-8", "replace")
    return hashlib.blake2b(joined, digest_size=16).hexdigest()


def group_of(per: Per, key: str) -> str:
    """The name under which the flows are held up that a rule on tenants or campaigns binds."""
    return f"{per}:{key}"


def groups_of(tenant: str, campaign: str | None) -> tuple[str, ...]:
    """The groups a flow belongs to."""
    tenants = group_of(Per.TENANT, tenant)
    return (tenants,) if campaign is None else (tenants, group_of(Per.CAMPAIGN, f"{tenant}\n{campaign}"))
