"""Who makes a page of a listing, and who waits for it?"""

from __future__ import annotations

import asyncio

import pytest

from smsd.listeners.callers import ProblemError
from smsd.listeners.http.access import Access
from smsd.listeners.http.turns import Turns
from tests.listeners.house import House, until
from tests.listeners.http_rig import request, serving, token


class Work:
    """Something costly, done by turns."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, *names: str) -> None:
        """`a1` is the first of the caller a."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._do(name))
            await asyncio.sleep(0)

    async def _do(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self.tasks[name]
            await asyncio.sleep(0)


async def test_few_at_once_and_one_of_each_caller() -> None:
    work = Work(Turns())
    await work.begin("a1", "a2", "b1", "c1")
    assert work.begun == ["a1", "b1"]
    await work.end("a1")
    assert work.begun == ["a1", "b1", "a2"], "it came first"
    await work.end("b1", "a2", "c1")
    assert work.turns.waiting == 0
    assert not work.turns._running
    assert not work.turns._queues


async def test_who_wants_much_delays_itself() -> None:
    work = Work(Turns(1))
    await work.begin("a1", "a2", "a3", "a4", "b1", "c1", "b2")
    for name in ("a1", "a2", "b1", "c1", "a3", "b2", "a4"):
        await work.end(name)
    assert work.begun == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


async def test_who_goes_leaves_its_place() -> None:
    work = Work(Turns(1))
    await work.begin("a1", "a2", "b1", "c1")
    work.tasks["a2"].cancel()
    await asyncio.sleep(0)
    work._ends["a1"].set()
    await asyncio.sleep(0)
    assert work.begun == ["a1"], "b1 is told, but has not run"
    work.tasks["b1"].cancel()
    await asyncio.gather(*(work.tasks[name] for name in ("a2", "b1")), return_exceptions=True)
    await asyncio.sleep(0)
    assert work.begun == ["a1", "c1"]
    work.tasks["c1"].cancel()
    await asyncio.gather(work.tasks["c1"], return_exceptions=True)
    assert (work.turns.waiting, work.turns._running.total()) == (0, 0)
    await work.begin("d1")
    assert work.begun[-1] == "d1"
    await work.end("d1")


async def test_too_many_are_refused() -> None:
    work = Work(Turns(1, waiting=3, waiting_of_one=2))
    await work.begin("a1", "a2", "a3", "a4", "b1", "b2")
    with pytest.raises(ProblemError) as own:
        await work.tasks["a4"]
    assert own.value.faults[0].code == "limit_exceeded"
    with pytest.raises(ProblemError) as everybodys:
        await work.tasks["b2"]
    assert everybodys.value.faults[0].code == "backlog_full"
    await work.end("a1", "a2", "b1", "a3")


async def test_listings_are_made_by_turns_and_nothing_else_is(house: House) -> None:
    async with serving(house, Access((token("shop", tenant="shop"), token("ops")))) as rig:
        listings = rig.door.listings = Turns(waiting_of_one=1)
        shop, ops = {"Authorization": "Bearer shop"}, {"Authorization": "Bearer ops"}
        client, gone = await rig.client(), await rig.client()
        async with listings.turn("token shop"):
            gone.say(request("GET", "/v1/messages", None, shop))
            await until(lambda: listings.waiting == 1)
            gone.writer.close()
            await until(lambda: listings.waiting == 0, 1)
            client.say(request("GET", "/v1/messages", None, shop))
            await until(lambda: listings.waiting == 1)
            refused = await rig.ask("GET", "/v1/messages", **shop)
            assert (refused.status, refused.codes) == (429, [(None, "limit_exceeded")])
            assert refused.headers["retry-after"] == "5"
            assert (await rig.ask("GET", "/v1/messages", **ops)).status == 200
            assert (await rig.ask("GET", "/v1/ping", **shop)).status == 200
            assert listings.waiting == 1
        assert (await client.reply()).status == 200
