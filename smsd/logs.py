"""What does the daemon say about itself, and how can saying it never cost a message?

One line per fact, in one of three forms: coloured text on a terminal, native datagrams to the systemd journal when
standard error is connected to it, JSON otherwise. All lines, those of the daemon (structlog), of its events (EventLog)
and of its libraries (logging), pass one place that removes texts and secrets and masks phone numbers. It refuses to
know what happened; it is told.

A log disk that is full or a reader that hangs must not stop a text. So the caller only encodes and appends to a queue
with a bound; a thread writes. When the queue is full, lines are dropped and counted, and a later line says how many.
Nothing here raises to the caller. An event costs about 3 us: it does not pass structlog's chain, which costs as much
again and would add nothing, because an event's time, level and fields are complete.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import select
import socket
import struct
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Protocol

import msgspec
import structlog

from smsd.clock import Clock
from smsd.core import address, units
from smsd.core.events import LEVELS, Event, Kind, Level

QUEUE_BYTES: Final = 4 << 20
"""Lines waiting to be written; above it new ones are dropped."""
LINE_BYTES: Final = 16_384
"""A longer line is cut; only a traceback can be one."""
CHUNK_BYTES: Final = 1 << 16
"""One write takes this much at most (and one line at least)."""
GATHER_S: Final = 0.01
"""The writer waits this long for lines to gather: a write costs more than a line."""
PATIENCE_S: Final = 0.2
"""How long the writer waits for a reader that takes nothing before it looks whether the log is being closed."""

JOURNAL_SOCKET: Final = "/run/systemd/journal/socket"
EVENT_NAMESPACE: Final = uuid.UUID("6a4c9a76-4f0f-5e0b-9a55-7d3d0c1c2f11")
"""MESSAGE_ID of an event kind is uuid5 of its name in this namespace; it never changes."""

_RANKS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_PRIORITIES: Final = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Syslog priorities, as systemd.journal-fields(7) wants them."""

_NUMBERS: Final = frozenset({"recipient", "sender", "to", "from", "from_", "number"})
_SECRETS: Final = frozenset(
    {"text", "body", "headers", "auth_token", "token", "secret", "password", "authorization", "key", "api_key"}
)
"""Fields that no line may hold, whatever put them there."""
_INSTANTS: Final = frozenset({"until", "due", "expires_at", "send_at"})

_LEAK: Final = re.compile(rb"\+[1-9]\d{6,14}")
_ENCODED_NUMBER: Final = re.compile(r"%2B([1-9]\d{6,14})(?!\d)", re.IGNORECASE)
_CREDENTIALS: Final = re.compile(
    r"(?i)\b((?:basic|bearer)\s+)[A-Za-z0-9+/=._~-]{6,}"
    r"|(://)[^/\s@]+(?=@)"
    r"|\b((?:auth_?token|token|secret|password|api_?key)['\"]?\s*[=:]\s*)['\"]?[^\s'\",;&]+"
)

Fields = Mapping[str, object]
Render = Callable[[str, int, str, Fields], bytes]
"""(level, time in ms, event, fields already made safe) -> one line or datagram."""


# -- what may be said

# Two events tell of each message, and senders hardly change.
_mask = lru_cache(maxsize=8_192)(address.mask)
_stamp = lru_cache(maxsize=64)(units.rfc3339)


def without_credentials(text: str) -> str:
    """Free text of unknown origin: credentials replaced by ***, numbers in URLs written so that they can be masked."""
    text = _CREDENTIALS.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)
    return _ENCODED_NUMBER.sub(lambda match: f"+{match[1]}", text)


