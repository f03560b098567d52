"""Stories of messages through the whole engine, in virtual time."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from smsd.core.acceptance import Origin
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.verdict import Category
from smsd.engine.explaining import Seen
from smsd.engine.intake import Accepted
from smsd.engine.roster import UnknownProviderError
from smsd.store import WrongState
from tests.engine.rig import LOST, REFUSED, TO, Rig, answer, twilio

SECOND = 1_000


def test_accepted_then_sent_once_then_explained(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        id = await rig.accepted(metadata={"order": "17"})
        await rig.seconds(1)
        message = await rig.message(id)
        assert (message.state, message.attempt, message.charged, message.provider) == (State.SENT, 1, 1, "main")
        assert message.provider_message_id == "SM" + "0" * 32
        assert message.sender == "+15005550006"
        assert rig.carrier.bodies == ["Your code is 1"]
        seen = await rig.engine.service.get(id, "shop")
        assert seen is not None
        assert seen.waiting is None
        assert await rig.engine.service.get(id, "another shop") is None
        assert rig.kinds() == [Kind.MESSAGE_ACCEPTED, Kind.MESSAGE_SENT]
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert [(each.n, each.outcome, each.http_status) for each in attempts] == [(1, "accepted", 201)]
        await rig.stop()

    rig.run(story)


def test_a_throttle_rests_the_provider_and_costs_no_attempt(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(429, {"retry-after": "400"}, code=20429, message="Too many requests")]
        await rig.start()
        first = await rig.accepted()
        await rig.seconds(1)
        second = await rig.accepted(text="another")
        await rig.seconds(1)
        assert await rig.state(first) == await rig.state(second) == "pending"
        reason, until = await rig.waiting(second)
        assert reason == "provider_cooldown"
        assert until is not None
        assert 390 * SECOND < until - rig.clock.wall() < 400 * SECOND
        message = await rig.message(first)
        assert (message.attempt, message.charged) == (1, 0)
        assert str(message.error).startswith("RATE_LIMITED: Rate limited, retrying at ")
        await rig.seconds(396)
        assert len(rig.carrier.sends) == 1
        await rig.seconds(5)
        assert await rig.state(first) == await rig.state(second) == "sent"
        assert Kind.PROVIDER_COOLDOWN in rig.kinds()
        assert Kind.PROVIDER_RECOVERED in rig.kinds()
        await rig.stop()

    rig.run(story)


def test_refused_credentials_halt_the_provider_until_resumed(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(401, code=20003, message="Authenticate")]
        await rig.start()
        ids = [await rig.accepted(text=f"text {number}") for number in range(3)]
        await rig.seconds(600)
        assert len(rig.carrier.sends) <= 3
        assert {await rig.state(id) for id in ids} <= {"pending", "sent"}
        waiting = [id for id in ids if await rig.state(id) == "pending"]
        assert waiting
        assert await rig.waiting(waiting[0]) == ("provider_halted", None)
        calls = len(rig.carrier.sends)
        await rig.seconds(3_600)
        assert len(rig.carrier.sends) == calls
        view = await rig.engine.service.resume("main")
        assert view.state.value == "open"
        await rig.seconds(10)
        assert {await rig.state(id) for id in ids} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_cooldown_and_halt_survive_a_restart_and_new_credentials_end_a_halt(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(429, code=20429, message="slow down"), answer(401, code=20003, message="no")]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(2)
        await rig.stop()
        await rig.start()
        assert (await rig.waiting(id))[0] == "provider_cooldown"
        assert (await rig.waiting(await rig.accepted(text="new")))[0] == "provider_cooldown"
        await rig.seconds(310)
        assert (await rig.waiting(id))[0] == "provider_halted"
        await rig.crash()
        await rig.start()
        await rig.seconds(10)
        assert (await rig.waiting(id))[0] == "provider_halted"
        assert len(rig.carrier.sends) == 2
        await rig.stop()
        rig.providers = [(twilio(token="new"), rig.rules())]
        await rig.start()
        await rig.seconds(10)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_network_errors_are_retried_with_backoff_until_exhausted(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(network_costs_attempt=True))]
        rig.carrier.script = [REFUSED] * 5
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert (await rig.waiting(id))[0] == "retry"
        await rig.seconds(100)
        starts = [at for at, _ in rig.carrier.sends]
        gaps = [round((b - a) / 1_000) for a, b in pairwise(starts)]
        assert gaps == [3, 6, 12, 24]
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert (message.error.category, message.error.cause) == (Category.EXHAUSTED, Category.NETWORK)
        stats = await rig.engine.service.counting.stats()
        assert stats.totals.categories == {"EXHAUSTED": 1}
        await rig.stop()

    rig.run(story)


def test_a_refusal_fails_at_once(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(400, code=21211, message="The 'To' number is not valid")]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(100)
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert message.error.category is Category.INVALID_RECIPIENT
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)


def test_a_lost_answer_is_looked_up_and_not_sent_again(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "processing"
        reason, until = await rig.waiting(id)
        assert reason == "uncertain"
        assert until is not None
        rig.carrier.take(rig.carrier.sends[0][1])  # it had been taken after all
        await rig.seconds(10)
        message = await rig.message(id)
        assert (message.state, message.provider_message_id) == (State.SENT, "SM" + "0" * 32)
        assert len(rig.carrier.sends) == 1
        assert Kind.MESSAGE_RECONCILED in rig.kinds()
        await rig.stop()

    rig.run(story)


def test_what_the_provider_does_not_have_twice_is_sent_again(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(60)
        assert rig.carrier.look_ups == 2
        assert await rig.state(id) == "sent"
        assert len(rig.carrier.sends) == 2
        await rig.stop()

    rig.run(story)


def test_hold_never_sends_an_uncertain_message_again(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(on_uncertain="hold"))]
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(60)
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert message.error.category is Category.UNCERTAIN
        refused = await rig.engine.service.retry(id, None, ttl=None, expires_at=None, force=False)
        assert isinstance(refused, WrongState)
        reopened = await rig.engine.service.retry(id, None, ttl=None, expires_at=None, force=True)
        assert isinstance(reopened, Seen)
        await rig.seconds(5)
        message = await rig.message(id)
        assert (message.state, message.round, message.attempt, message.charged) == (State.SENT, 1, 2, 1)
        await rig.stop()

    rig.run(story)


def test_two_equal_texts_never_share_one_provider_id(rig: Rig) -> None:
    """Both answers are lost, the provider has one of them: exactly one is settled as sent, the other goes again."""

    async def story() -> None:
        rig.carrier.script = [LOST, LOST]
        await rig.start()
        ids = [await rig.accepted(text="the same") for _ in range(2)]
        await rig.seconds(1)
        rig.carrier.take(rig.carrier.sends[0][1])
        await rig.seconds(120)
        messages = [await rig.message(id) for id in ids]
        assert {message.state for message in messages} == {State.SENT}
        assert len({message.provider_message_id for message in messages}) == 2
        assert len(rig.carrier.sends) == 3
        await rig.stop()

    rig.run(story)


def test_an_attempt_open_at_a_crash_is_looked_up_first(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.latency_ms = 3_000
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert len(rig.carrier.sends) == 1
        await rig.crash()
        rig.carrier.latency_ms = 5
        await rig.start()
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert len(rig.carrier.sends) == 1
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert [each.outcome for each in attempts] == ["crashed"]
        await rig.stop()

    rig.run(story)


def test_a_message_expires_behind_a_halted_provider(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main", "paused by a test")
        id = await rig.accepted(ttl="10s")
        assert await rig.waiting(id) == ("provider_paused", None)
        await rig.seconds(9)
        assert await rig.state(id) == "pending"
        await rig.seconds(2)
        assert await rig.state(id) == "expired"
        assert Kind.MESSAGE_EXPIRED in rig.kinds()
        await rig.engine.service.resume("main")
        await rig.seconds(5)
        assert rig.carrier.sends == []
        assert rig.engine.tally.backlog == 0
        await rig.stop()

    rig.run(story)


def test_cancel_and_retry_by_an_operator(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        later = await rig.accepted(send_at=_in(rig, 60))
        assert await rig.waiting(later) == ("scheduled", rig.clock.wall() + 60 * SECOND)
        cancelled = await rig.engine.service.cancel(later, "shop")
        assert isinstance(cancelled, Seen)
        assert isinstance(await rig.engine.service.cancel(later, "shop"), WrongState)
        assert await rig.engine.service.cancel("no such id", None) is None
        await rig.seconds(120)
        assert rig.carrier.sends == []
        rig.carrier.script = [answer(400, code=30007, message="filtered")]
        id = await rig.accepted()
        await rig.seconds(2)
        assert await rig.state(id) == "failed"
        await rig.engine.service.retry(id, None, ttl="1m", expires_at=None, force=False)
        await rig.seconds(2)
        assert await rig.state(id) == "sent"
        with pytest.raises(UnknownProviderError):
            await rig.engine.service.pause("nobody", "")
        await rig.stop()

    rig.run(story)


def test_a_message_under_way_cannot_be_cancelled(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.latency_ms = 2_000
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        found = await rig.engine.service.cancel(id, None)
        assert isinstance(found, WrongState)
        assert found.message.state is State.PROCESSING
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert [each.outcome for each in attempts] == ["open"]
        await rig.stop()

    rig.run(story)


def test_a_drain_lets_calls_end_gives_the_rest_back_and_refuses_new_ones(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=Pace((Window(100, 1_000_000),)), max_in_flight=8))]
        rig.carrier.latency_ms = 500
        await rig.start()
        ids = [await rig.accepted(text=f"text {number}") for number in range(20)]
        await rig.seconds(0.03)
        begun = len(rig.carrier.sends)
        assert begun
        drained = asyncio.create_task(rig.engine.drain(30))
        await rig.seconds(0.01)
        assert await rig.refused() == "shutting_down"
        assert await drained == 0
        states = [await rig.state(id) for id in ids]
        assert states.count("sent") == begun == len(rig.carrier.sends)
        assert states.count("pending") == 20 - begun
        released = [message for id in ids if (message := await rig.message(id)).state is State.PENDING]
        assert {(message.attempt, message.charged) for message in released} == {(0, 0)}
        await rig.engine.stop()
        await rig.start()
        await rig.seconds(5)
        assert len(rig.carrier.sends) == 20
        await rig.stop()

    rig.run(story)


def test_high_goes_before_a_waiting_bulk_backlog(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=Pace((Window(10, 1_000_000),))))]
        await rig.start()
        for number in range(50):
            await rig.accepted(text=f"bulk {number}", priority="bulk")
        await rig.seconds(1)
        await rig.accepted(text="urgent", priority="high")
        await rig.seconds(0.5)
        assert "urgent" in rig.carrier.bodies
        assert len(rig.carrier.bodies) < 25
        await rig.stop()

    rig.run(story)


def test_the_same_key_gives_the_first_answer_whatever_happened_since(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        first, second = await asyncio.gather(
            rig.submit(idempotency_key="order-17"), rig.submit(idempotency_key="order-17")
        )
        assert isinstance(first, Accepted)
        assert isinstance(second, Accepted)
        assert (first.id, first.replayed, second.replayed) == (second.id, False, True)
        assert await rig.refused(text="other content", idempotency_key="order-17") == "key_conflict"
        other = await rig.submit(idempotency_key="order-17", origin=Origin("another shop"))
        assert isinstance(other, Accepted)
        assert other.id != first.id
        await rig.seconds(5)
        rig.engine.intake.draining = True
        again = await rig.submit(idempotency_key="order-17")
        assert isinstance(again, Accepted)
        assert (again.id, again.state, again.replayed) == (first.id, State.SENT, True)
        assert await rig.refused(idempotency_key="order-18") == "shutting_down"
        await rig.stop()

    rig.run(story)


def test_when_all_providers_of_a_route_are_gone_the_message_waits_and_says_so(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        id = await rig.accepted(send_at=_in(rig, 5))
        await rig.stop()
        rig.providers = [(twilio("other"), rig.rules())]
        await rig.start()
        await rig.seconds(60)
        assert await rig.waiting(id) == ("no_route", None)
        assert rig.carrier.sends == []
        await rig.stop()
        rig.providers = [(twilio(), rig.rules())]
        await rig.start()
        await rig.seconds(5)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_halted_provider_hands_over_to_the_next_of_the_route(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules()), (twilio("backup"), rig.rules())]
        rig.carrier.script = [answer(401, code=20003, message="Authenticate")]
        await rig.start()
        id = await rig.accepted()
        pinned = await rig.accepted(text="only main", provider="main", send_at=_in(rig, 5))
        await rig.seconds(30)
        assert (await rig.message(id)).provider == "backup"
        assert await rig.waiting(pinned) == ("provider_halted", None)
        await rig.stop()

    rig.run(story)


def _in(rig: Rig, seconds: int) -> str:
    from smsd.core.units import rfc3339

    return rfc3339(rig.clock.wall() + seconds * SECOND)


def test_numbers_of_a_recipient_are_counted_per_minute_and_today(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        for number in range(3):
            await rig.accepted(TO, f"text {number}")
        await rig.seconds(2)
        stats = await rig.engine.service.counting.stats()
        assert (stats.sent_last_minute, stats.sent_last_hour, stats.sent_today) == (3, 3, 3)
        assert stats.totals.states[State.SENT, 1] == 3  # type: ignore[index]  # Priority.NORMAL is 1
        await rig.stop()
        await rig.start()
        stats = await rig.engine.service.counting.stats()
        assert (stats.sent_last_hour, stats.sent_today) == (3, 3)
        await rig.stop()

    rig.run(story)


def test_a_provider_that_was_disabled_is_still_asked_and_hold_is_kept(rig: Rig) -> None:
    async def story() -> None:
        rig.on_uncertain = "hold"
        rig.providers = [(twilio(), rig.rules(on_uncertain="hold"))]
        rig.carrier.script = [LOST, LOST]
        await rig.start()
        taken = await rig.accepted(text="taken")
        gone = await rig.accepted(text="nobody knows")
        await rig.seconds(1)
        rig.carrier.take(rig.carrier.sends[0][1])
        await rig.stop()
        rig.retired = [(twilio(), rig.rules(on_uncertain="hold"))]
        rig.providers = [(twilio("backup"), rig.rules())]
        await rig.start()
        await rig.seconds(60)
        assert await rig.state(taken) == "sent"
        assert await rig.state(gone) == "failed"
        await rig.stop()
        assert len(rig.carrier.sends) == 2

    rig.run(story)


def test_a_message_whose_provider_is_gone_is_held_where_that_is_the_policy(rig: Rig) -> None:
    async def story() -> None:
        rig.on_uncertain = "hold"
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        await rig.stop()
        rig.providers = [(twilio("backup"), rig.rules())]
        await rig.start()
        await rig.seconds(60)
        assert await rig.state(id) == "failed"
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)


def test_a_busy_number_does_not_hide_what_the_list_shows(rig: Rig) -> None:
    """Other texts to the same number are under way all the time; only an equal one could be mistaken for it."""

    async def story() -> None:
        rig.carrier.latency_ms = 800
        rig.carrier.script = [LOST]
        await rig.start()
        id = await rig.accepted(text="the first")
        await rig.seconds(1)
        rig.carrier.take(rig.carrier.sends[0][1])
        for number in range(60):
            await rig.accepted(text=f"another {number}")
            await rig.seconds(0.5)
        assert await rig.state(id) == "sent"
        assert rig.carrier.bodies.count("the first") == 1
        await rig.seconds(5)
        await rig.stop()

    rig.run(story)


def test_a_provider_whose_look_ups_hang_holds_no_other_up(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio("sick"), rig.rules(max_in_flight=400)), (twilio("well"), rig.rules())]
        rig.carrier.script = [LOST] * 301
        rig.carrier.look_up = lambda request: LOST if "15550199" in request.url else rig.carrier.listed(request)
        await rig.start()
        for number in range(300):
            await rig.accepted("+14155550199", f"sick {number}", provider="sick")
        await rig.seconds(3)
        rig.carrier.latency_ms = 9_000
        id = await rig.accepted(text="well", provider="well")
        await rig.seconds(10)
        rig.carrier.take(rig.carrier.sends[-1][1])
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert rig.carrier.bodies.count("well") == 1
        await rig.stop()

    rig.run(story)


def test_a_fault_of_the_program_after_the_claim_is_looked_up_like_a_lost_answer(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        write = rig.engine.way_out.settler.write
        faults = [RuntimeError("a fault of the program")]

        async def faulty(*arguments: Any) -> bool:
            if faults:
                raise faults.pop()
            return await write(*arguments)

        rig.engine.way_out.settler.write = faulty  # type: ignore[method-assign,assignment]  # the fault this test is about
        id = await rig.accepted()
        await rig.seconds(1)
        assert (await rig.waiting(id))[0] == "uncertain"
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert len(rig.carrier.sends) == 1
        assert not rig.deaths
        await rig.stop()

    rig.run(story)


def test_a_cooldown_lasts_as_long_as_it_was_meant_whatever_is_done_to_the_clock(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [answer(429, code=20429, message="slow down")]
        await rig.start()
        await rig.accepted()
        await rig.seconds(2)
        rig.clock.step(-86_400_000)
        new = await rig.accepted(text="new")
        assert (await rig.waiting(new))[0] == "provider_cooldown"
        await rig.seconds(290)
        assert await rig.state(new) == "pending"
        await rig.seconds(40)
        assert await rig.state(new) == "sent"
        rig.carrier.script = [answer(429, code=20429, message="slow down")]
        await rig.accepted(text="third")
        await rig.seconds(2)
        calls = len(rig.carrier.sends)
        rig.clock.step(3_600_000)
        await rig.accepted(text="fourth")
        await rig.seconds(200)
        assert len(rig.carrier.sends) == calls
        await rig.stop()

    rig.run(story)


def test_a_repeat_waits_for_the_first_also_when_the_backlog_is_full(rig: Rig) -> None:
    async def story() -> None:
        rig.max_backlog = 1
        await rig.start()
        await rig.engine.service.pause("main", "a test")
        first, second = await asyncio.gather(rig.submit(idempotency_key="k"), rig.submit(idempotency_key="k"))
        assert isinstance(first, Accepted)
        assert isinstance(second, Accepted)
        assert first.id == second.id
        assert await rig.refused(text="another") == "backlog_full"
        await rig.stop()

    rig.run(story)


def test_one_doubt_is_told_once(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.script = [LOST]
        rig.carrier.look_up = lambda request: LOST
        await rig.start()
        await rig.accepted()
        await rig.seconds(300)
        assert rig.carrier.look_ups > 3
        assert rig.kinds().count(Kind.MESSAGE_UNCERTAIN) == 1
        await rig.stop()

    rig.run(story)
