"""Does a change of the settings reach every speaker at once, and is no line lost or doubled on the way?"""

from __future__ import annotations

import json
import logging
import os
import pty
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from smsd import logs
from smsd.core.events import LEVELS, Event, Kind, Level
from tests.logs.rig import FIELDS, NOW, FakeJournal, Reader, Start, until

early = structlog.get_logger("early")
"""Obtained at import, before any log was started, as the daemon's modules do."""

WHOLE = "+15551234567"
MASKED = "+1555*****67"
LEVELS_SAID = ("debug", "info", "warning", "error", "critical")


def speakers() -> list[Callable[[str, str], None]]:
    """Every way to hold a logger of structlog; each says (level, words)."""
    lazy = structlog.get_logger("lazy")
    bound = lazy.bind(a=1)
    again = bound.bind(b=2)
    methods = {level: getattr(bound, level) for level in LEVELS_SAID}
    return [
        *[lambda level, words, log=log: getattr(log, level)(words) for log in (early, lazy, bound, again)],
        lambda level, words: methods[level](words),
    ]


def said(lines: list[dict[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


@pytest.mark.parametrize("before", LEVELS_SAID)
@pytest.mark.parametrize("after", LEVELS_SAID)
def test_every_logger_follows_the_level(before: str, after: str, start: Start, reader: Reader) -> None:
    log = start(level=before)
    held = speakers()
    wanted = []
    for current in (before, after, before):
        log.change(level=current, form="json", redact=True)
        for n, say in enumerate(held):
            for level in LEVELS_SAID:
                say(level, f"{n} {level} at {current}")
        heard = LEVELS_SAID[LEVELS_SAID.index(current) :]
        wanted += [f"{n} {level} at {current}" for n in range(len(held)) for level in heard]
    log.close()
    assert said(reader.lines()) == wanted


def test_events_and_libraries_follow_the_level(start: Start, reader: Reader) -> None:
    log = start(level="error")
    library = logging.getLogger("some.library")
    wanted = []
    for current, loud in (("error", False), ("debug", True), ("info", False), ("critical", False)):
        log.change(level=current, form="json", redact=True)
        rank = LEVELS_SAID.index(current)
        for kind in Kind:
            log.events(Event(kind, NOW))
            if LEVELS_SAID.index(LEVELS.get(kind, Level.INFO).value) >= rank:
                wanted.append(kind.value)
        library.info("info")
        library.warning("warning")
        library.error("error")
        wanted += ["info"] if loud else []
        wanted += ["warning"] if rank <= LEVELS_SAID.index("warning") else []
        wanted += ["error"] if rank <= LEVELS_SAID.index("error") else []
    log.close()
    assert said(reader.lines()) == wanted


def test_masking_changes_for_events_programs_and_libraries(start: Start, reader: Reader) -> None:
    log = start()
    bound = structlog.get_logger("x").bind(to=WHOLE)
    for redact in (True, False, True):
        log.change(level="info", form="json", redact=redact)
        log.events(Event(Kind.MESSAGE_SENT, NOW, {**FIELDS, "text": "SESAME"}))
        bound.info("said", auth_token="SESAME")
        logging.getLogger("x").error("to %s token=SESAME", WHOLE)
    log.close()
    lines = reader.lines()
    for n, number in enumerate((MASKED, WHOLE, MASKED)):
        event, program, library = lines[3 * n : 3 * n + 3]
        assert (event["recipient"], program["to"]) == (number, number)
        assert library["event"] == f"to {number} token=***"
    assert len(lines) == 9
    assert b"SESAME" not in reader.read()


def test_the_form_changes_between_two_lines(start: Start, reader: Reader) -> None:
    log = start(form="json")
    bound = structlog.get_logger("x").bind(a=1)
    for form in ("json", "console", "auto"):
        log.change(level="info", form=form, redact=True)
        log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
        bound.info("said")
        logging.getLogger("x").error("heard")
    assert log.form == "json"
    log.close()
    lines = reader.read().decode().splitlines()
    assert said([json.loads(line) for line in (*lines[:3], *lines[6:])]) == ["message.sent", "said", "heard"] * 2
    for line, word in zip(
        lines[3:6], ("[info     ] message.sent", "[info     ] said", "[error    ] heard"), strict=True
    ):
        assert word in line


def test_auto_means_what_it_meant_at_the_start(start: Start, reader: Reader) -> None:
    """A terminal keeps its colours, and a pipe that is no journal never becomes one."""
    controller, terminal = pty.openpty()
    try:
        log = start(form="json", fd=terminal)
        log.change(level="info", form="auto", redact=True)
        assert log.form == "console"
        log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
        log.close()
        assert b"\x1b[" in os.read(controller, 4_096)
    finally:
        os.close(controller)
        os.close(terminal)
    log = start(form="console")
    log.change(level="info", form="auto", redact=True)
    assert log.form == "json"


def test_a_log_can_leave_the_journal_and_come_back(journaled: logs.Logs, journal: FakeJournal, reader: Reader) -> None:
    """Each line goes where its form is read, also what was still queued at the change."""
    journaled.events(Event(Kind.MESSAGE_SENT, NOW, {"id": "1"}))
    journaled.change(level="info", form="json", redact=True)
    journaled.events(Event(Kind.MESSAGE_SENT, NOW, {"id": "2"}))
    journaled.change(level="info", form="auto", redact=True)
    assert journaled.form == "journal"
    journaled.events(Event(Kind.MESSAGE_SENT, NOW, {"id": "3"}))
    assert [journal.read()["SMSD_ID"] for _ in range(2)] == ["1", "3"]
    until(lambda: reader.read().endswith(b"\n"))
    assert [line["id"] for line in reader.lines()] == ["2"]
    assert journaled.dropped == 0


def test_a_level_that_does_not_exist_changes_nothing(start: Start, reader: Reader) -> None:
    log = start()
    with pytest.raises(KeyError):
        log.change(level="loud", form="console", redact=False)
    log.events(Event(Kind.MESSAGE_SENT, NOW, dict(FIELDS)))
    log.close()
    assert reader.lines()[0]["recipient"] == MASKED


def test_no_line_is_lost_doubled_or_torn_while_the_form_changes(start: Start, reader: Reader) -> None:
    """Three threads speak in their three ways while a fourth changes form, level and masking."""
    log = start()
    stop = threading.Event()
    counts = [0, 0, 0]
    bound = structlog.get_logger("x").bind(thread=1)
    library = logging.getLogger("x")
    ways: list[Callable[[int], None]] = [
        lambda n: log.events(Event(Kind.MESSAGE_FAILED, NOW, {"id": f"0-{n}."})),
        lambda n: bound.error(f"1-{n}."),
        lambda n: library.error("2-%d.", n),
    ]

    def speak(who: int) -> None:
        while not stop.is_set() and counts[who] < 5_000:
            ways[who](counts[who])
            counts[who] += 1
            time.sleep(0.0002)  # so that the others have their turn

    threads = [threading.Thread(target=speak, args=(who,)) for who in range(3)]
    for each in threads:
        each.start()
    for n in range(60):
        log.change(level=("debug", "warning", "error")[n % 3], form=("json", "console")[n % 2], redact=n % 2 == 0)
        time.sleep(0.002)
        reader.read()
    stop.set()
    for each in threads:
        each.join()
    writers = [thread for thread in threading.enumerate() if thread.name == "smsd-log"]
    assert len(writers) == 1
    closer = threading.Thread(target=log.close)
    closer.start()
    until(lambda: bool(reader.read()) and not closer.is_alive())
    data = reader.read()
    assert log.dropped == 0
    assert min(counts) > 20
    for who, count in enumerate(counts):
        found = [int(piece.partition(b".")[0]) for piece in data.split(b"%d-" % who)[1:]]
        assert found == [*range(count)]
    assert data.count(b"\n") == sum(counts)
    assert 0 < sum(line.startswith(b"{") for line in data.splitlines()) < sum(counts)
