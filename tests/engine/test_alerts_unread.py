"""Is what needs no outbox watched and told though the outbox cannot be read, and is nothing made up meanwhile?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from smsd.core.alerting import AlertRules
from smsd.core.campaign import Move
from smsd.core.units import HOUR, MINUTE
from smsd.engine.alarms_outbox import FRESH_S, READ_S, TRY_AGAIN_S
from smsd.engine.alerts import LOOK_S
from smsd.store import StoreError
from tests.engine.rig import answer
from tests.engine.watched import Mute, Watched

BAD_NUMBER = answer(400, code=21211, message="invalid")


@pytest.fixture
def rig(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


async def paced_backlog(rig: Watched) -> None:
    """Sixty messages wait, of which one waits for a campaign that is paused."""
    await rig.start()
    await rig.engine.service.pause("main")
    await rig.accepted(campaign="spring")
    await rig.engine.office.campaigns.move("shop", "spring", Move.PAUSE)
    await rig.seconds(3)


def test_a_read_that_fails_leaves_the_others_and_is_logged_when_it_begins_and_ends(rig: Watched) -> None:
    rig.alerts = AlertRules(auth_halt=True, disk=True, backlog=50)

    async def story() -> None:
        await paced_backlog(rig)
        mute = Mute()
        mute.fault = StoreError("broken pipe")
        mute.stand_before(rig.store)
        with capture_logs() as lines:
            await rig.texts(60)
            rig.fill()
            await rig.seconds(3)
            await rig.halt()
            await rig.seconds(3)
            assert rig.told == ["+disk", "+auth_halt:main"]
            for _ in range(360):
                rig.fill()  # something happens
                await rig.seconds(10)
            assert rig.told == ["+disk", "+auth_halt:main"]
            most = 3_600 / TRY_AGAIN_S
            assert most / 2 <= len(mute.asked) <= most + 5
            mute.faults = 0
            await rig.seconds(TRY_AGAIN_S + LOOK_S + 0.5)
            assert rig.told == ["+disk", "+auth_halt:main", "+backlog"]
        said = [line for line in lines if "what alerts need" in line["event"]]
        assert [(line["log_level"], line["what"]) for line in said] == [
            ("error", "paced campaigns"),
            ("info", "paced campaigns"),
        ]
        assert said[0]["error"] == "broken pipe"
        await rig.stop()

    rig.run(story)


def test_what_cannot_be_read_is_not_called_off_and_not_calm(rig: Watched) -> None:
    rig.alerts = AlertRules(error_rate=0.1, error_minimum=100, disk=True)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [BAD_NUMBER] * 20
        await rig.texts(100)
        await rig.seconds(3)
        assert rig.told == ["+error_rate"]
        await rig.seconds(15 * 60)  # the window has gone on; it is calm, or soon will be
        mute = Mute()
        mute.fault = StoreError("broken pipe")
        mute.stand_before_totals(rig.store)
        rig.alerts = AlertRules(error_rate=0.1, error_minimum=100, error_window_ms=10 * MINUTE, disk=True)
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(10 * 60)
        assert rig.told == ["+error_rate"]
        mute.faults = 0
        await rig.seconds(TRY_AGAIN_S + 50)
        assert rig.told == ["+error_rate"]  # the hold begins when it is known
        await rig.seconds(20)
        assert rig.told == ["+error_rate", "-error_rate"]
        assert "back at 0 %" in str(rig.events[-1].fields["about"])
        await rig.stop()

    rig.run(story)


def test_reads_that_hang_are_waited_for_together_once_and_asked_once(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await paced_backlog(rig)
        mute = Mute()
        mute.stand_before_totals(rig.store)
        rig.alerts = AlertRules(auth_halt=True, disk=True, backlog=50, oldest_pending_ms=HOUR, error_rate=0.5)
        with capture_logs() as lines:
            await rig.texts(60)
            await rig.engine.reconfigure(rig.plan())
            rig.fill()
            await rig.seconds(READ_S + LOOK_S + 0.1)
            assert rig.told == ["+disk"]
            await rig.seconds(10)
            await rig.halt()
            await rig.seconds(0.1)  # nobody waits for the reads again
            assert rig.told == ["+disk", "+auth_halt:main"]
            for _ in range(360):
                rig.fill()
                await rig.seconds(10)
            assert sorted(mute.asked) == ["longest_due", "paced", "totals"]
        assert len([line for line in lines if "what alerts need" in line["event"]]) == 3
        mute.free.set()
        await rig.seconds(LOOK_S + 0.1)
        # What came after an hour says nothing of now; each is asked anew.
        assert sorted(mute.asked) == sorted(["longest_due", "paced", "totals"] * 2)
        assert rig.told == ["+disk", "+auth_halt:main", "+backlog"]
        await rig.stop()

    rig.run(story)


def test_an_outbox_that_is_merely_slow_is_watched(rig: Watched) -> None:
    rig.alerts = AlertRules(backlog=50)

    async def story() -> None:
        await paced_backlog(rig)
        mute = Mute()
        mute.answers_in_s = FRESH_S / 2
        mute.stand_before(rig.store)
        await rig.texts(60)
        await rig.seconds(READ_S + LOOK_S)
        assert rig.told == []
        await rig.seconds(FRESH_S / 2)
        assert rig.told == ["+backlog"]
        assert mute.asked == ["paced"]
        await rig.stop()

    rig.run(story)


def test_an_answer_to_what_other_bounds_asked_does_not_count(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [BAD_NUMBER] * 20
        await rig.texts(100)
        await rig.seconds(30 * 60)
        mute = Mute()
        mute.answers_in_s = FRESH_S / 2
        mute.stand_before_totals(rig.store)
        for window_ms in (15 * MINUTE, HOUR):  # only the longer one holds the failures
            rig.alerts = AlertRules(error_rate=0.1, error_minimum=100, error_window_ms=window_ms)
            await rig.engine.reconfigure(rig.plan())
            await rig.seconds(3)
        await rig.seconds(2 * FRESH_S)
        assert mute.asked == ["totals"] * 2
        assert rig.told == ["+error_rate"]
        await rig.stop()

    rig.run(story)


def test_alerts_end_at_once_while_a_read_of_theirs_hangs(rig: Watched) -> None:
    rig.alerts = AlertRules(backlog=50)

    async def story() -> None:
        await paced_backlog(rig)
        Mute().stand_before(rig.store)
        await rig.texts(60)
        await rig.seconds(5)
        began = rig.clock.wall()
        await rig.engine.office.close()
        assert rig.clock.wall() - began < 100
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("alerts: ")]
        await rig.stop()

    rig.run(story)


def test_what_fails_while_the_kept_minutes_are_being_read_counts(rig: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        totals = rig.store.totals

        async def slow(*values: Any) -> Any:
            found = await totals(*values)
            await asyncio.sleep(FRESH_S - 1)
            return found

        monkeypatch.setattr(rig.store, "totals", slow)  # a reader that is slow
        rig.alerts = AlertRules(error_rate=0.5, error_minimum=100, disk=True)
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(2)
        rig.carrier.script = [BAD_NUMBER] * 100
        await rig.texts(100)
        await rig.seconds(FRESH_S + 2)
        assert rig.told == ["+error_rate"]
        await rig.stop()

    rig.run(story)
