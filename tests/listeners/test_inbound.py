"""Are texts received listed alike at both doors, page by page, and to nobody but their tenant?"""

from __future__ import annotations

from typing import Any

import pytest

from smsd import wire
from smsd.client import AsyncClient
from smsd.core.consent import Word
from smsd.listeners.callers import Caller, ProblemError, Scope
from smsd.listeners.http.access import Access
from smsd.listeners.operations import OPERATIONS
from smsd.store import Arrival
from tests.listeners.house import House
from tests.listeners.http_rig import serving, token

WRITER = "+14155550199"
OURS = "+15005550006"
ROOT = Caller("root", "local:0", frozenset(Scope), everyone=True)
SHOP = Caller("token shop", "shop", frozenset({Scope.READ}))


async def came(house: House, n: int, **fields: Any) -> str:
    """A text comes in; its id."""
    usual: dict[str, Any] = {
        "id": f"01a2049a-0000-7000-9000-{n:012d}",
        "provider": "main",
        "provider_message_id": f"SM{n}",
        "sender": WRITER,
        "recipient": OURS,
        "text": f"text {n}",
        "word": None,
        "sent_at": None,
        "received_at": house.clock.wall() + n,
        "owner": "shop",
    }
    return (await house.outbox.arrive(Arrival(**{**usual, **fields}))).inbound.id


async def listed(house: House, caller: Caller, **fields: Any) -> list[str]:
    """The texts of one page."""
    answer = await OPERATIONS["inbound"].handler(house.engine.service, caller, wire.Inbound(**fields))
    assert isinstance(answer, wire.InboundList)
    return [each.text or "" for each in answer.items]


async def test_both_doors_show_the_same(house: House) -> None:
    now = house.clock.wall()
    id = await came(house, 1, text="Stop \N{OCTAGONAL SIGN}", word=Word.STOP, sent_at=now - 2_000, received_at=now)
    view = {
        "id": id,
        "from": WRITER,
        "to": OURS,
        "text": "Stop \N{OCTAGONAL SIGN}",
        "tenant": "shop",
        "provider": "main",
        "provider_message_id": "SM1",
        "message": None,
        "word": "stop",
        "sent_at": wire.time_text(now - 2_000),
        "received_at": wire.time_text(now),
        "redacted": False,
    }
    socket = await house.client()
    assert await socket.ask(op="inbound") == {"ok": True, "ref": None, "items": [view], "next_cursor": None}
    async with serving(house) as rig:
        for path in ("/v1/inbound", f"/v1/inbound?from={WRITER}", f"/v1/inbound?from=%2B{WRITER[1:]}&to={OURS}"):
            assert (await rig.ask("GET", path)).json == {"items": [view], "next_cursor": None}
        assert (await rig.ask("GET", f"/v1/inbound?from={OURS}")).json["items"] == []


async def test_pages_follow_each_other_and_filters_narrow(house: House) -> None:
    for n in range(1, 8):
        await came(house, n, sender=WRITER if n % 2 else "12345", owner="shop" if n < 5 else "bank")
    assert await listed(house, ROOT) == [f"text {n}" for n in range(7, 0, -1)]
    assert await listed(house, ROOT, from_="+1 (415) 555-0199", tenant="shop") == ["text 3", "text 1"]
    assert await listed(house, ROOT, from_="12345", to=OURS) == ["text 6", "text 4", "text 2"]
    since = wire.time_text(house.clock.wall() + 6)
    assert await listed(house, ROOT, since=since) == ["text 7", "text 6"]
    async with AsyncClient(house.path) as client:
        found = [each["text"] async for each in client.inbound(from_=WRITER, limit=3)]
    assert found == ["text 7", "text 5", "text 3"]
    socket = await house.client()
    page = await socket.ask(op="inbound", limit=4)
    assert [each["text"] for each in page["items"]] == ["text 7", "text 6", "text 5", "text 4"]
    rest = await socket.ask(op="inbound", limit=4, cursor=page["next_cursor"])
    assert ([each["text"] for each in rest["items"]], rest["next_cursor"]) == (["text 3", "text 2", "text 1"], None)


async def test_a_tenant_sees_its_own(house: House) -> None:
    await came(house, 1)
    await came(house, 2, owner="bank", text="secret of bank")
    assert await listed(house, SHOP) == await listed(house, SHOP, tenant="shop") == ["text 1"]
    assert await listed(house, SHOP, from_=WRITER) == ["text 1"]
    with pytest.raises(ProblemError) as caught:
        await listed(house, SHOP, tenant="bank")
    assert caught.value.faults[0].code == "not_allowed"
    async with serving(
        house, Access((token("reads", Scope.READ, tenant="shop"), token("sends", Scope.SEND, tenant="shop")))
    ) as rig:
        shown = await rig.ask("GET", "/v1/inbound", Authorization="Bearer reads")
        assert [each["text"] for each in shown.json["items"]] == ["text 1"]
        assert (await rig.ask("GET", "/v1/inbound", Authorization="Bearer sends")).status == 403


@pytest.mark.parametrize(
    ("field", "value"),
    [("from_", "no number and no name"), ("to", ""), ("since", "yesterday"), ("cursor", "x"), ("limit", 1_001)],
)
async def test_a_fault_names_its_field(house: House, field: str, value: Any) -> None:
    with pytest.raises(ProblemError) as caught:
        await listed(house, ROOT, **{field: value})
    (fault,) = caught.value.faults
    assert (fault.field, fault.code) == (field.rstrip("_"), "invalid_value")
