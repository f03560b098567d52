"""What must every outbox do about a campaign that was made for nothing? A part of the contract (`contract.py`).

A binding is a subclass of TrialsContract and a fixture `hall`: see test_sqlite_contract.py.
"""

from __future__ import annotations

import asyncio

from smsd.core.campaign import Move, Terms
from smsd.core.message import Message
from smsd.core.units import HOUR
from tests.store.contract_campaigns import desk, the_one
from tests.store.contract_limits import Hall


class TrialsContract:
    """Subclass it with a fixture `hall`."""

    async def test_only_one_that_nothing_happened_to_is_unmade(self, hall: Hall) -> None:
        terms, now = Terms("Spring", (1, HOUR)), hall.clock.wall()
        await desk(hall).make("shop", "c", terms, now)
        await desk(hall).make("bank", "c", terms, now)
        assert await desk(hall).unmake("shop", "c")
        assert [one.tenant for one in await desk(hall).find("c", None)] == ["bank"]
        assert not await desk(hall).unmake("shop", "c")
        first, second = await hall.stored(2, campaign="c")
        assert all(isinstance(answer, Message) for answer in await hall.claim(first, second)), "its rate went with it"
        assert not await desk(hall).unmake("shop", "c")
        await desk(hall).make("shop", "d", Terms(), now)
        await desk(hall).move("shop", "d", Move.PAUSE, now)
        assert not await desk(hall).unmake("shop", "d")
        await hall.restart()
        assert {(one.tenant, one.id) for one in await desk(hall).page(None, None, 9)} == {
            ("bank", "c"),
            ("shop", "c"),
            ("shop", "d"),
        }

    async def test_one_that_gets_its_message_meanwhile_is_not_unmade(self, hall: Hall) -> None:
        """Both in one commit, or one after the other: the terms are kept."""
        made, _ = await desk(hall).make("shop", "c", Terms(rate=(1, HOUR)), hall.clock.wall())
        _, gone = await asyncio.gather(hall.stored(1, campaign="c"), desk(hall).unmake("shop", "c"))
        assert (gone, (await the_one(hall)).terms) == (False, made.terms)
