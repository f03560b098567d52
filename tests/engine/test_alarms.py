"""Do alerts reach a webhook and Sentry, and what if these hang, refuse, or are gone?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from structlog.testing import capture_logs

from smsd.clock import Clock
from smsd.core.alerting import Notice
from smsd.engine import alarms, alarms_sentry
from smsd.engine.alarms import WAITING, Done, Sounder, WebhookSounder
from smsd.engine.alarms_places import Places, Where, sounder_of
from smsd.engine.alarms_sentry import SentrySounder, event_of
from smsd.engine.alerts import AlertSettings
from smsd.engine.callout import Callout, Reply
from tests.doubles.clock import ManualClock
from tests.doubles.receiver import OK, Got, Receiver, never, status
from tests.listeners.house import until

NOTICE = Notice(
    "error_rate",
    raised=True,
    at=1_790_000_000_000,
    category="REJECTED",
    text="20 % of 100 messages failed.",
    remedy="See `smsd failed`.",
    value=0.2,
    bound=0.01,
)
OVER = replace(NOTICE, raised=False, text="It is over.", remedy="", value=0.0)
DSN = "http://public@127.0.0.1:9/1"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    found = await Receiver().start()
    yield found
    await found.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "PAUSES_S", (0.01,))
    monkeypatch.setattr(alarms, "GRACE_S", 0.1)


def told(receiver: Receiver) -> list[dict[str, Any]]:
    return [json.loads(got.body) for got in receiver.got]


async def test_a_webhook_is_posted_what_slack_reads_and_the_facts_beside_it(receiver: Receiver) -> None:
    sounder = WebhookSounder(receiver.url, "host", ManualClock())
    sounder.sound(NOTICE)
    sounder.sound(OVER)
    await sounder.close()
    raised, cleared = told(receiver)
    assert raised == {
        "text": "[ALERT] smsd host: 20 % of 100 messages failed. See `smsd failed`.",
        "name": "error_rate",
        "state": "raised",
        "at": "2026-09-21T14:13:20.000Z",
        "source": "host",
        "category": "REJECTED",
        "value": 0.2,
        "bound": 0.01,
        "remedy": "See `smsd failed`.",
    }
    assert cleared["text"] == "[OK] smsd host: It is over."
    assert cleared["state"] == "cleared"
    assert receiver.got[0].headers["content-type"] == "application/json"


async def test_a_webhook_that_fails_is_tried_again_in_order(receiver: Receiver, quick: None) -> None:
    answers = [status(500), status(429), status(503, "Retry-After: 0")]

    def answer(got: Got) -> bytes:
        return answers.pop(0) if answers else OK

    receiver.answer = answer
    sounder = WebhookSounder(receiver.url, "host", ManualClock())
    sounder.sound(NOTICE)
    sounder.sound(OVER)
    await until(lambda: len(receiver.got) == 5)
    assert [each["state"] for each in told(receiver)] == ["raised"] * 4 + ["cleared"]
    await sounder.close()


@pytest.mark.parametrize("code", [302, 400, 404, 410])
async def test_what_is_refused_is_not_tried_again_and_logged_without_the_url(
    receiver: Receiver, quick: None, code: int
) -> None:
    receiver.answer = lambda got: status(code)
    sounder = WebhookSounder(receiver.url + "?token=hush", "host", ManualClock())
    with capture_logs() as lines:
        sounder.sound(NOTICE)
        await until(lambda: bool(lines))
        await sounder.close()
    assert len(receiver.got) == 1
    (line,) = lines
    assert line["error"] == f"HTTP {code}"
    assert "hush" not in str(lines)
    assert "told" not in str(line["error"])


async def test_it_is_given_up_after_ten_minutes_and_the_next_is_still_tried_once(
    receiver: Receiver, quick: None
) -> None:
    clock = ManualClock()

    def answer(got: Got) -> bytes:
        clock.advance(200_000)
        return status(500)

    receiver.answer = answer
    sounder = WebhookSounder(receiver.url, "host", clock)
    with capture_logs() as lines:
        sounder.sound(NOTICE)
        sounder.sound(OVER)
        await until(lambda: len(lines) == 2)
        await sounder.close()
    assert [each["state"] for each in told(receiver)] == ["raised"] * 3 + ["cleared"]
    assert [(line["alert"], line["tries"]) for line in lines] == [("error_rate", 3), ("error_rate", 1)]


async def test_what_comes_as_the_line_ends_does_not_wait_for_the_next() -> None:
    loop = asyncio.get_running_loop()
    calls: list[bytes] = []

    class Line(Callout):
        async def call(
            self, url: str, headers: Mapping[str, str], body: bytes, timeout_ms: int, tenant: str = ""
        ) -> Reply:
            calls.append(body)
            if len(calls) == 1:
                answered = loop.create_future()
                loop.call_soon(answered.set_result, None)
                loop.call_soon(loop.call_soon, sounder.sound, OVER)  # after the worker, before its end is told
                await answered
            return Reply(200)

    sounder = WebhookSounder("http://127.0.0.1:9/", "host", ManualClock(), Line)
    sounder.sound(NOTICE)
    await until(lambda: len(calls) == 2)
    await sounder.close()


async def test_of_too_many_the_oldest_goes(receiver: Receiver, quick: None) -> None:
    receiver.answer = never
    sounder = WebhookSounder(receiver.url, "host", ManualClock())
    with capture_logs() as lines:
        for n in range(WAITING + 5):
            sounder.sound(replace(NOTICE, name=f"backlog{n}"))
        assert [line["alert"] for line in lines] == [f"backlog{n}" for n in range(5)]
        await sounder.close()
    assert lines[-1]["alerts"] == WAITING
    sounder.sound(NOTICE)  # after the end: nothing happens
    await sounder.close()


# -- Sentry -----------------------------------------------------------------------------------------------------------


class Memory(Transport):
    """Keeps what would travel."""

    sent: list[dict[str, Any]]
    fault: Exception | None = None

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)

    def capture_envelope(self, envelope: Envelope) -> None:
        if self.fault is not None:
            raise self.fault
        event = envelope.get_event()
        assert event is not None
        type(self).sent.append(dict(event))


@pytest.fixture
def memory() -> type[Memory]:
    return type("Fresh", (Memory,), {"sent": []})


async def test_sentry_gets_one_event_each_with_the_category_s_fingerprint_and_nothing_else(
    memory: type[Memory],
) -> None:
    sounder = SentrySounder(DSN, "host", memory)
    for notice in (NOTICE, OVER, replace(NOTICE, name="auth_halt:main", category="AUTH_FAILED")):
        sounder.sound(notice)
    await sounder.close()
    raised, cleared, halted = memory.sent
    assert raised["fingerprint"] == cleared["fingerprint"] == ["smsd", "REJECTED"]
    assert halted["fingerprint"] == ["smsd", "AUTH_FAILED"]
    assert [each["level"] for each in memory.sent] == ["error", "info", "error"]
    assert raised["message"] == NOTICE.text
    assert raised["tags"] == {"alert": "error_rate", "state": "raised", "category": "REJECTED"}
    assert raised["extra"] == {"value": 0.2, "bound": 0.01, "remedy": NOTICE.remedy}
    assert raised["server_name"] == "host"
    for each in memory.sent:
        assert each.keys().isdisjoint({"user", "request", "breadcrumbs", "exception", "stacktrace", "modules"})


async def test_the_client_hooks_nothing_of_the_process(memory: type[Memory]) -> None:
    import logging

    import sentry_sdk

    handlers = [*logging.getLogger().handlers]
    sounder = SentrySounder(DSN, "host", memory)
    sounder.sound(NOTICE)
    await until(lambda: bool(memory.sent))
    logging.getLogger("any").error("not for Sentry")
    assert not sentry_sdk.get_client().is_active()
    # By their modules: a hook of the test before this one would still be there.
    assert not sys.excepthook.__module__.startswith("sentry_sdk")
    assert logging.getLogger().handlers == handlers
    assert logging.Logger.callHandlers.__module__ == "logging"
    await sounder.close()
    assert len(memory.sent) == 1


async def test_a_sentry_that_breaks_is_logged_and_stops_nothing(memory: type[Memory]) -> None:
    memory.fault = RuntimeError("hush")
    sounder = SentrySounder(DSN, "host", memory)
    with capture_logs() as lines:
        sounder.sound(NOTICE)
        await until(lambda: bool(lines))
    assert "hush" not in str(lines)
    memory.fault = None
    sounder.sound(OVER)
    await sounder.close()
    assert [each["message"] for each in memory.sent] == [OVER.text]


async def test_the_sdk_s_own_transport_does_not_hold_up_the_end(receiver: Receiver) -> None:
    receiver.answer = never
    sounder = SentrySounder(f"http://public@127.0.0.1:{receiver.port}/1", "host")
    sounder.sound(NOTICE)
    await until(lambda: bool(receiver.got))
    began = asyncio.get_running_loop().time()
    await sounder.close()
    assert asyncio.get_running_loop().time() - began < 4
    assert receiver.got[0].line.startswith("POST /api/1/envelope/")


def test_without_places_there_are_none_and_no_sdk_is_imported() -> None:
    for where in Where:
        assert sounder_of(where, "", "host", ManualClock(), lambda notice: None) is None
    code = "import smsd.daemon, sys; sys.exit('sentry_sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_secret_is_in_a_repr() -> None:
    settings = AlertSettings(webhook="https://hooks.example/hush", sentry_dsn="https://hush@sentry.example/1")
    assert "hush" not in repr(settings)


async def test_of_several_only_the_one_that_fails_is_dropped(
    memory: type[Memory], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(notice: Notice) -> Any:
        if notice.name == "bad":
            raise ValueError("hush")
        return event_of(notice)

    monkeypatch.setattr(alarms_sentry, "event_of", broken)
    sounder = SentrySounder(DSN, "host", memory)
    with capture_logs() as lines:
        for name in ("backlog", "bad", "disk"):
            sounder.sound(replace(NOTICE, name=name))
        await sounder.close()
    assert [each["tags"]["alert"] for each in memory.sent] == ["backlog", "disk"]
    assert [line["alert"] for line in lines] == ["bad"]
    assert "hush" not in str(lines)


async def test_without_the_sdk_each_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    sounder = SentrySounder(DSN, "host")
    with capture_logs() as lines:
        sounder.sound(NOTICE)
        sounder.sound(replace(NOTICE, name="disk"))
        await sounder.close()
    assert [(line["alert"], line["error"]) for line in lines] == [
        ("error_rate", "ModuleNotFoundError"),
        ("disk", "ModuleNotFoundError"),
    ]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("raise AttributeError('hush')", "AttributeError"),
        ("def", "SyntaxError"),
        ("import there_is_no_such_module", "ModuleNotFoundError"),
        ("", "AttributeError"),  # it has no Client
    ],
)
async def test_an_sdk_that_is_there_and_broken_holds_up_no_other(
    memory: type[Memory], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, error: str
) -> None:
    (tmp_path / "sentry_sdk.py").write_text(code)
    whole = sys.modules["sentry_sdk"]
    monkeypatch.delitem(sys.modules, "sentry_sdk")
    monkeypatch.syspath_prepend(tmp_path)
    sounder = SentrySounder(DSN, "host", memory)
    with capture_logs() as lines:
        sounder.sound(NOTICE)
        sounder.sound(replace(NOTICE, name="disk"))
        await until(lambda: len(lines) == 2)
    assert [(line["alert"], line["error"]) for line in lines] == [("error_rate", error), ("disk", error)]
    assert "hush" not in str(lines)
    monkeypatch.setitem(sys.modules, "sentry_sdk", whole)
    sounder.sound(OVER)
    await sounder.close()
    assert [each["message"] for each in memory.sent] == [OVER.text]


async def test_what_sentry_s_client_did_not_send_by_the_end_is_logged(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms_sentry, "FLUSH_S", 0.2)
    receiver.answer = never
    sounder = SentrySounder(f"http://public@127.0.0.1:{receiver.port}/1", "host")
    sounder.sound(NOTICE)
    await until(lambda: bool(receiver.got))
    with capture_logs() as lines:
        await sounder.close()
    assert [line["log_level"] for line in lines] == ["warning"]


# -- other places by a reload -----------------------------------------------------------------------------------------


async def test_another_url_is_told_what_the_old_one_did_not_take(receiver: Receiver, quick: None) -> None:
    receiver.answer = never
    other = await Receiver().start()
    settled: list[None] = []
    places = Places(ManualClock(), lambda: settled.append(None))
    places.rule("host", receiver.url, "")
    names = ["backlog", "disk", "error_rate"]
    notices = [replace(NOTICE, name=name) for name in names]
    for notice in notices:
        places.tell(notice)
    await until(lambda: bool(receiver.got))
    assert [*places.untold] == notices
    with capture_logs() as lines:
        places.rule("host", other.url, "")
        assert [*places.untold] == notices
        await until(lambda: not places.untold)
        await places.close()
    assert [each["name"] for each in told(other)] == names
    assert len(settled) == len(names)
    assert len(receiver.got) == 1
    assert [line["log_level"] for line in lines] == ["info"]
    await other.stop()


async def test_a_place_that_is_there_no_more_owes_nothing_and_says_what_it_did_not_tell(
    receiver: Receiver, quick: None
) -> None:
    receiver.answer = never
    places = Places(ManualClock(), lambda: None)
    places.rule("host", receiver.url, "")
    places.tell(NOTICE)
    await until(lambda: bool(receiver.got))
    with capture_logs() as lines:
        places.rule("host", "", "")
        assert not places.untold
        await places.close()
    assert [(line["log_level"], line["names"]) for line in lines] == [("warning", ["error_rate"])]


async def test_another_place_leaves_this_one_alone(receiver: Receiver, memory: type[Memory]) -> None:
    made: list[Where] = []

    def make(where: Where, url: str, source: str, clock: Clock, done: Done) -> Sounder | None:
        made.append(where)
        if where is Where.SENTRY:
            return SentrySounder(url, source, memory) if url else None
        return WebhookSounder(url, source, clock, done=done)

    places = Places(ManualClock(), lambda: None, make)
    places.rule("host", receiver.url, DSN)
    places.tell(NOTICE)  # the SDK is not read yet: it still waits
    places.rule("host", receiver.url, DSN.replace("public", "other"))
    places.rule("host", receiver.url, DSN.replace("public", "other"))
    assert made == [Where.SENTRY, Where.WEBHOOK, Where.SENTRY]
    await until(lambda: bool(memory.sent) and bool(receiver.got))
    await places.close()
    assert len(memory.sent) == len(receiver.got) == 1
