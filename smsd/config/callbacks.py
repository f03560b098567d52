"""Where are applications told what happens to their messages, and what is that signed with?

`[callbacks]`, and of each tenant `callback_url` and `callback_secret`, become the CallbackRules. What could never be
told is found here: a URL that may not be called, or one for which there is nothing to sign with. Secrets are those of
Standard Webhooks (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md): "whsec_"
and the base64 of 24 to 64 bytes. There may be several, while receivers change from one to the next.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from ipaddress import ip_network
from types import MappingProxyType
from typing import Final

from smsd.config.several import secrets_in, shown_secrets
from smsd.config.sources import Masked
from smsd.config.tables import Table
from smsd.core import units
from smsd.core.callback import CallbackRules
from smsd.core.callee import Callee, Network, callee_of, may_name
from smsd.core.units import DAY, MINUTE, SECOND

PREFIX: Final = "whsec_"

REMEDY: Final = (
    'write "whsec_" and the base64 of 24 to 64 random bytes, as `echo whsec_$(openssl rand -base64 32)` makes'
)

LONGEST_MS: Final = 30 * DAY


def callbacks(table: Table, tenants: Table) -> CallbackRules:
    """`[callbacks]`; `tenants`: the table of their sections, of which the two keys are read."""
    default = CallbackRules()
    allowed = _networks(table)
    secret = secrets_in(table, "secret", _secret)
    urls: dict[str, str] = {}
    secrets: dict[str, tuple[str, ...]] = {}
    for name in tenants.names():
        if isinstance(tenants.raw(name), dict):
            section = tenants.table(name)
            if own := secrets_in(section, "callback_secret", _secret):
                secrets[name] = own
            if section.has("callback_url"):
                urls[name] = _url(section, allowed, bool(own or secret))
    found = CallbackRules(
        urls=MappingProxyType(urls),
        secrets=MappingProxyType(secrets),
        secret=secret,
        allowed=allowed,
        timeout_ms=table.duration("timeout", default.timeout_ms, SECOND, MINUTE),
        per_host=table.integer("per_host", default.per_host, 1, 32),
        give_up_ms=table.duration("give_up_after", default.give_up_ms, MINUTE, LONGEST_MS),
    )
    table.done()
    return found


def _networks(table: Table) -> tuple[Network, ...]:
    found: list[Network] = []
    for text in table.texts("allow_private"):
        try:
            found.append(ip_network(text))
        except ValueError as error:
            table.fault("allow_private", f'{error}; write networks such as "10.0.0.0/8" or addresses')
    return tuple(found)


def _secret(table: Table, key: str) -> str | None:
    found = table.secret(key)
    if found is None:
        return None
    text = found.reveal()
    try:
        size = len(base64.b64decode(text.removeprefix(PREFIX), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not (text.startswith(PREFIX) and 24 <= size <= 64):
        table.fault(key, f"is not a secret of Standard Webhooks; {REMEDY}")
    return text


def _url(table: Table, allowed: tuple[Network, ...], can_be_signed: bool) -> str:
    """A tenant's `callback_url`, which it has."""
    before = len(table.report.faults)
    text = table.text("callback_url", "")
    callee = callee_of(text)
    if len(table.report.faults) > before:
        return text
    if isinstance(callee, str):
        table.fault("callback_url", callee)
    elif not may_name(callee, allowed):
        table.fault("callback_url", f"{callee.host} is no public address; list it in [callbacks] allow_private")
    elif not can_be_signed and not table.has("callback_secret"):
        table.fault("callback_url", f"needs a secret: set callback_secret here, or [callbacks] secret; {REMEDY}")
    elif callee.scheme == "http" and not _stays_here(callee):
        table.warn("callback_url", "what happens to messages travels unencrypted; write https://")
    return text


def _stays_here(callee: Callee) -> bool:
    return callee.host == "localhost" or (callee.address is not None and callee.address.is_loopback)


def shown_callbacks(rules: CallbackRules) -> Mapping[str, object]:
    """The section as the file would say it."""
    return {
        "secret": shown_secrets(rules.secret),
        "allow_private": [str(each) for each in rules.allowed],
        "timeout": units.duration_text(rules.timeout_ms),
        "per_host": rules.per_host,
        "give_up_after": units.duration_text(rules.give_up_ms),
    }


def shown_of_tenant(rules: CallbackRules, tenant: str) -> Mapping[str, object]:
    """A tenant's two keys as the file would say them, without the URL's query: secrets travel there."""
    url = rules.urls.get(tenant)
    return {
        "callback_url": None if url is None else Masked(url, _without_query(url)),
        "callback_secret": shown_secrets(rules.secrets.get(tenant, ())),
    }


def _without_query(url: str) -> str:
    place, mark, _ = url.partition("?")
    return f"{place}?***" if mark else url
