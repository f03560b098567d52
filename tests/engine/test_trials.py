"""Is a campaign taken away again exactly when nobody brought it a message?"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from smsd.core.campaign import Campaign, Move, Terms
from smsd.engine import trials as module
from smsd.engine.trials import LASTS_US, Trials
from smsd.store import StoreError
from tests.engine.rig import SHOP, Rig

ID = "spring"


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def join(rig: Rig, word: str, id: str = ID) -> bool:
    trials = rig.engine.office.campaigns.trials
    async with trials.trying(SHOP.tenant, id, Terms()) as trial:
        trial.used = True
        return trials.join(SHOP.tenant, id, trial, word)


async def leave(rig: Rig, word: str, id: str = ID) -> bool:
    campaigns = rig.engine.office.campaigns
    (found,) = await campaigns.find(id, SHOP.tenant)
    return await campaigns.delete(found, word)


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


@pytest.mark.parametrize("times", [1, 2])
def test_one_that_is_made_for_somebody_who_went_away_does_not_stay(rig: Rig, times: int) -> None:
    """The requester is cancelled when it is committed and not told yet; and again while it leaves."""

    async def story() -> None:
        await rig.start()
        campaigns = rig.engine.office.campaigns
        committed, told = asyncio.Event(), asyncio.Event()

        async def make(tenant: str, id: str, terms: Terms) -> tuple[Campaign, bool]:
            made = await campaigns.make(tenant, id, terms)
            committed.set()
            await told.wait()
            return made

        trials = Trials(make, rig.store.desk.campaigns, rig.clock)

        async def hand_in() -> None:
            async with trials.trying(SHOP.tenant, ID, Terms(rate=(1, 1_000))):
                pytest.fail("it hands in what nobody waits for")

        requester = asyncio.create_task(hand_in())
        await committed.wait()
        for _ in range(times):
            requester.cancel()
            await rig.seconds(0.01)
        assert await campaigns.find(ID, SHOP.tenant)
        told.set()
        with pytest.raises(asyncio.CancelledError):
            await requester
        await rig.seconds(1)
        assert not await campaigns.find(ID, SHOP.tenant)
        await rig.stop()

    rig.run(story)


def test_who_leaves_last_is_told_whether_it_is_gone(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        trials = rig.engine.office.campaigns.trials
        async with trials.trying(SHOP.tenant, ID, Terms()) as last, trials.trying(SHOP.tenant, ID, Terms()) as first:
            pass
        assert (first.gone, last.gone) == (False, True)
        async with trials.trying(SHOP.tenant, ID, Terms()) as kept:
            await rig.accepted(campaign=ID)
        assert not kept.gone
        await rig.stop()

    rig.run(story)


def test_of_very_many_who_join_some_are_forgotten_and_their_campaigns_stay(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "JOINED", 2)
    monkeypatch.setattr(module, "WORDS", 2)

    async def story() -> None:
        await rig.start()
        assert [await join(rig, "a", id) for id in ("one", "two", "three")] == [True] * 3
        assert [await join(rig, word, "two") for word in "bc"] == [True, False]
        assert [await leave(rig, "a", id) for id in ("one", "two", "three")] == [False, False, True]
        await rig.stop()

    rig.run(story)


async def paused(rig: Rig, move: Move) -> None:
    assert await rig.engine.office.campaigns.move(SHOP.tenant, ID, move)


def test_what_the_outbox_did_not_do_is_done_when_it_is_asked_for_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(tenant: str, id: str) -> bool:
        raise StoreError("busy")

    async def story() -> None:
        await rig.start()
        assert await join(rig, "a")
        await paused(rig, Move.PAUSE)
        assert not await leave(rig, "a")
        await paused(rig, Move.RESUME)
        with monkeypatch.context() as broken, pytest.raises(StoreError):
            broken.setattr(rig.store.desk.campaigns, "unmake", busy)
            await leave(rig, "a")
        assert await leave(rig, "a")
        assert not await rig.engine.office.campaigns.find(ID, SHOP.tenant)
        await rig.stop()

    rig.run(story)


def test_who_joins_before_its_maker_is_not_forgotten(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        trials = rig.engine.office.campaigns.trials
        async with trials.trying(SHOP.tenant, ID, Terms()) as made:
            assert await join(rig, "other")
            made.used = True
            assert trials.join(SHOP.tenant, ID, made, "maker")
        assert [await leave(rig, word) for word in ("maker", "other")] == [False, True]
        await rig.stop()

    rig.run(story)


def test_words_of_one_that_was_taken_away_do_not_bind_the_next_of_that_id(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        assert await join(rig, "of the first")
        assert await rig.store.desk.campaigns.unmake(SHOP.tenant, ID), "as the retention does"
        assert await join(rig, "of the second")
        assert await leave(rig, "of the second")
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("killed", [True, False])
def test_who_says_nothing_for_long_counts_as_gone(rig: Rig, killed: bool) -> None:
    """One that says its word again in time does not."""
    lasts_s = LASTS_US / 1e6

    async def story() -> None:
        await rig.start()
        assert await join(rig, "one")
        await rig.seconds(lasts_s / 2)
        assert await join(rig, "killed" if killed else "one")
        rig.clock.step(3_600_000)
        await rig.seconds(lasts_s / 2 + 1)
        assert await join(rig, "other")
        assert not await leave(rig, "other"), "the one of half the time ago is still there"
        assert await join(rig, "other")
        await rig.seconds(lasts_s / 2)
        assert await leave(rig, "other")
        await rig.stop()

    rig.run(story)


def test_nobody_deletes_without_a_word_what_others_bring_messages_to(rig: Rig) -> None:
    """They would make it anew, without its rate and hours."""

    async def story() -> None:
        await rig.start()
        assert await join(rig, "one")
        campaigns = rig.engine.office.campaigns
        (found,) = await campaigns.find(ID, SHOP.tenant)
        await rig.seconds(LASTS_US / 1e6 - 1)
        assert not await campaigns.delete(found)
        assert await campaigns.find(ID, SHOP.tenant) == (found,)
        await rig.seconds(2)
        assert await campaigns.delete(found), "it was killed"
        await rig.stop()

    rig.run(story)
