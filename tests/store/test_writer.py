"""Is what waits committed together, bounded, in order, and is everybody told, whoever else fails?"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from smsd.core.lifecycle import Event
from smsd.core.message import Draft
from smsd.core.suppression import Suppression
from smsd.store import AcceptResult, Claim, KeyConflict, StoreBrokenError, Stored, StoreError, writer
from smsd.store.connection import Connection, Handle, connect
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.contract import accept, attempt, settlement


class Counting:
    """A connection that notes the transactions and checkpoints that passed."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def count(self, beginning: str) -> int:
        return sum(sql.startswith(beginning) for sql in self.statements)

    def factory(self) -> Callable[[Path], Awaitable[Connection]]:
        async def traced(path: Path) -> Connection:
            connection = await connect(path)

            def watch(db: Handle) -> None:
                db.set_trace_callback(self.statements.append)  # type: ignore[attr-defined]  # sqlite3's own

            await connection.run(watch)
            return connection

        return traced


async def test_what_waits_is_one_transaction(opening: Opening) -> None:
    seen = Counting()
    box = (await opening(connect=seen.factory())).box
    await accept(box, *(draft(n) for n in range(1, 201)))
    seen.statements.clear()
    await asyncio.gather(
        accept(box, *(draft(n) for n in range(300, 400))),
        box.begin([Claim(seq, 0, "main", "s") for seq in range(1, 65)], NOW),
        *(box.settle(settlement(seq, Event.TAKEN), attempt()) for seq in range(65, 129)),
    )
    assert seen.count("COMMIT") <= 2
    assert len(seen.statements) < 60, "statements are set-wise"


async def test_nothing_is_asked_about_optouts_while_there_is_none(opening: Opening) -> None:
    """Nor about routes while none changes; one statement a batch otherwise."""
    seen = Counting()
    box = (await opening(connect=seen.factory())).box

    async def batches(first: int) -> int:
        """Two batches of acceptances, one of claims, one of settlements; statements that name suppressions."""
        seen.statements.clear()
        seqs = [r.seq for n in (0, 4) for r in await accept(box, *new(first + n)) if isinstance(r, Stored)]
        await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], NOW)
        await asyncio.gather(*(box.settle(settlement(seq, Event.RETRY), attempt()) for seq in seqs))
        assert not any("SET route" in sql or "overtaken" in sql for sql in seen.statements)
        return sum("suppressions" in sql for sql in seen.statements)

    def new(first: int) -> list[Draft]:
        return [draft(n) for n in range(first, first + 4)]

    assert await batches(1) == 1, "whether there is any is asked once"
    assert await batches(11) == 0
    await box.suppress(Suppression("main", "+14155550199", NOW, "api"))
    assert await batches(21) == 3
    await box.lift("main", "+14155550199")
    assert await batches(31) == 1
    assert await batches(41) == 0


async def test_a_batch_is_bounded(opening: Opening) -> None:
    seen = Counting()
    box = (await opening(connect=seen.factory())).box
    seen.statements.clear()
    await accept(box, *(draft(n) for n in range(1, 2 * writer.MAX_ROWS + 2)))
    assert seen.count("COMMIT") >= 3
    assert box.waiting == 0


async def test_a_bad_row_costs_few_transactions(opening: Opening) -> None:
    seen = Counting()
    box = (await opening(connect=seen.factory())).box
    seen.statements.clear()
    drafts = [draft(n) for n in range(1, 1_001)]
    drafts[617] = draft(618, text="\ud800")
    results = await accept(box, *drafts)
    assert [n for n, result in enumerate(results) if not isinstance(result, Stored)] == [617]
    assert seen.count("BEGIN") < 25, "halves, not one by one"
    assert [r.seq for r in results if isinstance(r, Stored)] == sorted(r.seq for r in results if isinstance(r, Stored))


async def test_a_flow_of_an_undone_batch_is_not_remembered(opening: Opening) -> None:
    """The first of a flow fails; the next of it must not point to a flow that was rolled back."""
    box = (await opening()).box
    [bad] = await accept(box, draft(1, campaign="c", text="\ud800"))
    assert isinstance(bad, StoreError)
    [good] = await accept(box, draft(2, campaign="c"))
    assert isinstance(good, Stored)
    fed = await box.feed(good.flow, None, NOW, 10)
    assert [due.seq for due in fed.items] == [good.seq]


