"""When may a claimed attempt begin its call?

Attempts are claimed ahead of their slot (their claims share one commit); each then passes its lane's gate, in order.
The gate is where the provider's ceiling is charged: at the moment the call begins, not when it was planned, because
only then is the ceiling true in every window. A closed gate (cooldown, halt, pause, drain) turns away everyone who has
not passed: their calls have not begun, so their messages simply go back.

Up to three ceilings stand in one gate, and all must agree: the provider's own as configured, the one it shares with
other providers of its account (`shared`), and the lower one that throttles have taught it (`learnt`).
"""

from __future__ import annotations

import asyncio
from collections import deque

from smsd.clock import Clock
from smsd.core.pacing import Pacer


class _Turn:
    """One attempt's place in the queue."""

    __slots__ = ("call", "segments")

    def __init__(self, segments: int) -> None:
        self.segments = segments
        self.call: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


class Gate:
    """First in, first out; one timer for all who wait. Holds at most the lane's `max_in_flight`."""

    def __init__(self, pacer: Pacer, clock: Clock) -> None:
        self.pacer = pacer
        """The provider's own ceiling, as configured."""
        self.shared: Pacer | None = None
        """Its account's; other gates charge it too."""
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
        if not self._queue and (started := self._start(segments)) is not None:
            return started
        turn = _Turn(segments)
        self._queue.append(turn)
        self._arm()
        try:
            while await turn.call and self._open:
                turn.call = asyncio.get_running_loop().create_future()
                if self._queue[0] is turn and (started := self._start(segments)) is not None:
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

    def share(self, pacer: Pacer | None) -> None:
        """Its account's ceiling is this one from now on; None: it has no account."""
        self.shared = pacer
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

    def left(self, start_us: int, left_us: int) -> None:
        """See Pacer.left."""
        for each in self._pacers:
            each.left(start_us, left_us)

    def _start(self, segments: int) -> int | None:
        now = self._clock.boot()
        if self.ready_at(now, segments) > now:
            return None
        for each in self._pacers:
            each.start(now, each.cost(segments))
        return now

    def _arm(self) -> None:
        """Wake the first in the queue when its slot comes. A timer may fire early; whoever is woken looks again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queue or self._queue[0].call.done():
            return
        now = self._clock.boot()
        wait = self.ready_at(now, self._queue[0].segments) - now
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait / 1e6, self._wake) if wait > 0 else loop.call_soon(self._wake)

    def _wake(self) -> None:
        """Several may start at once when the loop is late: each wake lets all through for whom there is room."""
        self._timer = None
        room = max(1, self.allowance(self._clock.boot(), 0, len(self._queue)))
        for turn in list(self._queue)[:room]:
            if not turn.call.done():
                turn.call.set_result(True)
