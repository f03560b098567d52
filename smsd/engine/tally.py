"""How much went out lately?

Counts of the last minute and hour per provider, kept in a ring of seconds and of minutes, those of the last minute per
tenant, and the number of messages that are not final (the backlog that intake bounds). Fed by the bus, seeded from the
outbox at start. By boot time: after a step of the wall clock the last minute is still the last sixty seconds. Totals
over days are the outbox's affair.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from smsd.clock import Clock
from smsd.core.events import Event, Kind
from smsd.core.message import State
from smsd.store import MinuteRow

_SENT: Final = frozenset({Kind.MESSAGE_SENT, Kind.MESSAGE_RECONCILED})

_BACKLOG: Final = {
    Kind.MESSAGE_ACCEPTED: 1,
    Kind.MESSAGE_REOPENED: 1,
    Kind.MESSAGE_SENT: -1,
    Kind.MESSAGE_RECONCILED: -1,
    Kind.MESSAGE_FAILED: -1,
    Kind.MESSAGE_EXPIRED: -1,
    Kind.MESSAGE_CANCELLED: -1,
}
"""What each does to the number of messages that are not final. A table: events come by the ten thousand."""


_SETTLED: Final = frozenset({Kind.MESSAGE_DELIVERED, Kind.MESSAGE_UNDELIVERED})
"""By a receipt. Of a message that still waited, they say what it `was`."""

_WAITED: Final = frozenset({State.PENDING.label, State.PROCESSING.label})

_WAS_FAILED: Final = State.FAILED.label
"""Of a message that was held and is proven sent after all: it left the backlog when it failed."""


class Ring:
    """Counts in the last `size` ticks of `tick_ms`. Times are milliseconds that never run backward."""

    __slots__ = ("_counts", "_last", "_tick_ms")

    def __init__(self, size: int, tick_ms: int) -> None:
        self._counts = [0] * size
        self._last = 0
        self._tick_ms = tick_ms

    def add(self, now: int, count: int = 1) -> None:
        """Count something that happened at `now`; what is older than the ring is forgotten."""
        tick = now // self._tick_ms
        if tick > self._last:
            self._roll(tick)
        if tick > self._last - len(self._counts):
            self._counts[tick % len(self._counts)] += count

    def total(self, now: int) -> int:
        """How many in the ring's span up to `now`."""
        self._roll(now // self._tick_ms)
        return sum(self._counts)

    def _roll(self, tick: int) -> None:
        steps = min(tick - self._last, len(self._counts))
        for step in range(steps):
            self._counts[(tick - step) % len(self._counts)] = 0
        self._last = max(self._last, tick)


class NamedRing:
    """Counts by name in the last `size` ticks of `tick_ms`. Exact: it holds the names of that span, as many as there
    are, and no other; what is counted (messages sent) bounds them."""

    __slots__ = ("_counts", "_last", "_tick_ms")

    def __init__(self, size: int, tick_ms: int) -> None:
        self._counts: list[dict[str, int]] = [{} for _ in range(size)]
        self._last = 0
        self._tick_ms = tick_ms

    def add(self, now: int, name: str) -> None:
        """Count something of `name` that happened at `now`; what is older than the ring is forgotten."""
        tick = now // self._tick_ms
        if tick > self._last:
            self._roll(tick)
        if tick > self._last - len(self._counts):
            counts = self._counts[tick % len(self._counts)]
            counts[name] = counts.get(name, 0) + 1

    def total(self, now: int, name: str) -> int:
        """How many of `name` in the ring's span up to `now`."""
        self._roll(now // self._tick_ms)
        return sum(counts.get(name, 0) for counts in self._counts)

    def _roll(self, tick: int) -> None:
        steps = min(tick - self._last, len(self._counts))
        for step in range(steps):
            self._counts[(tick - step) % len(self._counts)] = {}
        self._last = max(self._last, tick)


class _Recent:
    __slots__ = ("sent_hour", "sent_minute", "throttled_hour")

    def __init__(self) -> None:
        self.sent_minute = Ring(60, 1_000)
        self.sent_hour = Ring(60, 60_000)
        self.throttled_hour = Ring(60, 60_000)


class Tally:
    """A sink of the bus."""

    def __init__(self, clock: Clock, providers: Iterable[str]) -> None:
        self._clock = clock
        self._recent = {name: _Recent() for name in providers}
        self._of_tenants = NamedRing(60, 1_000)
        self.backlog = 0
        """Messages that are neither final nor forgotten."""

    def know(self, providers: Iterable[str]) -> None:
        """These are configured as well, from now on; those known before keep their counts."""
        for name in providers:
            if name not in self._recent:
                self._recent[name] = _Recent()

    def seed(self, minutes: Iterable[MinuteRow], backlog: int) -> None:
        """What the outbox remembers of the last hour."""
        self.backlog = backlog
        wall, now = self._clock.wall(), self._now()
        for row in minutes:
            recent = self._recent.get(row.provider)
            if recent is not None:
                at = now - max(0, wall - row.minute * 60_000)
                recent.sent_hour.add(at, row.sent)
                recent.throttled_hour.add(at, row.throttled)

    def _now(self) -> int:
        return self._clock.boot() // 1_000

    def __call__(self, event: Event) -> None:
        kind = event.kind
        if event.fields.get("was") != _WAS_FAILED:
            self.backlog += _BACKLOG.get(kind, 0)
        if kind is Kind.MESSAGE_RETRY_SCHEDULED and "undelivered" in event.fields:
            self.backlog += event.fields.get("was") not in _WAITED  # it had left when it was sent
        elif kind in _SETTLED and event.fields.get("was") in _WAITED:
            self.backlog -= 1
        if kind in _SENT:
            now = self._now()
            self._of_tenants.add(now, str(event.fields.get("tenant")))
            recent = self._of(event)
            if recent is not None:
                recent.sent_minute.add(now)
                recent.sent_hour.add(now)
        elif kind is Kind.MESSAGE_THROTTLED:
            recent = self._of(event)
            if recent is not None:
                recent.throttled_hour.add(self._now())

    def _of(self, event: Event) -> _Recent | None:
        return self._recent.get(str(event.fields.get("provider")))

    def sent_last_minute(self, provider: str | None = None) -> int:
        """Messages taken by one provider, or by all."""
        now = self._now()
        return sum(recent.sent_minute.total(now) for recent in self._chosen(provider))

    def sent_last_minute_of(self, tenant: str) -> int:
        """Messages of one tenant that were taken in the last sixty seconds, by whichever provider."""
        return self._of_tenants.total(self._now(), tenant)

    def sent_last_hour(self, provider: str | None = None) -> int:
        """The same over the last sixty minutes."""
        now = self._now()
        return sum(recent.sent_hour.total(now) for recent in self._chosen(provider))

    def throttles_last_hour(self, provider: str) -> int:
        """How often the provider said "too fast"."""
        return self._recent[provider].throttled_hour.total(self._now())

    def _chosen(self, provider: str | None) -> list[_Recent]:
        return list(self._recent.values()) if provider is None else [self._recent[provider]]
