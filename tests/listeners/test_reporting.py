"""Are reports the same at both doors, as JSON and as a table, of one's own messages only, and one after the other?"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smsd import wire
from smsd.core.campaign import Terms
from smsd.core.message import Instant, State
from smsd.core.report import Group, Span, Sums, Tariff
from smsd.core.units import rfc3339
from smsd.engine import reporting
from smsd.listeners.callers import Caller, ProblemError, Scope
from smsd.listeners.http.access import Access
from smsd.listeners.operations import OPERATIONS
from smsd.store import reports
from tests.doubles.clock import ManualClock
from tests.listeners.house import House
from tests.listeners.http_rig import serving, token
from tests.store.history import Row, lay

ROOT = Caller("root", "local:0", frozenset(Scope), everyone=True)
SHOP = Caller("token shop", "shop", frozenset({Scope.READ}))
DAY = 86_400_000


async def filled(house: House, *rows: Row) -> None:
    """Messages that are there already, accepted at the house's time plus their `at`."""
    now = house.clock.wall()
    moved = [replace(row, at=now + row.at) for row in rows]
    assert house.outbox._writing is not None
    await house.outbox._writing.run(lambda db: lay(db, moved))


async def asked(house: House, name: str, caller: Caller = ROOT, **fields: Any) -> Any:
    operation = OPERATIONS[f"report_{name}"]
    return await operation.handler(house.engine.service, caller, operation.request(**fields))


def at(*states: State, **fields: Any) -> list[Row]:
    return [Row(state, **{"at": 0, **fields}) for state in states]


EVERY = tuple(State)


async def test_a_day_is_what_became_of_its_messages(house: House) -> None:
    await filled(
        house,
        *at(*EVERY, State.DELIVERED, at=-DAY, segments=2, price="0.0075 USD"),
        *at(*EVERY, tenant="bank", provider="gone"),
    )
    found = await asked(house, "daily", sla=50)
    assert (len(found.items), found.by, found.sla) == (2, "day", 50)
    yesterday, today = found.items[-2:]
    assert msgspec_dict(yesterday) == {
        **{"group": rfc3339(house.clock.wall() - DAY)[:10], "accepted": 9, "pending": 2, "sent": 1},
        **{"delivered": 2, "undelivered": 1, "failed": 1, "expired": 1, "cancelled": 1, "segments": 8},
        **{"cost": {"USD": "0.0675"}, "estimated": None, "unpriced": 0, "delivery_rate": 50.0, "met": True},
    }
    assert (today.delivery_rate, today.met, today.unpriced, today.cost) == (40.0, False, 3, {})
    whole = await asked(house, "daily", sla=50, since=found.since)
    assert (len(whole.items), whole.items[-2:], whole.total) == (30, found.items, found.total)
    assert (whole.items[0].accepted, whole.items[0].delivery_rate, whole.items[0].met) == (0, None, None)
    assert (found.total.accepted, found.total.delivery_rate, found.total.met) == (17, 45.45, False)
    by = await asked(house, "daily", by="tenant")
    assert [(line.group, line.accepted, line.met) for line in by.items] == [("shop", 9, None), ("bank", 8, None)]


def msgspec_dict(line: Any) -> dict[str, Any]:
    return {name: getattr(line, name) for name in line.__struct_fields__}


async def test_days_are_those_of_the_daemons_zone(house: House) -> None:
    house.clock.step(
        1_774_827_000_000 - house.clock.wall()
    )  # 2026-03-29T23:30Z, in Berlin already the 30th, the day after the change
    house.engine.office.reporting.rule(ZoneInfo("Europe/Berlin"))
    await filled(house, *at(State.SENT), *at(State.SENT, at=-3_600_000 * 2), *at(State.SENT, at=-3_600_000 * 25))
    found = await asked(house, "daily", since="2026-03-28", until="2026-03-30")
    assert [(line.group, line.accepted) for line in found.items] == [
        *(("2026-03-28", 1), ("2026-03-29", 1), ("2026-03-30", 1)),
    ]
    assert (found.since, found.until) == ("2026-03-27T23:00:00.000Z", "2026-03-30T22:00:00.000Z")
    usual = await asked(house, "daily")
    assert (usual.since, [line.group for line in usual.items]) == (
        "2026-02-28T23:00:00.000Z",
        ["2026-03-28", "2026-03-29", "2026-03-30"],
    )


async def test_days_before_the_first_message_are_left_out(house: House) -> None:
    for name in ("daily", "cost"):
        [empty] = (await asked(house, name, by="day")).items
        assert empty.group == rfc3339(house.clock.wall())[:10]
    assert (await asked(house, "cost")).items == []
    await filled(house, *at(State.SENT, at=-3 * DAY), *at(State.CANCELLED, at=-DAY))
    for name in ("daily", "cost"):
        days = [line.group for line in (await asked(house, name, by="day")).items]
        assert days == [rfc3339(house.clock.wall() - n * DAY)[:10] for n in (3, 2, 1, 0)]


