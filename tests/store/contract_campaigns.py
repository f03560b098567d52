"""What must every outbox do about campaigns? A part of the contract (`contract.py`), in the words of `contract_limits`.

A binding is a subclass of CampaignsContract and a fixture `hall`: see test_sqlite_contract.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from smsd.core.campaign import Campaign, Counts, Hours, Move, Status, Terms
from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule, group_of
from smsd.core.message import Message, State
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import HOUR
from smsd.core.verdict import Category
from smsd.core.waiting import Reason
from smsd.store import NEVER, Blocked, CampaignClosed, KeyConflict, Replay, Stored, Tracking, WrongState
from smsd.store.operators import Campaigns
from tests.store.contract import attempt, settlement
from tests.store.contract_limits import NUMBER, Hall

GROUP = group_of(Per.CAMPAIGN, "shop\nc")
DAYTIME = Hours(9 * 60, 18 * 60, "UTC")
MIDNIGHT = 1_789_948_800_000
"""UTC, of the day on which tests begin at 14:13:20."""


def desk(hall: Hall) -> Campaigns:
    return hall.box.desk.campaigns


async def move(hall: Hall, move: Move) -> Campaign:
    found = await desk(hall).move("shop", "c", move, hall.clock.wall())
    assert found is not None
    return found


async def the_one(hall: Hall) -> Campaign:
    [found] = await desk(hall).find("c", "shop")
    return found


async def counts(hall: Hall) -> dict[State, int]:
    return dict((await the_one(hall)).counts.states)


async def blocked(hall: Hall, *seqs: int) -> Blocked:
    """The answer to all of these claims."""
    answers = await hall.claim(*seqs)
    [found] = set(answers)
    assert isinstance(found, Blocked)
    return found


class CampaignsContract:
    """Subclass it with a fixture `hall`."""

    # --- making and finding ------------------------------------------------------------------------------------------

    async def test_a_message_makes_its_campaign(self, hall: Hall) -> None:
        begin = hall.clock.wall()
        await hall.stored(2, campaign="c")
        await hall.stored(1)
        [one] = await desk(hall).find("c", None)
        assert (one.tenant, one.id, one.created_at, one.changed_at, one.terms) == ("shop", "c", begin, begin, Terms())
        assert (one.counts, one.status) == (Counts({State.PENDING: 2}), Status.SENDING)
        assert await desk(hall).page(None, None, 9) == (one,)

    async def test_one_that_is_made_keeps_its_terms(self, hall: Hall) -> None:
        terms, now = Terms("Spring", (5, HOUR), DAYTIME), hall.clock.wall()
        made, is_new = await desk(hall).make("shop", "c", terms, now)
        assert (is_new, made.terms, made.created_at, made.counts) == (True, terms, now, Counts())
        again, is_new = await desk(hall).make("shop", "c", Terms("Summer"), now + 5)
        assert (again, is_new) == (made, False)
        await hall.restart()
        assert await the_one(hall) == made

    async def test_one_that_messages_named_is_made_once(self, hall: Hall) -> None:
        await hall.stored(1, campaign="c")
        named = await the_one(hall)
        plain, is_new = await desk(hall).make("shop", "c", Terms(), hall.clock.wall())
        assert (plain, is_new) == (named, False)
        same, _ = await desk(hall).make("shop", "c", Terms("Late"), hall.clock.wall())
        assert same == named, "it was made, without a name"

    async def test_they_are_listed_newest_first_and_by_tenant(self, hall: Hall) -> None:
        for n in range(4):
            await hall.stored(1, campaign=f"c{n}", tenant="ab"[n % 2])
            await hall.stored(1, campaign="same", tenant=f"t{n}")
        all_of_them = await desk(hall).page(None, None, 99)
        assert [one.nr for one in all_of_them] == sorted((one.nr for one in all_of_them), reverse=True)
        assert len(all_of_them) == 8
        assert await desk(hall).page(None, all_of_them[2].nr, 2) == all_of_them[3:5]
        of_a = await desk(hall).page("a", None, 9)
        assert [one.id for one in of_a] == ["c2", "c0"]
        assert [one.id for one in await desk(hall).page("a", of_a[0].nr, 9)] == ["c0"]
        assert [one.tenant for one in await desk(hall).find("same", None)] == ["t0", "t1", "t2", "t3"]
        assert [one.tenant for one in await desk(hall).find("same", "t2")] == ["t2"]
        assert await desk(hall).find("c0", "b") == ()

    # --- holding up --------------------------------------------------------------------------------------------------

    async def test_a_paused_one_waits_until_it_is_resumed(self, hall: Hall) -> None:
        first, second = await hall.stored(2, campaign="c")
        [other] = await hall.stored(1, campaign="d")
        open_one = await hall.one(first)
        paused = await move(hall, Move.PAUSE)
        assert (paused.status, paused.paused_at) == (Status.PAUSED, hall.clock.wall())
        hall.clock.advance(1_000)
        assert await move(hall, Move.PAUSE) == paused, "it is paused already"
        before = await hall.by_seq(second)
        found = await blocked(hall, second)
        assert (found.rule, found.group, found.until) == (None, GROUP, NEVER)
        assert found.gate is not None
        assert (found.gate.reason, found.gate.until) == (Reason.CAMPAIGN_PAUSED, None)
        assert await hall.by_seq(second) == before, "nothing is written"
        assert (await hall.one(other)).state is State.PROCESSING
        await hall.settle(open_one.seq)  # what has begun runs on
        await hall.restart()
        assert await blocked(hall, second) == found
        assert (await move(hall, Move.RESUME)).status is Status.SENDING
        assert (await hall.one(second)).state is State.PROCESSING

    async def test_hours_hold_it_up(self, hall: Hall) -> None:
        await desk(hall).make("shop", "c", Terms(hours=Hours(9 * 60, 14 * 60, "UTC")), hall.clock.wall())
        [seq] = await hall.stored(1, campaign="c")
        opens = MIDNIGHT + 24 * HOUR + 9 * HOUR
        found = await blocked(hall, seq)
        assert found.gate is not None
        assert (found.until, found.gate.until, found.gate.reason) == (opens, opens, Reason.QUIET_HOURS)
        assert found.gate.words == "campaign c is sent 09:00-14:00 (UTC)"
        hall.clock.advance(opens - hall.clock.wall() - 1)
        assert await hall.states(seq) == ["blocked"]
        hall.clock.advance(1)
        assert await hall.states(seq) == [State.PROCESSING]

    async def test_its_rate_holds_in_every_window(self, hall: Hall) -> None:
        begin = hall.clock.wall()
        await desk(hall).make("shop", "c", Terms(rate=(2, HOUR)), begin)
        first, second, third, fourth = await hall.stored(4, campaign="c")
        [other] = await hall.stored(1, campaign="d")
        assert (await hall.one(first)).state is State.PROCESSING
        hall.clock.advance(60_000)
        assert await hall.states(second, third, other) == [State.PROCESSING, "blocked", State.PROCESSING]
        found = await blocked(hall, third)
        assert found.rule == Rule(Per.CAMPAIGN, 2, HOUR, tenant="shop")
        assert (found.group, found.until, found.gate) == (GROUP, begin + HOUR, None)
        await hall.restart(crash=True)
        assert await blocked(hall, third, fourth) == found
        hall.clock.advance(HOUR - 60_000)
        assert await hall.states(third, fourth) == [State.PROCESSING, "blocked"]

    async def test_its_rate_holds_beside_the_limits_and_over_their_change(self, hall: Hall) -> None:
        await desk(hall).make("shop", "c", Terms(rate=(3, 20 * HOUR)), hall.clock.wall())
        await hall.limit(Rule(Per.CAMPAIGN, 2, HOUR))
        seqs = await hall.stored(5, campaign="c")
        processing = State.PROCESSING
        assert await hall.states(*seqs[:3]) == [processing, processing, "blocked"]
        hall.clock.advance(HOUR)
        assert await hall.states(*seqs[2:4]) == [processing, "blocked"]
        await hall.limit()
        assert (await blocked(hall, seqs[3])).until == hall.clock.wall() + 19 * HOUR
        await hall.limit(Rule(Per.CAMPAIGN, 1, 60_000))
        assert (await blocked(hall, seqs[3])).until == hall.clock.wall() + 19 * HOUR
        hall.clock.advance(19 * HOUR)
        assert await hall.states(*seqs[3:]) == [processing, "blocked"]

    async def test_a_higher_rate_of_another_sees_all_its_charges(self, hall: Hall) -> None:
        """A window in memory that was read for a small rate lacks what a larger one counts."""
        await desk(hall).make("shop", "a", Terms(rate=(1, 60_000)), hall.clock.wall())
        for _ in range(3):
            [seq] = await hall.stored(1, campaign="c")
            await hall.one(seq)
        await hall.limit(Rule(Per.CAMPAIGN, 1, 60_000))
        for _ in range(3):
            hall.clock.advance(60_000)
            [seq] = await hall.stored(1, campaign="c")
            await hall.one(seq)
        await desk(hall).make("shop", "c", Terms(rate=(3, HOUR)), hall.clock.wall())
        hall.clock.advance(60_000)
        [seq] = await hall.stored(1, campaign="c")
        assert (await blocked(hall, seq)).until == hall.clock.wall() + HOUR - 3 * 60_000

    # --- cancelling --------------------------------------------------------------------------------------------------

    async def test_a_cancelled_one_takes_no_more_and_stays_cancelled(self, hall: Hall) -> None:
        key: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h"}
        await hall.stored(1, campaign="c", **key)
        cancelled = await move(hall, Move.CANCEL)
        assert (cancelled.status, cancelled.cancelled_at) == (Status.CANCELLED, hall.clock.wall())
        hall.clock.advance(1_000)
        for again in Move:
            assert await move(hall, again) == cancelled
        assert await hall.submit(campaign="c") == CampaignClosed("c")
        assert isinstance(await hall.submit(campaign="c", **key), Replay), "a repeat gets its first answer"
        assert isinstance(await hall.submit(campaign="c", **key | {"content_hash": b"i"}), KeyConflict)
        assert isinstance(await hall.submit(campaign="c", tenant="other"), Stored)
        assert (await the_one(hall)).counts.total == 1
        await hall.restart()
        assert await hall.submit(campaign="c") == CampaignClosed("c")
        assert await desk(hall).move("shop", "unknown", Move.CANCEL, hall.clock.wall()) is None

    async def test_it_is_cancelled_in_steps(self, hall: Hall) -> None:
        seqs = [*await hall.stored(3, campaign="c"), *await hall.stored(4, campaign="c", route="b")]
        [open_one, *_] = seqs
        await hall.one(open_one)
        [other] = await hall.stored(1, campaign="d")
        assert await desk(hall).cancel_some("shop", "c", hall.clock.wall(), 9) == [], "it is not cancelled"
        await move(hall, Move.CANCEL)
        assert await desk(hall).cancelled() == (("shop", "c"),)
        first = await desk(hall).cancel_some("shop", "c", hall.clock.wall(), 4)
        await hall.restart(crash=True)
        assert await desk(hall).cancelled() == (("shop", "c"),)
        second = await desk(hall).cancel_some("shop", "c", hall.clock.wall(), 4)
        assert (len(first), len(second)) == (4, 2)
        assert [await hall.by_seq(each.seq) for each in first + second] == first + second
        assert {each.state for each in first + second} == {State.CANCELLED}
        assert await desk(hall).cancel_some("shop", "c", hall.clock.wall(), 4) == []
        assert await desk(hall).cancelled() == (("shop", "c"),), "one may come back"
        assert await counts(hall) == {State.PROCESSING: 1, State.CANCELLED: 6}
        assert (await hall.by_seq(other)).state is State.PENDING
        await hall.settle(open_one)
        assert await desk(hall).cancelled() == ()

    async def test_what_a_step_cancels_is_told_and_gives_its_turn_free(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR), Rule(Per.USER, 1, HOUR, Action.REJECT))
        await hall.box.track(Tracking(callbacks={"shop": "https://app.example/"}))
        begin = hall.clock.wall()
        await hall.sent()
        [seq] = await hall.stored(1, campaign="c", user="ann")
        assert (await hall.one(seq)).due == begin + HOUR
        await move(hall, Move.CANCEL)
        await desk(hall).cancel_some("shop", "c", hall.clock.wall(), 9)
        events = [one.event.value for one in await hall.box.callbacks(None, False, None, 9)]
        assert events.count("message.cancelled") == 1
        assert isinstance(await hall.submit(user="ann"), Stored), "the acceptance is taken back"
        [next_one] = await hall.stored(1)
        assert (await hall.one(next_one)).due == begin + HOUR

    async def test_what_comes_back_to_a_cancelled_one_is_cancelled_too(self, hall: Hall) -> None:
        seq, failed = await hall.stored(2, campaign="c")
        await hall.claim(seq, failed)
        now = hall.clock.wall()
        await hall.box.settle(settlement(failed, Event.FAIL, at=now), attempt(at=now))
        await move(hall, Move.CANCEL)
        assert await desk(hall).cancel_some("shop", "c", now, 9) == []
        await hall.box.settle(settlement(seq, Event.RETRY, at=now, due=now), attempt(at=now))
        reopened = await hall.box.reopen((await hall.by_seq(failed)).id, None, now, now + HOUR, False)
        assert isinstance(reopened, WrongState)
        assert reopened.closed
        answers = await hall.claim(seq)
        assert [each.state for each in answers if isinstance(each, Message)] == [State.CANCELLED]
        assert await counts(hall) == {State.CANCELLED: 1, State.FAILED: 1}

    # --- suppressed recipients ---------------------------------------------------------------------------------------

    async def test_one_who_opted_out_counts_as_failed(self, hall: Hall) -> None:
        await hall.box.track(Tracking(callbacks={"shop": "https://app.example/"}))
        await hall.box.suppress(Suppression(EVERY, NUMBER, hall.clock.wall(), "api", "21610"))
        key: dict[str, Any] = {"idempotency_key": "k", "content_hash": b"h", "callback_url": "https://own.example/"}
        result = await hall.submit(campaign="c", held="quiet_hours", held_by="21:00-08:00", **key)
        assert isinstance(result, Stored)
        assert result.failed == await hall.by_seq(result.seq)
        failed = result.failed
        assert failed is not None and failed.error is not None
        assert (failed.state, failed.error.category, failed.error.code) == (State.FAILED, Category.OPTED_OUT, "21610")
        assert (failed.processed_at, failed.attempt, failed.held) == (failed.created_at, 0, None)
        replay = await hall.submit(campaign="c", **key)
        assert isinstance(replay, Replay)
        assert (replay.id, replay.state) == (failed.id, State.FAILED)
        assert await counts(hall) == {State.FAILED: 1}
        assert (await the_one(hall)).status is Status.COMPLETED
        told = await hall.box.callbacks(None, False, None, 9)
        assert [(one.event.value, one.url) for one in told] == [("message.failed", "https://own.example/")]
        totals = await hall.box.totals(0)
        assert totals.categories == {"OPTED_OUT": 1}

    async def test_one_who_opted_out_counts_as_accepted(self, hall: Hall) -> None:
        """So the same submission once more is a repeat, and no second failure."""
        await hall.limit(Rule(Per.REPEAT, 1, HOUR, Action.REPLAY))
        await hall.box.suppress(Suppression(EVERY, NUMBER, hall.clock.wall(), "api", None))
        first = await hall.submit(campaign="c")
        assert isinstance(first, Stored)
        repeat = await hall.submit(campaign="c")
        assert isinstance(repeat, Replay)
        assert (repeat.id, repeat.state) == ((await hall.by_seq(first.seq)).id, State.FAILED)
        assert await counts(hall) == {State.FAILED: 1}

    async def test_one_who_opted_out_is_not_claimed(self, hall: Hall) -> None:
        await hall.box.suppress(Suppression("main", NUMBER, hall.clock.wall(), "api", None))
        result = await hall.submit(campaign="c")
        assert isinstance(result, Stored)
        assert result.failed is not None
        slice_ = await hall.box.feed(result.flow, None, hall.clock.wall(), 9)
        assert slice_.items == ()
        assert (await hall.submit(campaign="c", recipient="+14155550199")) == replace(
            result, seq=result.seq + 1, failed=None
        )

    # --- counting ----------------------------------------------------------------------------------------------------

    async def test_one_that_fails_over_crashes_is_counted(self, hall: Hall) -> None:
        [seq] = await hall.stored(1, campaign="c")
        await hall.one(seq)
        for crash in range(3):
            assert await counts(hall) == {State.PROCESSING: 1}, crash
            hall.clock.advance(1_000)
            await hall.restart(crash=True)
            if crash < 2:
                message = await hall.by_seq(seq)
                now = hall.clock.wall()
                doubted = settlement(seq, Event.RETRY, message.attempt, at=now, due=now)
                assert await hall.box.settle(doubted, None)
                await hall.one(seq)
        assert await counts(hall) == {State.FAILED: 1}
        assert (await the_one(hall)).changed_at == hall.clock.wall()

    async def test_counts_follow_its_messages(self, hall: Hall) -> None:
        sent, expired, cancelled, failed = await hall.stored(4, campaign="c")
        await hall.stored(1, tenant="other", campaign="c")
        await hall.claim(sent, failed)
        assert await counts(hall) == {State.PENDING: 2, State.PROCESSING: 2}
        hall.clock.advance(1_000)
        await hall.settle(sent)
        await hall.box.settle(settlement(failed, Event.FAIL, at=hall.clock.wall()), attempt())
        await hall.box.cancel((await hall.by_seq(cancelled)).id, None, hall.clock.wall())
        assert (await the_one(hall)).status is Status.SENDING
        hall.clock.advance((await hall.by_seq(expired)).expires_at - hall.clock.wall())
        await hall.box.expire(hall.clock.wall(), 9)
        ended = await the_one(hall)
        assert ended.counts.states == {
            State.SENT: 1, State.EXPIRED: 1, State.CANCELLED: 1, State.FAILED: 1,
        }  # fmt: skip
        assert (ended.status, ended.changed_at) == (Status.COMPLETED, hall.clock.wall())
        assert (ended.counts.total, ended.counts.sent, ended.counts.failed) == (4, 1, 3)
        again = await hall.box.reopen(
            (await hall.by_seq(failed)).id, None, hall.clock.wall(), hall.clock.wall() + HOUR, True
        )
        assert not isinstance(again, WrongState)
        assert (await the_one(hall)).status is Status.SENDING
