"""What becomes of a message of a paused or cancelled campaign of which nobody knows whether it was sent?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smsd.core.campaign import Hours, Move, Terms
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.units import DAY, HOUR, MINUTE
from smsd.core.verdict import Category
from smsd.providers.base import Outcome, Request
from smsd.providers.http import Http
from tests.engine.rig import LOST, SHOP, Rig, answer

ID = "spring"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def at_a_gateway(rig: Rig, **rules: Any) -> list[int]:
    """A provider that knows a key again. Its first answer is lost; when each call began."""
    gateway = Http(
        "gateway",
        url="https://gateway.example.com/send",
        fields={"to": "{to}", "text": "{text}"},
        id_path="id",
        idempotency_header="Idempotency-Key",
    )
    rig.providers = [(gateway, rig.rules(reconcile_after_ms=5_000, **rules))]
    calls: list[int] = []

    def said(request: Request, n: int) -> tuple[Outcome, int]:
        calls.append(rig.clock.wall())
        return (LOST if len(calls) == 1 else answer(201, id="g-1")), 5

    rig.script = said
    return calls


async def moved(rig: Rig, move: Move) -> None:
    assert await rig.engine.office.campaigns.move(SHOP.tenant, ID, move) is not None


def test_paused_it_is_not_sent_again_until_it_is_resumed(rig: Rig) -> None:
    calls = at_a_gateway(rig)

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(1)
        await moved(rig, Move.PAUSE)
        await rig.seconds(3_600)
        assert (len(calls), await rig.state(id)) == (1, "processing")
        await rig.crash()
        await rig.start()
        await rig.seconds(3_600)
        assert (len(calls), await rig.state(id)) == (1, "processing")
        await moved(rig, Move.RESUME)
        await rig.seconds(61)
        assert (len(calls), await rig.state(id)) == (2, "sent")
        await rig.stop()

    rig.run(story)


def test_paused_for_longer_than_the_key_is_known_it_waits_as_pending(rig: Rig) -> None:
    calls = at_a_gateway(rig)

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(1)
        await moved(rig, Move.PAUSE)
        await rig.seconds(2 * DAY / 1_000)
        assert (len(calls), await rig.state(id)) == (1, "pending")
        await rig.stop()

    rig.run(story)


def test_outside_its_hours_it_waits_for_them(rig: Rig) -> None:
    calls = at_a_gateway(rig)

    async def story() -> None:
        await rig.start()
        minute = rig.clock.wall() % DAY // MINUTE
        hours = Hours((minute - 60) % 1_440, (minute + 1) % 1_440, "UTC")
        opens = (rig.clock.wall() // MINUTE - 60) * MINUTE + DAY
        await rig.engine.office.campaigns.make(SHOP.tenant, ID, Terms(hours=hours))
        rig.providers[0] = (rig.providers[0][0], rig.rules(reconcile_after_ms=2 * MINUTE))
        await rig.engine.reconfigure(rig.plan())
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(10 * HOUR / 1_000)
        assert (len(calls), await rig.state(id)) == (1, "processing")
        await rig.seconds(14 * HOUR / 1_000)
        assert (len(calls), await rig.state(id)) == (2, "sent")
        assert calls[1] - opens in range(2_000)
        await rig.stop()

    rig.run(story)


def test_paused_while_it_waits_for_its_turn_it_is_not_sent_either(rig: Rig) -> None:
    """It was looked at, its campaign was not held up, and the provider's rate let nothing go then."""
    calls = at_a_gateway(rig, pace=Pace((Window(1, 60_000_000),)))

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(20)
        await moved(rig, Move.PAUSE)
        await rig.seconds(600)
        assert (len(calls), await rig.state(id)) == (1, "processing")
        await rig.stop()

    rig.run(story)


def test_cancelled_it_fails_as_uncertain(rig: Rig) -> None:
    calls = at_a_gateway(rig)

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(1)
        await moved(rig, Move.CANCEL)
        await rig.seconds(60)
        message = await rig.message(id)
        assert (len(calls), message.state) == (1, State.FAILED)
        assert message.error is not None
        assert message.error.category is Category.UNCERTAIN
        await rig.stop()

    rig.run(story)


def test_cancelled_it_is_looked_up_and_what_was_not_found_fails_as_uncertain(rig: Rig) -> None:
    """Its provider's empty answer is no proof, so it does not end as cancelled either."""

    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted(campaign=ID, ttl="5d")
        await rig.seconds(1)
        await moved(rig, Move.CANCEL)
        await rig.seconds(3_600)
        message = await rig.message(id)
        assert (len(rig.carrier.sends), message.state) == (1, State.FAILED)
        assert rig.carrier.look_ups == 2
        assert message.error is not None
        assert message.error.category is Category.UNCERTAIN
        assert message.error.message.endswith("not sent again, because its campaign is cancelled")
        await rig.stop()

    rig.run(story)
