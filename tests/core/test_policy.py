"""What follows from each verdict and each look-up? A table to read, and what holds for all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smsd.core.account import ProviderRules
from smsd.core.codes import CodeRule
from smsd.core.lifecycle import Event, IllegalTransitionError, step
from smsd.core.message import Encoding, Message, MessageId, Priority, State
from smsd.core.pacing import Pace
from smsd.core.policy import ALONE, Around, decide, hold_back, release
from smsd.core.retry import RetryRules
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
    settlement = hold_back(MESSAGE, NOW + 60_500, NOW)
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


def test_a_call_that_never_began_gives_its_claim_back_as_if_nothing_had_happened() -> None:
    """It keeps its due time: whoever was accepted before others still starts before them."""
    settlement = release(replace(MESSAGE, charged=2), NOW)
    assert (settlement.event, settlement.state, settlement.released) == (E.RETRY, State.PENDING, True)
    assert (settlement.due, settlement.charged, settlement.error) == (MESSAGE.due, 2, None)
    assert settlement.attempt_after == MESSAGE.attempt - 1
    assert not decide(MESSAGE, NETWORK, RULES, RETRY, NOW, 0.0).released
