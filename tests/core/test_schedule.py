"""The window: what is due goes in fair order, nothing is lost at its edges, and it stays small."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.message import Priority
from smsd.core.schedule import LOOKAHEAD_MS, SLICE, Meal, Schedule, Ticket
from smsd.store import Due

NOW = 1_790_000_000_000
LANE = "main"


@dataclass
class Row:
    """A pending message as the outbox would hold it."""

    seq: int
    due: int
    flow: int


def only(lane: str, most: int) -> Callable[[str, int], int]:
    """Room for so many tickets of this lane, and for none of another."""
    return lambda name, wanted: min(most, wanted) if name == lane else 0


class FakeOutbox:
    """The pending rows, and the feeding of a schedule from them, as the engine does it."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.pending: dict[int, Row] = {}
        self.claimed: list[int] = []

    def accept(self, row: Row, priority: Priority = Priority.NORMAL, now: int = NOW) -> None:
        self.pending[row.seq] = row
        if not self.schedule.knows(row.flow):
            self.schedule.know_flow(row.flow, LANE, LANE, priority, next_due=None)
        self.schedule.add(row.flow, Due(row.seq, 0, row.due, 1), now)

    def feed_all(self, now: int = NOW) -> int:
        meals = 0
        while (meal := self.schedule.next_meal(now)) is not None:
            self.serve(meal, now)
            meals += 1
        return meals

    def serve(self, meal: Meal, now: int) -> None:
        rows = sorted(
            (row.due, row.seq)
            for row in self.pending.values()
            if row.flow == meal.flow and (row.due, row.seq) > meal.after
        )
        inside = [key for key in rows if key[0] <= meal.until]
        beyond = [key for key in rows if key[0] > meal.until]
        items = [Due(seq, 0, due, 1) for due, seq in inside[: meal.limit]]
        complete = len(inside) <= meal.limit
        self.schedule.feed(
            meal, items, complete=complete, next_due=beyond[0][0] if complete and beyond else None, now=now
        )

    def take(self, room: int, now: int = NOW) -> list[Ticket]:
        tickets = self.schedule.take(now, only(LANE, room)).tickets
        for ticket in tickets:
            if self.pending.pop(ticket.seq, None) is not None:
                self.claimed.append(ticket.seq)
            self.schedule.free(ticket)
        return list(tickets)


def outbox(capacity: int = 20_000) -> FakeOutbox:
    return FakeOutbox(Schedule([LANE, "other"], capacity))


def test_due_messages_go_in_order_of_due_time_then_acceptance() -> None:
    box = outbox()
    for seq, due in ((1, NOW), (2, NOW - 5), (3, NOW), (4, NOW + 10)):
        box.accept(Row(seq, due, 1))
    assert [ticket.seq for ticket in box.take(10)] == [2, 1, 3]
    assert box.schedule.take(NOW, only(LANE, 10)).wake == NOW + 10
    assert [ticket.seq for ticket in box.take(10, NOW + 10)] == [4]


def test_room_bounds_what_is_taken_and_the_rest_is_crowded() -> None:
    box = outbox()
    for seq in range(5):
        box.accept(Row(seq, NOW, 1))
    work = box.schedule.take(NOW, only(LANE, 2))
    assert [ticket.seq for ticket in work.tickets] == [0, 1]
    assert work.crowded == (LANE,)


def test_priorities_are_weighted_high_first_and_bulk_never_starves() -> None:
    box = outbox()
    for seq in range(3_000):
        box.accept(Row(seq, NOW, seq % 3), Priority(seq % 3))
    order = [Priority(ticket.flow.priority) for ticket in box.take(730)]
    assert order[:8] == [Priority.HIGH] * 8
    counted = Counter(order)
    assert counted[Priority.HIGH] > 7 * counted[Priority.NORMAL] > 7 * 7 * counted[Priority.BULK] > 0


def test_a_late_high_message_goes_before_a_bulk_backlog() -> None:
    box = outbox()
    for seq in range(1_000):
        box.accept(Row(seq, NOW - 1, 1), Priority.BULK)
    box.take(500)
    box.accept(Row(5_000, NOW, 2), Priority.HIGH)
    assert box.take(2)[0].seq == 5_000


def test_flows_of_one_priority_share_equally_however_long_they_are() -> None:
    box = outbox()
    for seq in range(5_000):
        box.accept(Row(seq, NOW, 1))
    for seq in range(5_000, 5_010):
        box.accept(Row(seq, NOW, 2))
    taken = box.take(20)
    assert Counter(ticket.flow.id for ticket in taken) == {1: 10, 2: 10}


