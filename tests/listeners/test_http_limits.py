"""What can HTTP clients cost that are slow, many, deaf or greedy?"""

from __future__ import annotations

import asyncio
import resource
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from smsd.listeners.http.door import HttpLimits
from tests.listeners.house import House, resident, running, until
from tests.listeners.http_rig import HttpClient, Rig, request, serving

MESSAGE = {"to": "+14155550123", "text": "hello"}


async def closed(client: HttpClient, seconds: float) -> None:
    """It is closed by then, without an answer."""
    async with asyncio.timeout(seconds):
        assert await client.ends() == b""


# -- slow ones --------------------------------------------------------------------------------------------------------


async def test_who_sends_a_head_byte_by_byte_is_closed_and_holds_up_nobody(house: House) -> None:
    async with serving(house, limits=HttpLimits(head_s=0.3, idle_s=60)) as rig:
        slow = await rig.client()

        async def drip() -> None:
            for byte in b"GET /healthz HTTP/1.1\r\nA: " + b"x" * 1_000:
                slow.say(bytes([byte]))
                await asyncio.sleep(0.01)

        dripping = asyncio.create_task(drip())
        await asyncio.sleep(0.1)
        assert (await rig.ask("GET", "/healthz")).status == 200
        await closed(slow, 2)
        dripping.cancel()


async def test_idle_connections_are_closed_later_than_slow_heads(house: House) -> None:
    async with serving(house, limits=HttpLimits(head_s=0.05, idle_s=0.6)) as rig:
        silent, used = await rig.client(), await rig.client()
        assert (await used.ask("GET", "/healthz")).status == 200
        await asyncio.sleep(0.3)
        assert (await used.ask("GET", "/healthz")).status == 200
        await closed(silent, 2)
        assert rig.door.connections == 1, "who asked meanwhile begins anew"
        await closed(used, 2)


async def test_a_request_under_way_is_not_idle(house: House) -> None:
    async with serving(house, limits=HttpLimits(head_s=0.05, idle_s=0.05)) as rig:
        client = await rig.client()
        reply = await client.ask("GET", "/v1/events?wait=400ms", None, {"Accept": "application/json"})
        assert reply.status == 200


async def test_a_body_must_arrive_in_time(house: House) -> None:
    async with serving(house, limits=HttpLimits(body_s=0.2)) as rig:
        client = await rig.client()
        client.say(request("POST", "/v1/messages", None, {"Content-Length": "1000"}) + b"{")
        reply = await client.reply()
        assert (reply.status, reply.codes, reply.headers["connection"]) == (400, [(None, "malformed")], "close")
        await closed(client, 4)


async def test_bodies_that_arrive_have_a_bound_together(house: House) -> None:
    async with serving(house, limits=HttpLimits(bodies=100_000)) as rig:
        half = request("POST", "/v1/messages", None, {"Content-Length": "70000"}) + b" " * 60_000
        first, second = await rig.client(), await rig.client()
        first.say(half)
        await asyncio.sleep(0.1)
        second.say(half)
        reply = await second.reply()
        assert (reply.status, reply.codes) == (503, [(None, "backlog_full")])
        assert "retry-after" in reply.headers
        first.say(b" " * 10_000)
        assert (await first.reply()).codes == [(None, "malformed")], "blanks are no message, but they were all read"
        third = await rig.client()
        third.say(half + b" " * 10_000)
        assert (await third.reply()).codes == [(None, "malformed")], "there is room again"


# -- many ones --------------------------------------------------------------------------------------------------------


async def test_of_too_many_the_longest_idle_gives_way(house: House) -> None:
    async with serving(house, limits=HttpLimits(connections=3)) as rig:
        first, second, busy = [await rig.client() for _ in range(3)]
        busy.say(request("GET", "/v1/events"))
        await busy.reader.readuntil(b"\r\n\r\n")
        assert (await first.ask("GET", "/healthz")).status == 200
        assert (await rig.ask("GET", "/healthz")).status == 200
        await closed(second, 2)
        assert (await first.ask("GET", "/healthz")).status == 200, "it was used later than the second"
        assert rig.door.connections == 3


async def test_of_too_many_a_beginner_gives_way_before_nobody_does(house: House) -> None:
    async with serving(house, limits=HttpLimits(connections=1)) as rig:
        slow = await rig.client()
        slow.say(b"GET /heal")
        await asyncio.sleep(0.1)
        assert (await rig.ask("GET", "/healthz")).status == 200
        await closed(slow, 2)


async def test_where_all_are_busy_the_newest_is_refused(house: House) -> None:
    async with serving(house, limits=HttpLimits(connections=2)) as rig:
        for _ in range(2):
            each = await rig.client()
            each.say(request("GET", "/v1/events"))
            await each.reader.readuntil(b"\r\n\r\n")
        await closed(await rig.client(), 2)


