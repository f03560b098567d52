"""What a carrier's answer means, and what follows, through the whole engine in virtual time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from smsd.core.breaker import BreakerRules
from smsd.core.codes import CodeBook, CodeRule
from smsd.core.events import Kind
from smsd.core.message import State
from smsd.core.pacing import Pace, Window
from smsd.core.receipt import Receipt, Status
from smsd.core.retry import RetryRules
from smsd.core.routing import RoutingRules
from smsd.core.verdict import Category
from smsd.providers.base import Outcome, Request
from smsd.providers.http import Http
from tests.engine.rig import ACCEPTED, LOST, REFUSED, Rig, answer, twilio

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

Answers = Callable[[str, dict[str, str]], "Outcome | str"]


def two(rig: Rig, **fields: object) -> None:
    """A first provider, alpha, and a second one, beta."""
    rig.providers = [(twilio("alpha"), rig.rules(**fields)), (twilio("beta"), rig.rules(**fields))]


def from_sender(sender: str, said: Outcome) -> Answers:
    return lambda name, form: said if form["From"] == sender else ACCEPTED


# -- breaker ----------------------------------------------------------------------------------------------------------


def test_an_outage_opens_the_breaker_and_spends_no_attempts(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.answers = lambda name, form: REFUSED
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(40)]
        await rig.seconds(20)
        assert Kind.PROVIDER_BREAKER_OPENED in rig.kinds()
        spent = len(rig.carrier.sends)
        reason, until = await rig.waiting(ids[-1])
        assert reason == "breaker_open"
        assert until is not None
        await rig.seconds(3_600)
        probes = [at for at, _ in rig.carrier.sends[spent:]]
        assert 115 <= len(probes) <= 121
        assert min(b - a for a, b in pairwise(probes)) >= 29 * SECOND
        assert {(await rig.message(id)).charged for id in ids} == {0}
        rig.carrier.answers = None
        await rig.seconds(40)
        assert Kind.PROVIDER_BREAKER_CLOSED in rig.kinds()
        await rig.seconds(300)
        assert {await rig.state(id) for id in ids} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_a_broken_provider_stays_so_over_a_restart_and_is_probed_in_its_time(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.answers = lambda name, form: REFUSED
        await rig.start()
        for n in range(40):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(20)
        calls = len(rig.carrier.sends)
        await rig.crash()
        await rig.start()
        assert [view.state.value for view in rig.engine.service.providers()] == ["broken"]
        await rig.seconds(5)
        assert len(rig.carrier.sends) == calls
        await rig.seconds(31)
        assert len(rig.carrier.sends) == calls + 1
        await rig.stop()

    rig.run(story)


def test_while_one_provider_is_out_the_other_carries_and_only_probes_go_to_the_dead_one(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        dead_until = rig.clock.wall() + HOUR
        rig.carrier.answers = lambda name, form: (
            REFUSED if name == "alpha" and rig.clock.wall() < dead_until else ACCEPTED
        )
        await rig.start()
        ids: list[str] = []
        while rig.clock.wall() < dead_until + 10 * MINUTE:
            ids += [await rig.accepted(text=f"text {len(ids)}")]
            await rig.seconds(5)
        await rig.seconds(5)
        assert {await rig.state(id) for id in ids} == {"sent"}
        dead = [at for (at, _), name in zip(rig.carrier.sends, rig.carrier.names, strict=True) if name == "alpha"]
        out = [at for at in dead if at < dead_until]
        broken = next(event.at for event in rig.events if event.kind is Kind.PROVIDER_BREAKER_OPENED)
        probes = [at for at in out if at > broken]
        assert len(probes) > 100
        assert min(b - a for a, b in pairwise(probes)) >= 29 * SECOND
        assert len(dead) - len(out) >= 115  # back again: a message each 5 s in its ten minutes
        assert Counter(rig.carrier.names)["beta"] >= 700
        await rig.stop()

    rig.run(story)


def test_after_an_outage_the_backlog_is_paced_and_begins_gently_and_what_is_too_old_is_not_sent(rig: Rig) -> None:
    async def story() -> None:
        rules = rig.rules(pace=Pace((Window(60, MINUTE * 1_000),)))
        rig.providers = [(twilio(), rules)]
        rig.carrier.latency_ms = 3_000
        rig.carrier.answers = lambda name, form: REFUSED
        await rig.start()
        old = [await rig.accepted(text=f"old {n}", ttl="20m") for n in range(30)]
        new = [await rig.accepted(text=f"new {n}") for n in range(200)]
        await rig.seconds(1_800)
        rig.carrier.answers = None
        calls = len(rig.carrier.sends)
        await rig.seconds(900)
        assert {await rig.state(id) for id in old} == {"expired"}
        assert {await rig.state(id) for id in new} == {"sent"}
        flush = [at for at, _ in rig.carrier.sends[calls:]]
        assert all(b - a >= 60 * SECOND for a, b in zip(flush, flush[60:], strict=False))
        assert flush[1] - flush[0] >= 3_000  # one call first
        assert not any("old" in form["Body"] for _, form in rig.carrier.sends[calls:])
        await rig.stop()

    rig.run(story)


# -- failover ---------------------------------------------------------------------------------------------------------


def test_what_was_surely_not_taken_goes_by_the_next_provider_at_once(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        rig.carrier.answers = lambda name, form: REFUSED if name == "alpha" else ACCEPTED
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(1)
        assert await rig.state(id) == "sent"
        assert rig.carrier.names == ["alpha", "beta"]
        message = await rig.message(id)
        assert (message.provider, message.route, message.attempt) == ("beta", "beta,alpha", 2)
        await rig.stop()

    rig.run(story)


def test_what_may_have_been_taken_never_goes_by_another_provider(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        rig.carrier.script = [LOST]
        rig.carrier.look_up = lambda request: answer(500, message="down")
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(300)
        assert await rig.state(id) == "processing"
        assert rig.carrier.names == ["alpha"]
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["pinned", "never"])
def test_one_provider_only(rig: Rig, how: str) -> None:
    async def story() -> None:
        two(rig)
        pin = "alpha" if how == "pinned" else None
        if how == "never":
            rig.routing = RoutingRules(failover_after_ms=None)
        rig.carrier.answers = lambda name, form: REFUSED if name == "alpha" else ACCEPTED
        await rig.start()
        id = await rig.accepted(provider=pin)
        await rig.seconds(3_600)
        assert set(rig.carrier.names) == {"alpha"}
        assert await rig.state(id) == "pending"
        rig.carrier.answers = None
        await rig.seconds(400)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


# -- whose fault it is ------------------------------------------------------------------------------------------------


def test_a_sender_that_is_too_fast_waits_alone(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(senders=("+15005550006", "+15005550010"), max_in_flight=2))]
        rig.carrier.answers = from_sender("+15005550006", answer(429, code=21611, message="queue full"))
        await rig.start()
        ids = [await rig.accepted(text=f"slow {n}", from_="+15005550006") for n in range(20)]
        await rig.seconds(5)
        others = [await rig.accepted(text=f"fast {n}", from_="+15005550010") for n in range(20)]
        await rig.seconds(5)
        assert {await rig.state(id) for id in others} == {"sent"}
        slow = [form for _, form in rig.carrier.sends if form["From"] == "+15005550006"]
        assert len(slow) <= 2
        message = await rig.message(ids[-1])
        assert (message.state, message.charged) == (State.PENDING, 0)
        assert (await rig.waiting(ids[-1]))[0] == "retry"
        rig.carrier.answers = None
        await rig.seconds(400)
        assert {await rig.state(id) for id in ids} == {"sent"}
        assert [view.state.value for view in rig.engine.service.providers()] == ["open"]
        await rig.stop()

    rig.run(story)


def test_a_pair_that_is_too_fast_waits_alone(rig: Rig) -> None:
    async def story() -> None:
        hot = "+14155550199"
        throttle = answer(429, code=14107, message="loop")
        rig.carrier.answers = lambda name, form: throttle if form["To"] == hot else ACCEPTED
        await rig.start()
        id = await rig.accepted(to=hot)
        await rig.seconds(1)
        again = await rig.accepted(to=hot, text="again")
        other = await rig.accepted(text="other")
        await rig.seconds(1)
        assert (await rig.state(other), await rig.state(again)) == ("sent", "pending")
        assert [form["To"] for _, form in rig.carrier.sends].count(hot) == 1
        rig.carrier.answers = None
        await rig.seconds(60)
        assert await rig.state(id) == await rig.state(again) == "sent"
        await rig.stop()

    rig.run(story)


def test_an_opt_out_fails_at_once_and_suppresses(rig: Rig) -> None:
    async def story() -> None:
        gone = "+14155550198"
        rig.carrier.answers = lambda name, form: (
            answer(400, code=21610, message="unsubscribed") if form["To"] == gone else ACCEPTED
        )
        await rig.start()
        first = await rig.accepted(to=gone)
        scheduled = await rig.accepted(to=gone, text="later", send_at=_in(rig, 86_400), ttl="1d")
        await rig.seconds(1)
        message = await rig.message(first)
        assert (message.state, message.error and message.error.category) == (State.FAILED, Category.OPTED_OUT)
        assert Kind.SUPPRESSION_ADDED in rig.kinds()
        assert await rig.refused(to=gone, text="new") == "recipient_suppressed"
        assert (await rig.submit()).__class__.__name__ == "Accepted"
        kept = await rig.engine.service.suppressions_of(gone)
        assert [(each.scope, each.code) for each in kept] == [("main", "21610")]
        assert await rig.state(scheduled) == "pending"
        await rig.stop()
        await rig.start()
        assert await rig.refused(to=gone, text="newer") == "recipient_suppressed"
        await rig.stop()

    rig.run(story)


def test_what_waited_when_its_recipient_opted_out_fails_in_the_claim(rig: Rig) -> None:
    async def story() -> None:
        gone = "+14155550198"
        rig.carrier.script = [answer(400, code=21610, message="unsubscribed")]
        await rig.start()
        waiting = await rig.accepted(to=gone, text="later", send_at=_in(rig, 10), ttl="1d")
        await rig.accepted(to=gone, text="first")
        await rig.seconds(15)
        message = await rig.message(waiting)
        assert (message.state, message.error and message.error.category) == (State.FAILED, Category.OPTED_OUT)
        assert len(rig.carrier.sends) == 1
        await rig.stop()

    rig.run(story)


def _in(rig: Rig, seconds: int) -> str:
    from smsd.core.units import rfc3339

    return rfc3339(rig.clock.wall() + seconds * SECOND)


def test_an_opt_out_at_one_provider_leaves_the_other(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        gone = "+14155550198"
        rig.carrier.script = [answer(400, code=21610, message="unsubscribed")]
        await rig.start()
        waiting = await rig.accepted(to=gone, text="later", send_at=_in(rig, 10), ttl="1d")
        await rig.accepted(to=gone, text="first")
        await rig.seconds(15)
        message = await rig.message(waiting)
        assert (message.state, message.provider, message.route) == (State.SENT, "beta", "beta")
        assert rig.carrier.names == ["alpha", "beta"]
        assert await rig.refused(to=gone, provider="alpha") == "recipient_suppressed"
        await rig.stop()

    rig.run(story)


# -- our set-up is wrong: the backlog is intact -----------------------------------------------------------------------

WRONG = {
    "wrong base_url": answer(404),
    "revoked token": answer(401, code=20003, message="Authenticate"),
    "unknown sender": answer(400, code=21606, message="not yours"),
}


@pytest.mark.parametrize("said", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_of_ours_never_fails_a_backlog(rig: Rig, said: Outcome) -> None:
    async def story() -> None:
        rig.carrier.answers = lambda name, form: said
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(100)]
        await rig.seconds(7_200)
        assert {await rig.state(id) for id in ids} == {"pending"}
        assert (await rig.waiting(ids[0])) == ("provider_halted", None)
        assert Kind.PROVIDER_HALTED in rig.kinds()
        assert len(rig.carrier.sends) <= 64
        await rig.stop()
        rig.carrier.answers = None
        senders = ("+15005550007",) if said is WRONG["unknown sender"] else ("+15005550006",)
        rig.providers = [(twilio(token="mended"), rig.rules(senders=senders))]
        await rig.start()
        await rig.seconds(60)
        assert {await rig.state(id) for id in ids} == {"sent"}
        await rig.stop()

    rig.run(story)


def test_a_sender_that_the_caller_named_fails_that_message_alone(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(senders=()))]
        rig.carrier.answers = from_sender("+15005550001", answer(400, code=21606, message="not yours"))
        await rig.start()
        wrong = await rig.accepted(from_="+15005550001")
        right = await rig.accepted(from_="+15005550006")
        await rig.seconds(1)
        message = await rig.message(wrong)
        assert (message.state, message.error and message.error.category) == (State.FAILED, Category.CONFIG_ERROR)
        assert await rig.state(right) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_halt_is_tried_again_by_itself_only_where_that_is_wanted(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(halt_probe=True))]
        revoked_until = rig.clock.wall() + 25 * MINUTE
        rig.carrier.answers = lambda name, form: (
            WRONG["revoked token"] if rig.clock.wall() < revoked_until else ACCEPTED
        )
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(3)]
        await rig.seconds(5)
        calls = len(rig.carrier.sends)
        await rig.seconds(24 * 60)
        assert len(rig.carrier.sends) == calls + 2
        assert {(await rig.message(id)).charged for id in ids} == {0}
        await rig.seconds(10 * 60)
        assert {await rig.state(id) for id in ids} == {"sent"}
        assert Kind.PROVIDER_RESUMED in rig.kinds()
        await rig.stop()

    rig.run(story)


# -- the operator's word ----------------------------------------------------------------------------------------------


def _codes(rig: Rig, **codes: CodeRule) -> None:
    book = CodeBook(codes={code.lstrip("_"): rule for code, rule in codes.items()})
    provider, rules = rig.providers[0]
    rig.providers = [(provider, replace(rules, codes=book))]


def test_a_code_is_retried_as_the_operator_says(rig: Rig) -> None:
    async def story() -> None:
        _codes(rig, _21614=CodeRule("retry", None, 3, (60_000, 120_000)))
        rig.carrier.answers = lambda name, form: answer(400, code=21614, message="not a mobile")
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(600)
        starts = [at for at, _ in rig.carrier.sends]
        assert [round((b - a) / SECOND) for a, b in pairwise(starts)] == [60, 120]
        message = await rig.message(id)
        assert message.error is not None
        assert (message.error.category, message.error.cause, message.error.code) == (
            Category.EXHAUSTED,
            Category.PROVIDER_ERROR,
            "21614",
        )
        await rig.stop()

    rig.run(story)


def test_a_code_halts_suppresses_or_throttles_as_the_operator_says(rig: Rig) -> None:
    async def story() -> None:
        _codes(rig, _30007=CodeRule("suppress"), _21408=CodeRule("throttle", None, None, (7_000,)))
        gone = "+14155550198"
        rig.carrier.script = [answer(400, code=30007, message="filtered"), answer(400, code=21408, message="geo")]
        await rig.start()
        await rig.accepted(to=gone)
        await rig.seconds(1)
        assert await rig.refused(to=gone) == "recipient_suppressed"
        id = await rig.accepted(text="next")
        await rig.seconds(1)
        assert (await rig.waiting(id))[0] in {"retry", "provider_cooldown"}
        await rig.seconds(9)
        assert await rig.state(id) == "sent"
        await rig.stop()

    rig.run(story)


def test_a_provider_has_its_own_retry_profile(rig: Rig) -> None:
    async def story() -> None:
        rig.profiles = {"slow": RetryRules(max_attempts=2, delays_ms=(40_000,), jitter="none")}
        rig.providers = [(twilio(), rig.rules(profile="slow"))]
        rig.carrier.answers = lambda name, form: answer(503)
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(200)
        starts = [at for at, _ in rig.carrier.sends]
        assert [round((b - a) / SECOND) for a, b in pairwise(starts)] == [40]
        assert await rig.state(id) == "failed"
        await rig.stop()

    rig.run(story)


def test_retries_keep_to_their_share_of_the_calls(rig: Rig) -> None:
    async def story() -> None:
        rig.budget = 0.2
        rig.providers = [(twilio(), rig.rules(breaker=None))]
        seen: set[str] = set()

        def once(name: str, form: dict[str, str]) -> Outcome | str:
            first = form["Body"] not in seen
            seen.add(form["Body"])
            return answer(503) if first else ACCEPTED

        rig.carrier.answers = once
        await rig.start()
        ids = [await rig.accepted(text=f"text {n}") for n in range(200)]
        await rig.seconds(120)
        again = [at // SECOND for (at, form), n in zip(rig.carrier.sends, range(10**6), strict=False) if n >= 200]
        assert {await rig.state(id) for id in ids} == {"sent"}
        assert len(again) == 200
        assert max(Counter(again).values()) <= 8  # 5 a second, or a fifth of the 200 calls of the ten seconds before
        await rig.stop()

    rig.run(story)


# -- uncertain --------------------------------------------------------------------------------------------------------


def test_a_message_that_brings_the_daemon_down_three_times_is_held(rig: Rig) -> None:
    async def story() -> None:
        rig.carrier.latency_ms = 5_000
        await rig.start()
        id = await rig.accepted()
        for _ in range(3):
            for _ in range(200):
                message = await rig.message(id)
                if message.state is State.PROCESSING and not message.uncertain:
                    break
                await rig.seconds(0.5)
            await rig.crash()
            rig.carrier.taken.clear()
            await rig.start()
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert message.error.category is Category.UNCERTAIN
        assert Kind.MESSAGE_FAILED in rig.kinds()
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("when", ["in doubt", "held", "waiting for its retry"])
def test_a_receipt_proves_what_nobody_knew(rig: Rig, when: str) -> None:
    async def story() -> None:
        rules = rig.rules(on_uncertain="hold" if when == "held" else "retry", reconcile_after_ms=1_000)
        rig.providers = [(twilio(), rules)]
        rig.retry = RetryRules(delays_ms=(600_000,), jitter="none")
        rig.carrier.script = [LOST]
        if when == "in doubt":
            rig.carrier.look_up = lambda request: answer(500)
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(2 if when == "in doubt" else 60)
        expected = {"in doubt": "processing", "held": "failed", "waiting for its retry": "pending"}[when]
        assert await rig.state(id) == expected
        for proved in (True, False):
            receipt = Receipt("main", Status.SENT, "SM" + "9" * 32, id, 1)
            [received] = await rig.engine.service.receipts.take([receipt])
            assert received.proved is proved
        await rig.seconds(1_000)
        message = await rig.message(id)
        assert (message.state, message.provider_message_id) == (State.SENT, "SM" + "9" * 32)
        assert len(rig.carrier.sends) == 1
        assert rig.engine.tally.backlog == 0
        await rig.stop()

    rig.run(story)


def test_a_breaker_may_be_switched_off(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(breaker=None))]
        rig.carrier.answers = lambda name, form: REFUSED
        await rig.start()
        for n in range(40):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(100)
        assert len(rig.carrier.sends) > 120
        assert Kind.PROVIDER_BREAKER_OPENED not in rig.kinds()
        assert BreakerRules().min_calls == 10
        await rig.stop()

    rig.run(story)


# -- a provider that knows a key again --------------------------------------------------------------------------------


def keyed(rig: Rig, **fields: object) -> dict[str, str]:
    """A provider whose idempotency key is all it can be asked by; what it has taken, by key."""
    gateway = Http(
        "gateway",
        url="https://gateway.example.com/send",
        fields={"to": "{to}", "text": "{text}", "from": "{from}"},
        id_path="id",
        idempotency_header="Idempotency-Key",
        error_code_path="code",
        errors=[
            {"code": "bad_number", "category": "INVALID_RECIPIENT"},
            {"code": "bad_sender", "category": "CONFIG_ERROR", "scope": "sender"},
        ],
    )
    rig.providers = [(gateway, rig.rules(reconcile_after_ms=1_000, **fields))]
    return {}


def test_in_doubt_the_same_bytes_go_again_with_the_same_key(rig: Rig) -> None:
    async def story() -> None:
        taken = keyed(rig)
        seen: list[tuple[str, bytes]] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            key = request.headers["Idempotency-Key"]
            seen.append((key, request.body))
            taken.setdefault(key, f"id-{len(taken)}")
            return (LOST if len(seen) <= 3 else answer(201, id=taken[key])), 5

        rig.script = said
        await rig.start()
        id = await rig.accepted()
        await rig.seconds(2)
        assert (await rig.waiting(id))[0] == "uncertain"
        await rig.seconds(60)
        message = await rig.message(id)
        assert (message.state, message.provider_message_id, message.attempt) == (State.SENT, "id-0", 1)
        assert len(set(seen)) == 1
        assert len(seen) == 4
        attempts = await rig.engine.service.attempts(id, None)
        assert attempts is not None
        assert [(each.n, each.outcome) for each in attempts] == [(1, "unknown")] * 3 + [(1, "accepted")]
        await rig.stop()

    rig.run(story)


REFUSALS = {"refused": "bad_number", "refused for its sender": "bad_sender"}


@pytest.mark.parametrize("end", [*REFUSALS, "past its end of life", "nobody knows the key any more"])
def test_in_doubt_with_a_key_it_is_never_sent_as_another_message(rig: Rig, end: str) -> None:
    async def story() -> None:
        keyed(rig, on_uncertain="hold", reconcile_timeout_ms=60_000)
        keys: set[str] = set()

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            keys.add(request.headers["Idempotency-Key"])
            return (answer(400, code=REFUSALS[end]) if end in REFUSALS and n > 0 else LOST), 5

        rig.script = said
        await rig.start()
        id = await rig.accepted(ttl="20s" if end == "past its end of life" else "3d", from_="+15005550006")
        await rig.seconds(600)
        if end == "nobody knows the key any more":
            assert await rig.state(id) == "processing"  # the same bytes again can never double
            await rig.seconds(23 * 3_600)
        message = await rig.message(id)
        assert message.state is State.FAILED
        assert message.error is not None
        assert message.error.category is (Category.INVALID_RECIPIENT if end == "refused" else Category.UNCERTAIN)
        assert len(keys) == 1
        await rig.stop()

    rig.run(story)
