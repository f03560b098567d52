"""Does saying something never hold anybody up, and is what could not be said counted?"""

from __future__ import annotations

import os
import time

from smsd import logs
from smsd.core.events import Event, Kind
from smsd.logs.targets import Stream
from tests.logs.rig import FIELDS, NOW, FakeJournal, Reader, Start, until


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
    stream = Stream(reader.write_fd)
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