def test_a_flow_of_long_texts_gets_no_more_segments_than_its_neighbour() -> None:
    schedule = Schedule([LANE])
    for flow, segments in ((1, 3), (2, 1)):
        schedule.know_flow(flow, LANE, LANE, Priority.NORMAL, next_due=None)
        for seq in range(300):
            schedule.add(flow, Due(flow * 1_000 + seq, 0, NOW, segments), NOW)
    taken = schedule.take(NOW, only(LANE, 200)).tickets
    segments_of = Counter[int]()
    for ticket in taken:
        segments_of[ticket.flow.id] += ticket.segments
    assert abs(segments_of[1] - segments_of[2]) <= 3


def test_a_million_pending_messages_are_a_bounded_window() -> None:
    """The outbox holds far more than the window; every message is taken once, and the window stays small."""
    box = outbox(capacity=1_000)
    for seq in range(10_000):
        box.pending[seq] = Row(seq, NOW - 10_000 + seq % 100, seq % 7)
    for flow in range(7):
        box.schedule.know_flow(flow, LANE, LANE, Priority.NORMAL, next_due=NOW - 10_000)
    peak = 0
    while box.pending:
        box.feed_all()
        peak = max(peak, box.schedule.held)
        assert box.take(64), "starved with messages pending"
    assert sorted(box.claimed) == list(range(10_000))
    assert peak <= 1_000 + SLICE
    assert box.schedule.flows == 0


def test_what_is_due_next_week_never_enters_the_window() -> None:
    box = outbox()
    week = NOW + 7 * 86_400_000
    for seq in range(5_000):
        box.accept(Row(seq, week + seq, 1))
    box.feed_all()
    assert box.schedule.held == 0
    work = box.schedule.take(NOW, only(LANE, 10))
    assert work.wake == week - LOOKAHEAD_MS
    assert box.schedule.next_meal(NOW) is None
    box.feed_all(week - LOOKAHEAD_MS)
    assert 0 < box.schedule.held <= SLICE


def test_a_flow_put_off_is_hungry_again_when_the_loop_looks_and_its_time_has_come() -> None:
    schedule = Schedule([LANE])
    outbox = FakeOutbox(schedule)
    outbox.accept(Row(1, NOW + LOOKAHEAD_MS + 1_000, 7))
    assert outbox.feed_all() == 0
    work = schedule.take(NOW, only(LANE, 1))
    assert work.wake == NOW + 1_000
    before = schedule.hungry
    assert schedule.take(NOW + 1_000, only(LANE, 1)).tickets == ()
    assert (before, schedule.hungry) == (False, True)
    assert outbox.feed_all(NOW + 1_000) == 1


def test_notes_of_later_meals_do_not_pile_up() -> None:
    """Due times that keep coming nearer leave no trail behind."""
    box = outbox()
    for step in range(5_000):
        box.accept(Row(step, NOW + 10**9 - step, 1))
        box.feed_all()
    assert len(box.schedule._hunger._later) < 200


def test_a_closed_lane_holds_no_tickets_and_loses_none() -> None:
    box = outbox()
    for seq in range(600):
        box.accept(Row(seq, NOW + seq, seq % 2))
    box.schedule.set_open(LANE, False)
    assert box.schedule.held == 0
    assert box.take(10, NOW + 1_000) == []
    assert box.feed_all(NOW + 1_000) == 0
    for seq in range(600, 700):
        box.accept(Row(seq, NOW + seq, seq % 2), now=NOW + 1_000)
    assert box.schedule.held == 0
    box.schedule.set_open(LANE, True)
    while box.pending:
        box.feed_all(NOW + 1_000)
        assert box.take(50, NOW + 1_000)
    assert sorted(box.claimed) == list(range(700))


def test_a_flow_moves_to_another_lane_with_all_its_messages() -> None:
    box = outbox()
    for seq in range(10):
        box.accept(Row(seq, NOW, 1))
    box.schedule.move(1, "other")
    assert box.take(10) == []
    box.feed_all()
    assert [ticket.seq for ticket in box.schedule.take(NOW, only("other", 20)).tickets] == list(range(10))


def test_a_dropped_message_leaves_at_once_and_its_neighbours_stay() -> None:
    box = outbox()
    for seq in range(3):
        box.accept(Row(seq, NOW, 1))
    box.schedule.take(NOW, only(LANE, 0))
    box.schedule.drop(1)
    assert [ticket.seq for ticket in box.take(10)] == [0, 2]
    assert box.schedule.held == 0


