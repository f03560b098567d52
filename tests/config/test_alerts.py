"""What does `[alerts]` say, and is what must not be shown never shown?"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from smsd import config
from smsd.assembly import plan_of
from smsd.config import alerts, compare
from smsd.core.units import DAY, MINUTE
from tests.config.files import SANDBOX, faults, load

PLACES = """
[alerts]
webhook = "https://hooks.example/services/hush"
sentry_dsn = "https://hush@sentry.example/1"
"""


def test_every_watch_can_be_switched_off(tmp_path: Path) -> None:
    said = 'auth_halt = false\ndisk = false\nerror_rate = 0\nbacklog = 0\ncooldowns = "off"\noldest_pending = "off"'
    found = load(tmp_path, f"[alerts]\n{said}\n{SANDBOX}")
    assert not found.alerts.rules.any
    words = 'error_rate = "off"\nbacklog = "off"\ncooldowns = 0\noldest_pending = 0\nauth_halt = false\ndisk = false'
    assert load(tmp_path, f"[alerts]\n{words}\n{SANDBOX}").alerts == found.alerts
    assert load(tmp_path, f"{config.describe(found)}").alerts == found.alerts


def test_what_is_said_counts(tmp_path: Path) -> None:
    said = 'name = "west"\nerror_rate = 0.5\nerror_window = "1h"\ncooldowns = "5/day"\noldest_pending = "10m"'
    found = load(tmp_path, f'[alerts]\n{said}\nwebhook = ""\nsentry_dsn = ""\n{SANDBOX}')
    rules = found.alerts.rules
    assert (rules.error_rate, rules.error_window_ms) == (0.5, 60 * MINUTE)
    assert (rules.cooldowns, rules.cooldowns_span_ms, rules.oldest_pending_ms) == (5, DAY, 10 * MINUTE)
    told = plan_of(found).alerts
    assert (told.rules, told.source, told.webhook, told.sentry_dsn) == (rules, "west", "", "")


def test_the_places_are_secrets(tmp_path: Path) -> None:
    found = load(tmp_path, PLACES + SANDBOX)
    told = plan_of(found).alerts
    assert "hush" in told.webhook
    assert "hush" in told.sentry_dsn
    assert told.source
    for shown in (config.describe(found), repr(found), repr(told)):
        assert "hush" not in shown
    assert 'webhook = "***"' in config.describe(found)
    other = load(tmp_path, PLACES.replace("hush", "hash") + SANDBOX)
    assert compare(found, other).changed == ("alerts.webhook", "alerts.sentry_dsn")


@pytest.mark.parametrize("key", ["webhook", "sentry_dsn"])
def test_a_fault_does_not_show_it(tmp_path: Path, key: str) -> None:
    found = faults(tmp_path, f'[alerts]\n{key} = "ftp://hush.example/hush"\n{SANDBOX}')
    assert list(found) == [f"alerts.{key}"]
    assert "hush" not in str(found)


def test_a_webhook_in_the_clear_is_warned_of(tmp_path: Path) -> None:
    (warning,) = load(tmp_path, f'[alerts]\nwebhook = "http://hooks.example/x"\n{SANDBOX}').warnings
    assert warning == "alerts.webhook: alerts travel unencrypted; write https://"
    assert not load(tmp_path, f'[alerts]\nwebhook = "http://127.0.0.1:9/x"\n{SANDBOX}').warnings


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(alerts, "find_spec", lambda name: None if name == "sentry_sdk" else find(name))
    found = faults(tmp_path, PLACES + SANDBOX)
    assert found == {
        "alerts.sentry_dsn": "needs a package that is missing: pip install 'smsd-outbox[sentry]', or remove it"
    }
