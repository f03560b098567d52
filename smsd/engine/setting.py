"""What is the engine given of one `[providers.NAME]` section?

The adapter, the rules and what hooks need, finished: nothing here knows TOML. Changed by a reload only, and then as a
whole. What of it runs is a lane's affair.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from smsd.core.account import ProviderRules
from smsd.providers.base import Provider


@dataclass(frozen=True, slots=True)
class Setting:
    """One section."""

    name: str
    provider: Provider
    rules: ProviderRules
    needs_sender: bool = False
    """It cannot send without a sender and owns none (see core.routing.Candidate)."""
    default_sender: str = ""
    """As whom it sends if it owns no sender and nobody names one: `[messages] from`."""
    webhook_secret: str = field(default="", repr=False)
    """What the paths of its webhooks end with; empty: they have none."""
    older_secrets: tuple[str, ...] = field(default=(), repr=False)
    """What the paths of URLs that went out earlier end with; they are accepted as well."""
    answer_words: str | None = None
    """Who answers STOP, START and HELP: provider | smsd; None: as its dialect says."""
    status_url: str | None = field(default=None, repr=False)
    """Where it is to report what becomes of a message (hooks.status_url); None: nowhere."""
    expected_s: float | None = None
    """How long a call takes before any was made, where its adapter knows (a simulated carrier); None: nobody knows."""

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        """All that are accepted; empty: none is needed."""
        return (self.webhook_secret, *self.older_secrets) if self.webhook_secret else ()

    def fingerprint(self) -> str:
        """A digest that changes with all that may be the cause of a halt and can be mended by configuration: account,
        credentials, URL, and the senders that smsd chooses."""
        senders = self.rules.senders or ((self.default_sender,) if self.default_sender else ())
        parts = "\0".join((self.provider.fingerprint(), *senders))
        return hashlib.sha256(parts.encode()).hexdigest()
