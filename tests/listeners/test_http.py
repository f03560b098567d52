"""What is answered over HTTP, to what is asked and to what is no request at all?"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access
from smsd.listeners.http.door import HttpDoor
from smsd.store import DiskFullError, OutcomeUnknownError
from tests.listeners.house import NUMBER, House, running, until
from tests.listeners.http_rig import ANYBODY, HOST, HttpClient, Reply, Rig, request, serving, token


@pytest.fixture
async def rig(house: House) -> Any:
    """A door that lets anybody in."""
    async with serving(house) as found:
        yield found


@pytest.fixture
async def client(rig: Rig) -> HttpClient:
    """One client of it."""
    return await rig.client()


# -- health -----------------------------------------------------------------------------------------------------------


async def test_healthz_says_that_the_process_answers(rig: Rig) -> None:
    reply = await rig.ask("GET", "/healthz")
    assert (reply.status, reply.json) == (200, {"status": "ok"})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_readyz_says_what_stands_in_the_way(rig: Rig) -> None:
    engine = rig.house.engine

    async def is_told(*wanted: str) -> None:
        reply = await rig.ask("GET", "/readyz")
        assert reply.status == (503 if wanted else 200)
        assert reply.json == {"status": "unready" if wanted else "ready", "reasons": list(wanted)}
        assert b"main" not in reply.body, "no provider is named"

    await is_told("no_provider")
    await engine.service.resume("main")
    await is_told()
    engine.service.store_full = True
    await is_told("disk_full")
    await engine.drain(0.1)
    await is_told("shutting_down", "disk_full")
    await engine.service.pause("main", "for the test")
    await is_told("shutting_down", "disk_full", "no_provider")


# -- submissions ------------------------------------------------------------------------------------------------------


async def test_a_message_is_accepted_and_replayed(client: HttpClient) -> None:
    message = {"to": NUMBER, "text": "hello", "idempotency_key": "k1"}
    first = await client.ask("POST", "/v1/messages", message)
    assert first.status == 202
    assert first.json == {**first.json, "state": "pending", "segments": 1, "encoding": "gsm7", "replayed": False}
    again = await client.ask("POST", "/v1/messages", message)
    assert (again.status, again.json) == (200, {**first.json, "replayed": True})
    other = await client.ask("POST", "/v1/messages", {**message, "text": "other"})
    assert (other.status, other.codes) == (409, [("idempotency_key", "key_conflict")])


@pytest.mark.parametrize(("sent", "kept"), [("k 1", "k 1"), ('"k 1"', "k 1"), (r'"a\"b\\c"', 'a"b\\c')])
async def test_the_key_may_stand_in_a_header(client: HttpClient, sent: str, kept: str) -> None:
    message = {"to": NUMBER, "text": "hello"}
    first = await client.ask("POST", "/v1/messages", message, {"Idempotency-Key": sent})
    view = await client.ask("GET", f"/v1/messages/{first.json['id']}")
    assert view.json["idempotency_key"] == kept
    again = await client.ask("POST", "/v1/messages", {**message, "idempotency_key": kept}, {"Idempotency-Key": sent})
    assert (again.status, again.json["replayed"]) == (200, True)


@pytest.mark.parametrize("key", ['"unfinished', '"a"b"', "x" * 256, "a\tb"])
async def test_a_header_that_is_no_key(client: HttpClient, key: str) -> None:
    reply = await client.ask("POST", "/v1/messages", {"to": NUMBER, "text": "hello"}, {"Idempotency-Key": key})
    assert (reply.status, reply.codes) == (422, [("idempotency_key", "invalid_value")])


async def test_header_and_field_that_differ_are_refused(client: HttpClient) -> None:
    message = {"to": NUMBER, "text": "hello", "idempotency_key": "a"}
    reply = await client.ask("POST", "/v1/messages", message, {"Idempotency-Key": "b"})
    assert (reply.status, reply.codes) == (422, [("idempotency_key", "invalid_value")])
    head = "\r\n".join(["POST /v1/messages HTTP/1.1", "Host: localhost", "Idempotency-Key: a", "Idempotency-Key: a"])
    client.say(f"{head}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert ("idempotency_key", "invalid_value") in (await client.reply()).codes


async def test_all_faults_are_told_at_once(client: HttpClient) -> None:
    message = {"to": 7, "priority": "urgent", "colour": "red", "text": ""}
    reply = await client.ask("POST", "/v1/messages?wait=5&x=1", message, {"Idempotency-Key": '"'})
    assert reply.status == 422
    assert set(reply.codes) >= {
        ("wait", "invalid_value"),
        ("x", "unknown_field"),
        ("to", "invalid_value"),
        ("priority", "invalid_value"),
        ("colour", "unknown_field"),
        ("text", "invalid_value"),
    }
    assert reply.json["type"] == f"urn:smsd:problem:{reply.json['code']}"


async def test_send_now_waits_until_it_has_left_the_queue(rig: Rig) -> None:
    sending = asyncio.create_task(rig.ask("POST", "/v1/messages?wait=20s", {"to": NUMBER, "text": "now"}))
    await until(lambda: rig.house.engine.tally.backlog == 1)
    await rig.house.engine.service.resume("main")
    reply = await sending
    assert (reply.status, reply.json["state"], reply.json["text"]) == (200, "sent", "now")


async def test_send_now_that_takes_too_long_is_in_the_queue(client: HttpClient) -> None:
    reply = await client.ask("POST", "/v1/messages?wait=20ms", {"to": NUMBER, "text": "now"})
    assert (reply.status, reply.json["state"], reply.json["waiting"]["reason"]) == (202, "pending", "provider_paused")


async def test_an_array_belongs_to_the_batch(client: HttpClient) -> None:
    reply = await client.ask("POST", "/v1/messages", [{"to": NUMBER, "text": "x"}])
    assert (reply.status, reply.codes) == (400, [(None, "malformed")])
    assert "/v1/messages/batch" in reply.json["detail"]
    batch = await client.ask("POST", "/v1/messages/batch", [{"to": NUMBER, "text": "x"}, {"to": "no"}])
    assert batch.status == 200
    assert [line.split(b",")[1] for line in batch.body.splitlines()] == [b'"ok":true', b'"ok":false']


async def test_while_draining_submissions_are_put_off_and_the_rest_answered(rig: Rig) -> None:
    id = await rig.send()
    await rig.house.engine.drain(0.1)
    reply = await rig.ask("POST", "/v1/messages", {"to": NUMBER, "text": "late"})
    assert (reply.status, reply.codes) == (503, [(None, "shutting_down")])
    assert int(reply.headers["retry-after"]) > 0
    assert (await rig.ask("GET", f"/v1/messages/{id}")).status == 200


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [(DiskFullError("full"), 507, "disk_full"), (OutcomeUnknownError("?"), 503, "outcome_unknown")],
)
async def test_faults_of_the_outbox_have_their_status(rig: Rig, fault: Exception, status: int, code: str) -> None:
    id = await rig.send()
    rig.house.outbox.fault = fault  # type: ignore[assignment]
    for path, body in (("/v1/messages", {"to": NUMBER, "text": "x"}), (f"/v1/messages/{id}/cancel", None)):
        reply = await rig.ask("POST", path, body)
        assert (reply.status, reply.codes) == (status, [(None, code)])


# -- the other operations ---------------------------------------------------------------------------------------------


async def test_a_message_is_shown_listed_cancelled_and_retried(client: HttpClient) -> None:
    sent = await client.ask("POST", "/v1/messages", {"to": NUMBER, "text": "hello", "user": "u/1"})
    path = f"/v1/messages/{sent.json['id']}"
    assert (await client.ask("GET", path)).json["to"] == NUMBER
    assert (await client.ask("GET", f"{path}/attempts")).json == {"attempts": []}
    for query in (f"to={NUMBER}", f"to=%2B{NUMBER[1:]}", "user=u%2F1", "state=pending&limit=1"):
        page = await client.ask("GET", f"/v1/messages?{query}")
        assert [item["id"] for item in page.json["items"]] == [sent.json["id"]]
    cancelled = await client.ask("POST", f"{path}/cancel")
    assert (cancelled.status, cancelled.json["state"]) == (200, "cancelled")
    assert (await client.ask("POST", f"{path}/cancel", {})).codes == [("id", "wrong_state")]
    retried = await client.ask("POST", f"{path}/retry", {"ttl": "1h"})
    assert (retried.status, retried.codes) == (409, [("id", "wrong_state")])


async def test_people_are_counted_by_their_names_in_the_path(client: HttpClient) -> None:
    await client.ask("POST", "/v1/messages", {"to": NUMBER, "text": "hello", "user": "a/b c"})
    user = await client.ask("GET", "/v1/users/a%2Fb%20c")
    assert (user.status, user.json["user_id"], user.json["pending"]) == (200, "a/b c", 1)
    assert (await client.ask("GET", f"/v1/recipients/{NUMBER}")).json["pending"] == 1


async def test_providers_are_paused_and_resumed(client: HttpClient) -> None:
    assert (await client.ask("POST", "/v1/providers/main/resume")).json["state"] == "open"
    assert (await client.ask("POST", "/v1/providers/main/pause", {})).json["state"] == "paused"
    assert (await client.ask("GET", "/v1/providers")).json["providers"][0]["name"] == "main"
    assert (await client.ask("POST", "/v1/providers/none/pause")).codes == [("provider", "not_found")]


async def test_figures_are_text(client: HttpClient) -> None:
    reply = await client.ask("GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE smsd_messages gauge" in reply.body


async def test_events_stream_or_are_asked_for(rig: Rig) -> None:
    client = await rig.client()
    now = await client.ask("GET", "/v1/events", None, {"Accept": "application/json"})
    assert now.json["events"] == []
    id = await rig.send()
    later = await client.ask("GET", f"/v1/events?after={now.json['last']}", None, {"Accept": "application/json"})
    assert [each["event"] for each in later.json["events"]] == ["message.accepted"]
    stream = await rig.client()
    stream.say(request("GET", f"/v1/events?after={now.json['last']}"))
    head = await stream.reader.readuntil(b"\r\n\r\n")
    assert b"text/event-stream" in head
    async with asyncio.timeout(5):
        assert id.encode() in await stream.reader.readuntil(id.encode())
    assert (await client.ask("GET", "/v1/events?kinds=no.such")).codes == [("kinds", "invalid_value")]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "codes"),
    [
        ("GET", "/v1/messages?colour=red", None, 422, [("colour", "unknown_field")]),
        ("GET", "/v1/messages?limit=ten", None, 422, [("limit", "invalid_value")]),
        ("GET", "/v1/messages?limit=1.0", None, 422, [("limit", "invalid_value")]),
        ("GET", "/v1/messages?limit=", None, 422, [("limit", "invalid_value")]),
        ("GET", "/v1/messages?limit=1&limit=1", None, 422, [("limit", "invalid_value")]),
        ("GET", "/v1/messages?limit=0", None, 422, [("limit", "invalid_value")]),
        ("GET", "/v1/messages?limit=x&colour=red&since=1&since=2", None, 422,
         [("colour", "unknown_field"), ("since", "invalid_value"), ("limit", "invalid_value")]),
        ("GET", "/v1/messages?to=%FF", None, 400, [(None, "malformed")]),
        ("GET", "/v1/messages?" + "a=1&" * 100, None, 400, [(None, "malformed")]),
        ("GET", "/v1/messages/x?id=y", None, 422, [("id", "unknown_field")]),
        ("GET", "/v1/messages/x", None, 404, [("id", "not_found")]),
        ("GET", "/v1/users/%FF", None, 400, [(None, "malformed")]),
        ("GET", "/v1/stats?x=1", None, 422, [("x", "unknown_field")]),
        ("POST", "/v1/reload?x=1", None, 422, [("x", "unknown_field")]),
        ("POST", "/v1/reload", None, 422, [(None, "not_available")]),
        ("POST", "/v1/messages/x/cancel", {"id": "y"}, 422, [("id", "unknown_field")]),
        ("POST", "/v1/messages/x/cancel", {"why": "y"}, 422, [("why", "unknown_field")]),
        ("POST", "/v1/messages/x/retry", {"force": 1}, 422, [("force", "invalid_value")]),
        ("POST", "/v1/messages/x/retry", b"[]", 400, [(None, "malformed")]),
        ("POST", "/v1/messages/x/retry", b"{", 400, [(None, "malformed")]),
        ("POST", "/v1/messages", b"", 400, [(None, "malformed")]),
        ("POST", "/v1/messages", b"{}", 422, [("to", "missing_field"), ("text", "missing_field")]),
        ("POST", "/v1/messages", b"{\"text\":\"\xff\"}", 400, [(None, "malformed")]),
        ("POST", "/v1/messages", b"[" * 100_000, 400, [(None, "malformed")]),
        ("POST", "/v1/messages/batch?wait=5s", b"", 422, [("wait", "unknown_field")]),
        ("GET", "/", None, 404, [(None, "unknown_op")]),
        ("GET", "/v1/stats/", None, 404, [(None, "unknown_op")]),
        ("GET", "/v1/users/", None, 404, [(None, "unknown_op")]),
        ("GET", "/v1//stats", None, 404, [(None, "unknown_op")]),
        ("GET", "/v1/messages/x/attempts/", None, 404, [(None, "unknown_op")]),
        ("OPTIONS", "*", None, 404, [(None, "unknown_op")]),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named(
    client: HttpClient, method: str, path: str, body: Any, status: int, codes: list[tuple[str | None, str]]
) -> None:
    reply = await client.ask(method, path, body)
    assert (reply.status, reply.codes) == (status, codes)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/messages", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/messages", "GET, HEAD, POST"),
        ("GET", "/v1/messages/batch", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/v1/messages", None),
        ("TRACE", "/v1/stats", "GET, HEAD"),
    ],
)
async def test_another_method_is_told_which_there_are(
    client: HttpClient, method: str, path: str, allow: str | None
) -> None:
    reply = await client.ask(method, path)
    assert reply.status == (400 if allow is None else 405)
    assert reply.headers.get("allow") == allow
    assert reply.codes == [(None, "malformed" if allow is None else "unknown_op")]


async def test_every_answer_says_that_nobody_keeps_it(client: HttpClient) -> None:
    message = {"to": NUMBER, "text": "hello"}
    answers = [
        await client.ask("POST", "/v1/messages", message),
        await client.ask("POST", "/v1/messages/batch", [message]),
        await client.ask("GET", "/metrics"),
        await client.ask("GET", "/nowhere"),
        await client.ask("DELETE", "/v1/messages"),
    ]
    client.say(request("GET", "/v1/events"))
    answers.append(Reply((await client.reader.readuntil(b"\r\n\r\n")).strip(), b""))
    for each in answers:
        found = [each.headers[name] for name in ("cache-control", "x-content-type-options", "server")]
        assert found == ["no-store", "nosniff", "smsd"]


async def test_head_is_get_without_a_body(client: HttpClient) -> None:
    reply = await client.ask("HEAD", "/healthz")
    assert (reply.status, reply.headers["content-length"]) == (200, "15")
    assert (await client.ask("HEAD", "/v1/events")).status == 200
    assert (await client.ask("GET", "/healthz")).json == {"status": "ok"}, "nothing of a body was in the way"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=x"])
async def test_what_writes_must_say_that_it_is_json(client: HttpClient, kind: str) -> None:
    for path in ("/v1/messages", "/v1/reload", "/v1/providers/main/pause", "/v1/messages/batch"):
        reply = await client.ask("POST", path, None, {"Content-Type": kind})
        assert (reply.status, [code for _, code in reply.codes]) == (415, ["unsupported_media_type"])
    assert (await client.ask("POST", "/v1/messages", b"x", {"Content-Encoding": "gzip"})).status == 415
    right = await client.ask("POST", "/v1/messages/x/cancel", None, {"Content-Type": "application/JSON; charset=UTF-8"})
    assert right.status == 404


# -- tenants ----------------------------------------------------------------------------------------------------------


async def test_a_tenant_sees_and_touches_only_its_own(house: House) -> None:
    shop, other = token("shop", tenant="shop"), token("other", Scope.READ, Scope.SEND, tenant="other")
    async with serving(house, Access((shop, other))) as rig:
        mine = await rig.ask("POST", "/v1/messages", {"to": NUMBER, "text": "x"}, Authorization="Bearer shop")
        path = f"/v1/messages/{mine.json['id']}"
        for method, where in (("GET", path), ("GET", f"{path}/attempts"), ("POST", f"{path}/cancel")):
            assert (await rig.ask(method, where, Authorization="Bearer other")).status == 404
        assert (await rig.ask("GET", "/v1/messages", Authorization="Bearer other")).json["items"] == []
        foreign = await rig.ask("GET", "/v1/messages?tenant=shop", Authorization="Bearer other")
        assert (foreign.status, foreign.codes) == (403, [("tenant", "not_allowed")])
        assert (await rig.ask("GET", path, Authorization="Bearer shop")).json["tenant"] == "shop"


# -- faults -----------------------------------------------------------------------------------------------------------


async def test_a_fault_of_the_daemon_tells_no_story(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> tuple[str, ...]:
        raise RuntimeError("a secret of ours")

    door = HttpDoor(house.engine.service, broken, ANYBODY, max_body=100)
    await door.listen([(HOST, 0)])
    rig = Rig(house, door)
    client = await rig.client()
    reply = await client.ask("GET", "/readyz")
    assert (reply.status, reply.codes) == (500, [(None, "internal")])
    assert b"secret" not in reply.body
    assert (await client.ask("GET", "/healthz")).status == 200, "the connection lives on"
    rig.vanish()
    await door.close(0.1)
    assert "a secret of ours" in capsys.readouterr().out, "the log has it"


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431, "too_long"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100_000 + b"\r\n\r\n", 431, "too_long"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 200 + b"\r\n", 431, "too_long"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + (b"A: " + b"x" * 8_000 + b"\r\n") * 3, 431, "too_long"),
        (b"\x00\x01\x02\r\n\r\n", 400, "malformed"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "malformed"),
        (b"GET /healthz HTTP/9.9\r\n\r\n", 400, "malformed"),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400, "malformed"),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400, "malformed"),
        (b"GET http://evil.example/v1/stats HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"),
        (b"CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"),
        (b"GET /v1/users/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed"),
        (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n", 400, "malformed"),
        (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400, "malformed"),
        (b"POST /v1/messages HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
         b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "malformed"),
    ],
)  # fmt: skip
async def test_what_is_no_request_is_told_so(rig: Rig, data: bytes, status: int, code: str) -> None:
    client = await rig.client()
    client.say(data)
    reply = await client.reply()
    assert (reply.status, reply.codes) == (status, [(None, code)])
    client.writer.write_eof()
    assert await client.ends() == b""
    assert (await rig.ask("GET", "/healthz")).status == 200


# -- the protocol -----------------------------------------------------------------------------------------------------


async def test_pipelined_requests_are_answered_in_order(client: HttpClient) -> None:
    count = 100
    client.say(b"".join(request("GET", f"/v1/users/u{n}") for n in range(count)))
    assert [(await client.reply()).json["user_id"] for _ in range(count)] == [f"u{n}" for n in range(count)]


async def test_an_old_client_is_answered_and_closed(rig: Rig) -> None:
    client = await rig.client()
    client.say(b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await client.reply()).json == {"status": "ok"}
    assert await client.ends() == b""
    assert (await rig.raw(b"GET /v1/stats HTTP/1.0\r\n\r\n")).status == 403, "without Host nobody knows who was meant"


@pytest.mark.parametrize("chunk", [1, 7, 1_000])
async def test_a_body_may_come_in_chunks(client: HttpClient, chunk: int) -> None:
    body = b'{"to": "+14155550123", "text": "hello"}'
    parts = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
    client.say(request("POST", "/v1/messages", None, {"Content-Length": "", "Transfer-Encoding": "chunked"}) + data)
    assert (await client.reply()).status == 202


async def test_a_client_that_asks_first_is_told_to_go_on(client: HttpClient) -> None:
    body = b'{"to": "+14155550123", "text": "hello"}'
    client.say(request("POST", "/v1/messages", None, {"Content-Length": str(len(body)), "Expect": "100-continue"}))
    assert (await client.reply()).status == 100
    client.say(body)
    assert (await client.reply()).status == 202
    client.say(request("POST", "/v1/messages", None, {"Content-Length": "1", "Expect": "100-continue"}))
    assert (await client.reply()).status == 100
    client.say(b"{")
    assert (await client.reply()).codes == [(None, "malformed")]
    line = body + b"\n"
    headers = {"Content-Length": str(len(line)), "Expect": "100-continue", "Content-Type": "application/x-ndjson"}
    client.say(request("POST", "/v1/messages/batch", None, headers))
    assert (await client.reply()).status == 100
    client.say(line)
    assert (await client.reply()).status == 200


async def test_a_client_that_asks_first_may_be_told_no(rig: Rig) -> None:
    client = await rig.client()
    client.say(request("POST", "/v1/messages", None, {"Content-Length": str(1 << 30), "Expect": "100-continue"}))
    reply = await client.reply()
    assert (reply.status, reply.codes, reply.headers["connection"]) == (413, [(None, "too_long")], "close")
    other = await rig.client()
    other.say(request("POST", "/v1/messages", None, {"Content-Length": "9", "Expect": "miracles"}))
    assert (await other.reply()).codes == [(None, "malformed")]


async def test_a_body_too_large_is_refused_while_it_comes(house: House) -> None:
    async with serving(house, max_body=10_000) as rig:
        client = await rig.client()
        client.say(request("POST", "/v1/messages", None, {"Content-Length": "", "Transfer-Encoding": "chunked"}))
        client.say(b"1000\r\n" + b" " * 4_096 + b"\r\n")
        for _ in range(100):
            client.say(b"1000\r\n" + b" " * 4_096 + b"\r\n")
        assert (await client.reply()).codes == [(None, "too_long")]
        assert (await rig.ask("POST", "/v1/messages", b" " * 10_001)).codes == [(None, "too_long")]
        chunked = request("POST", "/v1/messages", None, {"Content-Length": "", "Transfer-Encoding": "chunked"})
        whole = await rig.raw(chunked + b"2711\r\n" + b" " * 10_001 + b"\r\n0\r\n\r\n")
        assert whole.codes == [(None, "too_long")]
        assert (await rig.ask("POST", "/v1/messages", b" " * 10_000)).status == 400


async def test_an_upgrade_is_not_taken(client: HttpClient) -> None:
    reply = await client.ask("GET", "/healthz", None, {"Connection": "Upgrade", "Upgrade": "websocket"})
    assert reply.status == 200
    assert (await client.ask("GET", "/healthz")).status == 200


async def test_an_address_that_is_taken_is_an_error(rig: Rig, tmp_path: Path) -> None:
    other = HttpDoor(rig.house.engine.service, tuple, ANYBODY, max_body=100)
    with pytest.raises(OSError, match="in use"):
        await other.listen(rig.door.addresses)
    await other.close()


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_answers_under_way_are_finished_and_are_the_last(tmp_path: Path) -> None:
    async with running(tmp_path) as house, serving(house) as rig:
        house.outbox.held = []
        sender, idle, follower = await rig.client(), await rig.client(), await rig.client()
        assert (await idle.ask("GET", "/healthz")).status == 200
        follower.say(request("GET", "/v1/events"))
        await follower.reader.readuntil(b"\r\n\r\n")
        sender.say(request("POST", "/v1/messages", {"to": NUMBER, "text": "x"}))
        await until(lambda: bool(house.outbox.held))
        address = rig.door.addresses[0]
        rig.door.stop_listening()
        with pytest.raises(OSError, match=r"refused|failed"):
            await asyncio.open_connection(*address)
        last = await idle.ask("GET", "/healthz")
        assert (last.status, last.headers["connection"]) == (200, "close")
        closing = asyncio.create_task(rig.door.close(5))
        assert (await follower.ends()).endswith(b"0\r\n\r\n"), "the stream ends properly"
        assert not closing.done()
        house.outbox.release()
        reply = await sender.reply()
        assert (reply.status, reply.headers["connection"]) == (202, "close")
        await closing
        assert rig.door.connections == 0
