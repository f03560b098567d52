"""Which events has a program seen, what does it ask for next, and when again after a failure?

The state of one `events()`, for both clients: requests out, answers and failures in. It asks for long (the daemon
answers when something has happened), and goes on after the last event seen, over restarts and lost connections. Time
and connections are not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from smsd.client.errors import LimitExceeded, QueueUnavailable, SmsdError
from smsd.client.words import Document, Documents, given

LOST: Final[Mapping[str, Any]] = {"event": "stream.lost"}
"""Stands among the events where some may be missing."""

POLL_S: Final = 20.0
"""Seconds for which the daemon holds its answer back when nothing happens; proxies close silent connections later."""

_SHORTEST_S: Final = 0.1
_LONGEST_S: Final = 5.0
"""Seconds between two tries while the daemon is away: twice as long each time."""


class Following:
    """What one reader of events knows. `after`: an event's id, or None to begin now."""

    def __init__(self, after: str | None, kinds: str | None) -> None:
        self._after = after
        self._kinds = kinds
        self._answered = False
        self._pause_s = _SHORTEST_S

    @property
    def wait_s(self) -> float:
        """Seconds for which the answer to the next request may be held back."""
        return 0.0 if self._after is None else POLL_S

    def request(self) -> Document:
        """The next one. Without an id the first only asks where `now` is, so that a loss after it misses nothing."""
        wait = f"{POLL_S:g}s" if self.wait_s else None
        return given("events", after=self._after, kinds=self._kinds, wait=wait)

    def take(self, answer: Document) -> Documents:
        """What its answer brought."""
        self._after, self._answered, self._pause_s = answer["last"], True, _SHORTEST_S
        events: Documents = answer["events"]
        return [dict(LOST), *events] if answer["lost"] else events

    def failed(self, error: SmsdError) -> float:
        """Seconds to rest before the next request. Raises `error` when the daemon never answered, or time mends
        nothing."""
        if not self._answered or not isinstance(error, QueueUnavailable | LimitExceeded):
            raise error
        pause, self._pause_s = self._pause_s, min(_LONGEST_S, self._pause_s * 2)
        return max(pause, min(error.retry_after or 0.0, _LONGEST_S))
