"""Ten thousand failures within a minute: one alert and one recovery, wherever alerts are told, and nothing waits."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smsd.core.acceptance import MessageRules, Origin
from smsd.core.account import ProviderRules
from smsd.core.alerting import AlertRules
from smsd.core.events import Event, Kind
from smsd.core.pacing import Pace
from smsd.core.retry import RetryRules
from smsd.engine import alarms, alerts
from smsd.engine.alerts import AlertSettings
from smsd.engine.bus import Bus
from smsd.engine.engine import Engine
from smsd.engine.intake import Accepted, Answer
from smsd.store.sqlite import SqliteOutbox
from smsd.wire import Submission
from tests.doubles.clock import ManualClock
from tests.doubles.receiver import OK, Got, Receiver, status
from tests.doubles.scripted import ScriptedExchange
from tests.engine.rig import Rig, answer, setting, twilio
from tests.listeners.house import until

BAD_NUMBER = answer(400, code=21211, message="invalid")
RULES = AlertRules(auth_halt=True, disk=True, error_rate=0.01, backlog=1_000_000, cooldowns=3)


class Running:
    """A real engine on the test's own loop, whose clock moves when told to."""

    def __init__(self, rig: Rig, settings: AlertSettings) -> None:
        self.clock = ManualClock()
        self.events: list[Event] = []
        self.bus = Bus()
        self.bus.subscribe(self.events.append)
        self.works = False
        self._ids = 0
        rig.settings = (setting(twilio(), ProviderRules(Pace(), senders=("+15005550006",), max_in_flight=256)),)
        rig.messages, rig.retry = MessageRules(), RetryRules(jitter="none")
        self.store = SqliteOutbox(rig.path, on_fatal=self.died, synchronous="normal", boot_us=self.clock.boot)
        self.engine = Engine(
            replace(rig.plan(), alerts=settings),
            self.store,
            ScriptedExchange(
                lambda request, n: answer(201, sid=f"SM{n:032d}", status="queued") if self.works else BAD_NUMBER
            ),
            self.clock,
            self.bus,
            lambda: 0.5,
            self._new_id,
            self.died,
        )

    def died(self, error: BaseException) -> None:
        raise error

    def _new_id(self) -> str:
        self._ids += 1
        return f"01a2049a-0000-7000-8000-{self._ids:012d}"

    async def texts(self, count: int) -> None:
        """Accepted, called, and over."""
        answers: list[Answer] = []
        for n in range(count):
            self.engine.intake.submit(
                Submission(to=f"+1415555{n % 10_000:04d}", text="hush"), Origin("shop"), None, answers.append
            )
            if n % 500 == 499:
                await asyncio.sleep(0)
        await until(lambda: len(answers) == count and self.engine.tally.backlog == 0, 30)
        assert all(isinstance(each, Accepted) for each in answers)

    def told(self) -> list[str]:
        return [each.kind.value for each in self.events if each.kind in {Kind.ALERT_RAISED, Kind.ALERT_CLEARED}]

    async def come_to_an_end(self) -> None:
        """The window goes on, and the alert is over."""
        self.works = True
        for _ in range(3):
            self.clock.advance(16 * 60_000)
            await self.texts(1)
            await asyncio.sleep(0.5)


@asynccontextmanager
async def running(directory: Path, settings: AlertSettings) -> AsyncIterator[Running]:
    rig = Rig(directory)
    rig.loop.close()
    found = Running(rig, settings)
    await found.engine.start()
    try:
        yield found
    finally:
        await found.engine.drain(1)
        await found.engine.stop()


def sentry_events(receiver: Receiver) -> list[dict[str, Any]]:
    """Of the envelopes that came (https://develop.sentry.dev/sdk/data-model/envelopes/): each event."""
    found: list[dict[str, Any]] = []
    for got in receiver.got:
        body = gzip.decompress(got.body) if got.headers.get("content-encoding") == "gzip" else got.body
        lines = [json.loads(line) for line in body.splitlines()]
        found += [event for head, event in zip(lines[1::2], lines[2::2], strict=True) if head["type"] == "event"]
    return found


@pytest.fixture
async def slack() -> AsyncIterator[Receiver]:
    found = await Receiver().start()
    yield found
    await found.stop()


@pytest.fixture
async def sentry() -> AsyncIterator[Receiver]:
    found = await Receiver(answer=lambda got: status(200, body=b"{}")).start()
    yield found
    await found.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "LOOK_S", 0.2)
    monkeypatch.setattr(alarms, "GRACE_S", 0.2)


async def test_ten_thousand_failures_are_one_alert_and_one_recovery(
    tmp_path: Path, slack: Receiver, sentry: Receiver
) -> None:
    settings = AlertSettings(RULES, "host", slack.url, f"http://public@127.0.0.1:{sentry.port}/1")
    async with running(tmp_path, settings) as run:
        for _ in range(10):
            await run.texts(1_000)
            run.clock.advance(6_000)
        assert Counter(each.kind for each in run.events)[Kind.MESSAGE_FAILED] == 10_000
        await until(lambda: bool(slack.got) and bool(sentry.got))
        await run.come_to_an_end()
        assert run.told() == ["alert.raised", "alert.cleared"]
        await until(lambda: len(slack.got) >= 2 and len(sentry.got) >= 2)
    posts = [json.loads(got.body) for got in slack.got]
    assert [(each["name"], each["state"]) for each in posts] == [("error_rate", "raised"), ("error_rate", "cleared")]
    assert posts[0]["value"] == 1.0
    events = sentry_events(sentry)
    assert [each["tags"]["state"] for each in events] == ["raised", "cleared"]
    assert {tuple(each["fingerprint"]) for each in events} == {("smsd", "INVALID_RECIPIENT")}
    everything = b"".join(got.body for got in slack.got) + json.dumps(events).encode()
    assert b"hush" not in everything
    assert b"+1415555" not in everything


@pytest.mark.parametrize("how", ["500", "hangs", "gone"])
async def test_a_webhook_that_does_not_work_holds_up_nothing(tmp_path: Path, slack: Receiver, how: str) -> None:
    free = asyncio.Event()

    async def hang(got: Got) -> bytes:
        await free.wait()
        return OK

    slack.answer = (lambda got: status(500)) if how == "500" else hang
    if how == "gone":
        await slack.stop()
    async with running(tmp_path, AlertSettings(RULES, "host", slack.url)) as run:
        await run.texts(200)
        await until(lambda: run.told() == ["alert.raised"])
        run.works = True
        began = asyncio.get_running_loop().time()
        await run.texts(1_000)
        assert asyncio.get_running_loop().time() - began < 5
        ended = asyncio.get_running_loop().time()
        free.set()
    assert asyncio.get_running_loop().time() - ended < 5
