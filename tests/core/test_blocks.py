"""Who is held up by a limit gives nothing out before its end, and is in nobody's way until then."""

from __future__ import annotations

import pytest

from smsd.core import blocks
from smsd.core.blocks import Blocks
from smsd.core.flows import Hold
from smsd.core.hunger import LEAST, LOOKAHEAD_MS
from smsd.core.limits import groups_of
from smsd.core.message import Priority
from smsd.core.schedule import Schedule, Ticket
from smsd.store import Due

NOW = 1_790_000_000_000
LANE = "main"


class Box:
    """Pending messages by flow; a flow is a tenant, a campaign and a priority."""

    def __init__(self, capacity: int = 20_000) -> None:
        self.schedule = Schedule([LANE], capacity)
        self.flows: dict[tuple[str, str | None, Priority], int] = {}
        self.pending: dict[int, dict[int, Due]] = {}
        self.seq = 0
        self.meals = 0

    def accept(
        self, count: int, tenant: str, campaign: str | None = None, priority: Priority = Priority.NORMAL, due: int = NOW
    ) -> None:
        """As intake does: committed, then offered."""
        flow = self.know(count, tenant, campaign, priority, due, next_due=None)
        for supply in list(self.pending[flow].values())[-count:]:
            self.schedule.add(flow, supply, NOW)

    def know(
        self,
        count: int,
        tenant: str,
        campaign: str | None = None,
        priority: Priority = Priority.NORMAL,
        due: int = NOW,
        *,
        next_due: int | None = NOW,
    ) -> int:
        """As at a start: they lie in the outbox only."""
        flow = self.flows.setdefault((tenant, campaign, priority), len(self.flows) + 1)
        rows = self.pending.setdefault(flow, {})
        for _ in range(count):
            self.seq += 1
            rows[self.seq] = Due(self.seq, 0, due, 1)
        self.schedule.know_flow(flow, "r", LANE, priority, next_due=next_due, tenant=tenant, campaign=campaign)
        return flow

    def feed(self, now: int = NOW) -> None:
        while (meal := self.schedule.next_meal(now)) is not None:
            self.meals += 1
            rows = sorted(self.pending[meal.flow].values(), key=lambda row: (row.due, row.seq))
            inside = [row for row in rows if (row.due, row.seq) > meal.after and row.due <= meal.until]
            beyond = [row.due for row in rows if row.due > meal.until]
            complete = len(inside) <= meal.limit
            next_due = beyond[0] if complete and beyond else None
            self.schedule.feed(meal, inside[: meal.limit], complete=complete, next_due=next_due, now=now)

    def take(self, most: int, now: int = NOW) -> list[Ticket]:
        tickets = self.schedule.take(now, lambda name, wanted: min(most, wanted)).tickets
        for ticket in tickets:
            del self.pending[ticket.flow.id][ticket.seq]
            self.schedule.free(ticket)
        return list(tickets)

    def tenants(self, most: int, now: int = NOW) -> list[str]:
        return [ticket.flow.tenant for ticket in self.take(most, now)]


def tenant(name: str) -> str:
    return groups_of(name, None)[0]


def campaign(name: str, of: str) -> str:
    return groups_of(of, name)[1]


def test_a_blocked_tenant_waits_for_its_end_and_others_do_not() -> None:
    box = Box()
    box.accept(5, "shop")
    box.accept(5, "other")
    box.schedule.block(tenant("shop"), NOW + 700)
    work = box.schedule.take(NOW, lambda name, wanted: 0)
    assert (work.crowded, work.wake) == ((LANE,), NOW + 700)
    assert box.tenants(20) == ["other"] * 5
    work = box.schedule.take(NOW + 699, lambda name, wanted: wanted)
    assert (work.tickets, work.crowded, work.wake) == ((), (), NOW + 700)
    assert box.tenants(20, NOW + 700) == ["shop"] * 5


