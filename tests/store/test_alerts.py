"""What does the outbox say of alerts, and of who lets messages wait?"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from smsd.core.campaign import Hours, Move, Terms
from smsd.store import Stored
from smsd.store.operators import MOST_OVER, Over, Raised
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept
from tests.store.test_sqlite_contract import end_in_a_crash


def over(n: int) -> Over:
    return Over("backlog", NOW + 2 * n, NOW + 2 * n + 1, "backlog", f"{n} messages wait.", n, 0.5)


async def test_what_was_told_of_whom_is_there_after_a_crash(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    for announced, told in ((False, False), (True, False), (True, True)):
        raised = Raised("disk", NOW, "disk", "No room.", announced, told, value=7, bound=0.5)
        await box.desk.alerts.keep(raised)
        await end_in_a_crash(box, path)
        box = (await opening()).box
        assert await box.desk.alerts.raised() == (raised,)
        assert [type(each.value) for each in await box.desk.alerts.raised()] == [int]  # told again, 7 is not 7.0
    await box.desk.alerts.clear("disk")
    assert await box.desk.alerts.raised() == ()


async def test_of_rows_of_an_older_smsd_nobody_knows_the_value(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await box.close()
    columns = ("name, raised_at, category, text, announced, told", "name, raised_at, cleared_at, category, text")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"INSERT INTO alerts ({columns[0]}) VALUES ('disk', 1, 'disk', 'No room.', 1, 0)")
        db.execute(f"INSERT INTO alerts_over ({columns[1]}) VALUES ('disk', 0, 1, 'disk', 'No room.')")
        db.commit()
    kept = (await opening()).box.desk.alerts
    assert await kept.raised() == (Raised("disk", 1, "disk", "No room.", announced=True),)
    assert await kept.over() == (Over("disk", 0, 1, "disk", "No room."),)


async def test_of_those_that_are_over_the_newest_stay_each_once(opening: Opening) -> None:
    kept = (await opening()).box.desk.alerts
    for n in range(MOST_OVER + 3):
        await kept.end(over(n))
    await kept.end(over(MOST_OVER))
    found = await kept.over()
    assert found == tuple(over(n) for n in range(3, MOST_OVER + 3))


@pytest.mark.parametrize(
    ("terms", "move", "paced", "rated"),
    [
        (Terms(), None, 0, False),
        (Terms(rate=(10, 60_000)), None, 3, True),
        (Terms(hours=Hours(540, 1_080, "UTC")), None, 3, False),
        (Terms(), Move.PAUSE, 3, False),
        (Terms(), Move.CANCEL, 3, False),
    ],
)
async def test_what_waits_because_its_campaign_s_operator_said_so(
    opening: Opening, terms: Terms, move: Move | None, paced: int, rated: bool
) -> None:
    box = (await opening()).box
    await box.desk.campaigns.make("a", "spring", terms, NOW)
    drafts = [draft(n, tenant="a", campaign="spring") for n in range(1, 4)]
    drafts += [draft(4, tenant="a"), draft(5, tenant="b", campaign="spring")]
    assert all(isinstance(each, Stored) for each in await accept(box, *drafts))
    if move is not None:
        await box.desk.campaigns.move("a", "spring", move, NOW)
    assert await box.desk.alerts.paced(100) == paced
    flows = {(each.tenant, each.campaign): each.rated for each in await box.desk.alerts.longest_due(100)}
    assert flows == {("a", "spring"): rated, ("a", None): False, ("b", "spring"): False}
    assert await box.desk.alerts.paced(0) == 0
