"""Three stories that chance tells too seldom: a backlog uses the whole ceiling, an idle daemon rests, and a message
whose end of life comes during its call is expired."""

from __future__ import annotations

from dataclasses import replace

import pytest

from smsd.core.account import ProviderRules
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.policy import RetryRules
from smsd.core.schedule import CAPACITY
from tests.simulation import config
from tests.simulation.carrier import Account, Weather
from tests.simulation.config import DAY_MS, SECOND_US
from tests.simulation.history import Letter
from tests.simulation.invariants import broken
from tests.simulation.script import Act
from tests.simulation.world import Run, run

HOUR_US = 3_600 * SECOND_US


class Plain(Run):
    """One honest provider without limits, and plain messages."""

    pace = Pace()
    ttl_ms = 3 * DAY_MS

    def configure(self) -> config.World:
        rules = ProviderRules(pace=self.pace)
        account = Account("alpha", rules, "none", None, 0)
        retry = RetryRules(jitter="none")
        provider = config.Provider("alpha", "none", rules, account)
        return config.World({"alpha": provider}, retry, retry, self.ttl_ms, CAPACITY, 10**6, False, False)

    def write(self) -> tuple[list[Act], int]:
        return [], HOUR_US

    async def _act_submit(self, act: Act) -> None:
        for _ in range(act.amount):
            self._submit(self.compose())

    def compose(self) -> Letter:
        plain = {"recipient": "+12025550123", "text": "Hello", "priority": "normal", "sender": None, "pin": None}
        times = {"send_at": None, "ttl_ms": self.ttl_ms, "max_attempts": None, "profile": None, "key": None}
        letter = super().compose()
        for name, value in {**plain, **times}.items():
            setattr(letter, name, value)
        return letter


PACES = {
    "1/min": (Pace((Window(1, 60 * SECOND_US),)), 60),
    "0.5/s": (Pace((Window(1, 2 * SECOND_US),)), 200),
    "100/min": (Pace((Window(100, 60 * SECOND_US),)), 300),
    "100/min, burst 100": (Pace((Window(100, 60 * SECOND_US),), burst=100), 300),
    "600/min": (Pace((Window(600, 60 * SECOND_US),)), 900),
    "2000/s": (Pace((Window(2_000, SECOND_US),)), 2_000),
    "10/s and 300/min": (Pace((Window(10, SECOND_US), Window(300, 60 * SECOND_US))), 900),
}


@pytest.mark.parametrize("name", PACES)
def test_a_backlog_uses_the_ceiling(name: str) -> None:
    """At least 98 % of what the tightest window allows, and never more than any allows."""
    chosen, waiting = PACES[name]

    class Backlog(Plain):
        pace = chosen

        def write(self) -> tuple[list[Act], int]:
            return [Act(0, "submit", waiting)], 1

        def compose(self) -> Letter:
            return replace(super().compose(), recipient=f"+1202555{len(self.history.letters) % 10_000:04d}")

        def configure(self) -> config.World:
            world = super().configure()
            provider = world.providers["alpha"]
            provider.rules = replace(provider.rules, max_in_flight=500)
            provider.account.weather = Weather(latency_ms=(20, 100))
            return world

    history = run(0, story=Backlog)

    assert broken(history) == {}
    starts = [call.start_us for call in history.calls]
    assert len(starts) == waiting
    tightest = min(window.limit / window.span_us for window in chosen.windows)
    # The first window may be filled at once where a burst is allowed; from then on the ceiling is what there is.
    skipped = chosen.burst if chosen.burst > 1 else 1
    used = (len(starts) - skipped) / ((starts[-1] - starts[0]) * tightest)
    assert used >= 0.98


def test_an_idle_daemon_rests() -> None:
    """Nothing is polled: an hour without work costs one look at the clock each 30 s for each part of the loop."""

    class Idle(Plain):
        turns = 0

        async def _come_to_rest(self) -> None:
            await super()._come_to_rest()
            before = self.loop.turns
            await self._until(self.loop.now_us + HOUR_US)
            type(self).turns = self.loop.turns - before

    assert broken(run(0, story=Idle)) == {}
    assert 0 < Idle.turns <= 3 * 120 + 20


def test_an_end_of_life_during_the_call_is_noticed_after_it() -> None:
    """The answer "later" comes after the end of life: the message is expired then, not forgotten."""

    class Late(Plain):
        ttl_ms = 2_000

        def configure(self) -> config.World:
            world = super().configure()
            world.providers["alpha"].account.weather = Weather({"deferred": 100}, latency_ms=(6_000, 6_000))
            return world

        def write(self) -> tuple[list[Act], int]:
            return [Act(0, "submit", 1)], 30 * SECOND_US

    history = run(0, story=Late)

    assert broken(history) == {}
    assert len(history.calls) == 1
    (message,) = history.outbox
    assert message.state is State.EXPIRED
    assert message.processed_at is not None
    assert message.processed_at - message.expires_at < 5_000
