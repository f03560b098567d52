"""Does a plan come true? Rows are planned, then handed in and sent; the whole engine in virtual time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from smsd.core.acceptance import Origin
from smsd.core.campaign import Hours, Move, Terms
from smsd.core.limits import Action, Per, Rule
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.suppression import EVERY, Suppression
from smsd.core.units import rfc3339
from smsd.engine import planning
from smsd.engine.planning import EACH, GIVES_WAY_S, IDLE_S, GoneError, Outcome, TooManyError
from smsd.wire import Submission, content_hash
from tests.engine.rig import SHOP, Rig, twilio

HOUR = 3_600_000
BEGIN = 1_790_000_000_000
"""Where the rig's clock begins, or somewhat after: 13:33:20 UTC."""
LATER = rfc3339(BEGIN + 200_000)
OTHER = Origin("other")
ID = "spring"


def number(place: int) -> str:
    return f"+1415{2_000_000 + place}"


def rows(count: int, repeats: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """So many, each number `repeats` times, next to each other."""
    return [
        {"to": number(place // repeats), "text": f"{place}", "campaign": ID, "priority": "bulk", **fields}
        for place in range(count)
    ]


async def plan(rig: Rig, some: Sequence[dict[str, Any]], terms: Terms | None = None, origin: Origin = SHOP) -> Outcome:
    opened = rig.engine.office.planning.open(origin, campaign=ID, terms=terms)
    for place, fields in enumerate(some):
        submission = Submission(**fields)
        await opened.add(place, submission, content_hash(submission) if submission.idempotency_key else None)
    return await opened.end()


async def hand_in(rig: Rig, some: Sequence[dict[str, Any]], terms: Terms | None = None) -> None:
    if terms is not None:
        await rig.store.desk.campaigns.make(SHOP.tenant, ID, terms, rig.clock.wall())
    for fields in some:
        await rig.accepted(**fields)


async def sent(rig: Rig, tenant: str = SHOP.tenant, most_s: float = 200_000.0) -> int:
    """When the last of the plan's rows went (wall time, ms)."""
    step = most_s / 2_000
    for _ in range(2_100):
        if not any(each.tenant == tenant and each.pending for each in await rig.store.lines(10, rig.clock.wall())):
            break
        await rig.seconds(step)
    return max(at for at, fields in rig.carrier.sends if fields["Body"].isdecimal())


def counts(rig: Rig) -> dict[str, int]:
    """Rows of every table."""
    with closing(sqlite3.connect(f"file:{rig.path}?mode=ro", uri=True)) as db:
        names = [
            name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'meta'")
        ]
        return {name: db.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in names}


async def came_true(
    rig: Rig, some: Sequence[dict[str, Any]], terms: Terms | None = None, most_s: float = 600.0
) -> tuple[Outcome, float]:
    """The plan, and by which part of the real time it was wrong."""
    before, ids = counts(rig), rig._ids
    said = await plan(rig, some, terms)
    assert counts(rig) == before, "a plan stores nothing"
    assert rig._ids == ids, "a plan uses no id"
    begin = rig.clock.wall()
    await hand_in(rig, some, terms)
    end = await sent(rig, most_s=most_s)
    assert said.finishes_at is not None
    assert said.decided_by is not None
    took, told = end - begin, said.finishes_at - begin
    print(f"\n{said.decided_by}: said {told / 1e3:.1f} s, took {took / 1e3:.1f} s ({(told - took) / took:+.2%})")
    return said, (told - took) / took


def per_second(count: int, burst: int = 1) -> Pace:
    return Pace((Window(count, 1_000_000),), burst=burst)


Case = tuple[str, dict[str, Any], list[dict[str, Any]], Terms | None, float]

CASES: dict[str, Case] = {
    "the provider's rate": ("provider_rate", {"pace": per_second(100, burst=50)}, rows(2_000), None, 60),
    "the campaign's rate": ("campaign_limit", {"pace": per_second(500)}, rows(400), Terms(rate=(50, 10_000)), 200),
    "its places": (
        "latency", {"pace": per_second(1_000), "max_in_flight": 4, "latency_ms": 100}, rows(500), None, 60,
    ),
    "a tenant's limit": (
        "tenant_limit", {"pace": per_second(500), "limits": (Rule(Per.TENANT, 50, 5_000),)}, rows(400), None, 120,
    ),
    "a recipient's limit": (
        "recipient_limit",
        {"pace": per_second(200), "limits": (Rule(Per.RECIPIENT, 1, 60_000),)},
        rows(400, repeats=4), None, 400,
    ),
    "a user's limit": (
        "user_limit",
        {"pace": per_second(200), "limits": (Rule(Per.USER, 3, 20_000),)},
        [{**row, "user": f"u{place % 40}"} for place, row in enumerate(rows(400))], None, 400,
    ),
    "the hours of the campaign": (
        "send_between", {"pace": Pace((Window(1, 60_000_000),))}, rows(150),
        Terms(hours=Hours(13 * 60, 15 * 60, "UTC")), 400_000,
    ),
    "quiet hours": (
        "quiet_hours",
        # Of New York, and the first row's clock reads 09:33.
        {"pace": Pace((Window(1, 60_000_000),)), "quiet": QuietHours(11 * 60, 9 * 60)},
        [{**row, "to": f"+1212555{2_000 + place:04d}"} for place, row in enumerate(rows(150))], None, 400_000,
    ),
    "a later time": (
        "send_at", {"pace": per_second(100)},
        [{**row, "send_at": LATER} if place % 2 else row for place, row in enumerate(rows(400))], None, 400,
    ),
}  # fmt: skip


def prepared(tmp_path: Path, given: dict[str, Any]) -> Rig:
    rig, given = Rig(tmp_path), dict(given)
    rig.limits = given.pop("limits", ())
    rig.carrier.latency_ms = given.pop("latency_ms", 5)
    quiet = given.pop("quiet", None)
    if quiet is not None:
        rig.quiet = QuietBook(quiet, {}, UTC)
        rig.messages = replace(rig.messages, quiet=rig.quiet)
    rig.providers = [(twilio(), Rig.rules(**given))]
    return rig


@pytest.mark.parametrize("name", CASES)
def test_a_plan_comes_true(tmp_path: Path, name: str) -> None:
    limit, given, some, terms, most_s = CASES[name]
    rig = prepared(tmp_path, given)

    async def story() -> None:
        await rig.start()
        await rig.seconds(1)
        if limit == "latency":  # how long calls take must have been seen
            await rig.accepted(text="first")
            await rig.seconds(1)
        said, error = await came_true(rig, some, terms, most_s)
        assert said.decided_by is not None
        assert said.decided_by.limit == limit
        assert abs(error) < 0.05
        await rig.stop()

    rig.run(story)


def test_what_others_have_waiting_counts(tmp_path: Path) -> None:
    rig = prepared(tmp_path, {"pace": per_second(50)})

    async def story() -> None:
        await rig.start()
        for place in range(450):
            await rig.accepted(to=number(50_000 + place), text=f"other {place}", origin=OTHER, priority="normal")
        said, error = await came_true(rig, rows(100), None, 60)
        assert said.decided_by is not None
        assert said.decided_by.limit == "backlog"
        assert "messages wait already" in said.decided_by.words
        assert abs(error) < 0.05
        await rig.stop()

    rig.run(story)


def test_rows_are_summed_up_and_nothing_is_sent(tmp_path: Path) -> None:
    rig = prepared(tmp_path, {"pace": per_second(10), "prices": {"+1": 0.0075}})
    rig.limits = (Rule(Per.TEXT, 1, HOUR, Action.FAIL),)

    async def story() -> None:
        await rig.start()
        await rig.accepted(to=number(1), text="known", idempotency_key="k1")
        await rig.store.suppress(Suppression(EVERY, number(2), rig.clock.wall(), "operator"))
        await rig.seconds(2)
        sends, before = len(rig.carrier.sends), counts(rig)
        said = await plan(
            rig,
            [
                {"to": number(1), "text": "known", "idempotency_key": "k1"},
                {"to": number(1), "text": "other", "idempotency_key": "k1"},
                {"to": number(2), "text": "opted out"},
                {"to": "not a number", "text": "x"},
                {"to": number(3), "text": "first"},
                {"to": number(3), "text": "again"},
                {"to": number(3), "text": "again"},
                {"to": "+4915112345678", "text": "\N{SNOWMAN}" * 71},
                {"to": number(4), "text": "k2", "idempotency_key": "k2"},
                {"to": number(4), "text": "k2", "idempotency_key": "k2"},
            ],
        )
        sums = said.sums
        assert (sums.rows, sums.valid, sums.invalid) == (10, 8, 2)
        assert [(each.index, each.code) for each in sums.errors] == [(3, "invalid_recipient"), (1, "key_conflict")]
        assert (sums.already_there, sums.suppressed, sums.duplicates, sums.limited) == (2, 1, 2, 1)
        assert (sums.segments, sums.encodings) == (6, {"gsm7": 4, "ucs2": 1})
        assert (str(sums.cost), sums.unpriced) == ("0.0300", 1)
        await rig.seconds(5)
        assert len(rig.carrier.sends) == sends
        assert counts(rig) == before
        await rig.stop()

    rig.run(story)


def test_an_end_that_nobody_knows_says_why(tmp_path: Path) -> None:
    rig = prepared(tmp_path, {"pace": Pace()})

    async def story() -> None:
        await rig.start()
        said = await plan(rig, rows(100))
        assert said.finishes_at is None
        assert said.decided_by is not None
        assert said.decided_by.limit == "latency"
        await rig.engine.service.pause("main")
        said = await plan(rig, rows(1))
        assert said.decided_by is not None
        assert said.decided_by.limit == "provider_paused"
        await rig.engine.service.resume("main")
        await rig.store.desk.campaigns.make(SHOP.tenant, ID, Terms(), rig.clock.wall())
        await rig.store.desk.campaigns.move(SHOP.tenant, ID, Move.PAUSE, rig.clock.wall())
        said = await plan(rig, rows(1))
        assert said.decided_by is not None
        assert said.decided_by.limit == "campaign_paused"
        assert said.decided_by.words == f"campaign {ID} is paused (resume it) or cancelled (for good)"
        assert (await plan(rig, [])).decided_by is None
        await rig.stop()

    rig.run(story)


def test_nobody_takes_all_places(tmp_path: Path) -> None:
    rig = prepared(tmp_path, {"pace": per_second(10)})
    operator = Origin("local:0", may_set_tenant=True)

    async def story() -> None:
        await rig.start()
        office = rig.engine.office.planning
        for name in ("one", "two", "three"):
            opened = [office.open(Origin(name), f"token {n}") for n in range(EACH)]
            with pytest.raises(TooManyError, match="of yours"):
                office.open(Origin(name), "another token")
        with pytest.raises(TooManyError, match="6 plans"):
            office.open(SHOP, "me")
        found = [office.open(operator, "uid 0") for _ in range(EACH)]
        await rig.seconds(GIVES_WAY_S / 2)
        with pytest.raises(TooManyError):
            office.open(operator, "uid 0")
        found[0].stay()
        await rig.seconds(GIVES_WAY_S / 2 + 1)
        office.open(operator, "uid 0")
        with pytest.raises(GoneError):
            await found[1].add(0, Submission(to=number(1), text="x"))
        assert office.find(found[0].id, "uid 0") is found[0]
        with pytest.raises(TooManyError):
            office.open(Origin("three"), "another token")
        office.open(Origin("three"), opened[0].owner)
        await rig.stop()

    rig.run(story)


def test_nobody_takes_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 8, "ROWS_EACH": 4, "ROWS_LEFT": 2}.items():
        monkeypatch.setattr(planning, name, value)
    rig = prepared(tmp_path, {"pace": per_second(10)})

    async def fill(origin: Origin) -> int:
        opened = rig.engine.office.planning.open(origin, origin.tenant)
        for n in range(planning.ROWS + 1):
            try:
                await opened.add(n, Submission(to=number(n), text="x"))
            except TooManyError:
                return n
        raise AssertionError("there is no bound")

    async def story() -> None:
        await rig.start()
        assert [await fill(Origin(name)) for name in ("one", "two", "three")] == [4, 2, 0]
        assert await fill(Origin("local:0", may_set_tenant=True)) == 2
        await rig.stop()

    rig.run(story)


def test_plans_are_bounded_and_forgotten(tmp_path: Path) -> None:
    rig = prepared(tmp_path, {"pace": per_second(10)})

    async def story() -> None:
        await rig.start()
        planning = rig.engine.office.planning
        opened = [planning.open(SHOP, "me") for _ in range(EACH)]
        with pytest.raises(TooManyError):
            planning.open(SHOP, "me")
        assert planning.find(opened[0].id, "me") is opened[0]
        with pytest.raises(GoneError):
            planning.find(opened[0].id, "somebody else")
        await rig.seconds(IDLE_S / 2)
        await opened[0].add(0, Submission(to=number(1), text="x"))
        await rig.seconds(IDLE_S / 2 + 1)
        with pytest.raises(GoneError):
            planning.find(opened[1].id, "me")
        await opened[0].end()
        with pytest.raises(GoneError):
            planning.find(opened[0].id, "me")
        await rig.stop()

    rig.run(story)
