"""Which senders, and which pairs of sender and recipient, does a provider want to hear nothing from for a while?

A throttle that is about a sender or a pair rests them alone; the provider goes on. Kept in memory only: after a restart
one call each finds out anew. All times are boot time in microseconds.
"""

from __future__ import annotations

from typing import Final

MOST: Final = 10_000
"""Rests remembered; beyond them a tenth, those that end first, are forgotten, and one call each finds out anew."""


class Rests:
    """Of one provider."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until: dict[tuple[str, str | None], int] = {}

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

    def until(self, sender: str, recipient: str, now_us: int) -> int | None:
        """When this sender may text this recipient again; None: now."""
        if not self._until:
            return None
        latest = max(self._left(sender, None, now_us), self._left(sender, recipient, now_us))
        return latest if latest > now_us else None

    def _left(self, sender: str, recipient: str | None, now_us: int) -> int:
        until = self._until.get((sender, recipient), now_us)
        if until <= now_us:
            self._until.pop((sender, recipient), None)
        return until

    def clear(self) -> None:
        """An operator wants calls again."""
        self._until.clear()
