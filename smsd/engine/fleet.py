"""Which providers are there, and how do they come, change and go?

The lanes of the enabled providers, by name in routing order, made at the start and changed by a reload. A lane that is
configured no more stays known: its calls in flight end and are settled, and if it comes back it remembers its ceiling.
A ceiling counts from what was really started: after a start from the outbox, after a change of the pace from what the
old pace saw and, further back, from the outbox.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from smsd.clock import Clock
from smsd.core.health import Health
from smsd.core.message import Instant
from smsd.core.pacing import Pacer
from smsd.engine.bus import Bus
from smsd.engine.lane import Lane, Setting
from smsd.store import Outbox, Records, Recovery

LONGEST_COOLDOWN_MS = 3_600_000
"""A kept cooldown that lies further ahead than this and the configured one was written by a clock that was wrong."""

Past = tuple[int, int]
"""A start: boot time in microseconds, cost."""


class Fleet:
    """The lanes."""

    def __init__(
        self, outbox: Outbox, records: Records, bus: Bus, clock: Clock, changed: Callable[[Lane], None]
    ) -> None:
        self._outbox = outbox
        self._records = records
        self._bus = bus
        self._clock = clock
        self._changed = changed
        self._kept: Mapping[str, Health] = {}
        self._latest: Instant | None = None
        self._unknown_before: Instant | None = None
        """What was called before this time nobody can tell: a backup was restored."""
        self.lanes: dict[str, Lane] = {}
        """The enabled ones; the same mapping for the fleet's life."""
        self.known: dict[str, Lane] = {}
        """Those and all that were enabled since the start; bounded by the names ever configured."""

    async def open(self, settings: Sequence[Setting], recovery: Recovery) -> None:
        """At start: make the lanes, with the health that was written down and the ceilings filled from the outbox."""
        self._kept = {health.name: health for health in recovery.providers}
        self._latest = recovery.latest
        self._unknown_before = recovery.unknown_before
        for setting in settings:
            self.lanes[setting.name] = self.known[setting.name] = await self._new(setting)

    async def _new(self, setting: Setting) -> Lane:
        health = self._known_health(setting, self._kept.get(setting.name))
        lane = Lane(setting, health, self._outbox, self._bus, self._clock, self._changed)
        await self._seed_from_outbox(lane)
        return lane

    def _known_health(self, setting: Setting, kept: Health | None) -> Health:
        """What was written down, unless credentials changed meanwhile or a wrong clock wrote it."""
        fingerprint = setting.provider.fingerprint()
        health = (kept or Health(setting.name, fingerprint)).with_credentials(fingerprint)
        now = self._clock.wall()
        furthest = now + max(LONGEST_COOLDOWN_MS, setting.rules.cooldown_ms)
        if health.cooling_until is not None and health.cooling_until > furthest:
            health = replace(health, cooling_until=now + setting.rules.cooldown_ms)
        return health

    async def _seed_from_outbox(self, lane: Lane) -> None:
        """The calls of earlier runs still count in every window; in doubt the window is taken as full."""
        past = await self._past(lane.name, lane.pacer)
        if past is None:
            lane.pacer.fill(self._clock.boot())
        else:
            lane.pacer.seed(past, self._clock.boot() - lane.pacer.window_max)

    async def _past(self, name: str, pacer: Pacer) -> list[Past] | None:
        """What the outbox knows of the starts that still count for `pacer`, oldest first; None: nobody can tell."""
        wall, boot = self._clock.wall(), self._clock.boot()
        span_ms = -(-pacer.window_max // 1_000)
        if not span_ms:
            return []
        since = min(wall, self._latest or wall) - span_ms
        if self._unknown_before is not None and self._unknown_before > since:
            return None
        # One more than counts, so that the pace knows when there is something it does not remember.
        starts = await self._records.starts(name, since, boot - pacer.window_max, pacer.capacity + 1)
        stepped_back = self._latest is not None and wall < self._latest
        if stepped_back and any(start.boot is None for start in starts):
            return None
        return sorted(
            (
                start.boot if start.boot is not None else boot - max(0, wall - start.wall) * 1_000,
                pacer.cost(start.segments),
            )
            for start in starts
        )

    # -- reload ------------------------------------------------------------------------------------------------------

    async def prepare(self, settings: Sequence[Setting]) -> Prepared:
        """Whatever has to be read before the lanes can become what `settings` say; apply it at once. Raises StoreError;
        nothing has changed then."""
        prepared = Prepared(self, settings)
        try:
            for setting in settings:
                lane = self.known.get(setting.name)
                if lane is None:
                    prepared.made[setting.name] = await self._new(setting)
                    continue
                prepared.made[setting.name] = lane
                if setting.rules.pace != lane.rules.pace:
                    repacing = Repacing(lane, setting)
                    prepared.repacings.append(repacing)
                    repacing.past = await self._past(lane.name, repacing.pacer)
        except BaseException:
            prepared.drop()
            raise
        return prepared

    def become(self, settings: Sequence[Setting], made: Mapping[str, Lane]) -> list[str]:
        """The lanes are these from now on; the names of those that are gone."""
        gone = [name for name in self.lanes if name not in made]
        self.lanes.clear()
        self.lanes.update(made)
        self.known.update(made)
        for name in gone:
            self.known[name].gate.set_open(False)
        for setting in settings:
            made[setting.name].change(setting)
        return gone

    def now(self) -> int:
        """Boot time, us."""
        return self._clock.boot()


class Prepared:
    """A change of the fleet that only has to be applied. Between preparing and applying nothing may be awaited."""

    def __init__(self, fleet: Fleet, settings: Sequence[Setting]) -> None:
        self._fleet = fleet
        self._settings = settings
        self.made: dict[str, Lane] = {}
        self.repacings: list[Repacing] = []

    def apply(self) -> list[str]:
        """Let it count; the names of the providers that are gone."""
        self.drop()
        for repacing in self.repacings:
            repacing.finish(self._fleet.now())
        return self._fleet.become(self._settings, self.made)

    def drop(self) -> None:
        """The lanes need not note what begins any more."""
        for repacing in self.repacings:
            repacing.stop_noting()


class Repacing:
    """One lane's change of pace: every start that counts in the new pace must be in it.

    While both paces count the same unit, the old one remembers what was started lately; further back the outbox knows,
    and the lane knows the calls that are still open. When the unit changes, what was remembered means nothing: all is
    taken from the outbox, from the open calls, and from those that begin while the outbox is read.
    """

    def __init__(self, lane: Lane, setting: Setting) -> None:
        self.pacer = Pacer(setting.rules.pace)
        self.past: list[Past] | None = []
        """What the outbox knows."""
        self.lane = lane
        self._same_unit = setting.rules.pace.unit == lane.pacer.unit and lane.pacer.capacity > 0
        self._before, self._edge = lane.pacer.history()
        self._open = lane.open_calls()
        self._noted: list[Past] = []
        lane.noted = self._noted

    def stop_noting(self) -> None:
        """The outbox has been read, or will not be."""
        self.lane.noted = None

    def finish(self, now: int) -> None:
        """Let the new pace count."""
        if self.past is None:
            self.pacer.fill(now)
            self.lane.gate.change(self.pacer)
            return
        old = self.lane.pacer
        if old.filled_at > now - self.pacer.window_max:
            self.pacer.fill(old.filled_at)
        past = self._remembered(old) if self._same_unit else self._known(self.past)
        self.pacer.seed(sorted(past), now - self.pacer.window_max)
        self.lane.gate.change(self.pacer)

    def _remembered(self, old: Pacer) -> list[Past]:
        """By the old pace, and further back by the outbox and the calls that are open."""
        lately, edge = old.history()
        since = [(at, 1) for at in self._before if at <= edge] + [(at, 1) for at in lately]
        further = [past for past in self.past or () if past[0] <= self._edge]
        return further + [past for past in self._costs(self._open) if past[0] <= self._edge] + since

    def _known(self, past: list[Past]) -> list[Past]:
        """By the outbox and the calls themselves; one that was settled meanwhile may count twice."""
        return past + self._costs(self._open) + self._costs(self._noted)

    def _costs(self, calls: list[Past]) -> list[Past]:
        return [(at, self.pacer.cost(segments)) for at, segments in calls]
