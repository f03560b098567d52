"""Are many failed messages tried again or taken away in small steps, each once, at the rate that was asked for?"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from itertools import pairwise

from smsd.core.acceptance import Fault
from smsd.core.events import Kind
from smsd.core.lifecycle import Event
from smsd.core.message import Error, Instant, Message, State
from smsd.core.verdict import Category
from smsd.engine.failed import OFFSET_MOST, STEP, Chosen, Failed, Place, Skipped, Spread, Swept, Terms
from smsd.store import Claim, DiskFullError, Query, Stored, StoreError, WrongState
from smsd.store.connection import Handle
from smsd.store.deltas import Deltas
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import draft
from tests.engine.rig import TO, Rig, answer
from tests.store.contract import accept, attempt, settlement

ALL = Terms()
OWN_IDS = 1_000_000
"""Above those that the rig gives to submissions."""

REFUSAL = answer(400, code=21211, message="not a valid number")


class Full(SqliteOutbox):
    """Its disk is full after so many retries and deletions."""

    room = 10_000

    async def reopen(
        self,
        id: str,
        tenant: str | None,
        now: Instant,
        expires_at: Instant,
        force: bool,
        due: Instant | None = None,
    ) -> Message | WrongState | None:
        if self.room <= 0:
            raise DiskFullError("no room")
        self.room -= 1
        return await super().reopen(id, tenant, now, expires_at, force, due)


async def fail(rig: Rig, *numbers: int, category: Category = Category.NETWORK, **fields: object) -> list[str]:
    """Messages of these numbers that have failed at their first call, in this order."""
    now = rig.clock.wall()
    fields = {"created_at": now, "due": now, "expires_at": now + 86_400_000, **fields}
    drafts = [draft(OWN_IDS + n, **fields) for n in numbers]
    seqs = [each.seq for each in await accept(rig.store, *drafts) if isinstance(each, Stored)]
    await rig.store.begin([Claim(seq, 0, "main", "s") for seq in seqs], now)
    error = Error(category, "no", now)
    ends = [
        rig.store.settle(settlement(seq, Event.FAIL, at=now, error=error), attempt(at=now, outcome="refused"))
        for seq in seqs
    ]
    assert all(await asyncio.gather(*ends))
    return [each.id for each in drafts]


async def copied(rig: Rig, most: int) -> None:
    """The message with the number 1 stands there so many times."""
    names = [row[1] for row in await rig.store._read(lambda db: db.execute("PRAGMA table_info(messages)").fetchall())]
    others = ", ".join({"seq": "i", "id": "'copy-' || i"}.get(name, f'"{name}"') for name in names)
    numbers = f"WITH RECURSIVE n (i) AS (VALUES (2) UNION ALL SELECT i + 1 FROM n WHERE i < {most}) SELECT i FROM n"

    def copy(db: Handle, _: Deltas) -> None:
        db.execute(f"INSERT INTO messages SELECT {others} FROM ({numbers}) CROSS JOIN messages WHERE seq = 1")
        for table in ("counters", "tenant_counters"):
            db.execute(f"UPDATE {table} SET n = {most} WHERE state = 5")

    await rig.store._change(copy)


def failed_of(rig: Rig) -> Failed:
    return rig.engine.office.failed


async def retried(rig: Rig, chosen: Chosen, terms: Terms = ALL) -> Swept:
    swept = await failed_of(rig).retry(chosen, terms)
    assert isinstance(swept, Swept), swept
    return swept


def dues(rig: Rig) -> list[int]:
    """When what is pending is due, in order."""
    with closing(sqlite3.connect(rig.path)) as db:
        return [due for (due,) in db.execute("SELECT due FROM messages WHERE state = 0 ORDER BY due")]


def reopened(rig: Rig) -> int:
    return rig.kinds().count(Kind.MESSAGE_REOPENED)


def test_ten_thousand_are_spread_evenly_and_hold_nobody_up(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await fail(rig, 1)
        await copied(rig, 10_000)
        await rig.stop()
        await rig.start()
        await rig.engine.service.pause("main")
        turns = [0]

        async def swept(chosen: Chosen) -> Swept:
            sweep = asyncio.create_task(retried(rig, chosen, Terms(rate="100/min")))
            while not sweep.done():
                turns.append(reopened(rig))
                await asyncio.sleep(0)
            return sweep.result()

        begin = rig.clock.wall()
        first = await swept(Chosen(Query(limit=4_000)))
        assert (first.done, first.last_due, first.skipped_count) == (4_000, begin + 3_999 * 600, 0)
        await rig.seconds(1)  # somebody is slow to ask for the rest
        rest = await swept(Chosen(Query(limit=10_000), place=first.place))
        assert (rest.done, rest.place) == (6_000, None)
        assert max(after - before for before, after in pairwise(turns)) <= STEP
        assert len(turns) > 10_000 / STEP
        assert dues(rig) == [begin + 600 * n for n in range(10_000)]
        await rig.engine.service.resume("main")
        sent = len(rig.carrier.sends)
        await rig.seconds(60)
        assert abs(len(rig.carrier.sends) - sent - 100) <= 2
        id = await rig.accepted()
        await rig.seconds(0.1)
        assert await rig.state(id) == "sent", "a new one waits for none of them"
        await rig.crash()

    rig.run(story)


def test_what_fails_again_at_once_is_retried_once_in_a_sweep(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        rig.carrier.answers = lambda name, fields: REFUSAL
        await fail(rig, *range(1, 251))
        place, calls, done = None, 0, 0
        while calls == 0 or place is not None:
            swept = await retried(rig, Chosen(Query(limit=60), place=place))
            place, calls, done = swept.place, calls + 1, done + swept.done
            await rig.seconds(1)
            assert calls < 10
        assert (calls, done, len(rig.carrier.sends)) == (5, 250, 250)
        await rig.stop()

    rig.run(story)


def test_a_retry_tells_whoever_has_to_know(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        ids = await fail(rig, 1, 2)
        assert (await retried(rig, Chosen(Query(), tuple(ids)))).done == 2
        assert reopened(rig) == 2
        await rig.seconds(1)
        assert [await rig.state(id) for id in ids] == ["sent", "sent"]
        await rig.engine.service.pause("main")
        (third,) = await fail(rig, 3)
        late = await retried(rig, Chosen(Query(), (third,)), Terms(ttl="2s"))
        assert late.last_due == rig.clock.wall()
        await rig.seconds(3)
        assert await rig.state(third) == "expired"
        await rig.stop()

    rig.run(story)


def test_the_last_is_due_at_its_own_time_if_that_is_to_come(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await rig.engine.service.pause("main")
        now = rig.clock.wall()
        ids = [*await fail(rig, 1, send_at=now + 60_000), *await fail(rig, 2)]
        swept = await retried(rig, Chosen(Query(), tuple(ids)), Terms(rate="1/s"))
        assert (swept.done, swept.last_due) == (2, now + 60_000)
        assert dues(rig) == [now + 1_000, now + 60_000]
        await rig.stop()

    rig.run(story)


def test_each_that_is_skipped_says_why(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        ids = await fail(rig, 1)
        doubtful = await fail(rig, 2, category=Category.UNCERTAIN)
        theirs = await fail(rig, 3, tenant="other")
        swept = await retried(rig, Chosen(Query(tenant="shop", limit=10)))
        assert (swept.done, [each.id for each in swept.skipped], swept.place) == (1, doubtful, None)
        why = swept.skipped[0].why
        assert isinstance(why, WrongState)
        assert why.message.state is State.FAILED
        named = (*ids, *theirs, "nobody", ids[0])
        swept = await retried(rig, Chosen(Query(tenant="shop"), named))
        assert (swept.done, swept.skipped_count) == (0, 3)
        assert [(each.id, None if each.why is None else "wrong") for each in swept.skipped] == [
            (ids[0], "wrong"),
            (theirs[0], None),
            ("nobody", None),
        ]
        assert (await retried(rig, Chosen(Query(tenant="shop", limit=10)), Terms(force=True))).done == 1
        many = await retried(rig, Chosen(Query(), tuple(f"n{n}" for n in range(150))))
        assert (len(many.skipped), many.skipped_count) == (100, 150)
        await rig.stop()

    rig.run(story)


def test_they_are_taken_away(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        ids = await fail(rig, *range(1, 251))
        theirs = await fail(rig, 300, tenant="other")
        sent = await rig.accepted()
        await rig.seconds(1)
        swept = await failed_of(rig).delete(Chosen(Query(tenant="shop"), (ids[0], sent, theirs[0])))
        assert (swept.done, swept.skipped) == (1, [Skipped(sent, State.SENT), Skipped(theirs[0], None)])
        swept = await failed_of(rig).delete(Chosen(Query(tenant="shop", limit=120)))
        assert swept.done == 120
        assert swept.place is not None
        assert isinstance(await rig.message(ids[100]), Message), "the newest go first"
        swept = await failed_of(rig).delete(Chosen(Query(tenant="shop", limit=10_000), place=swept.place))
        assert (swept.done, swept.place) == (129, None)
        assert await failed_of(rig).page_at("shop", 0, 50) == ([], 0)
        assert (await failed_of(rig).page_at(None, 0, 50))[1] == 1
        await rig.stop()

    rig.run(story)


def test_a_fault_of_the_outbox_ends_a_sweep_and_is_told(rig: Rig) -> None:
    async def story() -> None:
        rig.outbox = Full
        await rig.start()
        ids = await fail(rig, *range(1, 301))
        store = rig.store
        assert isinstance(store, Full)
        store.room = 150
        swept = await retried(rig, Chosen(Query(limit=1_000)))
        assert (swept.done, swept.skipped_count) == (150, 50)
        assert {each.id for each in swept.skipped} == set(ids[100:150])
        assert all(isinstance(each.why, DiskFullError) for each in swept.skipped)
        assert swept.place is not None
        try:
            await retried(rig, Chosen(Query(limit=1_000), place=swept.place))
        except StoreError as error:
            assert isinstance(error, DiskFullError)
        else:
            raise AssertionError("nothing was done, and nobody was told")
        store.room = 1_000
        again = await retried(rig, Chosen(Query(limit=1_000), place=swept.place))
        assert (again.done, again.place) == (100, None)
        await rig.seconds(2)
        await rig.stop()

    rig.run(story)


def test_terms_that_cannot_be_kept_are_refused(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        await fail(rig, 1)

        async def fault(terms: Terms, chosen: Chosen) -> str:
            found = await failed_of(rig).retry(chosen, terms)
            assert isinstance(found, Fault)
            return found.field

        few = Chosen(Query(limit=10))
        assert await fault(Terms(rate="fast"), few) == "rate"
        assert await fault(Terms(ttl="never"), few) == "ttl"
        assert await fault(Terms(rate="1/day"), Chosen(Query(limit=10_000))) == "rate"
        late = Place(1_000, rig.clock.wall() + 365 * 86_400_000)
        assert await fault(Terms(rate="1/day"), Chosen(Query(limit=100), place=late)) == "rate"
        assert reopened(rig) == 0
        await rig.stop()

    rig.run(story)


def test_a_page_by_its_place(rig: Rig) -> None:
    async def story() -> None:
        await rig.start()
        ids = await fail(rig, *range(1, 31))
        await fail(rig, *range(100, 110), tenant="other", recipient=TO)
        queue = failed_of(rig)
        for offset, limit in ((0, 5), (7, 10), (25, 10), (30, 5), (OFFSET_MOST, 5)):
            found, total = await queue.page_at("shop", offset, limit)
            assert ([each.id for each in found], total) == (ids[::-1][offset : offset + limit], 30)
        found, total = await queue.page_at(None, 8, 4)
        assert ([each.tenant for each in found], total) == (["other", "other", "shop", "shop"], 40)
        await rig.stop()

    rig.run(story)


def test_due_times_are_never_faster_than_the_rate() -> None:
    spread = Spread(1_000, (7, 1_000))
    taken = [spread.take() for _ in range(50)]
    assert spread.following == spread.at(50)
    assert all(later - earlier >= 1_000 for earlier, later in zip(taken, taken[7:], strict=False))
    assert taken[49] == 1_000 + 7_000
    start, chained = 0, []
    for _ in range(40):  # many calls of two messages each
        spread = Spread(start, (7, 1_000))
        chained += [spread.take(), spread.take()]
        start = spread.following
    assert all(later - earlier >= 1_000 for earlier, later in zip(chained, chained[7:], strict=False))
    assert [Spread(5, None).at(n) for n in (0, 9)] == [5, 5]
