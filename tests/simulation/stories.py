"""Which worlds are drawn by hand, because chance draws them too seldom?

Each is a Run with its own configuration and script; everything else, the look back and the invariants included, is as
in a world of chance.
"""

from __future__ import annotations

import asyncio
import contextlib

from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace, Window
from smsd.core.retry import RetryRules
from smsd.core.schedule import CAPACITY
from tests.simulation import config
from tests.simulation.carrier import Account, Weather
from tests.simulation.config import DAY_MS, SECOND_US
from tests.simulation.history import History, Letter
from tests.simulation.script import Act
from tests.simulation.world import Run

HOUR_US = 3_600 * SECOND_US


class Plain(Run):
    """Honest providers, and plain messages to one number, submitted all at once."""

    names: tuple[str, ...] = ("alpha",)
    pace = Pace()
    max_in_flight = 32
    ttl_ms = 3 * DAY_MS

    def configure(self) -> config.World:
        rules = ProviderRules(pace=self.pace, max_in_flight=self.max_in_flight)
        retry = RetryRules(jitter="none")
        providers = {
            name: config.Provider(name, "none", rules, Account(name, rules, "none", None, 0)) for name in self.names
        }
        return config.World(providers, retry, retry, self.ttl_ms, CAPACITY, 10**6, False, False)

    def weather(self, weather: Weather) -> None:
        """From now on at every provider."""
        for account in self.network.accounts.values():
            account.weather = weather

    def write(self) -> tuple[list[Act], int]:
        return [], HOUR_US

    async def _act_submit(self, act: Act) -> None:
        for _ in range(act.amount):
            self._submit(self.compose())

    def compose(self) -> Letter:
        plain = {"recipient": "+12025550123", "text": "Hello", "tenant": "shop", "priority": "normal"}
        usual = {"sender": None, "pin": None}
        times = {"send_at": None, "ttl_ms": self.ttl_ms, "max_attempts": None, "profile": None, "key": None}
        letter = super().compose()
        for name, value in {**plain, **usual, **times}.items():
            setattr(letter, name, value)
        return letter


class LateAnswer(Plain):
    """The answer "later" comes after the message's end of life."""

    ttl_ms = 2_000

    def write(self) -> tuple[list[Act], int]:
        return [Act(1, "storm"), Act(2, "submit", 1)], 30 * SECOND_US

    async def _act_storm(self, act: Act) -> None:
        self.weather(Weather({"deferred": 100}, latency_ms=(6_000, 6_000)))


class FullAtTheClaim(Plain):
    """A backlog waits behind a pause; when it is lifted the disk is full, and the first claims fail."""

    def write(self) -> tuple[list[Act], int]:
        acts = [Act(0, "pause"), Act(SECOND_US, "submit", 60), Act(2 * SECOND_US, "full"), Act(3 * SECOND_US, "resume")]
        return acts, 60 * SECOND_US

    async def _act_full(self, act: Act) -> None:
        self.disk.full = True
        self.loop.call_later(10, setattr, self.disk, "full", False)


class Failover(Plain):
    """The first provider is paused in the middle of a backlog and stays so: the second one takes it over."""

    names = ("alpha", "beta")
    max_in_flight = 1

    def write(self) -> tuple[list[Act], int]:
        return [Act(0, "submit", 20), Act(SECOND_US, "pause")], 60 * SECOND_US

    async def _act_pause(self, act: Act) -> None:
        await self._pause(self._service(), "alpha")

    async def _make_peace(self) -> None:
        pass


class DiesOfAText(Plain):
    """The daemon ends each time while it calls for one message."""

    ttl_ms = 30 * DAY_MS

    def write(self) -> tuple[list[Act], int]:
        return [Act(0, "silence"), Act(1, "submit", 1), *[Act(n, "crash") for n in range(2, 8)]], HOUR_US

    async def _act_silence(self, act: Act) -> None:
        self.weather(Weather({"lost call": 100}))

    async def _act_crash(self, act: Act) -> None:
        """At the next call; if none comes, not at all."""
        self.network.next_call.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.network.next_call.wait(), 600)
            await self._crash()
            await self._start("a crash")


class Contest(Plain):
    """Two tenants have a backlog for one slow provider; one of them in ten campaigns."""

    pace = Pace((Window(10, SECOND_US),))
    max_in_flight = 1

    def write(self) -> tuple[list[Act], int]:
        return [Act(0, "pause"), Act(1, "submit", 200), Act(SECOND_US, "resume")], 60 * SECOND_US

    async def tell(self) -> History:
        self.history.contest = ("shop", "bank")
        return await super().tell()

    def compose(self) -> Letter:
        letter, n = super().compose(), len(self.history.letters)
        letter.recipient = f"+1202555{n:04d}"
        if n % 2:
            letter.tenant, letter.campaign = "bank", f"campaign {n % 20}"
        return letter


class SetBack(Plain):
    """The clock is set back by two hours under a backlog that waits behind a pause."""

    def write(self) -> tuple[list[Act], int]:
        acts = [Act(0, "pause"), Act(SECOND_US, "submit", 60), Act(60 * SECOND_US, "step", -7_200_000)]
        return [*acts, Act(300 * SECOND_US, "probe"), Act(301 * SECOND_US, "resume")], 310 * SECOND_US


class LaterAll(Plain):
    """Everything is deferred, all at once."""

    def write(self) -> tuple[list[Act], int]:
        return [Act(0, "storm"), Act(1, "submit", 60)], 60 * SECOND_US

    async def _act_storm(self, act: Act) -> None:
        self.weather(Weather({"deferred": 100}))
