"""Are the sums of reports those of the messages, and is nobody held up by them?"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from contextlib import closing
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smsd.core.message import State
from smsd.core.report import Group, Span, Tariff
from smsd.store import StoreBrokenError, StoreError, reports
from smsd.store.operators import REST, TooWideError
from smsd.store.sqlite import SqliteOutbox
from smsd.store.statements import CHECKPOINT
from tests.doubles.builders import NOW, draft
from tests.store.conftest import Opening
from tests.store.history import Row, lay, made, reports_at

DAY = 86_400_000
TARIFF = Tariff({"main": {"": Decimal("0.02"), "+49": Decimal("0.07"), "+4915": Decimal("0.09")}, "second": {}})
EVER = Span(0, NOW * 2)

rows = st.builds(
    Row,
    state=st.sampled_from(State),
    at=st.integers(-3 * DAY, 3 * DAY).map(lambda off: NOW + off),
    tenant=st.sampled_from(("shop", "bank")),
    campaign=st.sampled_from((None, "a", "b")),
    user=st.sampled_from((None, "alice", "bob")),
    type=st.sampled_from((None, "code")),
    provider=st.sampled_from((None, "main", "second")),
    recipient=st.sampled_from(("+14155550123", "+4930123456", "+4915112345", "#00ff")),
    segments=st.integers(1, 5),
    price=st.sampled_from((None, None, "0.0075 USD", "0.1 EUR", "12", "free")),
    category=st.sampled_from(("NETWORK", "EXHAUSTED", "UNDELIVERED")),
    cause=st.sampled_from((None, "TIMEOUT")),
    code=st.sampled_from((None, "30003")),
    send_at=st.none() | st.just(NOW + DAY),
    processed_at=st.none() | st.just(NOW + 2 * DAY),
    calls=st.lists(st.none() | st.integers(0, 9_999), max_size=4),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    """In order of acceptance, but for neighbours."""
    return sorted(draw(st.lists(rows, max_size=40)), key=lambda row: row.at + draw(st.integers(-5_000, 5_000)))


spans = st.builds(
    Span,
    since=st.sampled_from((0, NOW - DAY, NOW + 17)),
    until=st.sampled_from((NOW + 18, NOW + 2 * DAY, 2 * NOW)),
    tenant=st.sampled_from((None, "shop")),
    campaign=st.sampled_from((None, "a")),
)


def of(span: Span, history: list[Row]) -> list[tuple[int, Row]]:
    """Those of the span, with their numbers."""
    return [
        (seq, row)
        for seq, row in enumerate(history, 1)
        if span.since <= row.at < span.until
        and span.tenant in {None, row.tenant}
        and span.campaign in {None, row.campaign}
    ]


def key_of(row: Row, by: Group, days: tuple[int, ...]) -> str:
    if by is Group.DAY:
        return str(max(n for n, day in enumerate(days) if day <= row.at))
    return getattr(row, by.value) or ""


def expected(found: list[Row]) -> dict[str, Any]:
    """What a group's sums must be, worked out with fractions."""
    told: defaultdict[str, Fraction] = defaultdict(Fraction)
    estimated, unpriced = [], 0
    for row in found:
        went = row.state in {State.SENT, State.DELIVERED, State.UNDELIVERED}
        if row.price and row.price != "free":
            amount, _, currency = row.price.partition(" ")
            told[currency] += Fraction(amount)
        elif went and row.provider == "main" and row.price is None:
            cents = {"+4915": 9, "+4930": 7}.get(row.recipient[:5], 2)
            estimated.append(Fraction(cents, 100) * row.segments)
        elif went:
            unpriced += 1
    return {
        "states": Counter(row.state for row in found),
        "segments": sum(row.segments for row in found if row.state in {2, 3, 4}),
        "told": told,
        "estimated": sum(estimated) if estimated else None,
        "unpriced": unpriced,
    }


