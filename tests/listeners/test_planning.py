"""Does the plan of a campaign that is there say what the real request would meet?

When rows go is proven in tests/engine/test_planning.py; here they are planned as callers do it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace, Window
from tests.listeners.house import House, running
from tests.listeners.http_rig import Reply, Rig, serving
from tests.listeners.test_campaigns import ACCESS, TEXT, act, auth, get, lines, number, post

ROWS = [{"to": number(n), "text": TEXT} for n in range(3)]
BODY = {"id": "spring", "text": TEXT, "recipients": [number(n) for n in range(3)]}
TERMS = {"rate": "60/min", "send_between": "09:00-18:00"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Its provider has a rate and is called."""
    async with running(tmp_path, rules=ProviderRules(Pace((Window(10, 1_000_000),)))) as found:
        await found.engine.service.resume("main")
        yield found


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


async def plan(rig: Rig, who: str = "shop", **said: Any) -> Reply:
    body = {"campaign": "spring", "rows": ROWS, "end": True, **said}
    return await (await rig.client()).ask("POST", "/v1/plans", body, auth(who))


def limit(planned: dict[str, Any]) -> tuple[bool, str]:
    """Whether it ends, and what decides."""
    return planned["finishes_at"] is not None, planned["decided_by"]["limit"] if planned["decided_by"] else ""


async def test_one_that_is_paused_never_ends_whatever_is_said(rig: Rig) -> None:
    assert (await post(rig, {"id": "spring", "rate": "1/min"})).status == 202
    for said in ({}, {"rate": "1/min"}):
        assert limit((await plan(rig, **said)).json["result"]) == (True, "campaign_limit")
    await act(rig, "spring", "pause")
    for said in ({}, {"rate": "1/min"}):
        assert limit((await plan(rig, **said)).json["result"]) == (False, "campaign_paused")
    for body in (BODY, lines({"id": "spring", "text": TEXT, "rate": "1/min"}, number(1))):
        dry = await post(rig, body if isinstance(body, bytes) else {**body, "rate": "1/min"}, query="?dry_run=1")
        assert limit(dry.json) == (False, "campaign_paused")
    await act(rig, "spring", "resume")
    assert limit((await plan(rig)).json["result"]) == (True, "campaign_limit")


async def test_one_that_was_paused_and_then_lost_all_its_messages_is_paused(rig: Rig) -> None:
    """It is completed, but what is handed in now waits."""
    await post(rig, {"id": "spring"})
    await act(rig, "spring", "pause")
    assert (await post(rig, BODY)).json["accepted"] == 3
    for each in (await get(rig, "/v1/messages")).json["items"]:
        await (await rig.client()).ask("POST", f"/v1/messages/{each['id']}/cancel", {}, auth("shop"))
    assert (await get(rig, "/v1/campaigns/spring")).json["status"] == "completed"
    assert limit((await plan(rig)).json["result"]) == (False, "campaign_paused")


async def test_one_that_is_cancelled_is_told_of_before_its_terms(rig: Rig) -> None:
    assert (await post(rig, {"id": "spring", "rate": "1/min"})).status == 202
    await act(rig, "spring", "cancel")
    for rate in ("1/min", "2/min"):
        for query in ("", "?dry_run=1"):
            refused = await post(rig, {**BODY, "rate": rate}, query=query)
            assert (refused.status, refused.codes) == (409, [("id", "wrong_state")])
        assert limit((await plan(rig, rate=rate)).json["result"]) == (False, "campaign_paused")


async def test_other_terms_are_refused_as_they_would_be(rig: Rig) -> None:
    assert (await post(rig, {"id": "spring", "name": "One", **TERMS})).status == 202
    for change in ({"rate": "900/s"}, {"send_between": "09:00-10:00"}, {"name": "Two"}):
        body = {**BODY, "name": "One", **TERMS, **change}
        for query in ("", "?dry_run=1"):
            refused = await post(rig, body, query=query)
            assert (refused.status, refused.codes) == (409, [("id", "key_conflict")])
    for said in ({"rate": "900/s"}, {"send_between": "09:00-10:00"}, {**TERMS, "rate": "900/s"}):
        refused = await plan(rig, **said)
        assert (refused.status, refused.codes) == (409, [("campaign", "key_conflict")])
    same = await post(rig, {**BODY, "name": "One", **TERMS}, query="?dry_run=1")
    assert (same.status, same.json["valid"]) == (200, 3)
    assert (await plan(rig, "bank", rate="900/s")).status == 200, "another's has nothing to do with it"


async def test_what_is_not_said_is_what_it_has(rig: Rig, house: House) -> None:
    assert (await post(rig, {"id": "spring", "rate": "1/min", "send_between": "00:00-23:59"})).status == 202
    house.engine.service.office.campaigns.rule(ZoneInfo("Europe/Berlin"))
    plans = [
        (await plan(rig, **said)).json["result"] for said in ({}, {"rate": "1/min"}, {"send_between": "00:00-23:59"})
    ]
    assert {each["finishes_at"] for each in plans} == {plans[0]["finishes_at"]}
    assert {limit(each) for each in plans} == {(True, "campaign_limit")}
