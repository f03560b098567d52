"""What do the starts that were seen in a look ahead say of the backlog, of a line, of one message?

A start is that of a virtual ticket, which stands for many messages: here each message finds its place among them. What
was not seen, or never goes by itself, is not known. It refuses to know how the starts came about: that is `forecast`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from smsd.core.course import LAST, Course, Stream
from smsd.core.message import Instant
from smsd.core.scene import Scene
from smsd.core.ticks import Ticks


class Seen:
    """Streams, each with the times of its starts, which others add to."""

    def __init__(self, scene: Scene, ticks: Ticks, ceilings_end: int) -> None:
        self._scene = scene
        self._ticks = ticks
        self._ceilings_end = ceilings_end
        self._streams: list[Stream] = []
        self._place: dict[int, tuple[Stream, int]] = {}
        """By flow: its stream, and how many of that go before the flow's first."""

    def add(self, stream: Stream) -> None:
        """One more is looked at."""
        self._streams.append(stream)
        for line, end in zip(stream.bunch.lines, stream.bunch.ends, strict=True):
            self._place[line.flow] = (stream, end - line.pending)

    def backlog(self) -> Instant | None:
        """See Forecast.backlog."""
        if not self._streams or any(len(stream.times) < stream.bunch.tickets for stream in self._streams):
            return None
        ends = [self._ceilings_end, *(stream.times[-1] for stream in self._streams)]
        ends += [self._scene.us(line.dues[-1]) for line in self._scene.lines]
        ends += [self._scene.bar_opens(group, count) for group, count in self._scene.behind.items()]
        return self._scene.instant(max(ends))

    def knows(self, flow: int) -> bool:
        """See Forecast.knows."""
        return flow in self._place

    def course(self, flow: int) -> Course | None:
        """See Forecast.course."""
        found = self._place.get(flow)
        if found is None:
            return None
        stream, _ = found
        due = max(self._scene.now_us, self._scene.us(stream.bunch.lines[0].dues[0]))
        begin = max([due, *(self._scene.bar_begins(group) for group in stream.groups)])
        return Course(stream.times, stream.bunch.each, begin, len(stream.times) == stream.bunch.tickets)

    def goes(self, flow: int, place: int, due: Instant | None, now: Instant | None) -> Instant | None:
        """See Forecast.goes."""
        found = self._place.get(flow)
        if found is None:
            return None
        stream, before = found
        gone = 0 if now is None else bisect_left(stream.times, self._scene.us(now))
        line = next(each for each in stream.bunch.lines if each.flow == flow)
        at = gone + (before + min(place, line.pending - 1) + 1) / stream.bunch.each - 1
        at = min(at, stream.bunch.tickets - 1)
        if due is not None:
            # Nothing goes before it that is due later, however the places have moved meanwhile.
            tick = self._ticks.of(self._scene.us(due))
            latest = bisect_right(stream.keys, (tick, LAST)) - (stream.bunch.each == 1)
            if stream.whole or latest < len(stream.keys):
                at = min(at, max(0, latest))
        ticket, last = max(0, int(at)), len(stream.times) - 1
        if at > last:
            return None
        if at < 0:
            ends = [self._in_the_first(stream, at)]
        else:
            following = stream.times[min(ticket + 1, last)]
            ends = [stream.times[ticket] + round((at - ticket) * (following - stream.times[ticket]))]
        ends += [self._scene.bar_opens(group, place + 1) for group in line.groups if group in self._scene.bars]
        return self._scene.instant(max(ends))

    def _in_the_first(self, stream: Stream, at: float) -> int:
        """Of a ticket's messages the first goes at once, as it were, and the last with the ticket."""
        begin = min(stream.times[0], max(self._scene.now_us, self._scene.us(stream.bunch.lines[0].dues[0])))
        return begin + round((at + 1) * (stream.times[0] - begin))
