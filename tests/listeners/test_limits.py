"""What do callers see of limits: refusals with their end, reasons to wait, what is left, and the counts?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from smsd.core.limits import Action, Per, Rule
from smsd.core.units import HOUR, rfc3339
from smsd.listeners.callers import Scope
from smsd.listeners.http.access import Access
from smsd.listeners.metrics import exposition
from tests.listeners.house import NUMBER, Client, House, Json, code, running, until
from tests.listeners.http_rig import Rig, serving, token

ACCESS = Access((token("root"), token("shop", tenant="shop"), token("other", Scope.SEND, Scope.READ, tenant="other")))
BOUNDS = (
    Rule(Per.RECIPIENT, 2, HOUR, Action.DEFER),
    Rule(Per.USER, 3, HOUR, Action.REJECT),
    Rule(Per.TENANT, 4, HOUR, Action.DEFER, tenant="shop"),
)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """One whose provider sends."""
    async with running(tmp_path, bounds=BOUNDS) as found:
        await found.engine.service.resume("main")
        yield found


@pytest.fixture
async def rig(house: House) -> AsyncIterator[Rig]:
    async with serving(house, ACCESS) as found:
        yield found


async def gone(house: House, count: int) -> None:
    """So many messages have been sent, and nothing is about to be."""
    await until(
        lambda: house.engine.tally.sent_last_minute() == count and house.engine.way_out.dispatcher.in_flight == 0
    )


async def view(client: Client, id: str) -> Json:
    found: Json = (await client.ask(op="get", id=id))["message"]
    return found


class TestRefusals:
    async def test_the_fourth_about_a_user_is_refused_until_the_window_opens(self, rig: Rig, house: House) -> None:
        shop, path = {"Authorization": "Bearer root"}, "/v1/messages"
        for n in range(3):
            body = {"to": f"+1415555012{n}", "text": "hi", "user": "ada"}
            assert (await rig.ask("POST", path, body, **shop)).status == 202
        house.clock.advance(600_000)
        refused = await rig.ask("POST", path, {"to": NUMBER, "text": "hi", "user": "ada"}, **shop)
        assert (refused.status, refused.codes) == (429, [("user", "limit_exceeded")])
        assert refused.headers["retry-after"] == "3000"
        assert "3/hour per user" in refused.json["detail"]
        other = await rig.ask("POST", path, {"to": NUMBER, "text": "hi", "user": "bob"}, **shop)
        assert other.status == 202, "another user's count is another"
        house.clock.advance(3_000_000)
        again = await rig.ask("POST", path, {"to": NUMBER, "text": "hi", "user": "ada"}, **shop)
        assert again.status == 202

    async def test_the_socket_and_a_batch_say_when_too(self, client: Client, rig: Rig, house: House) -> None:
        for _ in range(3):
            assert (await client.send(user="ada"))["ok"]
        refused = await client.send(user="ada")
        assert code(refused) == "limit_exceeded"
        assert refused["error"]["retry_after_s"] == 3_600
        tenant = (await client.ask(op="list"))["items"][0]["tenant"]
        lines = [{"to": NUMBER, "text": "hi", "user": "ada", "tenant": tenant}]
        answer = await rig.ask("POST", "/v1/messages/batch", lines, Authorization="Bearer root")
        assert answer.json["error"]["retry_after_s"] == 3_600
        assert answer.json["error"]["field"] == "user"

    async def test_what_a_limit_refused_binds_no_key(self, client: Client, house: House) -> None:
        for _ in range(3):
            await client.send(user="ada")
        assert code(await client.send(user="ada", idempotency_key="k")) == "limit_exceeded"
        house.clock.advance(HOUR)
        later = await client.send(user="ada", idempotency_key="k")
        assert (later["ok"], later["replayed"]) == (True, False)
        replayed = await client.send(user="ada", idempotency_key="k")
        assert (replayed["id"], replayed["replayed"]) == (later["id"], True)


class TestWaiting:
    async def test_the_rule_and_the_turn_are_named(self, client: Client, house: House) -> None:
        ids = [(await client.send())["id"] for _ in range(5)]
        start = house.clock.wall()
        await gone(house, 2)
        waiting = [(await view(client, id))["waiting"] for id in ids[2:]]
        assert [each["reason"] for each in waiting] == ["recipient_limit"] * 3
        assert [each["until"] for each in waiting] == [
            rfc3339(start + HOUR),
            rfc3339(start + HOUR),
            rfc3339(start + 2 * HOUR),
        ]
        assert waiting[0]["text"].startswith("It waits for its turn: 2/hour per recipient. Its turn is at ")

    async def test_a_tenant_waits_as_a_whole(self, rig: Rig, house: House) -> None:
        shop = {"Authorization": "Bearer shop"}
        ids = []
        for n in range(6):
            body = {"to": f"+1415555012{n}", "text": "hi"}
            ids.append((await rig.ask("POST", "/v1/messages", body, **shop)).json["id"])
        await gone(house, 4)
        for id in ids[4:]:
            waiting = (await rig.ask("GET", f"/v1/messages/{id}", **shop)).json["waiting"]
            assert waiting["reason"] == "tenant_limit"
            assert waiting["until"] == rfc3339(house.clock.wall() + HOUR)
            assert waiting["text"].startswith(
                "All messages of tenant shop wait for a limit: 4/hour per tenant of shop."
            )
        body = {"to": NUMBER, "text": "hi"}
        assert (await rig.ask("POST", "/v1/messages", body, Authorization="Bearer other")).status == 202
        await gone(house, 5)


class TestWhatIsLeft:
    async def test_of_a_recipient(self, client: Client, house: House) -> None:
        left = []
        for sent in (1, 2, 2):
            left.append((await client.ask(op="recipient", number=NUMBER))["rate_limit_remaining"])
            await client.send()
            await gone(house, sent)
        left.append((await client.ask(op="recipient", number=NUMBER))["rate_limit_remaining"])
        assert left == [2, 1, 0, 0]
        house.clock.advance(HOUR)
        assert (await client.ask(op="recipient", number="+14155550199"))["rate_limit_remaining"] == 2

    async def test_the_least_of_all_that_bind(self, rig: Rig, house: House) -> None:
        shop = {"Authorization": "Bearer shop"}
        for n in range(3):
            body = {"to": f"+1415555012{n}", "text": "hi", "user": "ada" if n else None}
            body = {name: value for name, value in body.items() if value is not None}
            assert (await rig.ask("POST", "/v1/messages", body, **shop)).status == 202
        await gone(house, 3)
        ada = (await rig.ask("GET", "/v1/users/ada", **shop)).json
        assert ada["rate_limit_remaining"] == 1, "one of 3 about her, one of the tenant's 4"
        bob = (await rig.ask("GET", "/v1/users/bob", **shop)).json
        assert bob["rate_limit_remaining"] == 1, "the tenant's"
        theirs = (await rig.ask("GET", "/v1/users/ada", Authorization="Bearer other")).json
        assert theirs["rate_limit_remaining"] == 3, "another tenant's ada is somebody else"
        number = (await rig.ask("GET", "/v1/recipients/%2B14155550190", Authorization="Bearer other")).json
        assert number["rate_limit_remaining"] == 2

    async def test_without_a_limit_it_is_null(self, tmp_path: Path) -> None:
        async with running(tmp_path) as house:
            client = await house.client()
            assert (await client.ask(op="recipient", number=NUMBER))["rate_limit_remaining"] is None
            assert (await client.ask(op="user", user="ada"))["rate_limit_remaining"] is None


class TestTold:
    async def test_once_a_minute_and_counted_in_full(self, client: Client, house: House) -> None:
        for _ in range(6):
            await client.send(user="ada")
        house.clock.advance(61_000)
        await client.send(user="ada")
        events = (await client.ask(op="events", after="0", limit=1_000))["events"]
        told = [each["data"] for each in events if each["event"] == "limit.hit"]
        rejected = [each for each in told if each["action"] == "reject"]
        assert [each["hits"] for each in rejected] == [1, 3]
        assert rejected[0]["per"] == "user"
        assert rejected[0]["rule"] == "3/hour per user"
        assert NUMBER not in str(told)
        text = await exposition(house.engine.service)
        assert 'smsd_limit_hits_total{action="reject",per="user"} 4.0' in text
