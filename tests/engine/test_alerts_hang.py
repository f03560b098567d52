"""Is each alert told in time though the outbox does not answer, and does the outbox say so when it answers again?"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path

import pytest

from smsd.core.alerting import AlertRules
from smsd.core.events import Kind
from smsd.core.units import HOUR
from smsd.engine import alerts
from smsd.engine.alerts import AlertSettings
from smsd.store import StoreError
from smsd.store.operators import MOST_OVER, Over, Raised
from tests.engine.rig import twilio
from tests.engine.watched import Place, Watched


@pytest.fixture
def rig(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


class Hung:
    """The outbox's alerts, of which no write ends before `free` is set."""

    def __init__(self, rig: Watched) -> None:
        kept = rig.store.desk.alerts
        self.free = asyncio.Event()
        self.fault: StoreError | None = None
        """What the write in hand fails with, then."""
        self.did: list[str] = []
        """What was written, in order; a "!" says that the row says it was announced."""
        keep, clear, end = kept.keep, kept.clear, kept.end

        async def kept_row(alert: Raised) -> None:
            await self._one(keep(alert), f"keep {alert.name}{'!' * alert.announced}")

        async def cleared_row(name: str) -> None:
            await self._one(clear(name), f"clear {name}")

        async def ended_row(over: Over) -> None:
            await self._one(end(over), f"end {over.name} {over.raised_at}")

        # as a disk does that does not answer
        kept.keep, kept.clear, kept.end = kept_row, cleared_row, ended_row  # type: ignore[method-assign]
        self._under_way = 0

    async def _one(self, write: Coroutine[object, object, None], what: str) -> None:
        self._under_way += 1
        try:
            assert self._under_way == 1  # one at a time
            await self.free.wait()
            fault, self.fault = self.fault, None
            if fault is not None:
                raise fault
            await write
            self.did.append(what)
        finally:
            write.close()
            self._under_way -= 1


def fill(rig: Watched, full: bool = True) -> None:
    rig.engine.service.store_full = full
    rig.engine._bus.publish(Kind.OUTBOX_FULL if full else Kind.OUTBOX_RECOVERED, rig.clock.wall())


def test_an_outbox_that_hangs_keeps_back_neither_the_first_nor_what_comes_later(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(disk=True, auth_halt=True)
    place.up = True

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        hung = Hung(rig)
        fill(rig)
        await rig.seconds(5)
        assert rig.told == place.heard == ["+disk"]
        await rig.engine.lanes["main"].halt("denied", rig.clock.wall())
        await rig.seconds(0.1)  # ROW_S ran out already; nobody waits for it again
        assert rig.told == place.heard == ["+disk", "+auth_halt:main"]
        await rig.seconds(HOUR / 1e3)
        assert await rig.kept() == []
        hung.free.set()
        await rig.seconds(1)
        assert hung.did == ["keep disk", "keep disk!", "keep auth_halt:main!"]
        assert [(each.announced, each.told) for each in await rig.store.desk.alerts.raised()] == [(True, True)] * 2
        await rig.crash()
        await rig.start()
        await rig.seconds(10)
        assert place.heard == ["+disk", "+auth_halt:main"]
        await rig.stop()

    rig.run(story)


def test_ten_alerts_wait_together_for_an_outbox_that_hangs(rig: Watched) -> None:
    rig.alerts = AlertRules(auth_halt=True)
    rig.providers = [(twilio(f"p{n}"), rig.rules()) for n in range(10)]
    alerts_of_all = [f"auth_halt:p{n}" for n in range(10)]

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        hung = Hung(rig)
        for lane in rig.engine.lanes.values():
            await lane.halt("denied", rig.clock.wall())
        await rig.seconds(alerts.ROW_S + alerts.LOOK_S + 0.5)
        assert rig.told == [f"+{name}" for name in alerts_of_all]
        assert await rig.kept() == []
        hung.free.set()
        await rig.seconds(1)
        assert hung.did == ["keep auth_halt:p0", *(f"keep {name}!" for name in alerts_of_all)]
        assert await rig.kept() == alerts_of_all
        await rig.stop()

    rig.run(story)


def test_what_ended_while_the_outbox_hung_leaves_no_row_but_its_line(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        hung = Hung(rig)
        fill(rig)
        await rig.seconds(10)
        fill(rig, False)
        await rig.seconds(70)
        assert rig.told == ["+disk", "-disk"]
        (over,) = rig.engine.office.alerts.over
        hung.free.set()
        await rig.seconds(1)
        assert hung.did == ["keep disk", f"end disk {over.raised_at}", "clear disk"]
        assert await rig.kept() == []
        assert [*await rig.store.desk.alerts.over()] == [over]
        await rig.stop()

    rig.run(story)


def test_a_write_that_fails_when_nobody_waits_for_it_any_more_is_tried_again(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        hung = Hung(rig)
        fill(rig)
        await rig.seconds(100)
        hung.fault = StoreError("no room")
        hung.free.set()
        await rig.seconds(10)
        assert hung.did == ["keep disk!"]
        assert await rig.kept() == ["disk"]
        assert rig.told == ["+disk"]
        await rig.stop()

    rig.run(story)


def test_of_more_ends_than_are_kept_none_is_lost_by_one_in_hand(rig: Watched) -> None:
    async def story() -> None:
        await rig.start()
        found = rig.engine.office.alerts
        fill(rig)
        hung: Hung | None = None
        for _ in range(MOST_OVER + 2):
            found.rule(AlertSettings(AlertRules(disk=True)))
            await rig.seconds(2)
            hung = hung or Hung(rig)  # the first raise has its row: an end is in hand first
            found.rule(AlertSettings())
            await rig.seconds(3)
        assert hung is not None
        assert rig.told == ["+disk", "-disk"] * (MOST_OVER + 2)
        newest = [f"end disk {each.raised_at}" for each in reversed(found.over)]
        assert len(newest) == MOST_OVER
        hung.free.set()
        await rig.seconds(1)
        assert hung.did[1:] == [*newest, "clear disk"]
        assert [*await rig.store.desk.alerts.over()] == [*reversed(found.over)]
        await rig.stop()

    rig.run(story)


def test_an_outbox_that_hangs_does_not_hold_up_the_end_either(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        await rig.seconds(2)
        Hung(rig)
        fill(rig)
        await rig.seconds(5)
        began = rig.clock.wall()
        await rig.engine.office.close()
        assert rig.clock.wall() - began <= alerts.ROW_S * 1e3
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "alerts: rows"]
        await rig.stop()
        await rig.start()
        fill(rig)
        await rig.seconds(5)
        assert rig.told == ["+disk"] * 2  # there was no row
        assert await rig.kept() == ["disk"]
        await rig.stop()

    rig.run(story)


def test_whose_row_is_waited_for_is_written_first(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        await rig.engine.lanes["main"].halt("denied", rig.clock.wall())
        fill(rig)
        await rig.seconds(5)
        hung = Hung(rig)
        hung.free.set()
        rig.engine.office.alerts.rule(AlertSettings(AlertRules(auth_halt=True)))
        await rig.seconds(5)
        assert rig.told == ["+disk", "-disk", "+auth_halt:main"]
        (over,) = rig.engine.office.alerts.over
        ended = [f"end disk {over.raised_at}", "clear disk"]
        assert hung.did == ["keep auth_halt:main", *ended, "keep auth_halt:main!"]
        await rig.stop()

    rig.run(story)
