"""Do the doors list, retry and delete what failed, for whom it is and as it was written down?"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from smsd.core.campaign import Move
from smsd.core.lifecycle import Event
from smsd.core.message import Error
from smsd.core.verdict import Category
from smsd.listeners import failing
from smsd.listeners.callers import Scope
from smsd.listeners.http import retrying
from smsd.listeners.http.access import Access
from smsd.store import Claim, Stored
from tests.doubles.builders import draft
from tests.listeners.house import Client, House, code
from tests.listeners.http_rig import Reply, Rig, serving, token
from tests.store.contract import accept, attempt, settlement

PATH = retrying.PATH
RECORDED = json.loads((Path(__file__).parent / "recorded" / "failed_records.json").read_text())
OPS = {"Authorization": "Bearer ops"}
ACCESS = Access((token("ops"), token("shop", tenant="shop"), token("reader", Scope.READ)))

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
FORMATS = {
    "time": TIME,
    "number": re.compile(r"\+[1-9]\d{6,14}"),
    "uuid": re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"),
    "error": re.compile(r"[A-Z_]+: .+"),
}


async def fail(house: House, *numbers: int, category: Category = Category.NETWORK, **fields: Any) -> list[str]:
    """Messages with these numbers that failed at their first call; their ids."""
    box, now = house.outbox, house.clock.wall()
    drafts = [draft(500 + n, created_at=now, due=now, expires_at=now + 3_600_000, **fields) for n in numbers]
    seqs = [each.seq for each in await accept(box, *drafts) if isinstance(each, Stored)]
    await box.begin([Claim(seq, 0, "main", "s") for seq in seqs], now)
    error = Error(category, "no", now)
    for seq in seqs:
        assert await box.settle(settlement(seq, Event.FAIL, at=now, error=error), attempt(at=now))
    return [each.id for each in drafts]


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


async def ask(rig: Rig, method: str, query: str = "", body: Any = None, name: str = "ops") -> Reply:
    client = await rig.client()
    return await client.ask(method, PATH + query, body, {"Authorization": f"Bearer {name}"})


def shape(value: Any) -> Any:
    """Keys in their order, types, and what the formats of texts are."""
    if isinstance(value, dict):
        return [(name, shape(each)) for name, each in value.items()]
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    if isinstance(value, str):
        return next((name for name, pattern in FORMATS.items() if pattern.fullmatch(value)), "text")
    return type(value).__name__


def as_recorded(reply: Reply, name: str) -> None:
    recorded = RECORDED[name]
    assert reply.status == recorded["status"], reply.body
    assert reply.headers["content-type"] == "application/json"
    assert shape(reply.json) == shape(recorded["body"]), reply.json


# -- records ----------------------------------------------------------------------------------------------------------


async def test_records_are_listed_as_recorded(house: House, rig: Rig) -> None:
    ids = await fail(house, *range(1, 8))
    await fail(house, 50, tenant="other")
    method, query, body = RECORDED["list"]["request"]
    reply = await ask(rig, method, query, body)
    as_recorded(reply, "list")
    assert reply.json["pagination"] == {"total": 8, "limit": 50, "offset": 0, "hasMore": False}
    first = reply.json["data"][-1]
    assert (first["id"], first["phone"], first["error"], first["attempts"]) == (
        ids[0],
        "+14155550123",
        "NETWORK: no",
        1,
    )
    page = (await ask(rig, "GET", "?limit=2&offset=3", name="shop")).json
    assert [each["id"] for each in page["data"]] == [ids[3], ids[2]]
    assert page["pagination"] == {"total": 7, "limit": 2, "offset": 3, "hasMore": True}
    assert (await ask(rig, "GET")).json["pagination"]["limit"] == 50
    assert (await ask(rig, "GET", "?limit=500&offset=100000")).json["data"] == []


async def test_records_end_where_no_more_can_be_asked_for(
    house: House, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that follows `hasMore` never meets a refusal; what it does not see is named."""
    monkeypatch.setattr(failing, "OFFSET_MOST", 4)
    ids = await fail(house, *range(1, 9))
    seen: list[str] = []
    more = True
    while more:
        reply = await ask(rig, "GET", f"?limit=2&offset={len(seen)}")
        seen += [each["id"] for each in reply.json["data"]]
        more = reply.json["pagination"]["hasMore"]
        assert ("link" in reply.headers) is not more
    assert (seen, reply.headers["link"]) == (ids[:1:-1], '</v1/failed>; rel="next"')
    whole = await ask(rig, "GET", "?limit=8")
    assert (whole.json["pagination"]["hasMore"], "link" in whole.headers) == (False, False)


