"""When may a claimed attempt begin its call?

Attempts are claimed ahead of their slot (their claims share one commit); each then passes its lane's gate, in order.
The gate is where the provider's ceiling is charged: at the moment the call begins, not when it was planned, because
only then is the ceiling true in every window. A closed gate (cooldown, halt, pause, drain) turns away everyone who has
not passed: their calls have not begun, so their messages simply go back.

Up to three ceilings stand in one gate, and all must agree: the provider's own as configured, the one it shares with
other providers of its account (`shared`), and the lower one that throttles have taught it (`learnt`).

The gates of one account stand in one line: its slots are claimed in turn, never more of them than come next, and calls
begin in the order in which their attempts arrived. A gate without an account knows nothing of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import count

from smsd.clock import Clock
from smsd.core.pacing import Pacer

LOOK_AGAIN_S = 30.0
"""However far the slot seems, look again after this: the loop's timers stand still while the machine is suspended."""

_ARRIVALS = count()


class _Turn:
    """One attempt's place in the queue."""

    __slots__ = ("arrival", "call", "segments")

    def __init__(self, segments: int) -> None:
        self.segments = segments
        self.arrival = next(_ARRIVALS)
        self.call: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Line:
    """What the gates of one account share: its ceiling, and the order in which they use it.

    Everything here is O(gates of the account).
    """

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.gates: list[Gate] = []
        self._wishes: dict[Gate, None] = {}
        """Gates that could use a slot and got none, or too few: the one that waits longest comes first."""
        self._asked: set[Gate] = set()
        """Those that asked in the present round: without waiting in between, each asks at most once."""
        self._served: set[Gate] = set()
        """Those of them that were granted something."""
        self._promised = 0
        """Granted in this round and not yet among the `unstarted` of a gate."""

    @property
    def claimed(self) -> int:
        """Claims whose call has not begun, of all gates."""
        return self._promised + sum(gate.unstarted for gate in self.gates)

    def free(self, now_us: int, horizon_us: int, limit: int) -> int:
        """Slots that come until then and are claimed by nobody, at most `limit`."""
        claimed = self.claimed
        return max(0, self.pacer.allowance(now_us, horizon_us, limit + claimed) - claimed)

    def grant(self, gate: Gate, wanted: int, now_us: int, horizon_us: int) -> int:
        """How many of the slots that come until then the gate may claim. `wanted`: how many it could use now, by its
        own ceilings. What is free is shared out equally; what does not go round goes to those who waited longest."""
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._end_round)
        self._asked.add(gate)
        if wanted <= 0:
            self._wishes.pop(gate, None)
            return 0
        order = [each for each in self._wishes if each is gate or each not in self._asked]
        place = order.index(gate) if gate in self._wishes else len(order)
        sharers = max(len(order), place + 1)
        each, over = divmod(self.free(now_us, horizon_us, wanted * sharers), sharers)
        granted = min(wanted, each + (place < over))
        if granted:
            self._wishes.pop(gate, None)
            self._served.add(gate)
            self._promised += granted
        if granted < wanted:
            self._wishes[gate] = None
        return granted

    def take_up(self) -> None:
        """One that was granted in this round is about to be counted by a gate; or by another line's."""
        self._promised = max(0, self._promised - 1)

    def _end_round(self) -> None:
        """Who did not ask while others did has no wish any more: nothing of it is due, or its gate is closed. Who was
        served stands behind those who were not."""
        wishes = [gate for gate in self._wishes if gate in self._asked]
        self._wishes = dict.fromkeys(sorted(wishes, key=self._served.__contains__))
        self._asked.clear()
        self._served.clear()
        self._promised = 0

    def first(self, now_us: int) -> _Turn | None:
        """Who is to start next: of those who stand first in an open gate and whom their own ceilings let start, the one
        that came first."""
        heads = [gate.head for gate in self.gates if gate.may_start(now_us)]
        return min((head for head in heads if head is not None), key=lambda head: head.arrival, default=None)

    def arm(self, now_us: int) -> None:
        """Whose turn it is may have changed."""
        first = self.first(now_us)
        for gate in self.gates:
            gate.arm(now_us, first)