def test_a_retry_that_is_offered_while_its_flow_is_fed_is_not_lost() -> None:
    """The snapshot of a meal may be older than the offer; the offer is looked at after the meal."""
    box = outbox(capacity=1_000)
    for seq in range(2_000):
        box.pending[seq] = Row(seq, NOW, 1)
    box.schedule.know_flow(1, LANE, LANE, Priority.NORMAL, next_due=NOW)
    meal = box.schedule.next_meal(NOW)
    assert meal is not None
    box.pending[9_999] = Row(9_999, NOW - 50, 1)
    stale = [Due(seq, 0, NOW, 1) for seq in range(meal.limit)]
    box.schedule.add(1, Due(9_999, 1, NOW - 50, 1), NOW)
    box.schedule.feed(meal, stale, complete=False, next_due=None, now=NOW)
    while box.pending:
        box.feed_all()
        assert box.take(100)
    assert sorted(box.claimed) == [*range(2_000), 9_999]


def test_a_message_that_gets_its_old_time_again_goes_then() -> None:
    box = outbox()
    soon = NOW + 1_000
    box.accept(Row(1, soon, 1))
    box.accept(Row(2, soon, 1))
    for _ in range(3):
        box.schedule.drop(1)
        box.schedule.add(1, Due(1, 0, soon, 1), NOW)
    assert [ticket.seq for ticket in box.take(10, soon)] == [1, 2]
    assert box.schedule.held == 0


def test_one_that_is_brought_forward_while_its_flow_is_fed_goes_at_its_new_time() -> None:
    box = outbox()
    box.schedule.know_flow(1, LANE, LANE, Priority.NORMAL, next_due=NOW)
    meal = box.schedule.next_meal(NOW)
    assert meal is not None
    box.pending[1] = Row(1, NOW, 1)
    box.schedule.add(1, Due(1, 0, NOW, 1), NOW)
    box.schedule.feed(meal, [Due(1, 0, NOW + 50_000, 1)], complete=True, next_due=None, now=NOW)
    assert [ticket.seq for ticket in box.take(10)] == [1]
    assert box.schedule.held == 0


def test_a_meal_the_outbox_cannot_serve_is_asked_for_again() -> None:
    box = outbox()
    box.pending[1] = Row(1, NOW, 1)
    box.schedule.know_flow(1, LANE, LANE, Priority.NORMAL, next_due=NOW)
    meal = box.schedule.next_meal(NOW)
    assert meal is not None
    box.schedule.add(1, Due(2, 0, NOW, 1), NOW)
    box.pending[2] = Row(2, NOW, 1)
    box.schedule.skip(meal)
    box.feed_all()
    assert sorted(ticket.seq for ticket in box.take(10)) == [1, 2]


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["accept", "take", "feed", "close", "open", "tick", "drop", "move"]),
            st.integers(0, 5),
            st.integers(-5, 200),
        ),
        max_size=120,
    ),
    capacity=st.integers(4, 40),
)
def test_nothing_is_lost_and_nothing_taken_early_in_any_interleaving(
    steps: list[tuple[str, int, int]], capacity: int
) -> None:
    box = outbox(capacity)
    now, seq = NOW, 0
    for step, flow, number in steps:
        match step:
            case "accept":
                seq += 1
                box.accept(Row(seq, now + number * 1_000, flow), Priority(flow % 3), now)
            case "take":
                for ticket in box.take(max(0, number % 7), now):
                    assert ticket.due <= now
            case "feed":
                box.feed_all(now)
            case "close":
                box.schedule.set_open(LANE, False)
            case "open":
                box.schedule.set_open(LANE, True)
            case "move":
                if box.schedule.knows(flow):
                    box.schedule.move(flow, "other" if number % 2 else LANE)
            case "tick":
                now += max(0, number) * 500
            case "drop":
                victim = next(iter(box.pending), None)
                if victim is not None:
                    del box.pending[victim]
                    box.schedule.drop(victim)
    box.schedule.set_open(LANE, True)
    for flow, _, _ in box.schedule.routes():
        box.schedule.move(flow, LANE)
    now += 400_000
    for _ in range(10 * seq + 10):
        box.feed_all(now)
        box.take(3, now)
    assert not box.pending
    assert box.schedule.held == 0
    assert box.schedule.flows == 0


def test_a_flow_forgotten_with_tickets_taken_takes_nothing_from_its_successor() -> None:
    """Two tickets are under way; the end of the first lets the flow be forgotten, a new message brings it back."""
    schedule = Schedule([LANE])
    box = FakeOutbox(schedule)
    box.accept(Row(1, NOW, 7))
    box.accept(Row(2, NOW, 7))
    first, second = schedule.take(NOW, only(LANE, 2)).tickets
    schedule.free(first)
    box.accept(Row(3, NOW + 2 * LOOKAHEAD_MS, 7))
    box.feed_all()
    schedule.free(second)
    later = NOW + 2 * LOOKAHEAD_MS
    schedule.take(later, only(LANE, 0))
    assert box.feed_all(later) == 1
    assert [ticket.seq for ticket in schedule.take(later, only(LANE, 1)).tickets] == [3]


