"""Which limits and hours hold a virtual ticket up, and until when?

Limits on tenants and campaigns (bars) as a look ahead meets them: scaled to what a ticket stands for, charged when one
starts. A ticket stands for messages that go before it, so hours that open or close cut it in two: that is accounted for
here. What holds a group up is handed to `block`; it refuses to know the roads' own pace (`roads`) and the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from smsd.core.course import Stream
from smsd.core.pacing import Pacer
from smsd.core.scene import Scene
from smsd.core.ticks import Ticks


class Barring:
    """The bars of a scene. Moments are boot time (us)."""

    def __init__(
        self,
        scene: Scene,
        ticks: Ticks,
        loads: Mapping[str, tuple[int, int]],
        block: Callable[[str, int], None],
    ) -> None:
        """`loads`: messages and tickets behind each group's bar; `block`: a group is held up until that moment."""
        self._scene = scene
        self._ticks = ticks
        self._block = block
        self._bars: dict[str, tuple[tuple[Pacer, float], ...]] = {}
        self._refused: dict[str, int] = {}
        """When the group is let go that was blocked last (us)."""
        self._opened: dict[str, tuple[int, int]] = {}
        """When its hours opened last, and how much of the ticket that came too late had gone before (us)."""
        for group, (messages, tickets) in loads.items():
            begin = scene.bar_begins(group)
            if begin > scene.now_us:
                block(group, begin)
                self._opened[group] = (begin, 0)
            each = messages / tickets
            windows = scene.bars[group].windows
            self._bars[group] = tuple(
                (pacer.scaled(each / grain, begin, tickets), _share(pacer.capacity * grain, each))
                for pacer, grain in windows
            )

    def opens(self, stream: Stream, lane: str, at: int) -> dict[str, int]:
        """By group of the stream: when it lets the ticket go that would start at `at`."""
        return {group: max(self._lets_go(group), self._hours_open(group, stream, lane, at)) for group in stream.groups}

    def hold_up(self, group: str, until: int) -> None:
        """Nothing of the group goes until then."""
        self._refused[group] = until
        self._block(group, until)

    def charge(self, stream: Stream, opens: Mapping[str, int], at: int) -> None:
        """A ticket starts; `opens`: as it was told for it."""
        for group in stream.groups:
            # A window that has opened stays unused until the lane has a turn for it: the first of its messages waits
            # for that, not all that the tickets in it stand for. To wait for a tick is nobody's lot.
            waits = self._refused.get(group) == opens[group]
            waited = max(0, at - self._ticks.moment(self._ticks.of(opens[group])))
            for pacer, share in self._bars[group]:
                pacer.force(opens[group] + round(waited * share) if waits else at)
            following = self._lets_go(group)
            if following > at:
                self.hold_up(group, following)

    def _lets_go(self, group: str) -> int:
        return max((pacer.opens_at() for pacer, _ in self._bars[group]), default=self._scene.now_us)

    # -- hours -------------------------------------------------------------------------------------------------------

    def after_hours(self, stream: Stream, lane: str, at: int) -> int:
        """Nothing of a ticket goes while hours are closed: its last message goes so much after they have opened, or as
        much earlier as some had gone before."""
        for group in stream.groups:
            if group in self._opened:
                opened, gone = self._opened[group]
                at = max(at, opened + max(0, self._ahead(stream, lane) - gone))
        return at

    def _ahead(self, stream: Stream, lane: str) -> int:
        """How long before its last message the first of a ticket goes (us)."""
        rates = [rate for pacer in self._scene.roads[lane].ceilings if (rate := pacer.rate_per_minute()) is not None]
        return round((stream.bunch.each - 1) * 60e6 / min(rates)) if rates else 0

    def _hours_open(self, group: str, stream: Stream, lane: str, at: int) -> int:
        """When the group's hours open again that are closed at `at`; 0: they are open."""
        opens = self._scene.open_from(group, at)
        if opens == at:
            return 0
        begin = at - self._ahead(stream, lane)
        first, last = max(begin, self._opened.get(group, (0, 0))[0]), at
        while last - first > 1_000:
            middle = (first + last) // 2
            first, last = (middle, last) if self._scene.open_from(group, middle) == middle else (first, middle)
        self._opened[group] = (opens, max(0, first - begin))
        return opens


def _share(count: float, each: float) -> float:
    """Of the messages that a window holds, those that begin a ticket; `each` messages are one."""
    return min(1.0, max(1, round(count / each)) / count)
