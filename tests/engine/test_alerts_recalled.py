"""Is what was told before a start told once though its row is read late, and are alerts watched until then?"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from smsd.core.alerting import AlertRules
from smsd.core.events import Kind
from smsd.engine.alarms_outbox import READ_S, TRY_AGAIN_S
from smsd.engine.alerts import LOOK_S, Alerts
from smsd.store import StoreError
from smsd.store.operators import Raised
from tests.engine.rig import answer
from tests.engine.watched import DENIED, Mute, Place, Watched

BAD_NUMBER = answer(400, code=21211, message="invalid")


@pytest.fixture
def rig(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


START_S = READ_S + TRY_AGAIN_S + LOOK_S + 0.5


async def told_and_killed(rig: Watched) -> int:
    """The disk is full and a provider is halted; both were told, and the daemon is killed. When the disk was."""
    await rig.start()
    rig.fill()
    await rig.seconds(5)
    await rig.halt()
    await rig.seconds(5)
    at = rig.engine.office.alerts.raised["disk"].raised_at
    await rig.crash()
    return at


@pytest.mark.parametrize("up", [True, False])
@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_without_its_rows_a_start_watches_and_rows_that_come_later_are_told_of_no_more(
    rig: Watched, place: Place, how: str, up: bool
) -> None:
    rig.alerts = AlertRules(auth_halt=True, disk=True)
    place.up = up

    async def story() -> None:
        at = await told_and_killed(rig)
        before = ["+disk", "+auth_halt:main"]
        assert rig.told == before
        assert place.heard == before * up
        place.up = True
        mute = Mute()
        mute.fault = StoreError("broken pipe") if how == "fails" else None
        mute.from_the_start(rig)
        await rig.start()
        keep_nothing(rig)
        rig.fill()
        await rig.engine.service.resume("main")
        await rig.seconds(START_S)
        assert rig.told == [*before, "+disk"]  # nobody could know
        assert place.heard == [*before * up, "+disk"]
        await rig.seconds(600)
        mute.faults = 0
        mute.free.set()
        await rig.seconds(TRY_AGAIN_S + LOOK_S + 0.5)
        found = rig.engine.office.alerts
        assert sorted(found.raised) == ["auth_halt:main", "disk"]
        assert found.raised["disk"].raised_at == at
        assert [(each.announced, each.told) for each in await rows(rig)] == [(True, True)] * 2
        await rig.seconds(70)
        rig.fill(False)
        await rig.seconds(70)
        ends = ["-auth_halt:main", "-disk"]
        assert rig.told == [*before, "+disk", *ends]
        untold = [] if up else ["+auth_halt:main"]  # so says its row; the disk was told since
        assert place.heard == [*before * up, "+disk", *untold, *ends]
        assert next((each.name, each.raised_at) for each in found.over) == ("disk", at)
        assert await rows(rig) == []
        await rig.stop()

    rig.run(story)


def keep_nothing(rig: Watched) -> None:
    """No row is written while none is read, as where the file cannot be reached at all."""
    kept, found = rig.store.desk.alerts, rig.engine.office.alerts
    for name in ("keep", "clear", "end"):
        setattr(kept, name, _unless_recalled(found, getattr(kept, name)))  # as said


def _unless_recalled(found: Alerts, write: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    async def written(*values: object) -> None:
        if not found._recalled:
            raise StoreError("broken pipe")
        await write(*values)

    return written


async def rows(rig: Watched) -> list[Raised]:
    return [*await rig.store.desk.alerts.raised()]


@pytest.mark.parametrize("anew", [True, False])
def test_what_was_told_and_called_off_without_its_row_is_not_called_off_again(
    rig: Watched, place: Place, anew: bool
) -> None:
    rig.alerts = AlertRules(disk=True)
    place.up = True

    async def story() -> None:
        at = await told_and_killed(rig)
        mute = Mute()
        mute.from_the_start(rig)
        await rig.start()
        keep_nothing(rig)
        rig.fill()
        await rig.seconds(START_S)
        rig.fill(False)
        await rig.seconds(70)
        assert rig.told == ["+disk", "+disk", "-disk"]
        rig.fill(anew)
        await rig.seconds(5)
        mute.free.set()
        await rig.seconds(5)
        rig.fill(False)
        await rig.seconds(300)
        times = 1 + anew
        assert rig.told == place.heard == ["+disk", *["+disk", "-disk"] * times]
        assert await rows(rig) == []
        over = rig.engine.office.alerts.over
        assert len(over) == times
        assert all(each.raised_at > at for each in over)
        assert [*await rig.store.desk.alerts.over()] == [*reversed(over)]
        await rig.stop()

    rig.run(story)


def test_rows_that_this_run_wrote_are_its_own_however_late_they_are_read(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(disk=True, auth_halt=True)
    place.up = True

    async def story() -> None:
        await rig.start()
        rig.fill()
        await rig.seconds(5)
        rig.fill(False)
        await rig.seconds(70)
        await rig.crash()
        mute = Mute()
        mute.from_the_start(rig)
        await rig.start()
        for full in (True, False, True):
            rig.fill(full)
            await rig.seconds(70)
        await rig.halt()
        await rig.seconds(5)
        told = [*rig.told]
        assert told == ["+disk", "-disk"] * 2 + ["+disk", "+auth_halt:main"]
        mute.free.set()
        await rig.seconds(20)
        assert rig.told == place.heard == told
        found = rig.engine.office.alerts.raised
        assert [(each.name, each.raised_at, each.told) for each in await rows(rig)] == [
            (name, found[name].raised_at, True) for name in ("auth_halt:main", "disk")
        ]
        over = rig.engine.office.alerts.over
        assert [*await rig.store.desk.alerts.over()] == [*reversed(over)]
        assert len(over) == 2
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_what_no_place_had_taken_is_told_once_its_row_is_read(rig: Watched, place: Place, how: str) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await told_and_killed(rig)  # the log was
        assert place.heard == []
        place.up = True
        mute = Mute()
        mute.fault = StoreError("broken pipe") if how == "fails" else None
        mute.from_the_start(rig)
        await rig.start()
        await rig.seconds(START_S)
        assert place.heard == []
        mute.faults = 0
        mute.free.set()
        await rig.seconds(TRY_AGAIN_S + LOOK_S + 0.5)
        assert place.heard == ["+disk"]
        assert rig.told == ["+disk"]
        await rig.seconds(70)
        assert rig.told == ["+disk", "-disk"]
        await rig.stop()

    rig.run(story)


def test_one_that_goes_on_from_its_row_is_not_told_before_a_place_took_it(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(disk=True)
    place.up = True

    async def story() -> None:
        at = await told_and_killed(rig)
        place.up = False
        mute = Mute()
        mute.from_the_start(rig)
        await rig.start()
        keep_nothing(rig)
        rig.fill()
        await rig.seconds(START_S)
        mute.free.set()
        await rig.seconds(5)
        assert [(each.raised_at, each.announced, each.told) for each in await rows(rig)] == [(at, True, False)]
        place.up = True
        place.deliver()
        await rig.seconds(2)
        assert [each.told for each in await rows(rig)] == [True]
        await rig.stop()

    rig.run(story)


def test_a_hitch_at_the_start_tells_nothing_twice(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await told_and_killed(rig)
        mute = Mute()
        mute.fault, mute.faults = StoreError("busy"), 1
        mute.from_the_start(rig)
        await rig.start()
        rig.fill()
        await rig.seconds(30)
        assert mute.asked == ["raised"] * 2
        assert rig.told == ["+disk"]
        await rig.stop()

    rig.run(story)


def test_a_row_that_comes_while_the_raise_waits_for_its_own_says_whether_it_is_told(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(disk=True)
    place.up = True

    async def story() -> None:
        at = await told_and_killed(rig)
        mute = Mute()
        mute.from_the_start(rig)
        await rig.start()
        kept = rig.store.desk.alerts
        keep = kept.keep

        async def slow(alert: Raised) -> None:
            await asyncio.sleep(1.5)
            await keep(alert)

        kept.keep = slow  # type: ignore[method-assign]  # a disk that takes its time
        rig.fill()
        await rig.seconds(READ_S + TRY_AGAIN_S + LOOK_S + 1)
        assert "disk" in rig.engine.office.alerts.raised
        mute.free.set()
        await rig.seconds(10)
        assert rig.told == place.heard == ["+disk"]
        assert [each.raised_at for each in await rows(rig)] == [at]
        await rig.stop()

    rig.run(story)


def test_what_is_told_again_is_what_was_told_first(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(auth_halt=True, error_rate=0.1, error_minimum=100, backlog=150)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [BAD_NUMBER] * 20
        await rig.texts(100)
        await rig.seconds(3)
        rig.carrier.script = [DENIED]
        await rig.texts(200)
        await rig.seconds(5)
        first = [*place.waiting]
        assert sorted(each.name for each in first) == ["auth_halt:main", "backlog", "error_rate"]
        values = {each.name: repr((each.value, each.bound)) for each in first}
        assert values["error_rate"] == "(0.2, 0.1)"
        assert values["backlog"].endswith(", 150)")
        await rig.crash()
        place.up = True
        await rig.start()
        await rig.seconds(5)
        assert sorted(place.taken, key=lambda each: each.name) == sorted(first, key=lambda each: each.name)
        assert {each.name: repr((each.value, each.bound)) for each in place.taken} == values
        assert len([each for each in rig.events if each.kind is Kind.ALERT_RAISED]) == 3
        await rig.stop()

    rig.run(story)


def test_rows_that_hang_take_no_time_from_the_other_reads(rig: Watched) -> None:
    rig.alerts = AlertRules(error_rate=0.1, error_minimum=100, disk=True)

    async def story() -> None:
        mute = Mute()
        mute.fault, mute.faults = StoreError("busy"), 1
        mute.from_the_start(rig)
        with capture_logs() as lines:
            await rig.start()
            await rig.seconds(READ_S)
            mute.fault = None  # the second read of the rows hangs
            await rig.seconds(TRY_AGAIN_S + LOOK_S + READ_S)
        assert mute.asked == ["raised", "raised"]
        assert {line["what"] for line in lines if "alerts need" in line["event"]} == {"what was raised"}
        await rig.stop()

    rig.run(story)
