"""Who sees which callbacks, what is shown of them, and whose are tried again? On a real outbox, by both doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from smsd.core.account import ProviderRules
from smsd.core.callback import Callback
from smsd.core.pacing import Pace
from smsd.core.units import DAY
from smsd.engine.exchange import Answer
from smsd.engine.registering import Registering
from smsd.engine.replaying import Replaying
from smsd.engine.setting import Setting
from smsd.listeners.callers import Scope
from smsd.listeners.calling_back import MOST_IDS
from smsd.listeners.http.access import Access
from smsd.providers.base import HookUnreadableError, NoConnection, Provider, Request
from smsd.providers.sandbox import Sandbox
from smsd.store import AcceptResult, Stored, Tracking
from smsd.store.sqlite import SqliteOutbox
from tests.doubles.builders import NOW, draft
from tests.engine.test_registering import Setup
from tests.listeners.house import House, code
from tests.listeners.http_rig import ANYBODY, Rig, serving, token

URLS = {"shop": "https://shop.example.org/hooks?token=s3cret", "bank": "https://bank.example.org/hooks"}


class Queue:
    """An outbox beside the house's, whose callbacks nobody takes away."""

    def __init__(self, box: SqliteOutbox) -> None:
        self.box = box
        self.rested: list[str | None] = []
        """Whose places are left alone no more."""
        self._number = 0

    async def add(self, count: int, tenant: str = "shop") -> list[str]:
        """So many callbacks more of the tenant, which wait; their ids."""
        before = {each.id for each in await self.all(failed=False)}
        drafts = [draft(self._number + n, tenant=tenant) for n in range(1, count + 1)]
        self._number += count
        await asyncio.gather(*map(self._accept, drafts))
        await asyncio.gather(*(self.box.cancel(each.id, None, NOW + 1) for each in drafts))
        return [each.id for each in await self.all(failed=False) if each.id not in before]

    async def _accept(self, message: Any) -> None:
        done: asyncio.Future[AcceptResult] = asyncio.get_running_loop().create_future()
        self.box.accept(message, done.set_result)
        assert isinstance(await done, Stored)

    async def give_up(self, count: int, tenant: str = "shop") -> list[str]:
        """So many more that were given up; their ids."""
        ids = set(await self.add(count, tenant))
        for each in await self.all(failed=False):
            if each.id in ids:
                failed = replace(each, due=None, tries=9, error="HTTP 500", http_status=500, tried_at=NOW + 5)
                await self.box.callback_failed(failed)
        return sorted(ids)

    async def all(self, *, failed: bool) -> tuple[Callback, ...]:
        return await self.box.callbacks(None, failed, None, 10_000)


@pytest.fixture
async def queue(house: House, tmp_path: Path) -> AsyncIterator[Queue]:
    """The house's doors show the callbacks of this one."""
    box = SqliteOutbox(tmp_path / "callbacks.db", on_fatal=lambda error: None)
    await box.track(Tracking(callbacks=URLS))
    await box.open(NOW)
    queue = Queue(box)
    house.engine.service.replaying = Replaying(box, box, house.clock, queue.rested.append)
    yield queue
    await box.close()


@pytest.fixture
async def rig(house: House, queue: Queue) -> AsyncIterator[Rig]:
    """With tokens of two tenants, and one of nobody's."""
    access = Access((token("shop", tenant="shop"), token("bank", tenant="bank"), token("ops"),
                     token("reader", Scope.READ, tenant="shop")))  # fmt: skip
    async with serving(house, access) as found:
        yield found


async def as_(rig: Rig, name: str, method: str, path: str, body: Any = None) -> Any:
    """The answer to the bearer of this token."""
    return await rig.ask(method, path, body, Authorization=f"Bearer {name}")


async def test_what_is_shown_of_a_callback(rig: Rig, queue: Queue) -> None:
    (id,) = await queue.give_up(1)
    (view,) = (await as_(rig, "shop", "GET", "/v1/callbacks?failed=true")).json["items"]
    assert view == {
        "id": id,
        "event": "message.cancelled",
        "subject": "01a2049a-0000-7000-8000-000000000001",
        "tenant": "shop",
        "url": "https://shop.example.org/hooks?...",
        "created_at": view["created_at"],
        "next_try_at": None,
        "tries": 9,
        "error": "HTTP 500",
        "http_status": 500,
        "tried_at": "2026-09-21T14:13:20.005Z",
    }
    await queue.add(1, "bank")
    (waits,) = (await as_(rig, "bank", "GET", "/v1/callbacks")).json["items"]
    assert (waits["url"], waits["tries"], waits["error"]) == (URLS["bank"], 0, None)
    assert waits["next_try_at"] == waits["created_at"]


