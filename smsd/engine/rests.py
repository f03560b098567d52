"""Which senders, and which pairs of sender and recipient, does a provider want to hear nothing from for a while?

A throttle that is about a sender or a pair rests them alone; the provider goes on. Kept in memory only: after a restart
one call each finds out anew. All times are boot time in microseconds.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 10_000
"""Rests remembered; beyond them a tenth, those that end first, are forgotten, and one call each finds out anew."""


SPACING_US: Final = 50_000
LONGEST_TURN_US: Final = 300_000_000


class Rests:
    """Of one provider."""

    __slots__ = ("_held", "_until")

    def __init__(self) -> None:
        self._until: dict[tuple[str, str | None], int] = {}
        self._held: dict[str, int] = {}
        """By sender: how many messages were held back in its present rest."""

    def __len__(self) -> int:
        return len(self._until)

    def add(self, sender: str, recipient: str | None, until_us: int, now_us: int) -> None:
        """The sender (recipient None: whoever it texts) rests until then; never shorter than it does already."""
        key = (sender, recipient)
        self._until[key] = max(until_us, self._until.get(key, until_us))
        if len(self._until) > MOST:
            self._until = {each: until for each, until in self._until.items() if until > now_us}
        if len(self._until) > MOST:
            latest = sorted(self._until.items(), key=lambda item: item[1])[MOST // 10 :]
            self._until = dict(latest)

    def turn_us(self, sender: str) -> int:
        """How long after the end of its rest the next message that is held back for this sender may try: one after the
        other, in the order in which they are held back, for it may turn out to be too fast still."""
        held = self._held[sender] = self._held.get(sender, -1) + 1
        return min(held * SPACING_US, LONGEST_TURN_US)

    def until(self, sender: str, recipient: str, now_us: int) -> int | None:
        """When this sender may text this recipient again; None: now."""
        if not self._until:
            return None
        latest = max(self._left(sender, None, now_us), self._left(sender, recipient, now_us))
        return latest if latest > now_us else None

    def _left(self, sender: str, recipient: str | None, now_us: int) -> int:
        until = self._until.get((sender, recipient), now_us)
        if until <= now_us and self._until.pop((sender, recipient), None) is not None:
            self._held.pop(sender, None)
        return until

    def clear(self) -> None:
        """An operator wants calls again."""
        self._until.clear()
        self._held.clear()
