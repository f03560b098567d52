"""What does a provider's learnt rate become over hours of calls, reloads, restarts and an operator's word?

The whole engine in virtual time. How the rate moves is `tests/core/test_adaptive.py`; here is what it is fed with.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from itertools import pairwise

import pytest

from smsd.core.events import Kind
from smsd.core.pacing import Pace, Window
from smsd.engine.lane import Lane
from smsd.engine.setting import Setting
from smsd.providers.base import Outcome, Request, Response
from smsd.providers.dialpad import Dialpad
from tests.engine.rig import ACCEPTED, Rig, answer, twilio

SECOND = 1_000_000
MINUTE = 60 * SECOND
TOO_FAST = answer(429)


def per_minute(units: int, unit: str = "messages") -> Pace:
    return Pace((Window(units, MINUTE),), unit=unit)


def lane(rig: Rig) -> Lane:
    return rig.engine.lanes["main"]


async def fill(rig: Rig, count: int, text: str = "text") -> None:
    """A backlog."""
    for n in range(count):
        await rig.accepted(text=f"{text} {n}", ttl="3d")


def told(rig: Rig) -> list[object]:
    """The rates that were told, a minute."""
    return [event.fields["rate"] for event in rig.events if event.kind is Kind.PROVIDER_RATE_CHANGED]


# -- a provider that refuses everything --------------------------------------------------------------------------------


def test_after_an_hour_of_throttles_its_messages_go_out_within_minutes(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=per_minute(100)))]
        rig.carrier.answers = lambda name, fields: TOO_FAST
        await rig.start()
        await fill(rig, 300)
        await rig.seconds(3_600)
        assert lane(rig).rate_now() == 50
        rig.carrier.answers = None
        await rig.seconds(600)
        assert len(rig.carrier.taken) == 300
        assert 90 <= (lane(rig).rate_now() or 0) <= 95
        await rig.stop()

    rig.run(story)


async def taught(rig: Rig, **fields: object) -> None:
    """Started, and throttled once at 100 a minute."""
    rig.providers = [(twilio(), rig.rules(pace=per_minute(100), **fields))]
    rig.carrier.script = [TOO_FAST]
    await rig.start()
    await rig.accepted(ttl="3d")
    await rig.seconds(1)
    assert lane(rig).rate_now() == 50


def test_resume_ends_what_was_learnt_and_says_so(rig: Rig) -> None:
    async def story() -> None:
        await taught(rig)
        await lane(rig).resume("op")
        assert lane(rig).rate_now() == 100
        assert lane(rig).gate.learnt is None
        assert told(rig) == [50, 100]
        await rig.stop()
        await rig.start()
        assert lane(rig).rate_now() == 100
        await rig.stop()

    rig.run(story)


def test_adaptive_false_ends_what_was_learnt_also_for_later(rig: Rig) -> None:
    async def story() -> None:
        await taught(rig)
        [(provider, rules)] = rig.providers
        rig.providers = [(provider, replace(rules, adaptive=False))]
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == 100
        assert len(told(rig)) == 2
        rig.providers = [(provider, rules)]
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == 100
        await rig.stop()
        await rig.start()
        assert lane(rig).rate_now() == 100
        await rig.stop()

    rig.run(story)


def test_what_was_learnt_outlives_a_restart(rig: Rig) -> None:
    async def story() -> None:
        await taught(rig)
        await rig.stop()
        await rig.start()
        assert lane(rig).rate_now() == 50
        await rig.stop()

    rig.run(story)


FORBIDDEN = Response(403, {}, b'{"error": {"code": 403, "message": "Forbidden"}}')


def test_a_refusal_without_a_reason_teaches_once(rig: Rig) -> None:
    """Dialpad's 403 after a rest is likelier a key that may not send: until it halts the rate stays."""
    script: list[Response] = [Response(200, {}, json.dumps({"id": 1, "message_status": "pending"}).encode())]

    def said(request: Request, n: int) -> tuple[Outcome, int]:
        return script.pop(0) if script else FORBIDDEN, 5

    async def story() -> None:
        rig.script = said
        await rig.start()
        # Within less than an hour of each other, so that every rest lies within a span of the last throttle.
        rules = rig.rules(pace=Pace((Window(600, 3_600 * SECOND),)))
        setting = Setting("main", Dialpad("main", api_key="key"), rules)
        await rig.engine.reconfigure(replace(rig.plan(), settings=(setting,)))
        await fill(rig, 2)
        await rig.seconds(1_200)
        assert rig.kinds().count(Kind.PROVIDER_COOLDOWN) == 3
        assert Kind.PROVIDER_HALTED in rig.kinds()
        assert told(rig) == [5]
        await rig.stop()

    rig.run(story)


