"""The gate: in order, at the ceiling's pace, measured when the call begins; closed, nobody passes."""

from __future__ import annotations

import asyncio

from smsd.core.pacing import Pace, Pacer, Window
from smsd.engine.gate import Gate
from tests.doubles.clock import ManualClock


class LoopClock(ManualClock):
    """Boot time follows the event loop, so that real timers and the pacer agree."""

    def boot(self) -> int:
        return int(asyncio.get_running_loop().time() * 1e6)


def gate(limit: int, span_us: int, burst: int = 1) -> Gate:
    return Gate(Pacer(Pace((Window(limit, span_us),), burst=burst)), LoopClock())


async def test_all_pass_in_order_and_evenly() -> None:
    door = gate(100, 1_000_000)
    passed: list[tuple[int, float]] = []

    async def attempt(number: int) -> None:
        assert await door.enter(1)
        passed.append((number, asyncio.get_running_loop().time()))

    await asyncio.gather(*(attempt(number) for number in range(6)))
    assert [number for number, _ in passed] == list(range(6))
    assert passed[-1][1] - passed[0][1] >= 5 * 0.010 - 0.021
    assert door.waiting == 0


async def test_a_closed_gate_turns_everyone_away_and_charges_nothing() -> None:
    door = gate(1, 60_000_000)
    assert await door.enter(1)
    waiting = [asyncio.create_task(door.enter(1)) for _ in range(3)]
    await asyncio.sleep(0)
    assert door.waiting == 3
    door.set_open(False)
    assert await asyncio.gather(*waiting) == [None, None, None]
    assert not await door.enter(1)
    assert door.waiting == 0
    door.set_open(True)
    assert door.pacer.opens_at() > LoopClock().boot() + 50_000_000


async def test_one_who_gives_up_does_not_hold_up_the_next() -> None:
    door = gate(50, 1_000_000)
    assert await door.enter(1)
    first = asyncio.create_task(door.enter(1))
    second = asyncio.create_task(door.enter(1))
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.wait_for(second, 1)
    assert first.cancelled()


async def test_several_pass_at_one_wake_when_the_burst_allows() -> None:
    door = gate(1_000, 1_000_000, burst=20)
    assert all(await asyncio.wait_for(asyncio.gather(*(door.enter(1) for _ in range(20))), 1))
