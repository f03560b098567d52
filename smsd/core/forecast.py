"""When will the backlog be gone, and when does one message of it go?

The schedule and the pacers that decide what is sent next are run ahead in virtual time, over about a thousand virtual
tickets (`bunches`): what is told here is what will be done, as long as nothing new is accepted, nothing fails and no
provider falls out. Limits on tenants and campaigns hold flows up as they do at the claim: a refused ticket goes back to
its place and its group is blocked. Where something that is needed never opens by itself (halted, paused, broken, no
route) nobody knows, and that is the answer.

It refuses to know what later messages will do, limits on single recipients, users and senders (who is held up by one
has a due time of its own), and what a call to a provider says. Told all of it at once, it asks nobody: no clock, no
store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Generator, Mapping, Sequence

from smsd.core.bunches import Bunch, bunches
from smsd.core.course import LAST, Course, Stream
from smsd.core.health import Standing
from smsd.core.limits import groups_of
from smsd.core.message import Instant
from smsd.core.pacing import Pacer
from smsd.core.routing import choose
from smsd.core.scene import Scene
from smsd.core.schedule import Schedule, Ticket, Work

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

TICKS = 30_000
"""The virtual schedule's clock makes about as many steps until the end: fewer than its LOOKAHEAD_MS, so that what is
held up or due late is seldom put back and fed again."""

NO_LANE = ""

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
        self._events = sorted(
            (scene.us(road.until), name)
            for name, road in scene.roads.items()
            if road.standing is Standing.COOLING and road.until is not None
        )
        self._standings = {name: road.standing for name, road in scene.roads.items()}
        self._until = {name: road.until for name, road in scene.roads.items()}
        self._ceilings_end = scene.ceilings_end()
        self._setting_out = self._set_out(made)
        self._is_set_out = False

    # -- setting out -------------------------------------------------------------------------------------------------

    def _set_out(self, made: Sequence[Bunch]) -> Generator[None, None, None]:
        """All that stands before the first step, in pieces: of very many flows it is most of the work."""
        self._unit = yield from self._tick_us()
        self._zero = self._zero_us()
        self._scale(made)
        yield from self._make_known(made)

    def _tick_us(self) -> Generator[None, None, int]:
        """A tick of the schedule's clock in microseconds: a small part of what it takes at the very least."""
        scene = self._scene
        # Of those that are seen: the first starts only, if that is less than all.
        share = min(1.0, self._bound / max(1, scene.waiting)) if self.each == 1 else 1.0
        ends: list[int] = []
        for group, count in scene.behind.items():
            ends.append(scene.bar_opens(group, max(1, round(count * share))))
            yield
        if share == 1:
            ends.append(self._ceilings_end)
            for line in scene.lines:
                ends.append(scene.line_ends(line))
                yield
        return max(1_000, (scene.stretched(max(ends, default=0)) - scene.now_us) // TICKS)

    def _zero_us(self) -> int:
        """When tick 0 begins: now or a little before, so that one begins just when the first bar lets go that holds up
        lines apart (else any): hours far ahead make a tick of half a minute, and the first start would be as late."""
        scene = self._scene
        apart = {group for line in scene.lines if line.apart for group in line.groups if group in scene.bars}
        begins = [scene.bar_begins(group) for group in apart or scene.behind]
        first = min((begin for begin in begins if begin > scene.now_us), default=scene.now_us)
        return scene.now_us - (scene.now_us - first) % self._unit

    def _scale(self, made: Sequence[Bunch]) -> None:
        """The ceilings and limits, as they bind virtual tickets."""
        scene = self._scene
        total = max(1, scene.waiting)
        segments = max(1.0, sum(line.segments * line.pending for line in scene.lines) / total)
        wanted = {name for bunch in made for name in bunch.route.split(",")}
        scaled: dict[int, Pacer] = {}
        self._ceilings: dict[str, tuple[Pacer, ...]] = {}
        for name, road in scene.roads.items():
            if name not in wanted:
                continue
            for pacer in road.ceilings:
                if id(pacer) not in scaled:
                    each = self.each * (segments if pacer.unit == "segments" else 1)
                    scaled[id(pacer)] = pacer.scaled(each, scene.road_begins(name), self._most)
            self._ceilings[name] = tuple(scaled[id(pacer)] for pacer in road.ceilings)
            for _ in range(min(road.claimed, self._most) if self.each == 1 else 0):
                at = self._opens_at(name)
                for pacer in self._ceilings[name]:
                    pacer.force(at)
        uses = [id(pacer) for name in self._ceilings for pacer in scene.roads[name].ceilings]
        shared = {id(scaled[key]) for key in scaled if uses.count(key) > 1}
        self._own = {name: tuple(p for p in pacers if id(p) not in shared) for name, pacers in self._ceilings.items()}
        self._account = {
            name: next((id(p) for p in pacers if id(p) in shared), None) for name, pacers in self._ceilings.items()
        }
        self._wishes: dict[int, dict[str, None]] = {key: {} for key in shared}
        """Roads of an account that could use its next start, the one that waits longest first."""

    def _make_known(self, made: Sequence[Bunch]) -> Generator[None, None, None]:
        """To the schedule."""
        scene = self._scene
        self._schedule = Schedule([NO_LANE, *self._ceilings])
        self._schedule.set_open(NO_LANE, False)
        self._streams: list[Stream] = []
        self._place: dict[int, tuple[Stream, int]] = {}
        self._blocking: dict[str, list[str]] = {}
        """Groups that the schedule knows by other names, and by which."""
        loads: dict[str, tuple[int, int]] = {}
        seq = 1
        for number, bunch in enumerate(made):
            seen = min(bunch.tickets, self._most) if self._near else bunch.tickets  # as many as could go
            dues = self._dues(bunch, seen)
            keys = [(due, seq + place) for place, due in enumerate(dues)]
            held = bunch.lines[0].held
            campaign = f"{bunch.campaign or ''}\0{number}" if held else bunch.campaign
            groups = tuple(group for group in bunch.groups if group in scene.bars)
            stream = Stream(bunch, campaign, seq, keys, groups, whole=seen == bunch.tickets)
            for group in (held, *groups_of(bunch.tenant, bunch.campaign)[1:]) if held else ():
                self._blocking.setdefault(group, []).append(groups_of(bunch.tenant, campaign)[1])
            seq += bunch.tickets
            self._streams.append(stream)
            for line, end in zip(bunch.lines, bunch.ends, strict=True):
                self._place[line.flow] = (stream, end - line.pending)
            for group in stream.groups:
                messages, tickets = loads.get(group, (0, 0))
                loads[group] = (messages + bunch.pending, tickets + bunch.tickets)
            self._know(number, stream, self._lane_of(bunch.route), keys[0][0])
            yield
        for name in self._ceilings:
            self._schedule.set_open(name, self._standings[name] is Standing.OPEN)
        self._bar(loads)

    def _dues(self, bunch: Bunch, tickets: int) -> list[int]:
        """Ticks at which the first of its tickets are due."""
        if all(len(line.dues) == 1 and line.dues == bunch.lines[0].dues for line in bunch.lines):
            return [self._tick(self._scene.us(bunch.lines[0].dues[0]))] * tickets
        return sorted(self._tick(self._scene.us(bunch.due_of(ticket))) for ticket in range(tickets))

    def _bar(self, loads: Mapping[str, tuple[int, int]]) -> None:
        self._bars: dict[str, tuple[tuple[Pacer, float], ...]] = {}
        self._refused: dict[str, int] = {}
        """When the group is let go that was blocked last (us)."""
        self._opened: dict[str, tuple[int, int]] = {}
        """When its hours opened last, and how much of the ticket that came too late had gone before (us)."""
        for group, (messages, tickets) in loads.items():
            begin = self._scene.bar_begins(group)
            if begin > self._scene.now_us:
                self._block(group, begin)
                self._opened[group] = (begin, 0)
            each = messages / tickets
            windows = self._scene.bars[group].windows
            self._bars[group] = tuple(
                (pacer.scaled(each / grain, begin, tickets), _share(pacer.capacity * grain, each))
                for pacer, grain in windows
            )

    def _lane_of(self, route: str) -> str:
        names = [name for name in route.split(",") if name in self._standings]
        standings = {name: self._standings[name] for name in names}
        at = self._scene.now + (self._now - self._scene.now_us) // 1_000
        return choose(standings, self._until, at, self._scene.failover_after_ms) or NO_LANE

    def _tick(self, at_us: int) -> int:
        """Rounded up: nothing is seen before its time."""
        return 0 if at_us <= self._scene.now_us else -(-(at_us - self._zero) // self._unit)

    def _moment(self, tick: int) -> int:
        """When it begins (us)."""
        return max(self._scene.now_us, self._zero + tick * self._unit)

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
        tick = (self._now - self._zero) // self._unit
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
        """How many may be claimed now: a few ahead of their time, as the dispatcher does. Roads of an account take
        turns."""
        account = self._account[name]
        if any(pacer.opens_at() > self._now for pacer in self._own[name]):
            return 0
        if account is None:
            return self._claims
        wishes = self._wishes[account]
        first = next(iter(wishes), name)
        if first != name or self._opens_at(name) > self._now:
            wishes.setdefault(name)
            return 0
        wishes.pop(name, None)
        return 1

    def _opens_at(self, name: str) -> int:
        return max([self._now, *(pacer.opens_at() for pacer in self._ceilings[name])])

    def _lets_go(self, group: str) -> int:
        return max((pacer.opens_at() for pacer, _ in self._bars[group]), default=self._scene.now_us)

    def _start(self, ticket: Ticket, tick: int) -> bool:
        """The claim: limits are asked, then all is charged. False: it is refused, and takes its old place."""
        stream = self._streams[ticket.flow.id]
        lane = ticket.flow.lane
        self._schedule.free(ticket)
        at = self._opens_at(lane)
        at = self._after_hours(stream, lane, at)
        opens = {group: max(self._lets_go(group), self._hours_open(group, stream, lane, at)) for group in stream.groups}
        for group in stream.groups:
            if opens[group] > at:
                self._put_back(stream, ticket, tick)
                self._hold_up(group, opens[group])
                return False
        for pacer in self._ceilings[lane]:
            pacer.force(at)
        for group in stream.groups:
            # A window that has opened stays unused until the lane has a turn for it: the first of its messages waits
            # for that, not all that the tickets in it stand for. To wait for a tick is nobody's lot.
            waits = self._refused.get(group) == opens[group]
            waited = max(0, at - self._moment(self._tick(opens[group])))
            for pacer, share in self._bars[group]:
                pacer.force(opens[group] + round(waited * share) if waits else at)
            following = self._lets_go(group)
            if following > at:
                self._hold_up(group, following)
        stream.times.append(max(at, stream.times[-1]) if stream.times else at)
        self._most -= 1
        return True

    def _hold_up(self, group: str, until: int) -> None:
        self._refused[group] = until
        self._block(group, until)

    def _block(self, group: str, until: int) -> None:
        for each in (group, *self._blocking.get(group, ())):
            self._schedule.block(each, self._tick(until))

    # -- hours -------------------------------------------------------------------------------------------------------

    def _ahead(self, stream: Stream, lane: str) -> int:
        """How long before its last message the first of a ticket goes (us)."""
        rates = [rate for pacer in self._scene.roads[lane].ceilings if (rate := pacer.rate_per_minute()) is not None]
        return round((stream.bunch.each - 1) * 60e6 / min(rates)) if rates else 0

    def _after_hours(self, stream: Stream, lane: str, at: int) -> int:
        """Nothing of a ticket goes while hours are closed: its last message goes so much after they have opened, or as
        much earlier as some had gone before."""
        for group in stream.groups:
            if group in self._opened:
                opened, gone = self._opened[group]
                at = max(at, opened + max(0, self._ahead(stream, lane) - gone))
        return at

    def _hours_open(self, group: str, stream: Stream, lane: str, at: int) -> int:
        """When the group's hours open again that are closed at `at`; 0: they are open."""
        opens = self._scene.open_from(group, at)
        if opens == at:
            return 0
        begin = at - self._ahead(stream, lane)
        first, last = max(begin, self._opened.get(group, (0, 0))[0]), at
        while last - first > 1_000:
            middle = (first + last) // 2
            first, last = (middle, last) if self._scene.open_from(group, middle) == middle else (first, middle)
        self._opened[group] = (opens, max(0, first - begin))
        return opens

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
        times = [self._opens_at(name) for name in work.crowded]
        if not work.tickets:
            for wishes in self._wishes.values():
                wishes.clear()  # whoever came first cannot use its turn now
        if work.wake is not None:
            times.append(self._moment(work.wake))
        if self._events:
            times.append(self._events[0][0])
        if not times:
            return bool(work.tickets)
        self._now = max(self._now + (not work.tickets), min(times))
        while self._events and self._events[0][0] <= self._now:
            name = self._events.pop(0)[1]
            self._standings[name] = Standing.OPEN
            if name in self._ceilings:
                self._schedule.set_open(name, True)
            self._schedule.reroute(self._lane_of, only=lambda route: "," in route)
        return True

    # -- asking ------------------------------------------------------------------------------------------------------

    def backlog(self) -> Instant | None:
        """When the last of all goes; None: nothing waits, or nobody knows."""
        if not self._streams or any(len(stream.times) < stream.bunch.tickets for stream in self._streams):
            return None
        ends = [self._ceilings_end, *(stream.times[-1] for stream in self._streams)]
        ends += [self._scene.us(line.dues[-1]) for line in self._scene.lines]
        ends += [self._scene.bar_opens(group, count) for group, count in self._scene.behind.items()]
        return self._scene.instant(max(ends))

    def knows(self, flow: int) -> bool:
        """Whether anything of the flow was waiting."""
        return flow in self._place

    def course(self, flow: int) -> Course | None:
        """How the messages of a line that stands apart go; None: no such line."""
        found = self._place.get(flow)
        if found is None:
            return None
        stream, _ = found
        due = max(self._scene.now_us, self._scene.us(stream.bunch.lines[0].dues[0]))
        begin = max([due, *(self._scene.bar_begins(group) for group in stream.groups)])
        return Course(stream.times, stream.bunch.each, begin, len(stream.times) == stream.bunch.tickets)

    def goes(self, flow: int, place: int, due: Instant | None = None, now: Instant | None = None) -> Instant | None:
        """When the message goes that so many of its flow go before; None: that is not seen from here, or nobody knows.

        `due`: when it is due (None: it does not matter); `now`: when its place was counted (None: the scene's).
        """
        found = self._place.get(flow)
        if found is None:
            return None
        stream, before = found
        gone = 0 if now is None else bisect_left(stream.times, self._scene.us(now))
        line = next(each for each in stream.bunch.lines if each.flow == flow)
        at = gone + (before + min(place, line.pending - 1) + 1) / stream.bunch.each - 1
        at = min(at, stream.bunch.tickets - 1)
        if due is not None:
            # Nothing goes before it that is due later, however the places have moved meanwhile.
            latest = bisect_right(stream.keys, (self._tick(self._scene.us(due)), LAST)) - (stream.bunch.each == 1)
            if stream.whole or latest < len(stream.keys):
                at = min(at, max(0, latest))
        ticket, last = max(0, int(at)), len(stream.times) - 1
        if at > last:
            return None
        if at < 0:
            ends = [self._in_the_first(stream, at)]
        else:
            following = stream.times[min(ticket + 1, last)]
            ends = [stream.times[ticket] + round((at - ticket) * (following - stream.times[ticket]))]
        ends += [self._scene.bar_opens(group, place + 1) for group in line.groups if group in self._scene.bars]
        return self._scene.instant(max(ends))

    def _in_the_first(self, stream: Stream, at: float) -> int:
        """Of a ticket's messages the first goes at once, as it were, and the last with the ticket."""
        begin = min(stream.times[0], max(self._scene.now_us, self._scene.us(stream.bunch.lines[0].dues[0])))
        return begin + round((at + 1) * (stream.times[0] - begin))


def _share(count: float, each: float) -> float:
    """Of the messages that a window holds, those that begin a ticket; `each` messages are one."""
    return min(1.0, max(1, round(count / each)) / count)
