"""Is every decision of the operator read as it was meant?"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd import config
from smsd.config import ConfigError, HttpAddress
from smsd.core.acceptance import MessageRules
from smsd.core.account import ProviderRules
from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.pacing import Pace, Window
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.core.verdict import Category, Scope
from smsd.providers.sandbox import Sandbox
from tests.config.files import SANDBOX, TWILIO, load


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


def test_what_is_said_of_codes_reaches_the_providers_of_the_type(tmp_path: Path) -> None:
    text = """
        [retry]
        budget = false
        network_costs_attempt = true
        [retry.codes.sandbox]
        throttle = {fate = "throttle", scope = "sender", delays = ["5m"]}
        PROVIDER_ERROR = {max_attempts = 2}
        http_4xx = {fate = "fail"}
        http_5xx = {scope = "provider"}
        default = {fate = "retry", max_attempts = 2, delays = ["120s"]}
        [providers.screen]
        type = "console"
        rate = "1/s"
        """
    loaded = load(tmp_path, SANDBOX + text)
    book = CodeBook(
        {"throttle": CodeRule("throttle", Scope.SENDER, None, (300_000,))},
        {Category.PROVIDER_ERROR: CodeRule(max_attempts=2)},
        CodeRule("fail"),
        CodeRule(scope=Scope.PROVIDER),
        CodeRule("retry", None, 2, (120_000,)),
    )
    trial, screen = loaded.providers
    assert (trial.rules.codes, screen.rules.codes) == (book, CodeBook())
    assert trial.rules.network_costs_attempt
    assert screen.rules.network_costs_attempt
    assert loaded.retry.budget is None


def test_what_concerns_routing_is_read(tmp_path: Path) -> None:
    text = """
        [routing]
        strategy = "cheapest"
        failover_after = "never"
        [retry.profiles.patient]
        delays = ["10m"]
        [accounts.carrier]
        rate = ["100/min", "5000/day"]
        unit = "segments"
        burst = 10
        min_gap = "5ms"
        [providers.try]
        type = "sandbox"
        account = "carrier"
        retry = "patient"
        adaptive = false
        halt_probe = true
        breaker = {failures = 1, window = "10s"}
        prefixes = ["+1", "+4179"]
        price = {"+1" = 0.0079, "+41" = 0, default = 1}
        [providers.screen]
        type = "console"
        rate = "unlimited"
        breaker = false
        """
    loaded = load(tmp_path, text)
    windows = (Window(100, 60_000_000), Window(5_000, 86_400_000_000))
    assert loaded.routing == RoutingRules("cheapest", None)
    assert loaded.accounts == {"carrier": Pace(windows, 10, 5_000, "segments")}
    trial, screen = (each.rules for each in loaded.providers)
    assert trial == ProviderRules(
        Pace(),
        adaptive=False,
        breaker=BreakerRules(window_ms=10_000, failures=1.0),
        halt_probe=True,
        account="carrier",
        prefixes=("+1", "+4179"),
        prices={"+1": 0.0079, "+41": 0.0, "": 1.0},
        profile="patient",
    )
    assert screen.breaker is None
    assert loaded.warnings == ()


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('[accounts.idle]\nrate = "1/s"', "accounts: no provider names 'idle' as its `account`"),
        ('[routing]\nstrategy = "cheapest"', 'routing: strategy is "cheapest" and no provider has a `price`'),
        ('[retry.codes.twilio]\ndefault = {fate = "fail"}', "retry: codes.twilio is read by no provider"),
    ],
)
def test_what_is_written_for_nothing_is_told(text: str, warning: str, tmp_path: Path) -> None:
    (found,) = load(tmp_path, f"{SANDBOX}\n{text}").warnings
    assert found.startswith(warning)


MOST = "is more than the {0} that [retry] and its profiles grant, and a line only ever lowers that"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("20503 = {max_attempts = 6}", f"20503.max_attempts: {MOST.format(5)}"),
        ("20503 = {max_attempts = 5}", ""),
        (
            "http_5xx = {max_attempts = 9}\n[retry.profiles.a]\nmax_attempts = 8",
            f"http_5xx.max_attempts: {MOST.format(8)}",
        ),
        ("NETWORK = {max_attempts = 8}\n[retry.profiles.a]\nmax_attempts = 8", ""),
        ('30003 = {fate = "retry", scope = "message"}', "30003.scope: counts for nothing in a delivery receipt"),
        ('UNDELIVERED = {fate = "fail", scope = "provider"}', "UNDELIVERED.scope: counts for nothing in a delivery"),
        ('30002 = {fate = "retry", scope = "message"}', ""),  # in answers too
        ('30003 = {delays = ["10m"]}', ""),  # its table sends it again
        ('UNDELIVERED = {max_attempts = 2, delays = ["10m"]}', ""),
        ('30003 = {fate = "throttle", max_attempts = 3}', ""),  # each is a call
        ('TIMEOUT = {max_attempts = 2, delays = ["60s"]}', ""),
    ],
)
def test_a_line_for_a_code_that_counts_for_nothing_is_told(text: str, warning: str, tmp_path: Path) -> None:
    twilio = TWILIO.format('{env = "TWILIO_AUTH_TOKEN"}')
    found = load(tmp_path, f"{twilio}\n[retry.codes.twilio]\n{text}").warnings
    assert len(found) == bool(warning)
    assert "".join(found).startswith(f"retry.codes.twilio.{warning}" if warning else "")


def test_equal_weights_are_no_matter(tmp_path: Path) -> None:
    loaded = load(tmp_path, f'{SANDBOX}\n[routing]\nstrategy = "weighted"')
    assert (loaded.routing.strategy, loaded.warnings) == ("weighted", ())


def test_dialpad_alone_has_a_rate_of_its_own(tmp_path: Path) -> None:
    text = '[providers.{0}]\ntype = "dialpad"\napi_key = {{env = "DIALPAD_API_KEY"}}\nfrom = "+15005550006"\n{1}\n'
    usual, granted = load(tmp_path, text.format("a", "") + text.format("b", 'rate = "800/min"')).providers
    assert usual.rules.pace == Pace((Window(100, 60_000_000),))
    assert granted.rules.pace == Pace((Window(800, 60_000_000),))
