"""Does the example tell the truth about every key?"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from smsd import config
from smsd.config import TokenConfig
from smsd.config.own import own_fields
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.account import ProviderRules
from smsd.core.callback import CallbackRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.limits import Action, Per, Rule
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietHours
from smsd.core.retry import RetryRules
from smsd.providers import TYPES
from smsd.providers.twilio import Twilio
from smsd.templates import TextTemplate
from tests.config.files import ENVIRON, EXAMPLE, load, with_alternative, with_limits, with_section, without_comment


def test_the_example_loads() -> None:
    loaded = config.load(EXAMPLE, ENVIRON)
    (main,) = loaded.providers
    assert isinstance(main.adapter, Twilio)
    assert main.adapter.auth_token == ENVIRON["TWILIO_AUTH_TOKEN"]
    assert main.rules == ProviderRules(Pace((Window(100, 60_000_000),)), senders=("+15005550006",))
    assert loaded.warnings == ()


def test_the_example_shows_the_defaults_of_the_code(tmp_path: Path) -> None:
    shown = config.load(EXAMPLE, ENVIRON)
    bare = load(
        tmp_path,
        """
        [providers.main]
        type = "twilio"
        rate = "100/min"
        account_sid = {env = "TWILIO_ACCOUNT_SID"}
        auth_token = {env = "TWILIO_AUTH_TOKEN"}
        from = "+15005550006"
        """,
    )
    assert shown == bare
    assert shown.messages == MessageRules()
    assert shown.retry.default == RetryRules()


def test_the_example_shows_every_key() -> None:
    """What `describe` prints is what there is; nothing of it may be missing in the example, commented or not."""
    text = EXAMPLE.read_text()
    shown = {name: set(keys) for name, keys in _tables(text.replace("\n#", "\n")).items()}
    loaded = config.load(EXAMPLE, ENVIRON)
    token = TokenConfig("shop", bytes(32), frozenset({"send"}), "shop")
    book = CodeBook({"30001": CodeRule("retry")}, default=CodeRule("fail"))
    hours = QuietHours(21 * 60, 8 * 60)
    spoken = TextTemplate({"en": "Your code is {{ code }}.", "de": "Ihr Code: {{ code }}"}, "en")
    bounds = TenantRules(("+15005550006",), ("main",), quiet=hours)
    told = CallbackRules({"shop": "https://shop.example"}, {"shop": ("whsec_x",)}, ("whsec_y",))
    full = replace(
        loaded,
        http=replace(loaded.http, tokens=(token,)),
        messages=replace(loaded.messages, tenants={"shop": bounds}, templates={"code": spoken}, callbacks=told),
        guards=(Rule(Per.TEXT, 5, 3_600_000, Action.REJECT), Rule(Per.REPEAT, 1, 600_000, Action.REPLAY)),
        quiet_hours=hours,
        retry=replace(loaded.retry, codes={"twilio": book}),
        accounts={"carrier": Pace((Window(100, 60_000_000),))},
        limits=(Rule(Per.RECIPIENT, 5, 3_600_000, Action.DEFER, 3_600_000, "shop"),),
    )
    described = _tables(config.describe(full))
    assert {"http.tokens", "tenants.shop", "retry.codes.twilio", "accounts.carrier", "limits"} <= set(described)
    assert {"quiet_hours", "templates.code"} <= set(described)
    for name, keys in described.items():
        assert keys <= shown[name], name


@pytest.mark.parametrize("kind", TYPES)
def test_the_example_shows_every_key_of_each_type(kind: str) -> None:
    sections = re.split(r"\n#?\[", EXAMPLE.read_text())
    text = "\n".join(section for section in sections if re.search(rf'(?m)^#?type = "{kind}"$', section))
    assert text, "no section of that type"
    shown = set(re.findall(r"(?m)^#?(\w+) = ", text))
    assert {own.name for own in own_fields(TYPES[kind])} <= shown


def test_what_is_shown_of_every_type_loads_and_holds_no_secret(tmp_path: Path) -> None:
    names = re.findall(r"(?m)^#\[(providers\.\w+)\]$", EXAMPLE.read_text())
    loaded = load(tmp_path, without_comment(EXAMPLE.read_text(), *names))
    assert {each.type for each in loaded.providers} == set(TYPES)
    described = config.describe(loaded)
    secrets = [value for key, value in ENVIRON.items() if key != "TWILIO_ACCOUNT_SID"]
    assert not [secret for secret in secrets if secret in described]
    again = load(tmp_path, described.replace('webhook_secret = "***"', 'webhook_secret = "a-secret-of-a-path"'))
    assert config.describe(again) == described
    assert [each.rules for each in again.providers] == [each.rules for each in loaded.providers]


def _tables(text: str) -> dict[str, set[str]]:
    """Section -> keys of a TOML text, also of one that repeats keys."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[{1,2}([\w.]+)\]{1,2}", line):
            section = match[1]
            found.setdefault(section, set())
        elif match := re.match(r"(\w+) = ", line):
            found[section].add(match[1])
    return found


