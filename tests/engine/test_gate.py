"""The gate: in order, at the ceiling's pace, measured when the call begins; closed, nobody passes."""

from __future__ import annotations

import asyncio

from smsd.core.pacing import Pace, Pacer, Window
from smsd.engine.gate import Gate, Line
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


# -- the gates of one account -----------------------------------------------------------------------------------------


def line(limit: int, *own: Pace, burst: int = 1, unit: str = "messages") -> list[Gate]:
    """The gates of an account that may start so many a second."""
    account = Line(Pacer(Pace((Window(limit, 1_000_000),), burst=burst, unit=unit)))
    gates = [Gate(Pacer(pace), LoopClock()) for pace in own]
    for each in gates:
        each.share(account)
    return gates


async def passing(order: list[str], name: str, door: Gate, segments: int = 1) -> None:
    if await door.enter(segments) is not None:
        order.append(name)


async def test_in_one_account_who_came_first_passes_first() -> None:
    one, two, three = line(100, Pace(), Pace(), Pace())
    order: list[str] = []
    came = [("a1", one), ("a2", one), ("b1", two), ("a3", one), ("c1", three), ("b2", two), ("b3", two)]
    await asyncio.wait_for(asyncio.gather(*(passing(order, name, door) for name, door in came)), 2)
    assert order == [name for name, _ in came]


async def test_a_dear_one_is_not_overtaken_by_cheap_ones() -> None:
    one, two = line(20, Pace(), Pace(), burst=20, unit="segments")
    order: list[str] = []
    came = [("first", one, 18), ("dear", one, 10), ("cheap 1", two, 1), ("cheap 2", two, 1)]
    await asyncio.wait_for(asyncio.gather(*(passing(order, *each) for each in came)), 4)
    assert order == [name for name, _, _ in came]


async def test_who_is_held_up_by_its_own_ceiling_holds_up_nobody_and_then_goes_first() -> None:
    slow, fast = line(50, Pace((Window(1, 600_000),)), Pace())
    order: list[str] = []
    came = [("s1", slow), ("s2", slow), *((f"f{n}", fast) for n in range(40))]
    await asyncio.wait_for(asyncio.gather(*(passing(order, name, door) for name, door in came)), 5)
    assert order[:3] == ["s1", "f0", "f1"]
    assert 25 <= order.index("s2") <= 33


async def test_one_that_closes_or_leaves_the_account_makes_way() -> None:
    one, two, three = line(20, Pace(), Pace(), Pace())
    order: list[str] = []
    came = [("c1", three), ("a1", one), ("b1", two), ("c2", three)]
    waiting = [asyncio.create_task(passing(order, name, door)) for name, door in came]
    await asyncio.sleep(0)
    one.set_open(False)
    two.share(None)
    await asyncio.wait_for(asyncio.gather(*waiting), 1)
    assert order == ["c1", "b1", "c2"]


async def test_of_one_accounts_slots_no_more_are_granted_than_come() -> None:
    one, two, three = line(100, Pace(), Pace(), Pace(), burst=5)
    assert [door.room(50, 0) for door in (one, two, three)] == [5, 0, 0]
    await asyncio.sleep(0)
    one.unstarted = 3
    assert [door.room(50, 0) for door in (one, two, three)] == [0, 1, 1]  # who got nothing comes first
    await asyncio.sleep(0)
    assert two.room(1, 0, in_turn=False) == 1  # a probe does not stand in line
    one.unstarted = 0
    assert [three.room(50, 0), one.room(1, 0), two.room(50, 0)] == [1, 1, 3]
