"""The log's two readers, and logs that are closed when a test is over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from smsd import logs
from tests.doubles.clock import ManualClock
from tests.logs.rig import NOW, FakeJournal, Reader, Start


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
