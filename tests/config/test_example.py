"""Does the example tell the truth about every key?"""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from smsd import config
from smsd.config import TokenConfig
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace, Window
from smsd.core.policy import RetryRules
from smsd.providers.twilio import Twilio
from tests.config.files import ENVIRON, EXAMPLE, load


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
    bounds = TenantRules(("+15005550006",), ("main",))
    full = replace(
        loaded,
        http=replace(loaded.http, tokens=(token,)),
        messages=replace(loaded.messages, tenants={"shop": bounds}),
    )
    described = _tables(config.describe(full))
    assert {"http.tokens", "tenants.shop"} <= set(described)
    for name, keys in described.items():
        assert keys <= shown[name], name


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


@pytest.mark.parametrize("number", alternatives())
def test_each_alternative_of_the_example_loads(number: int, tmp_path: Path) -> None:
    """Uncomment one line; the other value of its key goes. A commented section comes as a whole."""
    lines = EXAMPLE.read_text().splitlines()
    start = next((n for n in range(number, -1, -1) if lines[n].startswith("#[") or lines[n].startswith("[")), number)
    if lines[start].startswith("#["):
        last = start
        while last < len(lines) and lines[last].startswith("#"):
            lines[last] = lines[last].removeprefix("#")
            last += 1
    else:
        key = lines[number].removeprefix("#").split(" = ")[0]
        end = next((n for n in range(start + 1, len(lines)) if re.match(r"#?\[", lines[n])), len(lines))
        lines = [
            "" if start < n < end and n != number and line.startswith(f"{key} = ") else line
            for n, line in enumerate(lines)
        ]
        lines[number] = lines[number].removeprefix("#")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for place in (tmp_path, credentials):
        (place / "twilio_auth_token").write_text("from-a-file\n")
    text = "\n".join(lines)
    tomllib.loads(text)
    loaded = load(tmp_path, text, {**ENVIRON, "CREDENTIALS_DIRECTORY": str(credentials)})
    default = config.load(EXAMPLE, ENVIRON)
    assert loaded != default, "the alternative changes nothing"


def test_the_profiles_of_the_example() -> None:
    """The waits people ask for: 1 s and 2 s; 10 and 20 min; 3, 6, 12, 24 s."""
    text = EXAMPLE.read_text().replace("\n#[retry", "\n[retry")
    keys = r"(?m)^#(?=(max_attempts|delays|backoff|multiplier|jitter) = )"
    head, tail = text.split("# Profiles are chosen", 1)
    profiles, rest = tail.split("# One section for each", 1)
    document = tomllib.loads(head + re.sub(keys, "", "#" + profiles) + "#" + rest)
    assert document["retry"]["profiles"] == {
        "urgent": {"max_attempts": 3, "delays": ["1s", "2s"], "jitter": "none"},
        "patient": {"max_attempts": 3, "delays": ["10m", "20m"], "jitter": "none"},
        "doubling": {"max_attempts": 5, "backoff": "3s", "multiplier": 2, "jitter": "none"},
    }
