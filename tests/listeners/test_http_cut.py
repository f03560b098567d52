"""What becomes of a read whose client has gone, or whose caller is let in no more?"""

from __future__ import annotations

import asyncio

import pytest

from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access
from smsd.listeners.http.visits import Visits
from tests.listeners.house import NUMBER, House, until
from tests.listeners.http_rig import ALL, ANYBODY, HttpClient, Rig, request, serving, token

JSON = {"Accept": "application/json"}
POLL = "/v1/events?wait=60s&kinds=provider.halted"
SHOP, OPS = token("shop", tenant="shop"), token("ops")


def of(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


async def polling(rig: Rig, path: str = POLL, **headers: str) -> HttpClient:
    """A client that waits for its answer."""
    client, before = await rig.client(), len(rig.door.visits)
    client.say(request("GET", path, None, {**JSON, **headers}))
    await until(lambda: len(rig.door.visits) > before)
    await asyncio.sleep(0.01)
    return client


async def following(rig: Rig, **headers: str) -> HttpClient:
    """A client with a stream of events."""
    client = await rig.client()
    client.say(request("GET", "/v1/events", None, headers))
    assert b" 200 " in await client.reader.readuntil(b"\r\n\r\n")
    await client.reader.readuntil(b"\n\n")
    return client


# -- clients that have gone -------------------------------------------------------------------------------------------


async def test_who_has_gone_waits_no_more(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    stream, watchers = house.engine.service.stream, house.engine.service._watchers
    async with serving(house) as rig:
        id = await rig.send()
        for path, waiting in (
            (POLL, lambda: stream._readers),
            (f"/v1/messages/{id}?wait=60s", lambda: watchers._count),
        ):
            clients = [await polling(rig, path) for _ in range(10)]
            await until(lambda waiting=waiting: waiting() == 10)  # type: ignore[misc]
            for each in clients[:5]:
                each.writer.close()
            for each in clients[5:]:
                each.writer.transport.abort()
            await until(lambda waiting=waiting: waiting() == 0, 1)  # type: ignore[misc]
        await until(lambda: len(rig.door.visits) == 0, 1)
        assert (await rig.ask("GET", "/healthz")).status == 200
    assert "fault" not in capsys.readouterr().out, "that clients go is nothing to be told"


async def test_the_place_of_a_stream_is_free_when_its_client_has_gone(house: House) -> None:
    async with serving(house) as rig:
        for _ in range(3):
            clients = [await following(rig) for _ in range(32)]
            for each in clients:
                each.writer.close()
            await until(lambda: rig.door.streams.open == 0, 1)


async def test_what_was_accepted_stands_when_only_its_waiting_is_cut_off(house: House) -> None:
    watchers = house.engine.service._watchers
    async with serving(house) as rig:
        client = await rig.client()
        client.say(request("POST", "/v1/messages?wait=60s", {"to": NUMBER, "text": "hello"}))
        await until(lambda: watchers._count == 1)
        client.writer.transport.abort()
        await until(lambda: watchers._count == 0, 1)
        assert len((await rig.ask("GET", "/v1/messages?state=pending")).json["items"]) == 1


async def test_a_write_is_never_cut_off(house: House) -> None:
    async with serving(house) as rig:
        id = await rig.send()
        house.outbox.gate.clear()
        client = await rig.client()
        client.say(request("POST", f"/v1/messages/{id}/cancel"))
        await until(lambda: house.outbox.changes == 1)
        assert len(rig.door.visits) == 0
        client.writer.transport.abort()
        await until(lambda: rig.door.connections <= 1)
        house.outbox.gate.set()
        await until(lambda: house.engine.tally.backlog == 0)
        assert (await rig.ask("GET", f"/v1/messages/{id}")).json["state"] == "cancelled"


# -- places -----------------------------------------------------------------------------------------------------------


async def test_one_caller_cannot_have_all_places_to_wait(house: House) -> None:
    async with serving(house, Access((SHOP, OPS))) as rig:
        rig.door.visits = Visits({"events": 2, "get": 1})
        clients = [await polling(rig, **of("shop")) for _ in range(2)]
        refused = await rig.ask("GET", POLL, **JSON, **of("shop"))
        assert (refused.status, refused.codes, refused.headers["retry-after"]) == (429, [(None, "limit_exceeded")], "5")
        at_once = await rig.ask("GET", "/v1/events", **JSON, **of("shop"))
        assert at_once.status == 200, "who does not wait needs no place"
        await polling(rig, **of("ops"))
        clients[0].writer.close()
        await until(lambda: len(rig.door.visits) == 2)
        await polling(rig, **of("shop"))


async def test_a_message_is_accepted_also_where_no_place_to_wait_is_left(house: House) -> None:
    async with serving(house) as rig:
        rig.door.visits = Visits({"events": 2, "get": 1})
        waiting = await polling(rig, f"/v1/messages/{await rig.send()}?wait=60s")
        reply = await rig.ask("POST", "/v1/messages?wait=60s", {"to": NUMBER, "text": "hello"})
        assert (reply.status, reply.json["state"]) == (202, "pending")
        assert (await rig.ask("GET", f"/v1/messages/{reply.json['id']}?wait=1s")).codes == [(None, "limit_exceeded")]
        waiting.writer.close()


# -- callers who are let in no more -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("after", "status"),
    [
        (Access((OPS,)), 401),
        (Access((token("shop", tenant="shop", secret="another"), OPS)), 401),
        (Access((token("shop", Scope.SEND, tenant="shop"), OPS)), 403),
        (Access((token("shop", tenant="other"), OPS)), 403),
    ],
)
async def test_who_is_let_in_no_more_is_cut_off(
    house: House, after: Access, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(house, Access((SHOP, OPS))) as rig:
        streams = {name: await following(rig, **of(name)) for name in ("shop", "ops")}
        polls = {name: await polling(rig, **of(name)) for name in ("shop", "ops")}
        sender = await rig.client()
        sender.say(request("POST", "/v1/messages?wait=60s", {"to": NUMBER, "text": "hello"}, of("shop")))
        await until(lambda: len(rig.door.visits) == 5)
        rig.door.change(after, max_body=1_000)
        assert b"0\r\n\r\n" not in await streams["shop"].ends(), "it is no end like that of a daemon that stops"
        assert (await polls["shop"].reply()).status == status
        assert (await sender.reply()).status == 202, "what was accepted stands"
        assert len(rig.door.visits) == 2
        assert (await polls["shop"].ask("GET", "/v1/stats", None, of("ops"))).status == 200, "the connection lives on"
        assert "fault" not in capsys.readouterr().out


async def test_who_is_still_let_in_goes_on(house: House) -> None:
    async with serving(house, Access((SHOP, OPS), ALL)) as rig:
        clients = [await polling(rig), await polling(rig, **of("ops"))]
        await following(rig, **of("shop"))
        rig.door.change(Access((OPS, token("more"), SHOP), ALL), max_body=1_000)
        await asyncio.sleep(0.05)
        assert len(rig.door.visits) == 3
        rig.door.change(Access((OPS, SHOP)), max_body=1_000)
        assert (await clients[0].reply()).status == 401, "nobody is anonymous any more"
        assert len(rig.door.visits) == 2


async def test_a_reader_that_is_cut_off_twice_ends_once(house: House) -> None:
    async with serving(house, ANYBODY) as rig:
        client = await polling(rig)
        rig.door.change(Access(), max_body=1_000)
        rig.door.change(Access((OPS,)), max_body=1_000)
        assert (await client.reply()).status == 401
        assert (await client.ask("GET", "/healthz")).status == 200
