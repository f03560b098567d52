"""Do providers of one account keep its rate together, and does each get its turn?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest

from smsd.core.events import Kind
from smsd.core.pacing import Pace, Window
from smsd.providers.base import Outcome, Request, Response
from smsd.providers.dialpad import Dialpad
from smsd.providers.http import Http
from tests.engine.rig import ACCEPTED, LOST, REFUSED, Rig, answer, twilio

SECOND = 1_000
MINUTE = 60 * SECOND


def a_minute(limit: int, burst: int = 1) -> Pace:
    return Pace((Window(limit, MINUTE * 1_000),), burst=burst)


def two(rig: Rig, **fields: Any) -> None:
    """A first provider, alpha, and a second one, beta."""
    rig.providers = [(twilio(name), rig.rules(account="both", **fields)) for name in ("alpha", "beta")]


def most_in_a_minute(starts: Iterable[int]) -> int:
    every = list(starts)
    return max(len([each for each in every if at - MINUTE < each <= at]) for at in every)


def test_providers_of_one_account_share_its_rate(rig: Rig) -> None:
    async def story() -> None:
        two(rig)
        rig.accounts = {"both": Pace((Window(60, MINUTE * 1_000),))}
        await rig.start()
        for n in range(90):
            await rig.accepted(text=f"text {n}", provider=("alpha", "beta")[n % 2])
        await rig.seconds(30)
        id = await rig.accepted(text="late")
        assert (await rig.waiting(id))[0] == "account_limit"
        await rig.crash()
        await rig.start()
        await rig.seconds(120)
        starts = [at for at, _ in rig.carrier.sends]
        assert len(starts) == 91
        assert all(b - a >= 60 * SECOND for a, b in zip(starts, starts[60:], strict=False))
        assert len(set(rig.carrier.names[:20])) == 2
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["slower", "joined", "left", "begun", "disabled", "removed", "disabled, then slower"])
def test_an_accounts_rate_holds_over_a_reload(rig: Rig, how: str) -> None:
    """Whatever changes about it: in every minute from then on, what was started for the account before counts."""

    async def story() -> None:
        inside, outside = rig.rules(account="both"), rig.rules(pace=Pace((Window(1, SECOND * 1_000),)))
        alpha, beta = (twilio("alpha"), inside), (twilio("beta"), inside)
        rig.providers, rig.accounts = [alpha, beta], {"both": a_minute(60)}
        if how == "joined":
            rig.providers = [alpha, (beta[0], outside)]
        if how == "begun":
            rig.providers, rig.accounts = [(alpha[0], outside), (beta[0], outside)], {}
        await rig.start()
        for n in range(300):
            await rig.accepted(text=f"text {n}", provider=("alpha", "beta")[n % 2])
        await rig.seconds(45)
        limit = 30 if how == "slower" else 60
        before = len(rig.carrier.sends)
        rig.providers, rig.accounts = [alpha, beta], {"both": a_minute(limit)}
        if how == "left":
            rig.providers = [alpha, (beta[0], outside)]
        if how in ("disabled", "removed", "disabled, then slower"):
            rig.providers, rig.retired = [alpha], [beta] if how != "removed" else []
        await rig.engine.reconfigure(rig.plan())
        if how == "disabled, then slower":
            limit, rig.accounts = 30, {"both": a_minute(30)}
            await rig.engine.reconfigure(rig.plan())
        await rig.seconds(100)
        walls = [wall for wall, _ in rig.carrier.sends]
        others = [wall for wall, name in zip(walls, rig.carrier.names, strict=True) if name == "alpha" or how != "left"]
        later = [wall for wall in others if wall > walls[before - 1]]
        starts = walls[:before] + later
        assert len(later) > limit
        for wall in later:
            assert len([each for each in starts if wall - MINUTE < each <= wall]) <= limit
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("how", ["reload", "restart", "reload to another pace", "moved away"])
def test_what_a_member_called_before_it_went_counts(rig: Rig, how: str) -> None:
    async def story() -> None:
        two(rig, pace=Pace())
        rig.accounts = {"both": a_minute(60, burst=60)}
        await rig.start()
        for n in range(60):
            await rig.accepted(text=f"a {n}", provider="alpha")
        await rig.seconds(2)
        assert len(rig.carrier.sends) == 60
        alpha = rig.providers.pop(0)
        if how == "moved away":
            rig.providers.append((alpha[0], rig.rules()))
        else:
            rig.retired = [alpha]
        if how == "restart":
            await rig.stop()
            await rig.start()
        else:
            if how != "reload":
                rig.accounts = {"both": a_minute(50, burst=50)}
            await rig.engine.reconfigure(rig.plan())
        for n in range(60):
            await rig.accepted(text=f"b {n}", provider="beta")
        await rig.seconds(55)
        assert len(rig.carrier.sends) == 60
        await rig.seconds(10)
        assert len(rig.carrier.sends) > 100
        await rig.stop()

    rig.run(story)


def test_the_gate_of_a_disabled_provider_stays_in_its_accounts_line(rig: Rig) -> None:
    """Its calls under way still tell the account's ceiling, made anew or not, when they left."""

    async def story() -> None:
        two(rig)
        rig.accounts = {"both": a_minute(60)}
        await rig.start()
        rig.carrier.latency_ms = 5_000
        await rig.accepted(provider="alpha")
        await rig.seconds(1)
        alpha = rig.engine.lanes["alpha"]
        rig.retired = [rig.providers.pop(0)]
        rig.accounts = {"both": a_minute(50)}
        await rig.engine.reconfigure(rig.plan())
        assert alpha.gate.shared is rig.engine.lanes["beta"].gate.shared
        await rig.stop()

    rig.run(story)


