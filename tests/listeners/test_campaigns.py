"""Do campaigns come in whole, once, and stay their tenant's own?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from smsd.listeners.callers import Scope
from smsd.listeners.handing import AT_ONCE
from smsd.listeners.http.access import Access
from smsd.listeners.http.door import HttpLimits
from tests.listeners.batch_rig import stored
from tests.listeners.house import Client, House, running, until
from tests.listeners.http_rig import HOST, Reply, Rig, serving, token

NDJSON = {"Content-Type": "application/x-ndjson"}
TEXT = "Open again from Monday."
STATUS = Path(__file__).parent / "recorded" / "campaign_status.json"
"""As it stands in the document that the shape comes from."""

ACCESS = Access(
    (token("shop", tenant="shop"), token("bank", tenant="bank"), token("ops"), token("eye", Scope.READ, tenant="shop"))
)
Json = dict[str, Any]


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


def auth(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def number(n: int) -> str:
    return f"+1201{2_000_000 + n}"


def lines(head: Json, *recipients: object) -> bytes:
    """The body of a stream."""
    return b"".join(json.dumps(each).encode() + b"\n" for each in (head, *recipients))


async def post(rig: Rig, body: Any, who: str = "shop", query: str = "") -> Reply:
    """A campaign; bytes are lines."""
    client = await rig.client()
    headers = auth(who) | (NDJSON if isinstance(body, bytes) else {})
    return await client.ask("POST", f"/v1/campaigns{query}", body, headers)


async def get(rig: Rig, path: str, who: str = "shop") -> Reply:
    return await (await rig.client()).ask("GET", path, None, auth(who))


async def act(rig: Rig, id: str, what: str, who: str = "shop", **fields: Any) -> Reply:
    return await (await rig.client()).ask("POST", f"/v1/campaigns/{id}/{what}", fields, auth(who))


async def test_a_list_is_accepted_once(rig: Rig, tmp_path: Path) -> None:
    body = {
        "id": "spring",
        "name": "Spring sale",
        "text": TEXT,
        "metadata": {"kind": "sale"},
        "rate": "1000/hour",
        "send_between": {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"},
        "recipients": [number(1), {"to": number(2), "text": "You only.", "metadata": {"n": "2"}, "priority": "high"}],
    }
    made = await post(rig, body)
    assert made.status == 202
    assert made.json == {
        "id": "spring",
        "tenant": "shop",
        "created": True,
        "status": "sending",
        "accepted": 2,
        "replayed": 0,
        "failed": 0,
        "refused": 0,
        "errors": [],
        "total": 2,
    }
    again = await post(rig, body)
    assert again.status == 200
    assert again.json == {**made.json, "created": False, "accepted": 0, "replayed": 2}
    assert stored(tmp_path) == 2
    second, first = (await get(rig, "/v1/messages?campaign=spring")).json["items"]
    assert (first["to"], first["text"], first["priority"], first["metadata"]) == (
        number(1),
        TEXT,
        "bulk",
        {"kind": "sale"},
    )
    assert (second["text"], second["priority"], second["metadata"]) == ("You only.", "high", {"kind": "sale", "n": "2"})
    assert [first["idempotency_key"], second["idempotency_key"]] == ["campaign:spring:0", "campaign:spring:1"]
    view = (await get(rig, "/v1/campaigns/spring")).json
    assert (view["name"], view["rate"]) == ("Spring sale", "1000/hour")
    assert view["send_between"] == {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"}
    assert (view["total"], view["queued"], view["states"]["pending"], view["progress"]) == (2, 2, 2, 0.0)


async def test_what_is_chosen_where_nothing_is_said(rig: Rig) -> None:
    made = (await post(rig, {"text": TEXT, "recipients": [number(1)], "send_between": "9:00-18:30"})).json
    view = (await get(rig, f"/v1/campaigns/{made['id']}")).json
    assert len(made["id"]) == 36
    assert view["send_between"] == {"from": "09:00", "to": "18:30", "zone": "UTC"}
    assert (view["name"], view["rate"], view["paused_at"]) == ("", None, None)


async def test_a_campaign_may_be_made_before_its_messages(rig: Rig) -> None:
    """As `smsd import` does."""
    made = await post(rig, {"id": "early", "rate": "5/min"})
    assert (made.status, made.json["created"], made.json["total"], made.json["status"]) == (202, True, 0, "sending")
    sent = {"to": number(1), "text": TEXT, "campaign": "early"}
    assert (await (await rig.client()).ask("POST", "/v1/messages", sent, auth("shop"))).status == 202
    view = (await get(rig, "/v1/campaigns/early")).json
    assert (view["total"], view["rate"]) == (1, "5/min")


async def test_recipients_one_a_line(rig: Rig, tmp_path: Path) -> None:
    """More than are in flight at once, and more than a body may hold; the bad ones are told apart."""
    count = 3 * AT_ONCE
    rows: list[object] = [{"to": number(n), "metadata": {"pad": "x" * 1_400}} for n in range(count)]
    rows[5] = {"to": "12"}
    rows[7] = {"to": number(7), "colour": "red"}
    rows[9] = {"to": number(9), "tenant": "bank"}
    rows[11] = 12
    body = lines({"id": "long", "text": TEXT}, *rows) + b"\n{broken\n" + json.dumps("x" * 70_000).encode() + b"\n"
    assert len(body) > 1 << 20
    made = await post(rig, body)
    assert made.status == 202, made.body
    assert made.json["accepted"] == count - 4 == stored(tmp_path)
    wrong = [(each["index"], each["code"], each["field"]) for each in made.json["errors"]]
    assert wrong == [
        (5, "invalid_recipient", "to"),
        (7, "unknown_field", "colour"),
        (9, "invalid_value", "tenant"),
        (11, "malformed", None),
        (count, "malformed", None),
        (count + 1, "too_long", None),
    ]
    assert made.json["refused"] == 6
    again = await post(rig, body)
    assert (again.status, again.json["replayed"], stored(tmp_path)) == (200, count - 4, count - 4)


async def test_only_the_first_faults_are_named(rig: Rig) -> None:
    made = (await post(rig, {"id": "bad", "text": TEXT, "recipients": ["1"] * 150 + [number(1)]})).json
    assert (made["refused"], len(made["errors"]), made["errors"][99]["index"], made["total"]) == (150, 100, 99, 1)


async def test_a_stream_that_is_cut_is_taken_up_again(rig: Rig, house: House, tmp_path: Path) -> None:
    rows = [number(n) for n in range(1_000)]
    body = lines({"id": "cut", "text": TEXT}, *rows)
    client = await rig.client()
    head = {"Host": HOST, **auth("shop"), **NDJSON, "Content-Length": str(len(body))}
    client.say("\r\n".join(["POST /v1/campaigns HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]).encode())
    client.say(body[: len(body) // 2])  # in the middle of a number
    await until(lambda: stored(tmp_path) > 300)
    client.writer.transport.abort()
    made = await post(rig, body)
    assert made.status == 202
    assert made.json["replayed"] > 300
    assert made.json["accepted"] + made.json["replayed"] == made.json["total"] == stored(tmp_path) == 1_000


async def test_a_stream_that_stands_still_is_told_how_far_it_came(house: House, tmp_path: Path) -> None:
    async with serving(house, ACCESS) as rig:
        object.__setattr__(rig.door.batch_limits, "idle_s", 0.2)
        client = await rig.client()
        part = lines({"id": "slow", "text": TEXT}, number(1), number(2)) + b'"+1'
        head = {"Host": HOST, **auth("shop"), **NDJSON, "Content-Length": "100000"}
        client.say(
            "\r\n".join(["POST /v1/campaigns HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]).encode()
            + part
        )
        reply = await client.reply()
    assert (reply.status, reply.codes) == (400, [(None, "malformed")])
    assert "2 messages are there" in reply.json["detail"]
    assert stored(tmp_path) == 2


async def test_no_room_in_the_middle(tmp_path: Path) -> None:
    """The answer says so; the same again, when there is room, goes on."""
    body = {"id": "big", "text": TEXT, "recipients": [number(n) for n in range(400)]}
    async with running(tmp_path, max_backlog=300) as house, serving(house, ACCESS) as rig:
        reply = await post(rig, body)
        assert (reply.status, reply.codes) == (503, [(None, "backlog_full")])
        assert reply.headers["retry-after"]
        assert "Of campaign big 300 messages are there" in reply.json["detail"]
        assert '`id` "big"' in reply.json["detail"]
        streamed = await post(rig, lines({"id": "big", "text": TEXT}, *body["recipients"]))
        assert (streamed.status, streamed.codes) == (503, [(None, "backlog_full")])
        house.engine.intake.rule(house.engine.intake._rules, house.engine.intake._routes, 1_000)
        done = await post(rig, body)
        assert (done.status, done.json["accepted"], done.json["replayed"]) == (202, 100, 300)


async def test_other_terms_are_another_campaign(rig: Rig) -> None:
    body = {"id": "terms", "name": "One", "text": TEXT, "recipients": [number(1)], "rate": "60/min"}
    assert (await post(rig, body)).status == 202
    for change in ({"name": "Two"}, {"rate": "61/min"}, {"send_between": "09:00-10:00"}):
        refused = await post(rig, body | change)
        assert (refused.status, refused.codes) == (409, [("id", "key_conflict")])
    other = await post(rig, body | {"text": "Other."})
    assert other.json["errors"][0]["code"] == "key_conflict"


async def test_a_repeat_agrees_whatever_zone_is_the_usual_one_now(rig: Rig, house: House) -> None:
    """An import that broke off goes on after the configuration named another zone."""
    usual = {"id": "spring", "text": TEXT, "recipients": [number(1)], "send_between": "09:00-18:00"}
    named = {**usual, "id": "summer", "send_between": {"from": "09:00", "to": "18:00", "zone": "UTC"}}
    for body in (usual, named):
        assert (await post(rig, body)).status == 202
    house.engine.service.office.campaigns.rule(ZoneInfo("Europe/Berlin"))
    for body in (usual, named):
        again = await post(rig, body)
        assert (again.status, again.json["replayed"]) == (200, 1)
    for body in ({**usual, "send_between": "09:00-19:00"}, {**named, "send_between": {"from": "09:00", "to": "19:00"}}):
        assert (await post(rig, body)).codes == [("id", "key_conflict")]
    berlin = {**usual, "send_between": {"from": "09:00", "to": "18:00", "zone": "Europe/Berlin"}}
    assert (await post(rig, berlin)).codes == [("id", "key_conflict")]
    assert (await get(rig, "/v1/campaigns/spring")).json["send_between"]["zone"] == "UTC"


WRONG = [
    ({"id": ""}, "id", "invalid_value"),
    ({"id": "x" * 129}, "id", "invalid_value"),
    ({"name": "x" * 129}, "name", "invalid_value"),
    ({"rate": "fast"}, "rate", "invalid_value"),
    ({"rate": "200000/day"}, "rate", "invalid_value"),
    ({"rate": "1/40d"}, "rate", "invalid_value"),
    ({"send_between": "9-18"}, "send_between", "invalid_value"),
    ({"send_between": {"from": "09:00", "to": "24:00"}}, "send_between", "invalid_value"),
    ({"send_between": {"from": "09:00", "to": "09:00"}}, "send_between", "invalid_value"),
    ({"send_between": {"from": "09:00", "to": "18:00", "zone": "../passwd"}}, "send_between", "invalid_value"),
    ({"send_between": {"from": "09:00", "to": "18:00", "zone": "America"}}, "send_between", "invalid_value"),
    ({"send_between": {"from": "09:00", "to": "18:00", "at": "UTC"}}, "send_between", "invalid_value"),
    ({"text": "bell \a"}, "text", "invalid_value"),
    ({"ttl": "soon"}, "ttl", "invalid_value"),
    ({"idempotency_key": "k"}, "idempotency_key", "unknown_field"),
    ({"campaign": "x"}, "campaign", "unknown_field"),
    ({"recipients": "+14155550123"}, "recipients", "invalid_value"),
    ({"tenant": "bank"}, "tenant", "not_allowed"),
]


@pytest.mark.parametrize(("change", "field", "code"), WRONG)
async def test_what_is_wrong_with_all_is_told_once(rig: Rig, change: Json, field: str, code: str) -> None:
    reply = await post(rig, {"id": "wrong", "text": TEXT, "recipients": [number(1), number(2)], **change})
    assert reply.codes == [(field, code)]
    assert reply.status == (403 if code == "not_allowed" else 422)
    assert (await get(rig, "/v1/campaigns/wrong")).status == 404


async def test_all_that_is_wrong_is_told_at_once(rig: Rig) -> None:
    wrong = {"foo": 1, "rate": "fast", "ttl": "soon", "send_between": "9-18", "name": 5, "text": TEXT}
    for body in ({**wrong, "recipients": [number(1)]}, lines(wrong, number(1))):
        reply = await post(rig, body, query="?dry_run=2")
        assert [each["message"] for each in reply.json["errors"] if each["field"] == "dry_run"] == [
            "`dry_run` is 1 or 0, or true or false"
        ]
        fields = ["dry_run", "foo", "name", "rate", "send_between", "ttl"]
        assert sorted(str(field) for field, _ in reply.codes) == fields


async def test_refused_ones_before_the_first_keep_their_places(rig: Rig) -> None:
    body = {"id": "some", "text": TEXT, "recipients": ["+1999", number(1), "+1998", number(2)]}
    made = await post(rig, body)
    assert (made.status, made.json["accepted"], made.json["refused"]) == (202, 2, 2)
    assert [each["index"] for each in made.json["errors"]] == [0, 2]
    keys = [each["idempotency_key"] for each in (await get(rig, "/v1/messages?campaign=some")).json["items"]]
    assert keys == ["campaign:some:3", "campaign:some:1"]
    assert (await post(rig, body)).json["replayed"] == 2
    assert (await post(rig, {**body, "recipients": ["+1999"]})).json["refused"] == 1


async def test_a_completed_one_is_not_held_up(rig: Rig, house: House) -> None:
    """There is nothing of it to hold up; what came later would be, without a word."""
    assert (await post(rig, {"id": "over", "text": TEXT, "recipients": [number(1)]})).status == 202
    [one] = (await get(rig, "/v1/messages?campaign=over")).json["items"]
    await (await rig.client()).ask("POST", f"/v1/messages/{one['id']}/cancel", {}, auth("shop"))
    before = (await get(rig, "/v1/campaigns/over")).json
    assert before["status"] == "completed"
    for what in ("pause", "cancel"):
        reply = await act(rig, "over", what)
        assert (reply.status, reply.codes) == (409, [("id", "wrong_state")])
    assert (await act(rig, "over", "resume")).status == 200
    assert (await get(rig, "/v1/campaigns/over")).json == before
    sent = {"to": number(2), "text": TEXT, "campaign": "over"}
    assert (await (await rig.client()).ask("POST", "/v1/messages", sent, auth("shop"))).status == 202
    assert (await get(rig, "/v1/campaigns/over")).json["status"] == "sending"
    assert (await act(rig, "over", "pause")).json["status"] == "paused"


async def test_streams_that_are_none(rig: Rig) -> None:
    assert (await post(rig, b"")).codes == [(None, "malformed")]
    assert (await post(rig, b"[1]\n")).codes == [(None, "malformed")]
    assert (await post(rig, lines({"id": "x", "recipients": []}))).codes == [("recipients", "invalid_value")]
    assert (await post(rig, lines({"id": "x"}), query="?dry=1")).codes == [("dry", "unknown_field")]
    client = await rig.client()
    plain = await client.ask("POST", "/v1/campaigns", b"{}", auth("shop") | {"Content-Type": "text/plain"})
    assert plain.status == 415


async def test_campaigns_are_their_tenants_own(rig: Rig) -> None:
    for who in ("shop", "bank"):
        body = {"id": "same", "text": TEXT, "recipients": [number(1)]}
        assert (await post(rig, body, who)).status == 202
    assert (await post(rig, {"id": "theirs", "text": TEXT, "recipients": [number(1)]}, "bank")).status == 202
    for path in ("/v1/campaigns/theirs", "/api/campaigns/theirs/status"):
        assert (await get(rig, path)).status == 404
    for what in ("pause", "resume", "cancel"):
        assert (await act(rig, "theirs", what)).status == 404
        assert (await act(rig, "same", what, "eye")).status == 403
    assert (await get(rig, "/v1/campaigns/same?tenant=bank")).codes == [("tenant", "not_allowed")]
    assert [each["id"] for each in (await get(rig, "/v1/campaigns", "eye")).json["items"]] == ["same"]
    assert (await get(rig, "/v1/campaigns/same", "ops")).codes == [("tenant", "invalid_value")]
    named = await act(rig, "same", "pause", "ops", tenant="bank")
    assert (named.json["tenant"], named.json["status"]) == ("bank", "paused")
    assert (await get(rig, "/v1/campaigns/same")).json["status"] == "sending"
    ours = (await get(rig, "/v1/campaigns?limit=2", "ops")).json
    assert [each["id"] for each in ours["items"]] == ["theirs", "same"]
    rest = (await get(rig, f"/v1/campaigns?limit=2&cursor={ours['next_cursor']}", "ops")).json
    assert ([each["tenant"] for each in rest["items"]], rest["next_cursor"]) == (["shop"], None)
    made = (await post(rig, {"id": "given", "tenant": "bank", "text": TEXT, "recipients": [number(1)]}, "ops")).json
    assert (made["tenant"], made["accepted"]) == ("bank", 1)
    assert (await get(rig, "/v1/campaigns/given", "bank")).json["total"] == 1


async def test_held_up_and_cancelled(rig: Rig, house: House) -> None:
    body = {"id": "stop", "text": TEXT, "recipients": [number(n) for n in range(450)]}
    assert (await post(rig, body)).status == 202
    paused = (await act(rig, "stop", "pause")).json
    assert (paused["status"], paused["eta"]) == ("paused", None)
    assert paused["paused_at"] is not None
    assert (await act(rig, "stop", "resume")).json["status"] == "sending"
    cancelled = (await act(rig, "stop", "cancel")).json
    assert cancelled["status"] == "cancelled"
    async with asyncio.timeout(10):
        while (view := (await get(rig, "/v1/campaigns/stop")).json)["queued"]:
            await asyncio.sleep(0.01)
    assert (view["states"]["cancelled"], view["failed"], view["progress"]) == (450, 450, 1.0)
    assert (await act(rig, "stop", "cancel")).json["cancelled_at"] == cancelled["cancelled_at"]
    for what in ("pause", "resume"):
        assert (await act(rig, "stop", what)).codes == [("id", "wrong_state")]
    assert (await post(rig, body)).codes == [("id", "wrong_state")]


async def delete(rig: Rig, id: str, who: str = "shop", query: str = "") -> Reply:
    return await (await rig.client()).ask("DELETE", f"/v1/campaigns/{id}{query}", None, auth(who))


async def test_only_one_that_never_had_a_message_is_deleted(rig: Rig) -> None:
    for tenant in ("shop", "bank"):
        await post(rig, {"id": "wrong", "tenant": tenant}, "ops")
    assert (await delete(rig, "wrong", "eye")).status == 403
    assert (await delete(rig, "wrong", "ops")).codes == [("tenant", "invalid_value")]
    assert (await act(rig, "wrong", "pause")).status == 200
    paused = await delete(rig, "wrong")
    assert (paused.status, paused.codes) == (409, [("id", "wrong_state")])
    assert "resume it first" in paused.json["errors"][0]["message"]
    assert (await act(rig, "wrong", "resume")).status == 200
    gone = await delete(rig, "wrong")
    assert (gone.status, gone.json) == (200, {"id": "wrong", "tenant": "shop", "deleted": True})
    assert (await get(rig, "/v1/campaigns/wrong")).status == 404
    assert (await delete(rig, "wrong")).codes == [("id", "not_found")]
    assert (await get(rig, "/v1/campaigns/wrong", "bank")).status == 200, "a neighbour's of the same id"
    assert (await delete(rig, "wrong", "ops", "?tenant=bank")).json["tenant"] == "bank"


async def test_one_that_had_a_message_stays(rig: Rig) -> None:
    body = {"id": "had", "text": TEXT, "rate": "5/min", "recipients": [number(1)]}
    assert (await post(rig, body)).status == 202
    full = await delete(rig, "had")
    assert (full.status, full.codes) == (409, [("id", "wrong_state")])
    assert "has messages or had some, so it stays: cancel it" in full.json["errors"][0]["message"]
    assert (await act(rig, "had", "cancel")).status == 200
    cancelled = await delete(rig, "had")
    assert (cancelled.status, "is cancelled, and stays so" in cancelled.json["errors"][0]["message"]) == (409, True)
    assert (await get(rig, "/v1/campaigns/had")).json["rate"] == "5/min"
    lines_ = (await get(rig, "/v1/audit?operation=campaign_delete", "ops")).json["items"]
    assert [(each["subject"], each["outcome"]) for each in lines_] == [("had", "wrong_state")] * 2


async def test_the_fixed_shape(rig: Rig, house: House) -> None:
    """Names, their order and their types as in the document."""
    recorded = json.loads(STATUS.read_text())
    id = recorded["campaign"]["id"]
    body = {"id": id, "text": TEXT, "recipients": [number(n) for n in range(5)]}
    assert (await post(rig, body)).status == 202
    ids = [each["id"] for each in (await get(rig, f"/v1/messages?campaign={id}")).json["items"]]
    for each in ids[:2]:
        await (await rig.client()).ask("POST", f"/v1/messages/{each}/cancel", {}, auth("shop"))
    found = await get(rig, f"/api/campaigns/{id}/status", "eye")
    assert found.status == 200
    assert found.headers["content-type"] == "application/json"

    def shape(value: object) -> object:
        return [(k, shape(v)) for k, v in value.items()] if isinstance(value, dict) else type(value)

    assert shape(found.json) == shape(recorded)
    assert found.json == {
        "campaign": {"id": id, "status": "sending", "total": 5, "sent": 0, "failed": 2, "processed": 2},
        "metrics": {"queued": 3, "sent": 0, "processed": 2, "failed": 2},
    }
    numbers = recorded["campaign"]
    assert numbers["processed"] == numbers["sent"] + numbers["failed"]
    assert (await get(rig, "/api/campaigns/none/status", "eye")).codes == [("id", "not_found")]


async def test_a_plan_stores_nothing(rig: Rig, tmp_path: Path) -> None:
    head = {"id": "plan", "text": TEXT}
    listed = await post(rig, head | {"recipients": [number(1), number(2), "12"]}, query="?dry_run=1")
    streamed = await post(rig, lines(head, number(1), number(2), "12"), query="?dry_run=true")
    in_body = await post(rig, head | {"recipients": [number(1)], "dry_run": True})
    for each, valid, invalid in ((listed, 2, 1), (streamed, 2, 1), (in_body, 1, 0)):
        assert each.status == 200, each.body
        assert (each.json["valid"], each.json["invalid"]) == (valid, invalid)
    assert stored(tmp_path) == 0
    assert (await get(rig, "/v1/campaigns/plan")).status == 404


async def test_over_the_socket(client: Client) -> None:
    """The same operations, and the view under its name."""
    made = await client.ask(op="campaign_create", id="local", text=TEXT, recipients=[number(1), "12"])
    assert (made["ok"], made["accepted"], made["refused"]) == (True, 1, 1)
    assert (await client.ask(op="campaign_pause", id="local"))["campaign"]["status"] == "paused"
    assert (await client.ask(op="campaign_resume", id="local"))["campaign"]["status"] == "sending"
    assert [each["id"] for each in (await client.ask(op="campaigns"))["items"]] == ["local"]
    assert (await client.ask(op="campaign", id="local"))["campaign"]["total"] == 1
    assert (await client.ask(op="campaign_status", id="local"))["metrics"]["queued"] == 1
    assert (await client.ask(op="campaign_cancel", id="none"))["error"]["code"] == "not_found"
    assert (await client.ask(op="campaign_delete", id="local"))["error"]["code"] == "wrong_state"
    await client.ask(op="campaign_create", id="wrong")
    gone = await client.ask(op="campaign_delete", id="wrong", ref=1)
    assert gone == {"ok": True, "ref": 1, "id": "wrong", "tenant": gone["tenant"], "deleted": True}


async def test_all_that_is_wrong_is_told_at_once_over_the_socket(client: Client) -> None:
    wrong = {"foo": 1, "rate": "fast", "ttl": "soon", "send_between": "9-18", "name": 5, "text": TEXT}
    answer = await client.ask(op="campaign_create", ref=7, recipients=[number(1)], **wrong)
    fields = sorted(each["field"] for each in answer["error"]["errors"])
    assert (answer["ref"], fields) == (7, ["foo", "name", "rate", "send_between", "ttl"])
    answer = await client.ask(op="campaign_pause", foo=1)
    assert sorted(each["field"] for each in answer["error"]["errors"]) == ["foo", "id"]


async def test_it_is_written_down(rig: Rig) -> None:
    await post(rig, lines({"id": "noted", "text": TEXT}, number(1)))
    await act(rig, "noted", "cancel")
    found = (await get(rig, "/v1/audit", "ops")).json["items"]
    assert [(each["operation"], each["subject"], each["outcome"]) for each in found] == [
        ("campaign_cancel", "noted", "done"),
        ("campaign_create", "noted", "done"),
    ]
    assert TEXT not in json.dumps(found)


async def test_a_daemon_that_stops_says_how_far_it_came(house: House, tmp_path: Path) -> None:
    async with serving(house, ACCESS, limits=HttpLimits()) as rig:
        client = await rig.client()
        part = lines({"id": "end", "text": TEXT}, number(1), number(2))
        head = {"Host": HOST, **auth("shop"), **NDJSON, "Content-Length": "100000"}
        client.say(
            "\r\n".join(["POST /v1/campaigns HTTP/1.1", *(f"{k}: {v}" for k, v in head.items()), "", ""]).encode()
            + part
        )
        await until(lambda: stored(tmp_path) == 2)
        rig.door.stop_listening()
        reply = await client.reply()
    assert (reply.status, reply.codes) == (503, [(None, "shutting_down")])
    assert "2 messages are there" in reply.json["detail"]
