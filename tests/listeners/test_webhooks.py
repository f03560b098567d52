"""Do providers' requests reach the hooks as they were sent, and nothing else: not in the log, not past a bound?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import structlog

from smsd.core.account import ProviderRules
from smsd.core.pacing import Pace
from smsd.engine.hooks import Hooks, Taken
from smsd.engine.registering import HookKind
from smsd.engine.setting import Setting
from smsd.listeners.http import openapi
from smsd.listeners.http.access import Access
from smsd.listeners.http.door import HttpLimits
from smsd.listeners.http.webhooks import HookLimits
from smsd.providers.base import Hook, InboundText, Report
from smsd.store import StoreError
from tests.engine.test_registering import Calling
from tests.listeners.house import House, until
from tests.listeners.http_rig import MIB, Rig, request, serving

BODY = HookLimits().body
SECRET = "a-secret-that-nobody-logs"


@dataclass(frozen=True)
class Quiet(Calling):
    """A dialect that reads nothing out of anything."""

    def read(self, hook: Hook) -> tuple[Report | InboundText, ...]:
        return ()


@dataclass
class Taking:
    """One call of `take`."""

    name: str
    kind: HookKind
    secret: str | None
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class Hooked:
    """Hooks that note what they are given and answer as they are told."""

    def __init__(self) -> None:
        self.taken: list[Taking] = []
        self.answer: Taken | Exception = Taken(200, "text/xml", b"<Response/>")
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = self.most = 0

    async def take(self, *given: Any) -> Taken:
        self.taken.append(Taking(*given))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.gate.wait()
        self.under_way -= 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def hooked(house: House) -> Hooked:
    found = Hooked()
    house.engine.service.hooks = cast(Hooks, found)
    return found


@pytest.fixture
async def rig(house: House, hooked: Hooked) -> AsyncIterator[Rig]:
    """Nobody may do anything but providers."""
    async with serving(house, Access()) as found:
        yield found


async def test_a_request_is_passed_on_as_it_was_sent(rig: Rig, hooked: Hooked) -> None:
    answer = await rig.ask(
        "POST", "/webhooks/main/status?m=1&a=%32+x", b"a=1&b=%20", Content_Type="application/x-www-form-urlencoded",
        X_Signature="AbC=",
    )  # fmt: skip
    assert (answer.status, answer.headers["content-type"], answer.body) == (200, "text/xml", b"<Response/>")
    (taken,) = hooked.taken
    assert (taken.name, taken.kind, taken.secret, taken.method) == ("main", HookKind.STATUS, None, "POST")
    assert taken.target == "/webhooks/main/status?m=1&a=%32+x", "not decoded, not put in order: it is signed"
    assert taken.body == b"a=1&b=%20"
    assert taken.headers["x-signature"] == "AbC="
    assert all(name == name.lower() for name in taken.headers)


@pytest.mark.parametrize("query", ["", "?", "?a=1&&b=%7E;c", "?a=b?c=%2f"])
async def test_a_query_is_not_tidied_up(rig: Rig, hooked: Hooked, query: str) -> None:
    await rig.ask("GET", f"/webhooks/m%61in/status{query}")
    assert hooked.taken[0].target == f"/webhooks/m%61in/status{query}"
    assert hooked.taken[0].name == "main"


async def test_a_get_and_a_secret_path(rig: Rig, hooked: Hooked) -> None:
    hooked.answer = Taken(200)
    answer = await rig.ask("GET", f"/webhooks/main/inbound/{SECRET}?text=hi")
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"", "text/plain")
    (taken,) = hooked.taken
    assert (taken.kind, taken.secret, taken.method, taken.body) == (HookKind.INBOUND, SECRET, "GET", b"")
    assert taken.target.endswith("?text=hi")


@pytest.mark.parametrize("status", [403, 404, 400])
async def test_what_is_refused_is_told_without_a_word_about_why(rig: Rig, hooked: Hooked, status: int) -> None:
    hooked.answer = Taken(status)
    answer = await rig.ask("POST", f"/webhooks/main/status/{SECRET}", b"x")
    assert answer.status == status
    assert len(answer.codes) == 1
    assert SECRET.encode() not in answer.body


async def test_nobody_can_tell_which_webhooks_there_are(rig: Rig, hooked: Hooked) -> None:
    hooked.answer = Taken(404)
    unknown = await rig.ask("POST", "/webhooks/nobody/status", b"x")
    elsewhere = await rig.ask("POST", "/nowhere", {})
    kind = await rig.ask("POST", "/webhooks/main/other", b"x")
    assert unknown.body == elsewhere.body == kind.body
    assert [each.name for each in hooked.taken] == ["nobody"], "a kind that there is not is asked of nobody"


@pytest.mark.parametrize("path", ["/webhooks", "/webhooks/main", "/webhooks/main/status/", "/webhooks/main/status/a/b"])
async def test_other_paths_lead_nowhere(rig: Rig, hooked: Hooked, path: str) -> None:
    assert (await rig.ask("POST", path, b"x")).status == 404
    assert hooked.taken == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_do_nothing(rig: Rig, hooked: Hooked, method: str) -> None:
    answer = await rig.ask(method, "/webhooks/main/status")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, POST")
    assert hooked.taken == []


async def test_bodies_are_bounded(house: House, hooked: Hooked) -> None:
    async with serving(house, Access(), max_body=MIB) as rig:
        assert (await rig.ask("POST", "/webhooks/main/status", b"x" * BODY)).status == 200
        long = await rig.ask("POST", "/webhooks/main/status", b"x" * (BODY + 1))
        assert (long.status, long.codes) == (413, [(None, "too_long")])
        rig.door.change(Access(), max_body=1_000)
        assert (await rig.ask("POST", "/webhooks/main/status", b"x" * 1_000)).status == 200
        assert (await rig.ask("POST", "/webhooks/main/status", b"x" * 1_001)).status == 413
        chunked = (
            b"POST /webhooks/main/status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"400\r\n" + b"x" * 1_024 + b"\r\n0\r\n\r\n"
        )
        assert (await rig.raw(chunked)).status == 413
    assert [len(each.body) for each in hooked.taken] == [BODY, 1_000]


async def test_a_compressed_body_is_refused(rig: Rig, hooked: Hooked) -> None:
    answer = await rig.ask("POST", "/webhooks/main/status", b"x", Content_Encoding="gzip")
    assert (answer.status, hooked.taken) == (415, [])


async def test_what_is_no_text_is_no_request_of_a_provider(rig: Rig, hooked: Hooked) -> None:
    raw = b"GET /webhooks/main/status?x=\xff HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await rig.raw(raw)).status == 400
    assert hooked.taken == []
    raw = b"GET /webhooks/main/status HTTP/1.1\r\nHost: x\r\nX-One: \xe4\r\nX-Two: a\r\nx-two: b\r\n\r\n"
    assert (await rig.raw(raw)).status == 200
    (taken,) = hooked.taken
    assert "x-one" not in taken.headers
    assert taken.headers["x-two"] == "a, b", "whoever puts a second signature in proves nothing by it"


async def test_what_cannot_be_kept_is_to_be_repeated(rig: Rig, hooked: Hooked) -> None:
    hooked.answer = StoreError("the disk is slow")
    with structlog.testing.capture_logs() as logs:
        answer = await rig.ask("POST", f"/webhooks/main/status/{SECRET}", b"x")
    assert (answer.status, answer.headers["retry-after"], answer.codes) == (503, "5", [(None, "backlog_full")])
    assert logs
    assert SECRET not in repr(logs)


async def test_a_fault_tells_the_secret_to_nobody(rig: Rig, hooked: Hooked) -> None:
    hooked.answer = RuntimeError("a fault of smsd")
    with structlog.testing.capture_logs() as logs:
        for path in (f"/webhooks/main/status/{SECRET}", f"/%77ebhooks/main/status/{SECRET}"):
            answer = await rig.ask("POST", path, b"x")
            assert (answer.status, SECRET.encode() in answer.body) == (500, False)
    assert [each["path"] for each in logs if each["log_level"] == "error"] == ["/webhooks/..."] * 2
    assert SECRET not in repr(logs)


def test_the_description_does_not_name_them() -> None:
    assert b"webhooks/" not in openapi.document()


async def flood(rig: Rig, name: str, count: int) -> list[asyncio.Task[int]]:
    """So many requests under way, each on a connection of its own."""
    clients = [await rig.client() for _ in range(count)]
    for each in clients:
        each.say(request("POST", f"/webhooks/{name}/status", b"x"))

    async def status(client: Any) -> int:
        return int((await client.reply("POST")).status)

    return [asyncio.ensure_future(status(each)) for each in clients]


def test_no_provider_may_have_all_places() -> None:
    usual = HookLimits()
    assert usual.of_one < usual.together
    assert usual.waiting_of_one < usual.waiting


async def test_a_flood_waits_its_turn_and_leaves_room(house: House, hooked: Hooked) -> None:
    """With smaller bounds, so that the test does not need two thousand connections."""
    hooked.gate.clear()
    limits = HttpLimits(hooks=HookLimits(together=4, of_one=3, waiting=10, waiting_of_one=6))
    async with serving(house, Access(), limits=limits) as rig:
        ours = await flood(rig, "main", 20)
        await until(lambda: sum(task.done() for task in ours) == 20 - 3 - 6)
        assert {task.result() for task in ours if task.done()} == {503}
        other = await flood(rig, "other", 2)
        await until(lambda: len(hooked.taken) == 4)
        assert hooked.taken[-1].name == "other", "one provider's flood leaves a place to the others"
        hooked.gate.set()
        assert await asyncio.gather(*other) == [200, 200]
        done = await asyncio.gather(*ours)
    assert (done.count(200), done.count(503)) == (9, 11)
    assert (hooked.most, hooked.under_way) == (4, 0)


async def test_bodies_that_wait_are_bounded_in_size(house: House, hooked: Hooked) -> None:
    hooked.gate.clear()
    async with serving(house, Access(), limits=HttpLimits(hooks=HookLimits(held=1_000))) as rig:
        client = await rig.client()
        client.say(request("POST", "/webhooks/main/status", b"x" * 900))
        await until(lambda: hooked.under_way == 1)
        assert (await rig.ask("POST", "/webhooks/main/status", b"x" * 200)).status == 503
        hooked.gate.set()
        assert (await client.reply("POST")).status == 200
        assert (await rig.ask("POST", "/webhooks/main/status", b"x" * 200)).status == 200


async def test_a_body_that_drips_holds_no_place(house: House, hooked: Hooked) -> None:
    limits = HttpLimits(body_s=0.3, hooks=HookLimits(together=1, of_one=1))
    async with serving(house, Access(), limits=limits) as rig:
        slow = await rig.client()
        slow.say(b"POST /webhooks/main/status HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nx")
        await until(lambda: rig.door.connections == 1)
        assert (await rig.ask("POST", "/webhooks/main/status", b"x")).status == 200
        assert (await slow.reply("POST")).status == 400


async def test_who_hangs_up_is_taken_all_the_same(rig: Rig, hooked: Hooked) -> None:
    """What was told once is kept, whether its teller waits for the answer or not."""
    hooked.gate.clear()
    client = await rig.client()
    client.say(request("GET", "/webhooks/main/status?x=1"))
    await until(lambda: hooked.under_way == 1)
    client.writer.transport.abort()
    await until(lambda: rig.door.connections == 0)
    hooked.gate.set()
    await until(lambda: hooked.under_way == 0)


async def test_the_secret_path_of_a_provider_that_does_not_sign(house: House) -> None:
    """By the real hooks: without its secret, with another one, and with the right one."""
    service = house.engine.service
    secret = replace(Setting("quiet", Quiet("quiet"), ProviderRules(Pace())), webhook_secret=SECRET)
    service.hooks.rule([secret], "")
    async with serving(house, Access()) as rig:
        for path, status in (("", 404), (f"/{SECRET[:-1]}", 404), (f"/{SECRET}", 200), ("/%C3%A4", 404)):
            assert (await rig.ask("POST", f"/webhooks/quiet/inbound{path}", b"x")).status == status, path
        assert service.meters.webhooks_refused == {"quiet": 3}
        assert (await rig.ask("POST", "/webhooks/main/inbound", b"x")).status == 404, "a sandbox calls nobody"