def test_a_blocked_campaign_holds_up_no_other_of_its_tenant() -> None:
    box = Box()
    for name in ("spring", "autumn"):
        box.accept(3, "shop", name)
    box.accept(3, "other", "spring")
    box.schedule.block(campaign("spring", of="shop"), NOW + 50)
    given = [(ticket.flow.tenant, ticket.flow.campaign) for ticket in box.take(20)]
    assert sorted(given) == [("other", "spring")] * 3 + [("shop", "autumn")] * 3
    assert [ticket.flow.campaign for ticket in box.take(20, NOW + 50)] == ["spring"] * 3


def test_of_two_blocks_the_later_end_counts_and_all_of_a_flow_bind() -> None:
    box = Box()
    box.accept(1, "shop", "spring")
    box.schedule.block(tenant("shop"), NOW + 500)
    box.schedule.block(tenant("shop"), NOW + 100)
    box.schedule.block(campaign("spring", of="shop"), NOW + 900)
    assert box.schedule.blocked_until(tenant("shop"), NOW) == NOW + 500
    assert box.schedule.blocked_until(tenant("shop"), NOW + 500) is None
    assert box.schedule.blocked_until(tenant("other"), NOW) is None
    assert [len(box.take(5, NOW + at)) for at in (0, 500, 899, 900)] == [0, 0, 0, 1]


def test_unblocked_everything_goes_at_once() -> None:
    box = Box()
    box.accept(2, "shop", "spring")
    box.schedule.block(tenant("shop"), NOW + 500)
    box.schedule.block(campaign("spring", of="shop"), NOW + 10 * LOOKAHEAD_MS)
    assert box.take(5) == []
    box.schedule.unblock_all()
    assert box.schedule.blocked_until(tenant("shop"), NOW) is None
    box.feed()
    assert len(box.take(5)) == 2
    assert box.schedule.take(NOW, lambda name, wanted: wanted).wake is None


def test_at_its_end_a_blocked_tenant_has_its_urgent_message_ready_before_its_bulk() -> None:
    """Both were read while it was held up: no read stands between the end of the block and the right order."""
    box = Box()
    box.schedule.block(tenant("shop"), NOW + 1_000)
    box.take(1)
    box.know(300, "shop", None, Priority.BULK)
    box.know(1, "shop", None, Priority.HIGH)
    box.feed()
    meals = box.meals
    assert [ticket.flow.priority for ticket in box.take(2, NOW + 1_000)] == [Priority.HIGH, Priority.BULK]
    assert box.meals == meals


def test_behind_a_long_block_nothing_is_held_and_it_is_read_before_its_end() -> None:
    box = Box()
    box.accept(100, "shop")
    until = NOW + 10 * LOOKAHEAD_MS
    box.schedule.block(tenant("shop"), until)
    assert box.schedule.take(NOW, lambda name, wanted: wanted).wake == until - LOOKAHEAD_MS
    box.accept(100, "shop")
    box.feed()
    assert (box.schedule.held, box.meals, box.schedule.hungry) == (0, 0, False)
    assert box.schedule.take(until - LOOKAHEAD_MS, lambda name, wanted: wanted).tickets == ()
    assert box.schedule.hungry
    box.feed(until - LOOKAHEAD_MS)
    assert box.schedule.held == 200
    assert box.schedule.take(until - 1, lambda name, wanted: wanted).wake == until
    assert len(box.take(500, until)) == 200


def test_what_was_being_read_when_the_long_block_began_is_not_held() -> None:
    box = Box()
    box.know(10, "shop")
    meal = box.schedule.next_meal(NOW)
    assert meal is not None
    box.schedule.block(tenant("shop"), NOW + 10 * LOOKAHEAD_MS)
    assert box.take(5) == []
    items = list(box.pending[meal.flow].values())
    box.schedule.feed(meal, items, complete=True, next_due=None, now=NOW)
    assert box.schedule.held == 0
    box.schedule.unblock_all()
    box.feed()
    assert len(box.take(50)) == 10


