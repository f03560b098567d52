"""Do reads stay bounded, and right, when there is more than one stretch to look at?"""

from __future__ import annotations

import asyncio
from pathlib import Path

from smsd.core.lifecycle import Event
from smsd.store import Claim, Person, Query, Stored
from smsd.store.binding import ATTEMPTS_AT_ONCE, BINDING_SLACK_MS
from smsd.store.changes import MINUTES_FORGOTTEN_AT_ONCE
from smsd.store.reading import (
    IN_FLIGHT_SLACK,
    RECIPIENT_STRETCHES,
    ROWS_LOOKED_AT,
    TENANTS_OF_USER,
)
from smsd.store.rows import ACCEPTED_COLUMNS
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, settlement

DAY_MS = 86_400_000


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


async def test_a_users_listing_skips_everybody_elses(opening: Opening) -> None:
    box = (await opening()).box
    await accept(box, draft(1, user="ann"), *(draft(n, user="bob") for n in range(2, ROWS_LOOKED_AT + 2)))
    page = await box.page(Query(tenant="shop", user="ann"))
    assert ([message.user for message in page.items], page.next_before) == (["ann"], None)
    page = await box.page(Query(tenant="shop", user="bob", campaign="none"))
    assert (page.items, page.next_before) == ((), 2), "a page looks at so many of the user's own"


async def test_a_recipients_counts_go_on_over_stretches(opening: Opening) -> None:
    """And end at the last of them: then they are too low."""
    box = (await opening()).box
    to = Person(None, recipient="+14155559999")
    await accept(box, draft(1, recipient=to.recipient), draft(2))
    writing = box._writing
    assert writing is not None
    columns = [name.strip() for name in ACCEPTED_COLUMNS.split(",")]
    others = ", ".join({"seq": "i", "id": "i"}.get(name, name) for name in columns)
    rows = "WITH RECURSIVE n (i) AS (VALUES (?) UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT i FROM n"
    like_the_second = (
        f"INSERT INTO messages ({', '.join(columns)}) SELECT {others} FROM ({rows}) CROSS JOIN messages WHERE seq = 2"
    )
    last = RECIPIENT_STRETCHES * ROWS_LOOKED_AT
    await writing.run(lambda db: db.execute(like_the_second, (3, last)))
    assert (await box.counts_of(to, NOW, NOW)).pending == 1
    await writing.run(lambda db: db.execute(like_the_second, (last + 1, last + 1)))
    assert (await box.counts_of(to, NOW, NOW)).pending == 0


async def test_users_of_one_name_are_counted_over_tenants(opening: Opening) -> None:
    box = (await opening()).box
    size = TENANTS_OF_USER + 20
    await accept(box, *(draft(n, user="1", tenant=f"t{n:03d}") for n in range(size)), draft(size, user="2"))
    assert (await box.counts_of(Person(None, user="1"), NOW, NOW)).pending == TENANTS_OF_USER
    assert (await box.counts_of(Person(f"t{size - 1:03d}", user="1"), NOW, NOW)).pending == 1


async def test_old_minutes_of_tenants_go_some_at_a_beat(opening: Opening) -> None:
    box = (await opening()).box
    for n in range(3):
        await sent(box, 1 + 10 * n, 1, NOW + n * DAY_MS)
    now = NOW + 2 * DAY_MS
    assert [m.minute * 60_000 // DAY_MS - NOW // DAY_MS for m in (await box.totals(0, "shop")).minutes] == [0, 1, 2]
    await box.beat(now)
    assert len((await box.totals(0, "shop")).minutes) == 3, "two days are kept"
    await box.beat(now + 60_000)
    assert len((await box.totals(0, "shop")).minutes) == 2
    assert len((await box.totals(0)).minutes) == 3, "those of providers stay"
    writing = box._writing
    assert writing is not None
    rows = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 700) SELECT i FROM n"
    await writing.run(lambda db: db.execute(f"INSERT INTO tenant_minutes SELECT 'old', i, 1, 0 FROM ({rows})"))
    await box.beat(now)
    assert len((await box.totals(0, "old")).minutes) == 700 - MINUTES_FORGOTTEN_AT_ONCE
    await box.beat(now)
    assert (await box.totals(0, "old")).minutes == ()


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