def test_what_was_sent_again_by_its_key_just_before_a_crash_counts(rig: Rig) -> None:
    """Such a call is recorded when it is settled: of the last ones before a crash nobody knows."""

    async def story() -> None:
        fields = {"to": "{to}", "text": "{text}"}
        gateway = Http(
            "gateway",
            url="https://gateway.example.com/send",
            fields=fields,
            id_path="id",
            idempotency_header="Idempotency-Key",
        )
        rig.providers = [(gateway, rig.rules(reconcile_after_ms=1_000, account="both"))]
        rig.accounts = {"both": a_minute(2, burst=2)}
        starts: list[int] = []

        def said(request: Request, n: int) -> tuple[Outcome, int]:
            starts.append(rig.clock.wall())
            if len(starts) == 1:
                return LOST, 5
            return answer(201, id=f"id-{len(starts)}"), 5_000 if len(starts) == 2 else 5

        rig.script = said
        await rig.start()
        await rig.accepted()
        await rig.seconds(3)
        assert len(starts) == 2
        await rig.crash()
        await rig.start()
        for n in range(4):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(150)
        assert len(starts) > 4
        assert most_in_a_minute(starts) <= 2
        await rig.stop()

    rig.run(story)


# -- in turn ----------------------------------------------------------------------------------------------------------

NAMES = ("alpha", "beta", "gamma")


@pytest.mark.parametrize("limit", [1, 100])
def test_each_gets_its_turn_and_only_what_comes_next_is_claimed(rig: Rig, limit: int) -> None:
    async def story() -> None:
        rules = rig.rules(pace=Pace(), account="all", on_uncertain="hold")
        rig.providers = [(twilio(name), rules) for name in NAMES]
        rig.accounts = {"all": a_minute(limit)}
        await rig.start()
        count = 6 if limit == 1 else 60
        ids = [await rig.accepted(text=f"{name} {n}", provider=name) for name in NAMES for n in range(count)]
        for _ in range(count):
            await rig.seconds(30 / limit)
            under_way = [id for id in ids if await rig.state(id) == "processing"]
            assert len(under_way) <= 1
            await rig.seconds(31 / limit)
        names = rig.carrier.names
        assert len(names) >= count
        for turn in range(1, len(names) - 3, 3):
            assert set(names[turn : turn + 3]) == set(NAMES)
        await rig.crash()
        await rig.start()
        assert not [id for id in ids if await rig.state(id) == "failed"]
        await rig.stop()

    rig.run(story)


