"""Is every decision of the operator read as it was meant, and every mistake named with its key and remedy?"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd import config
from smsd.config import Config, ConfigError, HttpAddress
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace, Window
from smsd.core.policy import RetryRules
from smsd.providers.sandbox import Sandbox
from smsd.providers.twilio import Twilio
from smsd.tables import Secret, size_text

EXAMPLE = Path(__file__).parents[1] / "config.toml.example"
ENVIRON = {"TWILIO_ACCOUNT_SID": "AC0123456789abcdef", "TWILIO_AUTH_TOKEN": "s3cret-of-the-account"}
SANDBOX = '[providers.try]\ntype = "sandbox"\nrate = "10/s"\n'


def load(directory: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    path = directory / "config.toml"
    path.write_text(text)
    path.chmod(0o600)
    return config.load(path, ENVIRON if environ is None else environ)


def faults(directory: Path, text: str, environ: dict[str, str] | None = None) -> dict[str, str]:
    """Path -> message of every fault; a path must not have two."""
    with pytest.raises(ConfigError) as caught:
        load(directory, text, environ)
    found = {fault.path: fault.message for fault in caught.value.faults}
    assert len(found) == len(caught.value.faults), str(caught.value)
    return found


# -- the example


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
    for name, keys in _tables(config.describe(config.load(EXAMPLE, ENVIRON))).items():
        assert keys <= shown[name], name


def _tables(text: str) -> dict[str, set[str]]:
    """Section -> keys of a TOML text, also of one that repeats keys."""
    found: dict[str, set[str]] = {}
    section = ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\[([\w.]+)\]", line):
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


# -- values


def test_every_section_is_read(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        """
        [daemon]
        state_dir = "/srv/smsd"
        runtime_dir = "/run/other"
        drain_timeout = "1m30s"
        timezone = "UTC"
        [outbox]
        max_backlog = 10
        min_free = "1GiB"
        ballast = "1KiB"
        [socket]
        mode = "600"
        group = "root"
        [http]
        listen = ["0.0.0.0:80", "[::1]:0"]
        [messages]
        default_region = "CH"
        from = "Shop"
        ttl = "2h"
        max_chars = 480
        truncate_chars = 160
        [retry]
        max_attempts = 3
        on_uncertain = "hold"
        [retry.profiles.fast]
        delays = ["1s", "2s"]
        jitter = "none"
        [providers.try]
        type = "sandbox"
        enabled = false
        rate = ["10/s", "100/min", "0.5/s"]
        unit = "segments"
        min_gap = "5ms"
        latency = "50ms"
        failures = {NETWORK = 0.5}
        from = ["+41791234567", "Shop"]
        [providers.screen]
        type = "console"
        rate = "unlimited"
        on_uncertain = "retry"
        [logging]
        level = "warning"
        format = "json"
        """,
    )
    assert (loaded.daemon.state_dir, loaded.daemon.drain_timeout_ms) == (Path("/srv/smsd"), 90_000)
    assert (loaded.outbox.max_backlog, loaded.outbox.min_free, loaded.outbox.ballast) == (10, 1 << 30, 1024)
    assert (loaded.socket.path, loaded.socket.mode) == (Path("/run/other/smsd.sock"), 0o600)
    assert loaded.socket.group == config.Group("root", 0)
    assert loaded.http.listen == (HttpAddress("0.0.0.0", 80), HttpAddress("::1", 0))
    assert loaded.messages == MessageRules("CH", "Shop", 7_200_000, 480, 3, 160, max_attempts=3, profiles={"fast": 3})
    assert loaded.retry.profiles["fast"] == RetryRules(max_attempts=3, jitter="none", delays_ms=(1_000, 2_000))
    trial, screen = loaded.providers
    assert trial.adapter == Sandbox("try", 50, {"NETWORK": 0.5})
    windows = (Window(10, 1_000_000), Window(100, 60_000_000), Window(1, 2_000_000))
    assert trial.rules == ProviderRules(
        Pace(windows, 1, 5_000, "segments"), on_uncertain="hold", senders=("+41791234567", "Shop")
    )
    assert (trial.enabled, screen.enabled) == (False, True)
    assert (screen.rules.pace, screen.rules.on_uncertain) == (Pace(), "retry")
    assert (trial.needs_sender, screen.needs_sender) == (False, False)


def test_a_profile_takes_the_rest_from_retry(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        SANDBOX
        + '[retry]\ndelays = ["7s"]\nmax_attempts = 2\n[retry.profiles.a]\nbackoff = "1s"\n[retry.profiles.b]\n',
    )
    assert loaded.retry.profiles["a"] == RetryRules(max_attempts=2, backoff_ms=1_000)
    assert loaded.retry.profiles["b"] == RetryRules(max_attempts=2, delays_ms=(7_000,))


def test_the_dev_configuration_stays_in_its_directory(tmp_path: Path) -> None:
    dev = config.embedded_dev(tmp_path)
    assert dev.daemon.state_dir == dev.daemon.runtime_dir == dev.socket.path.parent == tmp_path
    assert dev.http.listen == (HttpAddress("127.0.0.1", 7670),)
    assert [provider.type for provider in dev.providers] == ["sandbox"]
    assert dev.logging.format == "console"
    assert dev.warnings == ()


def test_the_dev_socket_of_a_deep_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"socket\.path: is longer than 107 bytes"):
        config.embedded_dev(tmp_path / ("d" * 120))


# -- faults

CASES: list[tuple[str, str, str]] = [
    ("[daemn]", "daemn", "did you mean `daemon`?"),
    ('[daemon]\nstate_dri = "/x"', "daemon.state_dri", "did you mean `state_dir`?"),
    ("[daemon]\nzzz = 1", "daemon.zzz", "unknown key; known here: drain_timeout, runtime_dir, state_dir, timezone"),
    ("daemon = 3", "daemon", "must be a table; got a number"),
    ('[daemon]\nstate_dir = "var"', "daemon.state_dir", "begin it with /"),
    ("[daemon]\nstate_dir = 1", "daemon.state_dir", "must be a text in quotes; got a number"),
    ('[daemon]\nstate_dir = "/a\\nb"', "daemon.state_dir", "line break or a control character"),
    (
        "[daemon]\ndrain_timeout = 30",
        "daemon.drain_timeout",
        'must be a duration such as "30s", in quotes; got a number',
    ),
    ('[daemon]\ndrain_timeout = "30"', "daemon.drain_timeout", "with a unit"),
    ('[daemon]\ndrain_timeout = "11m"', "daemon.drain_timeout", "between 0ms and 10m"),
    ('[daemon]\ntimezone = "Mars/Olympus"', "daemon.timezone", 'write "UTC" or one like'),
    ('[daemon]\ntimezone = "../etc"', "daemon.timezone", "is not a time zone"),
    ('[outbox]\nsynchronous = "off"', "outbox.synchronous", "must be one of full, normal; got 'off'"),
    ("[outbox]\nmax_backlog = 0", "outbox.max_backlog", "must be between 1 and"),
    ("[outbox]\nmax_backlog = true", "outbox.max_backlog", "must be a whole number; got true or false"),
    ("[outbox]\nmax_backlog = 1.5", "outbox.max_backlog", "must be a whole number"),
    ('[outbox]\nmin_free = "256MB"', "outbox.min_free", 'such as "256MiB"'),
    ('[outbox]\nballast = "1TiB"', "outbox.ballast", "must be between 0B and 1GiB"),
    ('[outbox]\nkeep_failed = "30d"', "outbox.keep_failed", "not available in this version"),
    (f'[socket]\npath = "/{"x" * 107}"', "socket.path", "longer than 107 bytes"),
    ('[socket]\nmode = "0999"', "socket.mode", "three octal digits"),
    ('[socket]\ngroup = "no-such-group"', "socket.group", "there is no group 'no-such-group'"),
    ('[http]\nlisten = ["7670"]', "http.listen", 'write "127.0.0.1:7670"'),
    ('[http]\nlisten = ["localhost:1"]', "http.listen", "is not an address"),
    ('[http]\nlisten = ["::1:80"]', "http.listen", "is not an address"),
    ('[http]\nlisten = ["[127.0.0.1]:80"]', "http.listen", "is not an address"),
    ('[http]\nlisten = ["127.0.0.1:65536"]', "http.listen", "is not an address"),
    ('[http]\nlisten = ["127.0.0.1:1", "127.0.0.1:1"]', "http.listen", "twice"),
    ("[http]\nlisten = [1]", "http.listen", "must be a text or a list of texts"),
    ('[http]\npublic_url = ""', "http.public_url", "not available in this version"),
    ("[[http.tokens]]", "http.tokens", "not available in this version"),
    ('[messages]\ndefault_region = "us"', "messages.default_region", "two capital letters"),
    ('[messages]\nfrom = "way too long a name"', "messages.from", "must be a number in E.164"),
    ('[messages]\nttl = "0s"', "messages.ttl", "between 1s and 30d"),
    ('[messages]\noverflow = "cut"', "messages.overflow", "must be one of reject, truncate"),
    ("[messages]\nmax_chars = 100\ntruncate_chars = 160", "messages.truncate_chars", "is more than max_chars"),
    ("[messages]\nsmart_encoding = 1", "messages.smart_encoding", "must be true or false"),
    ("[retry]\nmax_attempts = 21", "retry.max_attempts", "must be between 1 and 20"),
    ("[retry]\nmultiplier = 0.5", "retry.multiplier", "must be between 1 and 100"),
    ('[retry]\nbackoff = "2h"', "retry.max_backoff", "is less than backoff"),
    ('[retry]\ndelays = ["1s"]\nbackoff = "1s"', "retry.delays", "stands beside backoff"),
    ('[retry]\ndelays = "1s"', "retry.delays", "must be a list of durations"),
    ("[retry]\ndelays = [5]", "retry.delays", "it holds a number"),
    ('[retry]\ndelays = ["0s"]', "retry.delays", "must be between 1ms"),
    ("[retry]\nbudget = 0.2", "retry.budget", "not available in this version"),
    ('[retry.profiles.a]\njitter = "some"', "retry.profiles.a.jitter", "must be one of none, equal, full"),
    ('[retry.profiles.a]\non_uncertain = "hold"', "retry.profiles.a.on_uncertain", "unknown key"),
    ('[retry.profiles."a b"]', "retry.profiles", "is not a name"),
    ('[routing]\nstrategy = "priority"', "routing", "not available in this version"),
    ("[[limits]]", "limits", "not available in this version"),
    ('[logging]\nlevel = "loud"', "logging.level", "must be one of debug, info"),
    ("[logging]\nredact = 0", "logging.redact", "must be true or false"),
]


@pytest.mark.parametrize(("text", "path", "message"), CASES)
def test_each_fault_names_key_and_remedy(text: str, path: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f"{text}\n{SANDBOX}")
    assert list(found) == [path]
    assert message in found[path]


PROVIDER_CASES: list[tuple[str, str, str]] = [
    ("", "rate", 'missing; write what the carrier allows, such as "100/min", or "unlimited"'),
    ('rate = "100"', "rate", "write a number per span"),
    ('rate = "0/s"', "rate", "a rate is more than 0"),
    ('rate = ["1/s", "2/1s"]', "rate", "states two limits for 1s"),
    ('rate = "2000000/day"', "rate", "1,000,000 in one window"),
    ('rate = ["unlimited", "1/s"]', "rate", "write a number per span"),
    ('rate = "10/s"\nburst = 11', "burst", "at most 10"),
    ('rate = "10/s"\nunit = "texts"', "unit", "must be one of messages, segments"),
    ('rate = "10/s"\nmax_in_flight = 0', "max_in_flight", "must be between 1 and"),
    ('rate = "10/s"\ntimeout = "1ms"', "timeout", "must be between 100ms and 5m"),
    ('rate = "10/s"\nretry_after = "never"', "retry_after", "must be one of honour"),
    ('rate = "10/s"\nfrom = ["Shop", "Shop"]', "from", "twice"),
    ('rate = "10/s"\nfrom = "+0"', "from", "must be a number in E.164"),
    ('rate = "10/s"\nlatency = 5', "latency", "must be a duration"),
    ('rate = "10/s"\nfailures = {NETWORK = 2}', "failures", "share between 0 and 1"),
    ('rate = "10/s"\nfailures = {NETWORK = 0.9, TIMEOUT = 0.9}', "failures", "add up to more than 1"),
    ('rate = "10/s"\nfailures = {BOOM = 0.5}', "failures.BOOM", "not a category"),
    ('rate = "10/s"\nadaptive = true', "adaptive", "not available in this version"),
    ('rate = "10/s"\nauth_token = "x"', "auth_token", "unknown key"),
]


@pytest.mark.parametrize(("text", "key", "message"), PROVIDER_CASES)
def test_each_fault_of_a_provider(text: str, key: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f'[providers.try]\ntype = "sandbox"\n{text}\n')
    assert list(found) == [f"providers.try.{key}"] or list(found) == [f'providers.try."{key}"']
    assert message in next(iter(found.values()))


def test_a_provider_needs_a_type_and_a_name(tmp_path: Path) -> None:
    found = faults(
        tmp_path, '[providers.A]\ntype = "sandbox"\nrate = "1/s"\n[providers.b]\n[providers.c]\ntype = "x"\n'
    )
    assert set(found) == {"providers.A", "providers.b.type", "providers.c.type"}
    assert found["providers.c.type"] == "must be one of twilio, sandbox, console; got 'x'"


def test_a_real_carrier_is_never_unlimited(tmp_path: Path) -> None:
    text = '[providers.m]\ntype = "twilio"\naccount_sid = "AC1"\nauth_token = "x"\nfrom = "Shop"\nrate = "unlimited"'
    assert "write a number per span" in faults(tmp_path, text)["providers.m.rate"]


def test_without_providers_nothing_could_be_sent(tmp_path: Path) -> None:
    assert "none is set" in faults(tmp_path, "")["providers"]


def test_all_faults_come_in_one_report(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        """
        [daemon]
        drain_timeout = "soon"
        [outbox]
        synchronos = "full"
        [retry]
        jitter = 5
        [providers.main]
        type = "twilio"
        account_sid = {env = "NOT_SET"}
        rat = "100/min"
        """,
    )
    assert set(found) == {
        "daemon.drain_timeout",
        "outbox.synchronos",
        "retry.jitter",
        "providers.main.account_sid",
        "providers.main.auth_token",
        "providers.main.rate",
        "providers.main.rat",
    }
    assert found["providers.main.account_sid"].startswith("environment variable NOT_SET is not set; set it")
    assert found["providers.main.auth_token"].startswith("missing")
    assert "did you mean `rate`?" in found["providers.main.rat"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[daemon", "not a TOML file of smsd"),
        (b"a = 1\na = 2", "not a TOML file of smsd"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b"#" * (1 << 20) + b"\n", "longer than 1MiB"),
        (None, "cannot be read (No such file or directory); write one after config.toml.example"),
    ],
)
def test_a_file_that_is_no_configuration(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        config.load(path, {})
    (fault,) = caught.value.faults
    assert fault.path == str(path)
    assert message in fault.message


# -- secrets

TWILIO = '[providers.main]\ntype = "twilio"\nrate = "1/s"\nfrom = "Shop"\naccount_sid = "AC1"\nauth_token = {}\n'


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


# -- warnings


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


# -- showing

durations = st.integers(1, 86_400).map(lambda s: s * 1_000)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        RetryRules, st.integers(1, 20), durations, st.floats(1, 100), st.just(604_800_000), delays_ms=st.just(())
    ),
    st.lists(durations, min_size=1, max_size=4).map(tuple),
    st.dictionaries(st.integers(1, 3_600_000), st.integers(1, 1_000_000), min_size=1, max_size=3),
    st.sampled_from([0, 1, 1023, 1024, 3 << 20, 1 << 30]),
)
def test_what_is_shown_can_be_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    default: RetryRules,
    delays: tuple[int, ...],
    spans: dict[int, int],
    ballast: int,
) -> None:
    base = config.embedded_dev(Path("/var/lib/smsd"))
    profile = dataclasses.replace(default, delays_ms=delays)
    (provider,) = base.providers
    pace = Pace(tuple(Window(limit, span * 1_000) for span, limit in spans.items()))
    changed = dataclasses.replace(
        base,
        retry=config.RetryConfig(default, {"p": profile}, "hold"),
        messages=MessageRules(max_attempts=default.max_attempts, profiles={"p": profile.max_attempts}),
        outbox=dataclasses.replace(base.outbox, ballast=ballast),
        providers=(dataclasses.replace(provider, rules=ProviderRules(pace, senders=("+15005550006", "A b"))),),
    )
    again = load(tmp_path_factory.mktemp("shown"), config.describe(changed))
    assert dataclasses.replace(again, warnings=()) == changed


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 1, 1024, 1536, 64 << 20, 1 << 40)] == [
        "0B",
        "1B",
        "1KiB",
        "1536B",
        "64MiB",
        "1TiB",
    ]
