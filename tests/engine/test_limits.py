"""What becomes of the message that is one too many, by each action, also after a restart?

Played by the whole engine in virtual time. What a window may hold is proven in tests/store; here it is what a caller
sees: when the sixth text to a number goes, what an eleventh about a user is told, who waits behind a tenant's limit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from smsd.core.acceptance import Origin
from smsd.core.events import Kind
from smsd.core.limits import Action, Per, Rule
from smsd.core.message import State
from smsd.core.retry import RetryRules
from smsd.core.units import rfc3339
from smsd.core.verdict import Category
from smsd.engine.intake import Accepted
from smsd.store import Person, release
from tests.engine.rig import ACCEPTED, REFUSED, TO, Rig, twilio

HOUR_MS = 3_600_000
PER_NUMBER = Rule(Per.RECIPIENT, 5, HOUR_MS)
PER_USER = Rule(Per.USER, 10, HOUR_MS)
DOUBLING = RetryRules(max_attempts=5, backoff_ms=3_000, multiplier=2, jitter="none")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def with_action(rule: Rule, action: Action, max_wait_ms: int | None = None) -> Rule:
    return Rule(rule.per, rule.count, rule.span_ms, action, max_wait_ms)


def seconds(rig: Rig) -> list[float]:
    """From the first send to each."""
    return [(at - rig.carrier.sends[0][0]) / 1_000 for at, _ in rig.carrier.sends]


@pytest.mark.parametrize("restart", [False, True])
def test_the_sixth_text_to_a_number_waits_for_its_turn_and_the_twelfth_for_its_own(rig: Rig, *, restart: bool) -> None:
    rig.limits = (PER_NUMBER,)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(12)]
        await rig.seconds(1)
        assert len(rig.carrier.sends) == 5
        first = rig.carrier.sends[0][0]
        sixth, eleventh = await rig.waiting(ids[5]), await rig.waiting(ids[10])
        assert sixth[0] == eleventh[0] == "recipient_limit"
        assert sixth[1] is not None
        assert eleventh[1] is not None
        assert 0 <= sixth[1] - first - HOUR_MS < 1_000
        assert 0 <= eleventh[1] - first - 2 * HOUR_MS < 1_000
        assert Kind.LIMIT_HIT in rig.kinds()
        if restart:
            await rig.crash()
            await rig.start()
            await rig.seconds(60)
            assert len(rig.carrier.sends) == 5
        other = await rig.accepted(to="+14155550199")
        await rig.seconds(1)
        assert await rig.state(other) == "sent"
        await rig.seconds(2 * HOUR_MS / 1_000 + 10)
        assert [await rig.state(id) for id in ids] == ["sent"] * 12
        assert [(await rig.message(id)).attempt for id in ids] == [1] * 12
        await rig.stop()

    rig.run(story)
    mine = [at for at, fields in rig.carrier.sends if fields["To"] == TO]
    assert all(late - early >= HOUR_MS for early, late in zip(mine, mine[5:], strict=False))
    assert [fields["Body"] for _, fields in rig.carrier.sends if fields["To"] == TO] == [f"text {n}" for n in range(12)]


@pytest.mark.parametrize("restart", [False, True])
def test_the_eleventh_about_a_user_is_refused_where_the_action_is_reject(rig: Rig, *, restart: bool) -> None:
    rig.limits = (with_action(PER_USER, Action.REJECT),)

    async def story() -> None:
        await rig.start()
        for n in range(10):
            await rig.accepted(to=f"+1415555{n:04}", user="ann")
        if restart:
            await rig.crash()
            await rig.start()
        assert await rig.store.remaining(Person("shop", user="ann"), rig.clock.wall()) == 0
        assert await rig.refused(user="ann") == "limit_exceeded"
        assert isinstance(await rig.submit(user="bob"), Accepted)
        assert isinstance(await rig.submit(user="ann", origin=Origin("other")), Accepted)
        await rig.seconds(HOUR_MS / 1_000 - 60)
        assert await rig.refused(user="ann") == "limit_exceeded"
        await rig.seconds(61)
        assert isinstance(await rig.submit(user="ann"), Accepted)
        await rig.stop()

    rig.run(story)


def test_a_replay_gets_its_first_answer_however_full_the_window(rig: Rig) -> None:
    rig.limits = (Rule(Per.USER, 1, HOUR_MS, Action.REJECT),)

    async def story() -> None:
        await rig.start()
        first = await rig.accepted(user="ann", idempotency_key="k")
        assert await rig.refused(user="ann") == "limit_exceeded"
        again = await rig.submit(user="ann", idempotency_key="k")
        assert isinstance(again, Accepted)
        assert (again.id, again.replayed) == (first, True)
        await rig.stop()

    rig.run(story)


def test_a_cancelled_message_does_not_count_where_the_action_is_reject(rig: Rig) -> None:
    rig.limits = (Rule(Per.USER, 1, HOUR_MS, Action.REJECT),)

    async def story() -> None:
        await rig.start()
        id = await rig.accepted(user="ann", send_at=rfc3339(rig.clock.wall() + 600_000))
        assert await rig.refused(user="ann") == "limit_exceeded"
        await rig.engine.service.cancel(id, None)
        assert isinstance(await rig.submit(user="ann"), Accepted)
        await rig.stop()

    rig.run(story)


def test_the_sixth_fails_where_the_action_is_fail_and_an_operator_may_send_it_all_the_same(rig: Rig) -> None:
    rig.limits = (with_action(PER_NUMBER, Action.FAIL),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(6)]
        await rig.seconds(1)
        sixth = await rig.message(ids[5])
        assert sixth.state is State.FAILED
        assert sixth.error is not None
        assert str(sixth.error) == "LIMIT_EXCEEDED: Rate limit exceeded (5/hour per recipient)"
        assert sixth.attempt == 0
        await rig.engine.service.retry(ids[5], None, ttl=None, expires_at=None, force=False)
        await rig.seconds(1)
        assert await rig.state(ids[5]) == "sent"
        await rig.stop()

    rig.run(story)
    assert len(rig.carrier.sends) == 6


@pytest.mark.parametrize("restart", [False, True])
def test_each_refusal_costs_an_attempt_where_the_action_is_retry(rig: Rig, *, restart: bool) -> None:
    """Tried again after 3, 6, 12 and 24 s, and given up at the fifth refusal."""
    rig.limits = (Rule(Per.RECIPIENT, 1, HOUR_MS, Action.RETRY),)
    rig.retry = DOUBLING

    async def story() -> None:
        await rig.start()
        await rig.accepted(text="first")
        await rig.seconds(1)
        begun = rig.clock.wall()
        id = await rig.accepted(text="second")
        await rig.seconds(0.2)
        for due in (3, 9, 21):
            message = await rig.message(id)
            if restart:
                await rig.crash()
                await rig.start()
            assert message.state is State.PENDING
            assert abs(message.due - begun - 1_000 * due) < 100, (due, message.due - begun)
            assert message.error is not None
            assert message.error.category is Category.LIMIT_EXCEEDED
            await rig.seconds((message.due - rig.clock.wall()) / 1_000 + 0.2)
        await rig.seconds(24)
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert str(message.error) == "LIMIT_EXCEEDED: Rate limit exceeded (1/hour per recipient)"
        assert (message.attempt, message.charged) == (0, 5)
        await rig.stop()

    rig.run(story)
    assert rig.carrier.bodies == ["first"]


def test_of_two_batches_of_a_tenant_that_may_send_one_the_second_waits_and_succeeds(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 1, 10_000, Action.RETRY),)
    rig.retry = DOUBLING

    async def story() -> None:
        await rig.start()
        first = await rig.accepted(text="first", campaign="one")
        second = await rig.accepted(text="second", campaign="two")
        await rig.seconds(30)
        assert [await rig.state(id) for id in (first, second)] == ["sent", "sent"]
        await rig.stop()

    rig.run(story)
    assert [round(at) for at in seconds(rig)] == [0, 21]


def test_a_limit_on_a_tenant_holds_its_flows_up_and_nobody_else(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 10, 1_000),)

    async def story() -> None:
        await rig.start()
        mass = Origin("mass")
        ids = [
            await rig.accepted(to=f"+1415555{n:04}", origin=mass, priority="bulk", campaign=f"c{n % 3}")
            for n in range(300)
        ]
        await rig.seconds(5.5)
        sent = [fields for _, fields in rig.carrier.sends]
        assert 50 <= len(sent) <= 60
        waiting = [id for id in ids if await rig.state(id) == "pending"]
        held = await rig.message(waiting[-1])
        assert held.held is None  # nothing is written on what waits behind a tenant's limit
        assert held.due == held.created_at
        assert (await rig.waiting(waiting[-1]))[0] == "tenant_limit"
        urgent = await rig.accepted(origin=Origin("care"), priority="high")
        await rig.seconds(0.2)
        assert await rig.state(urgent) == "sent"
        await rig.seconds(30)
        assert [await rig.state(id) for id in ids] == ["sent"] * 300
        campaigns = [(await rig.message(id)).sent_at or 0 for id in ids]
        ends = [max(campaigns[n::3]) for n in range(3)]
        assert max(ends) - min(ends) <= 2_000  # the three shared its ten a second
        await rig.stop()

    rig.run(story)
    mine = sorted(at for at, fields in rig.carrier.sends if fields["To"].startswith("+1415555") and fields["To"] != TO)
    assert all(late - early >= 990 for early, late in zip(mine, mine[10:], strict=False))


def test_an_urgent_message_of_the_same_tenant_is_the_next_to_go_and_passes_no_limit(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 10, 1_000),)

    async def story() -> None:
        await rig.start()
        for n in range(200):
            await rig.accepted(to=f"+1415555{n:04}", priority="bulk")
        await rig.seconds(3.5)
        urgent = await rig.accepted(priority="high")
        await rig.seconds(1.1)
        assert await rig.state(urgent) == "sent"
        await rig.stop()

    rig.run(story)
    times = [at for at, _ in rig.carrier.sends]
    assert all(late - early >= 990 for early, late in zip(times, times[10:], strict=False))


def test_what_would_wait_longer_than_max_wait_fails(rig: Rig) -> None:
    rig.limits = (with_action(PER_NUMBER, Action.DEFER, max_wait_ms=30 * 60_000),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(6)]
        await rig.seconds(1)
        message = await rig.message(ids[5])
        assert message.state is State.FAILED
        assert message.error is not None
        assert message.error.category is Category.LIMIT_EXCEEDED
        await rig.stop()

    rig.run(story)


def test_what_has_waited_longer_than_max_wait_behind_a_tenants_limit_fails(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 10, 60_000, max_wait_ms=120_000),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(to=f"+1415555{n:04}") for n in range(60)]
        await rig.seconds(600)
        states = [await rig.state(id) for id in ids]
        assert states[:30] == ["sent"] * 30
        assert states[40:] == ["failed"] * 20
        await rig.stop()

    rig.run(story)


def test_a_reload_lets_another_limit_count(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 1, HOUR_MS),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(to=f"+1415555{n:04}") for n in range(3)]
        await rig.seconds(5)
        assert len(rig.carrier.sends) == 1
        rig.limits = ()
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(1)
        assert [await rig.state(id) for id in ids] == ["sent"] * 3
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_lifted_limit_has_put_off_goes_at_once(rig: Rig, *, restart: bool) -> None:
    rig.limits = (Rule(Per.RECIPIENT, 1, HOUR_MS),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(4)]
        later = await rig.accepted(text="later", send_at=rfc3339(rig.clock.wall() + 600_000))
        await rig.seconds(5)
        assert len(rig.carrier.sends) == 1
        rig.limits = ()
        if restart:
            await rig.stop()
            await rig.start()
        else:
            await rig.engine.reconfigure(rig.plan())
        await rig.seconds(1)
        assert [await rig.state(id) for id in [*ids, later]] == ["sent"] * 4 + ["pending"]
        await rig.seconds(600)
        assert await rig.state(later) == "sent"
        await rig.stop()

    rig.run(story)
    assert rig.carrier.bodies == [f"text {n}" for n in range(4)] + ["later"]


def test_a_limit_that_stays_puts_nothing_off_anew_at_a_restart(rig: Rig) -> None:
    rig.limits = (Rule(Per.RECIPIENT, 1, HOUR_MS),)

    async def story() -> None:
        await rig.start()
        id = (await rig.accepted(text="first"), await rig.accepted(text="second"))[1]
        await rig.seconds(5)
        held = await rig.message(id)
        await rig.stop()
        await rig.seconds(60)
        await rig.start()
        await rig.seconds(5)
        assert await rig.message(id) == held
        await rig.stop()

    rig.run(story)


def test_a_clock_set_right_before_a_reboot_opens_no_window(rig: Rig) -> None:
    rig.limits = (PER_NUMBER,)

    async def story() -> None:
        await rig.start()
        for n in range(5):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(5)
        rig.clock.step(2 * HOUR_MS)
        await rig.seconds(60)
        for n in range(2):
            await rig.stop()
            rig.clock.reboot(10_000_000)
            await rig.start()
            for text in "abc":
                await rig.accepted(text=f"{text}{n}")
            await rig.seconds(60)
        assert len(rig.carrier.sends) == 5
        await rig.seconds(3_600)
        assert len(rig.carrier.sends) == 10
        await rig.stop()

    rig.run(story)


def test_a_pause_does_not_use_up_what_a_message_may_wait_for_a_tenants_limit(rig: Rig) -> None:
    rig.limits = (Rule(Per.TENANT, 1, 60_000, Action.DEFER, 200_000),)

    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main", "maintenance")
        ids = [await rig.accepted(text=f"text {n}") for n in range(6)]
        await rig.seconds(1_200)
        await rig.engine.service.resume("main")
        await rig.seconds(2)
        assert "failed" not in [await rig.state(id) for id in ids]
        await rig.seconds(600)
        assert [await rig.state(id) for id in ids] == ["sent"] * 4 + ["failed"] * 2
        await rig.stop()

    rig.run(story)


def test_a_message_that_fails_over_is_held_to_the_limit_of_its_other_sender(rig: Rig) -> None:
    rig.limits = (Rule(Per.SENDER, 5, HOUR_MS),)
    rig.providers = [
        (twilio("main"), rig.rules(senders=("+15005550001",))),
        (twilio("other"), rig.rules(senders=("+15005550002",))),
    ]
    rig.carrier.answers = lambda name, _: REFUSED if name == "main" else ACCEPTED

    async def story() -> None:
        await rig.start()
        for n in range(5):
            await rig.accepted(to=f"+1415555{n:04}")
        await rig.seconds(60)
        assert rig.carrier.names.count("other") == 5
        await rig.engine.service.pause("main", "maintenance")
        for n in range(5, 15):
            await rig.accepted(to=f"+1415555{n:04}")
        await rig.seconds(60)
        assert rig.carrier.names.count("other") == 5
        await rig.stop()

    rig.run(story)


def test_changed_rules_that_hold_up_as_many_again_are_followed_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "PIECE", 3)
    rig.limits = (Rule(Per.RECIPIENT, 1, HOUR_MS),)

    async def story() -> None:
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(20)]
        await rig.seconds(5)
        rig.limits = (Rule(Per.RECIPIENT, 1, 2 * HOUR_MS),)
        await rig.engine.reconfigure(rig.plan())
        await rig.seconds(5)
        before = [await rig.message(id) for id in ids]
        await rig.seconds(600)
        assert [await rig.message(id) for id in ids] == before
        assert sum(event.kind is Kind.MESSAGE_DEFERRED for event in rig.events) <= 2 * 19
        assert {message.held_by for message in before[1:]} == {"1/2h per recipient"}
        await rig.stop()

    rig.run(story)
