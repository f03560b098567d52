"""What can a client do to the daemon and to the other clients? Nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import resource
import socket
import sys
import time
from pathlib import Path

import pytest

from smsd.listeners.connection import Limits
from tests.listeners.house import NUMBER, Client, House, Json, resident, running, until
from tests.listeners.http_rig import request, serving

MIB = 1 << 20

LATER = "2026-12-01T00:00:00Z"
"""Two months after the house's clock: not sent during a test."""


def lines(answers: bytes) -> list[Json]:
    return [json.loads(line) for line in answers.splitlines()]


# -- what is sent -----------------------------------------------------------------------------------------------------


async def test_a_hundred_megabytes_without_a_newline_take_no_memory(house: House) -> None:
    client = await house.client()
    await client.ask(op="ping")
    chunk = b"x" * 65_536
    before = resident()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        for _ in range(1_600):
            await client.raw(chunk)
    assert resident() - before < 5 * MIB
    other = await house.client()
    assert (await other.ask(op="ping"))["ok"] is True


async def test_a_flood_of_pipelined_requests_is_held_back(house: House) -> None:
    """aiohttp's own bound: requests that wait behind one that is answered late."""
    loop = asyncio.get_running_loop()
    async with serving(house) as rig:
        id = await rig.send(send_at=LATER)
        before = resident()
        with socket.create_connection(rig.door.addresses[0]) as flood:
            flood.setblocking(False)
            await loop.sock_sendall(flood, request("GET", f"/v1/messages/{id}?wait=60s"))
            sent, pings = 0, request("GET", "/healthz") * 1_000
            with pytest.raises(TimeoutError):
                while sent < 64 * MIB:
                    async with asyncio.timeout(0.5):
                        await loop.sock_sendall(flood, pings)
                    sent += len(pings)
            assert resident() - before < 8 * MIB
            assert (await rig.ask("POST", f"/v1/messages/{id}/cancel", {})).status == 200
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 2_000:
                async with asyncio.timeout(5):
                    answers += await loop.sock_recv(flood, MIB)


async def test_byte_by_byte(client: Client) -> None:
    for byte in b'{"op":"ping","ref":1}\n{"op":"ping","ref":2}\n':
        await client.raw(bytes([byte]))
        await asyncio.sleep(0)
    assert [each["ref"] for each in await client.answers(2)] == [1, 2]


async def test_a_client_that_says_its_last_gets_all_its_answers(house: House) -> None:
    client = await house.client()
    await client.say(*({"to": NUMBER, "text": "hi", "ref": n} for n in range(500)), {"op": "stats", "ref": 500})
    client.finish()
    answers = lines(await client.ends())
    assert [each["ref"] for each in answers] == list(range(501))
    assert answers[-1]["states"]["pending"] == 500


async def test_ten_thousand_requests_before_the_first_look(house: House) -> None:
    client = await house.client()
    await client.say(*({"to": NUMBER, "text": "hi", "ref": n} for n in range(10_000)))
    answers = await client.answers(10_000)
    assert [each["ref"] for each in answers] == list(range(10_000))
    assert all(each["ok"] for each in answers)
    assert house.engine.tally.backlog == 10_000


async def test_at_a_thousand_requests_in_flight_the_daemon_stops_reading(house: House) -> None:
    house.outbox.held = []
    client = await house.client()
    talking = asyncio.create_task(client.say(*({"to": NUMBER, "text": "hi", "ref": n} for n in range(10_000))))
    await until(lambda: len(house.outbox.held or ()) == 1_000)
    await asyncio.sleep(0.05)
    assert len(house.outbox.held) == 1_000
    house.outbox.release(10)
    assert [(await client.answer())["ref"] for _ in range(10)] == list(range(10))
    await until(lambda: len(house.outbox.held or ()) == 1_000)
    talking.cancel()
    house.outbox.release()


async def test_all_clients_together_have_a_bound_and_each_has_its_turn(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(in_flight_all=50)) as house:
        house.outbox.held = []
        greedy, modest = await house.client(), await house.client()
        await greedy.say(*({"to": NUMBER, "text": "hi", "ref": n} for n in range(200)))
        await until(lambda: len(house.outbox.held or ()) == 50)
        await modest.say(*({"to": NUMBER, "text": "hi", "ref": n} for n in range(5)))
        await until(lambda: len(house.outbox.held or ()) == 51)
        await asyncio.sleep(0.02)
        assert len(house.outbox.held) == 51, "one more for the one that had none"
        house.outbox.release()
        house.outbox.held = None
        assert [each["ref"] for each in await greedy.answers(200)] == list(range(200))
        assert [each["ref"] for each in await modest.answers(5)] == list(range(5))
        assert house.door.under_way == 0


