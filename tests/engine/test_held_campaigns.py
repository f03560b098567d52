"""Does what an operator says of a campaign hold its messages up, and only these, as callers see it?

Played by the whole engine in virtual time. What the outbox keeps is proven in tests/store.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd.core.acceptance import Refusal
from smsd.core.campaign import Campaign, Hours, Move, Terms
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.suppression import EVERY
from smsd.core.units import DAY, HOUR, MINUTE
from smsd.engine.intake import Accepted
from tests.engine.rig import TO, Rig

GONE = "+14155550198"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def move(rig: Rig, move: Move, id: str = "spring") -> Campaign:
    """As the engine's part for campaigns does it."""
    found = await rig.store.desk.campaigns.move("shop", id, move, rig.clock.wall())
    assert found is not None
    rig.engine.way_out.campaign_changed()
    return found


async def why(rig: Rig, id: str) -> tuple[str, int | None, str]:
    seen = await rig.engine.service.get(id, None)
    assert seen is not None
    assert seen.waiting is not None
    return seen.waiting.reason.value, seen.waiting.until, seen.waiting.text


def test_a_paused_one_waits_others_go_and_resumed_it_goes_at_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.accepted(campaign="spring")
        await rig.seconds(1)
        await move(rig, Move.PAUSE)
        held = [await rig.accepted(campaign="spring", text=f"text {n}") for n in range(5)]
        other = await rig.accepted(campaign="summer", text="other")
        await rig.seconds(1)
        assert (await rig.state(other), len(rig.carrier.sends)) == ("sent", 2)
        reason, until, text = await why(rig, held[0])
        assert (reason, until) == ("campaign_paused", None)
        assert text.startswith("Campaign spring is paused; nothing of it is sent until it is resumed: smsd campaign ")
        await rig.seconds(7 * HOUR / 1_000)
        assert len(rig.carrier.sends) == 2
        await move(rig, Move.RESUME)
        await rig.seconds(1)
        assert {await rig.state(id) for id in held} == {"sent"}
        assert Kind.LIMIT_HIT not in rig.kinds()
        await rig.stop()

    rig.run(story)


def test_a_pause_holds_over_a_restart(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.store.desk.campaigns.make("shop", "spring", Terms(), rig.clock.wall())
        await move(rig, Move.PAUSE)
        held = await rig.accepted(campaign="spring")
        await rig.seconds(1)
        await rig.crash()
        await rig.start()
        await rig.seconds(1)
        assert (await why(rig, held))[0] == "campaign_paused"
        await move(rig, Move.RESUME)
        await rig.seconds(1)
        assert await rig.state(held) == "sent"
        await rig.stop()

    rig.run(story)


def test_outside_its_hours_it_waits_for_them(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        minute = rig.clock.wall() % DAY // MINUTE
        hours = Hours((minute + 60) % 1_440, (minute + 120) % 1_440, "UTC")
        await rig.store.desk.campaigns.make("shop", "spring", Terms(hours=hours), rig.clock.wall())
        held = await rig.accepted(campaign="spring")
        await rig.seconds(1)
        reason, until, text = await why(rig, held)
        assert (reason, until) == ("quiet_hours", (rig.clock.wall() // MINUTE + 60) * MINUTE)
        assert text.startswith(f"Campaign spring is sent {hours.words}; it goes on at ")
        await rig.seconds(3_700)
        assert await rig.state(held) == "sent"
        assert rig.carrier.sends[0][0] - (until or 0) in range(1_000)
        await rig.stop()

    rig.run(story)


def test_its_rate_lets_so_many_go_in_any_hour(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.store.desk.campaigns.make("shop", "spring", Terms(rate=(2, HOUR)), rig.clock.wall())
        ids = [await rig.accepted(campaign="spring", text=f"text {n}", ttl="1d") for n in range(5)]
        await rig.seconds(1)
        assert len(rig.carrier.sends) == 2
        reason, until, text = await why(rig, ids[4])
        assert (reason, (until or 0) - rig.carrier.sends[0][0] in range(HOUR - 1_000, HOUR + 1_000)) == (
            "campaign_limit", True,
        )  # fmt: skip
        assert "2/hour per campaign" in text
        await rig.seconds(2 * 3_600 + 60)
        starts = [at for at, _ in rig.carrier.sends]
        assert len(starts) == 5
        assert all(third - first >= HOUR for first, third in zip(starts, starts[2:], strict=False))
        assert Kind.LIMIT_HIT in rig.kinds()
        await rig.stop()

    rig.run(story)


def test_a_cancelled_one_takes_no_more(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.accepted(campaign="spring")
        await move(rig, Move.CANCEL)
        answer = await rig.submit(campaign="spring", text="late")
        assert isinstance(answer, Refusal)
        [fault] = answer.faults
        assert (fault.field, fault.code) == ("campaign", "wrong_state")
        assert isinstance(await rig.submit(campaign="summer"), Accepted)
        await rig.stop()

    rig.run(story)


def test_a_message_put_back_into_a_cancelled_one_is_cancelled_when_it_is_due(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.accepted(campaign="spring")
        await rig.seconds(1)
        await move(rig, Move.PAUSE)
        waiting = await rig.accepted(campaign="spring", text="later")
        await rig.seconds(1)
        await move(rig, Move.CANCEL)
        await rig.seconds(1)
        assert await rig.state(waiting) == "cancelled"
        assert (len(rig.carrier.sends), rig.engine.tally.backlog) == (1, 0)
        assert rig.kinds().count(Kind.MESSAGE_CANCELLED) == 1
        await rig.stop()

    rig.run(story)


def test_one_who_opted_out_counts_as_failed_in_a_campaign(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.optouts.suppress(GONE, EVERY, "uid 0")
        assert await rig.refused(to=GONE) == "recipient_suppressed"
        answer = await rig.submit(to=GONE, campaign="spring", idempotency_key="k")
        assert isinstance(answer, Accepted)
        assert (answer.state, answer.replayed) == (State.FAILED, False)
        again = await rig.submit(to=GONE, campaign="spring", idempotency_key="k")
        assert again == answer._replace(replayed=True)
        await rig.accepted(to=TO, campaign="spring")
        await rig.seconds(1)
        assert len(rig.carrier.sends) == 1
        kinds = rig.kinds()
        assert (kinds.count(Kind.MESSAGE_ACCEPTED), kinds.count(Kind.MESSAGE_FAILED)) == (2, 1)
        assert rig.engine.tally.backlog == 0
        [campaign] = await rig.store.desk.campaigns.find("spring", "shop")
        assert campaign.counts.states == {State.FAILED: 1, State.SENT: 1}
        await rig.stop()

    rig.run(story)
