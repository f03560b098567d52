"""When does the daemon say that its backlog will be gone, and is it? The whole engine in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smsd.core.acceptance import Origin
from smsd.core.limits import Per, Rule
from smsd.core.message import Instant
from smsd.core.pacing import Pace, Window
from smsd.core.units import rfc3339
from smsd.store import Query
from tests.engine.rig import Rig, twilio

OTHER = Origin("other")


def window(limit: int, seconds: float) -> Window:
    return Window(limit, int(seconds * 1e6))


async def fill(rig: Rig, count: int, origin: Origin | None = None, **fields: object) -> list[str]:
    """So many messages, accepted in the order of the ids."""
    whose = {} if origin is None else {"origin": origin}
    return await asyncio.gather(*(rig.accepted(text=f"{place}", **whose, **fields) for place in range(count)))


async def watched(rig: Rig, every_s: float = 1.0) -> AsyncIterator[tuple[int, Instant | None, Instant]]:
    """(pending, ETA, now) again and again, until nothing waits."""
    while True:
        stats = await rig.engine.service.counting.stats()
        pending = sum(count for (state, _), count in stats.totals.states.items() if state.label == "pending")
        yield pending, stats.eta, rig.clock.wall()
        if pending == 0:
            return
        await rig.seconds(every_s)


async def told(rig: Rig, count: int) -> tuple[float, float]:
    """How far off the ETA is, as a part of what was left: at the start, and when half of the messages have gone."""
    first: tuple[Instant, Instant] | None = None
    middle: tuple[Instant, Instant] | None = None
    async for pending, eta, now in watched(rig):
        if pending and first is None:
            assert eta is not None
            first = (eta, now)
        if pending and pending <= count // 2 and middle is None:
            assert eta is not None
            middle = (eta, now)
    end = rig.carrier.sends[-1][0]
    assert first is not None
    assert middle is not None
    errors = tuple((eta - end) / (end - now) for eta, now in (first, middle))
    print(f"start: said {first[0] - first[1]} ms, was {end - first[1]} ms; ", end="")
    print(f"middle: said {middle[0] - middle[1]} ms, was {end - middle[1]} ms")
    return errors[0], errors[1]


@pytest.mark.parametrize(
    ("count", "pace", "rules"),
    [
        (2_000, Pace((window(150, 1),)), ()),
        (1_000, Pace((window(200, 1), window(500, 20))), ()),
        (1_000, Pace((window(500, 1),)), (Rule(Per.TENANT, 300, 5_000),)),
    ],
    ids=["150/s", "200/s and 500/20s", "a tenant's 300/5s"],
)
def test_the_end_of_a_backlog_is_told(tmp_path: Path, count: int, pace: Pace, rules: tuple[Rule, ...]) -> None:
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=pace))]
    rig.limits = rules

    async def story() -> None:
        await rig.start()
        await fill(rig, count)
        start, middle = await told(rig, count)
        assert abs(start) < 0.05
        assert abs(middle) < 0.05
        await rig.stop()

    rig.run(story)


async def eta(rig: Rig, id: str) -> float | None:
    """In how many seconds the message will go, as the service tells."""
    seen = await rig.engine.service.get(id, None)
    assert seen is not None
    return None if seen.eta is None else (seen.eta - rig.clock.wall()) / 1e3


def test_each_message_is_told_when_it_goes(tmp_path: Path) -> None:
    """Bulk of one tenant behind its limit; another tenant's pass it by; one is for later."""
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=Pace((window(50, 1),))))]
    rig.limits = (Rule(Per.TENANT, 20, 2_000, tenant="shop"),)

    async def story() -> None:
        await rig.start()
        slow = await fill(rig, 200, priority="bulk")
        quick = await fill(rig, 100, OTHER)
        late = await rig.accepted(text="late", origin=OTHER, send_at=rfc3339(rig.clock.wall() + 60_000))
        begun = rig.clock.wall()
        said = {id: await eta(rig, id) for id in (slow[50], slow[199], quick[40], quick[99], late)}
        assert said[late] == pytest.approx(60, abs=0.1)
        while await rig.state(late) == "pending":
            await rig.seconds(1)
        went = {fields["Body"]: (at - begun) / 1e3 for at, fields in rig.carrier.sends}
        assert went["late"] == pytest.approx(60, abs=0.1)
        sent = {id: ((await rig.message(id)).claimed_at or 0) - begun for id in said}
        for id, seconds in said.items():
            assert seconds == pytest.approx(sent[id] / 1e3, rel=0.1, abs=0.3)
        assert await eta(rig, slow[199]) is None  # it has gone
        await rig.stop()

    rig.run(story)