# -- what is counted, and beside which ceiling -------------------------------------------------------------------------


def test_segments_of_an_account_count_as_what_they_cost(rig: Rig) -> None:
    """Three segments each: 30 messages a minute use up the account's 90."""

    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=Pace(), account="acc"))]
        rig.accounts = {"acc": per_minute(90, "segments")}
        rig.carrier.script = [TOO_FAST]
        await rig.start()
        await fill(rig, 700, "x" * 450)
        await rig.seconds(400)
        assert 45 <= (lane(rig).rate_now() or 0) < 90
        await rig.seconds(3_600)
        assert lane(rig).rate_now() == pytest.approx(0.95 * 90, rel=0.1)
        assert lane(rig).experience.learnt == pytest.approx(0.95 * 90, rel=0.1)
        await rig.stop()

    rig.run(story)


def test_a_rate_learnt_beside_an_account_alone_holds_from_its_first_call(rig: Rig) -> None:
    """Each new step of the rate knows what was called before it: no call comes early because the rate has changed."""

    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=Pace(), account="acc", cooldown_ms=1_000))]
        rig.accounts = {"acc": per_minute(60)}
        rig.carrier.script = [TOO_FAST]
        await rig.start()
        await fill(rig, 200)
        await rig.seconds(200)
        at = [wall for wall, _ in rig.carrier.sends]
        assert lane(rig).experience.rate is not None
        # 57 a minute are 1,052 ms apart; the account alone would allow one every second.
        assert all(later - earlier >= 1_050 for earlier, later in pairwise(at[1:]))
        await rig.stop()

    rig.run(story)


CEILINGS = {
    "one window": (per_minute(100), None),
    "two windows": (Pace((Window(10, SECOND), Window(100, MINUTE))), None),
    "a quota beside it": (Pace((Window(100, MINUTE), Window(100_000, 86_400 * SECOND))), None),
    "a gap": (Pace((Window(1_000, MINUTE),), min_gap_us=600_000), None),
    "own above the account's": (per_minute(1_000), per_minute(100)),
}


@pytest.mark.parametrize("how", CEILINGS)
def test_the_tightest_ceiling_is_the_one_to_learn_beside(rig: Rig, how: str) -> None:
    """A carrier of 80 a minute below a ceiling of 100, however that is written, is known after one throttle."""
    own, account = CEILINGS[how]
    lately: deque[int] = deque()
    throttled: list[int] = []

    def said(name: str, fields: dict[str, str]) -> Outcome | str:
        now = rig.clock.wall()
        while lately and lately[0] <= now - 60_000:
            lately.popleft()
        if len(lately) >= 80:
            throttled.append(now)
            return TOO_FAST
        lately.append(now)
        return ACCEPTED

    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=own, account="" if account is None else "acc"))]
        rig.accounts = {} if account is None else {"acc": account}
        rig.carrier.answers = said
        await rig.start()
        await fill(rig, 1_200)
        await rig.seconds(900)
        # Calls that were under way when the first one was throttled are no further news.
        assert all(at - throttled[0] < 1_000 for at in throttled)
        assert 72 <= (lane(rig).experience.rate or 0) < 80
        await rig.stop()

    rig.run(story)


# -- reloads and restarts ----------------------------------------------------------------------------------------------


def test_a_reload_does_not_forget_what_was_accepted(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(), rig.rules(pace=per_minute(100), cooldown_ms=1_000))]
        await rig.start()
        await fill(rig, 400)
        await rig.seconds(90)
        rig.carrier.script = [TOO_FAST]
        await rig.seconds(62)
        first = lane(rig).rate_now() or 0
        assert first >= 85
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == first
        rig.carrier.script = [TOO_FAST]
        await rig.seconds(3)
        assert 0.75 * first <= (lane(rig).rate_now() or 0) < first
        await rig.stop()

    rig.run(story)


def test_another_unit_begins_anew(rig: Rig) -> None:
    async def story() -> None:
        await taught(rig)
        [(provider, rules)] = rig.providers
        rig.providers = [(provider, replace(rules, pace=per_minute(100, "segments")))]
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == 100
        assert lane(rig).health.rate is None
        await rig.stop()

    rig.run(story)


def test_what_was_learnt_beside_the_own_rate_counts_beside_the_accounts(rig: Rig) -> None:
    async def story() -> None:
        await taught(rig)
        [(provider, rules)] = rig.providers
        rig.providers = [(provider, replace(rules, pace=Pace(), account="acc"))]
        rig.accounts = {"acc": per_minute(80)}
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == 50
        rig.providers, rig.accounts = [(provider, rules)], {}
        await rig.engine.reconfigure(rig.plan())
        assert lane(rig).rate_now() == 50
        await rig.stop()

    rig.run(story)
