"""What follows from each verdict and each look-up? A table to read, and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsd.core.account import ProviderRules
from smsd.core.codes import CodeRule
from smsd.core.doubt import Finding, postpone, resolve
from smsd.core.lifecycle import Event, IllegalTransitionError, step
from smsd.core.message import Encoding, Error, Message, MessageId, Priority, State
from smsd.core.pacing import Pace
from smsd.core.policy import ALONE, Around, decide, hold_back, release
from smsd.core.retry import RetryRules, backoff
from smsd.core.settlement import Cooldown, Halt, Rest, Settlement
from smsd.core.suppression import Suppression
from smsd.core.verdict import Category, Fate, Scope, Verdict, accepted

NOW = 1_790_000_000_000  # 2026-09-21T14:13:20Z
HOUR = 3_600_000

RULES = ProviderRules(Pace(), cooldown_ms=300_000, network_costs_attempt=True)
FREE = replace(RULES, network_costs_attempt=False)
RETRY = RetryRules(jitter="none")  # 3 s, 6 s, 12 s, 24 s ...

MESSAGE = Message(
    seq=7,
    id=MessageId("01890000-0000-7000-8000-000000000007"),
    state=State.PROCESSING,
    recipient="+15005550009",
    text="hello",
    tenant="shop",
    route="main",
    flow=1,
    priority=Priority.NORMAL,
    created_at=NOW - 60_000,
    due=NOW - 1_000,
    expires_at=NOW + 72 * HOUR,
    segments=1,
    encoding=Encoding.GSM7,
    length=5,
    max_attempts=3,
    attempt=1,
    charged=0,
    provider="main",
    claimed_at=NOW - 500,
)


def verdict(fate: Fate, category: Category, scope: Scope = Scope.MESSAGE, wait: int | None = None) -> Verdict:
    return Verdict(fate, category, scope, "as the provider says", code="42", retry_after_ms=wait)


THROTTLE = verdict(Fate.DEFER, Category.RATE_LIMITED, Scope.PROVIDER)
PAIR = verdict(Fate.DEFER, Category.RATE_LIMITED, Scope.SENDER)
AUTH = verdict(Fate.DEFER, Category.AUTH_FAILED, Scope.PROVIDER)
NETWORK = verdict(Fate.DEFER, Category.NETWORK)


@dataclass(frozen=True)
class Case:
    """One row: what came, and what follows. `wait` is due - now; `effect` is a cooldown's length, "halt", or who
    rests."""

    verdict: Verdict
    event: Event
    charged: int
    wait: int = 0
    category: Category | None = None
    effect: int | str | None = None
    before: int = 0
    """Attempts charged before this one."""
    rules: ProviderRules = RULES
    around: Around = ALONE
    asked_sender: str | None = None
    attempt: int = 1
    route: str | None = None


HONOUR = replace(RULES, retry_after="honour")
IGNORE = replace(RULES, retry_after="ignore")
C = Category
E = Event

CASES = {
    "accepted": Case(accepted("SM1"), E.TAKEN, 1),
    "no connection": Case(NETWORK, E.RETRY, 1, 3_000, C.NETWORK),
    "no connection, again": Case(NETWORK, E.RETRY, 2, 6_000, C.NETWORK, before=1),
    "no connection, for the last time": Case(NETWORK, E.FAIL, 3, 0, C.EXHAUSTED, before=2),
    "503": Case(verdict(Fate.DEFER, C.PROVIDER_ERROR), E.RETRY, 1, 3_000, C.PROVIDER_ERROR),
    "503, wait 90 s": Case(verdict(Fate.DEFER, C.PROVIDER_ERROR, wait=90_000), E.RETRY, 1, 90_000, C.PROVIDER_ERROR),
    "503, wait 90 s, ignored": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR, wait=90_000), E.RETRY, 1, 3_000, C.PROVIDER_ERROR, rules=IGNORE
    ),
    "throttled": Case(THROTTLE, E.RETRY, 0, 300_000, C.RATE_LIMITED, 300_000),
    "throttled at the last attempt": Case(THROTTLE, E.RETRY, 2, 300_000, C.RATE_LIMITED, 300_000, before=2),
    "throttled, wait 60 s": Case(
        replace(THROTTLE, retry_after_ms=60_000), E.RETRY, 0, 300_000, C.RATE_LIMITED, 300_000
    ),
    "throttled, wait 600 s": Case(
        replace(THROTTLE, retry_after_ms=600_000), E.RETRY, 0, 600_000, C.RATE_LIMITED, 600_000
    ),
    "throttled, wait a year": Case(replace(THROTTLE, retry_after_ms=10**11), E.RETRY, 0, HOUR, C.RATE_LIMITED, HOUR),
    "throttled, wait 60 s, honoured": Case(
        replace(THROTTLE, retry_after_ms=60_000), E.RETRY, 0, 60_000, C.RATE_LIMITED, 60_000, rules=HONOUR
    ),
    "throttled, wait 0 s, honoured": Case(
        replace(THROTTLE, retry_after_ms=0), E.RETRY, 0, 1_000, C.RATE_LIMITED, 1_000, rules=HONOUR
    ),
    "throttled without a wait, honoured": Case(THROTTLE, E.RETRY, 0, 300_000, C.RATE_LIMITED, 300_000, rules=HONOUR),
    "throttled, wait 600 s, ignored": Case(
        replace(THROTTLE, retry_after_ms=600_000), E.RETRY, 0, 300_000, C.RATE_LIMITED, 300_000, rules=IGNORE
    ),
    "throttled, the dialect knows how long": Case(
        replace(THROTTLE, cooldown_ms=60_000), E.RETRY, 0, 60_000, C.RATE_LIMITED, 60_000
    ),
    "throttled, by the operator's word": Case(
        THROTTLE, E.RETRY, 0, 7_000, C.RATE_LIMITED, 7_000, around=Around(CodeRule(delays_ms=(7_000,)))
    ),
    "sender throttled": Case(PAIR, E.RETRY, 0, 3_000, C.RATE_LIMITED, "+15005550006 rests"),
    "recipient throttled": Case(
        replace(PAIR, scope=Scope.RECIPIENT), E.RETRY, 0, 3_000, C.RATE_LIMITED, "+15005550006 and +15005550009 rest"
    ),
    "sender throttled, wait 60 s": Case(
        replace(PAIR, retry_after_ms=60_000), E.RETRY, 0, 60_000, C.RATE_LIMITED, "+15005550006 rests"
    ),
    "no connection, which costs nothing": Case(NETWORK, E.RETRY, 0, 3_000, C.NETWORK, rules=FREE),
    "no connection, for the third time": Case(NETWORK, E.RETRY, 0, 12_000, C.NETWORK, rules=FREE, attempt=3),
    "no connection, for the hundredth time": Case(NETWORK, E.RETRY, 2, 300_000, C.NETWORK, None, 2, FREE, attempt=100),
    "no connection, the next provider has it at once": Case(
        NETWORK, E.RETRY, 0, 0, C.NETWORK, rules=FREE, around=Around(other="beta,main"), route="beta,main"
    ),
    "no connection, and all have been tried": Case(
        NETWORK, E.RETRY, 0, 6_000, C.NETWORK, None, 0, FREE, Around(other="beta,main"), None, 2, "beta,main"
    ),
    "503, the next provider has it at once": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR, wait=90_000),
        E.RETRY,
        1,
        0,
        C.PROVIDER_ERROR,
        around=Around(other="beta,main"),
        route="beta,main",
    ),
    "throttled, it stays": Case(
        THROTTLE, E.RETRY, 0, 300_000, C.RATE_LIMITED, 300_000, around=Around(other="beta,main")
    ),
    "no answer, it stays": Case(
        verdict(Fate.UNKNOWN, C.TIMEOUT), E.DOUBT, 1, 5_000, C.TIMEOUT, around=Around(other="beta,main")
    ),
    "a probe that failed": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR), E.RETRY, 2, 0, C.PROVIDER_ERROR, before=2, around=Around(probe=True)
    ),
    "503, by the operator's word": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR),
        E.RETRY,
        2,
        120_000,
        C.PROVIDER_ERROR,
        before=1,
        around=Around(CodeRule("retry", None, None, (60_000, 120_000))),
    ),
    "503, two calls at most": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR), E.FAIL, 2, 0, C.EXHAUSTED, before=1, around=Around(CodeRule("", None, 2))
    ),
    "503, the provider's profile grants one": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR), E.FAIL, 1, 0, C.EXHAUSTED, around=Around(most=1)
    ),
    "503, more than the message may": Case(
        verdict(Fate.DEFER, C.PROVIDER_ERROR), E.FAIL, 3, 0, C.EXHAUSTED, before=2, around=Around(most=9)
    ),
    "halted by the operator's word": Case(
        AUTH, E.RETRY, 0, 0, C.AUTH_FAILED, "halt", 0, replace(RULES, on_auth_failure="fail"), Around(CodeRule("halt"))
    ),
    "a sender that the configuration chose": Case(
        verdict(Fate.REFUSE, C.CONFIG_ERROR, Scope.SENDER), E.RETRY, 0, 0, C.CONFIG_ERROR, "halt"
    ),
    "a sender that the caller named": Case(
        verdict(Fate.REFUSE, C.CONFIG_ERROR, Scope.SENDER), E.FAIL, 1, 0, C.CONFIG_ERROR, asked_sender="+15005550006"
    ),
    "sender throttled at the last attempt": Case(PAIR, E.RETRY, 2, 3_000, C.RATE_LIMITED, "+15005550006 rests", 2),
    "auth failed": Case(AUTH, E.RETRY, 0, 0, C.AUTH_FAILED, "halt"),
    "auth failed at the last attempt": Case(AUTH, E.RETRY, 2, 0, C.AUTH_FAILED, "halt", before=2),
    "auth failed, refused": Case(replace(AUTH, fate=Fate.REFUSE), E.RETRY, 0, 0, C.AUTH_FAILED, "halt"),
    "auth failed, fail": Case(AUTH, E.FAIL, 1, 0, C.AUTH_FAILED, rules=replace(RULES, on_auth_failure="fail")),
    "auth failed, retry": Case(AUTH, E.RETRY, 1, 3_000, C.AUTH_FAILED, rules=replace(RULES, on_auth_failure="retry")),
    "auth failed, retry, for the last time": Case(
        AUTH, E.FAIL, 3, 0, C.EXHAUSTED, before=2, rules=replace(RULES, on_auth_failure="retry")
    ),
    "auth failed, refused, retry": Case(
        replace(AUTH, fate=Fate.REFUSE), E.RETRY, 1, 3_000, C.AUTH_FAILED, rules=replace(RULES, on_auth_failure="retry")
    ),
    "our set-up": Case(verdict(Fate.DEFER, C.CONFIG_ERROR, Scope.PROVIDER), E.RETRY, 0, 0, C.CONFIG_ERROR, "halt"),
    "a value of the submission": Case(verdict(Fate.REFUSE, C.CONFIG_ERROR), E.FAIL, 1, 0, C.CONFIG_ERROR),
    "bad number": Case(verdict(Fate.REFUSE, C.INVALID_RECIPIENT), E.FAIL, 1, 0, C.INVALID_RECIPIENT),
    "opted out": Case(verdict(Fate.REFUSE, C.OPTED_OUT, Scope.RECIPIENT), E.FAIL, 1, 0, C.OPTED_OUT),
    "filtered": Case(verdict(Fate.REFUSE, C.REJECTED), E.FAIL, 1, 0, C.REJECTED),
    "no answer": Case(verdict(Fate.UNKNOWN, C.TIMEOUT), E.DOUBT, 1, 5_000, C.TIMEOUT),
    "no answer at the last attempt": Case(verdict(Fate.UNKNOWN, C.TIMEOUT), E.DOUBT, 3, 5_000, C.TIMEOUT, before=2),
}


def effect_of(settlement: Settlement) -> int | str | None:
    match settlement.effect:
        case Cooldown(until):
            return until - settlement.at
        case Halt():
            return "halt"
        case Rest(sender, None, until):
            assert until == settlement.due
            return f"{sender} rests"
        case Rest(sender, recipient, until):
            assert until == settlement.due
            return f"{sender} and {recipient} rest"
        case None:
            return None


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_verdict_and_what_follows(case: Case) -> None:
    message = replace(
        MESSAGE,
        charged=case.before,
        attempt=case.attempt,
        route="main,beta" if case.around.other else "main",
        sender="+15005550006",
        asked_sender=case.asked_sender,
    )
    settlement = decide(message, case.verdict, case.rules, RETRY, NOW, 0.0, case.around)
    assert (settlement.seq, settlement.attempt, settlement.at, settlement.lookups) == (7, case.attempt, NOW, 0)
    assert settlement.route == case.route
    assert settlement.event is case.event
    assert settlement.state is step(State.PROCESSING, case.event)
    assert settlement.charged == case.charged
    assert settlement.due - NOW == case.wait
    assert (settlement.error.category if settlement.error else None) == case.category
    assert effect_of(settlement) == case.effect


def test_an_opt_out_suppresses_the_number_at_that_provider() -> None:
    settlement = decide(MESSAGE, verdict(Fate.REFUSE, C.OPTED_OUT, Scope.RECIPIENT), RULES, RETRY, NOW, 0.0)
    assert settlement.suppress == Suppression("main", "+15005550009", NOW, "provider", "42")
    other = decide(MESSAGE, verdict(Fate.REFUSE, C.INVALID_RECIPIENT, Scope.RECIPIENT), RULES, RETRY, NOW, 0.0)
    assert other.suppress is None


def test_held_back_it_waits_as_long_as_its_sender_and_is_charged_nothing() -> None:
    settlement = hold_back(MESSAGE, NOW + 60_000, NOW, 0.5)
    assert (settlement.event, settlement.due, settlement.charged, settlement.released) == (
        E.RETRY,
        NOW + 60_500,
        0,
        True,
    )
    assert str(settlement.error) == "RATE_LIMITED: Rate limited for this sender, retrying at 2026-09-21T14:14:20.500Z"


def test_accepted_keeps_what_the_provider_gave() -> None:
    settlement = decide(MESSAGE, accepted("SM1", price="0.0075 USD", segments=1), RULES, RETRY, NOW, 0.5)
    assert (settlement.provider_message_id, settlement.price, settlement.error) == ("SM1", "0.0075 USD", None)
    assert settlement.segments is None
    assert decide(MESSAGE, accepted("SM1", segments=2), RULES, RETRY, NOW, 0.5).segments == 2


def test_the_text_of_a_throttle_says_when() -> None:
    settlement = decide(MESSAGE, THROTTLE, RULES, RETRY, NOW, 0.5)
    assert str(settlement.error) == "RATE_LIMITED: Rate limited, retrying at 2026-09-21T14:18:20.500Z"
    assert settlement.effect == Cooldown(NOW + 300_000, "as the provider says")


def test_jitter_is_added_to_a_providers_wait_never_taken_off() -> None:
    for spread in (0.0, 0.3, 0.999):
        wait = replace(NETWORK, retry_after_ms=60_000)
        assert decide(MESSAGE, wait, RULES, RETRY, NOW, spread).due == NOW + 60_000 + int(spread * 1_000)
        cooling = decide(MESSAGE, THROTTLE, RULES, RETRY, NOW, spread)
        assert isinstance(cooling.effect, Cooldown)
        assert cooling.effect.until == NOW + 300_000
        assert cooling.due == NOW + 300_000 + int(spread * 1_000)


def test_a_pair_that_stays_throttled_waits_longer_each_time() -> None:
    waits = [decide(replace(MESSAGE, attempt=n), PAIR, RULES, RETRY, NOW, 0.0).due - NOW for n in (1, 2, 3, 50)]
    assert waits == [3_000, 6_000, 12_000, HOUR]


def test_exhausted_names_the_last_real_error() -> None:
    error = decide(replace(MESSAGE, charged=2), NETWORK, RULES, RETRY, NOW, 0.0).error
    assert error is not None
    assert str(error) == "EXHAUSTED: All 3 attempts are used up; the last one: NETWORK: as the provider says"
    assert (error.cause, error.code, error.provider, error.at) == (C.NETWORK, "42", "main", NOW)


def test_a_halt_says_why() -> None:
    assert decide(MESSAGE, AUTH, RULES, RETRY, NOW, 0.0).effect == Halt("AUTH_FAILED: as the provider says")


def test_a_verdict_without_a_category_is_a_broken_promise() -> None:
    with pytest.raises(ValueError, match="names its category"):
        decide(MESSAGE, Verdict(Fate.DEFER), RULES, RETRY, NOW, 0.0)


def test_only_an_open_attempt_can_be_settled() -> None:
    with pytest.raises(IllegalTransitionError):
        decide(replace(MESSAGE, state=State.CANCELLED), NETWORK, RULES, RETRY, NOW, 0.0)


@example(C.AUTH_FAILED, Fate.REFUSE, Scope.MESSAGE, None, 19, "honour", "retry", "none", 0.0)
@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(Category)),
    st.sampled_from([Fate.DEFER, Fate.REFUSE, Fate.UNKNOWN]),
    st.sampled_from(sorted(Scope)),
    st.one_of(st.none(), st.integers(-5, 10**12)),
    st.integers(0, 19),
    st.sampled_from(["honour", "at_least_cooldown", "ignore"]),
    st.sampled_from(["halt", "fail", "retry"]),
    st.sampled_from(["none", "equal", "full"]),
    st.floats(0, 1, exclude_max=True),
)
def test_every_verdict_has_a_reaction(
    category: Category,
    fate: Fate,
    scope: Scope,
    wait: int | None,
    charged: int,
    retry_after: str,
    on_auth_failure: str,
    jitter: str,
    spread: float,
) -> None:
    message = replace(MESSAGE, max_attempts=20, charged=charged, attempt=charged + 1)
    rules = replace(RULES, retry_after=retry_after, on_auth_failure=on_auth_failure)
    settlement = decide(message, verdict(fate, category, scope, wait), rules, RetryRules(jitter=jitter), NOW, spread)
    assert settlement.due >= NOW
    assert charged <= settlement.charged <= min(charged + 1, 20)
    assert settlement.error is not None
    # A refusal of credentials or set-up that is retried (on_auth_failure) uses attempts up as a deferral does.
    retried = fate is Fate.DEFER or (fate is Fate.REFUSE and on_auth_failure == "retry")
    used_up = settlement.event is E.FAIL and retried and settlement.charged == 20
    assert settlement.error.category == category or used_up
    if settlement.error.category != category:
        assert (settlement.error.category, settlement.error.cause) == (C.EXHAUSTED, category)
    if settlement.event is E.RETRY:
        assert settlement.charged < 20
        assert settlement.due > NOW or isinstance(settlement.effect, Halt)
        if isinstance(settlement.effect, Cooldown):
            assert settlement.effect.until <= settlement.due <= settlement.effect.until + 1_000
    if fate is Fate.UNKNOWN:
        assert settlement.event is E.DOUBT
    else:
        assert settlement.event in (E.RETRY, E.FAIL)


# -- backoff ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "waits"),
    [
        (RetryRules(jitter="none"), [3_000, 6_000, 12_000, 24_000]),
        (RetryRules(jitter="none", backoff_ms=1_000, delays_ms=(60_000, 120_000)), [60_000, 120_000, 120_000, 120_000]),
        (RetryRules(jitter="none", multiplier=1.0), [3_000] * 4),
        (RetryRules(jitter="none", multiplier=0.5), [3_000] * 4),
        (RetryRules(jitter="none", max_backoff_ms=10_000), [3_000, 6_000, 10_000, 10_000]),
        (RetryRules(jitter="none", max_backoff_ms=1_000), [1_000] * 4),
        (RetryRules(jitter="none", max_backoff_ms=1_000, delays_ms=(5_000,)), [5_000] * 4),
        (RetryRules(jitter="none", backoff_ms=0), [1] * 4),
        (RetryRules(jitter="none", delays_ms=(0, 1_000)), [1, 1_000, 1_000, 1_000]),
        (RetryRules(jitter="none", multiplier=1.5, backoff_ms=1_000), [1_000, 1_500, 2_250, 3_375]),
    ],
)
def test_backoff_without_jitter(rules: RetryRules, waits: list[int]) -> None:
    assert [backoff(rules, failures, 0.9) for failures in (1, 2, 3, 4)] == waits


@pytest.mark.parametrize(
    ("jitter", "low", "high"), [("none", 3_000, 3_000), ("equal", 1_500, 2_999), ("full", 1, 2_999)]
)
def test_jitter(jitter: str, low: int, high: int) -> None:
    assert backoff(RetryRules(jitter=jitter), 1, 0.0) == low
    assert backoff(RetryRules(jitter=jitter), 1, 0.9999) == high


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 10_000),
    st.floats(0, 1, exclude_max=True),
    st.sampled_from(["none", "equal", "full"]),
    st.floats(1, 1e6),
    st.integers(1, HOUR),
)
def test_backoff_stays_between_nothing_and_its_cap(
    failures: int, spread: float, jitter: str, multiplier: float, start: int
) -> None:
    rules = RetryRules(jitter=jitter, multiplier=multiplier, backoff_ms=start)
    assert 1 <= backoff(rules, failures, spread) <= HOUR
    straight = replace(rules, jitter="none")
    assert backoff(straight, failures, spread) <= backoff(straight, failures + 1, spread)


@pytest.mark.parametrize("multiplier", [1.000_001, 2.0, 1e300])
def test_the_ten_thousandth_attempt_waits_no_longer_than_the_cap(multiplier: float) -> None:
    assert backoff(RetryRules(jitter="none", multiplier=multiplier), 10_000, 0.0) <= HOUR
    assert backoff(RetryRules(jitter="none"), 10_000, 0.0) == HOUR


def test_backoff_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        backoff(RETRY, 0, 0.0)
    with pytest.raises(ValueError, match="none, equal or full"):
        backoff(RetryRules(jitter="some"), 1, 0.0)


# -- look-ups --------------------------------------------------------------------------------------------------------

UNCERTAIN = replace(
    MESSAGE,
    uncertain=True,
    uncertain_since=NOW - 5_000,
    charged=1,
    error=Error(Category.TIMEOUT, "No readable answer", NOW - 5_000, None, "main"),
)
HOLD = replace(RULES, on_uncertain="hold")
F = Finding


@dataclass(frozen=True)
class Ask:
    """One row: what a look-up brought, and what follows."""

    finding: Finding
    quality: str
    event: Event
    wait: int = 0
    category: Category | None = Category.TIMEOUT
    lookups: int = 0
    """After it."""
    before: int = 0
    """Empty answers before it."""
    waited: int = 5_000
    """Since the attempt ended."""
    charged: int = 1
    rules: ProviderRules = RULES
    expires_in: int = HOUR


ASKS = {
    "found": Ask(F.FOUND, "exact", E.TAKEN, category=None),
    "found by content": Ask(F.FOUND, "fuzzy", E.TAKEN, category=None),
    "found past its end of life": Ask(F.FOUND, "fuzzy", E.TAKEN, category=None, expires_in=-1),
    "absent once": Ask(F.ABSENT, "exact", E.DOUBT, 10_000, lookups=1),
    "absent once, fuzzy": Ask(F.ABSENT, "fuzzy", E.DOUBT, 10_000, lookups=1),
    "absent once, held": Ask(F.ABSENT, "fuzzy", E.DOUBT, 10_000, lookups=1, rules=HOLD),
    "absent twice": Ask(F.ABSENT, "exact", E.RETRY, before=1, waited=15_000),
    "absent twice, although held": Ask(F.ABSENT, "exact", E.RETRY, before=1, waited=15_000, rules=HOLD),
    "absent twice, used up": Ask(F.ABSENT, "exact", E.FAIL, 0, C.EXHAUSTED, before=1, waited=15_000, charged=3),
    "absent twice, its life over: the outbox expires it": Ask(
        F.ABSENT, "exact", E.RETRY, before=1, waited=15_000, expires_in=-1
    ),
    "absent twice, fuzzy": Ask(F.ABSENT, "fuzzy", E.RETRY, before=1, waited=15_000),
    "absent twice, fuzzy, held": Ask(F.ABSENT, "fuzzy", E.FAIL, 0, C.UNCERTAIN, before=1, waited=15_000, rules=HOLD),
    "absent twice, fuzzy, used up": Ask(F.ABSENT, "fuzzy", E.FAIL, 0, C.EXHAUSTED, before=1, waited=15_000, charged=3),
    "absent twice, fuzzy, its life over": Ask(
        F.ABSENT, "fuzzy", E.FAIL, 0, C.UNCERTAIN, before=1, waited=15_000, expires_in=0
    ),
    "unanswered": Ask(F.UNANSWERED, "exact", E.DOUBT, 5_000),
    "unanswered, second": Ask(F.UNANSWERED, "exact", E.DOUBT, 10_000, waited=10_000),
    "unanswered, third": Ask(F.UNANSWERED, "exact", E.DOUBT, 20_000, waited=20_000),
    "unanswered, later": Ask(F.UNANSWERED, "exact", E.DOUBT, 60_000, waited=80_000),
    "unanswered, near the end": Ask(F.UNANSWERED, "exact", E.DOUBT, 10_000, waited=590_000),
    "unanswered at once": Ask(F.UNANSWERED, "exact", E.DOUBT, 5_000, waited=0),
    "unanswered between two empty answers": Ask(
        F.UNANSWERED, "exact", E.DOUBT, 15_000, before=1, lookups=1, waited=15_000
    ),
    "unanswered for too long": Ask(F.UNANSWERED, "exact", E.RETRY, waited=600_000),
    "unanswered for too long, held": Ask(F.UNANSWERED, "exact", E.FAIL, 0, C.UNCERTAIN, waited=600_000, rules=HOLD),
    "unanswered for too long, used up": Ask(F.UNANSWERED, "exact", E.FAIL, 0, C.EXHAUSTED, waited=600_000, charged=3),
    "cannot be asked": Ask(F.UNASKABLE, "none", E.RETRY),
    "cannot be asked, at once": Ask(F.UNASKABLE, "none", E.RETRY, 3_000, waited=0),
    "cannot be asked, held": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, rules=HOLD),
    "cannot be asked, used up": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.EXHAUSTED, charged=3),
    "cannot be asked, its life over": Ask(F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, expires_in=0),
    "cannot be asked, its life over before the retry": Ask(
        F.UNASKABLE, "none", E.FAIL, 0, C.UNCERTAIN, waited=0, expires_in=3_000
    ),
    "the clock was set back": Ask(F.UNASKABLE, "none", E.RETRY, 3_000, waited=-HOUR),
    "the clock was set back, unanswered": Ask(F.UNANSWERED, "fuzzy", E.DOUBT, 5_000, waited=-HOUR),
}


@pytest.mark.parametrize("case", ASKS.values(), ids=ASKS.keys())
def test_a_look_up_and_what_follows(case: Ask) -> None:
    message = replace(
        UNCERTAIN,
        lookups=case.before,
        uncertain_since=NOW - case.waited,
        charged=case.charged,
        expires_at=NOW + case.expires_in,
    )
    found = "SM9" if case.finding is Finding.FOUND else None
    settlement = resolve(message, case.finding, case.quality, case.rules, RETRY, NOW, 0.0, provider_message_id=found)
    assert settlement.event is case.event
    assert settlement.state is step(State.PROCESSING, case.event)
    assert settlement.due - NOW == case.wait
    assert (settlement.error.category if settlement.error else None) == case.category
    assert settlement.lookups == case.lookups
    assert settlement.charged == case.charged
    assert settlement.provider_message_id == found
    assert settlement.effect is None
    if case.category is Category.EXHAUSTED:
        assert settlement.error is not None
        assert settlement.error.cause is Category.TIMEOUT


def test_what_an_operator_reads_of_an_uncertain_message() -> None:
    held = resolve(UNCERTAIN, Finding.UNASKABLE, "none", HOLD, RETRY, NOW, 0.0).error
    assert str(held) == (
        "UNCERTAIN: It may have been sent: the provider cannot be asked;"
        " held for an operator, whose forced retry sends it again"
    )
    over = resolve(replace(UNCERTAIN, expires_at=NOW), Finding.UNASKABLE, "none", RULES, RETRY, NOW, 0.0).error
    assert str(over).endswith("not sent again, because that would be past its end of life")


def test_one_found_at_a_start_need_not_know_since_when() -> None:
    """An open attempt found after a crash: nothing charged, no error, no time known."""
    crashed = replace(UNCERTAIN, uncertain_since=None, charged=0, error=None)
    assert resolve(crashed, Finding.UNANSWERED, "exact", RULES, RETRY, NOW, 0.0).due == NOW + 5_000
    assert resolve(crashed, Finding.UNASKABLE, "none", RULES, RETRY, NOW, 0.0).due == NOW + 3_000


def test_a_find_without_an_id_and_an_unknown_quality_are_broken_promises() -> None:
    with pytest.raises(ValueError, match="provider_message_id"):
        resolve(UNCERTAIN, Finding.FOUND, "exact", RULES, RETRY, NOW, 0.0)
    with pytest.raises(ValueError, match="perhaps"):
        resolve(UNCERTAIN, Finding.ABSENT, "perhaps", RULES, RETRY, NOW, 0.0)


def test_a_call_that_never_began_gives_its_claim_back_as_if_nothing_had_happened() -> None:
    """It keeps its due time: whoever was accepted before others still starts before them."""
    settlement = release(replace(MESSAGE, charged=2), NOW)
    assert (settlement.event, settlement.state, settlement.released) == (E.RETRY, State.PENDING, True)
    assert (settlement.due, settlement.charged, settlement.error) == (MESSAGE.due, 2, None)
    assert settlement.attempt_after == MESSAGE.attempt - 1
    assert not decide(MESSAGE, NETWORK, RULES, RETRY, NOW, 0.0).released


def test_a_look_up_may_be_postponed_and_nothing_is_forgotten() -> None:
    settlement = postpone(replace(UNCERTAIN, lookups=1), NOW + 4_000, NOW)
    assert (settlement.event, settlement.state, settlement.due) == (E.DOUBT, State.PROCESSING, NOW + 4_000)
    assert (settlement.lookups, settlement.charged, settlement.error) == (1, 1, UNCERTAIN.error)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from([Finding.ABSENT, Finding.UNANSWERED]), min_size=40, max_size=40),
    st.sampled_from(["none", "fuzzy", "exact"]),
    st.sampled_from(["retry", "hold"]),
    st.integers(0, 400_000),
    st.floats(0, 1, exclude_max=True),
)
def test_doubt_ends_and_is_never_resent_past_its_end_of_life(
    findings: list[Finding], quality: str, on_uncertain: str, life: int, spread: float
) -> None:
    rules = replace(RULES, on_uncertain=on_uncertain)
    message = replace(UNCERTAIN, uncertain_since=NOW, due=NOW + 5_000, expires_at=NOW + life)
    absent = 0
    for finding in findings:
        now = message.due
        settlement = resolve(message, finding, quality, rules, RETRY, now, spread)
        absent += finding is Finding.ABSENT
        if settlement.event is not Event.DOUBT:
            break
        assert settlement.due > now
        message = replace(message, due=settlement.due, lookups=settlement.lookups)
    assert settlement.event in (Event.RETRY, Event.FAIL)
    assert settlement.at <= NOW + rules.reconcile_timeout_ms + rules.reconcile_again_ms
    proven = quality == "exact" and absent == 2
    if settlement.event is Event.RETRY and not proven:
        assert on_uncertain == "retry"
        assert settlement.due < message.expires_at