def test_one_with_a_slow_rate_of_its_own_has_its_turn_and_holds_nobody_up(rig: Rig) -> None:
    async def story() -> None:
        fast = rig.rules(pace=Pace(), account="all")
        slow = rig.rules(pace=Pace((Window(1, 7 * SECOND * 1_000),)), account="all")
        rig.providers = [(twilio("alpha"), fast), (twilio("beta"), slow)]
        rig.accounts = {"all": a_minute(60)}
        await rig.start()
        for name in ("alpha", "beta"):
            for n in range(150):
                await rig.accepted(text=f"{name} {n}", provider=name)
        await rig.seconds(120)
        made = Counter(rig.carrier.names)
        assert made.total() >= 118
        assert made["beta"] >= 14
        await rig.stop()

    rig.run(story)


def test_who_has_nothing_to_send_any_more_holds_no_place(rig: Rig) -> None:
    """A place in the line is kept for whoever asks; a paused one, and one whose messages were cancelled, do not ask."""

    async def story() -> None:
        rig.providers = [(twilio(name), rig.rules(pace=Pace(), account="all")) for name in NAMES]
        rig.accounts = {"all": a_minute(60)}
        await rig.start()
        ids = {name: [await rig.accepted(text=f"{name} {n}", provider=name) for n in range(90)] for name in NAMES}
        await rig.seconds(10)
        await rig.engine.service.pause("alpha", "a test", "somebody")
        for id in ids["beta"]:
            await rig.engine.service.cancel(id, None)
        before = len(rig.carrier.sends)
        await rig.seconds(30)
        assert set(rig.carrier.names[before + 1 :]) == {"gamma"}
        assert len(rig.carrier.sends) - before >= 29
        await rig.stop()

    rig.run(story)


def test_a_rapid_account_is_used_to_the_full_and_shared_equally(rig: Rig) -> None:
    async def story() -> None:
        rig.providers = [(twilio(name), rig.rules(pace=Pace(), account="all", max_in_flight=500)) for name in NAMES]
        rig.accounts = {"all": Pace((Window(300, 1_000_000),))}
        await rig.start()
        for n in range(1_500):
            await rig.accepted(text=f"text {n}", provider=NAMES[n % 3])
        before = len(rig.carrier.sends)
        await rig.seconds(3)
        made = Counter(rig.carrier.names[before:])
        assert made.total() >= 0.98 * 900
        assert max(made.values()) - min(made.values()) <= 0.05 * made.total()
        await rig.stop()

    rig.run(story)


def test_a_probe_takes_the_accounts_next_slot(rig: Rig) -> None:
    """Where there is but one a minute, the message that tries the broken provider takes the one it was given."""

    async def story() -> None:
        two(rig, pace=Pace())
        rig.accounts = {"both": a_minute(60, burst=60)}
        dead = True
        rig.carrier.answers = lambda name, form: REFUSED if name == "alpha" and dead else ACCEPTED
        await rig.start()
        for n in range(40):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(20)
        assert Kind.PROVIDER_BREAKER_OPENED in rig.kinds()
        rig.accounts = {"both": a_minute(1)}
        await rig.engine.reconfigure(rig.plan())
        dead = False
        for n in range(10):
            await rig.accepted(text=f"late {n}")
        await rig.seconds(240)
        assert Kind.PROVIDER_BREAKER_CLOSED in rig.kinds()
        gaps = [b - a for (a, _), (b, _) in pairwise(rig.carrier.sends[-2:])]
        assert min(gaps) >= MINUTE
        await rig.stop()

    rig.run(story)


def test_how_busy_a_provider_is_shows_in_its_accounts_rate_too(rig: Rig) -> None:
    """A refusal without a reason in the middle of a full minute means "too fast", not "not allowed"."""

    async def story() -> None:
        dialpad = Dialpad("main", api_key="key")
        rig.providers = [(dialpad, rig.rules(pace=Pace(), account="both"))]
        rig.accounts = {"both": a_minute(10, burst=10)}
        forbidden = Response(403, {}, b'{"error": {"code": 403, "message": "Forbidden"}}')
        rig.script = lambda request, n: (forbidden, 1_000)
        await rig.start()
        for n in range(10):
            await rig.accepted(text=f"text {n}")
        await rig.seconds(5)
        assert rig.kinds().count(Kind.PROVIDER_COOLDOWN) == 1
        assert Kind.PROVIDER_HALTED not in rig.kinds()
        await rig.stop()

    rig.run(story)
