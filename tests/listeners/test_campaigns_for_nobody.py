"""Is no campaign left behind of which no message was taken?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from smsd import wire
from smsd.listeners import campaigning
from smsd.listeners.callers import Caller, Scope
from tests.listeners.house import House, running, until
from tests.listeners.http_rig import Reply, Rig, serving
from tests.listeners.test_campaigns import ACCESS, TEXT, act, auth, get, lines, number, post

SHOP = Caller("token shop", "shop", frozenset(Scope))


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


NOBODY: list[tuple[Any, list[tuple[str, str]]]] = [
    ({}, [("recipients", "missing_field")]),
    ({"text": TEXT}, [("recipients", "missing_field")]),
    (lines({"text": TEXT}), [("recipients", "missing_field")]),
    ({"id": "none", "text": TEXT, "recipients": []}, [("recipients", "invalid_value")]),
    (
        {"id": "none", "text": TEXT, "recipients": ["+1999", 7]},
        [
            ("recipients", "invalid_value"),
            ("recipients[0]", "invalid_recipient"),
            ("recipients[1]", "invalid_value"),
        ],
    ),
    (
        lines({"id": "none", "text": TEXT}, "+1999"),
        [("recipients", "invalid_value"), ("recipients[0]", "invalid_recipient")],
    ),
]


@pytest.mark.parametrize(("body", "codes"), NOBODY)
async def test_one_for_nobody_is_not_made(rig: Rig, body: Any, codes: list[tuple[str, str]]) -> None:
    reply = await post(rig, body)
    assert (reply.status, reply.codes) == (422, codes)
    assert (await get(rig, "/v1/campaigns")).json["items"] == []


async def send(rig: Rig, **fields: Any) -> Reply:
    return await (await rig.client()).ask(
        "POST", "/v1/messages", {"to": number(9), "text": TEXT, **fields}, auth("shop")
    )


@pytest.mark.parametrize("form", ["list", "lines"])
async def test_one_of_which_the_outbox_takes_nothing_is_not_left_behind(rig: Rig, form: str, tmp_path: Path) -> None:
    """All its recipients are valid, and all their keys belong to other messages."""
    assert (await send(rig, idempotency_key="taken")).status == 202
    head, rows = {"id": "void", "text": TEXT, "rate": "5/min"}, [{"to": number(1), "idempotency_key": "taken"}] * 3
    reply = await post(rig, {**head, "recipients": rows} if form == "list" else lines(head, *rows))
    assert (reply.status, reply.codes[:2]) == (
        422,
        [("recipients", "invalid_value"), ("recipients[0]", "key_conflict")],
    )
    assert (await get(rig, "/v1/campaigns")).json["items"] == []
    assert "no campaign was made" in reply.json["errors"][0]["message"]
    made = await post(rig, {**head, "rate": "7/min", "recipients": [*rows, number(1)]})
    assert (made.status, made.json["created"], made.json["accepted"], made.json["refused"]) == (202, True, 1, 3)
    again = await post(rig, {**head, "rate": "7/min", "recipients": rows})
    assert (again.status, again.json["refused"], again.json["total"]) == (200, 3, 1), "it was there before"
    assert (await get(rig, "/v1/campaigns/void")).json["rate"] == "7/min"


async def test_one_that_breaks_off_before_its_first_message_is_not_left_behind(tmp_path: Path) -> None:
    body = {"id": "void", "text": TEXT, "recipients": [number(1)]}
    async with running(tmp_path, max_backlog=1) as house, serving(house, ACCESS) as rig:
        assert (await send(rig)).status == 202
        reply = await post(rig, body)
        assert (reply.status, reply.codes) == (503, [(None, "backlog_full")])
        assert (await get(rig, "/v1/campaigns")).json["items"] == []
        house.engine.intake.rule(house.engine.intake._rules, house.engine.intake._routes, 1_000)
        assert (await post(rig, body)).json["created"]


async def test_an_empty_body_makes_nothing(rig: Rig) -> None:
    client = await rig.client()
    json_ = {"Content-Type": "application/json"}
    assert (await client.ask("POST", "/v1/campaigns", b"", auth("shop") | json_)).status == 422
    assert (await get(rig, "/v1/campaigns")).json["items"] == []


async def test_it_is_told_when_one_of_which_nothing_was_taken_stays(rig: Rig) -> None:
    """It is paused before the outbox refuses its only message."""
    assert (await send(rig, idempotency_key="taken")).status == 202
    body = {"id": "void", "text": TEXT, "rate": "5/min", "recipients": [{"to": number(1), "idempotency_key": "taken"}]}
    outbox = rig.house.outbox
    outbox.held = []
    asked = asyncio.create_task(post(rig, body))
    await until(lambda: bool(outbox.held))
    assert (await act(rig, "void", "pause")).status == 200
    outbox.release()
    reply = await asked
    assert reply.codes == [("recipients", "invalid_value"), ("recipients[0]", "key_conflict")]
    text = reply.json["errors"][0]["message"]
    assert "no campaign was made" not in text
    assert "Campaign void was made all the same" in text
    view = (await get(rig, "/v1/campaigns/void")).json
    assert (view["status"], view["rate"], view["total"]) == ("paused", "5/min", 0)


class NoRoom(asyncio.Semaphore):
    """Room for nobody."""

    def __init__(self) -> None:
        super().__init__(0)
        self.asked = asyncio.Event()

    async def acquire(self) -> Literal[True]:
        self.asked.set()
        return await super().acquire()


async def test_one_whose_maker_goes_away_before_its_first_message_is_not_left_behind(house: House) -> None:
    """It is made, and there is no room for its first message yet. That none was handed in is not its maker's wish."""
    campaigns = house.engine.office.campaigns
    campaigns.room = room = NoRoom()
    request = wire.CampaignCreate(id="void", text=TEXT, recipients=[number(1)])
    maker = asyncio.create_task(campaigning.create(house.engine.service, SHOP, request))
    async with asyncio.timeout(5):
        await room.asked.wait()
    assert await campaigns.find("void", "shop")
    maker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await maker
    assert not await campaigns.find("void", "shop")


async def test_one_that_is_asked_for_without_messages_stays(house: House) -> None:
    request = wire.CampaignCreate(id="later")
    made = await campaigning.create(house.engine.service, SHOP, request)
    assert isinstance(made, wire.CampaignMade)
    assert made.created
    assert await house.engine.office.campaigns.find("later", "shop")
