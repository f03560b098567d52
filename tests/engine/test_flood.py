"""Does a message that comes by itself wait for very many that came before it, and do they keep their part?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from smsd.engine.flood import BESIDE, LATELY_S, MOST, Flood
from smsd.store import AcceptResult, StoreBrokenError, Stored
from smsd.store.connection import Connection, Handle, connect
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft


class Box:
    """A real outbox, a flood into it, and in which commit each message was."""

    def __init__(self, path: Path) -> None:
        self.commits = 0
        self.outbox = SqliteOutbox(
            path, on_fatal=lambda _: None, on_full=lambda _: None, boot_token="b", connect=self._connect
        )
        self.flood = Flood(self.outbox)
        self.results: dict[int, AcceptResult] = {}
        """In the order of the answers."""
        self.commit_of: dict[int, int] = {}

    async def _connect(self, path: Path) -> Connection:
        connection = await connect(path)

        def watch(db: Handle) -> None:
            db.set_trace_callback(self._count)  # type: ignore[attr-defined]  # sqlite3's own

        await connection.run(watch)
        return connection

    def _count(self, statement: str) -> None:
        self.commits += statement.startswith("COMMIT")

    def done(self, n: int) -> Callable[[AcceptResult], None]:
        def tell(result: AcceptResult) -> None:
            self.results[n] = result
            self.commit_of[n] = self.commits

        return tell

    def many(self, first: int, count: int, of: str = "spring") -> None:
        for n in range(first, first + count):
            self.flood.one_of_many(draft(n), self.done(n), of)

    def one(self, n: int) -> None:
        self.flood.one(draft(n), self.done(n))

    async def all(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.results) < count:
                await asyncio.sleep(0)

    async def all_of(self, n: int) -> None:
        async with asyncio.timeout(20):
            while n not in self.results:
                await asyncio.sleep(0)


@pytest.fixture
async def box(tmp_path: Path) -> AsyncIterator[Box]:
    made = Box(tmp_path / "state" / "outbox.db")
    await made.outbox.open(NOW, ())
    made.commits = 0
    yield made
    await made.outbox.close()


async def test_one_is_in_the_next_commit_though_very_many_came_before_it(box: Box) -> None:
    box.many(1, 5_000)
    for n in range(5_001, 5_004):
        begun = box.commits
        box.one(n)
        await box.all_of(n)
        assert box.commit_of[n] <= begun + 2, "the one that runs, and the next"
    assert len(box.results) < 5_000, "it did not come after the flood"
    await box.all(5_003)
    many = [n for n in box.results if n <= 5_000]
    assert many == list(range(1, 5_001)), "the flood keeps its order"


async def test_a_flood_has_its_part_of_every_commit(box: Box) -> None:
    """However many others come one by one."""
    box.one(10_000)
    box.many(1, 1_000)
    others = 0
    while len([n for n in box.results if n < 10_000]) < 1_000:
        others += 1
        box.one(10_000 + others)
        await box.all_of(10_000 + others)
    per_commit = [sum(box.commit_of[n] == commit for n in range(1, 1_001)) for commit in range(1, box.commits + 1)]
    assert max(per_commit) <= BESIDE, "so few that nobody waits for it"
    assert others <= 2 * (1_000 / BESIDE) + 5, "it went on all the while"


async def test_alone_it_is_quick_again(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.one(10_000)
    await box.all(1)
    loop = asyncio.get_running_loop()
    later = loop.time() + LATELY_S
    monkeypatch.setattr(loop, "time", lambda: later)
    box.many(1, 2_000)
    await box.all(2_001)
    assert box.commits <= 2 + 2_000 / MOST + 2


async def test_all_are_answered_when_the_outbox_closes(box: Box) -> None:
    box.many(1, 3_000)
    await box.outbox.close()
    assert list(box.results) == list(range(1, 3_001))
    assert {type(result) for result in box.results.values()} == {Stored, StoreBrokenError}
    box.many(3_001, 2_000)
    assert len(box.results) == 5_000, "an outbox that answers at once does not nest"


async def test_a_caller_that_fails_stops_no_flood(box: Box) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))

    def failing(result: AcceptResult) -> None:
        raise ZeroDivisionError

    box.one(10_000)
    for n in range(1, BESIDE + 1):
        box.flood.one_of_many(draft(n), failing, "failing")
    box.many(100, 200)
    await box.all(201)
    assert len(reported) == BESIDE


async def test_a_small_flood_does_not_wait_for_a_large_one(box: Box) -> None:
    box.many(1, 3_000)
    box.many(5_001, 2, of="two")
    await box.all_of(5_002)
    assert box.commit_of[5_002] <= 2, "with those that follow what was handed over already, by turns"
    await box.all(3_002)
    assert box.flood._waiting == {}


@pytest.mark.parametrize(("part", "call"), [("_room", "refuses"), ("_upkeep", "wrote")], ids=["before", "behind"])
async def test_all_are_answered_when_the_writer_dies(
    box: Box, part: str, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a fault that nothing foresees: of the thread, of the file system; before a commit, or behind it."""

    def dies(*_: object, **__: object) -> bool:
        raise OSError(5, "statvfs")

    monkeypatch.setattr(getattr(box.outbox._writer, part), call, dies)
    box.many(1, 5_000)
    await box.all(5_000)
    assert Stored not in {type(result) for result in box.results.values()}
    assert box.flood._waiting == {}
    assert box.flood._handed == 0
    box.one(6_000)
    await box.all_of(6_000)
