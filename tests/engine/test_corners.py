"""Where one consequence of a verdict meets another: the corners in which messages were once lost, doubled or stuck."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from smsd.core.acceptance import MessageRules, Origin, TenantRules
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.receipt import Receipt, Status
from smsd.core.retry import RetryRules
from smsd.core.verdict import Category
from smsd.providers.base import Outcome, Request
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from tests.engine.rig import ACCEPTED, LOST, REFUSED, Rig, answer, setting, twilio

MINUTE = 60_000
SLOW = Pace((Window(1, 60_000_000),))


def gateway(token: str = "first") -> Http:
    """A provider that knows an idempotency key again."""
    return Http(
        "gateway",
        url="https://gateway.example.com/send",
        fields={"to": "{to}", "text": "{text}"},
        id_path="id",
        price_path="price",
        idempotency_header="Idempotency-Key",
        auth="bearer",
        token=token,
    )


def two(rig: Rig) -> None:
    rig.providers = [(twilio("alpha"), rig.rules()), (twilio("beta"), rig.rules())]


@pytest.mark.parametrize("how", ["throttled", "paused"])
def test_in_doubt_at_a_provider_that_rests_it_waits_and_goes_by_no_other(rig: Rig, how: str) -> None:
    async def story() -> None:
        rules = rig.rules(reconcile_after_ms=1_000, on_uncertain="hold" if how == "paused" else "retry")
        rig.providers = [(gateway(), rules), (twilio("beta"), rig.rules())]
        hosts: list[str] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            hosts.append(request.url)
            if n == 0:
                return LOST, 5
            if n == 1 and how == "throttled":
                return answer(429, {"retry-after": "1800"}), 5
            return answer(201, id="g-1"), 5

        rig.script = said
        await rig.start()
        id = await rig.accepted()
        if how == "paused":
            await rig.seconds(0.5)
            await rig.engine.service.pause("gateway")
        await rig.seconds(1_500)
        assert await rig.state(id) == "processing"
        if how == "paused":
            await rig.engine.service.resume("gateway")
        await rig.seconds(600)
        message = await rig.message(id)
        assert (message.state, message.provider_message_id) == (State.SENT, "g-1")
        assert set(hosts) == {"https://gateway.example.com/send"}
        await rig.stop()

    rig.run(story)


def test_a_conflict_of_keys_is_no_refusal_and_the_price_of_the_second_time_counts(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(gateway(), rig.rules(reconcile_after_ms=1_000))]
        said: list[Outcome] = [
            LOST,
            answer(409, message="a request with this key is in progress"),
            answer(201, id="g", price="0.02 EUR"),
        ]
        rig.script = lambda request, n: (said[n], 5)
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(60)
        message = await rig.message(id)
        assert (message.state, message.provider_message_id, message.price) == (State.SENT, "g", "0.02 EUR")
        await rig.stop()

    rig.run(story)


def test_sent_again_it_uses_the_credentials_of_that_moment(rig: Rig) -> None:
    async def story() -> None:
        rules = rig.rules(reconcile_after_ms=1_000, pace=SLOW)
        rig.providers = [(gateway("old"), rules)]
        tokens: list[str] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            tokens.append(request.headers["Authorization"])
            return (LOST if n == 0 else answer(201, id="g-1")), 5

        rig.script = said
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(20)  # the second sending waits for its minute
        await rig.engine.reconfigure(replace(rig.plan(), settings=(setting(gateway("new"), rules),)))
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert tokens == ["Bearer old", "Bearer new"]
        await rig.stop()

    rig.run(story)


def test_what_is_throttled_goes_by_another_provider_as_what_comes_after_it_does(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        rig.carrier.answers = lambda name, form: answer(429, code=20429) if name == "alpha" else ACCEPTED
        await rig.start()
        first = await rig.accepted(ttl="1m")
        await rig.seconds(1)
        second = await rig.accepted(text="second")
        await rig.seconds(1)
        assert await rig.state(first) == await rig.state(second) == "sent"
        assert rig.carrier.names == ["alpha", "beta", "beta"]
        await rig.stop()

    rig.run(story)


def test_a_provider_without_a_sender_is_not_tried_in_a_circle(rig: Rig) -> None:
    async def story() -> None:
        rules = rig.rules(senders=(), halt_probe=True)
        rig.settings = (replace(setting(twilio(), rules), needs_sender=True),)
        rig.messages = MessageRules(sender="+15005550006")
        await rig.start()
        await rig.engine.service.pause("main")
        id = await rig.accepted()
        rig.messages = MessageRules()
        await rig.engine.reconfigure(rig.plan())
        await rig.engine.service.resume("main")
        await rig.seconds(3_600)
        message = await rig.message(id)
        assert (message.state, rig.carrier.sends) == (State.PENDING, [])
        assert message.attempt < 20
        health = rig.engine.lanes["main"].health
        assert health.halted is not None
        assert health.probe_at is not None
        assert health.probe_at >= rig.clock.wall()
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("by", ["restart", "reload"])
@pytest.mark.parametrize("of", ["the provider", "messages"])
def test_a_mended_sender_ends_the_halt_it_caused(rig: Rig, by: str, of: str) -> None:
    async def story() -> None:
        mine = ("+15005550006",) if of == "the provider" else ()
        rig.messages = MessageRules(sender="+15005550006")
        first = replace(setting(twilio(), rig.rules(senders=mine)), default_sender="+15005550006")
        rig.carrier.answers = lambda name, form: answer(400, code=21606) if form["From"] == "+15005550006" else ACCEPTED
        rig.settings = (first,)
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(5)
        assert await rig.waiting(id) == ("provider_halted", None)
        rig.messages = MessageRules(sender="+15005550007")
        mended = ("+15005550007",) if of == "the provider" else ()
        rig.settings = (replace(first, rules=rig.rules(senders=mended), default_sender="+15005550007"),)
        if by == "restart":
            await rig.stop()
            await rig.start()
        else:
            await rig.engine.reconfigure(rig.plan())
        await rig.seconds(10)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("policy", ["halt", "fail", "retry"])
def test_a_refusal_without_a_reason_never_fails_a_message(rig: Rig, policy: str) -> None:
    async def story() -> None:
        dialpad = Dialpad("main", api_key="key")
        rig.providers = [(dialpad, rig.rules(on_auth_failure=policy))]
        rig.script = lambda request, n: (answer(403), 5)
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(5)]
        await rig.seconds(3_600)
        assert {await rig.state(id) for id in ids} == {"pending"}
        assert [view.state.value for view in rig.engine.service.providers()] == ["halted"]
        await rig.stop()

    rig.run(story)


def test_a_call_that_costs_nothing_uses_nothing_up(rig: Rig) -> None:
    async def story() -> None:
        rig.profiles = {"once": RetryRules(max_attempts=1, jitter="none")}
        rig.providers = [(twilio("alpha"), rig.rules()), (twilio("beta"), rig.rules(profile="once"))]
        answers: list[Outcome] = [answer(503), REFUSED]
        rig.carrier.answers = lambda name, form: answers.pop(0) if answers else ACCEPTED
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(60)
        assert await rig.state(id) == "sent"
        assert rig.carrier.names == ["alpha", "beta", "alpha"]
        await rig.stop()

    rig.run(story)


def test_a_providers_profile_holds_after_a_doubt_too(rig: Rig) -> None:
    async def story() -> None:
        rig.profiles = {"once": RetryRules(max_attempts=1, jitter="none")}
        rig.providers = [(Dialpad("main", api_key="key"), rig.rules(profile="once"))]
        calls: list[int] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            calls.append(n)
            return LOST, 5

        rig.script = said
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(600)
        message = await rig.message(id)
        assert (message.state, len(calls)) == (State.FAILED, 1)
        await rig.stop()

    rig.run(story)


def test_the_budget_neither_holds_up_what_is_urgent_nor_lets_a_retry_expire(rig: Rig) -> None:
    async def story() -> None:
        rig.budget = 0.2
        rig.providers = [(twilio(), rig.rules(breaker=None))]
        until = rig.clock.wall() + 5_000
        rig.carrier.answers = lambda name, form: answer(503) if rig.clock.wall() < until else ACCEPTED
        await rig.start()
        bulk = [await rig.accepted(text=f"bulk {n}", priority="bulk") for n in range(400)]
        urgent = await rig.accepted(text="urgent", priority="high")
        short = await rig.accepted(text="short", ttl="20s")
        await rig.seconds(18)
        assert await rig.state(urgent) == await rig.state(short) == "sent"
        assert {await rig.state(id) for id in bulk} == {"pending", "sent"}
        await rig.seconds(300)
        assert {await rig.state(id) for id in bulk} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_retries_after_a_doubt_keep_to_the_budget(rig: Rig) -> None:
    async def story() -> None:
        rig.budget = 0.2
        rig.providers = [(Dialpad("main", api_key="key"), rig.rules(breaker=None))]
        starts: list[int] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            starts.append(rig.clock.wall() // 1_000)
            return (LOST if n < 300 else answer(200, id=str(n), message_status="pending")), 5

        rig.script = said
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(300)]
        await rig.seconds(200)
        assert {await rig.state(id) for id in ids} == {"sent"}
        assert max(Counter(starts[300:]).values()) <= 10
        await rig.stop()

    rig.run(story)


def test_a_proof_stops_an_attempt_that_waits_at_the_gate(rig: Rig) -> None:
    async def story() -> None:
        rig.retry = RetryRules(delays_ms=(1_000,), jitter="none")
        rig.providers = [(Dialpad("main", api_key="key"), rig.rules(pace=Pace((Window(100, 1_000_000),))))]
        rig.script = lambda request, n: (LOST, 5)
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(0.5)
        lane = rig.engine.lanes["main"]
        gate = lane.gate
        gate.pacer.fill(rig.clock.boot() + 60_000_000)  # its second attempt will wait at the gate, once claimed
        await rig.seconds(0.2)
        vars(lane)["room"] = lambda wanted, **asked: wanted  # claim it as if its slot were near
        await rig.seconds(10)
        assert gate.waiting == 1
        [received] = await rig.engine.service.receipts.take([Receipt("main", Status.SENT, "D1", id, 1)])
        assert received.proved
        await rig.seconds(120)
        assert await rig.state(id) == "sent"
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert Counter(each.outcome for each in attempts)["unknown"] == 1
        await rig.stop()

    rig.run(story)


def test_a_halted_provider_is_not_tried_while_it_cools_down(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(halt_probe=True))]
        rig.carrier.script = [answer(429, {"retry-after": "3600"}, code=20429), answer(401, code=20003)]
        await rig.start()
        for n in range(2):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(3_500)
        assert len(rig.carrier.sends) == 2
        await rig.seconds(200)
        assert len(rig.carrier.sends) > 2
        await rig.stop()

    rig.run(story)


def test_what_is_held_back_keeps_its_order(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(max_in_flight=1))]
        rig.carrier.script = [answer(429, code=21611)]
        await rig.start()
        for n in range(8):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(600)
        assert rig.carrier.bodies[1:] in (
            [f"text {n}" for n in (*range(1, 8), 0)],
            [f"text {n}" for n in range(8)],
        )
        await rig.stop()

    rig.run(story)


def test_a_wrong_sender_of_a_tenant_holds_up_that_tenant_alone(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(senders=()))]
        rig.messages = MessageRules(sender="+15005550006", tenants={"shop": TenantRules(senders=("+15005550001",))})
        rig.carrier.answers = lambda name, form: answer(400, code=21606) if form["From"] == "+15005550001" else ACCEPTED
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(20)]
        other = await rig.accepted(text="other", origin=Origin("bank"))
        await rig.seconds(60)
        assert {await rig.state(id) for id in ids} == {"pending"}
        assert await rig.state(other) == "sent"
        message = await rig.message(ids[0])
        assert message.error is not None
        assert message.error.category is Category.CONFIG_ERROR
        rig.carrier.answers = None
        await rig.seconds(1_300)
        assert {await rig.state(id) for id in ids} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_a_suppression_is_told_once(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.answers = lambda name, form: answer(400, code=21610, message="unsubscribed")
        await rig.start()
        for n in range(3):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(5)
        assert rig.kinds().count(Kind.SUPPRESSION_ADDED) == 1
        await rig.stop()

    rig.run(story)
