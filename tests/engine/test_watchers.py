"""Waiting for one message to leave the queue."""

from __future__ import annotations

import asyncio

import pytest

from smsd.core.events import Event, Kind
from smsd.core.units import rfc3339
from smsd.engine.watchers import SETTLED, Watchers
from tests.engine.rig import Rig

SOON = 30.0
"""A wait that no test lets run out."""


def happened(id: str, kind: Kind = Kind.MESSAGE_SENT) -> Event:
    return Event(kind, 0, {"id": id})


async def watched(watchers: Watchers, id: str, timeout_s: float = SOON) -> asyncio.Task[bool]:
    task = asyncio.create_task(watchers.settled(id, timeout_s))
    await asyncio.sleep(0)
    return task


@pytest.mark.parametrize("kind", sorted(kind for kind in Kind if kind.startswith("message.")))
async def test_it_is_told_when_the_message_leaves_the_queue(kind: Kind) -> None:
    watchers = Watchers()
    waits = [await watched(watchers, "a"), await watched(watchers, "a"), await watched(watchers, "b")]
    watchers(happened("a", kind))
    await asyncio.sleep(0)
    assert [task.done() for task in waits] == [kind in SETTLED, kind in SETTLED, False]
    watchers.close()
    assert [await task for task in waits] == [kind in SETTLED, kind in SETTLED, False]


def test_what_leaves_the_queue() -> None:
    stays = {"accepted", "retry_scheduled", "throttled", "deferred", "uncertain", "reopened", "rescheduled"}
    assert {kind for kind in Kind if kind.startswith("message.")} - SETTLED == {f"message.{name}" for name in stays}


async def test_the_time_runs_out() -> None:
    watchers = Watchers()
    assert not await watchers.settled("a", 0.01)
    assert (watchers._waiting, watchers._count) == ({}, 0)


async def test_one_waiter_too_many_is_told_at_once() -> None:
    watchers = Watchers(most=2)
    waits = [await watched(watchers, "a"), await watched(watchers, "b")]
    assert not await watchers.settled("a", SOON)
    watchers(happened("a"))
    watchers(happened("b"))
    assert [await task for task in waits] == [True, True]
    again = await watched(watchers, "a")
    assert not again.done()
    watchers(happened("a"))
    assert await again


async def test_a_waiter_that_is_gone_leaves_nothing() -> None:
    watchers = Watchers()
    task = await watched(watchers, "a")
    other = await watched(watchers, "a")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert watchers._count == 1
    watchers(happened("a"))
    assert await other
    assert (watchers._waiting, watchers._count) == ({}, 0)


async def test_at_the_end_nobody_waits() -> None:
    watchers = Watchers()
    task = await watched(watchers, "a")
    watchers.close()
    assert not await task
    assert not await watchers.settled("b", SOON)


def test_a_caller_of_the_engine_waits_for_its_message(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        soon = await rig.accepted(text="soon")
        seen = await rig.engine.service.wait(soon, "shop", 5_000)
        assert seen is not None
        assert seen.message.state.label == "sent"
        later = await rig.accepted(text="later", send_at=rfc3339(rig.clock.wall() + 3_600_000))
        before = rig.clock.wall()
        seen = await rig.engine.service.wait(later, "shop", 5_000)
        assert seen is not None
        assert seen.message.state.label == "pending"
        assert 5_000 <= rig.clock.wall() - before < 5_100
        await rig.stop()

    rig.run(story)
