"""Is what was written down still there after a crash, in order, and found by every filter?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smsd.core.units import DAY
from smsd.store import audit
from smsd.store.operators import Entry
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW
from tests.store.conftest import Opening
from tests.store.test_sqlite_contract import end_in_a_crash


def entry(n: int, tenant: str = "", operation: str = "retry", who: str = "uid 0") -> Entry:
    return Entry(0, NOW + n, who, tenant, operation, f"message {n}", "force")


async def everything(box: SqliteOutbox, tenant: str | None = None, limit: int = 50, **filters: Any) -> list[Entry]:
    """All lines, newest first, page by page."""
    found: list[Entry] = []
    before: int | None = None
    while True:
        page, before = await box.desk.audit.page(tenant, before=before, limit=limit, **filters)
        found += page
        if before is None:
            return found


async def test_a_line_is_durable_before_it_is_closed(opening: Opening, path: Path) -> None:
    box = (await opening()).box
    first = await box.desk.audit.begin(entry(1))
    await box.desk.audit.end(first, "done")
    await box.desk.audit.begin(entry(2))
    await end_in_a_crash(box, path)
    box = (await opening()).box
    assert [(line.subject, line.outcome) for line in await everything(box)] == [
        ("message 2", None),
        ("message 1", "done"),
    ]
    assert await everything(box) == await everything(box, limit=1)


async def test_a_closed_line_keeps_its_outcome(opening: Opening) -> None:
    desk = (await opening()).box.desk
    nr = await desk.audit.begin(entry(1))
    await desk.audit.end(nr, "not_found", "of 3 none")
    await desk.audit.end(nr, "done")
    [line], _ = await desk.audit.page(None)
    assert line == Entry(nr, NOW + 1, "uid 0", "", "retry", "message 1", "of 3 none", "not_found")


async def test_filters(opening: Opening) -> None:
    box = (await opening()).box
    assert await everything(box) == []
    for n in range(12):
        await box.desk.audit.begin(
            entry(n, tenant=("", "shop")[n % 2], operation=("retry", "pause", "reload")[n % 3], who=f"uid {n % 4}")
        )

    async def numbers(**filters: Any) -> list[int]:
        return [line.at - NOW for line in await everything(box, limit=2, **filters)]

    assert await numbers(tenant="shop") == [11, 9, 7, 5, 3, 1]
    assert await numbers(operation="pause") == [10, 7, 4, 1]
    assert await numbers(who="uid 3", tenant="shop", operation="pause") == [7]
    assert await numbers(since=NOW + 9) == [11, 10, 9]
    assert await numbers(who="nobody") == []


async def test_a_page_looks_at_a_bounded_number_of_lines(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "LOOK", 3)
    box = (await opening()).box
    await box.desk.audit.begin(entry(-2 * DAY, operation="pause"))
    for n in range(10):
        await box.desk.audit.begin(entry(n))
    page, before = await box.desk.audit.page(None, operation="pause")
    assert (page, before) == ((), 9)
    assert [line.operation for line in await everything(box, operation="pause")] == ["pause"]
    assert await everything(box, operation="pause", since=NOW) == []
    _, before = await box.desk.audit.page(None, operation="pause", since=NOW + 2 * DAY)
    assert before is None, "what is older than `since` by far is not looked at"