class Redaction:
    """Makes lines safe: fields by their names, and in the finished line whatever looks like a whole number."""

    def __init__(self, numbers: bool) -> None:
        self._numbers = numbers
        self._plans: dict[tuple[str, ...], Plan] = {}

    def fields(self, fields: Fields) -> dict[str, object]:
        """A copy without texts, secrets and absent values, with masked numbers and readable times."""
        safe = dict(fields)
        for key, care in self._plan(tuple(fields)):
            safe[key] = care(safe[key])
        if None in safe.values():
            return {key: value for key, value in safe.items() if value is not None}
        return safe

    def line(self, line: bytes) -> bytes:
        """The line without whole numbers. A mask is as long as its number, so lengths inside a datagram stay right."""
        if self._numbers and _LEAK.search(line) is not None:
            return _LEAK.sub(lambda match: address.mask(match[0].decode()).encode(), line)
        return line

    def _plan(self, keys: tuple[str, ...]) -> Plan:
        """Which of these keys need care; remembered, because the same few sets of keys come thousands of times."""
        plan = self._plans.get(keys)
        if plan is None:
            if len(self._plans) >= 256:
                self._plans.clear()
            plan = self._plans[keys] = tuple((key, care) for key in keys if (care := self._care(key)) is not None)
        return plan

    def _care(self, key: str) -> Callable[[object], object] | None:
        if key in _SECRETS:
            return _hide
        if key in _INSTANTS:
            return _readable
        return _masked if key in _NUMBERS and self._numbers else None


Plan = tuple[tuple[str, Callable[[object], object]], ...]


def _hide(value: object) -> None:
    """An absent field."""


def _masked(value: object) -> object:
    return _mask(value) if isinstance(value, str) else value


def _readable(value: object) -> object:
    return _stamp(value) if isinstance(value, int) else value


# -- how it is written


def _encode_unknown(value: object) -> str:
    """Anything JSON has no form for. Only its kind: a repr could hold a text or a secret."""
    return str(value) if isinstance(value, Path) else f"<{type(value).__name__}>"


_encoder = msgspec.json.Encoder(enc_hook=_encode_unknown)


def render_json(level: str, at: int, event: str, fields: Fields) -> bytes:
    """One JSON object and a line break."""
    line = _encoder.encode({"time": _stamp(at), "level": level, "event": event, **fields})
    return (line if len(line) < LINE_BYTES else _shorter(level, at, event, fields)) + b"\n"


def _shorter(level: str, at: int, event: str, fields: Fields) -> bytes:
    """A line that would be too long, with its long texts cut; still valid JSON."""
    limit = LINE_BYTES // (8 * (len(fields) + 1))
    cut = {key: value if isinstance(value, int) else str(value)[:limit] for key, value in list(fields.items())[:64]}
    return _encoder.encode({"time": _stamp(at), "level": level, "event": event[:limit], **cut, "cut": True})


class ConsoleRender:
    """Lines for a person; local time to the millisecond."""

    def __init__(self, colours: bool) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(
            colors=colours, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )

    def __call__(self, level: str, at: int, event: str, fields: Fields) -> bytes:
        when = datetime.fromtimestamp(at / 1_000).astimezone().isoformat(sep=" ", timespec="milliseconds")[11:23]
        plain = {key: value if isinstance(value, str | int | float) else _plain(value) for key, value in fields.items()}
        line = {"timestamp": when, "level": level, "event": event, **plain}
        return self._renderer(None, level, line).encode(errors="replace")[:LINE_BYTES] + b"\n"


def render_journal(level: str, at: int, event: str, fields: Fields) -> bytes:
    """One datagram of the journal's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    MESSAGE is the line a person reads; SMSD_EVENT, SMSD_ID, SMSD_PROVIDER and so on are what `journalctl` selects by.
    The journal takes its own time; ours is SMSD_TIME.
    """
    texts = {key: value if type(value) is str else _plain(value) for key, value in fields.items()}
    exception = texts.pop("exception", "")
    message = " ".join([event, *[f"{key}={text}" for key, text in texts.items()]])
    lines = [
        f"MESSAGE={message}\n{exception}" if exception else f"MESSAGE={message}",
        _JOURNAL_HEADS[level],
        f"SMSD_EVENT={event}",
        f"SMSD_TIME={_stamp(at)}",
        *[f"{_journal_name(key)}={text}" for key, text in texts.items()],
    ]
    if (message_id := MESSAGE_IDS.get(event)) is not None:
        lines.append(f"MESSAGE_ID={message_id}")
    datagram = "\n".join(lines)
    if datagram.count("\n") != len(lines) or len(datagram) > LINE_BYTES:
        return b"".join(map(_journal_field, lines))
    return datagram.encode(errors="replace") + b"\n"


