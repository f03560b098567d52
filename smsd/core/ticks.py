"""How fine is the clock of a look ahead, and when does it begin?

The schedule counts in ticks. They are a small part of the whole time looked at, so that what is held up or due late is
seldom put back and fed again, and they begin so that the first bar lets go just when a tick does. It refuses to know
what happens at any of them: that is `forecast`.
"""

from __future__ import annotations

from collections.abc import Generator

from smsd.core.scene import Scene

TICKS = 30_000
"""The virtual schedule's clock makes about as many steps until the end: fewer than its LOOKAHEAD_MS, so that what is
held up or due late is seldom put back and fed again."""

LEAST_US = 1_000


class Ticks:
    """Ticks of `unit` microseconds. Moments are boot time (us)."""

    def __init__(self, scene: Scene, unit: int) -> None:
        self._now_us = scene.now_us
        self._unit = unit
        self._zero = _zero_us(scene, unit)

    def during(self, at_us: int) -> int:
        """The tick in which that moment lies."""
        return (at_us - self._zero) // self._unit

    def of(self, at_us: int) -> int:
        """Rounded up: nothing is seen before its time."""
        return 0 if at_us <= self._now_us else -(-(at_us - self._zero) // self._unit)

    def moment(self, tick: int) -> int:
        """When it begins (us)."""
        return max(self._now_us, self._zero + tick * self._unit)


def unit_us(scene: Scene, share: float, ceilings_end: int) -> Generator[None, None, int]:
    """A tick in microseconds: a small part of what it takes at the very least. In pieces, for there may be very many
    lines. `share`: of the messages, those that are seen; `ceilings_end`: the scene's (us)."""
    ends: list[int] = []
    for group, count in scene.behind.items():
        ends.append(scene.bar_opens(group, max(1, round(count * share))))
        yield
    if share == 1:
        ends.append(ceilings_end)
        for line in scene.lines:
            ends.append(scene.line_ends(line))
            yield
    return max(LEAST_US, (scene.stretched(max(ends, default=0)) - scene.now_us) // TICKS)


def _zero_us(scene: Scene, unit: int) -> int:
    """When tick 0 begins: now or a little before, so that one begins just when the first bar lets go that holds up
    lines apart (else any): hours far ahead make a tick of half a minute, and the first start would be as late."""
    apart = {group for line in scene.lines if line.apart for group in line.groups if group in scene.bars}
    begins = [scene.bar_begins(group) for group in apart or scene.behind]
    first = min((begin for begin in begins if begin > scene.now_us), default=scene.now_us)
    return scene.now_us - (scene.now_us - first) % unit
