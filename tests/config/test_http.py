"""Who may come in over HTTP: is it read as it was meant, and every contradiction named?"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smsd import config
from smsd.config import HttpAddress, HttpConfig, TokenConfig
from tests.config.files import SANDBOX, faults, load

HASH = hashlib.sha256(b"a token").hexdigest()
OTHER = hashlib.sha256(b"another").hexdigest()


def token(**keys: str) -> str:
    """One section; a key given as "" is left out."""
    values = {"name": '"shop"', "sha256": f'"{HASH}"', "scopes": '["send", "read"]', **keys}
    return "[[http.tokens]]\n" + "".join(f"{key} = {value}\n" for key, value in values.items() if value)


def test_every_key_is_read(tmp_path: Path) -> None:
    text = """
        [http]
        listen = ["0.0.0.0:80"]
        public_url = "https://sms.example.com/"
        max_body = "64MiB"
        """
    second = token(name='"ops"', sha256=f'"{OTHER.upper()}"', scopes='"admin"', tenant='"a.b:c@d"')
    loaded = load(tmp_path, text + token() + second + SANDBOX)
    assert loaded.http == HttpConfig(
        listen=(HttpAddress("0.0.0.0", 80),),
        public_url="https://sms.example.com",
        max_body=64 << 20,
        tokens=(
            TokenConfig("shop", bytes.fromhex(HASH), frozenset({"send", "read"})),
            TokenConfig("ops", bytes.fromhex(OTHER), frozenset({"admin"}), "a.b:c@d"),
        ),
    )
    assert loaded.warnings == ()


def test_nothing_is_open_that_nobody_opened(tmp_path: Path) -> None:
    found = load(tmp_path, SANDBOX).http
    assert (found.anonymous, found.public_url, found.max_body, found.tokens) == (frozenset(), "", 1 << 20, ())


def test_the_dev_configuration_needs_no_token(tmp_path: Path) -> None:
    assert config.embedded_dev(tmp_path).http.anonymous == {"send", "read", "admin"}


def test_a_hash_may_stand_elsewhere(tmp_path: Path) -> None:
    loaded = load(tmp_path, token(sha256='{env = "HASH"}') + SANDBOX, {"HASH": HASH})
    assert loaded.http.tokens[0].sha256 == bytes.fromhex(HASH)


def test_a_hash_is_shown_nowhere(tmp_path: Path) -> None:
    loaded = load(tmp_path, token() + SANDBOX)
    for shown in (repr(loaded), config.describe(loaded)):
        assert HASH not in shown
        assert repr(bytes.fromhex(HASH)) not in shown
    assert '[[http.tokens]]\nname = "shop"\nsha256 = "***"\nscopes = ["send", "read"]\n' in config.describe(loaded)


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        ("[http]\nanonymous = true", "http.anonymous", "must be a text or a list of texts"),
        ('[http]\nanonymous = ["all"]', "http.anonymous", "may hold send, read, admin; got 'all'"),
        (
            '[http]\nanonymous = ["read"]\npublic_url = "https://sms.example.com"',
            "http.anonymous",
            "lets in whoever reaches https://sms.example.com (public_url); remove it, and make tokens",
        ),
        (
            '[http]\nanonymous = ["read"]\nlisten = ["127.0.0.1:1", "0.0.0.0:80", "[::]:80"]',
            "http.anonymous",
            "lets in whoever reaches 0.0.0.0:80 (listen) and [::]:80 (listen); remove it",
        ),
        ('[http]\nmax_body = "63KiB"', "http.max_body", "must be between 64KiB and 64MiB"),
        ('[http]\nmax_body = "65MiB"', "http.max_body", "must be between 64KiB and 64MiB"),
        ("[http]\nmax_body = 5", "http.max_body", 'must be a size such as "256MiB", in quotes'),
        ("[http]\nanonymos = []", "http.anonymos", "did you mean `anonymous`?"),
        ("[http]\ntokens = 5", "http.tokens", "must be sections headed [[http.tokens]]; got a number"),
        ("[http]\ntokens = [5]", "http.tokens", "must hold tables only, each headed [[http.tokens]]; got a number"),
        ('[http.tokens]\nname = "shop"', "http.tokens", "must be sections headed [[http.tokens]]; got a table"),
        (token(name=""), "http.tokens[1].name", "missing; write what it is called"),
        (token(name='""'), "http.tokens[1].name", "is empty; give it a value"),
        (token(name='"a b"'), "http.tokens[1].name", "is not a name; use at most 64 of"),
        (token(name=f'"{"n" * 65}"'), "http.tokens[1].name", "is not a name; use at most 64 of"),
        (token(sha256=""), "http.tokens[1].sha256", "missing; write the 64 hexadecimal digits that `smsd token new`"),
        (token(sha256=f'"{HASH[:-1]}"'), "http.tokens[1].sha256", "is not a SHA-256"),
        (token(sha256=f'"{HASH[:-1]}g"'), "http.tokens[1].sha256", "is not a SHA-256"),
        (token(sha256=f'"{HASH}\\n"'), "http.tokens[1].sha256", "holds spaces at an end, a line break"),
        (token(sha256='{env = "NOPE"}'), "http.tokens[1].sha256", "environment variable NOPE is not set"),
        (token(scopes=""), "http.tokens[1].scopes", "missing; write what it may do, some of send, read, admin"),
        (token(scopes="[]"), "http.tokens[1].scopes", "is empty; write what it may do, some of send, read, admin"),
        (token(scopes='["write"]'), "http.tokens[1].scopes", "may hold send, read, admin; got 'write'"),
        (token(tenant='"local:0"'), "http.tokens[1].tenant", "'local:0' is kept for callers that are given no tenant"),
        (token(tenant='"token:x"'), "http.tokens[1].tenant", "choose another name"),
        (token(tenant='"anonymous"'), "http.tokens[1].tenant", "choose another name"),
        (token(tenant='"-x"'), "http.tokens[1].tenant", "is not a name; use at most 128 of"),
        (token(tenant=f'"{"t" * 129}"'), "http.tokens[1].tenant", "is not a name; use at most 128 of"),
        (token(token='"smsd_secret"'), "http.tokens[1].token", "only its sha256, which `smsd token new` prints"),
        (token(tennant='"x"'), "http.tokens[1].tennant", "did you mean `tenant`?"),
        (token() + token(sha256=f'"{OTHER}"'), "http.tokens[2].name", "is that of http.tokens[1] too; call it"),
        (
            token() + token(name='"b"', sha256=f'"{OTHER}"') + token(name='"c"', sha256=f'"{HASH.upper()}"'),
            "http.tokens[3].sha256",
            "is that of http.tokens[1] too; make another with `smsd token new`",
        ),
    ],
)
def test_each_fault(text: str, path: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"{text}\n{SANDBOX}")
    assert list(found) == [path]
    assert message in found[path]
    assert "smsd_secret" not in found[path]
    assert HASH[:60] not in found[path]


def test_faulty_tokens_are_not_alike(tmp_path: Path) -> None:
    """Two that lack the same thing are two faults, not four."""
    assert set(faults(tmp_path, 2 * token(name="", sha256="") + SANDBOX)) == {
        f"http.tokens[{number}].{key}" for number in (1, 2) for key in ("name", "sha256")
    }


URLS = ["ftp://x", "https://", "x", "https://u:p@x", "https://x?y", "https://x#y", "https://x/y", "https://x:99999",
        "https://x y", "https://x/?"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_a_public_url_that_is_none(url: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f'[http]\npublic_url = "{url}"\n{SANDBOX}')
    assert list(found) == ["http.public_url"]
    assert 'write scheme and host, no path, such as "https://sms.example.com"' in found["http.public_url"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://ü.example", "xn--"),
        ("HTTPS://sms.example", "lower case"),
        ("https://SMS.example", "lower case"),
    ],
)
def test_a_public_url_that_providers_would_sign_in_another_spelling(url: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f'[http]\npublic_url = "{url}"\n{SANDBOX}')
    assert list(found) == ["http.public_url"]
    assert message in found["http.public_url"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [("https://x", False), ("http://localhost:7670", False), ("http://[::1]", False), ("http://10.0.0.1", True)],
)
def test_a_public_url_without_tls_is_said(url: str, warned: bool, tmp_path: Path) -> None:
    loaded = load(tmp_path, f'[http]\npublic_url = "{url}"\n{SANDBOX}')
    assert loaded.http.public_url == url
    assert loaded.warnings == (
        ("http.public_url: tokens and texts travel unencrypted; write https://",) if warned else ()
    )


@pytest.mark.parametrize("listen", ['["127.0.0.1:7670", "[::1]:7670", "127.8.8.8:1"]', "[]"])
def test_anonymous_at_home(listen: str, tmp_path: Path) -> None:
    loaded = load(tmp_path, f'[http]\nanonymous = ["read", "send"]\nlisten = {listen}\n{SANDBOX}')
    assert loaded.http.anonymous == {"send", "read"}
