"""What does the engine do when time jumps: set back, set ahead, or run on while the machine sleeps?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from smsd.core.callback import CallbackRules
from smsd.core.pacing import Pace, Window
from smsd.core.units import rfc3339
from smsd.engine.callout import Reply
from smsd.providers.base import Outcome
from smsd.store import DiskFullError, Step
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import ACCEPTED, LOST, Rig, answer

HOUR = 3_600_000
DAY_S = 86_400
SLACK_S = 31
"""However quiet it is, the clocks are looked at every 30 s."""

TOLD = CallbackRules(urls={"shop": "https://shop.example/told"}, secret=("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",))

JUMPS: dict[str, Callable[[Rig], None]] = {
    "an hour back": lambda rig: rig.clock.step(-HOUR),
    "an hour ahead": lambda rig: rig.clock.step(HOUR),
    "a day of sleep": lambda rig: rig.clock.suspend(24 * HOUR),
}

jumps = pytest.mark.parametrize("jump", JUMPS.values(), ids=JUMPS)


@dataclass
class Calls:
    """Takes everything, or does as it is told, and notes when (boot time, s) which text came."""

    rig: Rig
    script: list[Outcome | str] = field(default_factory=list)
    made: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rig.carrier.answers = self

    def __call__(self, name: str, form: dict[str, str]) -> Outcome | str:
        self.made.append((self.rig.clock.boot() / 1e6, form["Body"]))
        return self.script.pop(0) if self.script else ACCEPTED

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.made]


BUSY = answer(503, code=20503, message="busy")


@jumps
def test_a_retry_comes_no_later_than_the_clock_is_looked_at(rig: Rig, jump: Callable[[Rig], None]) -> None:
    calls = Calls(rig, [BUSY])

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(ttl="30d")
        await rig.seconds(1)
        assert await rig.state(id) == "pending"
        jump(rig)
        await rig.seconds(SLACK_S + 3)
        assert await rig.state(id) == "sent"
        assert len(calls.made) == 2
        await rig.stop()

    rig.run(story)


def test_set_ahead_a_retry_waits_as_long_as_it_had_to(rig: Rig) -> None:
    calls = Calls(rig, [BUSY] * 3)

    async def story() -> None:
        await rig.start()
        await rig.accepted(ttl="30d")
        for _ in range(3):
            rig.clock.step(HOUR)
            await rig.seconds(0.1)
            rig.engine.way_out.dispatcher.kick()
            await rig.seconds(5)
        await rig.seconds(60)
        at = [round(at - calls.made[0][0]) for at, _ in calls.made]
        assert at == [0, 3, 9, 21]
        await rig.stop()

    rig.run(story)


@jumps
def test_a_backlog_goes_on_in_order_and_no_window_is_exceeded(rig: Rig, jump: Callable[[Rig], None]) -> None:
    calls = Calls(rig)
    rig.providers[0] = (rig.providers[0][0], rig.rules(pace=Pace((Window(10, 10_000_000),))))

    async def story() -> None:
        await rig.start()
        for n in range(60):
            await rig.accepted(text=f"{n}", ttl="30d")
        for _ in range(3):
            await rig.seconds(8.3)
            jump(rig)
        await rig.seconds(60)
        assert calls.texts == [f"{n}" for n in range(60)]
        times = [at for at, _ in calls.made]
        assert all(later - earlier >= 10 for earlier, later in zip(times, times[10:], strict=False))
        # 60 at one a second, and at most one look at the clock for each jump.
        assert rig.loop.now_us / 1e6 < 60 + 3 * SLACK_S + 25
        await rig.stop()

    rig.run(story)


@jumps
def test_a_message_of_many_segments_does_not_wait_at_the_gate(rig: Rig, jump: Callable[[Rig], None]) -> None:
    calls = Calls(rig)
    pace = Pace((Window(3, 3_600_000_000),), burst=3, unit="segments")
    rig.providers[0] = (rig.providers[0][0], rig.rules(pace=pace))

    async def story() -> None:
        await rig.start()
        await rig.accepted(text="x", ttl="30d")
        await rig.accepted(text="y" * 400, ttl="30d")
        await rig.seconds(10)
        assert len(calls.made) == 1
        before = rig.clock.boot() / 1e6
        jump(rig)
        slept = rig.clock.boot() / 1e6 - before
        await rig.seconds(SLACK_S + max(0, 3_600 - slept))
        assert len(calls.made) == 2
        assert calls.made[1][0] - calls.made[0][0] >= 3_600
        await rig.stop()

    rig.run(story)


@jumps
def test_a_named_time_is_a_time_of_the_wall_clock(rig: Rig, jump: Callable[[Rig], None]) -> None:
    Calls(rig)

    async def story() -> None:
        await rig.start()
        send_at = rig.clock.wall() + 1_800_000
        id = await rig.accepted(send_at=rfc3339(send_at), ttl="30d")
        await rig.seconds(5)
        jump(rig)
        left_s = max(0, send_at - rig.clock.wall()) / 1e3
        await rig.seconds(max(0, left_s - 1))
        if left_s:
            assert await rig.state(id) == "pending"
        await rig.seconds(SLACK_S)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


@jumps
def test_nothing_is_looked_up_too_soon_or_sent_twice(rig: Rig, jump: Callable[[Rig], None]) -> None:
    """The provider takes a text, the answer is lost, and its list shows the text after eight seconds."""
    taken: list[tuple[int, dict[str, str]]] = []
    looks: list[float] = []

    def lose(name: str, form: dict[str, str]) -> Outcome | str:
        rig.carrier.take(form)
        taken.append((rig.clock.boot(), rig.carrier.taken.pop()))
        return LOST

    def listed(request: object) -> Outcome:
        looks.append(rig.clock.boot() / 1e6)
        rig.carrier.taken = [form for at, form in taken if rig.clock.boot() - at >= 8_000_000]
        return rig.carrier.listed(request)  # type: ignore[arg-type]  # handed through

    rig.carrier.answers, rig.carrier.look_up = lose, listed

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(ttl="30d")
        await rig.seconds(5.5)
        assert len(looks) == 1
        jump(rig)
        await rig.seconds(SLACK_S + 10)
        assert await rig.state(id) == "sent"
        assert looks[1] - looks[0] >= 10
        assert len(taken) == 1
        await rig.stop()

    rig.run(story)


@jumps
def test_a_cooldown_lasts_as_long_as_it_was_meant_to(rig: Rig, jump: Callable[[Rig], None]) -> None:
    calls = Calls(rig, [answer(429, code=20429, message="Too many requests")])

    async def story() -> None:
        await rig.start()
        await rig.accepted(text="first", ttl="30d")
        await rig.accepted(text="second", ttl="30d")
        await rig.seconds(1)
        before, calls_before = rig.clock.boot() / 1e6, len(calls.made)
        jump(rig)
        slept = rig.clock.boot() / 1e6 - before
        left_s = max(0, 299 - slept)
        await rig.seconds(max(0, left_s - 2))
        if left_s:
            assert len(calls.made) == calls_before
        await rig.seconds(SLACK_S + 2)
        assert sorted(calls.texts[-2:]) == ["first", "second"]
        await rig.stop()

    rig.run(story)


def test_a_step_made_while_it_was_down_holds_nothing_up(rig: Rig) -> None:
    calls = Calls(rig, [BUSY])

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(ttl="30d")
        await rig.seconds(1)
        await rig.crash()
        rig.clock.step(-HOUR)
        await rig.start()
        await rig.seconds(5)
        assert await rig.state(id) == "sent"
        assert len(calls.made) == 2
        await rig.stop()

    rig.run(story)


def test_many_small_steps_are_one(rig: Rig) -> None:
    Calls(rig, [BUSY])

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(ttl="30d")
        await rig.seconds(1)
        for _ in range(1_000):
            rig.clock.step(-400)
            rig.engine.steps.wall()
        await rig.seconds(4)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


class FullOnce(SqliteOutbox):
    """The first piece finds no room."""

    refusals = 2

    async def follow_step(self, step: Step) -> Step | None:
        if self.refusals:
            self.refusals -= 1
            raise DiskFullError("there is no room")
        return await super().follow_step(step)


def test_an_outbox_that_cannot_write_holds_a_step_up_no_longer_than_that(rig: Rig) -> None:
    Calls(rig, [BUSY])
    rig.outbox = FullOnce

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(ttl="30d")
        await rig.seconds(1)
        rig.clock.step(-HOUR)
        rig.engine.way_out.dispatcher.kick()
        await rig.seconds(6)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_thousand_retries_do_not_come_at_once(rig: Rig) -> None:
    """The clock is set ahead over the due times of all of them."""
    rig.budget = 0.2
    rig.providers[0] = (rig.providers[0][0], rig.rules(breaker=None))
    calls = Calls(rig, [BUSY] * 200)

    async def story() -> None:
        await rig.start()
        for n in range(200):
            await rig.accepted(text=f"{n}", ttl="30d")
        await rig.seconds(2)
        assert len(calls.made) == 200
        rig.clock.step(HOUR)
        rig.engine.way_out.dispatcher.kick()
        await rig.seconds(60)
        assert len(calls.made) == 400
        seconds = [int(at) for at, _ in calls.made[200:]]
        assert max(seconds.count(second) for second in seconds) <= 45
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("by", [-4 * 24 * HOUR, 4 * 24 * HOUR], ids=["back", "ahead"])
def test_what_is_to_be_told_is_told_as_soon_as_without_a_step(rig: Rig, by: int) -> None:
    """Ahead by more than a callback's life for some minutes, or back by as much, and then right again."""
    up, told = [False], list[float]()

    async def application(url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        if up[0]:
            told.append(rig.clock.boot() / 1e6)
        return Reply(204) if up[0] else Reply(error="connection refused")

    rig.application = application
    rig.messages = type(rig.messages)(callbacks=TOLD)

    async def story() -> None:
        await rig.start()
        await rig.accepted()
        await rig.seconds(60)
        rig.clock.step(by)
        await rig.accepted(text="by a clock that is wrong")
        await rig.seconds(400)
        rig.clock.step(-by)
        await rig.seconds(60)
        counts = await rig.engine.way_back.callbacks.counts()
        assert (counts.waiting, counts.failed) == (2, 0)
        up[0], since = True, rig.clock.boot() / 1e6
        await rig.seconds(1_000)
        assert len(told) == 2
        assert told[-1] - since < 900, "the wait of ten minutes at most, and a rest"
        await rig.stop()

    rig.run(story)
