"""What must every outbox do? The executable meaning of smsd.store's protocols.

A binding is a subclass of OutboxContract and a fixture `bench`: see test_sqlite_contract.py. The tests speak only in
the protocols' words; another database is another fixture.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import pytest

from smsd.core.crashes import CRASHES_ALLOWED
from smsd.core.health import Health
from smsd.core.lifecycle import Event, step
from smsd.core.message import Attempt, Draft, Error, Message, MessageId, Priority, State
from smsd.core.receipt import Receipt, ReceiptReading, Status
from smsd.core.settlement import Settlement
from smsd.core.suppression import EVERY, Suppression
from smsd.core.verdict import Category
from smsd.store import (
    AcceptResult,
    Blocked,
    Claim,
    Due,
    FlowRow,
    KeyConflict,
    MinuteRow,
    Outbox,
    Person,
    PersonCounts,
    Query,
    Received,
    Records,
    Recovery,
    Replay,
    Start,
    StoreBrokenError,
    Stored,
    StoreError,
    Suppressed,
    WrongState,
)
from smsd.store.operators import Desk
from tests.doubles.builders import NOW, draft

LATER = NOW + 1_000
SOON = NOW + 5_000
NUMBER = draft().recipient


class Box(Outbox, Records, Protocol):
    """Both sides of one outbox, and what operators work with."""

    @property
    def desk(self) -> Desk: ...


@dataclass
class Bench:
    """One outbox, open, and how to stop and start it as the daemon would. Words for what every test does."""

    box: Box
    recovery: Recovery
    reopener: Callable[[int, bool, Collection[str]], Awaitable[tuple[Box, Recovery]]]
    killer: Callable[[Box], Awaitable[None]]
    number: int = 100_000

    async def restart(self, now: int = LATER, *, same_boot: bool = True, by_segments: Collection[str] = ()) -> Recovery:
        """Close and open it again."""
        await self.box.close()
        self.box, self.recovery = await self.reopener(now, same_boot, by_segments)
        return self.recovery

    async def crash(self, now: int = LATER) -> Recovery:
        """End it with nothing but what was committed, and open it again."""
        await self.killer(self.box)
        self.box, self.recovery = await self.reopener(now, True, ())
        return self.recovery

    def next(self) -> int:
        """A number that no draft had yet."""
        self.number += 1
        return self.number

    async def suppressed(self, scope: str = "main", number: str = NUMBER, code: str | None = None) -> None:
        """Keep a suppression that is new."""
        assert await self.box.suppress(Suppression(scope, number, NOW, "api", code))

    async def accept(self, *drafts: Draft) -> list[AcceptResult]:
        """Hand all in at once; the answers in the order in which they came."""
        return await accept(self.box, *drafts)

    async def stored(self, *drafts: Draft) -> list[int]:
        """Accept; the numbers."""
        results = await self.accept(*drafts)
        assert all(isinstance(result, Stored) for result in results), results
        return [result.seq for result in results if isinstance(result, Stored)]

    async def claimed(self, *seqs: int, now: int = NOW, provider: str = "main") -> list[Message]:
        """Claim messages that are surely claimable."""
        claims = [Claim(seq, (await self.by_seq(seq)).attempt, provider, "+15005550006") for seq in seqs]
        messages = await self.box.begin(claims, now)
        assert None not in messages
        return messages_of(messages)

    async def by_seq(self, seq: int) -> Message:
        """The message with this number."""
        page = await self.box.page(Query(before=seq + 1, limit=1))
        assert page.items[0].seq == seq
        return page.items[0]

    async def everything(self) -> list[Message]:
        """All messages, oldest first, page by page."""
        found: list[Message] = []
        before: int | None = None
        while True:
            page = await self.box.page(Query(before=before, limit=97))
            found += page.items
            if page.next_before is None:
                return found[::-1]
            before = page.next_before

    async def proved(
        self, number: int = 1, attempt: int | None = 1, provider: str = "main", pmid: str = "", now: int = SOON
    ) -> Received:
        """A receipt that this call of the message was taken, as SM<number> if nothing else is said."""
        receipt = Receipt(provider, Status.SENT, pmid or f"SM{number}", draft(number).id, attempt)
        [received] = await self.box.receive([receipt], now)
        return received

    async def failed_as(self, category: Category, number: int = 1) -> Message:
        """A message that ended in failed."""
        [seq] = await self.stored(draft(number))
        await self.claimed(seq)
        assert await self.box.settle(settlement(seq, Event.FAIL, error=error(category)), attempt())
        return await self.by_seq(seq)


def messages_of(found: Sequence[Message | Blocked | None]) -> list[Message]:
    """The messages that claims brought, where nothing blocks a flow."""
    some = [each for each in found if isinstance(each, Message)]
    assert len(some) == sum(each is not None for each in found)
    return some


async def accept(box: Outbox, *drafts: Draft) -> list[AcceptResult]:
    """Hand all in at once; the answers in the order in which they came."""
    answers: list[AcceptResult] = []
    ready = asyncio.get_running_loop().create_future()

    def done(result: AcceptResult) -> None:
        answers.append(result)
        if len(answers) == len(drafts):
            ready.set_result(None)

    for one in drafts:
        box.accept(one, done)
    await ready
    return answers


def settlement(
    seq: int, event: Event, n: int = 1, *, at: int = LATER, due: int | None = None, error: Error | None = None,
    pmid: str | None = None, charged: int = 1, lookups: int = 0,
) -> Settlement:  # fmt: skip
    """What the policy would say about attempt n."""
    state = step(State.PROCESSING, event)
    return Settlement(
        seq, n, event, state, at if due is None else due, charged, at, error, pmid, "0.0075" if pmid else None, lookups
    )


def attempt(n: int = 1, *, provider: str = "main", at: int = NOW, boot: int | None = 50, **fields: object) -> Attempt:
    """An attempt as the dispatcher would record it."""
    return replace(Attempt(n, provider, at, boot, 1, 120, "accepted", 201), **fields)  # type: ignore[arg-type]  # fields by name


def error(category: Category = Category.NETWORK, at: int = LATER) -> Error:
    """Why it did not work."""
    return Error(category, "no connection", at, "E1", "main")


class OutboxContract:
    """Subclass it with a fixture `bench`."""

    # --- accept ------------------------------------------------------------------------------------------------------

    async def test_accepts_in_the_order_of_the_calls(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 400)))
        assert seqs == sorted(seqs)
        assert [m.id for m in await bench.everything()] == [draft(n).id for n in range(1, 400)]

    async def test_keeps_every_field(self, bench: Bench) -> None:
        full = draft(
            7, sender="+14155550100", send_at=NOW - 5, truncated=True, pinned=True, user="u\u00fc", type="otp",
            campaign="c 1", profile="fast", metadata={"a": "\0\u2028\"'", "\U0001f600": ""}, idempotency_key="k",
            content_hash=bytes(range(32)), text="a\nb \0 \u202e\u05d0 \U0001f469\u200d\U0001f680 '\"\\ {}",
            due=NOW + 3, length=2**40, segments=9, max_attempts=20, priority=Priority.BULK, route="main,second",
        )  # fmt: skip
        [result] = await bench.accept(full)
        assert isinstance(result, Stored)
        message = await bench.box.get(full.id, None)
        assert message is not None
        for name in Draft.__slots__:
            if name != "content_hash":
                assert getattr(message, name) == getattr(full, name), name
        assert (message.seq, message.flow, message.state) == (result.seq, result.flow, State.PENDING)
        assert (message.attempt, message.charged, message.round, message.error) == (0, 0, 0, None)
        assert message.asked_sender == full.sender
        await bench.restart()
        assert await bench.box.get(full.id, None) == message

    async def test_messages_of_one_kind_share_a_flow(self, bench: Bench) -> None:
        kinds = [
            draft(1), draft(2), draft(3, campaign="c"), draft(4, tenant="other"), draft(5, route="b"),
            draft(6, priority=Priority.HIGH), draft(7, campaign="c"),
        ]  # fmt: skip
        flows = [r.flow for r in await bench.accept(*kinds) if isinstance(r, Stored)]
        assert flows[0] == flows[1]
        assert flows[2] == flows[6]
        assert len(set(flows)) == 5
        recovery = await bench.restart()
        assert [r.flow for r in await bench.accept(replace(draft(8), campaign="c")) if isinstance(r, Stored)] == [
            flows[2]
        ]
        assert {f.id: (f.pending, f.campaign) for f in recovery.flows}[flows[2]] == (2, "c")

    async def test_a_key_answers_its_first_message_again(self, bench: Bench) -> None:
        first = draft(1, idempotency_key="k", content_hash=b"1" * 32)
        [stored, replay, conflict, other] = await bench.accept(
            first,
            draft(2, idempotency_key="k", content_hash=b"1" * 32),
            draft(3, idempotency_key="k", content_hash=b"2" * 32),
            draft(4, idempotency_key="k", content_hash=b"2" * 32, tenant="other"),
        )
        assert isinstance(stored, Stored)
        assert replay == Replay(first.id, State.PENDING, first.segments, int(first.encoding))
        assert conflict == KeyConflict(first.id)
        assert isinstance(other, Stored)
        await bench.claimed(stored.seq)
        await bench.restart()
        again = await bench.accept(draft(5, idempotency_key="k", content_hash=b"1" * 32))
        assert again == [Replay(first.id, State.PROCESSING, first.segments, int(first.encoding))]
        assert await bench.box.find_key("shop", "k", b"1" * 32) == again[0]
        assert await bench.box.find_key("shop", "k", b"2" * 32) == KeyConflict(first.id)
        assert await bench.box.find_key("shop", "free", b"1" * 32) is None
        assert len(await bench.everything()) == 2

    async def test_one_that_cannot_be_stored_fails_alone(self, bench: Bench) -> None:
        bad = [draft(3, text="\ud800"), draft(1), draft(4, segments=2**70)]
        good = [draft(n) for n in (1, 2, 5, 6)]
        results = await bench.accept(good[0], good[1], bad[0], bad[1], good[2], bad[2], good[3])
        assert [isinstance(r, Stored) for r in results] == [True, True, False, False, True, False, True]
        assert all(isinstance(results[n], StoreError) for n in (2, 3, 5))
        assert [m.id for m in await bench.everything()] == [d.id for d in good]
        await self.check(bench)

    async def test_an_error_never_shows_the_text(self, bench: Bench) -> None:
        [result] = await bench.accept(draft(1, text="secret\ud800"))
        assert isinstance(result, StoreError)
        assert "secret" not in f"{result} {result!r}"

    async def test_after_closing_nothing_is_accepted(self, bench: Bench) -> None:
        await bench.box.close()
        [result] = await bench.accept(draft(1))
        assert isinstance(result, StoreBrokenError)
        with pytest.raises(StoreBrokenError):
            await bench.box.begin([Claim(1, 0, "main", "x")], NOW)
        await bench.box.close()
        bench.box, _ = await bench.reopener(NOW, True, ())

    async def test_closing_commits_what_waits(self, bench: Bench) -> None:
        answers: list[AcceptResult] = []
        for n in range(1, 50):
            bench.box.accept(draft(n), answers.append)
        await bench.box.close()
        assert len(answers) == 49
        assert all(isinstance(answer, Stored) for answer in answers)
        bench.box, _ = await bench.reopener(NOW, True, ())
        assert len(await bench.everything()) == 49

    # --- begin -------------------------------------------------------------------------------------------------------

    async def test_a_claim_opens_an_attempt(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        before = await bench.by_seq(seq)
        [message] = await bench.box.begin([Claim(seq, 0, "main", "+15005550006")], LATER)
        expected = replace(
            before, state=State.PROCESSING, attempt=1, provider="main", sender="+15005550006", claimed_at=LATER
        )
        assert message == expected
        assert await bench.box.get(before.id, None) == expected
        assert await bench.box.attempts(seq) == []
        await self.check(bench)

    async def test_a_claim_keeps_the_sender_that_the_caller_asked_for(self, bench: Bench) -> None:
        [asked, free] = await bench.stored(draft(1, sender="ACME"), draft(2))
        claims = [Claim(seq, 0, "main", "+15005550006") for seq in (asked, free)]
        messages = messages_of(await bench.box.begin(claims, LATER))
        assert [(m.sender, m.asked_sender) for m in messages] == [("ACME", "ACME"), ("+15005550006", None)]
        for seq in (asked, free):
            await bench.box.settle(settlement(seq, Event.RETRY), attempt())
        assert [(await bench.by_seq(seq)).sender for seq in (asked, free)] == ["ACME", None]

    async def test_a_claim_may_pick_the_sender_by_the_recipient(self, bench: Bench) -> None:
        [asked, free] = await bench.stored(draft(1, sender="ACME"), draft(2, recipient="+14155550199"))
        claims = [Claim(seq, 0, "main", "unused", lambda number: f"for {number}") for seq in (asked, free)]
        messages = messages_of(await bench.box.begin(claims, LATER))
        assert [m.sender for m in messages] == ["ACME", "for +14155550199"]
        assert [(await bench.by_seq(seq)).sender for seq in (asked, free)] == ["ACME", "for +14155550199"]

    async def test_only_one_claim_of_a_message_wins(self, bench: Bench) -> None:
        [a, b] = await bench.stored(draft(1), draft(2))
        claim = Claim(a, 0, "main", "s")
        both = await bench.box.begin([claim, claim, Claim(b, 0, "main", "s")], NOW)
        assert [m is not None for m in both] == [True, False, True]
        together = await asyncio.gather(*(bench.box.begin([Claim(a, n, "main", "s")], NOW) for n in (0, 1)))
        assert together == [[None], [None]]
        assert (await bench.by_seq(a)).attempt == 1
        await self.check(bench)

    async def test_a_claim_of_what_is_no_longer_ours_is_none(self, bench: Bench) -> None:
        [stale, dead, alive, gone] = await bench.stored(
            draft(1), draft(2, expires_at=LATER), draft(3, expires_at=LATER + 1), draft(4)
        )
        await bench.box.cancel(draft(4).id, None, NOW)
        claims = [Claim(seq, 0, "main", "s") for seq in (dead, alive, gone, 999)]
        results = await bench.box.begin([Claim(stale, 1, "main", "s"), *claims], LATER)
        assert [m is not None for m in results] == [False, False, True, False, False]
        assert await bench.box.begin([], NOW) == []
        await self.check(bench)

    async def test_claims_of_many_sizes(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 600)))
        start = 0
        for size in (1, 3, 4, 5, 17, 63, 65, 257):
            some = seqs[start : start + size]
            start += size
            messages = await bench.box.begin([Claim(seq, 0, "main", "s") for seq in some], NOW)
            assert [m.seq for m in messages_of(messages)] == some
        await self.check(bench)

    # --- settle ------------------------------------------------------------------------------------------------------

    async def test_taken(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        [claimed] = await bench.claimed(seq)
        tried = attempt(provider_message_id="SM1", trace="201")
        assert await bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), tried)
        message = await bench.by_seq(seq)
        assert message == replace(
            claimed, state=State.SENT, due=LATER, charged=1, sent_at=LATER, processed_at=LATER,
            provider_message_id="SM1", price="0.0075",
        )  # fmt: skip
        assert await bench.box.attempts(seq) == [tried]
        totals = await bench.box.totals(0)
        assert totals.minutes == (MinuteRow(LATER // 60_000, "main", 1, 0, 0),)
        await self.check(bench)

    async def test_retry_then_taken_forgets_the_error(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        failed = attempt(outcome="defer", category=Category.RATE_LIMITED, http_status=429, code="20429")
        news = settlement(seq, Event.RETRY, due=SOON, error=error(Category.RATE_LIMITED), charged=0)
        assert await bench.box.settle(news, failed)
        message = await bench.by_seq(seq)
        assert (message.state, message.due, message.charged, message.attempt) == (State.PENDING, SOON, 0, 1)
        assert message.error == error(Category.RATE_LIMITED)
        assert (await bench.box.totals(0)).minutes == (MinuteRow(LATER // 60_000, "main", 0, 0, 1),)
        await bench.claimed(seq, now=SOON, provider="second")
        assert (await bench.by_seq(seq)).error == error(Category.RATE_LIMITED)
        assert await bench.box.settle(
            settlement(seq, Event.TAKEN, 2, pmid="SM2", at=SOON), attempt(2, provider="second", at=SOON)
        )
        message = await bench.by_seq(seq)
        assert (message.state, message.error, message.provider) == (State.SENT, None, "second")
        assert [(a.n, a.category) for a in await bench.box.attempts(seq)] == [(1, Category.RATE_LIMITED), (2, None)]
        await self.check(bench)

    async def test_fail_counts_its_category(self, bench: Bench) -> None:
        cause = Error(Category.EXHAUSTED, "gave up", LATER, "E1", "main", Category.NETWORK)
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        assert await bench.box.settle(settlement(seq, Event.FAIL, error=cause), attempt(outcome="defer"))
        message = await bench.by_seq(seq)
        assert (message.state, message.error, message.processed_at, message.sent_at) == (
            State.FAILED,
            cause,
            LATER,
            None,
        )
        totals = await bench.box.totals(0)
        assert totals.categories == {"EXHAUSTED": 1}
        assert totals.minutes == (MinuteRow(LATER // 60_000, "main", 0, 1, 0),)
        await self.check(bench)

    async def test_late_news_is_recorded_and_changes_nothing(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        news = settlement(seq, Event.TAKEN, pmid="SM1")
        first, second = await asyncio.gather(
            bench.box.settle(news, attempt(provider_message_id="SM1")),
            bench.box.settle(settlement(seq, Event.FAIL, error=error()), attempt(outcome="late")),
        )
        assert (first, second) == (True, False)
        assert not await bench.box.settle(settlement(seq, Event.RETRY, 2), None)
        assert not await bench.box.settle(settlement(999, Event.TAKEN), None)
        assert (await bench.by_seq(seq)).state is State.SENT
        assert [a.outcome for a in await bench.box.attempts(seq)] == ["accepted", "late"]
        await self.check(bench)

    async def test_news_of_an_older_attempt_change_nothing(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        await bench.box.settle(settlement(seq, Event.RETRY), attempt())
        [claimed] = await bench.claimed(seq, now=LATER)
        assert not await bench.box.settle(settlement(seq, Event.TAKEN, 1, pmid="SM1"), attempt())
        assert await bench.by_seq(seq) == claimed

    async def test_doubt_keeps_its_beginning_until_it_is_settled(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        doubt = settlement(seq, Event.DOUBT, due=SOON, error=error(Category.TIMEOUT))
        assert await bench.box.settle(doubt, attempt(outcome="unknown", http_status=None))
        message = await bench.by_seq(seq)
        assert (message.state, message.uncertain, message.uncertain_since) == (State.PROCESSING, True, LATER)
        assert (message.due, message.lookups) == (SOON, 0)
        again = settlement(seq, Event.DOUBT, at=SOON, due=SOON + 10, lookups=1)
        assert await bench.box.settle(again, None)
        message = await bench.by_seq(seq)
        assert (message.uncertain_since, message.due, message.lookups) == (LATER, SOON + 10, 1)
        assert message.error == error(Category.TIMEOUT)
        assert len(await bench.box.attempts(seq)) == 1
        assert await bench.box.settle(settlement(seq, Event.TAKEN, at=SOON, pmid="SM9"), None)
        message = await bench.by_seq(seq)
        assert (message.state, message.uncertain, message.uncertain_since, message.lookups) == (
            State.SENT,
            False,
            None,
            0,
        )
        assert [(a.outcome, a.provider_message_id) for a in await bench.box.attempts(seq)] == [("unknown", "SM9")]
        await self.check(bench)

    async def test_a_providers_garbage_does_not_lose_the_outcome(self, bench: Bench) -> None:
        [seq, found] = await bench.stored(draft(1), draft(2))
        await bench.claimed(seq, found)
        why = Error(Category.REJECTED, "no \ud800 \0", LATER, "\udfff", "main")
        news = replace(settlement(seq, Event.FAIL, error=why, pmid="\ud800"), price="\ud800")
        tried = attempt(trace="\ud83d", code="\ud83d", provider_message_id="\ud83d", outcome="refuse")
        assert await bench.box.settle(news, tried)
        message = await bench.by_seq(seq)
        assert message.error is not None
        assert (message.state, message.error.message, message.error.code) == (State.FAILED, "no ? \0", "?")
        assert (await bench.box.attempts(seq))[0].trace == "?"
        await bench.box.settle(settlement(found, Event.DOUBT), attempt(outcome="unknown"))
        assert await bench.box.settle(settlement(found, Event.TAKEN, pmid="SM\ud800"), None)
        assert await bench.box.bound(["SM\ud800"]) == {"SM?"}

    async def test_a_released_claim_leaves_no_trace(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        before = await bench.by_seq(seq)
        await bench.claimed(seq)
        released = replace(settlement(seq, Event.RETRY, due=before.due, charged=0), released=True)
        assert await bench.box.settle(released, None)
        after = await bench.by_seq(seq)
        assert (after.state, after.attempt, after.charged, after.due) == (State.PENDING, 0, 0, before.due)
        assert await bench.box.attempts(seq) == []
        assert (await bench.claimed(seq))[0].attempt == 1
        await self.check(bench)

    async def test_a_settlement_must_follow_the_table(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        with pytest.raises(ValueError, match="taken cannot end in pending"):
            await bench.box.settle(replace(settlement(seq, Event.TAKEN), state=State.PENDING), None)

    async def test_a_caller_that_gives_up_stops_no_commit(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        waiting = asyncio.ensure_future(bench.box.settle(settlement(seq, Event.TAKEN, pmid="SM1"), attempt()))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await bench.stored(draft(2))
        assert (await bench.by_seq(seq)).state is State.SENT

    # --- another route -----------------------------------------------------------------------------------------------

    async def test_what_is_tried_again_may_go_by_another_route(self, bench: Bench) -> None:
        [a, b, stays, done] = await bench.stored(*(draft(n, route="main,b", campaign="c") for n in range(1, 5)))
        [other] = await bench.stored(draft(5, route="b,main", campaign="c"))
        before = (await bench.claimed(a, b, stays, done))[0].flow
        moved = [replace(settlement(seq, Event.RETRY, due=SOON), route="b,main") for seq in (a, b)]
        unknown = replace(settlement(stays, Event.RETRY, due=SOON), route="b")
        answers = await asyncio.gather(
            *(bench.box.settle(one, attempt()) for one in (*moved, unknown)),
            bench.box.settle(settlement(done, Event.TAKEN, pmid="SM1"), attempt()),
        )
        assert answers == [True] * 4
        flow = (await bench.by_seq(other)).flow
        assert [one.flow for one in moved] == [flow, flow]
        assert unknown.flow not in (None, flow, before)
        for seq, route, number in ((a, "b,main", flow), (b, "b,main", flow), (stays, "b", unknown.flow)):
            message = await bench.by_seq(seq)
            assert (message.route, message.flow, message.due, message.state) == (route, number, SOON, State.PENDING)
        assert (await bench.box.feed(before, None, SOON, 9)).items == ()
        await self.check(bench)
        recovery = await bench.restart()
        assert {f.id: (f.route, f.campaign, f.pending) for f in recovery.flows} == {
            flow: ("b,main", "c", 3), unknown.flow: ("b", "c", 1)
        }  # fmt: skip
        await self.check(bench)

    async def test_late_news_moves_no_message(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1, route="main,b"))
        news = replace(settlement(seq, Event.RETRY), route="b,main")
        assert not await bench.box.settle(news, attempt())
        assert (news.flow, (await bench.by_seq(seq)).route) == (None, "main,b")
        await self.check(bench)

    async def test_only_what_is_tried_again_changes_its_route(self, bench: Bench) -> None:
        with pytest.raises(ValueError, match="only what is tried again"):
            await bench.box.settle(replace(settlement(1, Event.TAKEN), route="b"), None)

    # --- suppressions ------------------------------------------------------------------------------------------------

    async def test_suppressions_are_kept_until_lifted(self, bench: Bench) -> None:
        first = Suppression("main", NUMBER, NOW, "provider", "21610")
        assert await bench.box.suppress(first)
        assert not await bench.box.suppress(replace(first, at=SOON, source="api"))
        everywhere = Suppression(EVERY, NUMBER, LATER, "api")
        assert await bench.box.suppress(everywhere)
        await bench.suppressed(number="+14155550199")
        await bench.restart()
        assert await bench.box.suppressions_of(NUMBER) == (everywhere, first)
        assert await bench.box.lift(EVERY, NUMBER)
        assert not await bench.box.lift(EVERY, NUMBER)
        assert await bench.box.suppressions_of(NUMBER) == (first,)
        assert await bench.box.suppressions_of("+14155550100") == ()

    async def test_suppressions_are_listed_in_order_of_numbers_and_scopes(self, bench: Bench) -> None:
        every = [("+1415555010" + str(n), scope) for n in range(3) for scope in (EVERY, "b", "main")]
        for number, scope in reversed(every):
            await bench.suppressed(scope, number)

        async def listed(scope: str | None, limit: int) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            while page := await bench.box.suppressions(scope, found[-1] if found else None, limit):
                assert len(page) <= limit
                assert len(found) < len(every)
                found += [(each.number, each.scope) for each in page]
            return found

        for limit in (1, 2, 9, 50):
            assert await listed(None, limit) == every
            for one in (EVERY, "b", "main"):
                assert await listed(one, limit) == [each for each in every if each[1] == one]
        assert await bench.box.suppressions("gone", None, 50) == ()
        (first,) = await bench.box.suppressions("main", None, 1)
        assert first == Suppression("main", "+14155550100", NOW, "api")

    async def test_whom_nobody_may_text_nothing_is_accepted_for(self, bench: Bench) -> None:
        await bench.suppressed("main")
        await bench.suppressed(EVERY, "+14155550199")
        await bench.suppressed("b", "+14155550199")
        for _ in range(2):
            refused, other, around, everywhere, none, unrouted = await bench.accept(
                draft(bench.next()), draft(bench.next(), recipient="+14155550100"),
                draft(bench.next(), route="main,b"), draft(bench.next(), recipient="+14155550199", route="main,b"),
                draft(bench.next(), recipient="+14155550199", route=""), draft(bench.next(), route=""),
            )  # fmt: skip
            assert refused == Suppressed(("main",))
            assert everywhere == none == Suppressed((EVERY,))
            assert all(isinstance(one, Stored) for one in (other, around, unrouted))
            await bench.restart()
        await bench.suppressed("b")
        assert await bench.accept(draft(bench.next(), route="b,main")) == [Suppressed(("b", "main"))]
        assert await bench.box.lift("main", NUMBER)
        [allowed] = await bench.accept(draft(bench.next()))
        assert isinstance(allowed, Stored)
        assert len(await bench.everything()) == 7
        await self.check(bench)

    async def test_keys_are_looked_up_before_suppressions(self, bench: Bench) -> None:
        keyed = {"idempotency_key": "k", "content_hash": b"1" * 32}
        [first] = await bench.accept(draft(1, **keyed))
        await bench.suppressed()
        free = {"idempotency_key": "free", "content_hash": b"2" * 32}
        replay, refused, twice = await bench.accept(draft(2, **keyed), draft(3, **free), draft(4, **free))
        assert isinstance(first, Stored)
        assert isinstance(replay, Replay)
        assert refused == twice == Suppressed(("main",)), "a refusal binds no key"
        assert await bench.box.find_key("shop", "free", b"2" * 32) is None

    async def test_a_claim_goes_around_a_provider_that_may_not_text_the_number(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1, route="main,b,c", campaign="x", sender="ACME"))
        before = await bench.by_seq(seq)
        await bench.suppressed("main")
        [message] = await bench.box.begin([Claim(seq, 0, "main", "s")], LATER)
        assert message is not None
        assert message == await bench.by_seq(seq)
        assert message.flow != before.flow
        assert message == replace(before, route="b,c", flow=message.flow)
        assert [due.seq for due in (await bench.box.feed(message.flow, None, SOON, 9)).items] == [seq]
        await self.check(bench)
        [claimed] = await bench.box.begin([Claim(seq, 0, "b", "s")], LATER)
        assert isinstance(claimed, Message)
        assert (claimed.state, claimed.provider) == (State.PROCESSING, "b")
        await self.check(bench)

    async def test_a_claim_that_no_provider_may_carry_fails(self, bench: Bench) -> None:
        """Also a pinned one, and one that is claimed for a provider outside its route."""
        only, pinned, every, elsewhere, fine = seqs = await bench.stored(
            draft(1), draft(2, route="main,b", pinned=True), draft(3, route="main,b", recipient="+14155550199"),
            draft(4, route="gone", recipient="+14155550111"), draft(5, recipient="+14155550100"),
        )  # fmt: skip
        await bench.suppressed("main", code="21610")
        await bench.suppressed(EVERY, "+14155550199")
        await bench.suppressed("main", "+14155550111")
        found = await bench.box.begin([Claim(seq, 0, "main", "s") for seq in seqs], LATER)
        assert [m.state.label for m in messages_of(found)] == ["failed"] * 4 + ["processing"]
        for seq, code in ((only, "21610"), (pinned, "21610"), (every, None), (elsewhere, None)):
            message = await bench.by_seq(seq)
            assert message in found
            assert message.error is not None
            assert (message.error.category, message.error.code, message.error.at) == (Category.OPTED_OUT, code, LATER)
            assert message.error.message.startswith("The recipient opted out")
            assert (message.attempt, message.provider, message.processed_at) == (0, None, LATER)
            assert await bench.box.attempts(seq) == []
        totals = await bench.box.totals(0)
        assert totals.categories == {"OPTED_OUT": 4}
        assert totals.minutes == (MinuteRow(LATER // 60_000, "main", 0, 4, 0),)
        assert (await bench.box.begin([Claim(fine, 1, "main", "s")], LATER)) == [None]
        assert isinstance(await bench.box.reopen(draft(1).id, None, LATER, SOON, False), Message)
        await self.check(bench)

    async def test_a_settlement_suppresses_before_the_next_claim(self, bench: Bench) -> None:
        """Also a claim of the same batch, and also when it comes too late for its message."""
        [first, second, third] = await bench.stored(draft(1), draft(2), draft(3, recipient="+14155550199"))
        await bench.claimed(first)
        optout = Suppression("main", NUMBER, LATER, "provider", "21610\ud800")
        news = replace(settlement(first, Event.FAIL, error=error(Category.OPTED_OUT)), suppress=optout)
        late = replace(settlement(third, Event.FAIL), suppress=replace(optout, number="+14155550199"))
        settled, too_late, claims = await asyncio.gather(
            bench.box.settle(news, attempt(outcome="refuse")),
            bench.box.settle(late, None),
            bench.box.begin([Claim(second, 0, "main", "s"), Claim(third, 0, "main", "s")], LATER),
        )
        assert (settled, too_late) == (True, False)
        assert [m.state for m in messages_of(claims)] == [State.FAILED, State.FAILED]
        assert await bench.box.suppressions_of(NUMBER) == (replace(optout, code="21610?"),)
        assert await bench.accept(draft(4)) == [Suppressed(("main",))]
        await self.check(bench)

    async def test_what_is_durable_with_a_claim_speaks_against_it(self, bench: Bench) -> None:
        """A receipt, a cancellation, a suppression and an expiry of the same commit come first, whatever was asked for
        first: whoever may call calls at once."""
        delivered, again, cancelled, unwanted, expired = seqs = await bench.stored(
            draft(1), draft(2), draft(3), draft(4, recipient="+14155550199"), draft(5, expires_at=SOON + 9)
        )
        await bench.claimed(delivered, again)
        for seq in (delivered, again):
            await bench.box.settle(settlement(seq, Event.RETRY), attempt(outcome="unknown"))
        claims = [Claim(seq, (await bench.by_seq(seq)).attempt, "main", "s") for seq in seqs]
        resend = ReceiptReading(Category.UNDELIVERED, "resend", (60_000,), 3)
        reports = [
            Receipt("main", Status.DELIVERED, "SM1", draft(1).id, 1),
            Receipt("main", Status.UNDELIVERED, "SM2", draft(2).id, 1, reading=resend),
        ]
        found, (arrived, missed), gone, _, (ended, _) = await asyncio.gather(
            bench.box.begin(claims, SOON),
            bench.box.receive(reports, SOON),
            bench.box.cancel(draft(3).id, None, SOON),
            bench.box.suppress(Suppression(EVERY, "+14155550199", SOON, "api")),
            bench.box.expire(SOON + 9, 9),
        )
        put_off, failed = await bench.by_seq(again), await bench.by_seq(unwanted)
        assert found == [None, put_off, None, failed, None]
        assert (put_off.state, put_off.due, failed.state) == (State.PENDING, SOON + 60_000, State.FAILED)
        assert (arrived.before, missed.before) == (State.PENDING, State.PENDING)
        assert [arrived.message, missed.message, gone, *ended] == [
            await bench.by_seq(seq) for seq in (delivered, again, cancelled, expired)
        ]
        assert [(await bench.by_seq(seq)).state.label for seq in (delivered, cancelled, expired)] == [
            "delivered", "cancelled", "expired",
        ]  # fmt: skip
        await self.check(bench)

    # --- a proof from outside ----------------------------------------------------------------------------------------

    async def test_a_proof_settles_what_waits_is_in_doubt_or_failed(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 4)))
        await bench.claimed(*seqs)
        for seq, event in zip(seqs, (Event.RETRY, Event.DOUBT, Event.FAIL), strict=True):
            why = error(Category.TIMEOUT)
            assert await bench.box.settle(settlement(seq, event, error=why), attempt(outcome="unknown"))
        for n, (seq, state) in enumerate(zip(seqs, (State.PENDING, State.PROCESSING, State.FAILED), strict=True), 1):
            before = await bench.by_seq(seq)
            received = await bench.proved(n)
            expected = replace(
                before, state=State.SENT, due=SOON, provider_message_id=f"SM{n}", uncertain=False,
                uncertain_since=None, error=None, sent_at=SOON, processed_at=SOON,
            )  # fmt: skip
            assert received == Received(received.receipt, expected, state, 1, news=True, proved=True)
            assert await bench.by_seq(seq) == expected
            assert [a.provider_message_id for a in await bench.box.attempts(seq)] == [f"SM{n}"]
            again = await bench.proved(n, now=SOON + 1)
            assert again == Received(received.receipt, expected, State.SENT, 1)
        totals = await bench.box.totals(0)
        assert totals.categories == {"TIMEOUT": 1}, "a failure that was counted stays counted"
        assert totals.minutes == (MinuteRow(LATER // 60_000, "main", 3, 1, 0),)
        assert await bench.box.begin([Claim(seqs[0], 1, "main", "s")], SOON) == [None]
        assert await bench.box.bound(["SM1", "SM2", "SM3", "SM4"]) == {"SM1", "SM2", "SM3"}
        await self.check(bench)

    async def test_a_proof_may_outrun_the_answer(self, bench: Bench) -> None:
        """The open call counts at once, and its own end takes the place of what was written down of it."""
        [seq] = await bench.stored(draft(1, segments=3))
        await bench.claimed(seq)
        assert (await bench.proved(provider="b")).message is None, "its call goes to another provider"
        proved = await bench.proved(now=LATER)
        assert proved.message is not None
        assert (proved.before, proved.message.state, proved.message.charged) == (State.PROCESSING, State.SENT, 1)
        [overtaken] = await bench.box.attempts(seq)
        assert (overtaken.outcome, overtaken.cost, overtaken.provider_message_id) == ("overtaken", 3, "SM1")
        assert [start.wall for start in await bench.box.starts("main", NOW, 0, 9)] == [LATER]
        late = settlement(seq, Event.DOUBT, error=error(Category.TIMEOUT))
        assert not await bench.box.settle(late, attempt(outcome="unknown"))
        ended = attempt(outcome="unknown", provider_message_id="SM1", receipt=int(Status.SENT), receipt_at=LATER)
        assert await bench.box.attempts(seq) == [ended]
        assert await bench.by_seq(seq) == proved.message
        await self.check(bench)
        assert (await bench.crash()).reopened == 0

    async def test_one_that_was_put_off_after_it_was_taken_for_a_claim_is_not_claimed(self, bench: Bench) -> None:
        [seq, other] = await bench.stored(draft(1), draft(2))
        put_off = await bench.box.reschedule(draft(1).id, None, SOON, SOON, SOON + 9, "quiet_hours", "21:00-08:00", NOW)
        assert isinstance(put_off, Message)
        assert (put_off.due, put_off.send_at, put_off.expires_at) == (SOON, SOON, SOON + 9)
        claims = [Claim(seq, 0, "main", "s"), Claim(other, 0, "main", "s")]
        found, claimed = await bench.box.begin(claims, SOON - 1)
        assert (found, await bench.by_seq(seq)) == (put_off, put_off)
        assert isinstance(claimed, Message)
        assert claimed.state is State.PROCESSING
        assert (await bench.claimed(seq, now=SOON))[0].held is None
        await self.check(bench)

    async def test_a_proof_of_an_older_attempt_overtakes_the_open_one(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        await bench.box.settle(settlement(seq, Event.RETRY), attempt(outcome="unknown"))
        await bench.claimed(seq, provider="b", now=LATER)
        proved = await bench.proved(now=LATER)
        assert proved.message is not None
        assert (proved.message.provider, proved.message.attempt) == ("main", 2)
        tried = [(a.n, a.provider, a.outcome, a.provider_message_id) for a in await bench.box.attempts(seq)]
        assert tried == [(1, "main", "unknown", "SM1"), (2, "b", "overtaken", None)]
        second = attempt(2, provider="b", provider_message_id="SM2")
        assert not await bench.box.settle(settlement(seq, Event.TAKEN, 2, pmid="SM2"), second)
        assert (await bench.box.attempts(seq))[1] == second
        assert await bench.by_seq(seq) == proved.message
        await self.check(bench)

    async def test_what_proves_nothing_changes_nothing(self, bench: Bench) -> None:
        """No such message, attempt or provider; another id; an id that a look-up found for another message, which is
        what the proof is about then."""
        looked_up, asked, known = seqs = await bench.stored(*(draft(n) for n in range(2, 5)))
        await bench.claimed(*seqs)
        for seq in (looked_up, asked):
            await bench.box.settle(settlement(seq, Event.DOUBT), attempt(outcome="unknown"))
        await bench.box.settle(settlement(looked_up, Event.TAKEN, pmid="SM2", at=SOON), None)
        await bench.box.settle(settlement(known, Event.FAIL), attempt(outcome="refuse", provider_message_id="SM4"))
        before = await bench.everything()
        tried = [await bench.box.attempts(seq) for seq in seqs]
        wrongs: list[tuple[int, int | None, str, str]] = [
            (9, 1, "main", "SM9"), (3, 0, "main", "SM9"), (3, 2, "main", "SM9"), (3, 1, "b", "SM9"),
            (3, None, "b", "SM9"), (4, 1, "main", "SM9"),
        ]  # fmt: skip
        for wrong in wrongs:
            assert (await bench.proved(*wrong)).message is None, wrong
        assert await bench.everything() == before
        assert [await bench.box.attempts(seq) for seq in seqs] == tried
        for n in (1, None):
            mixed_up = await bench.proved(3, n, "main", "SM2")
            assert mixed_up.message is not None
            assert (mixed_up.message.seq, mixed_up.proved) == (looked_up, False)
        assert await bench.everything() == before
        assert (await bench.proved(4)).proved

    @pytest.mark.parametrize("n", [1, None])
    async def test_an_id_that_an_answer_gave_to_another_is_believed(self, bench: Bench, n: int | None) -> None:
        """The receipt names our id, which was told to the provider with that message only."""
        [answered, asked] = seqs = await bench.stored(draft(1), draft(2))
        await bench.claimed(*seqs)
        await bench.box.settle(settlement(answered, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
        await bench.box.settle(settlement(asked, Event.DOUBT), attempt(outcome="unknown"))
        before = await bench.by_seq(answered)
        received = await bench.proved(2, n, pmid="SM1")
        assert received.message == await bench.by_seq(asked)
        assert (received.before, received.proved) == (State.PROCESSING, True)
        assert await bench.by_seq(answered) == before
        await self.check(bench)

    async def test_an_id_that_a_look_up_found_long_ago_proves_nothing(self, bench: Bench) -> None:
        """However many calls were made since."""
        [found, asked, *many] = await bench.stored(*(draft(n) for n in range(1, 1_101)))
        await bench.box.begin([Claim(seq, 0, "main", "s") for seq in (found, asked, *many)], NOW)
        early = NOW - 3_600_000
        await bench.box.settle(settlement(found, Event.DOUBT, at=early), attempt(at=early, outcome="unknown"))
        await bench.box.settle(settlement(found, Event.TAKEN, pmid="SM1"), None)
        taken = (settlement(seq, Event.TAKEN, at=early) for seq in many)
        await asyncio.gather(*(bench.box.settle(one, attempt(at=early)) for one in taken))
        await bench.box.settle(settlement(asked, Event.DOUBT), attempt(outcome="unknown"))
        mixed_up = await bench.proved(2, pmid="SM1")
        assert mixed_up.message is not None
        assert (mixed_up.message.seq, mixed_up.proved) == (found, False)
        assert (await bench.proved(2)).proved

    async def test_a_proof_does_not_revive_what_was_cancelled(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        await bench.claimed(seq)
        await bench.box.settle(settlement(seq, Event.RETRY), attempt(outcome="unknown"))
        message = await bench.box.cancel(draft(1).id, None, LATER)
        assert isinstance(message, Message)
        received = await bench.proved()
        assert received == Received(received.receipt, message, State.CANCELLED, 1, news=True)
        assert await bench.by_seq(seq) == message

    # --- crashes -----------------------------------------------------------------------------------------------------

    async def test_a_message_over_which_smsd_ends_again_and_again_is_held(self, bench: Bench) -> None:
        [bad, good, idle] = await bench.stored(draft(1), draft(2), draft(3))
        for crash in range(1, CRASHES_ALLOWED + 1):
            await bench.claimed(*([bad] if crash > 1 else [bad, good]), now=LATER)
            recovery = await bench.crash(LATER)
            held = crash == CRASHES_ALLOWED
            assert (len(recovery.parked), recovery.reopened) == (held, (not held) + (crash == 1)), crash
            if not held:
                assert await bench.box.settle(settlement(bad, Event.RETRY, crash), None)
        message = await bench.by_seq(bad)
        assert recovery.parked == (message,)
        assert message.error is not None
        assert (message.state, message.error.category, message.uncertain) == (State.FAILED, Category.UNCERTAIN, False)
        assert message.error.message.startswith("smsd ended 3 times")
        assert [a.outcome for a in await bench.box.attempts(bad)] == ["crashed"] * 3
        assert ((await bench.by_seq(good)).state, (await bench.by_seq(idle)).state) == (State.PROCESSING, State.PENDING)
        totals = await bench.box.totals(0)
        assert totals.categories == {"UNCERTAIN": 1}
        assert totals.minutes == (MinuteRow(LATER // 60_000, "main", 0, 1, 0),)
        assert recovery.counts == totals.states
        await self.check(bench)
        assert (await bench.crash()).parked == ()
        assert isinstance(await bench.box.reopen(message.id, None, LATER, SOON, True), Message)
        await bench.claimed(bad, now=LATER)
        assert (await bench.crash()).parked == (), "an operator's retry begins anew"

    async def test_an_end_in_order_speaks_against_no_message(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1))
        for end in range(1, 5):
            await bench.claimed(seq, now=LATER)
            recovery = await bench.restart()
            assert (recovery.parked, recovery.reopened) == ((), 1)
            assert await bench.box.settle(settlement(seq, Event.RETRY, end), None)
        for end in range(5, 7):
            await bench.claimed(seq, now=LATER)
            assert (await bench.crash()).parked == (), "the mark of the end in order is gone"
            assert await bench.box.settle(settlement(seq, Event.RETRY, end), None)
        await bench.claimed(seq, now=LATER)
        assert len((await bench.crash()).parked) == 1

    # --- expire, cancel, reopen --------------------------------------------------------------------------------------

    async def test_what_is_past_its_time_expires(self, bench: Bench) -> None:
        drafts = [draft(n, expires_at=NOW + n) for n in range(1, 6)]
        seqs = await bench.stored(*drafts, draft(6, expires_at=SOON), draft(7, expires_at=NOW + 1))
        await bench.claimed(seqs[6])
        expired, following = await bench.box.expire(NOW + 4, 3)
        assert [m.seq for m in expired] == seqs[:3]
        assert following == NOW + 4
        expired, following = await bench.box.expire(NOW + 4, 3)
        assert [m.seq for m in expired] == [seqs[3]]
        assert following == NOW + 5
        message = await bench.by_seq(seqs[3])
        assert [message] == expired
        assert (message.state, message.processed_at) == (State.EXPIRED, NOW + 4)
        assert message.error is not None
        assert message.error.category is Category.EXPIRED
        assert await bench.box.expire(NOW, 3) == ([], NOW + 5)
        await self.check(bench)

    async def test_expiry_keeps_the_last_error_as_its_cause(self, bench: Bench) -> None:
        [seq] = await bench.stored(draft(1, expires_at=SOON))
        await bench.claimed(seq)
        await bench.box.settle(settlement(seq, Event.RETRY, error=error(Category.NETWORK)), attempt())
        [message], following = await bench.box.expire(SOON, 10)
        assert message.error is not None
        assert (message.error.cause, following) == (Category.NETWORK, None)

    async def test_cancel(self, bench: Bench) -> None:
        [seq, other] = await bench.stored(draft(1), draft(2))
        assert await bench.box.cancel("nobody", None, NOW) is None
        assert await bench.box.cancel(draft(1).id, "stranger", NOW) is None
        message = await bench.box.cancel(draft(1).id, "shop", LATER)
        assert isinstance(message, Message)
        assert (message.state, message.processed_at) == (State.CANCELLED, LATER)
        assert message == await bench.by_seq(seq)
        assert await bench.box.cancel(draft(1).id, "shop", LATER) == WrongState(message)
        [claimed] = await bench.claimed(other)
        assert await bench.box.cancel(draft(2).id, None, LATER) == WrongState(claimed)
        await self.check(bench)

    async def test_reopen_starts_a_new_round(self, bench: Bench) -> None:
        before = await bench.failed_as(Category.REJECTED)
        assert await bench.box.reopen(before.id, "stranger", LATER, SOON, False) is None
        message = await bench.box.reopen(before.id, "shop", LATER, SOON, False)
        assert message == replace(
            before, state=State.PENDING, due=LATER, expires_at=SOON, round=1, charged=0, processed_at=None, sender=None
        )
        assert message == await bench.by_seq(before.seq)
        assert isinstance(message, Message)
        assert await bench.box.reopen(before.id, None, LATER, SOON, False) == WrongState(message)
        assert len(await bench.box.attempts(before.seq)) == 1
        [claimed] = await bench.claimed(before.seq, now=LATER)
        assert claimed.attempt == 2
        await self.check(bench)

    async def test_one_is_reopened_for_a_later_time(self, bench: Bench) -> None:
        before = await bench.failed_as(Category.REJECTED)
        message = await bench.box.reopen(before.id, None, LATER, SOON + 9_000, False, SOON)
        assert isinstance(message, Message)
        assert (message.due, message.expires_at) == (SOON, SOON + 9_000)
        assert (await bench.box.feed(message.flow, None, SOON - 1, 10)).next_due == SOON

    async def test_reopened_before_its_send_at_it_waits_for_that(self, bench: Bench) -> None:
        await bench.stored(draft(1, send_at=SOON, due=SOON, expires_at=LATER))
        await bench.box.expire(LATER, 1)
        message = await bench.box.reopen(draft(1).id, None, LATER, LATER + 500, False)
        assert isinstance(message, Message)
        assert (message.due, message.expires_at) == (SOON, SOON + 500)
        await self.check(bench)

    async def test_reopen_of_what_may_have_arrived_needs_force(self, bench: Bench) -> None:
        before = await bench.failed_as(Category.UNCERTAIN)
        assert await bench.box.reopen(before.id, None, LATER, SOON, False) == WrongState(before)
        message = await bench.box.reopen(before.id, None, LATER, SOON, True)
        assert isinstance(message, Message)
        assert message.state is State.PENDING
        await self.check(bench)

    async def test_an_expired_one_can_be_reopened(self, bench: Bench) -> None:
        await bench.stored(draft(1, expires_at=LATER))
        await bench.box.expire(LATER, 1)
        message = await bench.box.reopen(draft(1).id, None, LATER, SOON, False)
        assert isinstance(message, Message)
        assert (message.state, message.expires_at) == (State.PENDING, SOON)
        await self.check(bench)

    # --- a start -----------------------------------------------------------------------------------------------------

    async def test_a_first_start_finds_nothing(self, bench: Bench) -> None:
        assert bench.recovery == Recovery((), (), 0, None, None, None, {})

    async def test_a_start_finds_open_attempts_and_doubts_them(self, bench: Bench) -> None:
        [a, b, c] = await bench.stored(draft(1, segments=3), draft(2), draft(3, expires_at=SOON, due=NOW + 7))
        await bench.claimed(a, b, now=NOW + 2)
        await bench.box.settle(settlement(b, Event.DOUBT, due=SOON), attempt(outcome="unknown"))
        recovery = await bench.restart(LATER + 5)
        assert recovery.reopened == 1
        assert recovery.next_uncertain == LATER + 5
        assert recovery.next_expiry == SOON
        assert recovery.latest == LATER
        assert recovery.counts == {(State.PENDING, Priority.NORMAL): 1, (State.PROCESSING, Priority.NORMAL): 2}
        flow = (await bench.by_seq(c)).flow
        assert recovery.flows == (FlowRow(flow, "main", Priority.NORMAL, "shop", None, 1, NOW + 7),)
        message = await bench.by_seq(a)
        assert (message.uncertain, message.uncertain_since, message.due) == (True, LATER + 5, LATER + 5)
        assert (message.attempt, message.charged) == (1, 1), "its call may have been made"
        [crashed] = await bench.box.attempts(a)
        assert (crashed.n, crashed.outcome, crashed.started_at, crashed.cost) == (1, "crashed", NOW + 2, 1)
        found, following = await bench.box.uncertain(LATER + 5, 10)
        assert ([m.seq for m in found], following) == ([a], SOON)
        assert await bench.box.settle(settlement(a, Event.TAKEN, at=SOON, pmid="SM1"), None)
        assert (await bench.restart(SOON)).reopened == 0
        await self.check(bench)

    async def test_numbering_goes_on_after_a_start(self, bench: Bench) -> None:
        first = await bench.stored(draft(1), draft(2))
        await bench.restart()
        assert await bench.stored(draft(3)) == [first[1] + 1]

    async def test_providers_are_kept(self, bench: Bench) -> None:
        sick = Health(
            "main", "f00d", NOW, SOON, "429", None, "op", NOW + 1, "timeouts", NOW + 2, 3, 61.5, 80.0, NOW + 3
        )
        await bench.box.save_provider(Health("main", "f00d"))
        await bench.box.save_provider(Health("second", "beef", halted="401"))
        await bench.box.save_provider(sick)
        recovery = await bench.restart()
        assert set(recovery.providers) == {sick, Health("second", "beef", halted="401")}

    # --- the read side -----------------------------------------------------------------------------------------------

    async def test_get_respects_the_tenant(self, bench: Bench) -> None:
        await bench.stored(draft(1))
        assert await bench.box.get(draft(1).id, "shop") is not None
        assert await bench.box.get(draft(1).id, "other") is None
        assert await bench.box.get("nobody", None) is None

    async def test_a_read_sees_what_was_committed_before(self, bench: Bench) -> None:
        for n in range(1, 40):
            await bench.stored(draft(n))
            assert await bench.box.get(draft(n).id, None) is not None

    async def test_pages_filter_and_go_on(self, bench: Bench) -> None:
        drafts = [
            draft(
                n,
                recipient=f"+1415555{n % 3:04d}",
                tenant="ab"[n % 2],
                user=f"u{n % 5}",
                campaign=None if n % 4 else "c",
                created_at=NOW + n,
            )
            for n in range(1, 61)
        ]
        await bench.stored(*drafts)
        for query, wanted in (
            (Query(tenant="a"), [d for d in drafts if d.tenant == "a"]),
            (Query(recipient="+14155550001"), [d for d in drafts if d.recipient == "+14155550001"]),
            (Query(user="u3", tenant="b"), [d for d in drafts if d.user == "u3" and d.tenant == "b"]),
            (Query(campaign="c"), [d for d in drafts if d.campaign == "c"]),
            (Query(since=NOW + 50), [d for d in drafts if d.created_at >= NOW + 50]),
            (Query(states=(State.PENDING,)), drafts),
            (Query(states=(State.FAILED, State.EXPIRED)), []),
            (Query(states=(State.FAILED,)), []),
        ):
            for limit in (1, 7, 1000):
                found: list[MessageId] = []
                before: int | None = None
                while True:
                    page = await bench.box.page(replace(query, limit=limit, before=before))
                    assert len(page.items) <= limit
                    found += [m.id for m in page.items]
                    if page.next_before is None:
                        break
                    before = page.next_before
                assert found == [d.id for d in reversed(wanted)], (query, limit)

    async def test_a_page_by_state_and_category(self, bench: Bench) -> None:
        failed = [await bench.failed_as(c, n) for n, c in enumerate((Category.REJECTED, Category.UNCERTAIN), 1)]
        await bench.stored(draft(3))
        page = await bench.box.page(Query(states=(State.FAILED,)))
        assert list(page.items) == failed[::-1]
        assert list((await bench.box.page(Query(category="UNCERTAIN"))).items) == failed[1:]

    async def test_feed_hands_out_a_flow_in_order(self, bench: Bench) -> None:
        dues = [NOW + 30, NOW + 10, NOW + 20, NOW + 10, NOW + 90]
        results = await bench.accept(
            *(draft(n, due=due, segments=n) for n, due in enumerate(dues, 1)), draft(9, tenant="x")
        )
        flow = results[0].flow if isinstance(results[0], Stored) else -1
        seqs = [r.seq for r in results if isinstance(r, Stored)]
        first = await bench.box.feed(flow, None, NOW + 50, 3)
        assert first.items == (
            Due(seqs[1], 0, NOW + 10, 2), Due(seqs[3], 0, NOW + 10, 4), Due(seqs[2], 0, NOW + 20, 3)
        )  # fmt: skip
        assert (first.complete, first.next_due) == (False, None)
        rest = await bench.box.feed(flow, (NOW + 20, seqs[2]), NOW + 50, 3)
        assert (rest.items, rest.complete, rest.next_due) == ((Due(seqs[0], 0, NOW + 30, 1),), True, NOW + 90)
        whole = await bench.box.feed(flow, None, NOW + 90, 5)
        assert (len(whole.items), whole.complete, whole.next_due) == (5, True, None)
        middle = await bench.box.feed(flow, (NOW + 10, seqs[1]), NOW + 10, 5)
        assert [d.seq for d in middle.items] == [seqs[3]]
        assert await bench.box.feed(999, None, NOW + 90, 5) == replace(whole, items=())

    async def test_uncertain_ones_come_earliest_first(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 6)))
        await bench.claimed(*seqs)
        for place, seq in enumerate(seqs[:4]):
            await bench.box.settle(settlement(seq, Event.DOUBT, due=SOON - place), attempt(outcome="unknown"))
        found, following = await bench.box.uncertain(SOON - 1, 2)
        assert ([m.seq for m in found], following) == ([seqs[3], seqs[2]], SOON - 1)
        found, following = await bench.box.uncertain(SOON - 1, 9)
        assert ([m.seq for m in found], following) == ([seqs[3], seqs[2], seqs[1]], SOON)
        assert await bench.box.uncertain(NOW, 9) == ([], SOON - 3)

    async def test_bound_ids_are_known(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 5)))
        await bench.claimed(*seqs)
        answered, looked_up, doubted, second = seqs
        await bench.box.settle(settlement(answered, Event.TAKEN, pmid="SM1"), attempt(provider_message_id="SM1"))
        await bench.box.settle(
            settlement(second, Event.TAKEN, pmid="SM3"), attempt(provider="b", provider_message_id="SM3")
        )
        await bench.box.settle(settlement(looked_up, Event.DOUBT), attempt(outcome="unknown"))
        await bench.box.settle(settlement(doubted, Event.DOUBT), attempt(outcome="unknown"))
        await bench.box.settle(settlement(looked_up, Event.TAKEN, pmid="SM2", at=SOON), None)
        assert await bench.box.bound(["SM1", "SM2", "SM4"]) == {"SM1", "SM2"}
        assert await bench.box.bound([]) == set()
        await bench.restart()
        assert await bench.box.bound(["SM1", "SM2", "SM4"]) == {"SM1", "SM2"}

    async def test_an_id_is_bound_whichever_section_it_went_through(self, bench: Bench) -> None:
        """Two sections may be one account, and a section may be renamed."""
        answered, looked_up = await bench.stored(draft(1), draft(2))
        await bench.claimed(answered, looked_up, provider="old")
        sent = attempt(provider="old", provider_message_id="SM1")
        await bench.box.settle(settlement(answered, Event.TAKEN, pmid="SM1"), sent)
        await bench.box.settle(settlement(looked_up, Event.DOUBT), attempt(provider="old", outcome="unknown"))
        await bench.box.settle(settlement(looked_up, Event.TAKEN, pmid="SM2", at=SOON), None)
        assert await bench.box.bound(["SM1", "SM2", "SM3"]) == {"SM1", "SM2"}

    async def test_starts_are_told_for_the_windows(self, bench: Bench) -> None:
        seqs = await bench.stored(*(draft(n) for n in range(1, 7)))
        await bench.claimed(*seqs)
        for n, seq in enumerate(seqs[:4]):
            await bench.box.settle(
                settlement(seq, Event.TAKEN, at=NOW + 100 + n),
                attempt(at=NOW + 10 * n, boot=1_000 * n, cost=n + 1, provider="main" if n else "b"),
            )
        expected = [Start(NOW + 10 * n, 1_000 * n, n + 1, 1) for n in (1, 2, 3)]
        assert await bench.box.starts("main", NOW, 0, 10) == expected
        assert await bench.box.starts("main", NOW, 1_000, 10) == expected[1:]
        assert await bench.box.starts("main", NOW, 0, 2) == expected[1:]
        assert await bench.box.starts("main", NOW, 3_000, 2) == []
        await bench.box.settle(settlement(seqs[4], Event.RETRY, at=NOW + 300), attempt(at=NOW + 5, boot=500))
        assert await bench.box.starts("main", NOW, 0, 10) == [Start(NOW + 5, 500, 1, 1), *expected]
        await bench.restart(LATER)
        crashed = await bench.box.starts("main", NOW, 2_000, 10)
        assert crashed[0] == expected[2]
        assert (crashed[1].wall, crashed[1].cost, len(crashed)) == (LATER, 1, 2)
        assert crashed[1].boot is not None
        await bench.restart(LATER, same_boot=False)
        earlier = await bench.box.starts("main", NOW, 0, 10)
        assert [(start.wall, start.boot) for start in earlier] == [
            (at, None) for at in (NOW + 5, NOW + 10, NOW + 20, NOW + 30, LATER)
        ]
        assert [start.wall for start in await bench.box.starts("main", NOW + 20, 0, 10)] == [NOW + 30, LATER]

    @pytest.mark.parametrize("stepped", [-3_600_000, 3_600_000])
    async def test_starts_of_this_boot_are_told_whatever_the_wall_clock_did(self, bench: Bench, stepped: int) -> None:
        """And the newest are the newest by boot time."""
        seqs = await bench.stored(*(draft(n) for n in range(1, 5)))
        await bench.claimed(*seqs)
        for n, seq in enumerate(seqs):
            wall = NOW + n + (stepped if n > 1 else 0)
            await bench.box.settle(
                settlement(seq, Event.TAKEN, at=wall + 9), attempt(at=wall, boot=1_000 * (n + 1), cost=n + 1)
            )
        now = NOW + 100 + stepped
        await bench.restart(now)
        assert [start.cost for start in await bench.box.starts("main", now - 50_000, 0, 10)] == [1, 2, 3, 4]
        assert [start.cost for start in await bench.box.starts("main", now - 50_000, 0, 2)] == [3, 4]
        assert [start.cost for start in await bench.box.starts("main", now - 50_000, 3_000, 10)] == [4]

    async def test_an_attempt_found_open_costs_what_its_call_would(self, bench: Bench) -> None:
        """Its segments where the rate counts segments, else 1."""
        one, other = await bench.stored(draft(1, segments=3), draft(2, segments=3))
        await bench.claimed(one, provider="by segments")
        await bench.claimed(other, provider="by messages")
        await bench.restart(by_segments={"by segments"})
        for seq, provider, cost in ((one, "by segments", 3), (other, "by messages", 1)):
            assert [(each.outcome, each.cost) for each in await bench.box.attempts(seq)] == [("crashed", cost)]
            starts = await bench.box.starts(provider, NOW, 0, 10)
            assert [(start.cost, start.segments) for start in starts] == [(cost, 3)]

    async def test_totals_tell_the_oldest(self, bench: Bench) -> None:
        assert (await bench.box.totals(0)).oldest_pending_at is None
        seqs = await bench.stored(draft(1, due=NOW + 9), draft(2, due=NOW + 4, tenant="x"), draft(3, due=NOW + 6))
        assert (await bench.box.totals(0)).oldest_pending_at == NOW + 4
        await bench.claimed(seqs[1], now=NOW + 4)
        assert (await bench.box.totals(0)).oldest_pending_at == NOW + 6

    async def test_a_tenant_sees_its_own_totals(self, bench: Bench) -> None:
        a, b, c = await bench.stored(
            draft(1, tenant="a", due=NOW - 3), draft(2, tenant="b", due=NOW - 9), draft(3, tenant="b", due=NOW - 1)
        )
        await bench.claimed(a, b)
        await bench.box.settle(settlement(a, Event.FAIL, error=error(Category.REJECTED)), attempt(outcome="refuse"))
        throttled = settlement(b, Event.RETRY, due=SOON, error=error(Category.RATE_LIMITED), charged=0)
        await bench.box.settle(throttled, attempt(outcome="defer"))
        minute = LATER // 60_000
        of_a, of_b = await bench.box.totals(0, "a"), await bench.box.totals(0, "b")
        assert of_a.states == {(State.FAILED, Priority.NORMAL): 1}
        assert (of_a.categories, of_a.oldest_pending_at) == ({"REJECTED": 1}, None)
        assert of_a.minutes == (MinuteRow(minute, "", 0, 1, 0),)
        assert of_b.states == {(State.PENDING, Priority.NORMAL): 2}
        assert (of_b.categories, of_b.minutes, of_b.oldest_pending_at) == ({}, (), NOW - 1)
        await bench.claimed(c, provider="second")
        await bench.box.settle(settlement(c, Event.TAKEN, pmid="SM1"), attempt(provider="second"))
        assert (await bench.box.totals(minute, "b")).minutes == (MinuteRow(minute, "", 1, 0, 0),)
        assert (await bench.box.totals(minute + 1, "b")).minutes == ()
        nobody = await bench.box.totals(0, "nobody")
        assert (nobody.states, nobody.categories, nobody.minutes, nobody.oldest_pending_at) == ({}, {}, (), None)
        await self.check(bench)

    # --- persons -----------------------------------------------------------------------------------------------------

    async def test_a_persons_messages_are_counted(self, bench: Bench) -> None:
        """Sent yesterday, sent today, sent in the last hour, failed today, failed yesterday, in a call, waiting."""
        day, hour = NOW, NOW + 50_000_000
        ann = {"user": "ann", "recipient": "+14155550199"}
        seqs = await bench.stored(*(draft(n, **ann) for n in range(1, 8)), draft(8), draft(9, **ann, tenant="other"))
        await bench.claimed(*seqs[:6])
        for seq, event, at in zip(
            seqs,
            (Event.TAKEN, Event.TAKEN, Event.TAKEN, Event.FAIL, Event.FAIL),
            (day - 1, day, hour, day, day - 1),
            strict=False,
        ):
            why = error(Category.REJECTED, at) if event is Event.FAIL else None
            assert await bench.box.settle(settlement(seq, event, at=at, error=why), attempt(at=at))
        for person in (Person("shop", user="ann"), Person("shop", recipient="+14155550199")):
            assert await bench.box.counts_of(person, day, hour) == PersonCounts(2, 1, 1, 2), person
        for person in (Person(None, user="ann"), Person(None, recipient="+14155550199")):
            assert await bench.box.counts_of(person, day, hour) == PersonCounts(2, 1, 1, 3), person
        for person in (
            Person("shop", user="bob"), Person(None, user="bob"), Person("nobody", user="ann"), Person(None, user=""),
            Person("nobody", recipient="+14155550199"), Person(None, recipient="+14155550198"),
        ):  # fmt: skip
            assert await bench.box.counts_of(person, day, hour) == PersonCounts(0, 0, 0, 0), person
        for wrong in ({}, {"user": "ann", "recipient": "+14155550199"}):
            with pytest.raises(ValueError, match="either a user or a recipient"):
                Person("shop", **wrong)

    # --- all together ------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("seed", range(6))
    async def test_kept_counts_equal_a_recount_after_any_walk(self, bench: Bench, seed: int) -> None:
        walk = Walk(bench, random.Random(seed))
        for _ in range(12):
            await walk.burst()
            await self.check(bench)
            await walk.check_outcomes()
        await bench.restart(LATER)
        await self.check(bench)
        await walk.check_outcomes()

    async def check(self, bench: Bench) -> None:
        """Counters (of all and by tenant), flows and next due times as kept are those of the messages themselves."""
        messages = await bench.everything()
        pending = [m for m in messages if m.state is State.PENDING]
        for tenant in (None, *{m.tenant for m in messages}):
            totals = await bench.box.totals(0, tenant)
            own = [m for m in messages if tenant in (None, m.tenant)]
            assert totals.states == dict(Counter((m.state, m.priority) for m in own)), tenant
            waiting = [m.due for m in pending if tenant in (None, m.tenant)]
            assert totals.oldest_pending_at == min(waiting, default=None), tenant
        for flow in {m.flow for m in messages}:
            rows = sorted((m.due, m.seq) for m in pending if m.flow == flow)
            fed = await bench.box.feed(flow, None, 2**60, 10_000)
            assert [(d.due, d.seq) for d in fed.items] == rows


class Walk:
    """Seeded bursts of every operation at once, sensible and senseless."""

    def __init__(self, bench: Bench, dice: random.Random) -> None:
        self.bench = bench
        self.dice = dice
        self.number = 0
        self.now = NOW
        self.failed: Counter[tuple[str, str]] = Counter()
        """By tenant and category: what was settled so."""
        self.sent: Counter[tuple[str, int]] = Counter()
        """By tenant and minute."""

    async def check_outcomes(self) -> None:
        """Categories and minutes as kept, of all and by tenant, are those of the settlements that were in time."""
        of_all = await self.bench.box.totals(0)
        kept = {tenant: await self.bench.box.totals(0, tenant) for tenant in "ab"}
        assert {(t, c): n for t, totals in kept.items() for c, n in totals.categories.items()} == self.failed
        minutes = {(t, m.minute): m.sent for t, totals in kept.items() for m in totals.minutes if m.sent}
        assert minutes == self.sent
        categories = sum((Counter(totals.categories) for totals in kept.values()), Counter[str]())
        assert of_all.categories == categories
        assert sum(m.failed for totals in kept.values() for m in totals.minutes) == categories.total()
        assert sum(m.failed for m in of_all.minutes) == categories.total()
        assert sum(m.sent for m in of_all.minutes) == self.sent.total()

    async def burst(self) -> None:
        """Some of everything, all handed in before the first is answered."""
        messages = await self.bench.everything()
        self.now += self.dice.randrange(1, 2_000)
        await asyncio.gather(
            self.accept(),
            *(self.begin(messages) for _ in range(3)),
            *(self.settle(m) for m in messages if m.state is State.PROCESSING and self.dice.random() < 0.7),
            *(self.other(self.dice.choice(messages)) for _ in range(5) if messages),
        )

    async def accept(self) -> None:
        """Those of the campaign whose recipients opted out are stored as failed."""
        for result in await self.bench.accept(*(self.draft() for _ in range(self.dice.randrange(1, 30)))):
            if isinstance(result, Stored) and result.failed is not None:
                self.failed[result.failed.tenant, "OPTED_OUT"] += 1

    def draft(self) -> Draft:
        self.number += 1
        key = f"k{self.dice.randrange(40)}" if self.dice.random() < 0.3 else None
        return draft(
            self.number if self.dice.random() < 0.98 else max(1, self.number - 1),
            tenant=self.dice.choice("ab"),
            campaign=self.dice.choice([None, "c"]),
            recipient=self.recipient(),
            route=self.dice.choice(["main", "main,b"]),
            priority=self.dice.choice(list(Priority)),
            due=self.now + self.dice.randrange(-500, 3_000),
            expires_at=self.now + self.dice.randrange(1, 20_000),
            idempotency_key=key,
            content_hash=None if key is None else bytes([self.dice.randrange(2)]) * 32,
        )

    def recipient(self) -> str:
        return f"+1415555010{self.dice.randrange(8)}"

    async def begin(self, messages: list[Message]) -> None:
        some = self.dice.sample(messages, min(len(messages), 15))
        claims = [Claim(m.seq, m.attempt, m.route.split(",")[0], "s") for m in some]
        for message in messages_of(await self.bench.box.begin(claims, self.now)):
            if message.state is State.FAILED:
                self.failed[message.tenant, "OPTED_OUT"] += 1

    async def settle(self, message: Message) -> None:
        event = self.dice.choice([Event.TAKEN, Event.RETRY, Event.FAIL, Event.DOUBT])
        news = settlement(
            message.seq, event, message.attempt - (self.dice.random() < 0.1), at=self.now,
            due=self.now + self.dice.randrange(5_000),
            error=None if event is Event.TAKEN else error(self.dice.choice(list(Category)), self.now),
            pmid=f"SM{message.seq}" if event is Event.TAKEN else None,
        )  # fmt: skip
        if event is Event.RETRY and self.dice.random() < 0.5:
            news.route = self.dice.choice(["b,main", "main,b", "main"])
        if self.dice.random() < 0.05:
            news.suppress = Suppression("main", message.recipient, self.now, "provider", "21610")
        if await self.bench.box.settle(news, attempt(news.attempt) if self.dice.random() < 0.8 else None):
            if news.event is Event.TAKEN:
                self.sent[message.tenant, news.at // 60_000] += 1
            elif news.event is Event.FAIL and news.error is not None:
                self.failed[message.tenant, str(news.error.category)] += 1

    async def other(self, message: Message) -> None:
        match self.dice.randrange(6):
            case 3:
                scope = self.dice.choice(["main", "b", EVERY])
                await self.bench.box.suppress(Suppression(scope, self.recipient(), self.now, "api"))
            case 4:
                await self.bench.box.lift(self.dice.choice(["main", "b", EVERY]), self.recipient())
            case 5:
                pmid = f"SM{message.seq - (self.dice.random() < 0.1)}"
                n = self.dice.randrange(message.attempt + 2)
                [received] = await self.bench.box.receive([Receipt("main", Status.SENT, pmid, message.id, n)], self.now)
                if received.message is not None and received.before is not received.message.state:
                    self.sent[received.message.tenant, self.now // 60_000] += 1
            case 0:
                await self.bench.box.cancel(message.id, None, self.now)
            case 1:
                await self.bench.box.reopen(message.id, None, self.now, self.now + 9_000, self.dice.random() < 0.5)
            case 2:
                await self.bench.box.expire(self.now, self.dice.randrange(1, 9))
