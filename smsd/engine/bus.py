"""Who wants to know that something happened?

Facts are published once, by the code that made them true and after it made them durable; sinks (log, counters, tests)
are called at once, in order, on the loop. A sink must be quick and must not raise: one that does is reported and the
rest are still called, because no observer may stop a message.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from smsd.core.events import Event, Kind
from smsd.core.message import Instant

Sink = Callable[[Event], None]

log = structlog.get_logger("smsd.bus")


class Bus:
    """Delivers each Event to every sink."""

    def __init__(self) -> None:
        self._sinks: tuple[Sink, ...] = ()

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Add a sink; call the result, once, to remove it."""
        self._sinks = (*self._sinks, sink)
        return lambda: self._remove(sink)

    def _remove(self, sink: Sink) -> None:
        left = list(self._sinks)
        left.remove(sink)
        self._sinks = tuple(left)

    def publish(self, kind: Kind, at: Instant, /, **fields: object) -> None:
        """Tell every sink."""
        event = Event(kind, at, fields)
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:
                log.exception("a sink failed", kind=kind)
