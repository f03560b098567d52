"""Which road is open in a look ahead, when may its next call begin, and whose turn is it?

The providers' lanes as virtual tickets meet them: their ceilings, scaled to what a ticket stands for; the cooldowns
that will end; and of roads that share an account's ceiling, the one that waits longest. It refuses to know what is
sent over them, and which groups are held up (`barring`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from smsd.core.health import Standing
from smsd.core.pacing import Pacer
from smsd.core.routing import choose
from smsd.core.scene import Scene

NO_LANE = ""


class Roads:
    """All roads of a scene. `scale` before anything is asked of their pace. Moments are boot time (us)."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._events = sorted(
            (scene.us(road.until), name)
            for name, road in scene.roads.items()
            if road.standing is Standing.COOLING and road.until is not None
        )
        self._standings = {name: road.standing for name, road in scene.roads.items()}
        self._until = {name: road.until for name, road in scene.roads.items()}
        self._ceilings: dict[str, tuple[Pacer, ...]] = {}

    def scale(self, wanted: Collection[str], each: float, most: int) -> None:
        """The ceilings of the roads that are wanted, as they bind virtual tickets: at `most` so many, of `each`
        messages."""
        scene = self._scene
        total = max(1, scene.waiting)
        segments = max(1.0, sum(line.segments * line.pending for line in scene.lines) / total)
        scaled: dict[int, Pacer] = {}
        for name, road in scene.roads.items():
            if name not in wanted:
                continue
            for pacer in road.ceilings:
                if id(pacer) not in scaled:
                    grain = each * (segments if pacer.unit == "segments" else 1)
                    scaled[id(pacer)] = pacer.scaled(grain, scene.road_begins(name), most)
            self._ceilings[name] = tuple(scaled[id(pacer)] for pacer in road.ceilings)
            for _ in range(min(road.claimed, most) if each == 1 else 0):
                self.charge(name, self.opens_at(name, scene.now_us))
        uses = [id(pacer) for name in self._ceilings for pacer in scene.roads[name].ceilings]
        shared = {id(scaled[key]) for key in scaled if uses.count(key) > 1}
        self._own = {name: tuple(p for p in pacers if id(p) not in shared) for name, pacers in self._ceilings.items()}
        self._account = {
            name: next((id(p) for p in pacers if id(p) in shared), None) for name, pacers in self._ceilings.items()
        }
        self._wishes: dict[int, dict[str, None]] = {key: {} for key in shared}
        """Roads of an account that could use its next start, the one that waits longest first."""

    @property
    def names(self) -> Collection[str]:
        """Those that are wanted."""
        return self._ceilings.keys()

    def is_open(self, name: str) -> bool:
        """Whether calls begin there, however fast."""
        return self._standings[name] is Standing.OPEN

    def lane_of(self, route: str, now_us: int) -> str:
        """Where what has this route goes now; NO_LANE: nowhere."""
        names = [name for name in route.split(",") if name in self._standings]
        standings = {name: self._standings[name] for name in names}
        at = self._scene.now + (now_us - self._scene.now_us) // 1_000
        return choose(standings, self._until, at, self._scene.failover_after_ms) or NO_LANE

    # -- pace --------------------------------------------------------------------------------------------------------

    def opens_at(self, name: str, now_us: int) -> int:
        """When the next call may begin there."""
        return max([now_us, *(pacer.opens_at() for pacer in self._ceilings[name])])

    def room(self, name: str, now_us: int, claims: int) -> int:
        """How many may be claimed now: `claims`, a few ahead of their time, as the dispatcher does. Roads of an account
        take turns."""
        account = self._account[name]
        if any(pacer.opens_at() > now_us for pacer in self._own[name]):
            return 0
        if account is None:
            return claims
        wishes = self._wishes[account]
        first = next(iter(wishes), name)
        if first != name or self.opens_at(name, now_us) > now_us:
            wishes.setdefault(name)
            return 0
        wishes.pop(name, None)
        return 1

    def forget_turns(self) -> None:
        """Nothing went: whoever came first cannot use its turn now."""
        for wishes in self._wishes.values():
            wishes.clear()

    def charge(self, name: str, at_us: int) -> None:
        """A call begins there."""
        for pacer in self._ceilings[name]:
            pacer.force(at_us)

    # -- cooldowns ---------------------------------------------------------------------------------------------------

    @property
    def next_end(self) -> int | None:
        """When the next cooldown ends; None: there is none."""
        return self._events[0][0] if self._events else None

    def reopened(self, now_us: int) -> Iterator[str]:
        """Roads whose cooldown is over by then, in order; each is open from when it is given out."""
        while self._events and self._events[0][0] <= now_us:
            name = self._events.pop(0)[1]
            self._standings[name] = Standing.OPEN
            yield name
