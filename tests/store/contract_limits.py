"""What must every outbox do about limits and quiet hours? A part of the contract (`contract.py`).

A binding is a subclass of LimitsContract and a fixture `hall`: see test_sqlite_contract.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from smsd.core.admission import AdmissionRules
from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Message, State
from smsd.core.retry import RetryRules
from smsd.core.units import HOUR
from smsd.core.verdict import Category
from smsd.store import AcceptResult, Blocked, Claim, Person, Query, Stored
from tests.doubles.builders import draft
from tests.doubles.clock import ManualClock
from tests.store.contract import Box, accept, attempt, settlement

FIVE = Rule(Per.RECIPIENT, 5, HOUR)
NUMBER = draft().recipient
OTHER = "+14155550199"
TO_NUMBER = Person(None, recipient=NUMBER)


@dataclass
class Hall:
    """One outbox, open, with a clock and limits. Words for what every test does."""

    box: Box
    clock: ManualClock
    opener: Callable[[ManualClock, int, bool], Awaitable[Box]] | None = None
    """None: it is not restarted."""
    rules: AdmissionRules = field(default_factory=lambda: AdmissionRules(default_retry=RetryRules(jitter="none")))
    boot: int = 0
    number: int = 0

    async def limit(self, *rules: Rule, **fields: Any) -> None:
        """These limits count from now on."""
        self.rules = replace(self.rules, limits=rules, **fields)
        await self.box.govern(self.rules)

    async def restart(self, *, new_boot: bool = False, crash: bool = False) -> None:
        """End it, in order or not, and open it again under the same rules."""
        if new_boot:
            self.boot += 1
            self.clock = ManualClock(self.clock.wall(), boot=9_000_000)
        assert self.opener is not None
        self.box = await self.opener(self.clock, self.boot, crash)
        await self.box.govern(self.rules)

    async def submit(self, **fields: Any) -> AcceptResult:
        """Hand one in now."""
        self.number += 1
        now = self.clock.wall()
        times = {"created_at": now, "due": now, "expires_at": now + 90 * 24 * HOUR}
        [result] = await accept(self.box, draft(self.number, **{**times, **fields}))
        return result

    async def stored(self, count: int = 1, **fields: Any) -> list[int]:
        """Accept so many; their numbers."""
        results = [await self.submit(**fields) for _ in range(count)]
        assert all(isinstance(result, Stored) for result in results), results
        return [result.seq for result in results if isinstance(result, Stored)]

    async def by_seq(self, seq: int) -> Message:
        page = await self.box.page(Query(before=seq + 1, limit=1))
        return page.items[0]

    async def claim(self, *seqs: int, sender: str = "+15005550006", spread: float = 0.0) -> list[Message | Blocked]:
        """Claim them in one batch; what came of each, which is also what is written."""
        claims = [Claim(seq, (await self.by_seq(seq)).attempt, "main", sender, None, spread) for seq in seqs]
        found = await self.box.begin(claims, self.clock.wall())
        answers = [each for each in found if each is not None]
        assert len(answers) == len(seqs)
        for each in answers:
            if isinstance(each, Message):
                assert await self.by_seq(each.seq) == each
        return answers

    async def one(self, seq: int, **fields: Any) -> Message:
        """Claim one that no flow's limit holds up."""
        [found] = await self.claim(seq, **fields)
        assert isinstance(found, Message)
        return found

    async def states(self, *seqs: int) -> list[State | str]:
        """What came of the claims, in a word each."""
        return ["blocked" if isinstance(each, Blocked) else each.held or each.state for each in await self.claim(*seqs)]

    async def settle(self, seq: int, event: Event = Event.TAKEN) -> None:
        now = self.clock.wall()
        n = (await self.by_seq(seq)).attempt
        assert await self.box.settle(settlement(seq, event, n, at=now), attempt(n, at=now))

    async def sent(self, count: int = 1, **fields: Any) -> list[int]:
        """So many go, one by one."""
        seqs = await self.stored(count, **fields)
        for seq in seqs:
            assert (await self.one(seq)).state is State.PROCESSING
            await self.settle(seq)
        return seqs

    async def left(self, person: Person = TO_NUMBER) -> int | None:
        return await self.box.remaining(person, self.clock.wall())


