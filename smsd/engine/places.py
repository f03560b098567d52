"""Whose turn is it to call a host?

Callbacks wait here by place: a tenant and an origin. An origin has `per_host` calls at a time, of all tenants. They
take turns; while several wait, each has at most half of the calls; and the last that is free goes only to a place that
has none. So a receiver that hangs leaves one call to the others at its host, whenever they come, and a tenant that is
alone with a host has one call less than it might. All calls, and all room to wait here, are shared by tenants too
(`core.calling.may_take`), so that one that names very many hosts holds up itself. It refuses to know what waits in the
outbox and how a call is made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from smsd.core.callback import Callback
from smsd.core.calling import Rest, may_take
from smsd.engine.tries import Moment

REMEMBERED: Final = 1_000
"""Places whose failures are remembered. Of more, that which has failed least recently is forgotten and tried anew."""


class Share:
    """What a tenant has of what is shared by tenants."""

    __slots__ = ("blocked", "calls", "held", "more", "places", "tenant")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.places = 0
        """That are remembered."""
        self.calls = 0
        self.held = 0
        """Callbacks that wait here."""
        self.more = False
        """Callbacks of it were left in the outbox, because it had its share."""
        self.blocked: dict[Host, None] = {}
        """Hosts that may call for it as soon as it may have one more call."""


class Host:
    """The calls to one origin, and who waits for one."""

    __slots__ = ("calls", "line", "lined_up", "name", "places")

    def __init__(self, name: str) -> None:
        self.name = name
        self.places = 0
        """That are remembered."""
        self.calls = 0
        self.line: deque[Place] = deque()
        """Places with something waiting; whose turn is next is first."""
        self.lined_up = False
        """It stands in the line of those that may begin a call."""

    def next(self, now_us: int, per_host: int, taken: int, most: int) -> Place | None:
        """Whose turn it is to begin a call, if there may be one more. `taken`: calls in all, of `most` at most."""
        for _ in range(len(self.line)):
            place = self.line[0]
            self.line.rotate(-1)
            if place.calls >= self._most_of(place, now_us, per_host):
                continue
            if may_take(place.share.calls, taken, most):
                return place
            place.share.blocked[self] = None
        return None

    def _most_of(self, place: Place, now_us: int, per_host: int) -> int:
        """How many calls the place may have; no more than it has: it may begin none."""
        kept_free = 1 if place.calls else 0
        if self.calls + kept_free >= per_host:
            return 0
        fair = max(1, per_host // 2) if len(self.line) > 1 else per_host
        return min(place.rest.room(now_us, per_host), fair)


class Place:
    """What is called and what is next of one tenant at one origin."""

    __slots__ = ("calls", "host", "more", "name", "rest", "share", "waiting")

    def __init__(self, name: str, host: Host, share: Share) -> None:
        self.name = name
        self.host = host
        self.share = share
        self.rest = Rest()
        self.calls = 0
        self.waiting: deque[tuple[Callback, Moment]] = deque()
        """And when each was read."""
        self.more = False
        """Something of it may be due that was left in the outbox."""

    def add(self, callback: Callback, read: Moment) -> None:
        """It waits for a call."""
        if not self.waiting:
            self.host.line.append(self)
        self.waiting.append((callback, read))
        self.share.held += 1

    def begin(self) -> tuple[Callback, Moment]:
        """The next is called."""
        callback, read = self.waiting.popleft()
        if not self.waiting:
            self.host.line.remove(self)
        self.share.held -= 1
        self.calls += 1
        self.host.calls += 1
        self.share.calls += 1
        return callback, read

    def ended(self) -> None:
        """One of its calls is over."""
        self.calls -= 1
        self.host.calls -= 1
        self.share.calls -= 1

    def let_go(self, keep: Callable[[Callback], bool]) -> int:
        """What waits goes, but what is to be kept. How many went."""
        before = len(self.waiting)
        self.waiting = deque(each for each in self.waiting if keep(each[0]))
        if before and not self.waiting:
            self.host.line.remove(self)
        went = before - len(self.waiting)
        self.share.held -= went
        return went


class Places:
    """Those with calls, with something waiting, or with failures to be remembered; in the order in which they last
    failed."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._hosts: dict[str, Host] = {}
        self._shares: dict[str, Share] = {}

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    @property
    def hosts(self) -> Iterable[Host]:
        """Of the places."""
        return self._hosts.values()

    @property
    def shares(self) -> Iterable[Share]:
        """Of the places."""
        return self._shares.values()

    def held_of(self, tenant: str) -> int:
        """Callbacks of the tenant that wait here."""
        share = self._shares.get(tenant)
        return 0 if share is None else share.held

    def of(self, callback: Callback) -> Place:
        """The callback's."""
        place = self._places.get(callback.place)
        if place is None:
            host = self._hosts.get(callback.origin)
            if host is None:
                host = self._hosts[callback.origin] = Host(callback.origin)
            share = self._shares.get(callback.tenant)
            if share is None:
                share = self._shares[callback.tenant] = Share(callback.tenant)
            host.places += 1
            share.places += 1
            place = self._places[callback.place] = Place(callback.place, host, share)
        return place

    def failed(self, place: Place) -> None:
        """It has failed last."""
        self._places[place.name] = self._places.pop(place.name)

    def forget(self, place: Place) -> None:
        """A call of this place ended: it goes if nothing of it is to be remembered, and beyond the bound the one that
        failed longest ago."""
        if not place.calls and not place.waiting and place.rest.is_fresh:
            self._drop(place)
        while len(self._places) > REMEMBERED:
            idle = next((each for each in self if not each.calls and not each.waiting), None)
            if idle is None:
                return
            self._drop(idle)

    def _drop(self, place: Place) -> None:
        del self._places[place.name]
        place.host.places -= 1
        if not place.host.places:
            del self._hosts[place.host.name]
        place.share.places -= 1
        if not place.share.places:
            del self._shares[place.share.tenant]