def test_nobody_knows_while_a_provider_is_paused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=Pace((window(10, 1),))))]

    async def story() -> None:
        await rig.start()
        service = rig.engine.service
        assert (await service.counting.stats()).eta is None
        await service.pause("main")
        (id,) = await fill(rig, 1)
        assert await eta(rig, id) is None
        assert (await service.counting.stats()).eta is None
        await service.resume("main")
        ids = await fill(rig, 50)
        await rig.seconds(1.1)  # a look serves for a second
        assert (await service.counting.stats()).eta is not None
        assert (await service.counting.stats("shop")).eta is None, "how many others wait is nobody's business"
        page = await service.page(Query(limit=10))
        assert [seen.eta for seen in page[0]] == [None] * 10, "too dear for many"
        assert await eta(rig, ids[49]) == pytest.approx(4, abs=0.5)
        await rig.stop()

    rig.run(story)


def test_an_unlimited_provider_is_known_by_its_calls(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.carrier.latency_ms = 100
    rig.providers = [(twilio(), Rig.rules(pace=Pace(), max_in_flight=10))]

    async def story() -> None:
        await rig.start()
        at = rfc3339(rig.clock.wall() + 10_000)
        later = await fill(rig, 300, send_at=at)
        assert await eta(rig, later[299]) is None, "it was never called"
        await rig.accepted()
        await rig.seconds(2)
        assert await eta(rig, later[299]) == pytest.approx(8 + 300 / 100, rel=0.1)
        await rig.stop()

    rig.run(story)


def test_one_that_has_just_come_is_known(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=Pace((window(10, 1),))))]

    async def story() -> None:
        await rig.start()
        assert (await rig.engine.service.counting.stats()).eta is None
        await rig.seconds(0.3)
        ids = await fill(rig, 20)
        assert await eta(rig, ids[19]) == pytest.approx(1.9, abs=0.1)
        await rig.stop()

    rig.run(story)


def test_a_message_of_next_month_blurs_nobody_elses_minute(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=Pace((window(25, 1),))))]

    async def story() -> None:
        await rig.start()
        month = rig.clock.wall() + 30 * 86_400_000
        far = await rig.accepted(send_at=rfc3339(month))
        soon = await rig.accepted(send_at=rfc3339(rig.clock.wall() + 90_000))
        ids = await fill(rig, 500)
        begun = rig.clock.wall()
        service = rig.engine.service
        assert (await service.counting.stats()).eta == month

        async def eta(id: str) -> float:
            seen = await service.get(id, None)
            assert seen is not None
            assert seen.eta is not None
            return (seen.eta - begun) / 1_000

        assert await eta(far) == (month - begun) / 1_000
        assert await eta(soon) == pytest.approx(90, abs=1)
        said = [await eta(ids[place]) for place in (100, 300, 499)]
        await rig.seconds(30)
        sent = [((await rig.message(ids[place])).sent_at or 0) - begun for place in (100, 300, 499)]
        assert said == pytest.approx([at / 1_000 for at in sent], rel=0.05, abs=0.2)
        await rig.stop()

    rig.run(story)


@pytest.mark.parametrize("per", [Per.RECIPIENT, Per.USER])
def test_what_a_person_has_had_is_known_before_the_claim(tmp_path: Path, per: Per) -> None:
    """The limit has no room until an hour after the first; the message itself still waits in the queue."""
    rig = Rig(tmp_path)
    rig.providers = [(twilio(), Rig.rules(pace=Pace((window(1, 10),))))]
    rig.limits = (Rule(per, 2, 3_600_000),)

    async def story() -> None:
        await rig.start()
        first = await rig.accepted(user="u")
        await rig.seconds(15)
        await rig.accepted(user="u", text="second")
        await rig.seconds(15)
        others = [await rig.accepted(to=f"+1415555{n:04d}", text="other") for n in range(3)]
        id = await rig.accepted(user="u", text="third")
        begun = (await rig.message(first)).claimed_at or 0
        seen, other = await rig.engine.service.get(id, None), await rig.engine.service.get(others[-1], None)
        assert seen is not None
        assert other is not None
        assert seen.message.held is None, "it was not claimed yet"
        assert other.eta is not None
        assert other.eta - rig.clock.wall() < 60_000, "a limit on another person holds nobody else up"
        assert seen.eta == pytest.approx(begun + 3_600_000, abs=100)
        await rig.seconds(3_700)
        assert (await rig.message(id)).sent_at == pytest.approx(seen.eta, abs=10_000)
        await rig.stop()

    rig.run(story)
