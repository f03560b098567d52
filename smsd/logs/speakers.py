"""Who says something, and how does it become a line?

Three kinds of speakers: the daemon's events (EventLog, a subscriber of the bus), the daemon's program lines (structlog)
and its libraries (logging). Each makes what it says safe, renders it in the manner of the moment and puts it into the
outlet. Nothing here raises to the caller.

An event costs about 3 us: it does not pass structlog's chain, which costs as much again and would add nothing, because
an event's time, level and fields are complete.

structlog decides levels by the class of a logger, and a logger that was bound keeps its class for ever. So its class
lets all levels pass, and the first step of its chain asks the manner: a change reaches every logger there is.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

import structlog

from smsd.clock import Clock
from smsd.core.events import Event, Kind
from smsd.logs.manner import RANKS, Manner, Voice
from smsd.logs.redaction import without_credentials
from smsd.logs.targets import Target

Put = Callable[[Target, bytes], None]

_NAMES: Final[Mapping[Kind, str]] = {kind: kind.value for kind in Kind}


class EventLog:
    """Writes each Event; subscribe it to the bus. Kinds below the level are skipped."""

    def __init__(self, put: Put, voice: Voice) -> None:
        self._put = put
        self._voice = voice

    def __call__(self, event: Event) -> None:
        manner = self._voice.manner
        level = manner.kinds.get(event.kind)
        if level is not None:
            safe = manner.redaction.fields(event.fields)
            self._put(*manner.line(level, event.at, _NAMES[event.kind], safe))


# -- the daemon's own lines


class _Mouth:
    """What structlog hands finished lines to."""

    def __init__(self, put: Put, name: str) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = put


class _Chain:
    """structlog's chain: skip what is below the level; make a line of what was said."""

    def __init__(self, clock: Clock, voice: Voice) -> None:
        self._clock = clock
        self._voice = voice

    def admit(self, logger: _Mouth, method: str, said: MutableMapping[str, object]) -> MutableMapping[str, object]:
        """The first step."""
        if RANKS.get(method, logging.ERROR) < self._voice.manner.rank:
            raise structlog.DropEvent
        return said

    def finish(
        self, logger: _Mouth, method: str, said: MutableMapping[str, object]
    ) -> tuple[tuple[Target, bytes], dict[str, object]]:
        """The last step: the arguments of the mouth."""
        manner = self._voice.manner
        level = "error" if method == "exception" else method
        event = without_credentials(str(said.pop("event", "")))
        about = _exception_text(said.pop("exc_info", None))
        fields = manner.redaction.fields(said)
        if logger.name:
            fields["logger"] = logger.name
        if about:
            fields["exception"] = without_credentials(about)
        return manner.line(level, self._clock.wall(), event, fields), {}


def connect_structlog(put: Put, clock: Clock, voice: Voice) -> None:
    """From now on structlog's loggers speak here, those included that modules obtained before."""
    chain = _Chain(clock, voice)
    structlog.configure(
        processors=[chain.admit, structlog.contextvars.merge_contextvars, chain.finish],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *names: _Mouth(put, names[0] if names else ""),
        # Modules keep their loggers; a cached one would go on writing to a log that was closed.
        cache_logger_on_first_use=False,
    )


def _exception_text(about: object) -> str:
    """The traceback of what structlog or logging keep as exc_info; empty when there is none."""
    match about:
        case BaseException():
            error: BaseException | None = about
        case (_, BaseException() as error, _):
            pass
        case None | False:
            error = None
        case _:
            error = sys.exc_info()[1]
    # The last frames say where it broke; a deep recursion would fill the line.
    return "".join(traceback.format_exception(error, limit=-20)).rstrip() if error is not None else ""


# -- the libraries' lines


class Libraries(logging.Handler):
    """Brings the records of asyncio, aiohttp and the rest into the same log, from `attach` to `detach`."""

    def __init__(self, put: Put, clock: Clock, voice: Voice) -> None:
        super().__init__()
        self._put = put
        self._clock = clock
        self._voice = voice
        root = logging.getLogger()
        self._before = (root.level, list(root.handlers))

    def attach(self) -> None:
        """Become the one handler of all records."""
        logging.getLogger().handlers[:] = [self]
        logging.captureWarnings(True)
        self.listen(self._voice.manner)

    def listen(self, manner: Manner) -> None:
        """Have logging skip what this manner does not say."""
        # A library's info is our debug: one line per request of a health check helps nobody.
        root_level = max(manner.rank, logging.WARNING) if manner.rank > logging.DEBUG else logging.INFO
        logging.getLogger().setLevel(root_level)

    def detach(self) -> None:
        """Give logging back as it was."""
        root = logging.getLogger()
        level, root.handlers[:] = self._before
        root.setLevel(level)
        logging.captureWarnings(False)

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a record whose arguments do not fit its text is said without them."""
        try:
            text = record.getMessage()
        except Exception as error:  # whatever a library's arguments raise when they are formatted
            text = f"{record.msg} (its arguments cannot be shown: {type(error).__name__})"
        rank = max((rank for rank in RANKS.values() if rank <= record.levelno), default=logging.DEBUG)
        level = next(name for name, each in RANKS.items() if each == rank)
        fields: dict[str, object] = {"logger": record.name}
        if about := _exception_text(record.exc_info):
            fields["exception"] = without_credentials(about)
        self._put(*self._voice.manner.line(level, self._clock.wall(), without_credentials(text), fields))
