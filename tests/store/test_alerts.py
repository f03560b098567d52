"""What does the outbox say of alerts, and of who lets messages wait?"""

from __future__ import annotations

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
    return Over("backlog", NOW + 2 * n, NOW + 2 * n + 1, "backlog", f"{n} messages wait.")


async def test_what_was_told_of_whom_is_there_after_a_crash(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    for announced, told in ((False, False), (True, False), (True, True)):
        raised = Raised("disk", NOW, "disk", "No room.", announced, told)
        await box.desk.alerts.keep(raised)
        await end_in_a_crash(box, path)
        box = (await opening()).box
        assert await box.desk.alerts.raised() == (raised,)
    await box.desk.alerts.clear("disk")
    assert await box.desk.alerts.raised() == ()


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