@settings(max_examples=60, deadline=None)
@given(history=histories(), span=spans, by=st.sampled_from(Group), piece=st.sampled_from((1, 3, 7, 2_000)))
def test_sums_are_those_of_the_messages(history: list[Row], span: Span, by: Group, piece: int) -> None:
    days = (
        tuple(range(span.since - span.since % DAY, min(span.until, NOW + 4 * DAY), DAY))
        if span.since
        else (0, NOW - NOW % 60_000)
    )

    async def ask(found: reports.SqliteReports) -> Any:
        return await found.sums(span, by, days, TARIFF), await found.errors(span), await found.retries(span)

    with TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(reports, "PIECE", piece)
        path = Path(directory, "outbox.db")
        with closing(made(path)) as db:
            ids = lay(db, history)
            sums, errors, retries = asyncio.run(asked(path, ask))
    meant = of(span, history)
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    for _, row in meant:
        by_key[key_of(row, by, days)].append(row)
    assert {
        key: {
            "states": Counter(found.states),
            "segments": found.segments,
            "told": {currency: Fraction(amount) for currency, amount in found.told.items()},
            "estimated": None if found.estimated is None else Fraction(found.estimated),
            "unpriced": found.unpriced,
        }
        for key, found in sums.items()
    } == {key: expected(found) for key, found in by_key.items()}
    compare_errors(meant, ids, errors)
    compare_retries([row for _, row in meant], retries)


def compare_errors(meant: list[tuple[int, Row]], ids: list[str], errors: Any) -> None:
    failed: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for seq, row in meant:
        if row.state in {State.FAILED, State.UNDELIVERED}:
            category = row.cause if row.category == "EXHAUSTED" and row.cause else row.category
            failed[category or "", row.code or "", row.provider or ""].append(ids[seq - 1])
    found = {key: (each.messages, each.example) for key, each in errors.items()}
    assert found == {key: (len(of_it), of_it[-1]) for key, of_it in failed.items()}


def compare_retries(meant: list[Row], retries: Any) -> None:
    ended: defaultdict[int, list[Row]] = defaultdict(list)
    for row in meant:
        if row.state >= State.SENT and row.calls:
            ended[len(row.calls)].append(row)
    assert [*retries] == sorted(ended)
    for calls, found in ended.items():
        timed = [latency for row in found for latency in row.calls if latency is not None]
        waits = [max(0, (row.processed_at or row.at) - max(row.at, row.send_at or 0)) for row in found]
        sums = retries[calls]
        assert (sums.messages, sums.latency_ms, sums.timed, sums.wait_ms) == (
            *(len(found), sum(timed), len(timed), sum(waits)),
        )
        assert sums.succeeded == sum(row.state in {State.SENT, State.DELIVERED} for row in found)


async def asked(path: Path, ask: Any) -> Any:
    found = reports_at(path)
    try:
        return await ask(found)
    finally:
        await found.close()


async def test_minutes_are_added_up_over_providers(tmp_path: Path) -> None:
    with closing(made(tmp_path / "outbox.db")) as db:
        db.execute("INSERT INTO minutes VALUES (99, 'a', 1, 0, 0), (100, 'a', 5, 0, 9), (100, 'b', 2, 1, 0)")
        db.execute("INSERT INTO minutes VALUES (101, 'a', 0, 0, 7), (4000, 'b', 0, 3, 0), (4001, 'b', 1, 0, 0)")
        db.execute("INSERT INTO tenant_minutes VALUES ('shop', 100, 4, 0), ('bank', 100, 3, 1), ('shop', 2000, 0, 1)")
        found = reports_at(tmp_path / "outbox.db")
        assert await found.rate(100, 4_001, None) == [(100, 7, 1), (4_000, 0, 3)]
        assert await found.rate(100, 4_001, "shop") == [(100, 4, 0), (2_000, 0, 1)]
        assert await found.rate(101, 101, None) == []
        await found.close()


async def test_what_is_beyond_the_most_groups_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "MOST_GROUPS", 3)
    with closing(made(tmp_path / "outbox.db")) as db:
        lay(db, [Row(State.FAILED, user=f"u{n % 6}", category="REJECTED", code=str(n % 6)) for n in range(60)])
        found = reports_at(tmp_path / "outbox.db")
        sums = await found.sums(EVER, Group.USER, (), TARIFF)
        assert {key: each.count() for key, each in sums.items()} == {"u0": 10, "u1": 10, "u2": 10, REST: 30}
        errors = await found.errors(EVER)
        assert {key: each.messages for key, each in errors.items()}[REST, "", ""] == 30
        monkeypatch.setattr(reports, "MOST_ROWS", 59)
        with pytest.raises(TooWideError):
            await found.errors(EVER)
        assert await found.errors(Span(NOW + DAY, NOW + 2 * DAY)) == {}, "the bound is on what lies between the ends"
        await found.close()


