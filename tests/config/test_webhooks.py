"""Is what a section says about webhooks read, judged, shown and kept secret?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.assembly import plan_of
from smsd.core.receipt import Status
from smsd.providers.base import HookKind
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from smsd.providers.messagebird import MessageBird
from tests.config.files import ENVIRON, EXAMPLE, TWILIO, faults, load, without_comment

GATEWAY = """
[providers.box]
type = "http"
rate = "1/s"
url = "https://sms.example/send"
fields = {to = "{to}", text = "{text}", ref = "{id}"}
id_path = "id"
"""
REPORTS = 'reports = {status = "s", reference = "ref", statuses = {delivered = "ok"}}\n'
INBOUND = 'inbound = {from = "f", to = "t", text = "x"}\n'
SIGNED = 'signature = {scheme = "hmac", header = "X-Signature"}\nsigning_key = {env = "SMS_SIGNING_KEY"}\n'
SECRET = 'webhook_secret = {env = "SMSD_WEBHOOK_SECRET"}\n'
BIRD = """
[providers.bird]
type = "messagebird"
rate = "1/s"
from = "Shop"
access_key = {env = "MESSAGEBIRD_ACCESS_KEY"}
"""
PUBLIC = '[http]\npublic_url = "https://sms.example.com"\n'


def test_the_secret_of_the_path_is_read_and_never_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, f'{GATEWAY}{REPORTS}{INBOUND}{SECRET}answer_words = "provider"\n{PUBLIC}')
    (box,) = loaded.providers
    assert (box.webhook_secrets, box.answer_words) == ((ENVIRON["SMSD_WEBHOOK_SECRET"],), "provider")
    shown = config.describe(loaded)
    assert 'webhook_secret = "***"\n' in shown
    assert 'answer_words = "provider"\n' in shown
    assert box.webhook_secrets[0] not in shown + repr(loaded)
    assert loaded.warnings == ()


def test_nothing_is_set_unless_it_is_said(tmp_path: Path) -> None:
    (box,) = load(tmp_path, GATEWAY).providers
    assert (box.webhook_secrets, box.answer_words) == ((), None)
    assert isinstance(box.adapter, Http)
    assert (box.adapter.hooks, box.adapter.signs) == (frozenset(), False)


def test_a_dialect_with_a_key_of_that_name_keeps_it_for_itself(tmp_path: Path) -> None:
    text = '[providers.d]\ntype = "dialpad"\nfrom = "+15005550006"\napi_key = {env = "DIALPAD_API_KEY"}\n' + SECRET
    loaded = load(tmp_path, text + PUBLIC)
    (found,) = loaded.providers
    assert isinstance(found.adapter, Dialpad)
    assert (found.adapter.webhook_secret, found.webhook_secrets) == (ENVIRON["SMSD_WEBHOOK_SECRET"], ())
    assert config.describe(loaded).count('webhook_secret = "***"') == 1
    assert loaded.warnings == ()


def test_a_literal_secret_is_told_of_where_all_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(f'{GATEWAY}{REPORTS}webhook_secret = "0123456789abcdef"\n{PUBLIC}')
    path.chmod(0o644)
    (warning,) = config.load(path, ENVIRON).warnings
    assert "providers.box.webhook_secret;" in warning and "0123" not in warning


@pytest.mark.parametrize("secret", ["0123456789abcde", "0123456789abcde/", "0123456789abcdeé", 129 * "x"])
def test_a_secret_that_is_none_is_a_fault_and_not_shown(secret: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f'{GATEWAY}{REPORTS}webhook_secret = "{secret}"\n')
    assert list(found) == ["providers.box.webhook_secret"]
    assert "write 16 to 128 letters" in found["providers.box.webhook_secret"]
    assert secret[:8] not in found["providers.box.webhook_secret"]


def test_of_several_secrets_the_first_goes_out_and_all_are_accepted(tmp_path: Path) -> None:
    several = 'webhook_secret = [{env = "SMSD_WEBHOOK_SECRET"}, {env = "SMSD_WEBHOOK_SECRET_BEFORE"}]\n'
    loaded = load(tmp_path, f"{GATEWAY}{REPORTS}{several}{PUBLIC}")
    secrets = (ENVIRON["SMSD_WEBHOOK_SECRET"], ENVIRON["SMSD_WEBHOOK_SECRET_BEFORE"])
    assert loaded.providers[0].webhook_secrets == secrets
    (setting,) = plan_of(loaded).settings
    assert (setting.webhook_secret, setting.webhook_secrets) == (secrets[0], secrets)
    assert setting.status_url == f"https://sms.example.com/webhooks/box/status/{secrets[0]}"
    shown = config.describe(loaded)
    assert 'webhook_secret = ["***", "***"]\n' in shown
    assert not [each for each in secrets if each in shown + repr(loaded) + repr(setting)]
    changed = load(tmp_path, f"{GATEWAY}{REPORTS}{SECRET}{PUBLIC}")
    assert config.compare(loaded, changed).changed == ("providers.box.webhook_secret",)


@pytest.mark.parametrize(
    ("secrets", "key", "message"),
    [
        ('["0123456789abcdef", "short"]', "webhook_secret.2", "write 16 to 128 letters"),
        ('["0123456789abcdef", "0123456789abcdef"]', "webhook_secret", "holds a secret twice"),
        ("[]", "webhook_secret", "a list of 1 to 4; got 0"),
        (str([f"0123456789abcde{n}" for n in range(5)]), "webhook_secret", "a list of 1 to 4; got 5"),
    ],
)
def test_a_list_of_secrets_that_is_none(secrets: str, key: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"{GATEWAY}{REPORTS}webhook_secret = {secrets}\n")
    assert list(found) == [f"providers.box.{key}"]
    assert message in found[f"providers.box.{key}"]
    assert "0123" not in found[f"providers.box.{key}"]


def test_a_dialects_own_key_may_be_several(tmp_path: Path) -> None:
    several = '[{env = "MESSAGEBIRD_SIGNING_KEY"}, "the-key-before"]'
    loaded = load(tmp_path, f"{BIRD}signing_key = {several}\n{PUBLIC}")
    adapter = loaded.providers[0].adapter
    assert isinstance(adapter, MessageBird)
    assert adapter.signing_key == (ENVIRON["MESSAGEBIRD_SIGNING_KEY"], "the-key-before")
    assert 'signing_key = ["***", "***"]\n' in config.describe(loaded)
    assert "before" not in config.describe(loaded) + repr(loaded)
    assert list(faults(tmp_path, f'{BIRD}signing_key = ["good", ""]\n{PUBLIC}')) == ["providers.bird.signing_key.2"]
    assert list(faults(tmp_path, f'{BIRD}signing_key = ["good", "ü"]\n{PUBLIC}')) == ["providers.bird.signing_key.2"]


def test_an_empty_secret_is_none(tmp_path: Path) -> None:
    assert load(tmp_path, f'{GATEWAY}webhook_secret = ""\n').providers[0].webhook_secrets == ()


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (SECRET, "webhook_secret", "takes no webhooks; set reports or inbound, or remove it"),
        (
            f'{REPORTS}{SECRET}answer_words = "smsd"',
            "answer_words",
            "takes no inbound texts; set inbound, or remove it",
        ),
        (SIGNED, "signature", "no webhook is described"),
        (REPORTS + "answers_words = true", "answers_words", "set inbound, or remove it"),
        (REPORTS.replace('"s"', "3"), "reports.status", "must say where it stands"),
        (REPORTS.replace("delivered", "arrived"), "reports.statuses.arrived", "unknown; the keys are"),
        (REPORTS + SIGNED.replace("hmac", "none"), "signature.scheme", "write one of hmac"),
    ],
)
def test_what_can_never_count_is_a_fault(text: str, key: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"{GATEWAY}{text}\n")
    assert list(found) == [f"providers.box.{key}"]
    assert message in found[f"providers.box.{key}"]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (GATEWAY + REPORTS + PUBLIC, "providers: box has neither a signature nor a webhook_secret"),
        (GATEWAY + INBOUND, "providers: box has neither a signature nor a webhook_secret"),
        (GATEWAY + INBOUND + SECRET, "http: public_url is not set, so box is not told where to report"),
        (GATEWAY + REPORTS + SIGNED, "http: public_url is not set, so box is not told where to report"),
        (TWILIO.format("{env = 'TWILIO_AUTH_TOKEN'}") + SECRET, "http: public_url is not set, so main is not told"),
        (GATEWAY + REPORTS + SIGNED + PUBLIC, ""),
        (GATEWAY + REPORTS + SECRET + PUBLIC, ""),
        (GATEWAY + REPORTS + "enabled = false\n", "providers.enabled: no provider is enabled"),
        (BIRD, ""),
        (BIRD + PUBLIC, "providers: bird has neither a signature nor a webhook_secret"),
        (BIRD + SECRET + PUBLIC, ""),
        (BIRD + 'signing_key = {env = "MESSAGEBIRD_SIGNING_KEY"}\n' + PUBLIC, ""),
        (TWILIO.format("{env = 'TWILIO_AUTH_TOKEN'}"), ""),
        (TWILIO.format("{env = 'TWILIO_AUTH_TOKEN'}") + PUBLIC, ""),
    ],
)
def test_webhooks_that_nobody_will_call_are_told_of(text: str, warning: str, tmp_path: Path) -> None:
    found = load(tmp_path, text).warnings
    assert [each[: len(warning)] for each in found] == ([warning] if warning else [])


def test_the_gateways_of_the_example_call_back(tmp_path: Path) -> None:
    """Each of its own settings, that its URL and its signature be known by, and the words for the two ends."""
    names = ("providers.gateway", "providers.infobip", "providers.vonage", "providers.plivo")
    loaded = load(tmp_path, without_comment(EXAMPLE.read_text(), *names))
    found = {each.name: each for each in loaded.providers}
    for name in names:
        each = found[name.removeprefix("providers.")]
        adapter = each.adapter
        assert isinstance(adapter, Http)
        assert adapter.hooks == frozenset(HookKind)
        assert adapter.signs or each.webhook_secrets
        reports = adapter._reports
        assert reports is not None
        assert "reference" in reports.places or "{callback_url}" in str(adapter.fields)
        assert {Status.DELIVERED, Status.UNDELIVERED} <= set(reports.statuses.values())
