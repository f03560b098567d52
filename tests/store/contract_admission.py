"""What must every outbox do about limits on acceptances, quiet hours and steps of clocks, and what is left to a person?

A part of the contract (`contract.py`), in the words of `contract_limits`.
"""

from __future__ import annotations

from datetime import UTC

import pytest

from smsd.core.lifecycle import Event
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import Message, Priority, State
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.units import DAY, HOUR
from smsd.store import Limited, Person, Replay, Stored, WrongState
from tests.doubles.builders import draft
from tests.store.contract import accept
from tests.store.contract_limits import FIVE, NUMBER, OTHER, Hall


class AdmissionContract:
    """Subclass it with a fixture `hall`."""

    # --- at acceptance -----------------------------------------------------------------------------------------------

    async def test_reject_counts_acceptances(self, hall: Hall) -> None:
        rule = Rule(Per.RECIPIENT, 2, HOUR, Action.REJECT)
        await hall.limit(rule)
        first, _ = await hall.stored(2)
        hall.clock.advance(60_000)
        full = Limited(rule, hall.clock.wall() + HOUR - 60_000)
        assert await hall.submit(idempotency_key="k", content_hash=b"h" * 32) == full
        assert await hall.box.find_key("shop", "k", b"h" * 32) is None
        assert (await hall.left(), await hall.submit(recipient=OTHER)) == (0, Stored(3, 1))
        await hall.restart()
        assert await hall.submit() == full
        await hall.box.cancel((await hall.by_seq(first)).id, None, hall.clock.wall())
        assert await hall.left() == 1
        await hall.stored()
        assert isinstance(await hall.submit(), Limited)
        hall.clock.advance(HOUR - 60_000)
        await hall.stored()
        assert isinstance(await hall.submit(), Limited)

    async def test_acceptances_of_one_batch_see_each_other(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.TEXT, 2, HOUR, Action.REJECT))
        results = await accept(hall.box, *(draft(n, created_at=hall.clock.wall()) for n in range(1, 5)))
        assert [type(each) for each in results] == [Stored, Stored, Limited, Limited]

    async def test_a_repeat_is_answered_with_the_first(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.REPEAT, 1, HOUR, Action.REPLAY), Rule(Per.RECIPIENT, 3, HOUR, Action.REJECT))
        now = hall.clock.wall()
        first, second = await accept(hall.box, *(draft(n, created_at=now) for n in (901, 902)))
        assert first == Stored(1, 1)
        assert second == Replay(draft(901).id, State.PENDING, 1, 0)
        await hall.one(1)
        await hall.settle(1)
        hall.clock.advance(HOUR - 1)
        await hall.restart()
        assert await hall.submit() == Replay(draft(901).id, State.SENT, 1, 0)
        assert await hall.left() == 2, "what was not accepted was not counted"
        for different in ({"text": "x"}, {"sender": "+15005550001"}, {"tenant": "other"}):
            assert isinstance(await hall.submit(**different, recipient=OTHER), Stored)
        keyed = {"idempotency_key": "k", "content_hash": b"h" * 32}
        assert isinstance(await hall.submit(**keyed), Stored), "its key says that it is another"
        hall.clock.advance(1)
        assert isinstance(await hall.submit(), Stored)

    async def test_a_repeat_of_a_cancelled_one_is_new(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.REPEAT, 1, HOUR, Action.REPLAY))
        [first] = await hall.stored()
        await hall.box.cancel((await hall.by_seq(first)).id, None, hall.clock.wall())
        await hall.stored()

    # --- time --------------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("new_boot", [False, True])
    async def test_a_restart_forgets_nothing(self, hall: Hall, new_boot: bool) -> None:
        await hall.limit(FIVE)
        begin = hall.clock.wall()
        await hall.sent(5)
        hall.clock.advance(60_000)
        await hall.restart(new_boot=new_boot, crash=True)
        [seq] = await hall.stored()
        assert (await hall.one(seq)).due == begin + HOUR
        hall.clock.advance(HOUR - 60_001)
        assert await hall.left() == 0
        hall.clock.advance(1)
        assert await hall.left() == 5

    @pytest.mark.parametrize("step", [-5 * HOUR, 5 * HOUR])
    @pytest.mark.parametrize("restart", [None, False, True])
    async def test_a_step_of_the_wall_clock_moves_no_window(self, hall: Hall, step: int, restart: bool | None) -> None:
        """What was charged in an earlier boot lies where its clock, when it was opened first, placed it."""
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        await hall.sent()
        if restart is not None:
            await hall.restart(new_boot=restart)
        hall.clock.step(step)
        if restart is not None:
            await hall.restart()
        [seq] = await hall.stored()
        hall.clock.advance(HOUR - 1)
        assert (await hall.one(seq)).due == hall.clock.wall() + 1
        hall.clock.advance(1)
        assert (await hall.one(seq)).state is State.PROCESSING

    async def test_a_charge_from_the_future_counts_as_made_at_the_start(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        hall.clock.step(1_000 * HOUR)
        await hall.sent()
        hall.clock.step(-1_000 * HOUR)
        await hall.restart(new_boot=True)
        hall.clock.advance(HOUR - 1)
        assert await hall.left() == 0
        await hall.restart()
        hall.clock.advance(1)
        await hall.sent()

    # --- quiet hours -------------------------------------------------------------------------------------------------

    async def test_quiet_hours_hold_up_all_but_the_urgent(self, hall: Hall) -> None:
        night = QuietBook(QuietHours(0, 1_439), {"awake": None}, UTC)
        await hall.limit(FIVE, quiet=night)
        number = "+80012345678"  # a number without a country: the daemon's zone counts
        seqs = [
            *await hall.stored(recipient=number),
            *await hall.stored(recipient=number, priority=Priority.HIGH),
            *await hall.stored(recipient=number, tenant="awake"),
        ]
        assert await hall.states(*seqs) == ["quiet_hours", State.PROCESSING, State.PROCESSING]
        held = await hall.by_seq(seqs[0])
        assert (held.held_by, held.held_since, held.due > hall.clock.wall()) == ("00:00-23:59", None, True)
        assert await hall.left(Person(None, recipient=number)) == 3
        await hall.settle(seqs[1], Event.RETRY)
        hall.clock.advance(held.due - hall.clock.wall())
        assert await hall.states(seqs[0]) == [State.PROCESSING]

    async def test_those_behind_one_that_is_put_off_are_too(self, hall: Hall) -> None:
        """In the commit of its claim, as far as it is quiet for them as well; each would be at its own claim."""
        night = QuietBook(QuietHours(0, 720), {}, UTC)
        hall.clock.advance((DAY - hall.clock.wall() % DAY) + HOUR)  # one o'clock in UTC
        await hall.limit(Rule(Per.RECIPIENT, 1, 24 * HOUR))
        here, there = "+3546111111", "+64211234567"  # in Iceland it is night, in New Zealand early afternoon
        await hall.sent(recipient=here)
        [limited] = await hall.stored(recipient=here)
        assert await hall.states(limited) == ["recipient_limit"]
        hall.clock.advance((await hall.by_seq(limited)).due - hall.clock.wall())
        await hall.limit(Rule(Per.RECIPIENT, 1, 24 * HOUR), quiet=night)
        later = {"due": hall.clock.wall() + 1, "send_at": hall.clock.wall() + 1}
        seqs = [(await hall.stored(recipient=f"+354611222{n}"))[0] for n in range(3)]
        [awake] = await hall.stored(recipient=there)
        [other] = await hall.stored(recipient="+3546113333", tenant="other")
        [due_later] = await hall.stored(recipient="+3546114444", **later)
        assert await hall.states(seqs[0], seqs[2]) == ["quiet_hours", "quiet_hours"]
        found = [await hall.by_seq(seq) for seq in seqs]
        until = hall.clock.wall() // DAY * DAY + 12 * HOUR
        assert {(each.due, each.held, each.held_by) for each in found} == {(until, "quiet_hours", "00:00-12:00")}
        rest = [(await hall.by_seq(seq)).held for seq in (limited, awake, other, due_later)]
        assert rest == ["recipient_limit", None, None, None]
        hall.clock.advance(until - hall.clock.wall())
        assert await hall.states(*seqs) == [State.PROCESSING] * 3

    async def test_a_retry_keeps_quiet_hours_too(self, hall: Hall) -> None:
        number = "+80012345678"
        [seq] = await hall.stored(recipient=number)
        await hall.one(seq)
        await hall.settle(seq, Event.RETRY)
        await hall.limit(quiet=QuietBook(QuietHours(0, 1_439), {}, UTC))
        assert await hall.states(seq) == ["quiet_hours"]

    async def test_what_is_held_at_acceptance_says_so(self, hall: Hall) -> None:
        [seq] = await hall.stored(held="quiet_hours", held_by="21:00-08:00")
        message = await hall.by_seq(seq)
        assert (message.held, message.held_by, message.held_since) == ("quiet_hours", "21:00-08:00", None)
        found = await hall.box.cancel(message.id, None, hall.clock.wall())
        assert isinstance(found, Message)
        assert (found.held, found.held_by) == (None, None)
        assert await hall.by_seq(seq) == found

    # --- reschedule --------------------------------------------------------------------------------------------------

    async def test_another_time_for_a_pending_message(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.RECIPIENT, 1, HOUR))
        await hall.sent()
        [seq] = await hall.stored()
        message = await hall.one(seq)
        now = hall.clock.wall()
        times = (now + 5, now + 3, now + HOUR, "quiet_hours", "21:00-08:00")
        found = await hall.box.reschedule(message.id, "shop", *times, now)
        assert isinstance(found, Message)
        assert (found.due, found.send_at, found.expires_at, found.held, found.held_by, found.held_since) == (
            *times, None,
        )  # fmt: skip
        assert await hall.by_seq(seq) == found
        assert await hall.box.reschedule(message.id, "other", *times, now) is None
        assert await hall.box.reschedule(message.id, None, *times, now + HOUR) == WrongState(found)
        hall.clock.advance(HOUR - 1)
        await hall.limit()
        await hall.one(seq)
        taken = await hall.box.reschedule(message.id, None, *times, now)
        assert isinstance(taken, WrongState)
        assert taken.message.state is State.PROCESSING

    # --- what is left ------------------------------------------------------------------------------------------------

    async def test_what_is_left_is_the_smallest_over_all_that_bind(self, hall: Hall) -> None:
        user = Person("shop", user="u")
        assert await hall.left(user) is None
        await hall.limit(
            Rule(Per.USER, 4, HOUR), Rule(Per.USER, 9, HOUR, Action.REJECT), Rule(Per.RECIPIENT, 7, HOUR),
            Rule(Per.TENANT, 20, HOUR), Rule(Per.USER, 3, HOUR, tenant="other"), Rule(Per.TEXT, 1, HOUR),
        )  # fmt: skip
        assert await hall.left(user) == 4
        for n in range(3):
            await hall.sent(user="u", text=f"{n}", recipient=f"+1415555010{n}")
        await hall.stored(5, user="u")
        assert (await hall.left(user), await hall.left(Person(None, user="u"))) == (1, 1)
        await hall.stored(1, user="u")
        assert await hall.left(user) == 0
        assert (await hall.left(), await hall.left(Person("shop", recipient="+14155550100"))) == (7, 6)
        assert await hall.left(Person("other", user="u")) == 3
        assert await hall.left(Person("third", recipient=NUMBER)) == 7
        hall.clock.advance(HOUR)
        assert await hall.left(user) == 4

    async def test_nobody_is_bound_where_no_rule_is(self, hall: Hall) -> None:
        await hall.limit(Rule(Per.USER, 1, HOUR))
        assert await hall.left() is None
        assert await hall.left(Person(None, user="nobody")) == 1