def alternatives() -> list[int]:
    """Lines of the example that are a commented-out key or section."""
    lines = EXAMPLE.read_text().splitlines()
    return [number for number, line in enumerate(lines) if re.match(r"#(\w+ = |\[)", line)]


NEEDED = {'retry = "patient"': "retry.profiles.patient", 'account = "carrier"': "accounts.carrier"}
"""Alternatives that name another commented-out section."""


@pytest.mark.parametrize("number", alternatives())
def test_each_alternative_of_the_example_loads(number: int, tmp_path: Path) -> None:
    """Uncomment one line; the other value of its key goes. A commented section comes as a whole."""
    text = EXAMPLE.read_text()
    lines = text.splitlines()
    start = next(n for n in range(number, -1, -1) if lines[n].startswith(("#[", "[")))
    text = with_section(text, start) if lines[start].startswith("#[") else with_alternative(text, number)
    if needed := NEEDED.get(lines[number].removeprefix("#")):
        text = without_comment(text, needed)
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for place in (tmp_path, credentials):
        (place / "twilio_auth_token").write_text("from-a-file\n")
    loaded = load(tmp_path, text, {**ENVIRON, "CREDENTIALS_DIRECTORY": str(credentials)})
    default = config.load(EXAMPLE, ENVIRON)
    assert loaded != default, "the alternative changes nothing"


def test_the_policies_of_the_example() -> None:
    """The waits people ask for: 1 s and 2 s; 10 and 20 min; 3, 6, 12, 24 s; by the code."""
    names = ("retry.profiles.urgent", "retry.profiles.patient", "retry.profiles.doubling", "retry.codes.twilio")
    retry = tomllib.loads(without_comment(EXAMPLE.read_text(), *names))["retry"]
    assert retry["profiles"] == {
        "urgent": {"max_attempts": 3, "delays": ["1s", "2s"], "jitter": "none"},
        "patient": {"max_attempts": 3, "delays": ["10m", "20m"], "jitter": "none"},
        "doubling": {"max_attempts": 5, "backoff": "3s", "multiplier": 2, "jitter": "none"},
    }
    assert {
        key: (rule["max_attempts"], rule["delays"])
        for key, rule in retry["codes"]["twilio"].items()
        if rule["fate"] == "retry"
    } == {
        "30001": (3, ["60s", "120s"]),
        "30002": (3, ["120s"]),
        "30003": (2, ["300s"]),
        "30004": (2, ["180s"]),
        "default": (2, ["120s"]),
    }
    failing = {key for key, rule in retry["codes"]["twilio"].items() if rule == {"fate": "fail"}}
    assert failing == {"21211", "21214", "21610", "30006", "30007", "30008"}


def test_the_limits_of_the_example(tmp_path: Path) -> None:
    """5 an hour to a number, 10 about a user, a tenant's rate that is tried again: alone and together."""
    hour = 3_600_000
    known = {
        "fail": Rule(Per.RECIPIENT, 5, hour, Action.FAIL),
        "reject": Rule(Per.USER, 10, hour, Action.REJECT),
        "retry": Rule(Per.TENANT, 1, 60_000, Action.RETRY),
    }
    for action, rule in known.items():
        assert load(tmp_path, with_limits(EXAMPLE.read_text(), action)).limits == (rule,)
    assert load(tmp_path, with_limits(EXAMPLE.read_text(), *known)).limits == tuple(known.values())
    waiting = load(tmp_path, with_limits(EXAMPLE.read_text(), "defer")).limits
    assert waiting == (
        Rule(Per.RECIPIENT, 2, 60_000, Action.DEFER, hour, "shop"),
        Rule(Per.RECIPIENT, 20, 24 * hour, Action.DEFER, hour, "shop"),
    )
