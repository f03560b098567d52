"""Which keys does every provider's section have about its webhooks, and can they work?

A webhook must prove itself, by a signature or by a secret that only the provider knows as a part of its path. There
may be several: the first goes out in URLs, and all are accepted, for the provider calls the URL it was given until it
has reported all that it took. That secret is a key of every provider, unless the dialect has one of that name for
itself (Dialpad signs with it). What cannot work is a fault; what merely will not, with these settings, is a warning: a
person who waits for receipts must learn why none come. How a request is judged is not known here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from smsd.config.own import own_fields
from smsd.config.several import secrets_in
from smsd.config.tables import Table
from smsd.config.values import ProviderConfig
from smsd.providers.base import HookKind, Provider, Webhooks
from smsd.providers.http import Http

_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{16,128}")

_REMEDY: Final = "write 16 to 128 letters, digits, - or _, such as `openssl rand -hex 20` makes"

WHO: Final = ("provider", "smsd")
"""Who may answer STOP, START and HELP."""


def path_secrets(table: Table, adapter: type[Any]) -> tuple[str, ...]:
    """A provider's `webhook_secret`; empty: none, or it is a key of the dialect's own."""
    if any(own.name == "webhook_secret" for own in own_fields(adapter)):
        return ()
    if table.raw("webhook_secret") == "":
        return ()  # as it would be if the key were not there
    return secrets_in(table, "webhook_secret", _secret)


def _secret(table: Table, key: str) -> str | None:
    secret = table.secret(key)
    if secret is None:
        return None
    if not _SECRET.fullmatch(secret.reveal()):
        table.fault(key, f"cannot be part of a URL, or is easily guessed; {_REMEDY}")
    return secret.reveal()


def answer_words(table: Table) -> str | None:
    """A provider's `answer_words`; None: as its dialect says."""
    table.ask("answer_words")
    return table.choice("answer_words", WHO[0], WHO) if table.has("answer_words") else None


def useless(table: Table, adapter: Provider) -> None:
    """Note the keys that could never count for this provider."""
    hooks = adapter.hooks if isinstance(adapter, Webhooks) else frozenset()
    remedy = "set reports or inbound, or remove it" if isinstance(adapter, Http) else "remove it"
    if table.raw("webhook_secret") and not hooks:
        table.fault("webhook_secret", f"counts for nothing: this provider takes no webhooks; {remedy}")
    if table.raw("answer_words") in WHO and HookKind.INBOUND not in hooks:
        remedy = "set inbound, or remove it" if isinstance(adapter, Http) else "remove it"
        table.fault("answer_words", f"counts for nothing: this provider takes no inbound texts; {remedy}")


def judge_webhooks(root: Table, public_url: str, providers: Sequence[ProviderConfig]) -> None:
    """Warn of webhooks that do not exist, or that nobody is told of. `root`: the whole file.

    A provider that could call back and of whose webhooks nothing is said is no matter while smsd has no public URL.
    """
    for each in providers:
        adapter = each.adapter
        if not each.enabled or not isinstance(adapter, Webhooks) or not adapter.hooks:
            continue
        described = isinstance(adapter, Http) or each.webhook_secrets != ()
        if not adapter.signs and not each.webhook_secrets and (described or public_url):
            root.warn(
                "providers",
                f"{each.name} has neither a signature nor a webhook_secret, so its webhooks do not exist (404): "
                "no receipts and no inbound texts are taken",
            )
        elif described and not public_url:
            root.warn(
                "http",
                f"public_url is not set, so {each.name} is not told where to report, and no signature over a URL holds",
            )
