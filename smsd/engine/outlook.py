"""When will the backlog be gone, and when does this message go, as the daemon stands now?

The look ahead itself is `core.forecast`, which runs the very schedule and pacers that decide; how things are it is told
by `terrain`. One look serves everybody who asks within a second, and is taken in small pieces, so that nothing else
waits for it. Where something is not known there is no answer.

An answer is the earliest time. It knows nothing of calls that will fail and be tried again, and nothing of `max_wait`.
Limits on one recipient or user count for a message that is asked about: what was charged to them, and not what waits
for the same person before it. Of all others, and of limits on senders, it knows the turns that they have been given:
a message is given its turn, and its time, when it is first refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from smsd.clock import Clock
from smsd.core.admission import bound
from smsd.core.bunches import Line
from smsd.core.forecast import Forecast
from smsd.core.health import Standing
from smsd.core.limits import Action, Per, Subject
from smsd.core.message import Instant, Message, State
from smsd.core.scene import Scene
from smsd.core.schedule import Schedule
from smsd.engine.feeder import Feeder
from smsd.engine.lane import Lane
from smsd.engine.limits import Limits
from smsd.engine.meters import Meters
from smsd.engine.terrain import Surveyor, moments
from smsd.store import Records

KEPT_US = 1_000_000
"""How long one look ahead serves."""

RENEWED_US = 250_000
"""How old it is at least when it is taken anew for one who is not in it."""

PERSONAL = frozenset({Per.RECIPIENT, Per.USER})
"""Limits that hold single messages up, and of which few charges tell when there is room."""

STEPS = 25
"""Of a look ahead at a time, about 2 ms."""


@dataclass(slots=True)
class _Look:
    """What was seen at one moment."""

    at_us: int
    scene: Scene
    overall: Forecast
    end: Instant | None
    """What is due later was left out; None: nothing is."""
    last: Instant | None
    """When the last of what was left out is due."""
    whole: Scene
    """All that waits, with what was left out."""
    near: Forecast | None = None
    """The first starts, message by message; the same as `overall` when few wait."""


class Lookout:
    """Answers by forecasts. Raises StoreError when the outbox cannot be read."""

    def __init__(
        self,
        records: Records,
        lanes: Mapping[str, Lane],
        schedule: Schedule,
        feeder: Feeder,
        limits: Limits,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self._records = records
        self._lanes = lanes
        self._clock = clock
        self._limits = limits
        self.surveyor = Surveyor(records, lanes, schedule, feeder, limits, meters, clock)
        self._look: _Look | None = None
        self._looking = asyncio.Lock()

    async def backlog_eta(self) -> Instant | None:
        """When the last of what waits now will go; None: nothing waits, or nobody knows."""
        look = await self._ahead(KEPT_US)
        found = look.overall.backlog()
        return found if found is None or look.last is None else max(found, look.last)

    async def message_eta(self, message: Message) -> Instant | None:
        """When this message will go; None: it is not pending, or nobody knows."""
        if message.state is not State.PENDING:
            return None
        found = await self._in_its_line(message)
        return None if found is None else max(found, await self._own_turn(message))

    async def _own_turn(self, message: Message) -> Instant:
        """When the limits on its recipient and user have room for it, by what was charged to them. Once it was called
        it is charged no more."""
        now, now_us = self._clock.wall(), self._clock.boot()
        if message.attempt or message.round:
            return now
        rules = [rule for rule in self._limits.rules if rule.action is Action.DEFER and rule.per in PERSONAL]
        whose = Subject(message.recipient, message.tenant, message.user, message.campaign, None, message.text)
        turns = [now]
        for rule, key in bound(rules, whose):
            made = moments(await self._records.charged(key, rule.count, 1), now, now_us)
            if len(made) == rule.count:
                turns.append(now - (now_us - made[0] - rule.span_ms * 1_000) // 1_000)
        return max(turns)

    async def _in_its_line(self, message: Message) -> Instant | None:
        """As `message_eta`, by what holds up everybody."""
        look = await self._ahead(KEPT_US)
        if look.end is not None and message.due > look.end:
            return message.due if self._is_open(message.route) else None
        if not look.overall.knows(message.flow):
            look = await self._ahead(RENEWED_US)
        place = await self._records.place(message.flow, message.due, message.seq)
        now = self._clock.wall()
        found = (await self._near(look)).goes(message.flow, place, message.due, now)
        if found is None:
            found = look.overall.goes(message.flow, place, message.due, now)
        return None if found is None else max(found, message.due, now)

    async def campaign_eta(self, tenant: str, campaign: str) -> Instant | None:
        """When the last of a campaign's messages that wait will go; None: none waits, or nobody knows."""
        look = await self._ahead(KEPT_US)
        lines = _lines(look, tenant, campaign)
        if not lines:
            look = await self._ahead(RENEWED_US)
            lines = _lines(look, tenant, campaign)
        ends = [self._end(look, line) for line in lines]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None

    def _end(self, look: _Look, line: Line) -> Instant | None:
        """When the last of a line goes."""
        last = line.dues[-1]
        if look.end is not None and last > look.end:
            return last if self._is_open(line.route) else None
        found = look.overall.goes(line.flow, line.pending - 1)
        return None if found is None else max(found, last)

    # -- looking -----------------------------------------------------------------------------------------------------

    async def _ahead(self, kept_us: int) -> _Look:
        """One that is not older than that."""
        async with self._looking:
            look = self._look
            if look is None or self._clock.boot() - look.at_us >= kept_us:
                whole = await self._scene()
                scene, end = whole.cut()
                last = None if end is None else max(line.dues[-1] for line in whole.lines)
                look = self._look = _Look(scene.now_us, scene, await looked(Forecast(scene)), end, last, whole)
            return look

    def _is_open(self, route: str) -> bool:
        """Whether a provider of the route is called, or will be again by itself."""
        lanes = [self._lanes[name] for name in route.split(",") if name in self._lanes]
        return any(lane.standing() in {Standing.OPEN, Standing.COOLING} for lane in lanes)

    async def _near(self, look: _Look) -> Forecast:
        async with self._looking:
            if look.near is None:
                look.near = look.overall if look.overall.each == 1 else await looked(Forecast(look.scene, near=True))
            return look.near

    async def _scene(self) -> Scene:
        return (await self.surveyor.survey()).scene()


def _lines(look: _Look, tenant: str, campaign: str) -> list[Line]:
    return [line for line in look.whole.lines if line.tenant == tenant and line.campaign == campaign]


async def looked(forecast: Forecast) -> Forecast:
    """In small pieces: the loop has other things to do."""
    while True:
        if forecast.advance(STEPS):
            return forecast
        await asyncio.sleep(0)