# -- who goes away ----------------------------------------------------------------------------------------------------


async def test_who_vanishes_takes_nothing_with_it(house: House) -> None:
    house.outbox.held = []
    client = await house.client()
    await client.say(*({"to": NUMBER, "text": "hi"} for _ in range(20)))
    await until(lambda: len(house.outbox.held or ()) == 20)
    client.vanish()
    await asyncio.sleep(0.02)
    assert house.door.connections == 1, "it counts as long as something is under way for it"
    house.outbox.release()
    await until(lambda: house.door.connections == 0)
    assert (house.door.under_way, house.engine.tally.backlog) == (0, 20)


async def lost_during(house: House, request: Json) -> None:
    """Ask, and be gone when it begins: the answer before it finds nobody, and so the daemon learns it."""
    house.outbox.held = []
    client = await house.client()
    await client.say({"to": NUMBER, "text": "hi", "send_at": LATER}, request)
    await until(lambda: len(house.outbox.held or ()) == 1)
    house.outbox.gate.clear()
    client.vanish()
    house.outbox.release()
    await until(lambda: house.outbox.changes == 1)
    await asyncio.sleep(0.05)
    assert house.door.connections == 1, "it counts as long as something is under way for it"
    house.outbox.gate.set()
    await until(lambda: house.door.connections == 0)


async def test_a_cancel_is_carried_to_its_end_though_nobody_waits_for_it(house: House) -> None:
    client = await house.client()
    id = (await client.send())["id"]
    client.vanish()
    await until(lambda: house.door.connections == 0)
    await lost_during(house, {"op": "cancel", "id": id})
    assert house.engine.tally.backlog == 1, "what was cancelled is no longer waited for"


async def test_a_retry_reaches_the_schedule_though_nobody_waits_for_it(house: House) -> None:
    client = await house.client()
    id = (await client.send(ttl="1s"))["id"]
    client.vanish()
    await until(lambda: house.door.connections == 0)
    house.clock.advance(2_000)
    found, _ = await house.outbox.expire(house.clock.wall(), 10)
    assert [message.id for message in found] == [id]
    await lost_during(house, {"op": "retry", "id": id})
    await house.engine.service.resume("main")
    await until(lambda: house.engine.tally.sent_last_minute() == 1)
    other = await house.client()
    assert (await other.ask(op="get", id=id))["message"]["state"] == "sent"


async def test_closing_lets_owed_answers_out(house: House) -> None:
    house.outbox.held = []
    client = await house.client()
    await client.say({"to": NUMBER, "text": "hi", "ref": 1})
    await until(lambda: len(house.outbox.held or ()) == 1)
    closing = asyncio.create_task(house.door.close())
    await asyncio.sleep(0.02)
    house.outbox.release()
    assert [each["ref"] for each in lines(await client.ends())] == [1]
    await closing
    assert house.door.connections == 0
    with pytest.raises(OSError, match="refused"):
        await house.client()


# -- who is many ------------------------------------------------------------------------------------------------------


async def test_of_too_many_connections_the_longest_idle_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(connections=3)) as house:
        house.outbox.held = []
        busy, idle, third = [await house.client() for _ in range(3)]
        await busy.say({"to": NUMBER, "text": "hi"})
        await until(lambda: len(house.outbox.held or ()) == 1)
        await idle.ask(op="ping")
        await third.ask(op="ping")
        await house.client()
        assert await idle.ends() == b""
        assert (await third.ask(op="ping"))["ok"] is True
        house.outbox.release()
        assert (await busy.answer())["ok"] is True


async def test_when_all_are_busy_the_newcomer_is_closed(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(connections=2)) as house:
        house.outbox.held = []
        clients = [await house.client() for _ in range(2)]
        for client in clients:
            await client.say({"to": NUMBER, "text": "hi"})
        await until(lambda: len(house.outbox.held or ()) == 2)
        assert await (await house.client()).ends() == b""
        house.outbox.release()
        for client in clients:
            assert (await client.answer())["ok"] is True


async def test_two_thousand_idle_connections_leave_room_for_one_that_works(house: House) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 5_000:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 5_000), hard))
    first = await house.client()
    for _ in range(2_000):
        await house.client()
    assert house.door.connections == 1_024
    assert await first.ends() == b""
    working = await house.client()
    started = time.perf_counter()
    assert (await working.send())["ok"] is True
    assert time.perf_counter() - started < 0.1


# -- who does not read ------------------------------------------------------------------------------------------------


