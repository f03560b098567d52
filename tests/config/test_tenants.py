"""What tenants are bound to: is it read as it was meant, and is a bound that nobody can keep found at once?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd.core.acceptance import TenantRules
from smsd.core.message import Priority
from smsd.core.quiet import QuietHours
from tests.config.files import SANDBOX, faults, load


def provider(name: str, *more: str) -> str:
    return "\n".join([f"[providers.{name}]", 'type = "sandbox"', 'rate = "10/s"', *more, ""])


BOTH = provider("main", 'from = ["+15005550006", "ACME"]') + provider("spare", 'from = "+15005550007"')


def test_every_key_is_read(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        [tenants.shop]
        from = ["+1 500 555 0006", "ACME"]
        providers = ["main"]
        max_priority = "bulk"
        quiet_hours = {from = "20:30", to = "09:00"}
        [tenants."local:1000"]
        from = "+15005550007"
        quiet_hours = false
        [tenants.free]
        """
        + BOTH,
    )
    assert dict(loaded.tenants) == {
        "shop": TenantRules(("+15005550006", "ACME"), ("main",), Priority.BULK, QuietHours(20 * 60 + 30, 9 * 60)),
        "local:1000": TenantRules(("+15005550007",), quiet=False),
        "free": TenantRules(),
    }
    assert loaded.tenants is loaded.messages.tenants
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("name", "keys", "path", "message"),
    [
        ("shop", "from = []", "shop.from", "is empty, which would allow none; name at least one, or remove the key"),
        ("shop", "from = 5", "shop.from", "must be a text or a list of texts"),
        ("shop", 'from = "A-B"', "shop.from", "must be a number in E.164"),
        ("shop", 'from = ["ACME", "ACME"]', "shop.from", "names a sender twice"),
        ("shop", 'from = "Nobody"', "shop.from", "no enabled provider owns 'Nobody'; write it into the provider's"),
        ("shop", 'from = "ACME"\nproviders = "spare"', "shop.from", "no provider it may use owns 'ACME'"),
        ("shop", "providers = []", "shop.providers", "is empty, which would allow none"),
        ("shop", 'providers = ["gone"]', "shop.providers", "there is no [providers.gone]; write one of main, spare"),
        ("shop", 'providers = ["main", "main"]', "shop.providers", "names a provider twice"),
        ("shop", 'max_priority = "urgent"', "shop.max_priority", "must be one of high, normal, bulk"),
        ("shop", "quiet_hours = true", "shop.quiet_hours", 'must be a table such as {from = "21:00", to = "08:00"}'),
        ("shop", 'quiet_hours = {to = "08:00"}', "shop.quiet_hours.from", "missing; write a time of day"),
        ("shop", 'provider = ["main"]', "shop.provider", "did you mean `providers`?"),
        ('"token:x"', "", '"token:x"', "is kept for callers that are given no tenant"),
        ("anonymous", "", "anonymous", "is kept for callers that are given no tenant"),
        ('"a b"', "", '"a b"', "is not a name; use at most 128 of"),
        ('""', "", '""', "is not a name"),
        ("t" * 129, "", "t" * 129, "is not a name"),
    ],
)
def test_each_fault(name: str, keys: str, path: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"[tenants.{name}]\n{keys}\n{BOTH}")
    assert list(found) in ([f"tenants.{path}"], [f'tenants."{path}"'])
    assert message in next(iter(found.values()))


def test_a_tenant_is_a_section(tmp_path: Path) -> None:
    assert faults(tmp_path, f"[tenants]\nshop = 5\n{BOTH}") == {"tenants.shop": "must be a table; got a number"}


def test_a_provider_that_owns_no_list_carries_any_sender(tmp_path: Path) -> None:
    assert load(tmp_path, f'[tenants.shop]\nfrom = "Nobody"\n{BOTH}{provider("any")}').warnings == ()


def test_a_provider_that_is_off_owns_nothing(tmp_path: Path) -> None:
    text = f'[tenants.shop]\nfrom = "ACME"\n{BOTH}'.replace('from = ["+', 'enabled = false\nfrom = ["+')
    assert "no enabled provider owns 'ACME'" in faults(tmp_path, text)["tenants.shop.from"]


def test_a_faulty_provider_makes_no_second_fault(tmp_path: Path) -> None:
    text = f'[tenants.shop]\nfrom = "ACME"\nproviders = ["main", "spare"]\n{BOTH}'.replace('"10/s"', '"10"', 1)
    assert list(faults(tmp_path, text)) == ["providers.main.rate"]


def test_a_tenant_whose_providers_are_all_off_is_said(tmp_path: Path) -> None:
    text = f'[tenants.shop]\nfrom = "ACME"\nproviders = "main"\n{BOTH}'.replace(
        'from = ["+', 'enabled = false\nfrom = ["+'
    )
    (warning,) = load(tmp_path, text).warnings
    assert warning.startswith("tenants.shop.providers: none of them is enabled")


def test_it_is_said_once_that_no_provider_is_enabled(tmp_path: Path) -> None:
    off = SANDBOX + "enabled = false\n"
    (warning,) = load(tmp_path, f'[tenants.shop]\nfrom = "ACME"\nproviders = "try"\n{off}').warnings
    assert warning.startswith("providers.enabled: no provider is enabled")


def test_a_token_may_name_a_tenant_without_a_section(tmp_path: Path) -> None:
    section = f'[[http.tokens]]\nname = "shop"\nsha256 = "{"0" * 64}"\nscopes = ["send"]\ntenant = "shop"\n'
    loaded = load(tmp_path, section + SANDBOX)
    assert loaded.http.tokens[0].tenant == "shop"
    assert not loaded.tenants
