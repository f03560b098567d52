"""What becomes of a message that meets limits and quiet hours, rule by rule?"""

from __future__ import annotations

from datetime import UTC
from itertools import permutations

import pytest

from smsd.core.admission import (
    GO,
    PERS,
    AdmissionRules,
    At,
    Go,
    HoldUp,
    Key,
    Refuse,
    Wait,
    admit,
    bound,
    kind_of,
    rejected,
    repeated,
)
from smsd.core.limits import Action, Per, Rule, Subject
from smsd.core.message import Message, Priority, State
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.retry import RetryRules
from smsd.core.verdict import Category
from smsd.core.windows import Window
from tests.doubles.builders import NOW, message

HOUR = 3_600_000
AT = At(NOW, 50 * HOUR * 1_000)
NO_JITTER = AdmissionRules(default_retry=RetryRules(jitter="none"))
SUBJECT = Subject("+14155550123", "shop", "u1", "spring", "+15005550006", "hello")


def us(ms: int) -> int:
    return AT.moment + ms * 1_000


def full(rule: Rule, seq: int = 900) -> Window:
    """A window that the rule finds full since half an hour ago."""
    return Window((us(-HOUR // 2), seq) for _ in range(rule.count))


def judged(
    one: Message, *rules: Rule, short: tuple[Rule, ...] = (), settings: AdmissionRules = NO_JITTER, at: At = AT
) -> object:
    bounds = bound(rules, SUBJECT)
    windows = {each.key: Window() for each in bounds}
    for each in bounds:
        if each.rule in short:
            windows[each.key] = full(each.rule)
    return admit(one, bounds, windows, settings, at)


def rule(per: Per = Per.RECIPIENT, action: Action = Action.DEFER, **fields: object) -> Rule:
    return Rule(per, 2, HOUR, action, **fields)  # type: ignore[arg-type]  # fields by name


def test_the_numbers_of_what_is_counted_never_change() -> None:
    assert set(PERS) == set(Per)
    kinds = [kind_of(rule(per, action)) for per in PERS for action in (Action.DEFER, Action.REJECT)]
    assert kinds == list(range(14))
    assert {kind_of(rule(action=action)) for action in (Action.DEFER, Action.RETRY, Action.FAIL)} == {0}


def test_a_rule_of_one_tenant_binds_and_counts_its_messages_only() -> None:
    everybody, shop, other = rule(), rule(tenant="shop"), rule(tenant="other")
    keys = [each.key for each in bound([everybody, shop, other], SUBJECT)]
    assert keys == [Key(0, "+14155550123"), Key(0, "shop\n+14155550123")]
    assert [each.key for each in bound([rule(Per.USER, tenant="shop")], SUBJECT)] == [Key(2, "shop\nu1")]


def test_who_has_no_user_or_campaign_is_not_bound_by_rules_on_them() -> None:
    nobody = SUBJECT._replace(user=None, campaign=None, sender=None)
    assert bound([rule(Per.USER), rule(Per.CAMPAIGN), rule(Per.SENDER)], nobody) == ()


def test_with_room_it_is_charged_once_under_every_key() -> None:
    rules = [rule(), Rule(Per.RECIPIENT, 9, 9 * HOUR), rule(Per.TENANT)]
    assert judged(message(), *rules) == Go((Key(0, SUBJECT.recipient), Key(4, "shop")))
    assert judged(message()) == GO


CONSEQUENCES = [rule(Per.USER, Action.FAIL), rule(Per.SENDER, Action.RETRY), rule(Per.TENANT), rule()]


@pytest.mark.parametrize("first", range(4))
def test_the_hardest_consequence_decides(first: int) -> None:
    expected = [(Refuse, State.FAILED), (Refuse, State.PENDING), (HoldUp, None), (Wait, None)][first]
    for order in permutations(CONSEQUENCES[first:]):
        found = judged(message(), *CONSEQUENCES[:first], *order, short=order)
        assert (type(found), getattr(found, "state", None)) == expected


def test_it_waits_for_the_last_of_its_turns() -> None:
    short, long = Rule(Per.RECIPIENT, 1, HOUR), Rule(Per.USER, 1, 3 * HOUR)
    found = judged(message(), short, long, short=(short, long))
    due = NOW + 5 * HOUR // 2
    assert isinstance(found, Wait)
    assert (found.due, found.held, found.held_by, found.since) == (due, "user_limit", "1/3h per user", NOW)
    assert dict(found.promises) == {Key(0, SUBJECT.recipient): us(HOUR // 2), Key(2, "shop\nu1"): us(5 * HOUR // 2)}


def test_its_due_time_is_never_before_its_turn() -> None:
    window = Window([(us(0) + 1, 1)])
    one = Rule(Per.RECIPIENT, 1, 1)
    found = admit(message(), bound([one], SUBJECT), {Key(0, SUBJECT.recipient): window}, NO_JITTER, AT)
    assert isinstance(found, Wait)
    assert found.due == NOW + 2


def test_who_would_wait_longer_than_it_may_fails() -> None:
    one = Rule(Per.RECIPIENT, 2, HOUR, max_wait_ms=HOUR // 2)
    assert isinstance(judged(message(), one, short=(one,)), Wait)
    waited = message(held="recipient_limit", held_since=NOW - 1)
    found = judged(waited, one, short=(one,))
    assert isinstance(found, Refuse)
    assert (found.state, found.error.category) == (State.FAILED, Category.LIMIT_EXCEEDED)
    assert found.error.message == "Rate limit exceeded (2/hour per recipient)"


def test_what_waits_in_a_flow_waits_since_it_was_due_and_the_flow_is_held_up() -> None:
    one, key = Rule(Per.TENANT, 2, HOUR, max_wait_ms=HOUR), Key(4, "shop")
    window, half = full(one), HOUR // 2
    stopped = ((key, us(half)),)

    def found(due: int) -> object:
        return admit(message(due=NOW + due), bound([one], SUBJECT), {key: window}, NO_JITTER, AT)

    assert found(-9 * HOUR) == HoldUp(one, "tenant:shop", NOW + half, stopped), "it waited for something else"
    window.hold_up(us(-half - 1), us(-5_000))
    assert found(-half) == HoldUp(one, "tenant:shop", NOW + half, stopped)
    refused = found(-half - 1)
    assert isinstance(refused, Refuse)
    assert (refused.state, refused.full) == (State.FAILED, stopped), "who comes after it is held up still"
    window.hold_up(us(-half - 1), us(-5_001))
    assert isinstance(found(-9 * HOUR), HoldUp), "there was room, and nobody came for it"


def test_each_full_window_of_a_flow_is_told_with_its_last_turn() -> None:
    hour, day, campaign = rule(Per.TENANT), Rule(Per.TENANT, 2, 24 * HOUR), rule(Per.CAMPAIGN)
    found = judged(message(), hour, day, campaign, rule(), short=(hour, day, campaign))
    assert isinstance(found, HoldUp)
    ends = dict(found.full)
    assert (found.rule, ends.pop(Key(4, "shop"))) == (day, us(24 * HOUR - HOUR // 2))
    assert list(ends.values()) == [us(HOUR // 2)]


def test_a_later_claim_is_charged_to_a_sender_whose_window_holds_no_charge_of_it() -> None:
    one, key = rule(Per.SENDER), Key(8, SUBJECT.sender or "")
    again, bounds = message(attempt=1, seq=7), bound([one], SUBJECT)
    for charges, found in (
        ([], Go((key,))),
        ([(us(-HOUR // 2), 8)], Go((key,))),
        ([(us(-HOUR // 2), 7)], GO),
        ([(us(-HOUR // 2), 7), (us(-HOUR // 2), 8)], GO),
        ([(us(-HOUR), 7)], Go((key,))),
    ):
        assert admit(again, bounds, {key: Window(charges)}, NO_JITTER, AT) == found
    assert isinstance(admit(again, bounds, {key: full(one)}, NO_JITTER, AT), Wait)


def test_each_refusal_costs_an_attempt_and_waits_by_the_retry_rules() -> None:
    one = rule(action=Action.RETRY)
    waits, charged = [], 0
    while True:
        found = judged(message(charged=charged), one, short=(one,))
        assert isinstance(found, Refuse)
        charged = found.charged
        if found.state is State.FAILED:
            break
        waits.append(found.due - NOW)
    assert (waits, charged) == ([3_000, 6_000, 12_000, 24_000], 5)


def test_a_profile_has_retry_rules_of_its_own() -> None:
    one = rule(action=Action.RETRY)
    rules = AdmissionRules(retries={"slow": RetryRules(delays_ms=(60_000,), jitter="none")})
    found = judged(message(profile="slow"), one, short=(one,), settings=rules)
    assert isinstance(found, Refuse)
    assert found.due == NOW + 60_000


def test_an_operators_retry_is_not_held_to_the_recipient_but_to_the_tenant() -> None:
    again = message(round=1)
    recipient, user, text, tenant = rule(), rule(Per.USER), rule(Per.TEXT), rule(Per.TENANT)
    short = (recipient, user, text)
    assert isinstance(judged(again, *short, short=short), Go)
    assert isinstance(judged(again, tenant, short=(tenant,)), HoldUp)


def test_an_operators_retry_is_charged_again_once_its_charge_has_run_out() -> None:
    hour, day = rule(Per.TENANT), Rule(Per.TENANT, 2, 24 * HOUR)
    key = Key(4, "shop")
    again = message(round=1, seq=7)
    for age, rules, charged in ((HOUR // 2, [hour], ()), (2 * HOUR, [hour], (key,)), (2 * HOUR, [day], ())):
        window = Window([(us(-age), 7)])
        assert admit(again, bound(rules, SUBJECT), {key: window}, NO_JITTER, AT) == Go(charged)
    crowded = Window([(us(-2 * HOUR), 7), (us(-HOUR), 8)])
    found = admit(again, bound([hour, day], SUBJECT), {key: crowded}, NO_JITTER, AT)
    assert isinstance(found, HoldUp), "another charge of it must find room in every window it lies in"


def test_a_window_that_cannot_be_read_binds_nobody() -> None:
    assert admit(message(), bound([rule(), rule(Per.TENANT)], SUBJECT), {}, NO_JITTER, AT) == GO
    readable = {Key(4, "shop"): Window()}
    assert admit(message(), bound([rule(), rule(Per.TENANT)], SUBJECT), readable, NO_JITTER, AT) == Go(
        (Key(4, "shop"),)
    )


def test_one_that_was_promised_a_turn_does_not_queue_again() -> None:
    one, key = Rule(Per.RECIPIENT, 1, HOUR), Key(0, SUBJECT.recipient)
    window = Window([(us(-HOUR), 1)])
    for seq, turn in ((2, us(0)), (3, us(HOUR))):
        window.promise(seq, turn)
    bounds = bound([one], SUBJECT)
    assert isinstance(admit(message(seq=4), bounds, {key: window}, NO_JITTER, AT), Wait), "it is not its turn"
    early = admit(message(seq=3, held="recipient_limit", held_since=NOW), bounds, {key: window}, NO_JITTER, AT)
    assert isinstance(early, Wait)
    assert early.due == NOW + HOUR, "asked too early, it keeps its place"
    assert admit(message(seq=2, held="recipient_limit"), bounds, {key: window}, NO_JITTER, AT) == Go((key,))
    lost = message(seq=5, held="recipient_limit")
    assert admit(lost, bounds, {key: window}, NO_JITTER, AT) == Go((key,)), "its promise was lost in a restart"


def test_quiet_hours_come_first_and_charge_nothing() -> None:
    night = AdmissionRules(quiet=QuietBook(None, {"shop": QuietHours(0, 1_439)}, UTC))
    one = rule(action=Action.FAIL)
    toll_free = message(recipient="+80012345678")
    found = judged(toll_free, one, short=(one,), settings=night)
    assert isinstance(found, Wait)
    assert (found.held, found.held_by, found.since, found.promises) == ("quiet_hours", "00:00-23:59", None, ())
    assert found.due > NOW
    urgent = message(priority=Priority.HIGH)
    assert isinstance(judged(urgent, one, settings=night), Go)


def test_a_submission_is_rejected_by_the_rule_that_is_full_longest() -> None:
    short, long = Rule(Per.USER, 1, HOUR, Action.REJECT), Rule(Per.RECIPIENT, 1, 2 * HOUR, Action.REJECT)
    bounds = bound([short, long], SUBJECT)
    windows = {each.key: Window() for each in bounds}
    assert rejected(bounds, windows, AT) is None
    for each in bounds:
        windows[each.key] = full(each.rule)
    assert rejected(bounds, windows, AT) == (long, NOW + 3 * HOUR // 2)
    assert rejected(bounds, {}, AT) is None


def test_a_submission_repeats_the_first_of_its_kind() -> None:
    window = Rule(Per.REPEAT, 1, HOUR, Action.REPLAY)
    bounds = bound([window], SUBJECT)
    key = bounds[0].key
    assert repeated(bounds, {key: Window([(us(-HOUR), 4)])}, AT) is None
    assert repeated(bounds, {key: Window([(us(-HOUR) + 1, 4)])}, AT) == 4
    assert repeated(bounds, {}, AT) is None
