"""Is every mistake named with its key and remedy, and all of them in one run?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.config import ConfigError
from smsd.providers import TYPES
from tests.config.files import SANDBOX, faults

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
    ('[outbox]\nkeep_failed = "59m"', "outbox.keep_failed", "must be between 1h and"),
    ('[outbox]\nkeep_finished = "on"', "outbox.keep_finished", "not a span of time"),
    ("[outbox]\nredact_text_after = 7", "outbox.redact_text_after", 'must be a duration such as "30s"'),
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
    ("[retry]\nbudget = 1.1", "retry.budget", "must be between 0"),
    ("[retry]\nbudget = true", "retry.budget", "must be a number between 0 and 1, or false"),
    ('[retry]\nbudget = "20%"', "retry.budget", "must be a number"),
    ("[retry]\nnetwork_costs_attempt = 1", "retry.network_costs_attempt", "must be true or false"),
    ("[retry.codes.twillio]", "retry.codes.twillio", "is not a provider type; write one of twilio"),
    ("[retry.codes.twilio]\n30001 = 3", "retry.codes.twilio.30001", "must be a table"),
    ("[retry.codes.twilio]\n30001 = {}", "retry.codes.twilio.30001.fate", "missing, and nothing else is said"),
    ('[retry.codes.twilio]\n1 = {fate = "again"}', "retry.codes.twilio.1.fate", "must be one of retry, fail, throttle"),
    ('[retry.codes.twilio]\n1 = {scope = "us"}', "retry.codes.twilio.1.scope", "must be one of message, recipient"),
    ("[retry.codes.twilio]\n1 = {max_attempts = 0}", "retry.codes.twilio.1.max_attempts", "between 1 and 20"),
    ('[retry.codes.twilio]\n1 = {delays = ["1"]}', "retry.codes.twilio.1.delays", "with a unit"),
    ('[retry.codes.twilio]\n1 = {fate = "fail", wait = "1s"}', "retry.codes.twilio.1.wait", "unknown key"),
    (
        '[retry.codes.twilio]\n1 = {fate = "fail", delays = ["1s"]}',
        "retry.codes.twilio.1.delays",
        'contradicts fate = "fail": the message fails at once; remove one or the other',
    ),
    (
        '[retry.codes.twilio]\n1 = {fate = "suppress", max_attempts = 2}',
        "retry.codes.twilio.1.max_attempts",
        'contradicts fate = "suppress"',
    ),
    (
        '[retry.codes.twilio]\n1 = {fate = "throttle", max_attempts = 2}',
        "retry.codes.twilio.1.max_attempts",
        "a throttle costs no attempt",
    ),
    (
        '[retry.codes.twilio]\n1 = {fate = "halt", scope = "recipient"}',
        "retry.codes.twilio.1.scope",
        "must be provider; got 'recipient'",
    ),
    ('[retry.codes.twilio]\nNETWROK = {fate = "fail"}', "retry.codes.twilio.NETWROK", "did you mean `NETWORK`?"),
    ('[retry.codes.twilio]\nEXHAUSTED = {fate = "fail"}', "retry.codes.twilio.EXHAUSTED", "said by smsd itself"),
    ('[retry.codes.twilio]\nUNDELIVRED = {fate = "fail"}', "retry.codes.twilio.UNDELIVRED", "mean `UNDELIVERED`?"),
    (
        '[retry.codes.twilio]\n30008 = {delays = ["1m"]}',
        "retry.codes.twilio.30008.delays",
        'counts for nothing: the message has ended and is not sent again; remove it, or add fate = "retry"',
    ),
    (
        "[retry.codes.twilio]\n30004 = {max_attempts = 2}",
        "retry.codes.twilio.30004.max_attempts",
        "counts for nothing: the message has ended",
    ),
    (
        '[retry.codes.twilio]\n30003 = {fate = "fail", delays = ["1m"]}',
        "retry.codes.twilio.30003.delays",
        'contradicts fate = "fail": the message has ended',
    ),
    (
        '[retry.codes.twilio]\n30003 = {fate = "retry", max_attempts = 1}',
        "retry.codes.twilio.30003.max_attempts",
        "the first call counts; write 2 or more",
    ),
    ('[retry.codes.twilio]\nhttp_3xx = {fate = "fail"}', "retry.codes.twilio.http_3xx", "http_4xx, http_5xx"),
    ('[retry.codes.twilio]\n40x = {fate = "fail"}', "retry.codes.twilio.40x", "http_4xx, http_5xx"),
    ('[retry.codes.twilio]\n4XX = {fate = "fail"}', "retry.codes.twilio.4XX", "http_4xx, http_5xx"),
    ('[retry.codes.twilio]\nhttp5xx = {fate = "fail"}', "retry.codes.twilio.http5xx", "http_4xx, http_5xx"),
    (
        '[retry.codes.twilio]\nTIMEOUT = {fate = "fail"}',
        "retry.codes.twilio.TIMEOUT.fate",
        "remove it, or write a line for the provider's code",
    ),
    (
        '[retry.codes.twilio]\nREJECTED = {delays = ["1s"]}',
        "retry.codes.twilio.REJECTED.delays",
        'counts for nothing: the message fails at once; remove it, or add fate = "retry"',
    ),
    (
        "[retry.codes.twilio]\nRATE_LIMITED = {max_attempts = 2}",
        "retry.codes.twilio.RATE_LIMITED.max_attempts",
        "counts for nothing: a throttle costs no attempt",
    ),
    ('[retry.codes.twilio]\n" " = {fate = "fail"}', 'retry.codes.twilio." "', "is no provider's code"),
    (
        f'[retry.codes.twilio]\n{"x" * 65} = {{fate = "fail"}}',
        f"retry.codes.twilio.{'x' * 65}",
        "at most 64 printable characters",
    ),
    ('[retry.profiles.a]\njitter = "some"', "retry.profiles.a.jitter", "must be one of none, equal, full"),
    ('[retry.profiles.a]\non_uncertain = "hold"', "retry.profiles.a.on_uncertain", "unknown key"),
    ('[retry.profiles."a b"]', "retry.profiles", "is not a name"),
    ('[routing]\nstrategy = "random"', "routing.strategy", "must be one of priority, weighted, cheapest"),
    ('[routing]\nfailover_after = "always"', "routing.failover_after", "not a span of time"),
    ("[routing]\nfailover_after = 30", "routing.failover_after", "must be a duration"),
    ("[routing]\nfailover_after = false", "routing.failover_after", 'got true or false; or "never"'),
    ('[routing]\nfailover_after = "2d"', "routing.failover_after", '; or "never"'),
    ('[routing]\nfailover = "30s"', "routing.failover", "did you mean `failover_after`?"),
    ("[accounts.a]", "accounts.a.rate", 'missing; write what the carrier allows, such as "100/min"'),
    ('[accounts.a]\nrate = "unlimited"', "accounts.a.rate", "write a number per span"),
    ('[accounts.a]\nrate = "10/s"\nburst = 11', "accounts.a.burst", "at most 10"),
    ('[accounts.a]\nrate = "10/s"\ntimeout = "1s"', "accounts.a.timeout", "unknown key"),
    ('[accounts.A]\nrate = "10/s"', "accounts.A", "is not an account's name"),
    ("[alerts]\nerror_rat = 1", "alerts.error_rat", "did you mean `error_rate`"),
    ("[alerts]\nerror_rate = 2", "alerts.error_rate", "must be between 0 and 1"),
    ('[alerts]\nbacklog = "many"', "alerts.backlog", "must be a whole number"),
    ("[alerts]\nbacklog = false", "alerts.backlog", "must be a whole number"),
    ('[alerts]\ncooldowns = "3"', "alerts.cooldowns", 'write a rate such as "3/hour", or "off"'),
    ('[alerts]\ncooldowns = "3/s"', "alerts.cooldowns", "its span must be between 1m and 7d"),
    ('[alerts]\noldest_pending = "1s"', "alerts.oldest_pending", "must be between 1m and 30d"),
    ('[alerts]\nwebhook = "hooks.example/hush"', "alerts.webhook", "must be an http or https URL"),
    ('[alerts]\nsentry_dsn = "https://sentry.example/hush"', "alerts.sentry_dsn", "is no DSN of Sentry"),
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
    (f'rate = "10/s"\nwebhook_secret = "{16 * "x"}"', "webhook_secret", "takes no webhooks; remove it"),
    ('rate = "10/s"\nanswer_words = "smsd"', "answer_words", "takes no inbound texts; remove it"),
    ('rate = "10/s"\nanswer_words = "nobody"', "answer_words", "must be one of provider, smsd"),
    ('rate = "10/s"\nadaptive = "yes"', "adaptive", "must be true or false"),
    ('rate = "10/s"\nhalt_probe = 1', "halt_probe", "must be true or false"),
    ('rate = "10/s"\nbreaker = true', "breaker", "must be a table such as {failures = 0.5}, or false"),
    ('rate = "10/s"\nbreaker = {failures = 0}', "breaker.failures", "write more, or breaker = false"),
    ('rate = "10/s"\nbreaker = {failures = nan}', "breaker.failures", "must be between 0 and 1"),
    ('rate = "10/s"\nbreaker = {min_call = 5}', "breaker.min_call", "did you mean `min_calls`?"),
    ('rate = "10/s"\nbreaker = {window = "0s"}', "breaker.window", "must be between 1s and 1d"),
    ('rate = "10/s"\nprefixes = ["41"]', "prefixes", "'41' is not the beginning of a number; write + and digits"),
    ('rate = "10/s"\nprefixes = ["+41", "+41"]', "prefixes", "twice"),
    ('rate = "10/s"\nprice = 0.1', "price", "must be a table"),
    ('rate = "10/s"\nprice = {"+1" = -1}', 'price."+1"', "must be between 0"),
    ('rate = "10/s"\nprice = {"+1" = "1"}', 'price."+1"', "must be a number"),
    ('rate = "10/s"\nprice = {other = 1}', "price.other", "or `default` for all others"),
    ('rate = "10/s"\nretry = "patient"', "retry", "there is no [retry.profiles.patient]; add the section"),
    ('account = "a"', "account", "there is no [accounts.a]; add the section with its rate"),
    ('rate = "10/s"\nauth_token = "x"', "auth_token", "unknown key"),
]


@pytest.mark.parametrize(("text", "key", "message"), PROVIDER_CASES)
def test_each_fault_of_a_provider(text: str, key: str, message: str, tmp_path: Path) -> None:
    found = faults(tmp_path, f'[providers.try]\ntype = "sandbox"\n{text}\n')
    assert list(found) == [f"providers.try.{key}"]
    assert message in next(iter(found.values()))


def test_a_provider_needs_a_type_and_a_name(tmp_path: Path) -> None:
    found = faults(
        tmp_path, '[providers.A]\ntype = "sandbox"\nrate = "1/s"\n[providers.b]\n[providers.c]\ntype = "x"\n'
    )
    assert set(found) == {"providers.A", "providers.b.type", "providers.c.type"}
    assert found["providers.c.type"] == f"must be one of {', '.join(TYPES)}; got 'x'"


def test_a_real_carrier_is_never_unlimited(tmp_path: Path) -> None:
    text = '[providers.m]\ntype = "twilio"\naccount_sid = "AC1"\nauth_token = "x"\nfrom = "Shop"\nrate = "unlimited"'
    assert "write a number per span" in faults(tmp_path, text)["providers.m.rate"]


def test_all_that_a_dialect_finds_wrong_comes_in_one_report(tmp_path: Path) -> None:
    text = '[providers.m]\ntype = "twilio"\naccount_sid = "SK1"\nauth_token = "x"\nfrom = "Shop"\nrate = "1/s"\n'
    found = faults(tmp_path, f'{text}base_url = "http://x/?a=b"\nmessaging_service_sid = "AC1"')
    assert set(found) == {"providers.m.account_sid", "providers.m.base_url", "providers.m.messaging_service_sid"}


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
        [retry.codes.twilio]
        30001 = {fate = "fail", delays = ["60s"]}
        [routing]
        strategy = "chepaest"
        [accounts.carrier]
        rate = "a lot"
        [providers.main]
        type = "twilio"
        account_sid = {env = "NOT_SET"}
        rat = "100/min"
        retry = "urgent"
        [providers.try]
        type = "sandbox"
        account = "carier"
        """,
    )
    assert set(found) == {
        "daemon.drain_timeout",
        "outbox.synchronos",
        "retry.jitter",
        "retry.codes.twilio.30001.delays",
        "routing.strategy",
        "accounts.carrier.rate",
        "providers.try.account",
        "providers.main.retry",
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