async def test_a_campaign_that_there_is_not_is_told(house: House) -> None:
    await house.engine.office.campaigns.make("shop", "made", Terms())
    for name in ("daily", "cost", "errors", "retries"):
        assert await asked(house, name, campaign="made")
        for caller, campaign in ((ROOT, "nope"), (SHOP, "nope"), (replace(SHOP, tenant="bank"), "made")):
            with pytest.raises(ProblemError, match=f"There is no campaign {campaign}.") as refused:
                await asked(house, name, caller, campaign=campaign)
            assert [(fault.code, fault.field) for fault in refused.value.faults] == [("invalid_value", "campaign")]


async def test_why_how_often_and_how_fast(house: House) -> None:
    usual: dict[str, Any] = {"category": "EXHAUSTED", "cause": "NETWORK"}
    await filled(
        house,
        *at(State.FAILED, State.FAILED, **usual),
        *at(State.UNDELIVERED, category="UNDELIVERED", code="30003"),
        *at(State.SENT, calls=(100, 300), campaign="a"),
        *at(State.FAILED, calls=(100, None, 50), campaign="a", **usual),
    )
    found = await asked(house, "errors")
    assert [(line.category, line.code, line.provider, line.messages, line.share) for line in found.items] == [
        *(("NETWORK", None, "main", 3, 75.0), ("UNDELIVERED", "30003", "main", 1, 25.0)),
    ]
    assert (found.total, found.items[0].example) == (4, "01a2049a-0000-7000-8000-000000000005")
    found = await asked(house, "retries")
    assert (found.total_retries, found.successful_retries, found.success_rate) == (2, 1, 50)
    assert found.average_attempts == 1.6
    lines = [(line.attempts, line.messages, line.success_rate, line.average_latency_ms) for line in found.items]
    assert lines == [(1, 3, 0.0, 250), (2, 1, 100.0, 200), (3, 1, 0.0, 75)]
    assert (await asked(house, "retries", campaign="a")).average_attempts == 2.5
    minute = house.clock.wall() // 60_000
    assert house.outbox._writing is not None
    add = "INSERT INTO minutes VALUES (?, 'main', 3, 1, 0), (?, 'main', 9, 0, 0), (?, 'main', 1, 0, 0)"
    await house.outbox._writing.run(lambda db: db.execute(add, (minute, minute - 59, minute - 60)))
    found = await asked(house, "rate")
    assert (found.sent, found.failed, found.peak.minute) == (12, 1, wire.time_text((minute - 59) * 60_000))
    assert (await asked(house, "rate", SHOP)).peak is None


async def test_a_tenant_sees_its_own(house: House) -> None:
    await filled(house, *at(State.SENT, State.FAILED), *at(State.SENT, State.FAILED, tenant="bank", price="9 EUR"))
    for name, fields in (("daily", {}), ("cost", {"by": "provider"}), ("errors", {}), ("retries", {})):
        mine = await asked(house, name, SHOP, **fields)
        assert mine == await asked(house, name, ROOT, tenant="shop", **fields)
        assert mine != await asked(house, name, ROOT, **fields)
    for name in ("daily", "cost", "errors", "retries", "rate"):
        with pytest.raises(ProblemError) as refused:
            await asked(house, name, SHOP, tenant="bank")
        assert refused.value.faults[0].code == "not_allowed"


WRONG: list[tuple[str, dict[str, Any], str]] = [
    *(("daily", {"since": text}, "since") for text in ("yesterday", "2026-02-30", "2026-01-02T03:04:05")),
    ("daily", {"since": "2026-02-01", "until": "2026-01-01"}, "since"),
    ("daily", {"since": "1990-01-01"}, "since"),
    ("daily", {"until": "yesterday"}, "until"),
    ("daily", {"by": "weather"}, "by"),
    ("daily", {"sla": 0}, "sla"),
    ("daily", {"sla": 100.01}, "sla"),
    ("cost", {"format": "xml"}, "format"),
    ("rate", {"since": "2026-01-01", "until": "2026-01-08"}, "since"),
    ("errors", {"until": "0001-01-01"}, "since"),
]


