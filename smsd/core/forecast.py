"""When will the backlog be gone, and when does one message of it go?

The schedule and the pacers that decide what is sent next are run ahead in virtual time, over about a thousand virtual
tickets (`bunches`): what is told here is what will be done, as long as nothing new is accepted, nothing fails and no
provider falls out. Limits on tenants and campaigns hold flows up as they do at the claim: a refused ticket goes back to
its place and its group is blocked. Where something that is needed never opens by itself (halted, paused, broken, no
route) nobody knows, and that is the answer.

Here the schedule is fed and its tickets start. The pace of the roads (`roads`), what holds groups up (`barring`) and
what the starts say of each message (`seen`) have rooms of their own. It refuses to know what later messages will do,
limits on single recipients, users and senders (who is held up by one has a due time of its own), and what a call to a
provider says. Told all of it at once, it asks nobody: no clock, no store.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

from smsd.core.barring import Barring
from smsd.core.bunches import Bunch, bunches
from smsd.core.course import Course, Stream
from smsd.core.limits import groups_of
from smsd.core.message import Instant
from smsd.core.roads import NO_LANE, Roads
from smsd.core.scene import Scene
from smsd.core.schedule import Schedule, Ticket, Work
from smsd.core.seen import Seen
from smsd.core.ticks import Ticks, unit_us

TICKETS = 600
"""Virtual tickets of one forecast, about: some 10 ms, and the end of the backlog to less than a percent."""

HELD_UP = 300
"""As many where limits hold groups up: each start is dearer then."""

CLAIMS = 4
"""Tickets a lane gives out at once: their order is decided that much ahead of their starts."""

EFFORT = 12
"""Steps (a ticket fed, a look at what is ready) for each ticket, before it gives up."""

MEAL = 8
"""Tickets fed in one step, or a few more: then a step costs about the same, however many flows are hungry."""

DONE = object()
"""Nothing more is to be set out."""


class Forecast:
    """One look ahead. `advance` until it says it is done, then ask.

    Every start of a road stands for `each` messages. With `near` it is one, and only the first starts are seen.
    """

    def __init__(self, scene: Scene, *, near: bool = False, tickets: int | None = None) -> None:
        self._scene = scene
        if tickets is None:
            tickets = HELD_UP if scene.bars and not near else TICKETS
        self._bound = tickets
        self._near = near or scene.waiting <= tickets
        self._claims = 1 if self._near or scene.bars else CLAIMS
        scale = 1.0 if near else max(1.0, scene.waiting / tickets)
        made = bunches(scene.lines, scale)
        count = sum(bunch.tickets for bunch in made)
        self.each = scene.waiting / count if count else 1.0
        self._most = min(count, tickets) if near else count
        self._effort = EFFORT * self._most + 100
        self._now = scene.now_us
        self._roads = Roads(scene)
        self._setting_out = self._set_out(made, scene.ceilings_end())
        self._is_set_out = False

    # -- setting out -------------------------------------------------------------------------------------------------

    def _set_out(self, made: Sequence[Bunch], ceilings_end: int) -> Generator[None, None, None]:
        """All that stands before the first step, in pieces: of very many flows it is most of the work."""
        scene = self._scene
        # Of those that are seen: the first starts only, if that is less than all.
        share = min(1.0, self._bound / max(1, scene.waiting)) if self.each == 1 else 1.0
        unit = yield from unit_us(scene, share, ceilings_end)
        self._ticks = Ticks(scene, unit)
        self._roads.scale({name for bunch in made for name in bunch.route.split(",")}, self.each, self._most)
        self._seen = Seen(scene, self._ticks, ceilings_end)
        yield from self._make_known(made)

    def _make_known(self, made: Sequence[Bunch]) -> Generator[None, None, None]:
        """To the schedule."""
        self._schedule = Schedule([NO_LANE, *self._roads.names])
        self._schedule.set_open(NO_LANE, False)
        self._streams: list[Stream] = []
        self._blocking: dict[str, list[str]] = {}
        """Groups that the schedule knows by other names, and by which."""
        loads: dict[str, tuple[int, int]] = {}
        seq = 1
        for number, bunch in enumerate(made):
            stream = self._stream(number, bunch, seq)
            seq += bunch.tickets
            self._streams.append(stream)
            self._seen.add(stream)
            for group in stream.groups:
                messages, tickets = loads.get(group, (0, 0))
                loads[group] = (messages + bunch.pending, tickets + bunch.tickets)
            self._know(number, stream, self._lane_of(bunch.route), stream.keys[0][0])
            yield
        for name in self._roads.names:
            self._schedule.set_open(name, self._roads.is_open(name))
        self._barring = Barring(self._scene, self._ticks, loads, self._block)

    def _stream(self, number: int, bunch: Bunch, seq: int) -> Stream:
        """The bunch's queue, its tickets numbered from `seq`."""
        seen = min(bunch.tickets, self._most) if self._near else bunch.tickets  # as many as could go
        keys = [(due, seq + place) for place, due in enumerate(self._dues(bunch, seen))]
        held = bunch.lines[0].held
        campaign = f"{bunch.campaign or ''}\0{number}" if held else bunch.campaign
        for group in (held, *groups_of(bunch.tenant, bunch.campaign)[1:]) if held else ():
            self._blocking.setdefault(group, []).append(groups_of(bunch.tenant, campaign)[1])
        groups = tuple(group for group in bunch.groups if group in self._scene.bars)
        return Stream(bunch, campaign, seq, keys, groups, whole=seen == bunch.tickets)

    def _dues(self, bunch: Bunch, tickets: int) -> list[int]:
        """Ticks at which the first of its tickets are due."""
        if all(len(line.dues) == 1 and line.dues == bunch.lines[0].dues for line in bunch.lines):
            return [self._ticks.of(self._scene.us(bunch.lines[0].dues[0]))] * tickets
        return sorted(self._ticks.of(self._scene.us(bunch.due_of(ticket))) for ticket in range(tickets))

    def _lane_of(self, route: str) -> str:
        return self._roads.lane_of(route, self._now)

    # -- running -----------------------------------------------------------------------------------------------------

    def advance(self, steps: int) -> bool:
        """Look ahead by so many more steps, some 50 us each. True: that is all that can be seen."""
        for _ in range(steps):
            if not self._is_set_out:
                self._is_set_out = next(self._setting_out, DONE) is DONE
            elif self._most <= 0 or self._effort <= 0 or not self._step():
                return True
        return self._is_set_out and self._most <= 0

    def _step(self) -> bool:
        """Start what may start now, and go on to when something may. False: nothing will by itself."""
        tick = self._ticks.during(self._now)
        if self._feed(tick):
            return True
        self._effort -= 1
        work = self._schedule.take(tick, self._room)
        went = [self._start(ticket, tick) for ticket in work.tickets]
        if not all(went) or (went and self._schedule.hungry):
            return True  # what was put back, or is fed next, may start now as well
        return self._go_on(work)

    def _feed(self, tick: int) -> bool:
        """Some of the hungry flows; whether there are more."""
        fed = 0
        while self._schedule.hungry:
            if fed >= MEAL:
                return True
            meal = self._schedule.next_meal(tick)
            if meal is None:
                return False
            items, complete, next_due = self._streams[meal.flow].slice(meal)
            fed += max(1, len(items))
            self._effort -= len(items)
            self._schedule.feed(meal, items, complete=complete, next_due=next_due, now=tick)
        return False

    def _room(self, name: str, wanted: int) -> int:
        return self._roads.room(name, self._now, self._claims)

    def _start(self, ticket: Ticket, tick: int) -> bool:
        """The claim: limits are asked, then all is charged. False: it is refused, and takes its old place."""
        stream = self._streams[ticket.flow.id]
        lane = ticket.flow.lane
        self._schedule.free(ticket)
        at = self._barring.after_hours(stream, lane, self._roads.opens_at(lane, self._now))
        opens = self._barring.opens(stream, lane, at)
        for group in stream.groups:
            if opens[group] > at:
                self._put_back(stream, ticket, tick)
                self._barring.hold_up(group, opens[group])
                return False
        self._roads.charge(lane, at)
        self._barring.charge(stream, opens, at)
        stream.times.append(max(at, stream.times[-1]) if stream.times else at)
        self._most -= 1
        return True

    def _block(self, group: str, until: int) -> None:
        for each in (group, *self._blocking.get(group, ())):
            self._schedule.block(each, self._ticks.of(until))

    def _put_back(self, stream: Stream, ticket: Ticket, tick: int) -> None:
        number = ticket.flow.id
        if not self._schedule.knows(number):
            self._know(number, stream, ticket.flow.lane, None)
        self._schedule.add(number, stream.supply(ticket.seq - stream.first), tick)

    def _know(self, number: int, stream: Stream, lane: str, next_due: int | None) -> None:
        bunch = stream.bunch
        self._schedule.know_flow(
            number, bunch.route, lane, bunch.priority, next_due=next_due, tenant=bunch.tenant, campaign=stream.campaign
        )

    def _go_on(self, work: Work) -> bool:
        """To the next moment at which something changes."""
        times = [self._roads.opens_at(name, self._now) for name in work.crowded]
        if not work.tickets:
            self._roads.forget_turns()
        if work.wake is not None:
            times.append(self._ticks.moment(work.wake))
        if (end := self._roads.next_end) is not None:
            times.append(end)
        if not times:
            return bool(work.tickets)
        self._now = max(self._now + (not work.tickets), min(times))
        for name in self._roads.reopened(self._now):
            if name in self._roads.names:
                self._schedule.set_open(name, True)
            self._schedule.reroute(self._lane_of, only=lambda route: "," in route)
        return True

    # -- asking ------------------------------------------------------------------------------------------------------

    def backlog(self) -> Instant | None:
        """When the last of all goes; None: nothing waits, or nobody knows."""
        return self._seen.backlog()

    def knows(self, flow: int) -> bool:
        """Whether anything of the flow was waiting."""
        return self._seen.knows(flow)

    def course(self, flow: int) -> Course | None:
        """How the messages of a line that stands apart go; None: no such line."""
        return self._seen.course(flow)

    def goes(self, flow: int, place: int, due: Instant | None = None, now: Instant | None = None) -> Instant | None:
        """When the message goes that so many of its flow go before; None: that is not seen from here, or nobody knows.

        `due`: when it is due (None: it does not matter); `now`: when its place was counted (None: the scene's).
        """
        return self._seen.goes(flow, place, due, now)