_JOURNAL_HEADS: Final[Mapping[str, str]] = {
    level: f"PRIORITY={priority}\nSYSLOG_IDENTIFIER=smsd" for level, priority in _PRIORITIES.items()
}
"""Two fields that no value can break, in one piece."""

_NAMES: Final[Mapping[Kind, str]] = {kind: kind.value for kind in Kind}

MESSAGE_IDS: Final[Mapping[str, str]] = {kind.value: uuid.uuid5(EVENT_NAMESPACE, kind.value).hex for kind in Kind}
"""One id per event kind, for `journalctl MESSAGE_ID=...`."""


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float | Path) else _encoder.encode(value).decode()


@lru_cache(maxsize=256)
def _journal_name(key: str) -> str:
    return "SMSD_" + re.sub(r"[^A-Z0-9_]", "_", key.upper())[:56]


def _journal_field(line: str) -> bytes:
    """`NAME=value`, or the binary form with a length for a value with line breaks; a long value is cut."""
    if line in _JOURNAL_HEADS.values():
        return line.encode() + b"\n"
    name, _, value = line.partition("=")
    raw = value.encode(errors="replace")[:LINE_BYTES]
    if b"\n" not in raw:
        return b"%s=%s\n" % (name.encode(), raw)
    return b"%s\n%s%s\n" % (name.encode(), struct.pack("<Q", len(raw)), raw)


# -- where it goes


class Target(Protocol):
    """Where lines end up; used by the writer's thread only."""

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """Write the lines; the number of those that could not be. Waits for a slow reader while `deadline()` (a
        monotonic time) is None or not reached. Never raises."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class Stream:
    """A file descriptor that is not ours to close: standard error."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._torn = False
        """The last write ended inside a line; the next begins on a new one."""

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """One write for as many lines as fit a chunk."""
        first = 0
        while first < len(lines):
            last, size = first, 0
            while last < len(lines) and (size == 0 or size + len(lines[last]) <= CHUNK_BYTES):
                size += len(lines[last])
                last += 1
            chunk = lines[first:last]
            left = self._write([b"\n", *chunk] if self._torn else chunk, deadline)
            if left:
                return len(lines) - last + left
            first = last
        return 0

    def _write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """Write them at once; how many were not written whole."""
        data = b"".join(lines)
        view = memoryview(data)
        with contextlib.suppress(OSError):
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    if not _wait_writable(self._fd, deadline):
                        break
        self._torn = bool(view) and (self._torn or len(view) < len(data))
        left, size = 0, len(view)
        while size > 0:
            left += 1
            size -= len(lines[-left])
        return left

    def close(self) -> None:
        """Nothing is held."""


class Journal:
    """The journal's datagram socket. A stalled journal refuses after about a dozen datagrams; they are waited for."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket: socket.socket | None = None

    def write(self, lines: list[bytes], deadline: Callable[[], float | None]) -> int:
        """One datagram for each."""
        return sum(not self._send(line, deadline) for line in lines)

    def _send(self, datagram: bytes, deadline: Callable[[], float | None]) -> bool:
        again = True
        while True:
            try:
                if self._socket is None:
                    self._socket = _connected(self._path)
                self._socket.send(datagram)
            except BlockingIOError:
                if not _wait_writable(self._socket, deadline):
                    return False
            except OSError:
                # A journal that was restarted without its socket unit left us connected to nobody: once more, anew.
                self.close()
                if not again:
                    return False
                again = False
            else:
                return True

    def close(self) -> None:
        """Release the socket; a later write connects again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _wait_writable(file: int | socket.socket | None, deadline: Callable[[], float | None]) -> bool:
    """Wait until a write can go on; False when the deadline, which may be set meanwhile, is reached first."""
    poll = select.poll()
    assert file is not None
    poll.register(file, select.POLLOUT)
    while True:
        end = deadline()
        patience_s = PATIENCE_S if end is None else min(PATIENCE_S, end - monotonic())
        if poll.poll(max(0.0, patience_s) * 1_000):
            return True
        if patience_s <= 0:
            return False


