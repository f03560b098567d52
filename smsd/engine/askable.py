"""Who can be asked what became of a message, and as whom?

The provider the call was made at, as it was configured then: a provider that a reload has removed since, or that has
another account now, still knows what it took. Changed credentials of the same account count at once, for the old ones
may be revoked. What was configured before this run is not known: a name that is gone cannot be asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, cast
from urllib.parse import urlsplit

from smsd.core.account import ProviderRules
from smsd.core.message import Instant, Message
from smsd.engine.setting import Setting
from smsd.providers.base import Call, Provider

MOST = 16
"""Accounts remembered of one name; the oldest is forgotten."""


class Askable:
    """Every provider of this run, the disabled and the removed ones included."""

    def __init__(self, settings: Iterable[Setting], gone: ProviderRules) -> None:
        self._accounts: dict[str, list[tuple[Instant, Setting]]] = {}
        self.gone = gone
        """The rules for a message whose provider nobody knows: it cannot be asked, the policy decides."""
        self.become(settings, gone, 0)

    def become(self, settings: Iterable[Setting], gone: ProviderRules, now: Instant) -> None:
        """These are configured from `now` (wall clock) on."""
        self.gone = gone
        for setting in settings:
            accounts = self._accounts.setdefault(setting.name, [])
            if accounts and account_of(accounts[-1][1].provider) == account_of(setting.provider):
                accounts[-1] = (accounts[-1][0], setting)
                continue
            accounts.append((now, setting))
            del accounts[:-MOST]

    def strangers(self, setting: Setting) -> frozenset[str]:
        """The names of providers that are known to be other carriers than this one: their ids prove nothing here."""
        here = carrier_of(setting.provider)
        return frozenset(
            name
            for name, accounts in self._accounts.items()
            if all(carrier_of(each.provider) != here for _, each in accounts)
        )

    def for_message(self, message: Message) -> Setting | None:
        """The provider that was called; None: nobody knows it."""
        accounts = self._accounts.get(message.provider or "", ())
        called = message.claimed_at or 0
        found = [setting for since, setting in accounts if since <= called]
        return found[-1] if found else accounts[0][1] if accounts else None


def account_of(provider: Provider) -> object:
    """What of a dialect's settings (an adapter is a dataclass of them) says whose account it is: all but secrets."""
    adapter = cast(Any, provider)
    public = [field.name for field in fields(adapter) if not field.metadata.get("secret")]
    return type(adapter), tuple((name, repr(getattr(adapter, name))) for name in public)


def carrier_of(provider: Provider) -> tuple[str, str]:
    """Who makes its message ids: the dialect, and the host it is spoken with."""
    adapter = cast(Any, provider)
    url = str(getattr(adapter, "base_url", None) or getattr(adapter, "url", ""))
    return provider.type, urlsplit(url).netloc


def as_called(setting: Setting, message: Message) -> Call:
    """The call that left the message in doubt, as it was made: of a provider that knows it again, byte for byte."""
    return Call(
        id=message.id,
        attempt=message.attempt,
        recipient=message.recipient,
        sender=message.sender or "",
        text=message.text,
        encoding=message.encoding,
        segments=message.segments,
        expires_at=message.expires_at,
        now=message.claimed_at or message.created_at,
        callback_url=setting.status_url,
        asked=message.asked_sender is not None,
    )