async def test_the_connection_rests_and_ends(opening: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "IDLE_S", 0.01)
    desk = (await opening()).box.desk.reports

    def resting() -> bool:
        return desk.resting

    assert resting()
    for _ in range(2):
        await desk.errors(EVER)
        assert not resting()
        async with asyncio.timeout(5):
            while not resting():
                await asyncio.sleep(0.005)
    await desk.close()
    await desk.close()
    with pytest.raises(StoreBrokenError):
        await desk.errors(EVER)
    assert resting()


async def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "outbox.db").write_bytes(b"no database" * 1_000)
    found = reports_at(tmp_path / "outbox.db")
    with pytest.raises(StoreError, match="cannot be read"):
        await found.retries(EVER)
    await found.close()


FILL = """
INSERT INTO messages (seq, id, state, recipient, text, tenant, created_at, due, segments, "user", campaign, attempt,
    provider, price, route, flow, priority, expires_at, encoding, length, max_attempts, truncated, pinned)
WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 200000)
SELECT seq, printf('01a2049a-0000-7000-7000-%012d', seq), 2 + seq % 4, '+14155550123', printf('%0100d', seq), 'shop',
    ? + seq * 100, 0, 1, 'user ' || seq % 9000, 'c' || seq % 50, 1, 'main', '0.0075 USD', 'main', 1, 1, 0, 0, 4, 5, 0, 0
FROM n
"""


async def commits(box: SqliteOutbox, numbers: Any, most: float) -> list[float]:
    """Accept one message after the other for so long; the seconds each commit took."""
    took, loop, end = [], asyncio.get_running_loop(), time.monotonic() + most
    while time.monotonic() < end:
        began, done = time.monotonic(), loop.create_future()
        box.accept(draft(next(numbers), text="x" * 1_000), done.set_result)
        await done
        took.append(time.monotonic() - began)
    return took


async def test_nobody_is_held_up_by_a_report_over_200000_messages(opening: Opening, path: Path) -> None:
    """The writer commits meanwhile, other readers read, and every checkpoint reaches the end of the -wal."""
    path.parent.mkdir(parents=True)
    with closing(made(path)) as db:
        db.execute(FILL, (NOW - 30_000_000,))
        db.execute("INSERT INTO attempts (seq, n, provider, started_at, boot, settled_at, cost, latency_ms, outcome) "
                   "SELECT seq, 1, 'main', 0, 0, 0, 1, 5, 'accepted' FROM messages")  # fmt: skip
    box = (await opening(synchronous="normal")).box
    numbers = iter(range(1, 10**9))
    await commits(box, numbers, 0.2)
    whole: list[bool] = []
    read: list[float] = []
    ended = asyncio.Event()

    async def checkpoint() -> None:
        while not ended.is_set():
            assert box._writing is not None
            busy, log, moved = await box._writing.run(lambda db: db.execute(CHECKPOINT).fetchone())
            whole.append(not busy and log == moved)
            began = time.monotonic()
            assert await box.get("01a2049a-0000-7000-7000-000000000001", None) is not None
            read.append(time.monotonic() - began)
            await asyncio.sleep(0.02)

    async def reported() -> int:
        begun = time.monotonic()
        sums = await box.desk.reports.sums(EVER, Group.USER, (), TARIFF)
        retries = await box.desk.reports.retries(EVER)
        print(f"two reports took {time.monotonic() - begun:.2f} s")
        ended.set()
        assert retries[1].messages == 200_000
        return sum(each.count() for each in sums.values())

    beside = asyncio.create_task(checkpoint())
    making = asyncio.create_task(reported())
    took = []
    while not making.done():
        took += await commits(box, numbers, 0.1)
    await beside
    assert await making >= 200_000
    print(f"{len(took)} commits, longest {max(took) * 1e3:.0f} ms, reads {max(read) * 1e3:.0f} ms, {Counter(whole)}")
    assert max(took) < 0.5
    assert max(read) < 0.5
    assert sum(whole) >= 3, "the -wal was checkpointed to its end while the reports ran"
