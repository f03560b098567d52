"""Do reads stay bounded, and right, when there is more than one stretch to look at?"""

from __future__ import annotations

import asyncio
from pathlib import Path

from smsd.core.lifecycle import Event
from smsd.store import Claim, Query, Stored
from smsd.store.reading import ATTEMPTS_AT_ONCE, BINDING_SLACK_MS, IN_FLIGHT_SLACK, ROWS_LOOKED_AT
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, settlement


async def sent(box: SqliteOutbox, first: int, size: int, at: int) -> list[int]:
    """That many messages, sent at that time (boot time: microseconds since NOW) with ids SM<number>."""
    results = await accept(box, *(draft(n) for n in range(first, first + size)))
    seqs = [result.seq for result in results if isinstance(result, Stored)]
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
    await asyncio.gather(
        *(
            box.settle(
                settlement(seq, Event.TAKEN, at=at, pmid=f"SM{seq}"),
                attempt(at=at, boot=at - NOW, provider_message_id=f"SM{seq}"),
            )
            for seq in seqs
        )
    )
    return seqs


async def test_a_listing_looks_at_so_many_and_goes_on(opening: Opening) -> None:
    box = (await opening()).box
    rare = "+14155559999"
    await accept(box, draft(1, recipient=rare), *(draft(n) for n in range(2, ROWS_LOOKED_AT + 2)))
    page = await box.page(Query(recipient=rare))
    assert (page.items, page.next_before) == ((), 2)
    page = await box.page(Query(recipient=rare, before=page.next_before))
    assert ([message.recipient for message in page.items], page.next_before) == ([rare], None)


async def test_bindings_and_starts_are_found_behind_many_attempts(opening: Opening) -> None:
    box = (await opening()).box
    size = ATTEMPTS_AT_ONCE + 100
    old = await sent(box, 1, 5, NOW + 10)
    await sent(box, 1_000, size, NOW + 20)
    newest = await sent(box, 5_000, 3, NOW + 30)
    ids = [f"SM{seq}" for seq in (*old, *newest)]
    assert await box.bound([*ids, "SM0"]) == set(ids)
    starts = await box.starts("main", NOW, 0, 10_000)
    assert len(starts) == size + 8
    assert [start.boot for start in starts] == [10] * 5 + [20] * size + [30] * 3
    assert [start.boot for start in await box.starts("main", NOW, 20, 10_000)] == [30] * 3
    assert [start.boot for start in await box.starts("main", NOW, 0, 4)] == [20] + [30] * 3


async def test_starts_reach_back_over_as_many_calls_as_can_be_in_flight(opening: Opening) -> None:
    """A slow call is numbered late: it must not hide the later ones below it. Nor may a start read all that was."""
    box = (await opening()).box
    await sent(box, 1, 1, NOW + 500)
    await sent(box, 2, IN_FLIGHT_SLACK - ATTEMPTS_AT_ONCE, NOW + 10)
    assert [start.boot for start in await box.starts("main", NOW, 100, 10)] == [500]
    await sent(box, IN_FLIGHT_SLACK, 2 * ATTEMPTS_AT_ONCE, NOW + 10)
    assert await box.starts("main", NOW, 100, 10) == []


async def test_bindings_reach_back_to_the_earliest_doubt(opening: Opening) -> None:
    """What is older than every doubt cannot be found by a look-up that is under way, and is not searched for."""
    box = (await opening()).box
    size = ATTEMPTS_AT_ONCE + 100
    old = (await sent(box, 1, size, NOW + 10))[0]
    later = NOW + 10 + 2 * BINDING_SLACK_MS
    await sent(box, 5_000, size, later)
    assert await box.bound([f"SM{old}"]) == set()
    [doubted] = [r.seq for r in await accept(box, draft(9_000)) if isinstance(r, Stored)]
    assert all(await box.begin([Claim(doubted, 0, "main", "s")], NOW + 5))
    await box.settle(settlement(doubted, Event.DOUBT, at=later), attempt(outcome="unknown"))
    assert await box.bound([f"SM{old}"]) == {f"SM{old}"}


async def test_the_reader_can_neither_write_nor_checkpoint(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    reader = box._reading
    assert reader is not None
    assert await reader.run(lambda db: db.execute("PRAGMA query_only").fetchone()) == (1,)
    assert await reader.run(lambda db: db.execute("PRAGMA wal_autocheckpoint").fetchone()) == (0,)
    writer = box._writing
    assert writer is not None
    assert await writer.run(lambda db: db.execute("PRAGMA synchronous").fetchone()) == (2,)
    assert await writer.run(lambda db: db.execute("PRAGMA auto_vacuum").fetchone()) == (2,)
