"""Is a campaign taken away again exactly when nobody brought it a message?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smsd.core.campaign import Terms
from tests.engine.rig import SHOP, Rig

ID = "spring"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


@pytest.mark.parametrize("first_out", ["the maker", "the other"])
def test_the_last_one_to_leave_decides(rig: Rig, first_out: str) -> None:
    """Two hand messages in at once: as long as one is at it, its campaign keeps its rate."""

    async def story() -> None:
        await rig.start()
        trials, terms = rig.engine.office.campaigns.trials, Terms(rate=(1, 1_000))
        leave = {"the maker": asyncio.Event(), "the other": asyncio.Event()}
        entered = asyncio.Event()

        async def hand_in(who: str) -> bool:
            async with trials.trying(SHOP.tenant, ID, terms) as trial:
                entered.set()
                await leave[who].wait()
            return trial.is_new

        async def kept() -> bool:
            return bool(await rig.engine.office.campaigns.find(ID, SHOP.tenant))

        maker = asyncio.create_task(hand_in("the maker"))
        await entered.wait()
        entered.clear()
        other = asyncio.create_task(hand_in("the other"))
        await entered.wait()
        tasks = {"the maker": maker, "the other": other}
        leave[first_out].set()
        await tasks.pop(first_out)
        assert await kept()
        (last,) = tasks
        leave[last].set()
        await tasks[last]
        assert (maker.result(), other.result(), await kept()) == (True, False, False)
        await rig.stop()

    rig.run(story)


def test_one_with_a_message_or_wanted_without_stays(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        trials = rig.engine.office.campaigns.trials
        async with trials.trying(SHOP.tenant, "wanted", Terms()) as trial:
            trial.used = True
        async with trials.trying(SHOP.tenant, "named", Terms()):
            await rig.accepted(campaign="named")  # somebody else's
        with pytest.raises(ZeroDivisionError):
            async with trials.trying(SHOP.tenant, "broken", Terms()):
                raise ZeroDivisionError
        found, _ = await rig.engine.office.campaigns.page(SHOP.tenant, None, 9)
        assert [one.id for one in found] == ["named", "wanted"]
        await rig.stop()

    rig.run(story)
