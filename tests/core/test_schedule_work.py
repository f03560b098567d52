"""What holding campaigns up and letting them go costs, counted in calls: a tenant may have twenty thousand of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from smsd.core.hunger import LOOKAHEAD_MS
from smsd.core.lanes import VOID
from smsd.core.limits import groups_of
from smsd.core.message import Priority
from smsd.core.schedule import Schedule
from smsd.store import Due

NOW = 1_790_000_000_000
LANE = "main"
FEW, MANY = 100, 1_600


def calls(work: Callable[[], object]) -> int:
    """Functions called, those written in C included. It counts no line, so a loop is seen by what it calls."""
    count = 0

    def note(frame: FrameType, event: str, of: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def shop_of(campaigns: int) -> Schedule:
    """One tenant. Of its campaigns every other one is read, and holds what is due now and what is due soon."""
    schedule = Schedule([LANE], 20 * campaigns)
    for nth in range(campaigns):
        wanting = NOW if nth % 2 else None
        schedule.know_flow(nth, "r", LANE, Priority.NORMAL, next_due=wanting, tenant="shop", campaign=f"c{nth}")
        if wanting is None:
            for k, due in enumerate((NOW, NOW, NOW + 30_000, NOW + 30_000)):
                schedule.add(nth, Due(4 * nth + k, 0, due, 1), NOW)
    look(schedule)
    return schedule


def look(schedule: Schedule, now: int = NOW) -> None:
    schedule.take(now, lambda name, wanted: 0)


def hold_up(schedule: Schedule, campaigns: int, until: int) -> None:
    """As claims are refused, a few between two looks."""
    for nth in range(campaigns):
        schedule.block(groups_of("shop", f"c{nth}")[1], until)
        if nth % 4 == 0:
            look(schedule)
    look(schedule)


def spent(campaigns: int, until: int) -> list[int]:
    """Calls to hold all campaigns up, for a look before the end, and to let them go."""
    schedule = shop_of(campaigns)
    return [
        calls(lambda: hold_up(schedule, campaigns, until)),
        calls(lambda: look(schedule, until - 10_000)),
        calls(schedule.unblock_all),
    ]


@pytest.mark.parametrize("until", [NOW + 20_000, NOW + 50 * LOOKAHEAD_MS])
def test_a_campaign_is_held_up_and_let_go_at_the_same_cost_among_many_as_among_few(until: int) -> None:
    for few, many in zip(spent(FEW, until), spent(MANY, until), strict=True):
        assert many < 1.5 * (MANY // FEW) * few


def spent_at_the_end(campaigns: int) -> int:
    schedule = shop_of(campaigns)
    hold_up(schedule, campaigns, NOW + 20_000)
    return calls(lambda: look(schedule, NOW + 20_000))


def test_what_ends_by_itself_for_all_campaigns_at_once_costs_each_the_same() -> None:
    assert spent_at_the_end(MANY) < 1.5 * (MANY // FEW) * spent_at_the_end(FEW)


def spent_on_the_tenant(campaigns: int) -> int:
    schedule = shop_of(campaigns)

    def hold_up_and_let_go() -> None:
        schedule.block(groups_of("shop", None)[0], NOW + 100)
        look(schedule)
        look(schedule, NOW + 100)

    return calls(hold_up_and_let_go)


def test_a_tenant_is_held_up_for_a_moment_at_no_cost_for_its_campaigns() -> None:
    """One at ten messages a second may be held up ten times a second."""
    assert spent_on_the_tenant(MANY) < 1.5 * spent_on_the_tenant(FEW)


def test_held_up_and_let_go_a_campaign_changes_the_order_of_no_other() -> None:
    schedule = Schedule([LANE])
    for nth in range(6):
        schedule.know_flow(nth, "r", LANE, Priority.NORMAL, next_due=NOW, tenant="shop", campaign=f"c{nth}")
    hold_up(schedule, 1, NOW + 100)
    look(schedule, NOW + 100)
    order: list[int] = []
    while (meal := schedule.next_meal(NOW + 100)) is not None:
        order.append(meal.flow)
    assert order == [1, 2, 3, 4, 5, 0]


def test_of_a_tenant_held_up_all_campaigns_are_fed_after_those_that_are_free() -> None:
    schedule = Schedule([LANE])
    for nth in range(4):
        schedule.know_flow(nth, "r", LANE, Priority.NORMAL, next_due=NOW, tenant="shop", campaign=f"c{nth}")
    schedule.know_flow(9, "r", LANE, Priority.NORMAL, next_due=NOW, tenant="other")
    hold_up(schedule, 2, NOW + 1_000)
    schedule.block(groups_of("shop", None)[0], NOW + 1_000)
    order: list[int] = []
    while (meal := schedule.next_meal(NOW)) is not None:
        order.append(meal.flow)
    assert order[0] == 9
    assert sorted(order) == [0, 1, 2, 3, 9]


def test_what_is_given_back_again_and_again_leaves_no_trail() -> None:
    schedule = Schedule([LANE])
    schedule.know_flow(1, "r", LANE, Priority.NORMAL, next_due=NOW, tenant="shop")
    rows = [Due(seq, 0, NOW + 50_000, 1) for seq in range(100)]
    for _ in range(50):
        schedule.block(groups_of("shop", None)[0], NOW + 2 * LOOKAHEAD_MS)
        look(schedule)
        assert schedule.held == 0
        schedule.unblock_all()
        meal = schedule.next_meal(NOW)
        assert meal is not None
        schedule.feed(meal, rows, complete=True, next_due=None, now=NOW)
        assert schedule.held == len(rows)
    assert len(schedule._lanes[LANE].waiting) <= 2 * (len(rows) + VOID)


def test_nobody_is_woken_for_a_message_that_was_cancelled() -> None:
    schedule = Schedule([LANE])
    schedule.know_flow(1, "r", LANE, Priority.NORMAL, next_due=None, tenant="shop")
    for seq, due in enumerate((NOW + 10_000, NOW + 20_000)):
        schedule.add(1, Due(seq, 0, due, 1), NOW)
    schedule.drop(0)
    assert schedule.take(NOW, lambda name, wanted: wanted).wake == NOW + 20_000
    schedule.drop(1)
    assert schedule.take(NOW, lambda name, wanted: wanted).wake is None
