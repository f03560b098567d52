"""What if a limit's answer comes after the rules have changed, or the clock; and how often is a full window told?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from smsd.core.events import Kind
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Instant, Message
from smsd.core.retry import RetryRules
from smsd.store import Blocked, Claim
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import Rig

HOUR_MS = 3_600_000


class Slow(SqliteOutbox):
    """Answers claims some milliseconds late, as a disk does."""

    late_s = 0.005
    meanwhile: Callable[[Message | Blocked | None], None] = staticmethod(lambda found: None)

    async def begin(self, claims: Sequence[Claim], now: Instant) -> list[Message | Blocked | None]:
        found = await super().begin(claims, now)
        for each in found:
            self.meanwhile(each)
        await asyncio.sleep(self.late_s)
        return found


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    rig = Rig(tmp_path)
    rig.outbox = Slow
    return rig


def test_a_claim_answered_after_a_reload_holds_nobody_up_by_a_rule_that_is_gone(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 1, 24 * HOUR_MS),)

    async def story() -> None:
        await rig.start()
        await rig.accepted(text="one")
        await rig.seconds(1)
        id = await rig.accepted(text="two")
        await rig.seconds(0.002)  # its claim was made, and is not answered
        rig.limits = ()
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_claim_answered_after_the_clock_was_set_back_holds_nobody_up_until_then(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 1, 60_000),)
    stepped: list[bool] = []

    def step(found: Message | Blocked | None) -> None:
        if isinstance(found, Blocked) and not stepped:
            stepped.append(True)
            rig.clock.step(-240 * HOUR_MS)
            rig.engine.steps.wall()

    async def story() -> None:
        await rig.start()
        assert isinstance(rig.store, Slow)
        rig.store.meanwhile = step
        await rig.accepted(text="one", ttl="30d")
        await rig.seconds(1)
        id = await rig.accepted(text="two", ttl="30d")
        await rig.seconds(120)
        assert stepped
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_refusal_that_costs_an_attempt_is_told_as_a_retry(rig: Rig) -> None:
    rig.limits = (Rule(Per.RECIPIENT, 1, HOUR_MS, Action.RETRY),)
    rig.retry = RetryRules(max_attempts=3, backoff_ms=3_000, multiplier=2, jitter="none")

    async def story() -> None:
        await rig.start()
        await rig.accepted(text="one")
        await rig.seconds(1)
        await rig.accepted(text="two")
        await rig.seconds(1)
        told = [event for event in rig.events if event.kind is Kind.MESSAGE_RETRY_SCHEDULED]
        assert [(event.fields["category"], event.fields["delay_ms"]) for event in told] == [("LIMIT_EXCEEDED", 3_000)]
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("rule", [Rule(Per.SENDER, 1, 60_000), Rule(Per.TENANT, 1, 60_000, Action.REJECT)])
def test_a_full_window_is_told_once_a_minute_with_how_often_it_was_met(rig: Rig, rule: Rule) -> None:
    rig.limits = (rule,)

    async def story() -> None:
        await rig.start()
        for n in range(100):
            await rig.submit(to=f"+1415555{n:04}")
        await rig.seconds(70)
        await rig.submit(to="+14155559999")
        await rig.submit(to="+14155559998")
        await rig.seconds(1)
        hits = [event.fields["hits"] for event in rig.events if event.kind is Kind.LIMIT_HIT]
        assert len(hits) == 2
        assert hits[0] == 1
        assert isinstance(hits[1], int)
        assert hits[1] > 90
        await rig.stop()

    rig.run(story)


def test_two_rules_of_one_rate_are_two(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 2, 60_000), Rule(Per.TENANT, 2, 60_000, Action.REJECT))

    async def story() -> None:
        await rig.start()
        assert rig.engine.way_out.limits.rules == rig.limits
        for _ in range(2):
            await rig.accepted()
        assert await rig.refused() == "limit_exceeded"
        told = [event.fields["action"] for event in rig.events if event.kind is Kind.LIMIT_HIT]
        assert told == ["reject"]
        await rig.stop()

    rig.run(story)
