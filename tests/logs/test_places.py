"""Does each line go where it is read: a terminal, a pipe, the journal?"""

from __future__ import annotations

import os
import pty
import re
import uuid
from pathlib import Path

import structlog

from smsd import logs
from smsd.core.events import Event, Kind
from smsd.logs.render import EVENT_NAMESPACE
from tests.logs.rig import FIELDS, NOW, STAMP, FakeJournal, Reader, Start, until


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
        "MESSAGE_ID": uuid.uuid5(EVENT_NAMESPACE, "message.throttled").hex,
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
