"""Does an operator's word about a number count for what waits and what comes, and not for what is under way?"""

from __future__ import annotations

import asyncio

import pytest

from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.suppression import EVERY
from smsd.core.units import rfc3339
from smsd.core.verdict import Category
from smsd.engine.optouts import UnknownScopeError
from tests.engine.rig import Rig, twilio

GONE = "+14155550198"


def later(rig: Rig) -> str:
    return rfc3339(rig.clock.wall() + 10_000)


@pytest.mark.parametrize("scope", [EVERY, "main"])
def test_what_waits_fails_in_its_claim_and_the_next_is_refused_until_it_is_lifted(rig: Rig, scope: str) -> None:
    async def story() -> None:
        await rig.start()
        waiting = await rig.accepted(to=GONE, text="later", send_at=later(rig), ttl="1d")
        kept = await rig.engine.service.optouts.suppress(GONE, scope, "uid 0")
        assert kept.added
        assert await rig.refused(to=GONE, text="new") == "recipient_suppressed"
        await rig.seconds(15)
        message = await rig.message(waiting)
        assert (message.state, message.error and message.error.category) == (State.FAILED, Category.OPTED_OUT)
        assert rig.carrier.sends == []
        assert await rig.engine.service.optouts.unsuppress(GONE, scope, "uid 0")
        new = await rig.accepted(to=GONE, text="new")
        await rig.seconds(1)
        assert await rig.state(new) == "sent"
        assert [form["To"] for _, form in rig.carrier.sends] == [GONE]
        assert await rig.state(waiting) == "failed"
        await rig.stop()

    rig.run(story)


def test_lifted_before_its_claim_it_goes(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        waiting = await rig.accepted(to=GONE, text="later", send_at=later(rig), ttl="1d")
        await rig.engine.service.optouts.suppress(GONE, EVERY, "uid 0")
        await rig.engine.service.optouts.unsuppress(GONE, EVERY, "uid 0")
        await rig.seconds(15)
        assert await rig.state(waiting) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_provider_that_may_not_text_it_leaves_the_other(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(name), rig.rules()) for name in ("alpha", "beta")]
        await rig.start()
        await rig.engine.service.optouts.suppress(GONE, "alpha", "uid 0")
        id = await rig.accepted(to=GONE)
        await rig.seconds(1)
        assert ((await rig.message(id)).provider, rig.carrier.names) == ("beta", ["beta"])
        await rig.stop()

    rig.run(story)


def test_it_holds_over_a_restart_and_is_told_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        first = await rig.engine.service.optouts.suppress(GONE, EVERY, "uid 7")
        await rig.stop()
        await rig.start()
        await rig.seconds(1)
        again = await rig.engine.service.optouts.suppress(GONE, EVERY, "uid 8")
        assert (again.added, again.suppression) == (False, first.suppression)
        assert await rig.refused(to=GONE) == "recipient_suppressed"
        assert not await rig.engine.service.optouts.unsuppress(GONE, "main", "uid 8")
        with pytest.raises(UnknownScopeError, match=r"'gone' is enabled\. There are: main"):
            await rig.engine.service.optouts.suppress(GONE, "gone", "uid 8")
        assert rig.kinds().count(Kind.SUPPRESSION_ADDED) == 1
        assert Kind.SUPPRESSION_REMOVED not in rig.kinds()
        await rig.stop()

    rig.run(story)


def test_two_operators_at_once_add_one(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        optouts = rig.engine.service.optouts
        kept = await asyncio.gather(*(optouts.suppress(GONE, EVERY, f"uid {n}") for n in range(5)))
        assert sorted(each.added for each in kept) == [False] * 4 + [True]
        assert len({each.suppression.at for each in kept}) == 1
        lifted = await asyncio.gather(*(optouts.unsuppress(GONE, EVERY, f"uid {n}") for n in range(5)))
        assert sorted(lifted) == [False] * 4 + [True]
        await rig.stop()

    rig.run(story)
