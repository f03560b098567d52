"""Is every fact said in the right form, is nothing said that must not be, and does saying it never hold anybody up?"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import pty
import re
import socket
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from smsd import logs
from smsd.core.events import LEVELS, Event, Kind, Level
from smsd.engine.bus import Bus
from tests.doubles.clock import ManualClock

NOW = 1_790_000_000_123
STAMP = "2026-09-21T14:13:20.123Z"
FIELDS: dict[str, object] = {"id": "0199", "recipient": "+15551234567", "provider": "main", "attempt": 1, "user": None}


class Reader:
    """The other end of the log: a pipe's."""

    def __init__(self) -> None:
        self.fd, self.write_fd = os.pipe()
        os.set_blocking(self.fd, False)
        self._data = b""

    def read(self) -> bytes:
        """All that has arrived."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.fd, 1 << 20):
                self._data += chunk
        return self._data

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]

    def close(self) -> None:
        for fd in (self.fd, self.write_fd):
            with contextlib.suppress(OSError):
                os.close(fd)


Start = Callable[..., logs.Logs]


@pytest.fixture
def reader() -> Iterator[Reader]:
    made = Reader()
    yield made
    made.close()


@pytest.fixture
def start(reader: Reader) -> Iterator[Start]:
    """Starts a log into the reader; whatever was started is closed."""
    started: list[logs.Logs] = []

    def begin(**options: Any) -> logs.Logs:
        options = {"form": "json", "fd": reader.write_fd, "environ": {}, **options}
        started.append(logs.start(ManualClock(wall=NOW), **options))
        return started[-1]

    yield begin
    for each in started:
        each.close(0.1)
    structlog.reset_defaults()


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's work; ten seconds are a failure."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


# -- events


def test_an_event_is_one_json_line(start: Start, reader: Reader) -> None:
    log = start()
    log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    log.close()
    assert reader.lines() == [
        {
            "time": STAMP,
            "level": "info",
            "event": "message.sent",
            "id": "0199",
            "recipient": "+1555*****67",
            "provider": "main",
            "attempt": 1,
        }
    ]


def test_every_kind_is_said_with_its_level(start: Start, reader: Reader) -> None:
    log = start()
    for kind in Kind:
        log.events(Event(kind, NOW))
    log.close()
    said = {line["event"]: line["level"] for line in reader.lines()}
    assert said == {kind.value: LEVELS.get(kind, Level.INFO).value for kind in Kind}


def test_kinds_below_the_level_are_skipped(start: Start, reader: Reader) -> None:
    log = start(level="error")
    for kind in Kind:
        log.events(Event(kind, NOW))
    structlog.get_logger().warning("no")
    structlog.get_logger().error("yes")
    log.close()
    loud = [kind.value for kind in Kind if LEVELS.get(kind) in {Level.ERROR, Level.CRITICAL}]
    assert [line["event"] for line in reader.lines()] == [*loud, "yes"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_line_holds_a_text_a_secret_or_a_whole_number(form: str, start: Start, reader: Reader) -> None:
    log = start(form=form)
    fields = {
        "recipient": "+15551234567",
        "sender": "+41791234567",
        "to": "+15551234567",
        "reason": "refused by +15551234567",
        "detail": {"nested": ["+15551234567"]},
        "text": "SESAME",
        "auth_token": "SESAME",
        "until": NOW,
    }
    log.events(Event(Kind.PROVIDER_COOLDOWN, NOW, fields))
    structlog.get_logger("x").error("to +15551234567", **fields)
    logging.getLogger("aiohttp").error(
        "GET http://me:SESAME@x/To=%%2B15551234567 %s", "Authorization: Basic U0VTQU1FOg=="
    )
    try:
        raise RuntimeError("token=SESAME for +15551234567")
    except RuntimeError:
        structlog.get_logger("x").exception("broken", error=ValueError("+15551234567 SESAME"))
    log.close()
    data = reader.read().decode()
    assert len(re.findall(r"\+1555\*\*\*\*\*67", data)) >= 8
    assert STAMP in data
    for forbidden in ("SESAME", "U0VTQU1F", "15551234567", "41791234567"):
        assert forbidden not in data


def test_numbers_are_shown_when_the_operator_wants_them(start: Start, reader: Reader) -> None:
    log = start(redact=False)
    log.events(Event(Kind.MESSAGE_SENT, NOW, {"recipient": "+15551234567", "reason": "+15551234567", "text": "SESAME"}))
    log.close()
    (line,) = reader.lines()
    assert (line["recipient"], line["reason"]) == ("+15551234567", "+15551234567")
    assert "text" not in line


def test_a_line_too_long_is_cut_and_still_json(start: Start, reader: Reader) -> None:
    log = start()
    structlog.get_logger().info("long", a="x" * 100_000, b=7)
    log.close()
    (line,) = reader.lines()
    assert (line["event"], line["b"], line["cut"]) == ("long", 7, True)
    assert len(line["a"]) < logs.LINE_BYTES


# -- the daemon's own lines and the libraries'


def test_a_failing_sink_is_reported_with_its_traceback(start: Start, reader: Reader) -> None:
    log = start()
    bus = Bus()

    def fail(event: Event) -> None:
        raise LookupError("gone")

    bus.subscribe(fail)
    bus.subscribe(log.events)
    bus.publish(Kind.DAEMON_READY, NOW, version="1")
    log.close()
    failure, ready = reader.lines()
    assert (failure["level"], failure["event"], failure["logger"]) == ("error", "a sink failed", "smsd.bus")
    assert failure["kind"] == "daemon.ready"
    assert failure["exception"].endswith("LookupError: gone")
    assert (ready["event"], ready["version"]) == ("daemon.ready", "1")


def test_libraries_speak_in_the_same_log(start: Start, reader: Reader) -> None:
    log = start()
    logging.getLogger("asyncio").error("Task %s failed", 7, exc_info=LookupError("gone"))
    logging.getLogger("aiohttp.access").info("GET /healthz")
    logging.getLogger("x").warning("%d", "no number")
    log.close()
    task, odd = reader.lines()
    assert (task["level"], task["event"], task["logger"]) == ("error", "Task 7 failed", "asyncio")
    assert task["exception"] == "LookupError: gone"
    assert odd["event"] == "%d (its arguments cannot be shown: TypeError)"


async def test_an_unhandled_error_of_the_loop_is_in_the_log(start: Start, reader: Reader) -> None:
    log = start()
    future = asyncio.get_running_loop().create_future()
    future.set_exception(LookupError("nobody looked"))
    del future
    gc.collect()
    log.close()
    (line,) = reader.lines()
    assert line["logger"] == "asyncio"
    assert line["exception"].endswith("LookupError: nobody looked")


def test_logging_is_given_back(start: Start) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    log = start()
    assert (root.level, list(root.handlers)) != before
    log.close()
    assert (root.level, list(root.handlers)) == before


# -- where it goes


def test_a_terminal_gets_colours_and_a_pipe_does_not(start: Start, reader: Reader) -> None:
    controller, terminal = pty.openpty()
    try:
        for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
            log = start(form="auto", fd=terminal, environ=environ)
            assert log.form == "console"
            log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
            log.close()
            shown = os.read(controller, 4096)
            assert (b"\x1b[" in shown) is coloured
            assert b"message.sent" in shown
    finally:
        os.close(controller)
        os.close(terminal)
    log = start(form="console")
    log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    log.close()
    assert re.fullmatch(
        rb"\d\d:13:20\.123 \[info +\] message\.sent +id=0199 recipient=\+1555\*{5}67 provider=main attempt=1\n",
        reader.read(),
    )


def test_auto_is_json_unless_it_is_a_terminal_or_the_journal(start: Start, reader: Reader) -> None:
    about = os.fstat(reader.write_fd)
    assert start(form="auto").form == "json"
    assert start(form="auto", environ={"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino + 1}"}).form == "json"
    assert start(form="auto", environ={"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}).form == "journal"


class FakeJournal:
    """journald's end: a real datagram socket, and a reader of its native protocol."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.open()

    def open(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(5)

    def read(self) -> dict[str, str]:
        data, found = self.socket.recv(1 << 20), {}
        while data:
            line, _, data = data.partition(b"\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                (size,) = struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[8 + size :]
                assert data[:1] == b"\n"
                data = data[1:]
            assert name.decode() not in found
            found[name.decode()] = value.decode()
        return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[FakeJournal]:
    made = FakeJournal(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.fixture
def journaled(start: Start, reader: Reader, journal: FakeJournal) -> logs.Logs:
    about = os.fstat(reader.write_fd)
    environ = {"JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"}
    return start(form="auto", environ=environ, journal=journal.path)


def test_the_journal_gets_fields_to_select_by(journaled: logs.Logs, journal: FakeJournal, reader: Reader) -> None:
    fields = {**FIELDS, "category": "RATE_LIMITED", "odd-name": ["a"], "latency_ms": 1.5}
    journaled.events(Event(Kind.MESSAGE_THROTTLED, NOW, fields))
    assert journal.read() == {
        "MESSAGE": "message.throttled id=0199 recipient=+1555*****67 provider=main attempt=1 category=RATE_LIMITED"
        ' odd-name=["a"] latency_ms=1.5',
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "smsd",
        "SMSD_EVENT": "message.throttled",
        "SMSD_TIME": STAMP,
        "MESSAGE_ID": uuid.uuid5(logs.EVENT_NAMESPACE, "message.throttled").hex,
        "SMSD_ID": "0199",
        "SMSD_RECIPIENT": "+1555*****67",
        "SMSD_PROVIDER": "main",
        "SMSD_ATTEMPT": "1",
        "SMSD_CATEGORY": "RATE_LIMITED",
        "SMSD_ODD_NAME": '["a"]',
        "SMSD_LATENCY_MS": "1.5",
    }
    assert reader.read() == b""


def test_line_breaks_cannot_forge_a_field(journaled: logs.Logs, journal: FakeJournal) -> None:
    try:
        raise LookupError("to +15551234567\nPRIORITY=0")
    except LookupError:
        structlog.get_logger("x").exception("two\nlines", reason="a\nMESSAGE_ID=b")
    found = journal.read()
    assert found["PRIORITY"] == "3"
    assert found["SMSD_REASON"] == "a\nMESSAGE_ID=b"
    assert found["SMSD_EVENT"] == "two\nlines"
    assert found["MESSAGE"].startswith("two\nlines reason=a\nMESSAGE_ID=b logger=x\nTraceback")
    assert found["MESSAGE"].endswith("LookupError: to +1555*****67\nPRIORITY=0")
    assert "MESSAGE_ID" not in found


def test_a_restarted_journal_is_found_again(journaled: logs.Logs, journal: FakeJournal) -> None:
    journaled.events(Event(Kind.DAEMON_READY, NOW))
    assert journal.read()["SMSD_EVENT"] == "daemon.ready"
    journal.socket.close()
    Path(journal.path).unlink()
    journaled.events(Event(Kind.DAEMON_DRAINING, NOW))
    until(lambda: journaled.dropped == 1)
    journal.open()
    journaled.events(Event(Kind.DAEMON_STOPPED, NOW))
    assert journal.read()["SMSD_EVENT"] == "daemon.stopped"
    assert journal.read()["MESSAGE"] == "log.dropped lines=1"
    journal.socket.close()
    Path(journal.path).unlink()
    journal.open()
    journaled.events(Event(Kind.DAEMON_READY, NOW))
    assert journal.read()["SMSD_EVENT"] == "daemon.ready"
    assert journaled.dropped == 1


# -- never in the way


def test_a_stalled_journal_holds_nobody_up(journaled: logs.Logs, journal: FakeJournal) -> None:
    """It takes about a dozen datagrams and then none; what waits is written when it wakes."""
    for n in range(500):
        journaled.events(Event(Kind.MESSAGE_SENT, NOW, {"id": str(n)}))
    assert [journal.read()["SMSD_ID"] for _ in range(500)] == [str(n) for n in range(500)]
    assert journaled.dropped == 0


def test_a_full_queue_drops_counts_and_reports(start: Start, reader: Reader) -> None:
    log = start()
    count = 30_000
    fields: dict[str, object] = {"id": "x" * 200}
    begun = time.monotonic()
    for _ in range(count):
        log.events(Event(Kind.MESSAGE_SENT, NOW, fields))
    assert time.monotonic() - begun < 5, "the writer of a log that nobody reads held its caller up"
    assert 0 < log.dropped < count
    sent, dropped = count - log.dropped, log.dropped
    until(lambda: reader.read().count(b"message.sent") == sent)
    log.events(Event(Kind.DAEMON_READY, NOW))
    until(lambda: reader.read().count(b"log.dropped") >= 1 and reader.read().endswith(b"}\n"))
    log.close()
    reports = [line["lines"] for line in reader.lines() if line["event"] == "log.dropped"]
    assert sum(reports) == dropped == log.dropped


def test_closing_writes_what_is_queued(start: Start, reader: Reader) -> None:
    log = start()
    for _ in range(100):
        log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    log.close()
    assert len(reader.lines()) == 100
    log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    assert log.dropped == 1


def test_closing_does_not_wait_for_a_reader_that_hangs(start: Start, reader: Reader) -> None:
    os.set_blocking(reader.write_fd, False)
    log = start()
    for _ in range(2_000):
        log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    begun = time.monotonic()
    log.close(0.3)
    assert time.monotonic() - begun < 1.5
    assert log.dropped > 0
    whole = [line for line in reader.read().split(b"\n") if line.endswith(b"}")]
    assert len(whole) + log.dropped == 2_000


def test_a_torn_line_does_not_spoil_the_next(reader: Reader) -> None:
    """A reader took half a line and hung; when it reads again, the next line begins on a new one."""
    os.set_blocking(reader.write_fd, False)
    stream = logs.Stream(reader.write_fd)
    assert stream.write([b"a" * 70_000 + b"\n", b"b\n"], time.monotonic) == 2
    torn = reader.read()
    assert 0 < len(torn) < 70_000
    assert stream.write([b"c\n", b"d\n"], time.monotonic) == 0
    assert reader.read() == torn + b"\nc\nd\n"


def test_a_reader_that_is_gone_is_counted(start: Start, reader: Reader) -> None:
    log = start()
    os.close(reader.fd)
    log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    until(lambda: log.dropped == 1)


def test_a_full_disk_is_counted(start: Start) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    try:
        log = start(fd=fd)
        log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
        until(lambda: log.dropped == 1)
        log.close()
    finally:
        os.close(fd)
