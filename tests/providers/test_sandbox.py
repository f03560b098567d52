"""The simulated carrier and the console."""

from __future__ import annotations

from collections import Counter

import phonenumbers
import pytest

from smsd.core.verdict import Category, Fate, Scope, Verdict
from smsd.providers.base import NoAnswer, NoConnection, Response, read
from smsd.providers.console import Console
from smsd.providers.sandbox import NUMBERS, SHARES, Sandbox
from tests.providers.calls import CALL, answer, call

SANDBOX = Sandbox("s")


def verdict(to: str, attempt: int = 1, draw: float = 0.5, sandbox: Sandbox = SANDBOX) -> Verdict:
    request = sandbox.prepare(call(recipient=to, attempt=attempt))
    return read(sandbox, sandbox.perform(request, draw).outcome)


CASES: dict[str, tuple[Fate, Category | None, Scope, int | None]] = {
    "+15005550001": (Fate.REFUSE, Category.INVALID_RECIPIENT, Scope.RECIPIENT, None),
    "+15005550002": (Fate.REFUSE, Category.INVALID_RECIPIENT, Scope.RECIPIENT, None),
    "+15005550003": (Fate.REFUSE, Category.CONFIG_ERROR, Scope.MESSAGE, None),
    "+15005550004": (Fate.REFUSE, Category.OPTED_OUT, Scope.RECIPIENT, None),
    "+15005550006": (Fate.ACCEPTED, None, Scope.MESSAGE, None),
    "+15005550009": (Fate.REFUSE, Category.INVALID_RECIPIENT, Scope.RECIPIENT, None),
    "+15005550010": (Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER, None),
    "+15005550011": (Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER, 2_000),
    "+15005550012": (Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER, 2_000),
    "+15005550013": (Fate.DEFER, Category.RATE_LIMITED, Scope.RECIPIENT, None),
    "+15005550014": (Fate.DEFER, Category.RATE_LIMITED, Scope.SENDER, None),
    "+15005550020": (Fate.DEFER, Category.AUTH_FAILED, Scope.PROVIDER, None),
    "+15005550021": (Fate.DEFER, Category.CONFIG_ERROR, Scope.PROVIDER, None),
    "+15005550030": (Fate.DEFER, Category.NETWORK, Scope.MESSAGE, None),
    "+15005550031": (Fate.DEFER, Category.NETWORK, Scope.MESSAGE, None),
    "+15005550040": (Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, None),
    "+15005550041": (Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, None),
    "+15005550042": (Fate.UNKNOWN, Category.TIMEOUT, Scope.MESSAGE, None),
    "+15005550050": (Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, None),
    "+15005550051": (Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, None),
    "+15005550052": (Fate.DEFER, Category.PROVIDER_ERROR, Scope.MESSAGE, None),
    "+15005550060": (Fate.REFUSE, Category.REJECTED, Scope.MESSAGE, None),
    "+15005550070": (Fate.ACCEPTED, None, Scope.MESSAGE, None),
}


@pytest.mark.parametrize("to", sorted(NUMBERS))
def test_each_number_behaves_as_documented_on_the_first_attempt(to: str) -> None:
    fate, category, scope, wait = CASES[to]
    found = verdict(to)
    assert (found.fate, found.category, found.scope, found.retry_after_ms) == (fate, category, scope, wait)


def test_every_category_a_provider_can_answer_has_a_number() -> None:
    assert {case[1] for case in CASES.values()} - {None} == {Category(name) for name in SHARES}


@pytest.mark.parametrize(("to", "times"), [(to, b.first) for to, b in NUMBERS.items() if b.first is not None])
def test_passing_trouble_passes(to: str, times: int) -> None:
    assert verdict(to, attempt=times).fate is not Fate.ACCEPTED
    assert verdict(to, attempt=times + 1).fate is Fate.ACCEPTED


def test_magic_numbers_are_possible_numbers() -> None:
    for number in NUMBERS:
        assert phonenumbers.is_possible_number(phonenumbers.parse(number))


def test_shares_follow_the_draw_and_spare_magic_numbers() -> None:
    flaky = Sandbox("s", failures={"TIMEOUT": 0.1, "PROVIDER_ERROR": 0.2})
    draws = [(n + 0.5) / 1_000 for n in range(1_000)]
    seen = Counter(verdict("+14155550123", draw=draw, sandbox=flaky).category for draw in draws)
    assert seen == {Category.PROVIDER_ERROR: 200, Category.TIMEOUT: 100, None: 700}
    assert all(verdict("+15005550006", draw=draw, sandbox=flaky).fate is Fate.ACCEPTED for draw in draws)


@pytest.mark.parametrize("category", sorted(SHARES))
def test_a_share_yields_its_category(category: str) -> None:
    found = verdict("+14155550123", sandbox=Sandbox("s", failures={category: 1.0}), draw=0.999999)
    assert found.category == category


def test_ids_differ_by_message_and_attempt_and_repeat_for_the_same() -> None:
    one, again, other = verdict(CALL.recipient), verdict(CALL.recipient), verdict(CALL.recipient, attempt=2)
    assert one.provider_message_id == again.provider_message_id != other.provider_message_id


def test_latency_is_the_setting_and_one_number_is_slower() -> None:
    slow = Sandbox("s", latency=50)
    assert slow.perform(slow.prepare(CALL), 0.5).latency_ms == 50
    assert slow.perform(slow.prepare(call(recipient="+15005550070")), 0.5).latency_ms == 3_050


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"latency": -1}, "latency"),
        ({"failures": {"EXPIRED": 0.1}}, "failures.EXPIRED"),
        ({"failures": {"TIMEOUT": 1.5}}, "failures.TIMEOUT"),
        ({"failures": {"TIMEOUT": float("nan")}}, "failures.TIMEOUT"),
        ({"failures": {"TIMEOUT": 0.6, "NETWORK": 0.5}}, "failures"),
    ],
)
def test_settings_that_make_no_sense_name_their_key(settings: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"^{key}: "):
        Sandbox("s", **settings)  # type: ignore[arg-type]  # wrong on purpose


def test_the_three_kinds_of_outcome_are_all_there() -> None:
    def outcome(to: str) -> object:
        return SANDBOX.perform(SANDBOX.prepare(call(recipient=to)), 0.5).outcome

    assert isinstance(outcome("+15005550030"), NoConnection)
    assert isinstance(outcome("+15005550040"), NoAnswer)
    assert isinstance(outcome("+15005550020"), Response)


def test_an_unknown_error_word_is_read_by_status() -> None:
    found = SANDBOX.classify(answer(429, {"error": "novel"}))
    assert (found.category, found.code) == (Category.RATE_LIMITED, "novel")


def test_local_providers_cannot_be_asked() -> None:
    for provider in (SANDBOX, Console("c")):
        assert provider.lookup == "none"
        with pytest.raises(LookupError):
            provider.ask(CALL)
        with pytest.raises(LookupError):
            provider.find(answer(200), CALL)


def test_a_fingerprint_follows_the_behaviour() -> None:
    assert Sandbox("a").fingerprint() == Sandbox("b").fingerprint() != Sandbox("a", latency=1).fingerprint()
    assert Console("a").fingerprint() == Console("b").fingerprint()


def test_the_console_prints_one_line_in_full_and_accepts() -> None:
    console = Console("c")
    performance = console.perform(console.prepare(call(text="two\nlines é")), 0.5)
    assert performance.line == '+14155550123 <- +15005550006: "two\\nlines é"'
    found = read(console, performance.outcome)
    assert (found.fate, found.provider_message_id) == (Fate.ACCEPTED, f"{CALL.id}/1")
