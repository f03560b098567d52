"""Which connections are idle, which are late, and who makes room for a newcomer?

Every connection is in one of three places: idle (nothing of a request has come), beginning (a part of a request's head
has come), busy (a request is under way; not kept here). Each of the first two has one span of time for all, so a queue
in order of arrival is also one in order of deadline: one timer, set for the first deadline of both, ends who is late.
Nothing is swept. It knows nothing of HTTP or sockets.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol


class Member(Protocol):
    """A connection as the crowd sees it."""

    def give_way(self) -> None:
        """Close now: it is idle, or was too slow."""
        ...


class Crowd:
    """The connections that wait for their clients."""

    def __init__(self, most: int, idle_s: float, beginning_s: float, emptied: Callable[[], None]) -> None:
        """`most` members; seconds that one may be idle, and may take to begin; `emptied`: the last one has left."""
        self.most = most
        self._emptied = emptied
        self._idle: OrderedDict[Member, float] = OrderedDict()
        self._beginning: OrderedDict[Member, float] = OrderedDict()
        self._idle_s = idle_s
        self._beginning_s = beginning_s
        self._everyone: set[Member] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        return len(self._everyone)

    @property
    def everyone(self) -> list[Member]:
        """All of them."""
        return list(self._everyone)

    def has_room(self) -> bool:
        """Whether one more may come in. At the bound the longest idle one gives way, else the slowest beginner; busy
        ones stay."""
        if len(self._everyone) < self.most:
            return True
        longest = next(iter(self._idle), None) or next(iter(self._beginning), None)
        if longest is None:
            return False
        self.left(longest)
        longest.give_way()
        return True

    def joined(self, member: Member) -> None:
        """It is connected, and idle."""
        self._everyone.add(member)
        self.idle(member)

    def idle(self, member: Member) -> None:
        """Its last answer is out."""
        if member in self._everyone:
            self._put(self._idle, member, self._idle_s)

    def beginning(self, member: Member) -> None:
        """The first bytes of a request have come, not the whole head."""
        if self._idle.pop(member, None) is not None:
            self._put(self._beginning, member, self._beginning_s)

    def busy(self, member: Member) -> None:
        """A request is under way."""
        if self._idle.pop(member, None) is None:
            self._beginning.pop(member, None)

    def waits(self, member: Member) -> bool:
        """Whether no request of it is under way."""
        return member in self._idle or member in self._beginning

    def left(self, member: Member) -> None:
        """It is gone."""
        self._everyone.discard(member)
        self.busy(member)
        if not self._everyone:
            self._emptied()

    def end_idle(self) -> None:
        """Those without a request under way give way."""
        for member in [*self._idle, *self._beginning]:
            self.left(member)
            member.give_way()

    def close(self) -> None:
        """No more deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _put(self, queue: OrderedDict[Member, float], member: Member, span_s: float) -> None:
        due = queue[member] = self._loop.time() + span_s
        if self._timer is None or due < self._due:
            self._set_timer(due)

    def _set_timer(self, due: float) -> None:
        self.close()
        self._due = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        firsts: list[float] = []
        for queue in (self._idle, self._beginning):
            while queue:
                member, due = next(iter(queue.items()))
                if due > now:
                    firsts.append(due)
                    break
                self.left(member)
                member.give_way()
        if firsts:
            self._set_timer(min(firsts))
