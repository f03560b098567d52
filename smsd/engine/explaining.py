"""Why does this message wait?

Every view of a message that is not final says so. What can stand in its way is gathered here (its providers, their
ceilings, the limits, the disk); which of it is the reason is decided in core.waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from smsd.clock import Clock
from smsd.core.health import Standing
from smsd.core.message import Instant, Message
from smsd.core.waiting import Outlook, Waiting, explain
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits


@dataclass(frozen=True, slots=True)
class Seen:
    """A message and why it waits."""

    message: Message
    waiting: Waiting | None
    eta: Instant | None = None
    """When it will go, by the look ahead; None: nobody knows, or it was not asked: that is dear for many."""


class Explaining:
    """Looks at messages. `full`: whether the outbox has no room."""

    def __init__(self, lanes: Mapping[str, Lane], limits: Limits, clock: Clock, full: Callable[[], bool]) -> None:
        self._lanes = lanes
        self._limits = limits
        self._clock = clock
        self._full = full

    def see(self, message: Message) -> Seen:
        """The message as it is shown now."""
        now = self._clock.wall()
        names = [name for name in message.route.split(",") if name in self._lanes]
        carriers = {name: self._outlook(self._lanes[name], now) for name in names}
        blocks = self._limits.blocks_of(message.tenant, message.campaign)
        return Seen(message, explain(message, carriers, store_full=self._full(), now=now, blocks=blocks))

    def _outlook(self, lane: Lane, now: Instant) -> Outlook:
        boot = self._clock.boot()
        opens = lane.gate.opens_at()
        shared = lane.gate.shared
        by_account = shared is not None and opens > boot and shared.opens_at() == opens
        wait_ms = max(0, opens - boot) // 1_000
        standing = lane.standing()
        if standing is Standing.HALF_OPEN and lane.health.halted is not None:
            standing = Standing.HALTED  # that one call tries it does not make it anything else to who waits
        return Outlook(standing, lane.until(), lane.reason(), now + wait_ms, by_account)
