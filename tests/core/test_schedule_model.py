"""Against a model of the outbox: in no order of events is a ticket lost, doubled, early, or given out while held up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.hunger import LEAST
from smsd.core.limits import groups_of
from smsd.core.message import Priority
from smsd.core.schedule import LOOKAHEAD_MS, SLICE, Flow, Lane, Meal, Schedule, Ticket
from smsd.store import Due

NOW = 1_790_000_000_000
LANES = ("one", "two")
FLOWS = [
    ("a", None, Priority.NORMAL),
    ("a", "x", Priority.NORMAL),
    ("a", "y", Priority.NORMAL),
    ("b", "x", Priority.NORMAL),
    ("a", "x", Priority.HIGH),
    ("b", None, Priority.HIGH),
    ("b", "x", Priority.BULK),
]
GROUPS = sorted({group for tenant, campaign, _ in FLOWS for group in groups_of(tenant, campaign)})


@dataclass
class Row:
    seq: int
    flow: int
    due: int
    segments: int


@dataclass
class Snapshot:
    """What the outbox answered to a meal, some time before the schedule hears it."""

    meal: Meal
    items: list[Due]
    complete: bool
    next_due: int | None


@dataclass
class Model:
    """The outbox, the clock and the limits, and a schedule that is to be true to them."""

    schedule: Schedule
    now: int = NOW
    seq: int = 0
    rows: dict[int, Row] = field(default_factory=dict)
    in_flight: dict[int, Ticket] = field(default_factory=dict)
    reading: list[Snapshot] = field(default_factory=list)
    until: dict[str, int] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)
    """Read from the outbox before something became of them; the claim would refuse what is false of them."""
    inserted: set[int] = field(default_factory=set)
    """Held whatever the room, for they take an old place."""
    done: list[int] = field(default_factory=list)

    # -- steps -------------------------------------------------------------------------------------------------------

    def accept(self, flow: int, delay_ms: int) -> None:
        self.seq += 1
        row = self.rows[self.seq] = Row(self.seq, flow, self.now + delay_ms, 1 + self.seq % 3)
        self.offer(row)

    def offer(self, row: Row) -> None:
        if not self.schedule.knows(row.flow):
            tenant, campaign, priority = FLOWS[row.flow]
            self.schedule.know_flow(
                row.flow, "r", LANES[row.flow // 6], priority, next_due=None, tenant=tenant, campaign=campaign
            )
        if (row.due, row.seq) <= self.schedule._flows[row.flow].last or self.schedule._flows[row.flow].eating:
            self.inserted.add(row.seq)
        self.schedule.add(row.flow, Due(row.seq, 0, row.due, row.segments), self.now)

    def read(self, meal: Meal) -> Snapshot:
        keys = sorted((row.due, row.seq) for row in self.rows.values() if row.flow == meal.flow)
        inside = [key for key in keys if meal.after < key and key[0] <= meal.until]
        beyond = [key for key in keys if key[0] > meal.until]
        complete = len(inside) <= meal.limit
        items = [Due(seq, 0, due, self.rows[seq].segments) for due, seq in inside[: meal.limit]]
        return Snapshot(meal, items, complete, beyond[0][0] if complete and beyond else None)

    def begin_meal(self) -> None:
        if (meal := self.schedule.next_meal(self.now)) is not None:
            self.reading.append(self.read(meal))

    def end_meal(self, *, fails: bool = False) -> None:
        if not self.reading:
            return
        found = self.reading.pop(0)
        if fails:
            self.schedule.skip(found.meal)
            return
        for item in found.items:
            row = self.rows.get(item.seq)
            if row is None or row.due != item.due:
                self.stale.add(item.seq)
        self.schedule.feed(found.meal, found.items, complete=found.complete, next_due=found.next_due, now=self.now)

    def feed_all(self) -> None:
        while self.reading:
            self.end_meal()
        for _ in range(10_000):
            self.begin_meal()
            if not self.reading:
                return self.check_fed()
            self.end_meal()
        raise AssertionError("it is never full")

    def take(self, room: int) -> None:
        ready = {name: self.may_go(name) for name in LANES}
        work = self.schedule.take(self.now, lambda name, wanted: min(room, wanted))
        given = Counter(ticket.flow.lane for ticket in work.tickets)
        for name in LANES:
            assert given[name] == min(room, ready[name]), "neither more nor less than there is room for"
            assert (name in work.crowded) == (ready[name] > given[name])
        for ticket in work.tickets:
            assert ticket.seq not in self.in_flight, "given out twice"
            assert ticket.due <= self.now
            assert not self.held_up(ticket.flow.id), "given out before its end"
            assert ticket.seq in self.rows or ticket.seq in self.stale
            self.in_flight[ticket.seq] = ticket
        for flow in {ticket.flow for ticket in work.tickets}:
            keys = [ticket.key for ticket in work.tickets if ticket.flow is flow]
            assert keys == sorted(keys), "out of order"
            assert not flow.ready or flow.ready[0].key > keys[-1]
        assert work.wake is None or work.wake > self.now
        ends = [until for until in self.until.values() if until > self.now]
        assert not ends or (work.wake is not None and work.wake <= min(ends))

    def end(self, refuse_ms: int | None = None, retry_ms: int | None = None) -> None:
        """An attempt ends: sent; or refused by a limit on its tenant, as it was; or put off."""
        if not self.in_flight:
            return
        seq = next(iter(self.in_flight))
        ticket = self.in_flight.pop(seq)
        row = self.rows.get(seq)
        refused = row is not None and row.due > self.now
        if refuse_ms is not None:
            self.block(ticket.flow.groups[-1], refuse_ms)
        self.schedule.free(ticket)
        if row is None:
            return
        if refused or refuse_ms is not None:
            self.offer(row)
        elif retry_ms is not None:
            self.stale.add(seq)
            row.due = self.now + retry_ms
            self.offer(row)
        else:
            del self.rows[seq]
            self.done.append(seq)

    def drop(self, nth: int) -> None:
        waiting = [seq for seq in self.rows if seq not in self.in_flight]
        if waiting:
            seq = waiting[nth % len(waiting)]
            row = self.rows.pop(seq)
            if self.schedule.knows(row.flow) and self.schedule._flows[row.flow].eating:
                self.stale.add(seq)  # offered, and looked at when the slice is in
            self.schedule.drop(seq)
            assert seq not in self.schedule._tickets

    def block(self, group: str, for_ms: int) -> None:
        self.until[group] = max(self.until.get(group, 0), self.now + for_ms)
        self.schedule.block(group, self.now + for_ms)

    def unblock_all(self) -> None:
        self.until.clear()
        self.schedule.unblock_all()
        assert all(self.schedule.blocked_until(group, self.now) is None for group in GROUPS)

    def reread(self, by_ms: int) -> None:
        for seq, row in self.rows.items():
            if seq not in self.in_flight:
                self.rows[seq] = replace(row, due=row.due + by_ms)
        self.schedule.reread(self.now)
        assert self.schedule.held == len(self.in_flight)

    def move(self, flow: int, lane: str) -> None:
        if self.schedule.knows(flow):
            self.schedule.move(flow, lane)

    # -- what must hold ----------------------------------------------------------------------------------------------

    def held_up(self, flow: int) -> bool:
        tenant, campaign, _ = FLOWS[flow]
        return any(self.until.get(group, 0) > self.now for group in groups_of(tenant, campaign))

    def waiting(self) -> list[Ticket]:
        return [ticket for ticket in self.schedule._tickets.values() if not ticket.taken]

    def may_go(self, lane: str) -> int:
        return sum(
            ticket.due <= self.now and not self.held_up(ticket.flow.id)
            for ticket in self.waiting()
            if ticket.flow.lane == lane
        )

    def check(self) -> None:
        waiting = self.waiting()
        held = Counter(ticket.flow for ticket in waiting)
        for flow in self.schedule._flows.values():
            assert flow.held == held[flow]
        for lane in self.schedule._lanes.values():
            self.check_counts(lane, held)
        assert all(flow.id in self.schedule._flows for flow in held)
        hungry = [flow for flow in self.schedule._flows.values() if flow.hungry]
        assert len(hungry) == self.schedule._hunger._many
        assert self.schedule.hungry == bool(hungry)
        for ticket in waiting:
            assert ticket.seq in self.stale or self.rows[ticket.seq].due == ticket.due

    def check_counts(self, lane: Lane, held: Counter[Flow]) -> None:
        shares = [share for of_priority in lane.shares.values() for share in of_priority.values()]
        for share in shares:
            free = [flow for flow in share.flows.values() if not flow.block]
            assert all(flow.share is share for flow in share.ring)
            assert share.ready == sum(len(flow.ready) for flow in free)
            assert all(share.ring.count(flow) == flow.in_ring for flow in share.flows.values())
            assert all(flow.in_ring for flow in free if flow.ready)
            assert lane.rounds[share.priority].count(share) == share.in_ring
            assert share.in_ring or share.block or not share.ready
            for is_held_up, hungry in enumerate(share.hungry):
                assert all(flow.hungry and bool(flow.block) == is_held_up for flow in hungry.values())
            queues = self.schedule._hunger._queues[lane.name, share.priority]
            for queue, is_held_up in zip(queues, (False, True), strict=True):
                asking = [flow for flow in share.flows.values() if flow.hungry and bool(flow.held_up) is is_held_up]
                assert (share in queue) == bool(asking)
        assert lane.ready == sum(share.ready for share in shares if not share.block)
        entries = [entry[2] for entry in lane.waiting]
        assert lane.void == sum(ticket.gone for ticket in entries)
        alive = [ticket for ticket in entries if not ticket.gone]
        flows = [flow for share in shares for flow in share.flows.values()]
        assert sorted(alive, key=id) == sorted((t for flow in flows for t in flow.waiting.values()), key=id)
        for priority in Priority:
            of_part = {flow: n for flow, n in held.items() if flow.lane == lane.name and flow.priority == priority}
            assert lane.held[priority] == sum(of_part.values())
            blocked = sum(n for flow, n in of_part.items() if flow.held_up)
            assert lane.idle[priority] or not blocked
            extra = sum(ticket.seq in self.inserted for ticket in self.waiting() if ticket.flow in of_part)
            most = self.schedule._hunger.capacity  # parts shrink when a lane opens; what they hold may stay
            assert lane.held[priority] <= max(1, most) + SLICE + extra
        assert lane.open or not any(lane.held.values())

    def check_fed(self) -> None:
        """Who is free and holds little has either nothing more to hold, or no room but what other free flows hold."""
        for flow in self.schedule._flows.values():
            lane = self.schedule._lanes[flow.lane]
            if not lane.open or flow.held_up or flow.held >= LEAST // 2:
                continue
            left = [
                row.seq
                for row in self.rows.values()
                if row.flow == flow.id and row.seq not in self.schedule._tickets and row.due <= self.now + LOOKAHEAD_MS
            ]
            if left:
                assert lane.held[flow.priority] >= self.schedule._hunger.part(flow.priority)
                assert not any(ticket.flow.held_up for ticket in self.waiting() if ticket.flow.share is flow.share)
                assert not lane.blocked_holders(flow.priority)

    def run_out(self) -> None:
        """Everything accepted and not dropped goes, once, when nothing holds it up any more."""
        self.unblock_all()
        for name in LANES:
            self.schedule.set_open(name, True)
        self.now += 10 * LOOKAHEAD_MS
        for _ in range(3 * len(self.rows) + len(self.stale) + 10):
            self.feed_all()
            self.take(5)
            while self.in_flight:
                self.end()
            self.check()
        assert not self.rows
        assert len(self.done) == len(set(self.done))
        assert self.schedule.held == 0
        assert self.schedule.flows == 0
        assert not self.schedule._campaigns
        assert not any(shares for lane in self.schedule._lanes.values() for shares in lane.shares.values())


DELAYS = st.sampled_from([-5_000, 0, 0, 10, 5_000, 59_000, 61_000, 200_000])
SPANS = st.sampled_from([1, 100, 5_000, 59_000, 60_001, 100_000, 300_000])
SOME_FLOW = st.integers(0, len(FLOWS) - 1)
STEPS = st.one_of(
    st.tuples(st.just("accept"), SOME_FLOW, DELAYS),
    st.tuples(st.just("many"), SOME_FLOW, st.integers(5, 40)),
    st.tuples(st.just("take"), st.integers(0, 4), st.none()),
    st.tuples(st.just("take"), st.integers(0, 12), st.none()),
    st.tuples(st.just("end"), st.none() | SPANS, st.none() | DELAYS),
    st.tuples(st.sampled_from(["begin_meal", "end_meal", "skip", "feed_all", "unblock_all"]), st.none(), st.none()),
    st.tuples(st.just("drop"), st.integers(0, 50), st.none()),
    st.tuples(st.just("block"), st.sampled_from(GROUPS), SPANS),
    st.tuples(st.just("tick"), SPANS, st.none()),
    st.tuples(st.just("reread"), st.sampled_from([-190_000, -70_000, 0, 30_000]), st.none()),
    st.tuples(st.sampled_from(["open", "close"]), st.sampled_from(LANES), st.none()),
    st.tuples(st.just("move"), SOME_FLOW, st.sampled_from(LANES)),
)


def perform(model: Model, name: str, a: int | str | None, b: int | str | None) -> None:
    match name, a, b:
        case "accept", int(flow), int(delay):
            model.accept(flow, delay)
        case "many", int(flow), int(count):
            for nth in range(count):
                model.accept(flow, nth % 3)
        case "take", int(room), _:
            model.take(room)
        case "end", None | int() as refuse_ms, None | int() as retry_ms:
            model.end(refuse_ms, retry_ms)
        case (("begin_meal" | "feed_all" | "unblock_all"), _, _):
            getattr(model, name)()
        case (("end_meal" | "skip"), _, _):
            model.end_meal(fails=name == "skip")
        case "drop", int(nth), _:
            model.drop(nth)
        case "block", str(group), int(for_ms):
            model.block(group, for_ms)
        case "tick", int(ms), _:
            model.now += ms
        case "reread", int(by_ms), _:
            model.reread(by_ms)
        case (("open" | "close"), str(lane), _):
            model.schedule.set_open(lane, name == "open")
        case "move", int(flow), str(lane):
            model.move(flow, lane)
        case _:
            raise AssertionError(name)


@settings(max_examples=80, deadline=None)
@given(st.lists(STEPS, min_size=25, max_size=60), st.sampled_from([4, 30, 200]))
def test_the_window_is_true_to_the_outbox_whatever_happens(
    steps: list[tuple[str, int | str | None, int | str | None]], capacity: int
) -> None:
    model = Model(Schedule(LANES, capacity))
    for step in steps:
        perform(model, *step)
        model.check()
    model.run_out()
