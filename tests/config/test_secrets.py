"""Where do secrets come from, are they ever shown, and is what is unwise said?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.config import Secret
from smsd.providers.twilio import Twilio
from tests.config.files import ENVIRON, TWILIO, faults, load


def test_each_source_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hidden\n")
    environ = {"TOKEN": "hidden", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    for value in ('"hidden"', '{env = "TOKEN"}', '{file = "token"}', '{credential = "token"}'):
        (main,) = load(tmp_path, TWILIO.format(value), environ).providers
        assert isinstance(main.adapter, Twilio)
        assert main.adapter.auth_token == "hidden"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('""', "is empty"),
        ('" hidden"', "spaces at an end"),
        ('"hid\\nden"', "a line break"),
        ("5", "must be a text in quotes or a reference such as {env = ...}; got a number"),
        ('{env = "EMPTY"}', "environment variable EMPTY is empty"),
        ('{env = "NONE"}', "environment variable NONE is not set"),
        ('{file = "none"}', "No such file or directory"),
        ('{file = "empty"}', "is empty; write the secret into it"),
        ('{file = "binary"}', "is not UTF-8"),
        ('{file = "long"}', "longer than 65536 bytes"),
        ('{credential = "x"}', "run under systemd with LoadCredential=x:PATH"),
        ('{credential = "../x"}', "without slashes"),
        ('{vault = "x"}', "{credential ="),
        ('{env = "A", file = "b"}', "{credential ="),
        ("{}", "{credential ="),
        ("{env = 3}", "{credential ="),
    ],
)
def test_each_secret_that_is_none(value: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "long").write_text("x" * 65_537)
    found = faults(tmp_path, TWILIO.replace("{}", value), {"EMPTY": ""})
    assert list(found) == ["providers.main.auth_token"]
    assert message in found["providers.main.auth_token"]
    assert "hid" not in found["providers.main.auth_token"]


def test_a_secret_is_shown_nowhere(tmp_path: Path) -> None:
    loaded = load(tmp_path, TWILIO.format('"hidden"'))
    for shown in (repr(loaded), str(loaded.providers[0].adapter), config.describe(loaded)):
        assert "hidden" not in shown
    assert 'auth_token = "***"' in config.describe(loaded)
    secret = Secret("hidden")
    assert f"{secret} {secret!r}" == "*** ***"
    assert secret.reveal() == "hidden"
    assert secret == Secret("hidden")
    assert secret != Secret("other")


def test_what_is_unwise_is_said(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        [outbox]
        synchronous = "normal"
        ballast = "0B"
        [providers.main]
        type = "twilio"
        enabled = false
        account_sid = "AC1"
        auth_token = {env = "TWILIO_AUTH_TOKEN"}
        base_url = "http://10.0.0.1"
        rate = "1/s"
        [logging]
        redact = false
        """,
    )
    assert [warning.partition(":")[0] for warning in loaded.warnings] == [
        "outbox.synchronous",
        "outbox.ballast",
        "providers.main.base_url",
        "providers.main.from",
        "providers.enabled",
        "logging.redact",
    ]


def test_a_literal_secret_that_everybody_can_read_is_said(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    for mode, text, count in ((0o644, '"x"', 1), (0o640, '"x"', 0), (0o644, '{env = "TWILIO_AUTH_TOKEN"}', 0)):
        path.write_text(TWILIO.format(text))
        path.chmod(mode)
        loaded = config.load(path, ENVIRON)
        assert len(loaded.warnings) == count
        assert all("holds providers.main.auth_token; chmod o-r" in warning for warning in loaded.warnings)


@pytest.mark.parametrize("url", ["ftp://x", "https://", "x", "https://u:p@x", "https://x?y", "https://x:99999"])
def test_a_base_url_that_is_none(url: str, tmp_path: Path) -> None:
    found = faults(tmp_path, TWILIO.format('"x"') + f'base_url = "{url}"\n')
    assert list(found) == ["providers.main.base_url"]


def test_a_loopback_stand_in_needs_no_tls(tmp_path: Path) -> None:
    assert load(tmp_path, TWILIO.format('"x"') + 'base_url = "http://127.0.0.1:8080"\n').warnings == ()
