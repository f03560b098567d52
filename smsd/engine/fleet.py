"""Which providers are there, and how do they come, change and go?

The lanes of the enabled providers, by name in routing order, made at the start and changed by a reload. A lane that is
configured no more stays known: its calls in flight end and are settled, and if it comes back it remembers its ceiling.
A ceiling counts from what was really started: after a start from the outbox, after a change of the pace from what the
old pace saw and, further back, from the outbox. Providers of one account share one more ceiling, which counts the calls
of all of them: those of disabled ones too, and what one called before it left the account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from smsd.clock import Clock
from smsd.core.health import Health
from smsd.core.message import Instant
from smsd.core.pacing import Pace, Pacer
from smsd.engine.bus import Bus
from smsd.engine.ceilings import Past, Repacing, Shared, members_of
from smsd.engine.lane import Lane
from smsd.engine.setting import Setting
from smsd.providers.base import Provider
from smsd.store import Outbox, Records, Recovery

LONGEST_COOLDOWN_MS = 3_600_000
"""A kept cooldown that lies further ahead than this and the configured one was written by a clock that was wrong."""

LOOKUPS_PER_PROVIDER = 2
"""Uncertain messages of one provider that are asked about, or sent again by their key, at the same time."""


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
        self.accounts: dict[str, Shared] = {}
        """The ceilings that providers share, by account."""
        self._doubtful = False
        """Messages were uncertain at the start: some may just have been sent again by their key, unrecorded."""

    async def open(
        self,
        settings: Sequence[Setting],
        recovery: Recovery,
        accounts: Mapping[str, Pace],
        retired: Sequence[Setting] = (),
    ) -> None:
        """At start: make the lanes, with the health that was written down and the ceilings filled from the outbox.
        `retired`: disabled providers, whose calls count in their accounts."""
        self._kept = {health.name: health for health in recovery.providers}
        self._latest = recovery.latest
        self._unknown_before = recovery.unknown_before
        self._doubtful = recovery.next_uncertain is not None
        for setting in settings:
            self.lanes[setting.name] = self.known[setting.name] = await self._new(setting)
        configured = (*settings, *retired)
        for name, pace in accounts.items():
            members = members_of(configured, name)
            shared = self.accounts[name] = Shared(pace, members)
            for member in members:
                shared.past[member] = await self._past(member, shared.pacer)
            shared.fill(self.now())
            for setting in configured:
                if setting.name in members:
                    self._allow_for_doubt(setting.provider, shared.pacer)
        for lane in self.lanes.values():
            self._join(lane, lane.rules.account)
            await lane.trust()

    def _join(self, lane: Lane, account: str) -> None:
        """Let the lane charge its account's ceiling."""
        shared = self.accounts.get(account)
        lane.gate.share(None if shared is None else shared.line)
        lane.follow_rate()

    async def _new(self, setting: Setting) -> Lane:
        kept = self._kept.get(setting.name)
        health = self._known_health(setting, kept)
        lane = Lane(setting, health, self._outbox, self._bus, self._clock, self._changed)
        # With which credentials it is called from now on: that they were changed is seen by this later.
        lane.unwritten = health != kept
        await self._seed_from_outbox(lane)
        return lane

    def _allow_for_doubt(self, provider: Provider, pacer: Pacer) -> None:
        """What may have been sent again by its key just before the start, and not been recorded, counts."""
        if self._doubtful and provider.lookup == "key":
            for _ in range(LOOKUPS_PER_PROVIDER):
                pacer.force(self.now())

    def _known_health(self, setting: Setting, kept: Health | None) -> Health:
        """What was written down, unless credentials changed meanwhile or a wrong clock wrote it."""
        fingerprint = setting.fingerprint()
        now = self._clock.wall()
        health = (kept or Health(setting.name, fingerprint)).with_credentials(fingerprint, now).trusted_by(now)
        furthest = now + max(LONGEST_COOLDOWN_MS, setting.rules.cooldown_ms)
        if health.cooling_until is not None and health.cooling_until > furthest:
            health = replace(health, cooling_until=now + setting.rules.cooldown_ms)
        breaker = setting.rules.breaker
        probe_by = max(furthest, now + (0 if breaker is None else breaker.probe_every_ms))
        if health.probe_at is not None and health.probe_at > probe_by:
            health = replace(health, probe_at=now)
        return health if setting.rules.adaptive else health.unlearnt()

    async def _seed_from_outbox(self, lane: Lane) -> None:
        """The calls of earlier runs still count in every window; in doubt the window is taken as full."""
        past = await self._past(lane.name, lane.pacer)
        now = self._clock.boot()
        if past is None:
            lane.pacer.fill(now)
            return
        lane.pacer.seed(past, now - lane.pacer.window_max)
        self._allow_for_doubt(lane.provider, lane.pacer)

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

    async def prepare(
        self, settings: Sequence[Setting], accounts: Mapping[str, Pace], retired: Sequence[Setting] = ()
    ) -> Prepared:
        """Whatever has to be read before the lanes can become what `settings` say; apply it at once. Raises StoreError;
        nothing has changed then, in the outbox neither. `retired`: as in `open`."""
        prepared = Prepared(self, settings, accounts)
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
            for name, pace in accounts.items():
                await self._prepare_account(prepared, name, Shared(pace, members_of((*settings, *retired), name)))
        except BaseException:
            prepared.drop()
            raise
        return prepared

    async def _prepare_account(self, prepared: Prepared, name: str, shared: Shared) -> None:
        old = self.accounts.get(name)
        if old is not None and old.pacer.pace == shared.pacer.pace and old.members == shared.members:
            prepared.accounts[name] = old
            return
        if old is not None:
            shared.follow(old)
        known = {**self.known, **prepared.made}
        watched = {name: known[name] for name in shared.whose if name in known}
        prepared.watched += watched.values()
        shared.watch(watched)
        for member in shared.whose:
            shared.past[member] = await self._past(member, shared.pacer)
        prepared.accounts[name] = prepared.regrouped[name] = shared

    def become(self, settings: Sequence[Setting], made: Mapping[str, Lane]) -> list[str]:
        """The lanes are these from now on; the names of those that are gone."""
        gone = [name for name in self.lanes if name not in made]
        self.lanes.clear()
        self.lanes.update(made)
        self.known.update(made)
        for name in gone:
            self.known[name].gate.set_open(False)
        for lane in self.known.values():
            if lane.name not in made:
                self._join(lane, lane.rules.account)
        for setting in settings:
            self._join(made[setting.name], setting.rules.account)
            made[setting.name].change(setting)
        return gone

    def step_followed(self) -> None:
        """The wall clock was stepped, and what is due has followed it."""
        for lane in self.known.values():
            lane.step_followed()

    def now(self) -> int:
        """Boot time, us."""
        return self._clock.boot()


class Prepared:
    """A change of the fleet that only has to be applied. Between preparing and applying nothing may be awaited."""

    def __init__(self, fleet: Fleet, settings: Sequence[Setting], accounts: Mapping[str, Pace]) -> None:
        self._fleet = fleet
        self._settings = settings
        self.made: dict[str, Lane] = {}
        self.repacings: list[Repacing] = []
        self.accounts: dict[str, Shared] = {}
        self.regrouped: dict[str, Shared] = {}
        """Those of them whose pace or providers change."""
        self.watched: list[Lane] = []
        """Lanes whose calls those note, some of which may leave."""

    def apply(self) -> list[str]:
        """Let it count; the names of the providers that are gone."""
        self.drop()
        for repacing in self.repacings:
            repacing.finish(self._fleet.now())
        for shared in self.regrouped.values():
            shared.fill(self._fleet.now())
        self._fleet.accounts = self.accounts
        return self._fleet.become(self._settings, self.made)

    def drop(self) -> None:
        """The lanes need not note what begins any more."""
        for lane in (*self.made.values(), *self.watched):
            lane.calls.noted = None
