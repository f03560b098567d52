"""Does a ceiling hold through a restart, whatever the wall clock did and however the daemon ended?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from smsd.core.pacing import Pace, Window
from smsd.store import Recovery
from smsd.store.sqlite import SqliteOutbox
from tests.engine.rig import Rig, twilio

MINUTE_US = 60_000_000
HOUR_MS = 3_600_000


def ceiling(rig: Rig, limit: int, unit: str = "messages") -> None:
    """One provider that takes so many a minute, as fast as one likes."""
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(limit, MINUTE_US),), burst=limit, unit=unit)))]


@pytest.mark.parametrize("step_ms", [HOUR_MS, -HOUR_MS, 0])
def test_a_clock_that_is_set_does_not_empty_the_windows(rig: Rig, step_ms: int) -> None:
    """Within one boot the machine's other clock tells when the calls were."""
    ceiling(rig, 10)

    async def story() -> None:
        await rig.start()
        for number in range(10):
            await rig.accepted(text=f"before {number}")
        await rig.seconds(2)
        assert len(rig.carrier.sends) == 10
        rig.clock.step(step_ms)
        await rig.accepted(text="after the step")
        await rig.stop()
        await rig.start()
        for number in range(9):
            await rig.accepted(text=f"after {number}")
        await rig.seconds(50)
        assert len(rig.carrier.sends) == 10
        await rig.seconds(20)
        assert len(rig.carrier.sends) == 20
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize(("unit", "room"), [("messages", 3), ("segments", 1)])
def test_a_call_found_open_takes_out_of_the_rate_what_it_would_have_taken(rig: Rig, unit: str, room: int) -> None:
    """A message of three segments is one message."""
    ceiling(rig, 4, unit)

    async def story() -> None:
        rig.carrier.latency_ms = 3_000
        await rig.start()
        id = await rig.accepted(text="long " * 80)
        assert (await rig.message(id)).segments == 3
        await rig.seconds(1)
        await rig.crash()
        rig.carrier.latency_ms = 5
        await rig.start()
        for number in range(5):
            await rig.accepted(text=f"short {number}")
        await rig.seconds(50)
        assert len(rig.carrier.sends) == 1 + room
        await rig.stop()

    rig.run(story)


def test_after_a_restore_of_which_nobody_knows_what_was_called_the_windows_are_full(rig: Rig) -> None:
    ceiling(rig, 10)

    async def story() -> None:
        sound = SqliteOutbox.open

        async def restored(box: SqliteOutbox, now: int, by_segments: Collection[str] = ()) -> Recovery:
            return replace(await sound(box, now, by_segments), unknown_before=now)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SqliteOutbox, "open", restored)
            await rig.start()
        await rig.accepted()
        await rig.seconds(55)
        assert rig.carrier.sends == []
        await rig.seconds(10)
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)
