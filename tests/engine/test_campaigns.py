"""Does a campaign go, wait, end and stay ended as its operator says?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from smsd.core.campaign import Campaign, Hours, Move, Status, Terms
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.engine import campaigns
from tests.engine.rig import SHOP, Rig, answer, twilio

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
ID = "spring"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def number(n: int) -> str:
    return f"+1201{2_000_000 + n}"


async def handed_in(rig: Rig, count: int, first: int = 0, **fields: Any) -> list[str]:
    return [await rig.accepted(to=number(n), campaign=ID, **fields) for n in range(first, first + count)]


async def found(rig: Rig) -> Campaign:
    (one,) = await rig.engine.office.campaigns.find(ID, SHOP.tenant)
    return one


async def moved(rig: Rig, move: Move) -> Campaign:
    one = await rig.engine.office.campaigns.move(SHOP.tenant, ID, move)
    assert one is not None
    return one


def told(rig: Rig, kind: Kind) -> list[dict[str, object]]:
    return [event.fields for event in rig.events if event.kind is kind]


def test_deleted_it_is_told_of_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        campaigns = rig.engine.office.campaigns
        await campaigns.make(SHOP.tenant, ID, Terms())
        made = await found(rig)
        async with campaigns.trials.trying(SHOP.tenant, ID, Terms()):
            assert not await campaigns.delete(made), "its messages are to find its terms"
        assert told(rig, Kind.CAMPAIGN_DELETED) == []
        assert await campaigns.delete(made)
        assert not await campaigns.delete(made)
        assert told(rig, Kind.CAMPAIGN_DELETED) == [{"tenant": "shop", "campaign": ID}]
        assert await campaigns.find(ID, None) == ()
        await rig.stop()

    rig.run(story)


def test_paused_it_waits_and_resumed_it_goes_at_once(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.office.campaigns.make(SHOP.tenant, ID, Terms())
        assert (await moved(rig, Move.PAUSE)).status is Status.PAUSED
        ids = await handed_in(rig, 3)
        other = await rig.accepted(to=number(9))
        await rig.seconds(3_600)
        assert [fields["To"] for _, fields in rig.carrier.sends] == [number(9)]
        assert await rig.state(other) == "sent"
        assert await rig.waiting(ids[0]) == ("campaign_paused", None)
        assert await rig.engine.office.campaigns.eta(await found(rig)) is None
        await moved(rig, Move.RESUME)
        await rig.seconds(1)
        assert len(rig.carrier.sends) == 4
        assert (await found(rig)).counts.states[State.SENT] == 3
        # what is so already is not told again
        await moved(rig, Move.RESUME)
        assert len(told(rig, Kind.CAMPAIGN_PAUSED)) == len(told(rig, Kind.CAMPAIGN_RESUMED)) == 1
        assert told(rig, Kind.CAMPAIGN_CREATED) == [{"tenant": "shop", "campaign": ID}]
        await rig.stop()

    rig.run(story)


def test_paused_in_the_middle_and_over_a_restart(rig: Rig) -> None:
    """What is claimed goes; nothing after it does, whoever starts the daemon anew."""
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(10, 1_000_000),))))]

    async def story() -> None:
        await rig.start()
        await handed_in(rig, 100)
        await rig.seconds(3)
        await moved(rig, Move.PAUSE)
        await rig.seconds(2)
        gone = len(rig.carrier.sends)
        assert 30 <= gone < 60
        await rig.stop()
        await rig.start()
        await rig.seconds(600)
        assert len(rig.carrier.sends) == gone
        await moved(rig, Move.RESUME)
        await rig.seconds(15)
        assert len(rig.carrier.sends) == 100
        assert (await found(rig)).status is Status.COMPLETED
        await rig.stop()

    rig.run(story)


def test_hours(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        now = rig.clock.wall()
        minute = now // 60_000 % 1_440
        hours = Hours((minute + 120) % 1_440, (minute + 180) % 1_440, "UTC")
        await rig.engine.office.campaigns.make(SHOP.tenant, ID, Terms(hours=hours))
        (id,) = await handed_in(rig, 1, ttl="5d")
        opens = (now // 60_000 + 120) * 60_000
        await rig.seconds(10)
        assert await rig.waiting(id) == ("quiet_hours", opens)
        await rig.seconds(7_300)
        assert rig.carrier.sends[0][0] >= opens
        assert rig.carrier.sends[0][0] < opens + 2_000
        await rig.seconds(7_200)
        await handed_in(rig, 1, 1, ttl="5d")
        await rig.seconds(86_400)
        assert opens + DAY_MS <= rig.carrier.sends[1][0] < opens + DAY_MS + 2_000
        await rig.stop()

    rig.run(story)


def test_its_own_rate_binds_it_alone_and_tells_its_end(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        kept = rig.engine.office.campaigns
        await kept.make(SHOP.tenant, ID, Terms(rate=(10, 60_000)))
        began = rig.clock.wall()
        ids = await handed_in(rig, 45)
        other = await rig.accepted(to=number(99))
        await rig.seconds(5)
        assert len(rig.carrier.sends) == 11
        assert await rig.state(other) == "sent"
        assert (await rig.waiting(ids[-1]))[0] == "campaign_limit"
        eta = await kept.eta(await found(rig))
        assert eta is not None
        await rig.seconds(400)
        starts = [at for at, fields in rig.carrier.sends if fields["To"] != number(99)]
        assert len(starts) == 45
        assert all(later - earlier >= 60_000 for earlier, later in zip(starts, starts[10:], strict=False))
        assert abs(eta - starts[-1]) < 0.1 * (starts[-1] - began)
        await rig.stop()

    rig.run(story)


def test_terms_said_later_count_for_what_waits(rig: Rig) -> None:
    """A campaign that was only named by its messages is made with a rate."""

    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, 10_000_000),))))]
        await rig.start()
        await handed_in(rig, 10)
        made, is_new = await rig.engine.office.campaigns.make(SHOP.tenant, ID, Terms(rate=(1, 600_000)))
        assert (made.terms.rate, is_new) == ((1, 600_000), False)
        await rig.seconds(300)
        assert len(rig.carrier.sends) <= 3
        await rig.stop()

    rig.run(story)


def test_cancelled_in_steps_and_over_a_restart(rig: Rig) -> None:
    """The process dies between two steps; the next one goes on. One message is under way meanwhile."""
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, 3_600_000_000),))))]
    count = 1_500

    async def story() -> None:
        await rig.start()
        await handed_in(rig, count)
        await rig.seconds(1)
        cancelled = await moved(rig, Move.CANCEL)
        assert cancelled.status is Status.CANCELLED
        while not told(rig, Kind.MESSAGE_CANCELLED):
            await asyncio.sleep(0)
        await rig.crash()
        assert (await _left(rig)) > 0
        await rig.start()
        await rig.seconds(2)
        one = await found(rig)
        assert one.counts.states == {State.SENT: 1, State.CANCELLED: count - 1}
        assert one.status is Status.CANCELLED
        assert await rig.refused(to=number(1), campaign=ID) == "wrong_state"
        await rig.seconds(7_200)
        assert len(rig.carrier.sends) == 1
        assert len(told(rig, Kind.CAMPAIGN_CANCELLED)) == 1
        assert told(rig, Kind.CAMPAIGN_COMPLETED) == []
        await rig.stop()

    async def _left(rig: Rig) -> int:
        import sqlite3

        with sqlite3.connect(f"file:{rig.path}?mode=ro", uri=True) as connection:
            (left,) = connection.execute("SELECT count(*) FROM messages WHERE state = 0").fetchone()
        connection.close()
        return int(left)

    rig.run(story)


def test_completed_is_told_once_each_time(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        rig.carrier.answers = lambda _, form: answer(400, code=21211) if form["To"] == number(1) else "accepted"
        ids = await handed_in(rig, 3)
        await rig.seconds(5)
        end = {"tenant": "shop", "campaign": ID, "total": 3, "sent": 2, "failed": 1}
        assert told(rig, Kind.CAMPAIGN_COMPLETED) == [end]
        assert (await found(rig)).status is Status.COMPLETED
        # more of it, and then an operator's retry of what failed
        await handed_in(rig, 1, 5)
        await rig.seconds(5)
        rig.carrier.answers = None
        await rig.engine.service.retry(ids[1], None, ttl=None, expires_at=None, force=False)
        await rig.seconds(5)
        ends = [(each["sent"], each["failed"]) for each in told(rig, Kind.CAMPAIGN_COMPLETED)]
        assert ends == [(2, 1), (3, 1), (4, 0)]
        # a restart tells nothing again
        await rig.stop()
        await rig.start()
        await rig.seconds(60)
        assert len(told(rig, Kind.CAMPAIGN_COMPLETED)) == 3
        await rig.stop()

    rig.run(story)


def test_what_was_begun_before_a_restart_is_told_after_it(rig: Rig) -> None:
    rig.providers = [(twilio(), rig.rules(pace=Pace((Window(1, 60_000_000),))))]

    async def story() -> None:
        await rig.start()
        await handed_in(rig, 2)
        await rig.seconds(1)
        await rig.stop()
        await rig.start()
        assert told(rig, Kind.CAMPAIGN_COMPLETED) == []
        await rig.seconds(120)
        assert [each["sent"] for each in told(rig, Kind.CAMPAIGN_COMPLETED)] == [2]
        await rig.stop()

    rig.run(story)


def test_no_more_campaigns_are_kept_in_mind_than_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "KNOWN", 2)

    async def story() -> None:
        await rig.start()
        kept = rig.engine.office.campaigns
        for name in ("a", "b", "c"):
            await kept.make(SHOP.tenant, name, Terms())
            await kept.move(SHOP.tenant, name, Move.PAUSE)
            await rig.accepted(campaign=name)
        for name in ("a", "b", "c"):
            await kept.move(SHOP.tenant, name, Move.RESUME)
        await rig.seconds(5)
        assert sorted(str(each["campaign"]) for each in told(rig, Kind.CAMPAIGN_COMPLETED)) == ["b", "c"]
        assert {(await kept.find(name, None))[0].status for name in ("a", "b", "c")} == {Status.COMPLETED}
        await rig.stop()

    rig.run(story)
