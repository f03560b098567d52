"""What did a provider's answer mean?

A Verdict is the whole meaning in three words: category (what went wrong, the closed vocabulary of every view, log and
metric), fate (may the message still go?) and scope (who is affected: this message, its recipient, its sender, or the
whole provider). Adapters produce verdicts; `policy` turns them into what follows. No provider's code is known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Category(StrEnum):
    """The closed vocabulary of errors."""

    RATE_LIMITED = "RATE_LIMITED"
    AUTH_FAILED = "AUTH_FAILED"
    CONFIG_ERROR = "CONFIG_ERROR"
    NETWORK = "NETWORK"
    TIMEOUT = "TIMEOUT"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    INVALID_RECIPIENT = "INVALID_RECIPIENT"
    OPTED_OUT = "OPTED_OUT"
    REJECTED = "REJECTED"
    UNDELIVERED = "UNDELIVERED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    EXHAUSTED = "EXHAUSTED"
    EXPIRED = "EXPIRED"
    UNCERTAIN = "UNCERTAIN"


class Fate(StrEnum):
    """May the message still go?"""

    ACCEPTED = "accepted"
    """The provider has it and gave its id."""
    DEFER = "defer"
    """It was surely not taken and may pass later."""
    REFUSE = "refuse"
    """It was surely not taken and never will be."""
    UNKNOWN = "unknown"
    """It may have been taken: ask before anything is sent again."""


class Scope(StrEnum):
    """Whom the verdict is about."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    SENDER = "sender"
    PROVIDER = "provider"


@dataclass(slots=True)
class Verdict:
    """The meaning of one answer."""

    fate: Fate
    category: Category | None = None
    """None exactly when fate is ACCEPTED."""
    scope: Scope = Scope.MESSAGE
    message: str = ""
    """One sentence for a person; holds no text body and no full number."""
    code: str | None = None
    """The provider's own code, as text."""
    provider_message_id: str | None = None
    retry_after_ms: int | None = None
    """What the provider asked us to wait, if it said."""
    price: str | None = None
    segments: int | None = None
    """How many the provider counted, where it says so."""
    unlisted: bool = False
    """Its code is in no table of the dialect: what it means was guessed from the HTTP status."""
    guessed: bool = False
    """Read off the HTTP status alone: nothing that the dialect knows explains it."""
    suspect: bool = False
    """Too fast or not allowed, the answer does not say: what is known of the provider decides (`suspicion`)."""
    cooldown_ms: int | None = None
    """RATE_LIMITED of scope PROVIDER: it rests exactly this long, whatever the operator set; None: as configured."""


def accepted(provider_message_id: str, *, price: str | None = None, segments: int | None = None) -> Verdict:
    """The provider has it."""
    return Verdict(Fate.ACCEPTED, provider_message_id=provider_message_id, price=price, segments=segments)
