"""When quiet hours begin, how many are put off beside a claim, and is each flow served?"""

from __future__ import annotations

from datetime import UTC

import pytest

from smsd.core.quiet import QuietBook, QuietHours
from smsd.store import Query
from smsd.store.limiting import QUIET_AT_ONCE
from tests.doubles.builders import NOW
from tests.doubles.clock import ManualClock
from tests.store.conftest import Opening
from tests.store.contract_limits import Hall

NUMBER = "+80012345678"
NIGHT = QuietBook(QuietHours(0, 1_439), {}, UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW, boot=1_000_000)


@pytest.fixture
async def hall(opening: Opening, clock: ManualClock) -> Hall:
    return Hall((await opening(boot_us=clock.boot)).box, clock)


async def flows(hall: Hall, *lengths: int) -> dict[str, list[int]]:
    """So many flows, each of a campaign, that are due as quiet hours begin: their numbers."""
    made = {f"c{n}": await hall.stored(length, campaign=f"c{n}", recipient=NUMBER) for n, length in enumerate(lengths)}
    await hall.limit(quiet=NIGHT)
    return made


async def held(hall: Hall) -> set[int]:
    """Those that are put off."""
    page = await hall.box.page(Query(limit=1_000))
    return {message.seq for message in page.items if message.held == "quiet_hours"}


def each(made: dict[str, list[int]], seqs: set[int]) -> list[int]:
    """How many of them are of each flow."""
    return [len(seqs.intersection(flow)) for flow in made.values()]


async def test_one_batch_puts_off_so_many_over_all_its_flows(hall: Hall) -> None:
    made = await flows(hall, *[QUIET_AT_ONCE // 2] * 4)
    await hall.claim(*(seqs[0] for seqs in made.values()))
    assert each(made, await held(hall)) == [1 + QUIET_AT_ONCE // 4] * 4


async def test_what_a_short_flow_leaves_the_others_have(hall: Hall) -> None:
    made = await flows(hall, 2, 2 * QUIET_AT_ONCE)
    await hall.claim(*(seqs[0] for seqs in made.values()))
    assert each(made, await held(hall)) == [2, QUIET_AT_ONCE]


async def test_with_more_flows_than_that_later_claims_serve_the_rest(hall: Hall) -> None:
    made = await flows(hall, *[3] * (QUIET_AT_ONCE + 1))
    await hall.claim(*(seqs[0] for seqs in made.values()))
    first = await held(hall)
    assert each(made, first) == [*[2] * QUIET_AT_ONCE, 1]
    await hall.claim(*(next(seq for seq in seqs if seq not in first) for seqs in made.values()))
    assert set(each(made, await held(hall))) == {3}