class LimitsContract:
    """Subclass it with a fixture `hall`."""

    # --- turns -------------------------------------------------------------------------------------------------------

    async def test_each_that_waits_is_due_at_its_own_turn(self, hall: Hall) -> None:
        await hall.limit(FIVE)
        begin = hall.clock.wall()
        for _ in range(5):
            await hall.sent()
            hall.clock.advance(60_000)
        waiting = await hall.stored(7)
        found = [await hall.one(seq) for seq in waiting]
        turns = [begin + HOUR + minute * 60_000 for minute in range(5)] + [begin + 2 * HOUR, begin + 2 * HOUR + 60_000]
        assert [each.due for each in found] == turns
        assert {(each.state, each.attempt, each.charged, each.held, each.held_by) for each in found} == {
            (State.PENDING, 0, 0, "recipient_limit", "5/hour per recipient")
        }
        for seq, turn in zip(waiting, turns, strict=True):
            hall.clock.advance(turn - hall.clock.wall())
            claimed = await hall.one(seq)
            assert (claimed.state, claimed.held, claimed.held_by, claimed.held_since) == (
                State.PROCESSING, None, None, None,
            )  # fmt: skip
            await hall.settle(seq)

    async def test_who_comes_later_queues_behind_those_that_wait(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        begin = hall.clock.wall()
        await hall.sent()
        first, second, third = await hall.stored(3)
        assert [(await hall.one(seq)).due - begin for seq in (first, second, third)] == [HOUR, 2 * HOUR, 3 * HOUR]
        hall.clock.advance(HOUR)
        [late] = await hall.stored()
        assert (await hall.one(late)).due - begin == 4 * HOUR
        assert (await hall.one(first)).state is State.PROCESSING

    async def test_a_turn_that_nobody_needs_is_given_to_the_next(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        begin = hall.clock.wall()
        await hall.sent()
        cancelled, moved, expired = await hall.stored(3)
        await hall.claim(cancelled, moved, expired)
        await hall.box.cancel((await hall.by_seq(cancelled)).id, None, begin)
        message = await hall.by_seq(moved)
        later = begin + 50 * HOUR
        await hall.box.reschedule(message.id, None, later, later, message.expires_at, None, None, begin)
        await hall.box.expire(message.expires_at, 1_000)
        [next_one] = await hall.stored()
        assert (await hall.one(next_one)).due == begin + HOUR

    async def test_after_a_restart_turns_are_found_again(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 2, HOUR))
        begin = hall.clock.wall()
        await hall.sent(2)
        waiting = await hall.stored(3)
        assert [each.due - begin for each in [await hall.one(seq) for seq in waiting]] == [HOUR, HOUR, 2 * HOUR]
        await hall.restart()
        hall.clock.advance(HOUR)
        assert await hall.states(*waiting) == [State.PROCESSING, State.PROCESSING, "recipient_limit"]

    # --- charging ----------------------------------------------------------------------------------------------------

    async def test_claims_of_one_batch_see_what_the_others_were_charged(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 2, HOUR), Rule(Per.TENANT, 3, HOUR))
        seqs = [*await hall.stored(3), *await hall.stored(2, recipient=OTHER)]
        assert await hall.states(*seqs) == [State.PROCESSING] * 2 + ["recipient_limit", State.PROCESSING, "blocked"]

    async def test_all_are_asked_before_any_is_charged(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 5, HOUR), Rule(Per.TENANT, 1, HOUR))
        await hall.sent(recipient=OTHER)
        [seq] = await hall.stored()
        assert await hall.states(seq) == ["blocked"]
        assert await hall.left() == 5

    async def test_a_message_is_charged_once_a_round_whatever_becomes_of_its_calls(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 2, HOUR))
        [seq] = await hall.stored()
        for _ in range(3):
            assert (await hall.one(seq)).state is State.PROCESSING
            await hall.settle(seq, Event.RETRY)
        await hall.restart(crash=True)
        await hall.sent()
        assert await hall.left() == 0
        assert (await hall.one(seq)).state is State.PROCESSING, "it has its place"
        await hall.settle(seq, Event.FAIL)
        assert await hall.left() == 0, "nothing is given back"

    async def test_an_operators_retry_goes_and_is_charged_when_its_charge_has_run_out(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR), Rule(Per.TENANT, 2, HOUR))

        async def again(seq: int) -> None:
            now = hall.clock.wall()
            assert isinstance(await hall.box.reopen((await hall.by_seq(seq)).id, None, now, now + HOUR, False), Message)

        [seq] = await hall.stored()
        await hall.one(seq)
        await hall.settle(seq, Event.FAIL)
        await again(seq)
        shop = Person("shop", recipient=OTHER)
        assert (await hall.one(seq)).state is State.PROCESSING
        assert (await hall.left(), await hall.left(shop)) == (0, 1), "it is charged already"
        await hall.settle(seq, Event.FAIL)
        hall.clock.advance(HOUR)
        await hall.sent()
        await again(seq)
        assert (await hall.one(seq)).state is State.PROCESSING, "the operator decided"
        assert await hall.left(shop) == 0
        await hall.settle(seq, Event.FAIL)
        hall.clock.advance(HOUR)
        await hall.limit(Rule(Per.TENANT, 1, HOUR))
        await hall.sent()
        await again(seq)
        assert await hall.states(seq) == ["blocked"], "the tenant's limit binds it as any"

    async def test_a_changed_rate_keeps_its_history(self, hall: Hall) -> None:
        await hall.limit(FIVE)
        await hall.sent(3)
        await hall.limit(Rule(Per.RECIPIENT, 3, 24 * HOUR))
        [seq] = await hall.stored()
        assert (await hall.one(seq)).due == hall.clock.wall() + 24 * HOUR
        await hall.limit()
        assert await hall.left() is None

    async def test_a_rule_of_one_tenant_leaves_the_others_alone(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR, tenant="shop"))
        await hall.sent(2, tenant="other")
        await hall.sent()
        [seq] = await hall.stored()
        assert await hall.states(seq) == ["recipient_limit"]

    async def test_the_sender_that_is_used_is_counted(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.SENDER, 1, HOUR))
        asked, chosen, same = await hall.stored(3)
        assert (await hall.one(asked, sender="+15005550001")).state is State.PROCESSING
        assert (await hall.one(chosen, sender="+15005550002")).state is State.PROCESSING
        assert (await hall.one(same, sender="+15005550001")).held == "sender_limit"
        [named] = await hall.stored(sender="+15005550002")
        assert (await hall.one(named, sender="+15005550009")).held == "sender_limit"

    # --- consequences ------------------------------------------------------------------------------------------------

    async def test_a_tenants_limit_writes_nothing_on_its_messages(self, hall: Hall) -> None:
        rule = Rule(Per.TENANT, 1, HOUR)
        await hall.limit(rule)
        await hall.sent()
        hall.clock.advance(1_000)
        seqs = await hall.stored(2)
        before = [await hall.by_seq(seq) for seq in seqs]
        until = hall.clock.wall() + HOUR - 1_000
        assert await hall.claim(*seqs) == [Blocked(rule, "tenant:shop", until)] * 2
        assert [await hall.by_seq(seq) for seq in seqs] == before
        hall.clock.advance(HOUR - 1_000)
        assert await hall.states(*seqs) == [State.PROCESSING, "blocked"]

    async def test_a_campaigns_limit_binds_the_campaign_alone(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.CAMPAIGN, 1, HOUR))
        await hall.sent(campaign="spring")
        await hall.sent(2)
        seqs = [*await hall.stored(campaign="spring"), *await hall.stored(campaign="summer")]
        found = await hall.claim(*seqs)
        assert isinstance(found[0], Blocked)
        assert found[0].group == "campaign:shop\nspring"
        assert isinstance(found[1], Message)

    async def test_retry_costs_attempts_and_then_fails(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.TENANT, 1, HOUR, Action.RETRY))
        await hall.sent()
        [seq] = await hall.stored()
        waits = []
        while (found := await hall.one(seq)).state is State.PENDING:
            assert found.error is not None
            assert (found.error.category, found.error.at) == (Category.LIMIT_EXCEEDED, hall.clock.wall())
            assert found.error.message == "Rate limit exceeded (1/hour per tenant)"
            assert (found.attempt, found.held) == (0, None)
            waits.append(found.due - hall.clock.wall())
            hall.clock.advance(waits[-1])
        assert waits == [3_000, 6_000, 12_000, 24_000]
        assert (found.state, found.charged, found.attempt, found.processed_at) == (
            State.FAILED, 5, 0, hall.clock.wall(),
        )  # fmt: skip
        totals = await hall.box.totals(0)
        assert totals.categories == {"LIMIT_EXCEEDED": 1}
        assert {state: n for (state, _), n in totals.states.items()} == {State.SENT: 1, State.FAILED: 1}
        assert await hall.box.attempts(seq) == []

    async def test_retry_succeeds_once_there_is_room(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.TENANT, 1, 5_000, Action.RETRY))
        await hall.sent()
        [seq] = await hall.stored()
        assert (await hall.one(seq, spread=0.9)).state is State.PENDING
        hall.clock.advance(5_000)
        found = await hall.one(seq)
        assert (found.state, found.charged) == (State.PROCESSING, 1)

    async def test_fail_is_listed(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.USER, 1, HOUR, Action.FAIL))
        await hall.sent(user="u")
        [seq] = await hall.stored(user="u")
        found = await hall.one(seq)
        assert (found.state, found.charged, found.attempt) == (State.FAILED, 0, 0)
        listed = await hall.box.page(Query(states=(State.FAILED,), category="LIMIT_EXCEEDED"))
        assert [each.seq for each in listed.items] == [seq]

    async def test_who_would_wait_too_long_fails(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR, max_wait_ms=HOUR))
        await hall.sent()
        first, second = await hall.stored(2)
        assert await hall.states(first, second) == ["recipient_limit", State.FAILED]
        assert (await hall.by_seq(first)).held_since == hall.clock.wall()

    async def test_a_flow_tells_when_what_waits_is_due(self, hall: Hall) -> None:
        """The schedule is fed by it."""
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        await hall.sent()
        [seq] = await hall.stored()
        due = (await hall.one(seq)).due
        [flow] = [(await hall.by_seq(seq)).flow]
        found = await hall.box.feed(flow, None, due - 1, 10)
        assert (found.items, found.next_due) == ((), due)

    async def test_text_limits_hold_up_the_same_text_only(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.TEXT, 1, HOUR))
        await hall.sent(text="hello")
        await hall.sent(text="hello", recipient=OTHER)
        same, another = await hall.stored(text="hello") + await hall.stored(text="Hello")
        assert await hall.states(same, another) == ["recipient_limit", State.PROCESSING]