class Outlet:
    """The queue and the thread that empties it."""

    def __init__(self, target: Target, report: Callable[[int], bytes], bound: int = QUEUE_BYTES) -> None:
        self._target = target
        self._report = report
        self._bound = bound
        # Re-entrant: a finaliser that logs may run inside `put` itself.
        self._lock = threading.RLock()
        self._signal = threading.Event()
        self._lines: list[bytes] = []
        self._size = 0
        self._awake = False
        self._deadline: float | None = None
        self._unreported = 0
        self.dropped = 0
        """Lines that were not written since the start."""
        self._thread = threading.Thread(target=self._run, name="smsd-log", daemon=True)
        self._thread.start()

    def put(self, line: bytes) -> None:
        """Queue a line; drops and counts it when the queue is full or closed. Never waits, never raises."""
        with self._lock:
            if self._size + len(line) > self._bound or self._deadline is not None:
                self._lose(1)
                return
            self._lines.append(line)
            self._size += len(line)
            if self._awake:
                return
            self._awake = True
        self._signal.set()

    def close(self, patience_s: float = 2.0) -> None:
        """Write what is queued, for at most `patience_s`; what is left is counted as dropped."""
        self._deadline = monotonic() + patience_s
        self._signal.set()
        self._thread.join(patience_s + 2 * PATIENCE_S)

    def _lose(self, count: int) -> None:
        self.dropped += count
        self._unreported += count

    def _run(self) -> None:
        while True:
            self._signal.wait()
            if self._deadline is None:
                sleep(GATHER_S)
            with self._lock:
                lines, self._lines = self._lines, []
                self._size = 0
                self._awake = False
                self._signal.clear()
                lost_before = self._unreported
            lost = self._target.write(lines, lambda: self._deadline) if lines else 0
            told = lost_before > 0 and self._target.write([self._report(lost_before)], lambda: self._deadline) == 0
            with self._lock:
                self._lose(lost)
                if told:
                    self._unreported -= lost_before
            if self._deadline is not None and not self._lines:
                self._target.close()
                return


# -- who says it


class EventLog:
    """Writes each Event; subscribe it to the bus. Kinds below the level are skipped."""

    def __init__(self, put: Callable[[bytes], None], render: Render, redaction: Redaction, level: str) -> None:
        self._put = put
        self._render = render
        self._redaction = redaction
        levels = {kind: LEVELS.get(kind, Level.INFO).value for kind in Kind}
        self._levels = {kind: name for kind, name in levels.items() if _RANKS[name] >= _RANKS[level]}

    def __call__(self, event: Event) -> None:
        level = self._levels.get(event.kind)
        if level is not None:
            safe = self._redaction.fields(event.fields)
            self._put(self._redaction.line(self._render(level, event.at, _NAMES[event.kind], safe)))


class _Mouth:
    """What structlog hands finished lines to."""

    def __init__(self, put: Callable[[bytes], None], name: str) -> None:
        self.name = name
        self.debug = self.info = self.warning = self.error = self.critical = self.exception = put


