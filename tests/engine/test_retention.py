"""When the retention steps, and that it rests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from smsd.core.message import Instant, State
from smsd.core.units import DAY, HOUR
from smsd.engine import retention
from smsd.engine.retention import Retention
from smsd.store import DiskFullError
from smsd.store.operators import Removed, RetentionRules
from tests.doubles.clock import ManualClock


class Outbox:
    """A Removal that has so many steps to take, and takes so long for each."""

    def __init__(self, rows: Sequence[int], following: Instant | None = None, step_s: float = 0.0) -> None:
        self.rows = list(rows)
        self.following = following
        self.step_s = step_s
        self.steps: list[float] = []
        self.ruled: list[RetentionRules] = []
        self.in_force: RetentionRules | None = None
        self.shrinks = 2
        self.fails = False
        self.stepped = asyncio.Event()

    def rule(self, rules: RetentionRules) -> None:
        self.in_force = rules

    async def delete(self, ids: Sequence[str], tenant: str | None, now: Instant) -> list[State | None]:
        raise AssertionError("nobody asked for it")

    async def step(self, rules: RetentionRules, now: Instant) -> Removed:
        self.ruled.append(rules)
        self.steps.append(asyncio.get_running_loop().time())
        self.stepped.set()
        if self.fails:
            raise DiskFullError("there is no room")
        await asyncio.sleep(self.step_s)
        if not self.rows:
            return Removed(0, done=True, next=self.following)
        return Removed(self.rows.pop(0), done=False, what="messages")

    async def shrink(self) -> bool:
        self.shrinks -= 1
        return self.shrinks > 0


async def test_a_pass_takes_all_steps_and_counts_what_went() -> None:
    counted: list[tuple[str, int]] = []
    box = Outbox([100, 0, 7])
    parts = Retention(box, ManualClock(), lambda what, rows: counted.append((what, rows)))
    assert await parts.once() == retention.LATEST_S
    assert counted == [("messages", 100), ("messages", 7)]
    assert (len(box.steps), box.shrinks) == (4, 0)


async def test_the_next_pass_is_when_something_may_be_old() -> None:
    clock = ManualClock()
    for ms, wait_s in ((-5, 60.0), (90_000, 90.0), (DAY, 3_600.0)):
        assert await Retention(Outbox([], clock.wall() + ms), clock, lambda what, rows: None).once() == wait_s


async def test_between_two_steps_it_rests_for_four_times_as_long() -> None:
    box = Outbox([1, 1, 1], step_s=0.02)
    await Retention(box, ManualClock(), lambda what, rows: None).once()
    gaps = [after - before for before, after in zip(box.steps, box.steps[1:], strict=False)]
    assert min(gaps) >= 0.02 * (1 + retention.RESTS) - 0.005


async def test_other_rules_begin_a_pass_at_once() -> None:
    box = Outbox([])
    parts = Retention(box, ManualClock(), lambda what, rows: None)
    task = asyncio.get_running_loop().create_task(parts.run())
    await asyncio.sleep(0)
    assert not box.steps, "the first pass is a minute after the start"
    rules = RetentionRules(finished_ms=HOUR)
    parts.rule(rules)
    async with asyncio.timeout(5):
        await box.stepped.wait()
    assert box.ruled == [rules]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_an_operators_deletion_goes_by_the_rules_before_the_first_pass() -> None:
    box, rules = Outbox([]), RetentionRules(calls_ms=8 * DAY)
    Retention(box, ManualClock(), lambda what, rows: None).rule(rules)
    assert box.in_force == rules


async def test_a_failure_is_logged_and_tried_again() -> None:
    box = Outbox([])
    box.fails = True
    with structlog.testing.capture_logs() as logs:
        assert await Retention(box, ManualClock(), lambda what, rows: None).once() == retention.SOONEST_S
    assert [line["error"] for line in logs] == ["there is no room"]
