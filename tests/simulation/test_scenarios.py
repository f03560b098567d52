"""What must come out of the stories that chance tells too seldom?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.verdict import Category
from tests.simulation.config import SECOND_US
from tests.simulation.history import Letter
from tests.simulation.invariants import broken
from tests.simulation.script import Act
from tests.simulation.stories import HOUR_US, DiesOfAText, Failover, FullAtTheClaim, LateAnswer, Plain
from tests.simulation.world import run

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
        max_in_flight = 500

        def write(self) -> tuple[list[Act], int]:
            return [Act(0, "submit", waiting)], 1

        def compose(self) -> Letter:
            return replace(super().compose(), recipient=f"+1202555{len(self.history.letters) % 10_000:04d}")

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
    """The message is expired then, not forgotten."""
    history = run(0, story=LateAnswer)

    assert broken(history) == {}
    assert len(history.calls) == 1
    (message,) = history.outbox
    assert message.state is State.EXPIRED
    assert message.processed_at is not None
    assert message.processed_at - message.expires_at < 5_000


def test_a_claim_that_failed_keeps_its_place() -> None:
    """After the disk has room again the backlog goes out in the order in which it came."""
    history = run(0, story=FullAtTheClaim)

    assert broken(history) == {}
    assert [call.id for call in history.calls] == [message.id for message in history.outbox]


def test_a_paused_provider_hands_its_backlog_over() -> None:
    """What it had not begun goes out by the next provider."""
    history = run(0, story=Failover)

    assert broken(history) == {}
    assert {message.state for message in history.outbox} == {State.SENT}
    assert [call.provider for call in history.calls if call.start_us > SECOND_US] == ["beta"] * (
        20 - sum(call.start_us <= SECOND_US for call in history.calls)
    )


def test_a_text_that_ends_the_daemon_three_times_is_parked() -> None:
    """It was in a call at each crash; it may be the cause."""
    history = run(0, story=DiesOfAText)

    assert broken(history) == {}
    assert [why for _, why in history.lives] == ["the first start", "a crash", "a crash", "a crash"]
    assert len(history.calls) == 3
    (message,) = history.outbox
    assert message.error is not None
    assert (message.state, message.error.category) == (State.FAILED, Category.UNCERTAIN)
