"""Is every change between two configurations found, told by its key, and never by a secret's value?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from smsd import config
from smsd.config import Changes, Config, Group
from smsd.core.breaker import BreakerRules
from smsd.core.pacing import Window
from smsd.core.verdict import Scope
from smsd.templates import TextTemplate
from tests.config.files import ENVIRON, load

BASE = """
[http]
anonymous = ["read"]
max_body = "2MiB"
[[http.tokens]]
name = "shop"
sha256 = "1111111111111111111111111111111111111111111111111111111111111111"
scopes = ["send", "read"]
tenant = "shop"
[[http.tokens]]
name = "ops"
sha256 = {env = "OPS"}
scopes = ["admin"]
[tenants.shop]
from = ["ACME"]
providers = ["main"]
max_priority = "normal"
quiet_hours = {from = "20:00", to = "09:00"}
callback_url = "https://shop.example/told?key=hush"
callback_secret = {env = "SHOP_CALLBACK_SECRET"}
[callbacks]
secret = [{env = "SMSD_CALLBACK_SECRET"}, {env = "SMSD_CALLBACK_SECRET_BEFORE"}]
allow_private = ["10.0.0.0/8"]
[quiet_hours]
from = "21:00"
to = "08:00"
[messages]
loop_guard = "5/hour"
duplicate_window = "15m"
[templates.code]
texts = {en = "Your code is {{ code }}.", de = "Ihr Code lautet {{ code }}."}
default = "en"
[templates.plain]
text = "{{ message }}"
[[limits]]
per = "recipient"
rate = "5/hour"
max_wait = "1h"
tenant = "shop"
[[limits]]
per = "user"
rate = "10/hour"
[retry.profiles.patient]
max_attempts = 3
delays = ["10m", "20m"]
[retry.codes.twilio]
30001 = {fate = "retry", scope = "message", max_attempts = 3, delays = ["60s"]}
NETWORK = {max_attempts = 3}
http_4xx = {fate = "fail"}
http_5xx = {fate = "retry"}
default = {delays = ["1s"]}
[accounts.carrier]
rate = "100/min"
[providers.main]
account = "carrier"
retry = "patient"
prefixes = ["+1"]
price = {"+1" = 0.5, default = 1.5}
type = "twilio"
account_sid = {env = "TWILIO_ACCOUNT_SID"}
auth_token = {env = "TWILIO_AUTH_TOKEN"}
from = ["+15005550006", "ACME"]
rate = ["10/s", "100/min"]
[providers.try]
type = "sandbox"
rate = "10/s"
failures = {NETWORK = 0.5}
[providers.screen]
type = "console"
rate = "2/s"
breaker = false
"""
SECRETS = {**ENVIRON, "OPS": "2" * 64}

DERIVED = {
    ".warnings",  # said at every load, no setting
    ".messages.max_attempts",  # `[retry]` says it, and is compared
    ".messages.profiles",  # the same, and for the two of every provider's rules
    *(f".guards[{place}].{name}" for place in (0, 1) for name in ("per", "max_wait_ms", "tenant")),  # are what they are
    *(f".guards[1].{name}" for name in ("count", "action")),
    ".messages.quiet",  # made of `quiet_hours`, of everybody and of tenants, which are compared
    *(f".providers[{place}].adapter.name" for place in range(3)),  # the section's name, which is compared
    *(f".providers[{place}].rules.{name}" for place in range(3) for name in ("codes", "network_costs_attempt")),
    *(f".retry.profiles[patient].{name}" for name in ("backoff_ms", "multiplier", "max_backoff_ms")),  # it has delays
}
"""Fields of Config that no key sets by itself, or that have no effect."""

OTHERS: dict[str, object] = {"unit": "segments"}
"""Values of texts that may not be just any other."""

UNSET: dict[str, object] = {
    "group": Group("other", 7),
    "admin_group": Group("other", 7),
    "redact_text_after_ms": 3_600_000,
    "scope": Scope.SENDER,
    "max_attempts": 2,
    "breaker": BreakerRules(),
    "max_wait_ms": 5_000,
    "messaging_service_sid": "MG1",
    "api_key_sid": "SK1",
}
"""Values of what may be unset."""


def base(tmp_path: Path) -> Config:
    return load(tmp_path, BASE, SECRETS)


def variants(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The value with one thing changed, for everything in it that can change: path, changed value."""
    name = path.rpartition(".")[2]
    if path in DERIVED:
        return
    match value:
        case Window():
            yield path, replace(value, limit=value.limit + 1)
            yield path, replace(value, span_us=value.span_us + 1_000)
        case TextTemplate():
            *first, last = value.texts
            others = {**value.texts, last: f"{value.texts[last]}!"}
            yield path, TextTemplate(others, value.default)
            if first:
                yield path, TextTemplate(value.texts, last)
                yield path, TextTemplate({each: value.texts[each] for each in first}, value.default)
        case IPv4Network():
            yield path, IPv4Network("10.0.0.0/9")
        case bool():
            yield path, not value
        case Enum():
            yield path, next(each for each in type(value) if each is not value)
        case int() if name == "min_gap_us":
            yield path, value + 1_000
        case int():
            yield path, value + 1
        case float():
            yield path, value / 2
        case str():
            yield path, OTHERS.get(name, f"{value}x")
        case bytes():
            yield path, bytes(len(value))
        case Path():
            yield path, value / "x"
        case None:
            yield path, UNSET.get(name, "x")
        case frozenset():
            yield path, value ^ {"read"}
        case tuple():
            yield from _of_tuple(value, path)
        case Mapping():
            for key, item in value.items():
                yield path, {each: kept for each, kept in value.items() if each != key}
                yield from ((inner, {**value, key: new}) for inner, new in variants(item, f"{path}[{key}]"))
        case _ if is_dataclass(value):
            yield from _of_fields(value, path)
        case _:
            raise AssertionError(f"{path}: no other value is known of {type(value).__name__}")


