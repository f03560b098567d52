"""The registry, and what configuration relies on."""

from __future__ import annotations

import dataclasses

import pytest

from smsd.providers import TYPES
from smsd.providers.base import Local, Provider

OWN: dict[str, dict[str, object]] = {
    "twilio": {"account_sid": "AC1", "auth_token": "hush"},
    "dialpad": {"api_key": "hush"},
    "messagebird": {"access_key": "hush"},
    "http": {
        "url": "https://sms.example/send",
        "fields": {"to": "{to}", "text": "{text}"},
        "id_path": "id",
        "auth": "bearer",
        "token": "hush",
    },
}
"""Settings without which an adapter cannot be."""


def make(name: str) -> Provider:
    made: Provider = TYPES[name](name="main", **OWN.get(name, {}))
    return made


def test_the_types_of_this_version() -> None:
    types = {
        "twilio",
        "dialpad",
        "messagebird",
        "http",
        "sandbox",
        "console",
    }
    assert set(TYPES) == types


@pytest.mark.parametrize("name", sorted(TYPES))
def test_an_adapter_is_a_frozen_dataclass_that_tells_no_secret(name: str) -> None:
    adapter = make(name)
    kind = TYPES[name]
    assert adapter.type == name
    assert adapter.lookup in {"none", "fuzzy", "exact", "key"}
    assert "hush" not in repr(adapter)
    assert len(adapter.fingerprint()) == 64
    with pytest.raises(dataclasses.FrozenInstanceError):
        adapter.__setattr__("name", "other")
    secrets = [field for field in dataclasses.fields(kind) if field.metadata.get("secret")]
    assert all(not field.repr for field in secrets)


def test_only_simulated_providers_are_local() -> None:
    assert {name for name in TYPES if isinstance(make(name), Local)} == {"sandbox", "console"}
