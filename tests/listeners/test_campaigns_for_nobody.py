"""Is no campaign left behind of which no message was taken?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import UNSET

from smsd import wire
from smsd.listeners import campaigning, handlers
from smsd.listeners.callers import Caller, ProblemError, Scope
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


STEPS = ("create", "send", "delete")
"""What an import does; it deletes only when nothing was taken."""


async def step(house: House, what: str, id: str, who: str, brings: bool) -> None:
    service = house.engine.service
    match what:
        case "create":
            await campaigning.create(service, SHOP, wire.CampaignCreate(id=id, rate="5/min", trial=who))
        case "send" if brings:
            await handlers.send(service, SHOP, wire.Submission(to=number(1), text=TEXT, campaign=id))
        case "delete" if not brings:
            try:
                await campaigning.delete(service, SHOP, wire.CampaignDelete(id, trial=who))
            except ProblemError as error:
                assert {fault.code for fault in error.faults} <= {"wrong_state", "not_found"}


@pytest.mark.parametrize(("maker", "other"), [(True, True), (True, False), (False, True), (False, False)])
async def test_of_two_imports_at_once_neither_takes_the_terms_of_the_other_away(
    house: House, maker: bool, other: bool
) -> None:
    """Every order of the steps of two that bring messages, or of whose rows none is taken."""
    for run, places in enumerate(combinations(range(2 * len(STEPS)), len(STEPS))):
        id, steps = f"c{run}", {"maker": iter(STEPS), "other": iter(STEPS)}
        for place in range(2 * len(STEPS)):
            who, brings = ("maker", maker) if place in places else ("other", other)
            await step(house, next(steps[who]), id, who, brings)
        found = await house.engine.office.campaigns.find(id, "shop")
        assert [one.terms.rate for one in found] == ([(5, 60_000)] if maker or other else []), places


async def test_one_on_trial_stays_when_it_is_wanted_without_messages(house: House) -> None:
    service = house.engine.service
    made = [
        await campaigning.create(service, SHOP, wire.CampaignCreate(id="c", rate="5/min", trial=trial))
        for trial in ("a", "b", None, "d")
    ]
    assert [one.on_trial for one in made if isinstance(one, wire.CampaignMade)] == [True, True, UNSET, False]
    for word in "abd":
        with pytest.raises(ProblemError, match="without `trial`"):
            await campaigning.delete(service, SHOP, wire.CampaignDelete("c", trial=word))
    assert (await campaigning.delete(service, SHOP, wire.CampaignDelete("c"))).deleted


async def test_one_with_a_message_is_on_trial_no_longer(house: House) -> None:
    service, tried = house.engine.service, list[object]()
    for who in ("a", "b", "c"):
        made = await campaigning.create(service, SHOP, wire.CampaignCreate(id="c", rate="5/min", trial=who))
        assert isinstance(made, wire.CampaignMade)
        tried.append(made.on_trial)
        if who == "b":
            await handlers.send(service, SHOP, wire.Submission(to=number(1), text=TEXT, campaign="c"))
    assert tried == [True, True, False]


async def test_a_trial_over_http(rig: Rig) -> None:
    body = {"id": "c", "rate": "5/min", "trial": "a"}
    assert [(await post(rig, {**body, "trial": word})).json["on_trial"] for word in "ab"] == [True, True]
    client = await rig.client()
    left = [await client.ask("DELETE", f"/v1/campaigns/c?trial={word}", None, auth("shop")) for word in "ab"]
    assert [reply.status for reply in left] == [409, 200]


async def test_who_hands_messages_in_decides_when_the_last_import_leaves(house: House) -> None:
    service, campaigns = house.engine.service, house.engine.office.campaigns
    await campaigning.create(service, SHOP, wire.CampaignCreate(id="c", rate="5/min", trial="a"))
    campaigns.room = room = NoRoom()
    request = wire.CampaignCreate(id="c", rate="5/min", text=TEXT, recipients=[number(1)])
    handing = asyncio.create_task(campaigning.create(service, SHOP, request))
    async with asyncio.timeout(5):
        await room.asked.wait()
    with pytest.raises(ProblemError):
        await campaigning.delete(service, SHOP, wire.CampaignDelete("c", trial="a"))
    assert await campaigns.find("c", "shop")
    handing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handing
    assert not await campaigns.find("c", "shop")


@pytest.mark.parametrize("trial", ["", "x" * 65])
async def test_words_of_a_trial_are_bounded(rig: Rig, trial: str) -> None:
    assert (await post(rig, {"id": "c", "trial": trial})).codes == [("trial", "invalid_value")]
