"""Where callbacks go and what signs them: is it read as meant, and is what could never be told found at once?"""

from __future__ import annotations

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest

from smsd import config
from smsd.config.changes import compare
from smsd.core.callback import CallbackRules
from tests.config.files import ENVIRON, SANDBOX, faults, load

FIRST, SECOND, THIRD = (
    ENVIRON[name] for name in ("SMSD_CALLBACK_SECRET", "SMSD_CALLBACK_SECRET_BEFORE", "SHOP_CALLBACK_SECRET")
)
KEYED = f'[callbacks]\nsecret = "{FIRST}"\n'


def test_every_key_is_read(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        f"""
        [callbacks]
        secret = [{{env = "SMSD_CALLBACK_SECRET"}}, "{SECOND}"]
        allow_private = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"]
        timeout = "3s"
        per_host = 9
        give_up_after = "1d"
        [tenants.shop]
        callback_url = "https://shop.example:8443/told?key=k"
        callback_secret = {{env = "SHOP_CALLBACK_SECRET"}}
        [tenants.bank]
        callback_url = "http://127.0.0.1:9/"
        [tenants.none]
        """
        + SANDBOX,
    )
    rules = loaded.callbacks
    assert rules == CallbackRules(
        urls={"shop": "https://shop.example:8443/told?key=k", "bank": "http://127.0.0.1:9/"},
        secrets={"shop": (THIRD,)},
        secret=(FIRST, SECOND),
        allowed=(ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("fd00::/8")),
        timeout_ms=3_000,
        per_host=9,
        give_up_ms=86_400_000,
    )
    assert rules.secrets_of("shop") == (THIRD,)
    assert rules.secrets_of("bank") == rules.secrets_of("anybody") == (FIRST, SECOND)
    assert rules is loaded.messages.callbacks
    assert loaded.warnings == ()


def test_nothing_is_told_unless_it_is_said(tmp_path: Path) -> None:
    assert load(tmp_path, SANDBOX).callbacks == CallbackRules()


def short(size: int) -> str:
    return "whsec_" + base64.b64encode(bytes(size)).decode()


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ('[callbacks]\nsecret = "hush"', "callbacks.secret", "is not a secret of Standard Webhooks; write"),
        ('[callbacks]\nsecret = "whsec_a b"', "callbacks.secret", "is not a secret of Standard Webhooks"),
        (f'[callbacks]\nsecret = "{short(23)}"', "callbacks.secret", "is not a secret of Standard Webhooks"),
        (f'[callbacks]\nsecret = "{short(65)}"', "callbacks.secret", "is not a secret of Standard Webhooks"),
        (f'[callbacks]\nsecret = "{FIRST[6:]}"', "callbacks.secret", "is not a secret of Standard Webhooks"),
        (f'[callbacks]\nsecret = ["{FIRST}", "hush"]', "callbacks.secret.2", "is not a secret of Standard Webhooks"),
        (f'[callbacks]\nsecret = ["{FIRST}", "{FIRST}"]', "callbacks.secret", "holds a secret twice"),
        ("[callbacks]\nsecret = []", "callbacks.secret", "must be a secret or a list of 1 to 4; got 0"),
        ('[callbacks]\nsecret = ""', "callbacks.secret", "is empty"),
        ('[callbacks]\nsecret = {env = "NONE"}', "callbacks.secret", "environment variable NONE is not set"),
        ('[callbacks]\nallow_private = "10.0.0.1/8"', "callbacks.allow_private", "has host bits set; write networks"),
        ('[callbacks]\nallow_private = "here"', "callbacks.allow_private", 'such as "10.0.0.0/8" or addresses'),
        ('[callbacks]\ntimeout = "0s"', "callbacks.timeout", "must be between 1s and 1m"),
        ("[callbacks]\nper_host = 0", "callbacks.per_host", "must be between 1 and 32"),
        ('[callbacks]\ngive_up_after = "31d"', "callbacks.give_up_after", "must be between 1m and 30d"),
        ('[callbacks]\nurl = "x"', "callbacks.url", "unknown key"),
        ('[tenants.shop]\ncallback_url = "https://shop.example"', "tenants.shop.callback_url", "needs a secret: set"),
        (f'{KEYED}[tenants.shop]\ncallback_url = "x"', "tenants.shop.callback_url", "must be an http or https URL"),
        (f'{KEYED}[tenants.shop]\ncallback_url = ""', "tenants.shop.callback_url", "must be an http or https URL"),
        (f"{KEYED}[tenants.shop]\ncallback_url = 5", "tenants.shop.callback_url", "must be a text in quotes"),
        (
            f'{KEYED}[tenants.shop]\ncallback_url = "https://10.0.0.1/x"',
            "tenants.shop.callback_url",
            "10.0.0.1 is no public address; list it in [callbacks] allow_private",
        ),
        (
            f'{KEYED}allow_private = "10.0.0.0/8"\n[tenants.shop]\ncallback_url = "https://localhost/x"',
            "tenants.shop.callback_url",
            "localhost is no public address",
        ),
        (
            '[tenants.shop]\ncallback_url = "https://shop.example"\ncallback_secret = "hush"',
            "tenants.shop.callback_secret",
            "is not a secret of Standard Webhooks",
        ),
    ],
)
def test_each_fault(text: str, path: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"{text}\n{SANDBOX}")
    assert list(found) == [path]
    assert message in found[path]
    assert FIRST not in found[path] and "hush" not in found[path]


def test_what_travels_unencrypted_is_said(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, f'{KEYED}[tenants.shop]\ncallback_url = "http://shop.example"\n{SANDBOX}').warnings
    assert warning.startswith("tenants.shop.callback_url: what happens to messages travels unencrypted")


def test_what_is_shown_can_be_loaded_but_for_what_is_hidden(tmp_path: Path) -> None:
    tenant = '[tenants.shop]\ncallback_url = "https://shop.example/told"\n'
    loaded = load(tmp_path, f'{KEYED}allow_private = ["10.0.0.0/8", "::1"]\nper_host = 2\n{tenant}{SANDBOX}')
    shown = config.describe(loaded)
    assert FIRST not in shown + repr(loaded)
    assert 'secret = "***"' in shown
    again = load(tmp_path, shown.replace('secret = "***"', f'secret = "{FIRST}"'))
    assert again.callbacks == loaded.callbacks


def test_of_several_secrets_and_of_a_query_it_is_shown_that_they_are_there(tmp_path: Path) -> None:
    keys = f'callback_url = "https://shop.example/told?key=hush"\ncallback_secret = ["{FIRST}", "{SECOND}"]\n'
    text = f"[tenants.shop]\n{keys}{SANDBOX}"
    loaded = load(tmp_path, text)
    shown = config.describe(loaded)
    assert 'callback_secret = ["***", "***"]' in shown
    assert 'callback_url = "https://shop.example/told?***"' in shown
    assert "hush" not in shown + repr(loaded)
    changes = compare(loaded, load(tmp_path, text.replace("hush", "other").replace(SECOND, THIRD)))
    assert changes.changed == ("tenants.shop.callback_url", "tenants.shop.callback_secret")
