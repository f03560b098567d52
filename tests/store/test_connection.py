"""Do connections run whole functions in order, off the loop, and can the names of aiosqlite that are used be used?"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from pathlib import Path

import aiosqlite
import pytest

from smsd.store.connection import Handle, connect
from tests.doubles.builders import NOW, draft
from tests.doubles.inline_connection import inline
from tests.store.conftest import Opening
from tests.store.contract import accept


def test_aiosqlite_still_has_the_private_names() -> None:
    """ThreadConnection rests on them; pyproject pins aiosqlite's minor version for it."""
    assert list(inspect.signature(aiosqlite.Connection._execute).parameters)[:2] == ["self", "fn"]
    assert isinstance(inspect.getattr_static(aiosqlite.Connection, "_conn"), property)
    assert list(inspect.signature(aiosqlite.Connection).parameters)[:2] == ["connector", "iter_chunk_size"]


async def test_functions_run_in_order_on_one_other_thread(tmp_path: Path) -> None:
    connection = await connect(tmp_path / "a.db")
    seen: list[int] = []

    def numbered(n: int, db: Handle) -> int:
        seen.append(n)
        assert db.execute("SELECT ?", (n,)).fetchone() == (n,)
        return threading.get_ident()

    threads = await asyncio.gather(*(connection.run(lambda db, n=n: numbered(n, db)) for n in range(50)))  # type: ignore[misc]  # n is bound early
    assert seen == list(range(50))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()
    await connection.close()
    await connection.close()


@pytest.mark.parametrize("factory", [connect, inline()])
async def test_a_cancelled_caller_does_not_stop_the_work(tmp_path: Path, factory: object) -> None:
    assert callable(factory)
    connection = await factory(tmp_path / "a.db")
    done: list[int] = []
    task = asyncio.ensure_future(connection.run(lambda db: done.append(1)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connection.run(lambda db: done.append(2))
    assert done == [1, 2]
    await connection.close()


@pytest.mark.parametrize("factory", [connect, inline()])
async def test_an_exception_reaches_the_caller(tmp_path: Path, factory: object) -> None:
    assert callable(factory)
    connection = await factory(tmp_path / "a.db")
    with pytest.raises(ZeroDivisionError):
        await connection.run(lambda db: 1 // 0)
    assert await connection.run(lambda db: 7) == 7
    await connection.close()


async def test_no_thread_is_left(opening: Opening) -> None:
    before = set(threading.enumerate())
    box = (await opening()).box
    assert len(set(threading.enumerate()) - before) == 2
    await box.close()
    # A thread that has said its last word to the loop may take a moment to end.
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, 5)
        assert not thread.is_alive()


async def test_inside_the_loop_there_is_no_thread(opening: Opening) -> None:
    before = set(threading.enumerate())
    box = (await opening(connect=inline())).box
    await accept(box, draft(1))
    assert set(threading.enumerate()) == before


async def test_no_text_reaches_the_log(opening: Opening, caplog: pytest.LogCaptureFixture) -> None:
    """aiosqlite logs what it runs at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        box = (await opening()).box
        await accept(box, draft(1, text="very secret", recipient="+14155550199"))
        await box.get(draft(1).id, None)
        await box.expire(NOW, 3)
    assert "executing" in caplog.text
    assert "very secret" not in caplog.text
    assert "4155550199" not in caplog.text