async def test_a_tenant_sees_its_own(rig: Rig, queue: Queue) -> None:
    shops, banks = await queue.add(2), await queue.add(3, "bank")

    async def ids(name: str, query: str = "") -> list[str]:
        return [each["id"] for each in (await as_(rig, name, "GET", f"/v1/callbacks{query}")).json["items"]]

    assert (await ids("shop"), await ids("bank"), await ids("ops")) == (shops, banks, sorted(shops + banks))
    assert await ids("ops", "?tenant=bank") == banks
    assert await ids("shop", "?tenant=shop") == shops
    assert await ids("shop", f"?cursor={banks[0]}") == [], "behind an id of another's there is nothing of another's"
    refused = await as_(rig, "shop", "GET", "/v1/callbacks?tenant=bank")
    assert (refused.status, refused.codes) == (403, [("tenant", "not_allowed")])


async def test_pages(rig: Rig, queue: Queue) -> None:
    ids = await queue.add(5)
    seen: list[str] = []
    path = "/v1/callbacks?limit=2"
    for count in (2, 2, 1):
        page = (await as_(rig, "shop", "GET", path)).json
        assert len(page["items"]) == count
        seen += [each["id"] for each in page["items"]]
        path = f"/v1/callbacks?limit=2&cursor={page['next_cursor']}"
        await queue.box.callback_told([seen[-1]])  # what is told meanwhile takes nothing from the next page
    assert (seen, page["next_cursor"]) == (ids, None)
    await queue.add(2, "bank")
    full = (await as_(rig, "bank", "GET", "/v1/callbacks?limit=2")).json
    assert (len(full["items"]), full["next_cursor"]) == (2, None)
    assert (await as_(rig, "shop", "GET", "/v1/callbacks?limit=1001")).codes == [("limit", "invalid_value")]


async def test_replay_of_those_named(rig: Rig, queue: Queue) -> None:
    shops, banks, waits = await queue.give_up(3), await queue.give_up(1, "bank"), await queue.add(1)
    named = {"ids": [shops[0], banks[0], waits[0], "evt_nothing"]}
    done = await as_(rig, "shop", "POST", "/v1/callbacks/replay", named)
    assert (done.status, done.json) == (200, {"replayed": 2, "left": 2})
    assert {each.id for each in await queue.all(failed=True)} == {*shops[1:], *banks}
    (again,) = [each for each in await queue.all(failed=False) if each.id == shops[0]]
    assert (again.tries, again.error) == (0, None)
    assert (await as_(rig, "ops", "POST", "/v1/callbacks/replay", {"ids": banks})).json == {"replayed": 1, "left": 2}


async def test_replay_of_all_is_of_ones_own(rig: Rig, queue: Queue) -> None:
    await queue.give_up(3)
    await queue.give_up(2, "bank")
    assert (await as_(rig, "shop", "POST", "/v1/callbacks/replay", {})).json == {"replayed": 3, "left": 0}
    assert {each.tenant for each in await queue.all(failed=True)} == {"bank"}
    assert (await as_(rig, "ops", "POST", "/v1/callbacks/replay", {})).json == {"replayed": 2, "left": 0}
    assert await queue.all(failed=True) == ()


async def test_replay_of_what_waits(rig: Rig, queue: Queue) -> None:
    """Nobody is left alone any more whose callbacks are asked for; who waits for later is tried now."""
    for each in [*await queue.add(2), *await queue.add(1, "bank")]:
        [waits] = [one for one in await queue.all(failed=False) if one.id == each]
        await queue.box.callback_failed(replace(waits, due=NOW + 9 * DAY, tries=4, error="HTTP 500"))
    assert (await as_(rig, "shop", "POST", "/v1/callbacks/replay", {"ids": ["evt_nothing"]})).json["replayed"] == 0
    assert queue.rested == []
    assert (await as_(rig, "shop", "POST", "/v1/callbacks/replay", {})).json == {"replayed": 2, "left": 0}
    assert {each.tenant: (each.due or 0) > NOW + DAY for each in await queue.all(failed=False)} == {
        "shop": False,
        "bank": True,
    }
    assert (await as_(rig, "shop", "POST", "/v1/callbacks/replay", {})).json == {"replayed": 0, "left": 0}
    assert queue.rested == ["shop", "shop"]


async def test_a_replay_names_a_bounded_number(rig: Rig, queue: Queue) -> None:
    for ids in ([], ["evt_x"] * (MOST_IDS + 1)):
        answer = await as_(rig, "shop", "POST", "/v1/callbacks/replay", {"ids": ids})
        assert (answer.status, answer.codes) == (422, [("ids", "invalid_value")])