@pytest.mark.parametrize(("name", "fields", "field"), WRONG)
async def test_what_is_wrong_is_named(house: House, name: str, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(ProblemError) as refused:
        await asked(house, name, **fields)
    assert [(fault.code, fault.field) for fault in refused.value.faults] == [("invalid_value", field)]


async def test_the_ends_of_time_are_no_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(house, *at(State.FAILED, State.SENT))
    found = await asked(house, "errors", since="0001-01-01T00:00:00+14:00", until="9999-12-31T23:59:59-14:00")
    assert found.total == 1
    monkeypatch.setattr(reports, "MOST_ROWS", 1)
    with pytest.raises(ProblemError, match="2 messages lie between"):
        await asked(house, "errors")


async def test_both_doors_and_both_forms(house: House) -> None:
    await filled(
        house,
        *at(State.SENT, campaign='=cmd|"x"', price="0.0075 USD"),
        *at(State.SENT, campaign="+49, or so", price="2 EUR"),
        *at(State.SENT, State.SENT, campaign="plain"),
    )
    socket = await house.client()
    async with serving(house, Access((token("reader", Scope.READ), token("sender", Scope.SEND)))) as rig:
        wanted = await socket.ask(op="report_cost", by="campaign")
        found = await rig.ask("GET", "/v1/reports/cost?by=campaign", authorization="Bearer reader")
        assert {**found.json, "ok": True, "ref": None} == wanted
        text = (await socket.ask(op="report_cost", by="campaign", format="csv"))["csv"]
        assert text == (
            "campaign,messages,segments,cost_EUR,cost_USD,estimated,unpriced\r\n"
            "plain,2,2,,,,2\r\n"
            '"\'+49, or so",1,1,2,,,0\r\n'
            '"\'=cmd|""x""",1,1,,0.0075,,0\r\n'
            "total,4,4,2,0.0075,,2\r\n"
        )
        for path, headers in (("&format=csv", {}), ("", {"accept": "text/csv"}), ("&format=csv", {"accept": "*/*"})):
            table = await rig.ask(
                "GET", f"/v1/reports/cost?by=campaign{path}", authorization="Bearer reader", **headers
            )
            assert (table.status, table.body.decode()) == (200, text)
            assert table.headers["content-type"] == "text/csv; charset=utf-8; header=present"
        kept = {"accept": "text/csv", "authorization": "Bearer reader"}
        assert (await rig.ask("GET", "/v1/reports/cost?format=json", **kept)).json["by"] == "tenant"
        for name in ("daily?sla=99.5", "errors", "retries", "rate"):
            assert (await rig.ask("GET", f"/v1/reports/{name}", **kept)).status == 200
        assert (await rig.ask("GET", "/v1/reports/daily?sla=9e9", **kept)).codes == [("sla", "invalid_value")]
        assert (await rig.ask("GET", "/v1/reports/rate?campaign=a", **kept)).codes == [("campaign", "unknown_field")]
        assert (await rig.ask("GET", "/v1/reports/daily", authorization="Bearer sender")).status == 403


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.lists(texts, min_size=1))
def test_a_table_is_read_as_it_was_written(names: Sequence[str]) -> None:
    """By another reader of RFC 4180; and nothing in it begins like a formula."""
    lines = [wire.CostLine(name, n, -n, {"USD": "-1.5"}, "0.1", 0) for n, name in enumerate(names)]
    table = wire.table(wire.CostLine, lines, "user")
    assert table.endswith("\r\n")
    head, *read = csv.reader(io.StringIO(table, newline=""), strict=True)
    assert head == ["user", "messages", "segments", "cost_USD", "estimated", "unpriced"]
    assert [row[1:] for row in read] == [[str(n), str(-n), "-1.5", "0.1", "0"] for n in range(len(names))]
    for (shown, *_), name in zip(read, names, strict=True):
        assert shown in {name, f"'{name}"}
        assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
        assert (shown != name) is name.startswith(("=", "+", "-", "@", "\t", "\r"))


class Slow:
    """Reports that last until they are let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.at_once = 0
        self.most = 0

    async def sums(self, span: Span, by: Group, days: Sequence[Instant], tariff: Tariff) -> Mapping[str, Sums]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await self.gate.wait()
        finally:
            self.at_once -= 1
        return {}


async def test_one_at_a_time_and_a_bounded_queue() -> None:
    slow = Slow()
    desk = reporting.Reporting(slow, {}, ManualClock())  # type: ignore[arg-type]  # of the protocol what is asked for
    span = Span(0, DAY)
    mine = [asyncio.create_task(desk.lines("me", span, Group.TENANT)) for _ in range(reporting.OF_ONE)]
    await asyncio.sleep(0)
    with pytest.raises(reporting.BusyError) as own:
        await desk.lines("me", span, Group.TENANT)
    others = [
        asyncio.create_task(desk.lines(f"{n}", span, Group.TENANT)) for n in range(reporting.QUEUE + 1 - len(mine))
    ]
    await asyncio.sleep(0)
    with pytest.raises(reporting.BusyError) as full:
        await desk.lines("late", span, Group.TENANT)
    assert (own.value.own, full.value.own) == (True, False)
    mine[0].cancel()
    mine[1].cancel()
    await asyncio.wait(mine[:2])
    another = asyncio.create_task(desk.lines("me", span, Group.TENANT))
    await asyncio.sleep(0)
    slow.gate.set()
    assert [lines for lines, _ in await asyncio.gather(*mine[2:], *others, another)] == [[]] * (2 + len(others) + 1)
    assert (slow.most, slow.at_once) == (1, 0)