async def test_a_record_is_retried_and_waited_for(house: House, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (id, again) = await fail(house, 1, 2)
    (refused,) = await fail(house, 3, recipient="+15005550001")
    monkeypatch.setattr(retrying, "WAIT_MS", 50)
    pending = await ask(rig, "POST", body={"id": again})
    as_recorded(pending, "pending")
    assert pending.json == RECORDED["pending"]["body"]
    monkeypatch.undo()
    await house.engine.service.resume("main")
    sent = await ask(rig, "POST", body={"id": id})
    as_recorded(sent, "retried")
    assert sent.json["message"] == RECORDED["retried"]["body"]["message"]
    message = await house.outbox.get(id, None)
    assert message is not None
    assert sent.json["messageSid"] == message.provider_message_id
    failed = await ask(rig, "POST", body={"id": refused})
    as_recorded(failed, "failed_again")
    assert failed.json["state"] == "failed"
    late = await ask(rig, "POST", body={"id": id})
    as_recorded(late, "wrong_state")
    assert late.json["state"] == "sent"


async def test_one_that_may_have_been_sent_is_not_retried(house: House, rig: Rig) -> None:
    (id,) = await fail(house, 1, category=Category.UNCERTAIN)
    reply = await ask(rig, "POST", body={"id": id})
    assert (reply.status, reply.json["success"], reply.json["state"]) == (409, False, "failed")
    assert reply.json["error"].startswith("It failed UNCERTAIN")
    assert "POST /v1/messages/ID/retry with `force`" in reply.json["error"], "a record's retry has no such field"


async def test_a_record_is_deleted(house: House, rig: Rig) -> None:
    (id,) = await fail(house, 1)
    pending = await rig.ask("POST", "/v1/messages", {"to": "+14155550123", "text": "x"}, Authorization="Bearer ops")
    gone = await ask(rig, "DELETE", f"?id={id}")
    as_recorded(gone, "deleted")
    assert gone.json == RECORDED["deleted"]["body"]
    as_recorded(await ask(rig, "DELETE", f"?id={id}"), "unknown")
    waits = await ask(rig, "DELETE", f"?id={pending.json['id']}")
    assert (waits.status, waits.json["state"]) == (409, "pending")


async def test_whatever_is_refused_there_has_that_shape(house: House, rig: Rig) -> None:
    (id,) = await fail(house, 1, tenant="other")
    as_recorded(await ask(rig, "POST", body=RECORDED["unknown"]["request"][2]), "unknown")
    as_recorded(await ask(rig, "POST", body={"id": id}, name="shop"), "unknown")
    as_recorded(await ask(rig, "DELETE", f"?id={id}", name="shop"), "unknown")
    as_recorded(await ask(rig, "GET", "?limit=0"), "refused")
    found = [
        (400, await ask(rig, "GET", "?limit=501&offset=-1")),
        (400, await ask(rig, "GET", "?offset=100001")),
        (400, await ask(rig, "GET", "?page=2")),
        (400, await ask(rig, "POST", body={})),
        (400, await ask(rig, "POST", body=b"{")),
        (400, await ask(rig, "DELETE")),
        (401, await ask(rig, "GET", name="nobody")),
        (403, await ask(rig, "POST", body={"id": id}, name="reader")),
        (405, await ask(rig, "PATCH", body={})),
    ]
    for status, reply in found:
        assert reply.status == status, reply.body
        assert reply.headers["content-type"] == "application/json"
        assert [*reply.json] == ["success", "error"]
        assert reply.json["success"] is False
    assert "`limit`" in found[0][1].json["error"] and "`offset`" in found[0][1].json["error"], "all that is wrong"
    assert "www-authenticate" in found[6][1].headers
    assert found[-1][1].headers["allow"] == "DELETE, GET, HEAD, POST"


# -- the operations ---------------------------------------------------------------------------------------------------


async def test_a_sweep_goes_on_where_it_ended(house: House, client: Client) -> None:
    ids = await fail(house, *range(1, 251))
    begin = house.clock.wall()
    listed = await client.ask(op="failed", limit=200)
    assert [each["id"] for each in listed["items"]] == ids[:49:-1]
    rest = await client.ask(op="failed", cursor=listed["next_cursor"])
    assert [each["id"] for each in rest["items"]] == ids[49::-1]
    request = {"op": "failed_retry", "category": "NETWORK", "rate": "1/s", "limit": 150}
    first = await client.ask(**request)
    assert (first["retried"], first["more"], first["skipped"]) == (150, True, [])
    second = await client.ask(**request, cursor=first["next_cursor"])
    assert (second["retried"], second["more"], second["next_cursor"]) == (100, False, None)
    last = await house.outbox.get(ids[0], None)
    assert last is not None
    assert last.due == begin + 249_000
    assert second["last_at"].endswith("Z")


async def test_deleting_by_a_filter_and_by_ids(house: House, client: Client) -> None:
    ids = await fail(house, 1, 2, 3)
    await fail(house, 10, 11, campaign="spring")
    assert (await client.ask(op="failed_delete", campaign="spring"))["deleted"] == 2
    done = await client.ask(op="failed_delete", ids=[ids[0], "nobody", ids[0]])
    assert {name: done[name] for name in ("deleted", "skipped_total", "more")} == {
        "deleted": 1,
        "skipped_total": 1,
        "more": False,
    }
    assert done["skipped"] == [{"id": "nobody", "code": "not_found", "message": "There is no such message."}]
    assert (await client.ask(op="failed_delete", all=True))["deleted"] == 2
    assert (await client.ask(op="failed"))["items"] == []


async def test_one_of_a_cancelled_campaign_stays(house: House, client: Client) -> None:
    [id] = await fail(house, 1, campaign="spring", tenant="shop")
    await house.outbox.desk.campaigns.move("shop", "spring", Move.CANCEL, house.clock.wall())
    done = await client.ask(op="failed_retry", ids=[id])
    assert (done["retried"], done["skipped"][0]["code"]) == (0, "wrong_state")
    assert done["skipped"][0]["message"].startswith("Its campaign spring is cancelled")
    alone = await client.ask(op="retry", id=id)
    assert alone["error"]["message"].startswith("Its campaign spring is cancelled")
    assert (await client.ask(op="get", id=id))["message"]["state"] == "failed"


async def test_nobody_is_asked_to_force_what_its_campaign_holds(house: House, client: Client, rig: Rig) -> None:
    [id] = await fail(house, 1, campaign="spring", tenant="shop", category=Category.UNCERTAIN)
    await house.outbox.desk.campaigns.move("shop", "spring", Move.CANCEL, house.clock.wall())
    for more in ({}, {"force": True}):
        alone = await client.ask(op="retry", id=id, **more)
        assert alone["error"]["message"].startswith("Its campaign spring is cancelled")
    record = await ask(rig, "POST", body={"id": id})
    assert (record.status, record.json["error"].partition(":")[0]) == (409, "Its campaign spring is cancelled")


async def test_an_unknown_category_is_not_nothing(house: House, client: Client, rig: Rig) -> None:
    await fail(house, 1)
    for op in ("failed", "failed_retry", "failed_delete", "list"):
        error = (await client.ask(op=op, category="NETWROK"))["error"]
        assert (error["code"], error["field"]) == ("invalid_value", "category")
        assert error["message"].endswith("UNCERTAIN; did you mean NETWORK?")
    assert len((await client.ask(op="failed", category="NETWORK"))["items"]) == 1
    assert (await ask_for(rig, "/v1/messages?category=NOPE")).codes == [("category", "invalid_value")]


async def ask_for(rig: Rig, path: str) -> Reply:
    return await (await rig.client()).ask("GET", path, None, OPS)


async def test_the_audit_says_how_many(house: House, client: Client) -> None:
    ids = await fail(house, 1, 2, 3)
    await client.ask(op="failed_retry", ids=[ids[0], "nobody"])
    await client.ask(op="failed_delete", category="NETWORK")
    await client.ask(op="failed_delete", all=True)
    found, _ = await house.outbox.desk.audit.page(None)
    assert [(each.operation, each.detail) for each in found] == [
        ("failed_delete", "all: 0 deleted"),
        ("failed_delete", "category NETWORK: 2 deleted"),
        ("failed_retry", f"ids (2): {ids[0]}, nobody: 1 retried, 1 skipped"),
    ]


async def test_it_must_be_said_which(house: House, client: Client) -> None:
    ids = await fail(house, 1)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "ids"),
        ({"ids": []}, "ids"),
        ({"ids": ["x"] * (failing.MOST_IDS + 1)}, "ids"),
        ({"ids": ids, "all": True}, "ids"),
        ({"ids": ids, "user": "ann"}, "ids"),
        ({"ids": ids, "limit": 3}, "ids"),
        ({"all": True, "user": "ann"}, "all"),
        ({"all": True, "limit": failing.MOST + 1}, "limit"),
        ({"all": True, "cursor": "x" * 32}, "cursor"),
        ({"all": True, "cursor": ""}, "cursor"),
        ({"since": "yesterday"}, "since"),
        ({"to": "0151"}, "to"),
    ]
    for request, field in wrong:
        for op in ("failed_retry", "failed_delete"):
            answer = await client.ask(op=op, **request)
            assert (answer["ok"], answer["error"]["field"]) == (False, field), request
    for terms in ({"rate": "0/min"}, {"ttl": "x"}):
        assert code(await client.ask(op="failed_retry", all=True, **terms)) == "invalid_value"
    assert len((await client.ask(op="failed"))["items"]) == 1