@pytest.fixture
def open_files() -> Iterator[int]:
    """As many as this process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def idlers(tmp_path: Path, open_files: int, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Rig, int]]:
    """A door, and how many connections may be tried: both ends of each are in this process."""
    wanted = 10_000 if request.config.getoption("--long", default=False) else 2_000
    count = min(wanted, (open_files - 600) // 2)
    async with running(tmp_path) as house, serving(house, limits=HttpLimits(idle_s=120)) as rig:
        yield rig, count


class Mute(asyncio.Protocol):
    """A client that says nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport


async def test_thousands_of_idle_connections_cost_little_and_disturb_nobody(idlers: tuple[Rig, int]) -> None:
    rig, count = idlers
    loop = asyncio.get_running_loop()
    busy = await rig.client()
    assert (await busy.ask("POST", "/v1/messages", MESSAGE)).status == 202
    before = resident()
    clients = [await loop.create_connection(Mute, *rig.door.addresses[0]) for _ in range(count)]
    await until(lambda: rig.door.connections == count + 1, 20)
    each = (resident() - before) / count
    assert each < 24_000, f"{each:.0f} bytes a connection, both ends together"
    for _ in range(20):
        began = loop.time()
        assert (await busy.ask("POST", "/v1/messages", MESSAGE)).status == 202
        assert loop.time() - began < 1
    assert (await rig.ask("GET", "/healthz")).status == 200
    for transport, _ in clients:
        transport.abort()
    await until(lambda: rig.door.connections <= 2, 20)


# -- deaf and greedy ones ---------------------------------------------------------------------------------------------


async def test_who_does_not_read_its_answers_is_dropped(house: House) -> None:
    async with serving(house, limits=HttpLimits(unread_s=0.3)) as rig:
        deaf, other = await rig.client(), await rig.client()
        deaf.deafen()
        before = resident()
        data = request("GET", "/openapi.json") * 100
        async with asyncio.timeout(10):
            while rig.door.connections == 2 and not deaf.writer.transport.is_closing():
                deaf.say(data)
                await asyncio.sleep(0.01)
                assert (await other.ask("GET", "/healthz")).status == 200
        assert resident() - before < 60_000_000


async def test_who_reads_slowly_is_not(house: House) -> None:
    async with serving(house, limits=HttpLimits(unread_s=0.3)) as rig:
        client = await rig.client()
        count, found = 400, 0
        client.say(request("GET", "/openapi.json") * count)
        size = len((await rig.ask("GET", "/openapi.json")).body)
        while found < count:
            client.deafen()
            await asyncio.sleep(0.02)
            client.listen()
            for _ in range(10):
                assert len((await client.reply()).body) == size
                found += 1


async def test_a_head_without_end_is_refused_early(house: House) -> None:
    async with serving(house, limits=HttpLimits(head=4_000)) as rig:
        client = await rig.client()
        client.say(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        for n in range(100):
            client.say(b"A%d: %s\r\n" % (n, b"x" * 80))
        reply = await client.reply()
        assert (reply.status, reply.codes) == (431, [(None, "too_long")])


async def test_a_large_body_behind_its_head_is_no_large_head(house: House) -> None:
    async with serving(house) as rig:
        client = await rig.client()
        for _ in range(3):
            assert (await client.ask("POST", "/v1/messages", b" " * 1_000_000)).codes == [(None, "malformed")]


async def test_who_reads_nothing_while_it_still_sends_is_not_dropped(house: House) -> None:
    async with serving(house, limits=HttpLimits(unread_s=0.6)) as rig:
        ours = socket.socket()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        ours.connect(rig.door.addresses[0])
        client = HttpClient(*await asyncio.open_connection(sock=ours, limit=1_024))
        client.deafen()
        part, parts = b'{"to": "no"}\n' * 500, 40
        size = {"Content-Length": str(len(part) * parts), "Content-Type": "application/x-ndjson"}
        client.say(request("POST", "/v1/messages/batch", None, size))
        for _ in range(parts):
            client.say(part)
            await client.writer.drain()
            await asyncio.sleep(0.025)
        client.listen()
        assert (await client.reply()).body.count(b"\n") == 500 * parts
        client.writer.transport.abort()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 9_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: xxxxxxxxxxxxxxxxxx\r\n" * 100, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 200, 431),
        (request("POST", "/v1/messages", None, {"Content-Length": "9000000"}), 413),
        (request("POST", "/v1/messages", None, {"Content-Length": "9000000", "Authorization": "Bearer x"}), 401),
        (request("POST", "/nowhere", None, {"Content-Length": "9000000"}), 404),
    ],
)
async def test_who_is_refused_while_sending_gets_to_read_why(house: House, data: bytes, status: int) -> None:
    def send_all_then_read(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, 5) as ours:
            ours.sendall(data)
            for _ in range(50):
                time.sleep(0.003)
                ours.sendall(b"x" * 10_000)
            return ours.recv(1_000)

    async with serving(house, limits=HttpLimits(head=2_000)) as rig:
        answer = await asyncio.to_thread(send_all_then_read, rig.door.addresses[0])
    assert int(answer.split()[1]) == status
    assert b"\r\nConnection: close\r\n" in answer