async def test_a_key_of_an_undone_batch_is_free(opening: Opening) -> None:
    box = (await opening()).box
    [bad] = await accept(box, draft(1, idempotency_key="k", content_hash=b"1" * 32, text="\ud800"))
    assert isinstance(bad, StoreError)
    [good, other] = await accept(
        box,
        draft(2, idempotency_key="k", content_hash=b"2" * 32),
        draft(3, idempotency_key="k", content_hash=b"1" * 32),
    )
    assert isinstance(good, Stored)
    assert other == KeyConflict(draft(2).id)


async def test_a_caller_that_fails_holds_up_nobody(opening: Opening) -> None:
    box = (await opening()).box
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    answers: list[AcceptResult] = []

    def failing(result: AcceptResult) -> None:
        raise ZeroDivisionError

    box.accept(draft(1), failing)
    box.accept(draft(2), answers.append)
    await accept(box, draft(3))
    assert isinstance(answers[0], Stored)
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError]


async def test_an_answer_may_hand_in_the_next(opening: Opening) -> None:
    box = (await opening()).box
    answers: list[AcceptResult] = []
    ended = asyncio.Event()

    def next_one(result: AcceptResult) -> None:
        answers.append(result)
        if len(answers) < 20:
            box.accept(draft(len(answers) + 1), next_one)
        else:
            ended.set()

    box.accept(draft(1), next_one)
    async with asyncio.timeout(10):
        await ended.wait()
    assert all(isinstance(answer, Stored) for answer in answers)


async def test_the_wal_is_checkpointed_at_a_size_and_when_idle(opening: Opening, path: Path) -> None:
    seen = Counting()
    box = (await opening(connect=seen.factory())).box

    async def copied(n: int, more_than: int) -> int:
        """The database file's size after the n-th checkpoint has copied the -wal into it."""
        async with asyncio.timeout(10):
            while seen.count("PRAGMA wal_checkpoint(PASSIVE)") < n or path.stat().st_size <= more_than:
                await asyncio.sleep(0.01)
        return path.stat().st_size

    await accept(box, *(draft(n) for n in range(1, writer.CHECKPOINT_ROWS + writer.MAX_ROWS)))
    size = await copied(1, 2_000_000)
    before = asyncio.get_running_loop().time()
    await accept(box, *(draft(n) for n in range(30_000, 30_000 + writer.IDLE_ROWS)))
    assert seen.count("PRAGMA wal_checkpoint(PASSIVE)") == 1
    await copied(2, size)
    assert asyncio.get_running_loop().time() - before >= writer.IDLE_S * 0.9


async def test_closing_leaves_one_whole_file(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    await accept(box, *(draft(n) for n in range(1, 100)))
    await box.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["outbox.db", "outbox.lock"]


async def test_a_heartbeat_is_a_commit_that_tells_the_time(opening: Opening) -> None:
    seen = Counting()
    box = (await opening(connect=seen.factory())).box
    seen.statements.clear()
    await box.beat(NOW + 77_000)
    assert seen.count("COMMIT") == 1
    await box.close()
    with pytest.raises(StoreError):
        await box.beat(NOW)
    assert (await opening()).recovery.latest == NOW + 77_000


async def test_an_outbox_is_opened_once(opening: Opening) -> None:
    box = (await opening()).box
    with pytest.raises(StoreError, match="open already"):
        await box.open(NOW)
    assert isinstance((await accept(box, draft(1)))[0], Stored)


async def test_callers_are_told_in_slices(opening: Opening) -> None:
    """So a commit of very many is no long stop of the loop; in their order all the same."""
    box = (await opening()).box
    told: list[int] = []
    seen: list[int] = []
    loop = asyncio.get_running_loop()

    def look() -> None:
        seen.append(len(told))
        if len(told) < 1_000:
            loop.call_soon(look)

    for n in range(1, 1_001):
        box.accept(draft(n), lambda _, n=n: told.append(n))  # type: ignore[misc]  # mypy cannot infer a default
    look()
    async with asyncio.timeout(10):
        while len(told) < 1_000:
            await asyncio.sleep(0)
    assert told == list(range(1, 1_001))
    steps = [after - before for before, after in itertools.pairwise([*seen, len(told)])]
    assert max(steps) <= writer.ANSWERS


async def test_who_is_refused_at_the_end_may_hand_in_the_next(opening: Opening) -> None:
    """Everything is answered, however long the chain."""
    box = (await opening()).box
    answers: list[AcceptResult] = []

    def following(result: AcceptResult) -> None:
        answers.append(result)
        if len(answers) < 50:
            box.accept(draft(100 + len(answers)), following)

    box.accept(draft(1), following)
    closing = asyncio.create_task(box.close())
    async with asyncio.timeout(10):
        await closing
    assert isinstance(answers[0], Stored)
    assert [type(answer) for answer in answers[1:]] == [StoreBrokenError] * 49
