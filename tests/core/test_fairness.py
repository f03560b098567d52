"""Tenants share a priority equally, inside a tenant its campaigns do, by segments and however many there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.hunger import LEAST
from smsd.core.lanes import WEIGHTS
from smsd.core.message import Priority
from smsd.core.schedule import Schedule, Ticket
from smsd.store import Due

NOW = 1_790_000_000_000
LANE = "main"
LONGEST = 6
"""Segments of the longest text here."""

Line = tuple[str, str | None, Priority]


class Backlog:
    """Flows by tenant, campaign and priority, each with messages enough or as many as it is given."""

    def __init__(self, capacity: int = 100_000) -> None:
        self.schedule = Schedule([LANE], capacity)
        self.lines: dict[Line, int] = {}
        self.pending: dict[int, list[Due]] = {}
        self.seq = 0

    def add(self, tenant: str, campaign: str | None, messages: list[int], priority: Priority = Priority.NORMAL) -> None:
        """`messages`: the segments of each."""
        line = (tenant, campaign, priority)
        flow = self.lines.setdefault(line, len(self.lines))
        rows = self.pending.setdefault(flow, [])
        for segments in messages:
            self.seq += 1
            rows.append(Due(self.seq, 0, NOW, segments))
        self.schedule.know_flow(flow, "r", LANE, priority, next_due=NOW, tenant=tenant, campaign=campaign)

    def feed(self) -> None:
        while (meal := self.schedule.next_meal(NOW)) is not None:
            rows = [row for row in self.pending[meal.flow] if (row.due, row.seq) > meal.after]
            complete = len(rows) <= meal.limit
            self.schedule.feed(meal, rows[: meal.limit], complete=complete, next_due=None, now=NOW)

    def take(self, most: int, room: int = 1) -> list[Ticket]:
        out: list[Ticket] = []
        while len(out) < most:
            self.feed()
            tickets = self.schedule.take(NOW, lambda name, wanted: min(room, wanted)).tickets
            if not tickets:
                break
            for ticket in tickets:
                self.schedule.free(ticket)
            out += tickets
        return out


def segments_by(key: Callable[[Ticket], str], tickets: list[Ticket]) -> Counter[str]:
    counted = Counter[str]()
    for ticket in tickets:
        counted[key(ticket)] += ticket.segments
    return counted


def test_a_thousand_campaigns_get_a_tenant_no_more_than_one() -> None:
    """Of what is given out, and so of what is read: the window is far too small for all of them."""
    box = Backlog(capacity=2_000)
    for campaign in range(1_000):
        box.add("many", f"c{campaign}", [1] * 20)
    box.add("one", "c", [1] * 2_000)
    taken = segments_by(lambda ticket: ticket.flow.tenant, box.take(1_000, room=10))
    assert abs(taken["many"] - taken["one"]) <= 10


def test_a_tenant_that_comes_late_to_a_full_window_is_served_as_any() -> None:
    box = Backlog(capacity=500)
    for campaign in range(100):
        box.add("many", f"c{campaign}", [1] * 20)
    box.take(100)
    box.add("late", None, [1] * 500)
    box.take(2 * LEAST)  # what the last slice has brought too many
    taken = segments_by(lambda ticket: ticket.flow.tenant, box.take(400))
    assert abs(taken["many"] - taken["late"]) <= 3


def test_long_texts_bring_a_tenant_no_more_segments_and_a_campaign_of_it_neither() -> None:
    box = Backlog()
    box.add("short", "c", [1] * 1_000)
    box.add("long", "three", [3] * 1_000)
    box.add("long", "five", [5] * 1_000)
    taken = box.take(400)
    tenants = segments_by(lambda ticket: ticket.flow.tenant, taken)
    assert abs(tenants["short"] - tenants["long"]) <= 5
    campaigns = segments_by(lambda ticket: ticket.flow.campaign or "", taken)
    assert abs(campaigns["three"] - campaigns["five"]) <= 5


def test_tenants_that_share_the_name_of_a_campaign_share_nothing_else() -> None:
    box = Backlog()
    box.add("a", "c", [1] * 100)
    box.add("a", "d", [1] * 100)
    box.add("b", "c", [1] * 100)
    lines = Counter((ticket.flow.tenant, ticket.flow.campaign) for ticket in box.take(40))
    assert lines == {("a", "c"): 10, ("a", "d"): 10, ("b", "c"): 20}


LINES = st.dictionaries(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["x", "y", None]), st.sampled_from(Priority)),
    st.lists(st.integers(1, LONGEST), min_size=1, max_size=60),
    max_size=14,
)


@settings(max_examples=100, deadline=None)
@given(LINES, st.integers(1, 7))
def test_of_those_who_wait_nobody_is_ahead_by_more_than_two_long_texts(lines: dict[Line, list[int]], room: int) -> None:
    box = Backlog()
    for (tenant, campaign, priority), messages in lines.items():
        box.add(tenant, campaign, messages, priority)
    left = {line: len(messages) for line, messages in lines.items()}
    given: list[Ticket] = []
    for ticket in box.take(10_000, room):
        given.append(ticket)
        left[ticket.flow.tenant, ticket.flow.campaign, ticket.flow.priority] -= 1
        _check_priorities(lines, left, given)
        _check_shares(lines, left, given)
    assert not any(left.values())
    for flow in {ticket.flow.id for ticket in given}:
        seqs = [ticket.seq for ticket in given if ticket.flow.id == flow]
        assert seqs == sorted(seqs)


def _check_priorities(lines: dict[Line, list[int]], left: dict[Line, int], given: list[Ticket]) -> None:
    """While both wait, starts are as the weights are, to one start."""
    waiting = {priority for (_, _, priority), count in left.items() if count}
    rounds = {
        priority: sum(ticket.flow.priority is priority for ticket in given) / WEIGHTS[priority] for priority in waiting
    }
    for one in waiting:
        for other in waiting:
            assert rounds[one] - rounds[other] <= 1 / WEIGHTS[one] + 1 / WEIGHTS[other] + 1e-9


def _check_shares(lines: dict[Line, list[int]], left: dict[Line, int], given: list[Ticket]) -> None:
    """While two tenants wait in a priority, or two campaigns in a tenant, neither is far ahead."""
    for priority in Priority:
        here = [ticket for ticket in given if ticket.flow.priority is priority]
        tenants = {tenant for (tenant, _, each), count in left.items() if count and each is priority}
        by_tenant = segments_by(lambda ticket: ticket.flow.tenant, here)
        spread = [by_tenant[tenant] for tenant in tenants]
        assert not spread or max(spread) - min(spread) <= 2 * LONGEST
        for tenant in tenants:
            ours = [ticket for ticket in here if ticket.flow.tenant == tenant]
            by_campaign = segments_by(lambda ticket: str(ticket.flow.campaign), ours)
            names = [
                str(name)
                for (whose, name, each), count in left.items()
                if count and (whose, each) == (tenant, priority)
            ]
            assert max(by_campaign[name] for name in names) - min(by_campaign[name] for name in names) <= 2 * LONGEST