async def loaded(house: House) -> None:
    """Messages enough for long answers."""
    client = await house.client()
    await client.say(*({"to": NUMBER, "text": "x" * 400} for _ in range(300)))
    assert all(each["ok"] for each in await client.answers(300))


async def test_who_never_reads_is_dropped_and_costs_little(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(unread=65_536, unread_s=0.4)) as house:
        await loaded(house)
        deaf = await house.client()
        deaf.deafen()
        before = resident()
        with pytest.raises(OSError) as ended:
            async with asyncio.timeout(5):
                while True:
                    await deaf.raw(b'{"op":"list","limit":1000}\n' * 50)
        assert ended.value.errno in {errno.EPIPE, errno.ECONNRESET}
        assert resident() - before < 8 * MIB
        other = await house.client()
        assert (await other.ask(op="ping"))["ok"] is True


async def test_who_leaves_the_last_answers_unread_is_dropped(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(unread_s=0.2)) as house:
        await loaded(house)
        deaf = await house.client()
        deaf.deafen()
        await deaf.raw(b'{"op":"list","limit":1000}\n')
        deaf.finish()
        await asyncio.sleep(0.1)
        assert house.door.connections == 2
        await until(lambda: house.door.connections == 1)


async def test_no_operation_begins_for_who_is_behind_in_reading(tmp_path: Path) -> None:
    """A thousand listings asked for at once must not be held at once."""
    async with running(tmp_path, limits=Limits(unread=65_536)) as house:
        await loaded(house)
        slow = await house.client()
        slow.deafen()
        await slow.raw(b'{"op":"list","limit":1000}\n' * 900)
        await asyncio.sleep(0.3)
        (held,) = [each.held for each in house.door.everyone() if each.held]
        assert held < MIB
        slow.listen()
        assert all(len(each["items"]) == 300 for each in await slow.answers(20))


async def test_who_makes_the_daemon_hold_most_is_dropped(tmp_path: Path) -> None:
    async with running(tmp_path, limits=Limits(held=MIB, unread=65_536)) as house:
        await loaded(house)
        modest = await house.client()
        greedy = [await house.client() for _ in range(20)]
        for each in greedy:
            each.deafen()
            try:
                await each.raw(b'{"op":"list","limit":1000}\n' * 3)
            except ConnectionError:
                continue
        await until(lambda: house.door.connections < 20)
        assert (await modest.ask(op="ping"))["ok"] is True


# -- who waits for whom -----------------------------------------------------------------------------------------------


async def test_two_connections_do_not_wait_for_each_other(house: House) -> None:
    house.outbox.held = []
    waiting, other = await house.client(), await house.client()
    await waiting.say({"to": NUMBER, "text": "hi"}, {"op": "ping"})
    await until(lambda: len(house.outbox.held or ()) == 1)
    assert (await other.ask(op="ping"))["ok"] is True
    house.outbox.release()
    assert len(await waiting.answers(2)) == 2


FLOOD = """
import socket, sys, threading
door = socket.socket(socket.AF_UNIX)
door.connect(sys.argv[1])
payload = b"".join(b'{"to":"+14155550123","text":"hi","ref":%d}\\n' % n for n in range(20_000))
threading.Thread(target=door.sendall, args=(payload,)).start()
left = 20_000
while left:
    left -= door.recv(65_536).count(b"\\n")
"""


async def test_a_flood_of_one_leaves_the_others_their_turn(house: House) -> None:
    other = await house.client()
    flood = await asyncio.create_subprocess_exec(sys.executable, "-c", FLOOD, house.path)
    waits = []
    while flood.returncode is None:
        started = time.perf_counter()
        assert (await other.ask(op="ping"))["ok"] is True
        waits.append(time.perf_counter() - started)
        await asyncio.sleep(0.001)
    assert await flood.wait() == 0
    assert house.engine.tally.backlog == 20_000
    waits.sort()
    assert waits[len(waits) * 19 // 20] < 0.1, "but for what the machine does beside"


async def test_a_thousand_lines_at_once_are_read_in_slices(house: House) -> None:
    """Who asks meanwhile is answered before all of them are begun."""
    house.outbox.held = []
    flood, other = await house.client(), await house.client()
    await asyncio.gather(
        flood.say(*({"to": NUMBER, "text": "hi"} for _ in range(1_000))), other.raw(b'{"to":"","ref":"between"}\n')
    )
    assert (await other.answer())["ref"] == "between"
    assert len(house.outbox.held) < 1_000
    await until(lambda: len(house.outbox.held or ()) == 1_000)
    house.outbox.release()
