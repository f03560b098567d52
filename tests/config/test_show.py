"""Can what is shown be loaded again?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd import config
from smsd.config import HttpConfig
from smsd.config.changes import compare
from smsd.config.routing import STRATEGIES
from smsd.config.tables import size_text
from smsd.config.tenants import KEPT, TENANT_NAME
from smsd.core.acceptance import MessageRules, TenantRules
from smsd.core.account import ProviderRules
from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Priority
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietHours
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.core.verdict import Category, Scope
from tests.config.files import load

durations = st.integers(1, 86_400).map(lambda s: s * 1_000)

hours = st.lists(st.integers(0, 1_439), min_size=2, max_size=2, unique=True).map(lambda ends: QuietHours(*ends))

limits = st.one_of(
    st.builds(
        Rule,
        st.sampled_from([Per.RECIPIENT, Per.USER, Per.SENDER]),
        st.integers(1, 100_000),
        durations,
        st.just(Action.DEFER),
        st.none() | durations,
        st.sampled_from([None, "shop", "local:1000"]),
    ),
    st.builds(
        Rule,
        st.sampled_from([Per.RECIPIENT, Per.TENANT, Per.CAMPAIGN]),
        st.integers(1, 100_000),
        st.integers(1, 32 * 86_400_000),
        st.sampled_from([Action.RETRY, Action.FAIL, Action.REJECT]),
    ),
)

rules_of_codes = st.dictionaries(
    st.sampled_from(["30001", "a.b", 'so "called"', "ä", "REJECTED_SOURCE", "*"]),
    st.sampled_from(
        [
            CodeRule("retry", None, 3, (60_000, 120_000)),
            CodeRule("throttle", Scope.RECIPIENT, None, (1,)),
            CodeRule("", Scope.SENDER),
            CodeRule(max_attempts=20),
        ]
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        RetryRules, st.integers(1, 20), durations, st.floats(1, 100), st.just(604_800_000), delays_ms=st.just(())
    ),
    st.lists(durations, min_size=1, max_size=4).map(tuple),
    st.dictionaries(st.integers(1, 3_600_000), st.integers(1, 1_000_000), min_size=1, max_size=3),
    st.sampled_from([0, 1, 1023, 1024, 3 << 20, 1 << 30]),
    st.dictionaries(
        st.from_regex(TENANT_NAME, fullmatch=True).filter(lambda name: not KEPT.fullmatch(name)),
        st.builds(
            TenantRules,
            st.sampled_from([(), ("A b",), ("A b", "+15005550006")]),
            st.sampled_from([(), ("sandbox",)]),
            st.sampled_from(Priority),
            st.none() | st.just(False) | hours,
        ),
        max_size=3,
    ),
    rules_of_codes,
    st.builds(RoutingRules, st.sampled_from(STRATEGIES), st.none() | durations),
    st.dictionaries(st.sampled_from(["", "+1", "+4179"]), st.floats(0, 1_000), max_size=3),
    st.none() | st.builds(BreakerRules, durations, st.floats(0.01, 1), st.integers(1, 1_000), durations),
    st.sampled_from(
        [
            HttpConfig(anonymous=frozenset({"read"})),
            HttpConfig((), public_url="https://sms.example.com:8443", max_body=64 << 10),
        ]
    ),
    st.none() | hours,
    st.lists(limits, max_size=3, unique_by=lambda rule: (rule.per, rule.span_ms)).map(tuple),
)
def test_what_is_shown_can_be_loaded(
    tmp_path_factory: pytest.TempPathFactory,
    default: RetryRules,
    delays: tuple[int, ...],
    spans: dict[int, int],
    ballast: int,
    tenants: dict[str, TenantRules],
    codes: dict[str, CodeRule],
    routing: RoutingRules,
    prices: dict[str, float],
    breaker: BreakerRules | None,
    http: HttpConfig,
    quiet: QuietHours | None,
    rules_of_limits: tuple[Rule, ...],
) -> None:
    base = config.embedded_dev(Path("/var/lib/smsd"))
    profile = dataclasses.replace(default, delays_ms=delays)
    (provider,) = base.providers
    pace = Pace(tuple(Window(limit, span * 1_000) for span, limit in spans.items()))
    book = CodeBook(codes, {Category.NETWORK: CodeRule("fail")}, None, CodeRule("retry"), codes.get("default"))
    rules = ProviderRules(
        pace,
        senders=("+15005550006", "A b"),
        on_uncertain="retry",
        breaker=breaker,
        account="carrier",
        prefixes=tuple(filter(None, prices)),
        prices=prices,
        codes=book,
        profile="p",
    )
    changed = dataclasses.replace(
        base,
        retry=config.RetryConfig(default, {"p": profile}, "hold", codes={"sandbox": book}),
        routing=routing,
        accounts={"carrier": pace},
        http=http,
        quiet_hours=quiet,
        limits=rules_of_limits,
        messages=MessageRules(max_attempts=default.max_attempts, profiles={"p": profile.max_attempts}, tenants=tenants),
        outbox=dataclasses.replace(base.outbox, ballast=ballast),
        providers=(dataclasses.replace(provider, rules=rules),),
    )
    again = load(tmp_path_factory.mktemp("shown"), config.describe(changed))
    assert dataclasses.replace(again, warnings=()) == changed


GATEWAY = """
[providers.gateway]
type = "http"
url = "https://sms.example/send?v=hush-1&ref={id}"
fields = {to = "{to}", text = "{text}", r = "{id}", a = {b = "hush-2"}, c = "hush-3 {id}/{to}", n = 4711, on = true}
id_path = "id"
look_up = {url = "https://sms.example/{id}?v=hush-4", id_path = "id", where = {ref = "{id}"}}
rate = "1/s"
"""


def test_of_a_gateway_only_placeholders_are_shown(tmp_path: Path) -> None:
    loaded = load(tmp_path, GATEWAY)
    shown = config.describe(loaded)
    assert "hush" not in shown + repr(loaded) and "4711" not in shown
    for line in (
        'url = "https://sms.example/send?v=***&ref={id}"',
        'fields = {to = "{to}", text = "{text}", r = "{id}", a = {b = "***"}, c = "***{id}/{to}", n = "***", '
        "on = true}",
        'look_up = {url = "https://sms.example/{id}?v=***", id_path = "id", where = {ref = "{id}"}}',
    ):
        assert line in shown.splitlines()
    assert config.describe(load(tmp_path, shown)) == shown


@pytest.mark.parametrize(
    ("hush", "key"), [("hush-1", "url"), ("hush-2", "fields"), ("4711", "fields"), ("hush-4", "look_up")]
)
def test_a_change_of_what_is_not_shown_is_still_told(tmp_path: Path, hush: str, key: str) -> None:
    other = load(tmp_path, GATEWAY.replace(hush, hush.replace("1", "9").replace("-", "_")))
    assert compare(load(tmp_path, GATEWAY), other).changed == (f"providers.gateway.{key}",)


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 1, 1024, 1536, 64 << 20, 1 << 40)] == [
        "0B",
        "1B",
        "1KiB",
        "1536B",
        "64MiB",
        "1TiB",
    ]