def _of_tuple(value: tuple[Any, ...], path: str) -> Iterator[tuple[str, Any]]:
    more = 1_000 if path.endswith("delays_ms") else "one more"
    yield path, value[1:] if value else (more,)
    for place, item in enumerate(value):
        for inner, new in variants(item, f"{path}[{place}]"):
            yield inner, (*value[:place], new, *value[place + 1 :])


def _of_fields(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    for each in fields(value):
        if each.init:
            for inner, new in variants(getattr(value, each.name), f"{path}.{each.name}"):
                yield inner, replace(value, **{each.name: new})


def test_each_field_of_the_configuration_is_compared(tmp_path: Path) -> None:
    old = base(tmp_path)
    restart: set[str] = set()
    tried = 0
    for path, new in variants(old):
        assert new != old, path
        found = config.compare(old, new)
        assert found.changed or found.restart, path
        back = config.compare(new, old)
        assert {*back.changed, *back.restart} == {*found.changed, *found.restart}, path
        restart.update(found.restart)
        tried += 1
    assert restart == {
        *("daemon.state_dir", "daemon.runtime_dir", "outbox.synchronous", "outbox.min_free", "outbox.ballast"),
        *("socket.path", "socket.mode", "socket.group", "socket.admin_group", "http.listen"),
    }
    assert tried > 180


def test_nothing_is_different_from_itself(tmp_path: Path) -> None:
    assert config.compare(base(tmp_path), base(tmp_path)) == Changes((), ())


@pytest.mark.parametrize(
    ("before", "after", "changed", "restart"),
    [
        ('rate = "10/s"', 'rate = "20/s"', ("providers.try.rate",), ()),
        ('"ACME"]\nproviders', '"+15005550006"]\nproviders', ("tenants.shop.from",), ()),
        ('providers = ["main"]\n', "", ("tenants.shop.providers",), ()),
        ('quiet_hours = {from = "20:00", to = "09:00"}', "quiet_hours = false", ("tenants.shop.quiet_hours",), ()),
        ('quiet_hours = {from = "20:00", to = "09:00"}\n', "", ("tenants.shop.quiet_hours",), ()),
        ('{env = "SMSD_CALLBACK_SECRET_BEFORE"}]', "]", ("callbacks.secret",), ()),
        ('["10.0.0.0/8"]', "[]", ("callbacks.allow_private",), ()),
        ("[callbacks]", '[callbacks]\nper_host = 9\ntimeout = "5s"', ("callbacks.timeout", "callbacks.per_host"), ()),
        ("key=hush", "key=hash", ("tenants.shop.callback_url",), ()),
        ('callback_secret = {env = "SHOP_CALLBACK_SECRET"}\n', "", ("tenants.shop.callback_secret",), ()),
        ('from = "21:00"', 'from = "21:30"', ("quiet_hours.from",), ()),
        ('[quiet_hours]\nfrom = "21:00"\nto = "08:00"\n', "", ("quiet_hours",), ()),
        ("tenants.shop", 'tenants."local:1000"', ('tenants."local:1000"', "tenants.shop"), ()),
        ('{env = "OPS"}', f'"{"3" * 64}"', ("http.tokens.ops.sha256",), ()),
        ('scopes = ["admin"]', 'scopes = ["read"]', ("http.tokens.ops.scopes",), ()),
        ('name = "ops"', 'name = "new"', ("http.tokens.new", "http.tokens.ops"), ()),
        ("[http]", '[http]\nlisten = []', (), ("http.listen",)),
        ("[http]", '[outbox]\nballast = "1MiB"\nmax_backlog = 7\n[http]', ("outbox.max_backlog",), ("outbox.ballast",)),
        ('["10m"', '["11m"', ("retry.profiles.patient.delays",), ()),
        ("[providers.screen]", "[providers.print]", ("providers.print", "providers.screen"), ()),
        ('failures = {NETWORK = 0.5}', "", ("providers.try.failures",), ()),
        ('{env = "TWILIO_AUTH_TOKEN"}', '"another"', ("providers.main.auth_token",), ()),
        ("Your code", "The code", ("templates.code.texts",), ()),
        ('default = "en"', 'default = "de"', ("templates.code.default",), ()),
        ('[templates.plain]\ntext = "{{ message }}"\n', "", ("templates.plain",), ()),
        ('loop_guard = "5/hour"', 'loop_guard = "off"', ("messages.loop_guard",), ()),
        ('"5/hour"', '"5/hour"\nloop_guard_action = "hold"', ("messages.loop_guard_action",), ()),
        ('duplicate_window = "15m"', 'duplicate_window = "7d"', ("messages.duplicate_window",), ()),
        ("[http]", '[routing]\nstrategy = "weighted"\n[http]', ("routing.strategy",), ()),
        ("[http]", '[routing]\nfailover_after = "never"\n[http]', ("routing.failover_after",), ()),
        ("[http]", "[retry]\nbudget = false\n[http]", ("retry.budget",), ()),
        ("[http]", "[retry]\nnetwork_costs_attempt = true\n[http]", ("retry.network_costs_attempt",), ()),
        ('["60s"]', '["61s"]', ("retry.codes.twilio.30001",), ()),
        ('NETWORK = {max_attempts = 3}\n', "", ("retry.codes.twilio.NETWORK",), ()),
        ('rate = "100/min"', 'rate = "50/min"', ("accounts.carrier.rate",), ()),
        ("breaker = false", "breaker = {min_calls = 3}", ("providers.screen.breaker",), ()),
        ("breaker = false", "breaker = false\nadaptive = false", ("providers.screen.adaptive",), ()),
        ("default = 1.5", "default = 2", ("providers.main.price",), ()),
        ("[http]", '[retry]\non_uncertain = "hold"\n[http]', tuple(
            f"{each}.on_uncertain" for each in ("retry", "providers.main", "providers.try", "providers.screen")), ()),
    ],
)  # fmt: skip
def test_changes_are_told_by_key(
    before: str, after: str, changed: tuple[str, ...], restart: tuple[str, ...], tmp_path: Path
) -> None:
    old, new = base(tmp_path), load(tmp_path, BASE.replace(before, after, 1), SECRETS)
    assert config.compare(old, new) == Changes(changed, restart)


def test_the_order_of_providers_is_the_order_of_routing(tmp_path: Path) -> None:
    old = base(tmp_path)
    first, *rest = old.providers
    assert config.compare(old, replace(old, providers=(*rest, first))) == Changes(("providers",), ())
    assert config.compare(old, replace(old, providers=tuple(rest))) == Changes(("providers.main",), ())


def test_no_value_of_a_secret_is_in_what_changed(tmp_path: Path) -> None:
    old = base(tmp_path)
    new = load(tmp_path, BASE, {**SECRETS, "TWILIO_AUTH_TOKEN": "another-secret", "OPS": "4" * 64})
    found = config.compare(old, new)
    assert found.changed == ("http.tokens.ops.sha256", "providers.main.auth_token")
    assert "another-secret" not in repr(found)