def test_a_slow_lane_of_high_messages_shuts_out_neither_other_lanes_nor_bulk() -> None:
    box = FakeOutbox(Schedule([LANE, "other"], 2_000))
    seq = 0
    for _ in range(3_000):
        seq += 1
        box.accept(Row(seq, NOW, 0), Priority.HIGH)
    box.schedule.know_flow(1, "other", "other", Priority.NORMAL, next_due=None)
    box.pending[50_000] = Row(50_000, NOW, 1)
    box.schedule.add(1, Due(50_000, 0, NOW, 1), NOW)
    box.accept(Row(50_001, NOW, 2), Priority.BULK)
    out: list[int] = []
    for _ in range(100):
        box.feed_all()
        for lane in (LANE, "other"):
            for ticket in box.schedule.take(NOW, only(lane, 1)).tickets:
                out.append(ticket.seq)
                box.pending.pop(ticket.seq, None)
                box.schedule.free(ticket)
        seq += 1
        box.accept(Row(seq, NOW, 0), Priority.HIGH)
    assert 50_000 in out[:2]
    assert 50_001 in out


def test_one_busy_flow_does_not_keep_another_from_being_fed() -> None:
    box = outbox(capacity=200)
    for seq in range(5_000):
        box.accept(Row(seq, NOW, 1))
    box.pending[9_000] = Row(9_000, NOW, 2)
    box.schedule.know_flow(2, LANE, LANE, Priority.NORMAL, next_due=NOW)
    taken: list[int] = []
    for step in range(40):
        box.feed_all()
        taken += [ticket.seq for ticket in box.take(1)]
        box.accept(Row(10_000 + step, NOW, 1))
    assert 9_000 in taken


def test_lanes_come_and_go_and_their_flows_wait_elsewhere_meanwhile() -> None:
    box = outbox()
    for seq in range(300):
        box.accept(Row(seq, NOW, 1))
    box.feed_all()
    box.schedule.add_lane("other")
    box.schedule.remove_lane(LANE, lambda route: "other")
    box.feed_all()
    assert box.schedule.take(NOW, only(LANE, 10)).tickets == ()
    first = box.schedule.take(NOW, only("other", 10)).tickets
    assert [ticket.seq for ticket in first] == list(range(10))
    box.schedule.add_lane(LANE)
    box.schedule.add_lane(LANE)
    box.schedule.remove_lane("other", lambda route: LANE)
    for ticket in first:
        box.pending.pop(ticket.seq)
        box.schedule.free(ticket)
    taken: list[int] = []
    for _ in range(3):
        box.feed_all()
        taken += [ticket.seq for ticket in box.take(300)]
    assert taken == list(range(10, 300))


def retaken() -> tuple[Schedule, Ticket]:
    """A schedule of one flow whose only message is in a call."""
    schedule = Schedule([LANE])
    schedule.know_flow(1, LANE, LANE, Priority.NORMAL, next_due=None)
    schedule.add(1, Due(7, 0, NOW, 1), NOW)
    [ticket] = schedule.take(NOW, only(LANE, 9)).tickets
    return schedule, ticket


@pytest.mark.parametrize("due", [NOW + 1_000, NOW + 10 * LOOKAHEAD_MS])
def test_what_is_pending_again_before_its_call_is_over_goes_after_it(due: int) -> None:
    """A receipt that outran the call's own answer has it sent again."""
    schedule, ticket = retaken()
    schedule.add(1, Due(7, 1, due, 1), NOW)
    assert schedule.take(due, only(LANE, 9)).tickets == ()
    if due - NOW > LOOKAHEAD_MS:
        outbox = FakeOutbox(schedule)
        outbox.pending[7] = Row(7, due, 1)
        while (meal := schedule.next_meal(due)) is not None:
            schedule.feed(meal, (Due(7, 1, due, 1),), complete=True, next_due=None, now=due)
    schedule.free(ticket)
    [again] = schedule.take(due, only(LANE, 9)).tickets
    assert (again.seq, again.attempt) == (7, 1)
    schedule.free(again)
    assert schedule.flows == 0


def test_what_was_read_before_it_was_claimed_does_not_come_back() -> None:
    schedule, ticket = retaken()
    schedule.add(1, Due(7, 0, NOW, 1), NOW)
    schedule.free(ticket)
    assert schedule.take(NOW, only(LANE, 9)).tickets == ()
    assert schedule.flows == 0


def test_what_left_before_its_call_is_over_does_not_come_back() -> None:
    schedule, ticket = retaken()
    schedule.add(1, Due(7, 1, NOW + 1, 1), NOW)
    schedule.add(1, Due(7, 2, NOW + 2, 1), NOW)
    schedule.drop(7)
    schedule.free(ticket)
    assert schedule.take(NOW + 9, only(LANE, 9)).tickets == ()
    assert schedule.flows == 0