async def test_an_admin_of_a_tenant_has_its_own(house: House, rig: Rig) -> None:
    ids = await fail(house, 1, 2)
    theirs = await fail(house, 10, tenant="other")
    shop = {"Authorization": "Bearer shop"}
    seen = await rig.ask("GET", "/v1/failed", **shop)
    assert [each["id"] for each in seen.json["items"]] == ids[::-1]
    assert (await rig.ask("GET", "/v1/failed?tenant=other", **shop)).status == 403
    assert (await rig.ask("POST", "/v1/failed/retry", {"tenant": "other"}, **shop)).status == 403
    done = await rig.ask("POST", "/v1/failed/delete", {"ids": [*ids, *theirs]}, **shop)
    assert (done.json["deleted"], [each["id"] for each in done.json["skipped"]]) == (2, theirs)
    assert (await rig.ask("POST", "/v1/failed/retry", {"all": True}, **shop)).json["retried"] == 0
    narrowed = await rig.ask("POST", "/v1/failed/retry", {"all": True, "tenant": "other"}, **OPS)
    assert narrowed.json["retried"] == 1
    assert (await rig.ask("GET", "/v1/failed", Authorization="Bearer reader")).status == 403


async def test_filters_narrow(house: House, client: Client) -> None:
    await fail(house, 1, user="ann")
    await fail(house, 2, category=Category.REJECTED)
    house.clock.advance(60_000)
    at = "2026-09-21T14:13:30Z"  # half a minute after the clock's beginning
    await fail(house, 3, recipient="+14155550177")
    for filters, count in (
        ({"user": "ann"}, 1),
        ({"category": "REJECTED"}, 1),
        ({"to": "+1 415 555 0177"}, 1),
        ({"provider": "main"}, 3),
        ({"provider": "other"}, 0),
        ({"since": at}, 1),
        ({"until": at}, 2),
        ({"tenant": "shop"}, 3),
    ):
        answer = await client.ask(op="failed", **filters)
        assert len(answer["items"]) == count, filters


async def test_what_was_done_is_in_the_audit(house: House, rig: Rig) -> None:
    ids = await fail(house, 1, 2)
    await rig.ask("POST", "/v1/failed/retry", {"ids": ids[:1], "rate": "1/s"}, **OPS)
    await asyncio.gather(ask(rig, "DELETE", f"?id={ids[1]}"), ask(rig, "GET"))
    lines = (await rig.ask("GET", "/v1/audit", **OPS)).json["items"]
    told = [(each["operation"], each["subject"], each["outcome"]) for each in lines]
    assert told == [("failed_delete", ids[1], "done"), ("failed_retry", "", "done")], "looking leaves no line"