class Gate:
    """First in, first out; one timer for all who wait. Holds at most the lane's `max_in_flight`."""

    def __init__(self, pacer: Pacer, clock: Clock) -> None:
        self.pacer = pacer
        """The provider's own ceiling, as configured."""
        self.line: Line | None = None
        """Its account's gates; None: it has no account."""
        self.unstarted = 0
        """Attempts claimed for this gate whose call has not begun: being claimed, or waiting here."""
        self.learnt: Pacer | None = None
        self._pacers: tuple[Pacer, ...] = ()
        self._gather()
        self._clock = clock
        self._queue: deque[_Turn] = deque()
        self._timer: asyncio.Handle | None = None
        self._open = True
        self._shut = False

    def _gather(self) -> None:
        self._pacers = tuple(each for each in (self.pacer, self.shared, self.learnt) if each is not None)

    @property
    def ceilings(self) -> tuple[Pacer, ...]:
        """All that stand in it."""
        return self._pacers

    @property
    def shared(self) -> Pacer | None:
        """Its account's ceiling; other gates charge it too."""
        return None if self.line is None else self.line.pacer

    @property
    def waiting(self) -> int:
        """Claimed attempts whose call has not begun."""
        return len(self._queue)

    async def enter(self, segments: int) -> int | None:
        """Wait for the turn and charge a message of that many segments; the boot time (us) at which it was charged,
        which is now.

        None: the gate is closed; the call must not begin.
        """
        if not self._open:
            return None
        if not self._queue and (started := self._start(segments, None)) is not None:
            return started
        turn = _Turn(segments)
        self._queue.append(turn)
        self._arm()
        try:
            while await turn.call and self._open:
                turn.call = asyncio.get_running_loop().create_future()
                if self._queue[0] is turn and (started := self._start(segments, turn)) is not None:
                    return started
                self._arm()
            return None
        finally:
            self._queue.remove(turn)
            self._arm()

    def shut(self) -> None:
        """Close for good: the daemon ends, and no news of the provider opens it again."""
        self._shut = True
        self.set_open(False)

    def set_open(self, is_open: bool) -> None:
        """Close: everyone who waits is turned away. Open: they may pass again."""
        is_open = self._open = is_open and not self._shut
        if not is_open:
            for turn in self._queue:
                if not turn.call.done():
                    turn.call.set_result(False)

    def change(self, pacer: Pacer) -> None:
        """Another ceiling counts from now on; whoever waits waits for it."""
        self.pacer = pacer
        self._gather()
        self._arm()

    def share(self, line: Line | None) -> None:
        """It stands in this line from now on; None: it has no account."""
        if self.line is not line:
            if self.line is not None:
                self.line.gates.remove(self)
                self.line.arm(self._clock.boot())
            if line is not None:
                line.gates.append(self)
            self.line = line
            self._gather()
        self._arm()

    def learn(self, pacer: Pacer | None) -> None:
        """The lower ceiling that it was taught; None: none."""
        self.learnt = pacer
        self._gather()
        self._arm()

    # -- the ceilings as one -----------------------------------------------------------------------------------------

    def ready_at(self, now_us: int, segments: int = 1) -> int:
        """See Pacer.ready_at: the latest of all."""
        if len(self._pacers) == 1:
            return self.pacer.ready_at(now_us, self.pacer.cost(segments))
        return max(each.ready_at(now_us, each.cost(segments)) for each in self._pacers)

    def opens_at(self) -> int:
        """See Pacer.opens_at: the latest of all."""
        return max(each.opens_at() for each in self._pacers)

    def allowance(self, now_us: int, horizon_us: int, limit: int) -> int:
        """See Pacer.allowance: the least of all."""
        for each in self._pacers:
            limit = each.allowance(now_us, horizon_us, limit)
        return limit

    def room(self, places: int, horizon_us: int, *, in_turn: bool = True) -> int:
        """How many more attempts, at most `places`, may be claimed for the slots that come until then.

        `in_turn`: the account's slots are shared out among those who want them; else the next free ones are its own.
        """
        now, line = self._clock.boot(), self.line
        slots = 0
        if places > 0:
            slots = self.pacer.allowance(now, horizon_us, places + self.unstarted)
            if self.learnt is not None:
                slots = self.learnt.allowance(now, horizon_us, slots)
            slots = max(0, min(places, slots - self.unstarted))
        if line is None:
            return slots
        return line.grant(self, slots, now, horizon_us) if in_turn else line.free(now, horizon_us, slots)

    def load(self, now_us: int) -> float:
        """See Pacer.load: the larger one of its own ceiling and its account's, as configured."""
        own = self.pacer.load(now_us)
        return own if self.shared is None else max(own, self.shared.load(now_us))

    def left(self, start_us: int, left_us: int) -> None:
        """See Pacer.left."""
        for each in self._pacers:
            each.left(start_us, left_us)

    def _start(self, segments: int, turn: _Turn | None) -> int | None:
        now = self._clock.boot()
        if self.ready_at(now, segments) > now:
            return None
        if self.line is not None and self.line.first(now) is not turn:
            return None
        for each in self._pacers:
            each.start(now, each.cost(segments))
        return now

    # -- whose turn it is --------------------------------------------------------------------------------------------

    @property
    def head(self) -> _Turn | None:
        """Who stands first in this gate."""
        return self._queue[0] if self._queue else None

    def may_start(self, now_us: int) -> bool:
        """Whether somebody waits here whom nothing but the account's ceiling, or its other gates, can hold up."""
        return self._open and bool(self._queue) and self._own_ready_at(now_us, self._queue[0].segments) <= now_us

    def _own_ready_at(self, now_us: int, segments: int) -> int:
        ready = self.pacer.ready_at(now_us, self.pacer.cost(segments))
        return ready if self.learnt is None else max(ready, self.learnt.ready_at(now_us, self.learnt.cost(segments)))

    def _arm(self) -> None:
        now = self._clock.boot()
        if self.line is None:
            self.arm(now, None)
        else:
            self.line.arm(now)

    def arm(self, now: int, first: _Turn | None) -> None:
        """Wake the first in the queue when its slot comes. A timer may fire early; whoever is woken looks again.

        `first`: whose turn it is in the line. Whoever else could start now is woken when that one has gone.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue or self._queue[0].call.done():
            return
        if first is not None and first is not self._queue[0] and self.may_start(now):
            return
        wait = self.ready_at(now, self._queue[0].segments) - now
        loop = asyncio.get_running_loop()
        wait_s = min(wait / 1e6, LOOK_AGAIN_S)
        self._timer = loop.call_later(wait_s, self._wake) if wait > 0 else loop.call_soon(self._wake)

    def _wake(self) -> None:
        """Several may start at once when the loop is late: each wake lets all through for whom there is room."""
        self._timer = None
        room = max(1, self.allowance(self._clock.boot(), 0, len(self._queue)))
        for turn in list(self._queue)[:room]:
            if not turn.call.done():
                turn.call.set_result(True)
