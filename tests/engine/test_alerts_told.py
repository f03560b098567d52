"""Is each alert told whatever happens to the daemon, to the outbox and to who is told?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smsd.core.alerting import AlertRules
from smsd.core.events import Kind
from smsd.core.units import HOUR, MINUTE
from smsd.engine import alerts
from smsd.store import StoreError
from smsd.store.operators import Raised
from tests.engine.watched import DENIED, Place, Watched


@pytest.fixture
def rig(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_an_alert_goes_out_though_it_cannot_be_written_and_is_written_later(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        alerts = rig.store.desk.alerts
        keep, failures = alerts.keep, [StoreError("no room")] * 3

        async def failing(alert: Raised) -> None:
            if failures:
                raise failures.pop()
            await keep(alert)

        alerts.keep = failing  # type: ignore[method-assign]  # as a disk without room would
        rig.engine.service.store_full = True
        rig.engine._bus.publish(Kind.OUTBOX_FULL, rig.clock.wall())
        await rig.seconds(2)
        assert rig.told == ["+disk"]
        assert await rig.kept() == []
        await rig.seconds(30)
        assert await rig.kept() == ["disk"]
        assert rig.told == ["+disk"]
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["crash", "stop"])
def test_what_no_place_has_taken_is_told_after_a_restart_and_no_more_after_that(
    rig: Watched, place: Place, how: str
) -> None:
    rig.alerts = AlertRules(auth_halt=True)

    async def story() -> None:
        again = rig.crash if how == "crash" else rig.stop
        await rig.start()
        rig.carrier.script = [DENIED]
        await rig.accepted()
        await rig.seconds(3)
        await again()
        place.up = True
        await rig.start()
        await rig.seconds(3)
        assert place.heard == ["+auth_halt:main"]
        for _ in range(2):
            await again()
            await rig.start()
            await rig.seconds(3)
        assert place.heard == rig.told == ["+auth_halt:main"]
        place.up = False
        await rig.engine.service.resume("main")
        await rig.seconds(70)
        assert rig.told == ["+auth_halt:main", "-auth_halt:main"]
        await again()
        place.up = True
        await rig.start()
        await rig.seconds(70)
        assert place.heard == ["+auth_halt:main", "-auth_halt:main"]
        assert await rig.kept() == []
        await rig.stop()

    rig.run(story)


def test_both_are_told_if_it_was_over_before_anybody_heard(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(auth_halt=True)

    async def story() -> None:
        await rig.start()
        rig.carrier.script = [DENIED]
        await rig.accepted()
        await rig.seconds(3)
        await rig.engine.service.resume("main")
        await rig.seconds(70)
        assert rig.told == ["+auth_halt:main", "-auth_halt:main"]
        await rig.crash()
        place.up = True
        await rig.start()
        await rig.seconds(70)
        assert place.heard == ["+auth_halt:main", "-auth_halt:main"]
        assert await rig.kept() == []
        await rig.stop()

    rig.run(story)


class Cut:
    """The outbox's alerts, of which one write is the last thing that happens."""

    def __init__(self, rig: Watched, stage: str) -> None:
        kept = rig.store.desk.alerts
        self._keep = kept.keep
        self._stage = stage
        self.reached = asyncio.Event()
        kept.keep = self.keep  # type: ignore[method-assign]  # the process dies in the middle of it

    async def keep(self, alert: Raised) -> None:
        now = "told" if alert.told else "announced" if alert.announced else "written"
        if self._stage == f"before {now}":
            await self._end()
        await self._keep(alert)
        if self._stage == f"after {now}":
            await self._end()

    async def _end(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("stage", "up", "log", "heard"),
    [
        # Its row comes first. Without it nobody was told, and it is raised as if for the first time.
        ("before written", True, 1, 1),
        ("after written", True, 1, 1),
        # It was told, and the mark is missing: it is told twice.
        ("before announced", False, 2, 1),
        ("before told", True, 2, 2),
        ("after announced", False, 1, 1),
        ("after told", True, 1, 1),
    ],
)
def test_whenever_it_is_killed_each_raise_is_told(
    rig: Watched, place: Place, monkeypatch: pytest.MonkeyPatch, stage: str, up: bool, log: int, heard: int
) -> None:
    rig.alerts = AlertRules(auth_halt=True)
    monkeypatch.setattr(alerts, "ROW_S", HOUR)
    place.up = up

    async def story() -> None:
        await rig.start()
        cut = Cut(rig, stage)
        rig.carrier.script = [DENIED]
        await rig.accepted()
        await cut.reached.wait()
        if "written" in stage:
            assert rig.told == place.heard == []
        await rig.crash()
        place.up = True
        await rig.start()
        await rig.seconds(10)
        assert rig.told == ["+auth_halt:main"] * log
        assert place.heard == ["+auth_halt:main"] * heard
        assert [(each.announced, each.told) for each in await rig.store.desk.alerts.raised()] == [(True, True)]
        await rig.crash()
        await rig.start()
        await rig.seconds(10)
        assert len(place.heard) == heard
        await rig.stop()

    rig.run(story)


def test_what_has_a_row_is_told_though_its_reason_is_gone_at_the_next_start(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(disk=True)
    place.up = True

    async def story() -> None:
        await rig.start()
        cut = Cut(rig, "after written")
        rig.engine.service.store_full = True
        rig.engine._bus.publish(Kind.OUTBOX_FULL, rig.clock.wall())
        await cut.reached.wait()
        await rig.crash()
        await rig.start()
        await rig.seconds(70)
        assert rig.told == place.heard == ["+disk", "-disk"]
        await rig.stop()

    rig.run(story)


def test_what_is_over_is_known_after_a_restart_once_each(rig: Watched, place: Place) -> None:
    rig.alerts = AlertRules(backlog=1)

    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main")
        await rig.texts(1)
        await rig.seconds(3)
        (raised,) = rig.engine.office.alerts.raised.values()
        await rig.engine.service.resume("main")
        await rig.seconds(70)  # it is over; the webhook has not heard of it
        (over,) = rig.engine.office.alerts.over
        assert (over.name, over.raised_at, over.text) == ("backlog", raised.raised_at, raised.text)
        assert over.cleared_at >= over.raised_at + MINUTE
        await rig.crash()
        place.up = True
        await rig.start()
        await rig.seconds(5)
        assert rig.engine.office.alerts.over == [over]
        await rig.seconds(70)  # the restart calls it off again
        (again,) = rig.engine.office.alerts.over
        assert again.raised_at == over.raised_at
        assert list(await rig.store.desk.alerts.over()) == [again]
        await rig.stop()

    rig.run(story)


def test_an_unknown_alert_of_another_version_is_taken_out(rig: Watched) -> None:
    rig.alerts = AlertRules(disk=True)

    async def story() -> None:
        await rig.start()
        await rig.store.desk.alerts.keep(Raised("weather", rig.clock.wall(), "weather", "It rains."))
        await rig.stop()
        await rig.start()
        await rig.seconds(5)
        assert await rig.kept() == []
        assert rig.told == []
        await rig.stop()

    rig.run(story)