def test_a_thousand_blocked_flows_keep_no_other_from_being_fed() -> None:
    """The part is full of what may not go: who may go, and needs the room, gets it."""
    box = Box(capacity=2_000)
    for nth in range(1_000):
        box.know(20, f"t{nth}", "c")
        box.schedule.block(tenant(f"t{nth}"), NOW + 30_000 + nth)
    box.feed()
    assert box.schedule.held >= 700
    box.know(500, "free")
    given: list[str] = []
    for _ in range(60):
        box.feed()
        given += box.tenants(10)
    assert given == ["free"] * 500


def test_flows_that_are_held_up_leave_a_tenth_of_the_part_to_others() -> None:
    box = Box(capacity=2_000)
    for nth in range(100):
        box.know(100, f"t{nth}")
        box.schedule.block(tenant(f"t{nth}"), NOW + 1_000)
    box.take(0)
    box.feed()
    held = box.schedule.held
    assert 720 <= held <= 720 + LEAST
    for nth in range(50):
        box.schedule.block(tenant(f"new{nth}"), NOW + 1_000)
    box.take(0)
    for nth in range(50):
        box.accept(1, f"new{nth}")
    assert box.schedule.held == held


@pytest.mark.parametrize("order", [("near", "far"), ("far", "near")])
def test_who_is_held_up_the_longest_gives_his_room_first(order: tuple[str, str]) -> None:
    box = Box(capacity=2_000)
    for name in order:
        box.know(1_000, name)
        box.schedule.block(tenant(name), NOW + {"near": 1_000, "far": 50_000}[name])
    box.take(1)
    box.feed()
    held = {flow.tenant: flow.held for flow in box.schedule._flows.values()}
    assert held["near"] == held["far"] >= 256
    for nth in range(6):
        box.know(100, f"free{nth}")
    box.feed()
    now_held = {flow.tenant: flow.held for flow in box.schedule._flows.values()}
    assert now_held["far"] < now_held["near"] == held["near"]


@pytest.mark.parametrize("read", [False, True])
def test_an_urgent_message_goes_at_once_behind_a_blocked_tenant_that_fills_everything(read: bool) -> None:
    box = Box(capacity=300)
    for priority in Priority:
        for name in range(20):
            box.know(100, "shop", f"c{name}", priority)
    box.feed()
    box.schedule.block(tenant("shop"), NOW + 50_000)
    box.take(1)
    for priority in Priority:
        for name in range(20):
            box.accept(20, "shop", f"c{name}", priority)
    box.feed()
    box.accept(1, "other", None, Priority.HIGH)
    if read:
        box.feed()
    assert box.tenants(5) == ["other"]


def test_who_is_let_go_is_read_before_others_that_are_hungry() -> None:
    """Else a tenant held up again and again would never come to its turn to be read."""
    box = Box(capacity=400)
    for nth in range(30):
        box.know(100, f"t{nth}")
    box.feed()
    slow = box.know(100, "slow")
    box.schedule.block(tenant("slow"), NOW + 100)
    box.take(0)
    while (taken := box.take(1, NOW + 100)) and (meal := box.schedule.next_meal(NOW + 100)) is None:
        assert taken[0].flow.id != slow
    assert meal is not None
    assert meal.flow == slow


def test_due_times_changed_in_the_outbox_are_read_anew() -> None:
    box = Box()
    flow = box.know(5, "shop", due=NOW + 10 * LOOKAHEAD_MS, next_due=NOW + 10 * LOOKAHEAD_MS)
    box.accept(5, "other")
    box.feed()
    stale = box.schedule.take(NOW, lambda name, wanted: min(1, wanted)).tickets
    box.pending[flow] = {seq: Due(seq, 0, NOW - 1, 1) for seq in box.pending[flow]}
    box.schedule.reread(NOW)
    assert box.schedule.held == len(stale) == 1
    box.feed()
    assert sorted(box.tenants(20)) == ["other"] * 4 + ["shop"] * 5


