"""What does the daemon say about itself, and how can saying it never cost a message?

One line per fact, in one of three forms: coloured text on a terminal, native datagrams to the systemd journal when
standard error is connected to it, JSON otherwise. All lines, those of the daemon (structlog), of its events (EventLog)
and of its libraries (logging), pass one place that removes texts and secrets and masks phone numbers. It refuses to
know what happened; it is told.

    speakers    who says it: events, program lines, libraries
    manner      how: level, form, masking, target; the one thing that `Logs.change` replaces
    redaction   what may be said
    render      in what form it is written
    outlet      the queue and the thread, so that nobody waits
    targets     where it goes: a file descriptor, the journal
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from smsd.clock import Clock
from smsd.logs.manner import Place, Voice
from smsd.logs.outlet import Outlet
from smsd.logs.speakers import EventLog, Libraries, connect_structlog
from smsd.logs.targets import JOURNAL_SOCKET, Target

__all__ = ["Logs", "start"]


class Logs:
    """The running log. `events` is the bus subscriber; program lines come by structlog, library lines by logging."""

    def __init__(self, place: Place, voice: Voice, outlet: Outlet, events: EventLog, libraries: Libraries) -> None:
        self._place = place
        self._voice = voice
        self._outlet = outlet
        self.events = events
        self._libraries = libraries

    @property
    def form(self) -> str:
        """console | json | journal"""
        return self._voice.manner.form

    @property
    def dropped(self) -> int:
        """Lines that were not written since the start."""
        return self._outlet.dropped

    def change(self, *, level: str, form: str, redact: bool) -> None:
        """Speak differently from the next line on; the values are those of `start`.

        Lines that wait to be written stay as they are. KeyError for a level that does not exist, before anything
        changed.
        """
        manner = self._place.manner(level, form, redact=redact)
        self._voice.manner = manner
        self._libraries.listen(manner)

    def close(self, patience_s: float = 2.0) -> None:
        """Write what is queued (at most `patience_s` seconds) and give logging back; later lines are dropped."""
        self._libraries.detach()
        self._outlet.close(patience_s)


def start(
    clock: Clock,
    *,
    level: str = "info",
    form: str = "auto",
    redact: bool = True,
    fd: int = 2,
    environ: Mapping[str, str] = os.environ,
    journal: str = JOURNAL_SOCKET,
) -> Logs:
    """Set structlog and logging up to write to `fd` (or the journal behind it).

    `level`: debug | info | warning | error | critical; `form`: auto | console | json; `redact` false shows whole
    numbers, never texts or secrets. One log per process; `close` it last.
    """
    place = Place(fd, environ, journal)
    voice = Voice(place.manner(level, form, redact=redact))

    def report(count: int) -> tuple[Target, bytes]:
        return voice.manner.line("warning", clock.wall(), "log.dropped", {"lines": count})

    outlet = Outlet(place.targets, report)
    connect_structlog(outlet.put, clock, voice)
    libraries = Libraries(outlet.put, clock, voice)
    libraries.attach()
    return Logs(place, voice, outlet, EventLog(outlet.put, voice), libraries)