class _Finish:
    """The last step of structlog's chain: a line from what was said."""

    def __init__(self, clock: Clock, render: Render, redaction: Redaction) -> None:
        self._clock = clock
        self._render = render
        self._redaction = redaction

    def __call__(self, logger: _Mouth, method: str, said: MutableMapping[str, object]) -> bytes:
        level = "error" if method == "exception" else method
        event = without_credentials(str(said.pop("event", "")))
        about = _exception_text(said.pop("exc_info", None))
        fields = self._redaction.fields(said)
        if logger.name:
            fields["logger"] = logger.name
        if about:
            fields["exception"] = without_credentials(about)
        return self._redaction.line(self._render(level, self._clock.wall(), event, fields))


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


class _Libraries(logging.Handler):
    """Brings the records of asyncio, aiohttp and the rest into the same log."""

    def __init__(self, put: Callable[[bytes], None], clock: Clock, render: Render, redaction: Redaction) -> None:
        super().__init__()
        self._put = put
        self._clock = clock
        self._render = render
        self._redaction = redaction

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: a record whose arguments do not fit its text is said without them."""
        try:
            text = record.getMessage()
        except Exception as error:  # whatever a library's arguments raise when they are formatted
            text = f"{record.msg} (its arguments cannot be shown: {type(error).__name__})"
        rank = max((rank for rank in _RANKS.values() if rank <= record.levelno), default=10)
        level = next(name for name, each in _RANKS.items() if each == rank)
        fields: dict[str, object] = {"logger": record.name}
        if about := _exception_text(record.exc_info):
            fields["exception"] = without_credentials(about)
        line = self._render(level, self._clock.wall(), without_credentials(text), fields)
        self._put(self._redaction.line(line))


class Logs:
    """The running log. `events` is the bus subscriber; program lines come by structlog, library lines by logging."""

    def __init__(self, outlet: Outlet, events: EventLog, form: str, libraries: logging.Handler, level: str) -> None:
        self._outlet = outlet
        self.events = events
        self.form = form
        """console | json | journal"""
        self._libraries = libraries
        root = logging.getLogger()
        self._before = (root.level, list(root.handlers))
        root.handlers[:] = [libraries]
        # A library's info is our debug: one line per request of a health check helps nobody.
        root.setLevel(max(_RANKS[level], logging.WARNING) if level != "debug" else logging.INFO)
        logging.captureWarnings(True)

    @property
    def dropped(self) -> int:
        """Lines that were not written since the start."""
        return self._outlet.dropped

    def close(self, patience_s: float = 2.0) -> None:
        """Write what is queued (at most `patience_s` seconds) and give logging back; later lines are dropped."""
        root = logging.getLogger()
        level, root.handlers[:] = self._before
        root.setLevel(level)
        logging.captureWarnings(False)
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
    chosen = _form(form, fd, environ)
    redaction = Redaction(redact)
    render: Render
    match chosen:
        case "journal":
            render = render_journal
        case "console":
            render = ConsoleRender(colours=os.isatty(fd) and not environ.get("NO_COLOR"))
        case _:
            render = render_json
    target: Target = Journal(journal) if chosen == "journal" else Stream(fd)
    outlet = Outlet(target, lambda count: render("warning", clock.wall(), "log.dropped", {"lines": count}))
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _Finish(clock, render, redaction)],
        wrapper_class=structlog.make_filtering_bound_logger(_RANKS[level]),
        logger_factory=lambda *names: _Mouth(outlet.put, names[0] if names else ""),
        # Modules keep their loggers; a cached one would go on writing to a log that was closed.
        cache_logger_on_first_use=False,
    )
    events = EventLog(outlet.put, render, redaction, level)
    return Logs(outlet, events, chosen, _Libraries(outlet.put, clock, render, redaction), level)


def _form(form: str, fd: int, environ: Mapping[str, str]) -> str:
    """Which form `auto` means here (systemd.exec(5), $JOURNAL_STREAM: device and inode of standard error)."""
    if form != "auto":
        return form
    with contextlib.suppress(OSError):
        about = os.fstat(fd)
        if environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}":
            return "journal"
    return "console" if os.isatty(fd) else "json"
