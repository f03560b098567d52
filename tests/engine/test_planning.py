"""Does a plan come true? Rows are planned, then handed in and sent; the whole engine in virtual time."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from smsd.core.acceptance import Origin
from smsd.core.campaign import Hours, Terms
from smsd.core.limits import Action, Per, Rule
from smsd.core.pacing import Pace, Window
from smsd.core.quiet import QuietBook, QuietHours
from smsd.core.units import rfc3339
from smsd.engine.planning import Outcome
from smsd.wire import Submission, content_hash
from tests.engine.rig import SHOP, Rig, twilio

ROWS = 2_000
OTHER = Origin("other")
ID = "spring"


def number(place: int) -> str:
    return f"+1415{2_000_000 + place}"


def rows(count: int = ROWS, repeats: int = 1, **fields: Any) -> list[dict[str, Any]]:
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


async def pending(rig: Rig) -> int:
    return (await rig.engine.service.stats()).backlog


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
    with sqlite3.connect(f"file:{rig.path}?mode=ro", uri=True) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'meta'")]
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


HOUR = 3_600_000
CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], Terms | None, float]] = {
    "the provider's rate": ("provider_rate", {"pace": per_second(100, burst=50)}, rows(), None, 60),
    "the campaign's rate": ("campaign_limit", {"pace": per_second(500)}, rows(), Terms(rate=(300, 10_000)), 200),
    "its places": (
        "latency", {"pace": per_second(1_000), "max_in_flight": 4, "latency_ms": 100}, rows(), None, 120,
    ),
    "a tenant's limit": (
        "tenant_limit", {"pace": per_second(500), "limits": (Rule(Per.TENANT, 250, 5_000),)}, rows(), None, 120,
    ),
    "a recipient's limit": (
        "recipient_limit",
        {"pace": per_second(200), "limits": (Rule(Per.RECIPIENT, 1, 60_000),)},
        rows(repeats=4), None, 400,
    ),
    "a user's limit": (
        "user_limit",
        {"pace": per_second(200), "limits": (Rule(Per.USER, 3, 20_000),)},
        [{**row, "user": f"u{place % 100}"} for place, row in enumerate(rows())], None, 400,
    ),
    "a long day": (
        "provider_rate", {"pace": Pace((Window(60, 60_000_000),))}, rows(), None, 2_500,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_plan_comes_true(tmp_path: Path, name: str) -> None:
    limit, given, some, terms, most_s = CASES[name]
    rig = Rig(tmp_path)
    given = dict(given)
    rig.limits = given.pop("limits", ())
    rig.carrier.latency_ms = given.pop("latency_ms", 5)
    rig.providers = [(twilio(), Rig.rules(**given))]

    async def story() -> None:
        await rig.start()
        if limit == "latency":  # how long calls take must have been seen
            await rig.accepted(text="first")
            await rig.seconds(1)
        said, error = await came_true(rig, some, terms, most_s)
        assert said.decided_by is not None
        assert said.decided_by.limit == limit
        assert abs(error) < 0.05
        await rig.stop()

    rig.run(story)