async def test_who_may(rig: Rig, queue: Queue) -> None:
    await queue.give_up(1)
    assert (await as_(rig, "reader", "GET", "/v1/callbacks?failed=1")).status == 200
    assert (await as_(rig, "reader", "POST", "/v1/callbacks/replay", {})).status == 403
    assert (await as_(rig, "shop", "POST", "/v1/providers/main/register", {})).status == 403
    assert (await rig.ask("GET", "/v1/callbacks")).status == 401
    assert len(await queue.all(failed=True)) == 1


async def test_over_the_socket(house: House, queue: Queue) -> None:
    (id,) = await queue.give_up(1, "bank")
    client = await house.client()
    listed = await client.ask(op="callbacks", failed=True)
    assert (listed["ok"], [each["id"] for each in listed["items"]], listed["next_cursor"]) == (True, [id], None)
    assert (await client.ask(op="replay", ids=[id]))["replayed"] == 1
    assert code(await client.ask(op="replay", ids="all")) == "invalid_value"
    ids = [f"evt_01a2049a-0000-7000-8000-{n:012d}_1000_undelivered" for n in range(MOST_IDS)]
    assert (await client.ask(op="replay", ids=ids))["replayed"] == 0, "as many as may be named fit into a line"


@dataclass(frozen=True)
class Odd(Setup):
    """A dialect that cannot be set up."""

    def registration(self, url: str, known: object) -> Request | str:
        raise HookUnreadableError("the key is not an administrator's")


@dataclass
class Unreached:
    """A carrier that gets no connection."""

    async def send(self, provider: Provider, request: Request, timeout_ms: int, draw: float) -> Answer:
        return Answer(NoConnection("refused"), 1, request)


@dataclass
class Nobody:
    """A carrier that must not be asked."""

    async def send(self, *asked: object) -> Answer:
        raise AssertionError("a dry run, and a provider without an API for it, call nobody")


async def test_register(house: House) -> None:
    service, sandbox = house.engine.service, Setting("main", Sandbox("main"), ProviderRules(Pace()))
    service.registering = Registering(Nobody(), lambda: 0.5)
    service.registering.rule([sandbox, replace(sandbox, name="odd", provider=Odd("odd"))], "https://sms.example.org")
    async with serving(house, ANYBODY) as rig:
        for body in ({}, {"dry_run": True}):
            told = await rig.ask("POST", "/v1/providers/main/register", body)
            assert told.status == 200
            assert told.json.keys() == {"provider", "webhooks", "needs", "done", "text", "calls"}
            assert (told.json["provider"], told.json["done"]) == ("main", False)
        missing = await rig.ask("POST", "/v1/providers/nobody/register", {})
        assert (missing.status, missing.codes) == (404, [("provider", "not_found")])
        refused = await rig.ask("POST", "/v1/providers/odd/register", {})
        assert (refused.status, refused.codes) == (422, [("provider", "not_available")])
        assert "the key is not an administrator" in refused.json["detail"]
        service.registering = Registering(Unreached(), lambda: 0.5)
        service.registering.rule([replace(sandbox, provider=Setup("main"))], "https://sms.example.org")
        unreached = await rig.ask("POST", "/v1/providers/main/register", {})
        assert (unreached.status, unreached.codes) == (503, [("provider", "outcome_unknown")])
        assert "No connection to the provider" in unreached.json["detail"]


async def test_what_came_back_is_told(house: House) -> None:
    service = house.engine.service
    quiet = Setting("quiet", Setup("quiet"), ProviderRules(Pace()), webhook_secret="a-secret-that-is-needed")
    service.registering.rule([quiet], "https://sms.example.org")
    service.hooks.rule([quiet], "https://sms.example.org")
    async with serving(house, ANYBODY) as rig:
        for _ in range(2):
            assert (await rig.ask("POST", "/webhooks/quiet/inbound/wrong", b"x")).status == 404
        calls = (await rig.ask("POST", "/v1/providers/quiet/register", {"dry_run": True})).json["calls"]
    assert (calls["taken"], calls["refused"], calls["unreadable"], calls["taken_at"]) == (0, 2, 0, None)
    assert calls["wrong"] == "its path lacks the webhook_secret, or has another one"
    assert calls["wrong_at"].endswith("Z")


async def test_the_disabled_ones_are_named_to_who_sees_all(house: House) -> None:
    service, sandbox = house.engine.service, Setting("main", Sandbox("main"), ProviderRules(Pace()))
    service.registering.rule([replace(sandbox, name="off"), sandbox], "")
    async with serving(house, Access((token("ops"), token("reader", Scope.READ, tenant="shop")))) as rig:
        assert (await as_(rig, "ops", "GET", "/v1/providers")).json["disabled"] == ["off"]
        assert (await as_(rig, "reader", "GET", "/v1/providers")).json["disabled"] == []