def test_what_was_read_before_the_due_times_changed_is_not_believed() -> None:
    box = Box()
    flow = box.know(3, "shop", due=NOW)
    meal = box.schedule.next_meal(NOW)
    assert meal is not None
    before = list(box.pending[flow].values())
    box.pending[flow] = {row.seq: Due(row.seq, 0, NOW + 5_000, 1) for row in before}
    box.schedule.reread(NOW)
    box.schedule.feed(meal, before, complete=True, next_due=None, now=NOW)
    assert box.take(5) == []
    box.feed()
    assert box.take(5) == []
    assert len(box.take(5, NOW + 5_000)) == 3


@pytest.mark.parametrize("group", [tenant("shop"), campaign("spring", of="shop")])
def test_a_refused_ticket_takes_its_old_place_and_its_flow_its_block_along(group: str) -> None:
    """Its flow may be forgotten between the refusal and its return: the block is not."""
    box = Box()
    box.accept(1, "shop", "spring")
    ticket = box.schedule.take(NOW, lambda name, wanted: wanted).tickets[0]
    box.schedule.block(group, NOW + 100)
    box.schedule.free(ticket)
    assert box.schedule.flows == 0
    assert box.take(1) == []
    box.accept(0, "shop", "spring")
    box.schedule.add(ticket.flow.id, Due(ticket.seq, 0, ticket.due, 1), NOW)
    assert box.take(5) == []
    assert len(box.take(5, NOW + 100)) == 1


def test_a_block_that_comes_upon_tickets_in_their_turn_stops_them() -> None:
    box = Box()
    for name in ("spring", "autumn"):
        box.accept(5, "shop", name)
    box.accept(5, "other")
    assert len(box.take(3)) == 3
    box.schedule.block(campaign("spring", of="shop"), NOW + 100)
    assert {ticket.flow.campaign for ticket in box.take(4)} == {"autumn", None}
    box.schedule.block(tenant("shop"), NOW + 100)
    assert set(box.tenants(20)) == {"other"}
    work = box.schedule.take(NOW, lambda name, wanted: wanted)
    assert (work.tickets, work.crowded) == ((), ())


def test_blocks_are_short_within_reach_of_the_window_and_end_by_themselves() -> None:
    held = Blocks(ahead_ms=1_000)
    held.add("a", 5_000)
    assert [change.block for change in held.look(0)] == [Hold.LONG]
    assert held.wake == 4_000
    assert held.look(3_999) == []
    assert [change.block for change in held.look(4_000)] == [Hold.SHORT]
    held.add("a", 5_000)
    assert held.look(4_500) == []
    assert [change.block for change in held.look(5_000)] == [Hold.NONE]
    assert held.until("a", 5_000) is None
    assert not held


def test_blocks_extended_for_ever_leave_no_trail() -> None:
    held = Blocks(ahead_ms=1_000)
    for at in range(20_000):
        held.add("a", 10**9 + at)
        held.look(at)
    assert len(held._looks) < 200


def test_a_block_that_was_forgotten_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 1)
    held = Blocks(ahead_ms=1_000)
    for group in "abc":
        held.add(group, 500)
    assert len(held.look(0)) == 3
    held.keep(lambda group: group == "b")
    assert [change.group for change in held.look(500)] == ["b"]


def test_too_many_blocks_of_nobody_known_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "MOST", 100)
    schedule = Schedule([LANE])
    schedule.know_flow(1, "r", LANE, Priority.NORMAL, next_due=NOW, tenant="shop")
    schedule.block(tenant("shop"), NOW + 1_000)
    for nth in range(1_000):
        schedule.block(tenant(f"t{nth}"), NOW + 1_000)
        schedule.take(NOW, lambda name, wanted: wanted)
    assert len(schedule._blocks._until) <= 2 * 101
    assert schedule.blocked_until(tenant("shop"), NOW) == NOW + 1_000
    assert schedule.take(NOW + 1_000, lambda name, wanted: wanted).wake is None
