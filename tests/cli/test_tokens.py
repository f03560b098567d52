"""Are tokens made of dice, shown once, and hashed as the daemon hashes them?"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from tests.cli.helpers import Run, process

WORDS = ("--name", "shop", "--scope", "read", "--scope", "send", "--tenant", "shop")


def test_a_new_token_and_its_lines(smsd: Run) -> None:
    done = smsd("token", "new", *WORDS)
    token, blank, *lines = done.out.splitlines()
    assert (done.code, blank) == (0, "")
    assert token.startswith("smsd_")
    assert len(token) == len("smsd_") + 43, "32 bytes in base64url"
    assert tomllib.loads("\n".join(lines)) == {
        "http": {
            "tokens": [
                {
                    **{"name": "shop", "sha256": hashlib.sha256(token.encode()).hexdigest()},
                    **{"scopes": ["send", "read"], "tenant": "shop"},
                }
            ]
        }
    }
    assert token not in done.err
    assert "smsd reload" in done.err
    assert smsd("token", "new", *WORDS).out.splitlines()[0] != token


def test_as_json(smsd: Run) -> None:
    document = smsd("token", "new", "--name", "ops", "--scope", "admin", "--json").documents[0]
    assert document["sha256"] == hashlib.sha256(document["token"].encode()).hexdigest()
    assert "tenant" not in document
    assert tomllib.loads(document["config"])["http"]["tokens"][0] == {
        name: document[name] for name in ("name", "sha256", "scopes")
    }


def test_the_lines_of_a_token_that_exists() -> None:
    token = "x" * 32
    done = process("token", "hash", *WORDS, stdin=f"{token}\n".encode())
    assert done.returncode == 0
    entry = tomllib.loads(done.stdout.decode())["http"]["tokens"][0]
    assert entry["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token.encode() not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "stdin", [b"", b"short", b"x" * 600, b"x" * 20 + b" " + b"x" * 20, "ü".encode() * 40, b"\0" * 40]
)
def test_what_is_no_token(stdin: bytes) -> None:
    done = process("token", "hash", *WORDS, stdin=stdin)
    assert (done.returncode, done.stdout) == (65, b"")
    assert b"smsd token new" in done.stderr


@pytest.mark.parametrize("words", [(), ("--name", "a"), ("--scope", "send"), ("--name", "a", "--scope", "all")])
def test_a_wrong_command_line(smsd: Run, words: tuple[str, ...]) -> None:
    assert smsd("token", "new", *words).code == 64


@pytest.mark.parametrize(
    "words",
    [("--name", 'a"\n[x]'), ("--name", ""), ("--name", "a", "--tenant", "local:0"), ("--name", "a", "--tenant", "/")],
)
def test_names_that_the_configuration_would_refuse(smsd: Run, words: tuple[str, ...]) -> None:
    done = smsd("token", "new", "--scope", "send", *words)
    assert (done.code, done.out) == (64, "")


def test_the_configuration_takes_the_lines(smsd: Run, tmp_path: Path) -> None:
    lines = smsd("token", "new", *WORDS, "--json").documents[0]["config"]
    (tmp_path / "c.toml").write_text(f'{lines}\n[providers.main]\ntype = "sandbox"\nrate = "1/s"\n')
    assert smsd("check-config", "--config", str(tmp_path / "c.toml")).code == 0
