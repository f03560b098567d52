"""Whose is a text that came in, and what does smsd answer to a STOP, START or HELP?

The text belongs to the tenant of the last message between the two numbers, which the outbox knows; here is decided who
gets it where there is none. The answer to a word is a message like any other, submitted by smsd itself: it goes out by
the provider and as the number that the word came to, so that the person sees it in the same conversation. It refuses to
know what such a text does to suppressions (`store`), and whether the provider has answered already (`engine.inbound`).

That an opt-out is confirmed by one message is allowed in the United States although consent is gone, if it says nothing
else (47 CFR 64.1200(a)(12)), and asked for by the CTIA's Messaging Principles; hence these texts and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from smsd.core.consent import Word
from smsd.core.message import Instant
from smsd.core.submission import TenantRules

DEFAULT_OWNER: Final = "default"
"""The tenant of texts that nobody else gets, unless `[inbound] tenant` names another."""

REPLIES: Final[Mapping[Word, str]] = {
    Word.STOP: "You are unsubscribed and get no more messages from this number. Reply START to get them again.",
    Word.START: "You get messages from this number again. Reply STOP to end them.",
    Word.HELP: "Reply STOP to get no more messages from this number, START to get them again.",
}
"""Unless `[inbound]` says otherwise. One segment each."""

REPLY_TYPE: Final = "consent"
"""`type` of the answers, for reports."""

REPLY_TTL: Final = "1h"
"""An answer that comes later confirms what nobody remembers, and may not be true any more."""


@dataclass(frozen=True, slots=True)
class InboundRules:
    """`[inbound]`"""

    owner: str = DEFAULT_OWNER
    """`tenant`"""
    replies: Mapping[Word, str] = field(default_factory=lambda: REPLIES)
    """`stop_reply`, `start_reply`, `help_reply`; empty or absent: there is none."""

    def owner_of(self, recipient: str, tenants: Mapping[str, TenantRules]) -> str:
        """Who gets a text to our number `recipient` from somebody with whom it has exchanged nothing."""
        return holder_of(recipient, tenants) or self.owner


def holder_of(recipient: str, tenants: Mapping[str, TenantRules]) -> str | None:
    """The tenant whose number it is (`[tenants.NAME] from`); None: nobody's, or that of several, so that no one of them
    may be shown what was perhaps meant for another."""
    holders = [name for name, rules in tenants.items() if recipient in rules.senders]
    return holders[0] if len(holders) == 1 else None


def made_up_id(sender: str, recipient: str, text: str, at: Instant) -> str:
    """An id for a text to which the provider gives none: the same text once more at the same time is the same text.

    `at`: by the provider's clock; by ours where the provider does not say, and then every request brings a new text,
    because a STOP too many harms nobody and one too few does.
    """
    content = "\0".join((sender, recipient, text, str(at))).encode("utf-8", "replace")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a word, as a Submission (`core.submission`)."""

    to: str | None = field(repr=False)
    text: str | None = field(repr=False)
    from_: str | None
    provider: str | None
    idempotency_key: str | None
    priority: str | None = "high"
    ttl: str | None = REPLY_TTL
    type: str | None = REPLY_TYPE
    template: str | None = None
    vars: Mapping[str, object] | None = None
    lang: str | None = None
    send_at: str | None = None
    expires_at: str | None = None
    campaign: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    tenant: str | None = None
    callback_url: str | None = None
    max_attempts: int | None = None
    retry: str | None = None
    overflow: str | None = None


def reply(id: str, word: Word, sender: str, recipient: str, provider: str, text: str) -> Reply:
    """What is submitted in answer to `word`, which `sender` wrote to our number `recipient` at `provider`.

    `id`: of the inbound text. Its key is the same however often the text is brought.
    """
    return Reply(
        to=sender, text=text, from_=recipient or None, provider=provider, idempotency_key=f"inbound:{id}:{word}"
    )
