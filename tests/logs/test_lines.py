"""Is every fact said in the right form, and is nothing said that must not be?"""

from __future__ import annotations

import asyncio
import gc
import logging
import re

import pytest
import structlog

from smsd.core.events import LEVELS, Event, Kind, Level
from smsd.engine.bus import Bus
from smsd.logs.render import LINE_BYTES
from tests.logs.rig import FIELDS, NOW, STAMP, Reader, Start

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
    assert len(line["a"]) < LINE_BYTES


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_cannot_be_encoded_costs_neither_the_line_nor_the_caller(form: str, start: Start, reader: Reader) -> None:
    endless: list[object] = ["SESAME"]
    endless.append(endless)
    log = start(form=form)
    structlog.get_logger("x").error("odd", path="a\udcffb", endless=endless, n=7, to="+15551234567")
    log.events(Event(Kind.DAEMON_READY, NOW, {"path": "a\udcffb"}))
    logging.getLogger("x").error("a\udcffb")
    log.close()
    lines = reader.read().splitlines()
    assert [line.count(b"a?b") for line in lines] == [1, 1, 1]
    assert b"<list>" in lines[0]
    assert b"7" in lines[0]
    assert b"+1555*****67" in lines[0]
    assert b"SESAME" not in lines[0]


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
